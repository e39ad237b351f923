"""Whether weights fit a configuration, found out before the data are opened: on the ``meta`` device."""
import logging
import types

from gearnet_plugin.engine import checkpoint, heads, weight_files
from gearnet_plugin.engine.build import build
from gearnet_plugin.engine.errors import ConfigError

logger = logging.getLogger(__name__)


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
        if key == "checkpoint":
            expected = heads.expected_size(config, published=False)
            heads.compare_sizes(expected, checkpoint.model_state(state, file, key), file)
        if weight_files.named(config["task"], "task"):
            # models that read their weights: compared when they are built in earnest
            continue
        try:
            with weight_files.on_meta():
                model = build(config["task"]["model"], "task.model")
        except (ConfigError, KeyError, TypeError) as error:
            # a model that reads or fetches something: the weights are compared when it is built in earnest
            logger.debug("the weights are not compared beforehand: %s", error)
            continue
        checkpoint.compare_encoder(types.SimpleNamespace(model=model), state, file, key)
