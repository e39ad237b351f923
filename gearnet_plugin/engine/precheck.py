"""Whether weights fit a configuration, found out before the data are opened: on the ``meta`` device."""
import contextlib
import logging
import os
import types

import torch

from gearnet_plugin.engine import checkpoint
from gearnet_plugin.engine.build import build
from gearnet_plugin.engine.errors import ConfigError
from torchdrug import utils

logger = logging.getLogger(__name__)


class Unavailable(ConfigError):
    """A constructor wants to fetch something."""


@contextlib.contextmanager
def no_downloads():
    """Let no constructor fetch anything: TorchDrug's models that do, do it by ``utils.download``."""
    def refuse(url, path, *args, **kwargs):
        raise Unavailable("", "%s (from %s)" % (os.path.abspath(os.path.expanduser(path)), url))

    before = utils.download
    utils.download = refuse
    try:
        yield
    finally:
        utils.download = before


def compare_weights(config):
    """
    Compare the encoder of the weights that a configuration names with the one that it describes.

    Parameters:
        config (dict): complete configuration, checked
    """
    for key in ("model_checkpoint", "checkpoint"):
        if not config.get(key):
            continue
        state, file = checkpoint.read_state(config[key], key)
        try:
            with no_downloads(), torch.device("meta"):
                model = build(config["task"]["model"], "task.model")
        except (ConfigError, KeyError, TypeError) as error:
            # a model that reads or fetches something: the weights are compared when it is built in earnest
            logger.debug("the weights are not compared beforehand: %s", error)
            continue
        checkpoint.compare_encoder(types.SimpleNamespace(model=model), state, file, key)
