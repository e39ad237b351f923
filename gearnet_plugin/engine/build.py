"""Check the classes that a configuration names and build them, by TorchDrug's Registry and Configurable."""
import inspect
import os
import re
import traceback

import torch
from torch import nn

from gearnet_plugin.engine.config import join, plain
from gearnet_plugin.engine.errors import ConfigError, choices, did_you_mean, listing
from torchdrug import core

# the registry prefix of what usually stands at a key, for suggestions only
_PREFIX = {
    "dataset": "datasets", "task": "tasks", "optimizer": "optim", "scheduler": "scheduler", "model": "models",
    "transform": "transforms", "transforms": "transforms", "graph_construction_model": "layers",
    "node_layers": "layers.geometry", "edge_layers": "layers.geometry", "crop_funcs": "layers.geometry",
    "noise_funcs": "layers.geometry",
}
# what the runner gives to the class at a key; nobody writes it into a file
_SUPPLIED = {"optimizer": ("params",), "scheduler": ("optimizer",)}
_MISSPELT = ("class", "cls", "clas", "clss", "calss", "classs")
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_REAL = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY


def find_class(name, key):
    """
    Return the registered class of that name.

    Parameters:
        name (str): name as in ``core.Registry.search``: ``GearNetEncoder`` or ``models.GearNetEncoder``
        key (str): path of the mapping that names the class
    """
    here = join(key, "class")
    # the host takes the name for a regular expression
    if not isinstance(name, str) or not re.fullmatch(r"\w+(\.\w+)*", name):
        raise ConfigError(here, "expected the name of a registered class, but found `%s`" % (name,))
    try:
        cls = core.Registry.search(name)
    except KeyError as error:
        raise ConfigError(here, _unknown(name, key, error.args[0])) from None
    if not (inspect.isclass(cls) and hasattr(cls, "load_config_dict")):
        raise ConfigError(here, "`%s` is registered, but no class that a configuration can build" % name)
    return cls


def _unknown(name, key, reason):
    if reason.startswith("Ambiguous"):
        several = reason.partition("Found ")[2]
        return "`%s` means several classes: %s. Write one of them in full" % (name, several)
    classes = [full for full, cls in core.Registry.table.flatten().items() if inspect.isclass(cls)]
    leaves = {full.rpartition(".")[2]: full for full in classes}
    roles = [part for part in key.split(".") if not part.isdigit()]
    prefix = _PREFIX.get(roles[-1]) if roles else None
    same = sorted(leaf for leaf, full in leaves.items() if full.rpartition(".")[0] == prefix)
    hint = did_you_mean(name.rpartition(".")[2], same) or did_you_mean(name.rpartition(".")[2], leaves)
    known = "" if not same else " Registered as `%s`: %s" % (prefix, listing(same))
    return "no class `%s` is registered.%s%s" % (name, hint, known)


def arguments(cls):
    """
    Return the arguments of a class and whether it takes others too.

    TorchDrug's ``copy_args`` writes what ``**kwargs`` passes on into the signature, so those count as named.
    """
    parameters = list(inspect.signature(cls).parameters.values())
    open_ended = any(p.kind == inspect.Parameter.VAR_KEYWORD for p in parameters)
    return {p.name: p for p in parameters if p.kind in _REAL}, open_ended


