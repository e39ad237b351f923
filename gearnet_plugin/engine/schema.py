"""The sections of a configuration: what may stand in each, and the values of what is left out."""
import inspect
import re

from easydict import EasyDict

from gearnet_plugin.engine.config import join, plain
from gearnet_plugin.engine.errors import ConfigError, choices, listing
from gearnet_plugin.engine.precision import PRECISIONS
from torchdrug import core

CLASSES = ("dataset", "task", "optimizer", "scheduler")
REQUIRED = ("dataset", "task", "optimizer")


def _whole(least, optional=False):
    def check(value, key):
        if value is None and optional:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(key, "expected a whole number of at least %d%s, but found `%s`"
                              % (least, " or null" if optional else "", value))
        return value
    return check


def _text(value, key):
    if value is not None and not (isinstance(value, str) and value):
        raise ConfigError(key, "expected text or null, but found `%s`" % (value,))
    return value


def _mode(value, key):
    if value not in (None, "min", "max"):
        raise ConfigError(key, "expected `min` (lower is better), `max` or null, but found `%s`" % (value,))
    return value


def _ratio(value, key):
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value is not None and not (number and 0 < value < float("inf")):
        raise ConfigError(key, "expected a number above 0 by which the learning rate is multiplied, or null, but found "
                          "`%s`" % (value,))
    return value


def _precision(value, key):
    if value not in (None, *PRECISIONS):
        raise ConfigError(key, "expected %s or null, but found `%s`" % (listing(PRECISIONS), value))
    return value


def parse_gpus(value, key="engine.gpus"):
    """Return GPU ids as a list, or None for CPU, from ``null``, ``0``, ``"0,1"`` or ``[0, 1]``."""
    ids = value
    if isinstance(ids, str) and re.fullmatch(r"\s*\d+\s*(,\s*\d+\s*)*", ids):
        ids = [int(x) for x in ids.split(",")]
    if isinstance(ids, int) and not isinstance(ids, bool):
        ids = [ids]
    if ids is None:
        return None
    if not isinstance(ids, list) or not ids or not all(type(x) is int and x >= 0 for x in ids):
        raise ConfigError(key, "expected null for CPU, or GPU ids such as `0,1` or `[0,1]`, but found `%s`"
                          % (value,))
    return ids


# key: (check, value when left out); the names of `engine` are arguments of core.Engine, but for `precision`
ENGINE = {
    "gpus": (parse_gpus, None),
    "batch_size": (_whole(1), 1),
    "gradient_interval": (_whole(1), 1),
    "num_worker": (_whole(0), 0),
    "log_interval": (_whole(1), 100),
    "precision": (_precision, None),
}
TRAIN = {
    "num_epoch": (_whole(0), 1),
    "batch_per_epoch": (_whole(1, optional=True), None),
}
TOP = {
    "output_dir": (_text, "runs"),
    "seed": (_whole(0), 0),
    "lr_ratio": (_ratio, None),
    "sequence_model_lr_ratio": (_ratio, None),
    "metric": (_text, None),
    "metric_mode": (_mode, None),
    "eval_interval": (_whole(1, optional=True), None),
    "save_interval": (_whole(1, optional=True), None),
    "model_checkpoint": (_text, None),
    "checkpoint": (_text, None),
}
_BEFORE, _RATIOS = ("output_dir", "seed"), ("lr_ratio", "sequence_model_lr_ratio")
ORDER = (*_BEFORE, *CLASSES, *_RATIOS, "engine", "train",
         *(key for key in TOP if key not in _BEFORE + _RATIOS))
assert set(ENGINE) - {"precision"} <= set(inspect.signature(core.Engine).parameters)


def complete(config):
    """
    Check the sections and return the configuration with what was left out written in.

    Classes and their arguments are checked by :func:`gearnet_plugin.engine.build.check`.

    Parameters:
        config (dict): parsed configuration

    Returns:
        EasyDict: sections in the order in which they are described in the README
    """
    config = plain(config)
    for key in config:
        if key not in ORDER:
            raise ConfigError(key, "unknown key.%s" % choices(key, ORDER))
    for key in REQUIRED:
        if config.get(key) is None:
            raise ConfigError(key, "missing; a configuration needs %s" % listing(REQUIRED))
    for key in CLASSES:
        value = config.get(key)
        if value is not None and not (isinstance(value, dict) and isinstance(value.get("class"), str)):
            raise ConfigError(key, "expected a mapping with `class` and its arguments, but found `%s`"
                              % (value,))
    result = {}
    for key in ORDER:
        if key in CLASSES:
            if config.get(key) is not None:
                result[key] = config[key]
        elif key in ("engine", "train"):
            result[key] = _section(config.get(key), key, ENGINE if key == "engine" else TRAIN)
        else:
            check, default = TOP[key]
            value = config.get(key, default)
            result[key] = check(default if value is None else value, key)
    if result["model_checkpoint"] and result["checkpoint"]:
        raise ConfigError("checkpoint", "holds the encoder too, so it cannot stand beside `model_checkpoint`; set the "
                          "one you do not mean to null, as by --set model_checkpoint=null")
    return EasyDict(result)


def _section(section, key, known):
    section = {} if section is None else section
    if not isinstance(section, dict):
        raise ConfigError(key, "expected a mapping with %s, but found `%s`" % (listing(known), section))
    for name in section:
        if name not in known:
            raise ConfigError(join(key, name), "unknown key.%s" % choices(name, known))
    return {name: check(section.get(name, default), join(key, name))
            for name, (check, default) in known.items()}
