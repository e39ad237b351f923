"""``engine.precision``: the type in which a run computes."""

import logging

import torch

from gearnet_plugin.engine.build import arguments, find_class
from gearnet_plugin.engine.config import join
from gearnet_plugin.engine.errors import ConfigError

logger = logging.getLogger(__name__)

PRECISIONS = ("fp32", "tf32", "bf16")


def fill_in(config):
    """
    Give ``engine.precision`` to every model of the task that takes an argument of that name and is not given one.

    ``tf32`` is float32 whose products a GPU may round to 10 bits; models see it as ``fp32``.

    Parameters:
        config (dict): complete configuration, checked; changed in place

    Raises:
        ConfigError: ``bf16`` where no model takes it
    """
    precision = config["engine"].get("precision")
    if precision is None:
        return
    takers = list(_takers(config["task"], "task"))
    if precision == "bf16" and not takers:
        raise ConfigError("engine.precision", "no class of the task computes in bf16; leave it out, or take an encoder "
                          "with an argument `precision`, such as GearNetEncoder")
    for _, value in takers:
        if value.get("precision") is None:
            value["precision"] = "bf16" if precision == "bf16" else "fp32"


def apply(config, device):
    """Let products of float32 matrices be rounded on a GPU where the configuration says so, and not where it says
    another precision: the switch belongs to the process, in which another run may have set it."""
    precision = config["engine"].get("precision")
    if precision is None:
        return
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        torch.backends.cudnn.allow_tf32 = precision == "tf32"
    elif precision == "tf32":
        logger.warning("engine.precision `tf32` means something on GPUs only; this run computes in float32")


def _takers(value, key):
    """(path, mapping) of every class that takes ``precision``."""
    if isinstance(value, dict):
        if "class" in value and "precision" in arguments(find_class(value["class"], key))[0]:
            yield key, value
        children = value.items()
    elif isinstance(value, list):
        children = enumerate(value)
    else:
        return
    for name, child in children:
        yield from _takers(child, join(key, name))