def check(config, key, supplied=None, optional=(), more=()):
    """
    Check the class of a mapping and its arguments, and those of the mappings inside; nothing is built.

    Parameters:
        config (dict): mapping with ``class``
        key (str): its path in the file
        supplied (iterable of str, optional): arguments that somebody else gives
        optional (iterable of str, optional): arguments that the class around it gives, where they are left out
        more (iterable of str, optional): what that class wants to be told beside the arguments
    """
    supplied = _SUPPLIED.get(key, ()) if supplied is None else supplied
    name = config.get("class")
    cls = find_class(name, key)
    _check_role(cls, name, key)
    known, open_ended = arguments(cls)
    own = [argument for argument in known if argument not in supplied]
    given_inside, more_inside = getattr(cls, "given_inside", {}), getattr(cls, "more_inside", {})
    for argument, value in config.items():
        if argument == "class" or argument in more:
            continue
        here = join(key, argument)
        if argument in supplied:
            raise ConfigError(here, "is given by run.py and cannot be set. Allowed: %s" % listing(own))
        if argument not in known and not open_ended:
            raise ConfigError(here, "unknown argument of %s.%s" % (name, choices(argument, own + list(more))))
        _check_value(value, here, optional=given_inside.get(argument, ()), more=more_inside.get(argument, ()))
    missing = [argument for argument in own if known[argument].default is inspect.Parameter.empty
               and argument not in config and argument not in optional]
    if missing:
        raise ConfigError(join(key, missing[0]), "missing; %s needs %s. Allowed: %s"
                          % (name, listing(missing), listing(own)))


def _check_value(value, key, level=0, outer=None, optional=(), more=()):
    if isinstance(value, dict):
        if "class" in value:
            if outer is not None:
                raise ConfigError(key, "a class stands inside `%s`, which has no `class` itself" % outer)
            if level > 1:
                raise ConfigError(key, "a class is built as an argument or in a list that is one, not deeper")
            check(value, key, (), optional, more)
            return
        for name, child in value.items():
            if name.lower() in _MISSPELT:
                raise ConfigError(join(key, name), "unknown key. Did you mean `class`?")
            _check_value(child, join(key, name), outer=outer or key)
    elif isinstance(value, list):
        for i, child in enumerate(value):
            _check_value(child, join(key, i), level + 1, outer, optional, more)


def _check_role(cls, name, key):
    wanted = {
        "dataset": ("a dataset", hasattr(cls, "__getitem__") and hasattr(cls, "__len__")),
        "task": ("a task", issubclass(cls, nn.Module)),
        "optimizer": ("an optimizer", issubclass(cls, torch.optim.Optimizer)),
        "scheduler": ("a learning rate scheduler", issubclass(cls, torch.optim.lr_scheduler.LRScheduler)),
    }.get(key)
    if wanted and not wanted[1]:
        raise ConfigError(join(key, "class"), "expected %s, but `%s` is none" % (wanted[0], name))


def check_all(config):
    """Check every class that a configuration names."""
    for key in ("dataset", "task", "optimizer", "scheduler"):
        if config.get(key) is not None:
            check(plain(config[key]), key)


def build(config, key, **given):
    """
    Build the object that a checked mapping describes.

    What goes wrong inside a constructor is raised as :class:`ConfigError` with the path of the mapping.

    Parameters:
        config (dict): mapping with ``class``
        key (str): its path in the file
        given: arguments that are objects already, such as ``params`` of an optimizer
    """
    config = plain(config)
    cls = find_class(config["class"], key)
    if _has_own_loader(cls):
        values = config
    else:
        values = {name: _build_value(value, join(key, name)) for name, value in config.items()}
    try:
        return core.Configurable.load_config_dict({**values, **given})
    except (KeyboardInterrupt, ConfigError):
        raise
    except Exception as error:
        raise ConfigError(key, "%s cannot be built: %s" % (config["class"], describe(error))) from error


def describe(error):
    """Return the message of an error, with its kind and place when it was not made for users."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    ours = os.path.abspath(frame.filename).startswith(PACKAGE + os.sep)
    if isinstance(error, FileNotFoundError) or isinstance(error, ValueError) and ours:
        return str(error)
    file = os.path.basename(frame.filename)
    return "%s: %s (%s, line %d)" % (type(error).__name__, error, file, frame.lineno)


def _build_value(value, key):
    if isinstance(value, dict) and "class" in value:
        return build(value, key)
    if isinstance(value, list):
        return [_build_value(child, join(key, i)) for i, child in enumerate(value)]
    return value


def _has_own_loader(cls):
    own, stock = cls.load_config_dict, core.Configurable.load_config_dict
    return getattr(own, "__func__", own) is not getattr(stock, "__func__", stock)
