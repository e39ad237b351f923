"""Which validation metric decides, and whether a value of it is better."""
import logging
import math

import torch

from gearnet_plugin.engine.build import describe
from gearnet_plugin.engine.errors import ConfigError, did_you_mean, listing
from torchdrug import data, utils

logger = logging.getLogger(__name__)

LOWER_IS_BETTER = ("error", "loss", "entropy", "perplexity")


def can_evaluate(task):
    """Whether a task has metrics beside its training loss."""
    return hasattr(task, "evaluate") and hasattr(task, "predict_and_target")


def find_metric(name, available, key="metric"):
    """
    Return the full name of a metric, from itself or a prefix that only one has, such as ``accuracy`` for
    ``accuracy [class]``.

    Parameters:
        name (str, optional): name from the configuration; None takes the first metric
        available (iterable of str): names that an evaluation returns
    """
    available = list(available)
    if not available:
        raise ConfigError(key, "the task returns no metric")
    if name is None:
        return available[0]
    if name in available:
        return name
    starting = [metric for metric in available if metric.startswith(name)]
    if len(starting) == 1:
        return starting[0]
    raise ConfigError(key, "%s.%s This task has: %s" % (
        "`%s` fits several metrics" % name if starting else "no metric is called `%s`" % name,
        did_you_mean(name, available), listing(available)))


def preview(task, dataset, device):
    """
    Return the names of the metrics of a task, by evaluating two items, or None where two are too few.

    A wrong name is found before hours of training this way, not after.
    """
    try:
        batch = data.graph_collate([dataset[i] for i in range(min(2, len(dataset)))])
    except Exception as error:
        raise ConfigError("dataset", "the first items of the validation set make no batch: %s"
                          % describe(error)) from error
    if device.type == "cuda":
        batch = utils.cuda(batch, device=device)
    training, split = task.training, getattr(task, "split", None)
    try:
        task.eval()
        task.split = "valid"
        with torch.no_grad():
            return list(task.evaluate(*task.predict_and_target(batch)))
    except Exception as error:  # noqa: BLE001  a metric may need more than two items; then there is no preview
        logger.info("the task cannot evaluate two items (%s: %s), so the name of the metric is checked after the "
                    "first evaluation", type(error).__name__, error)
        return None
    finally:
        task.train(training)
        task.split = split


class Best:
    """
    The best value of the validation metric so far.

    Parameters:
        name (str, optional): metric of the configuration
        mode (str, optional): ``min`` or ``max``; by default lower is better for errors and losses
    """

    def __init__(self, name=None, mode=None):
        self.wanted = name
        self.given_mode = mode
        self.name = None
        self.value = None
        self.epoch = None

    def settle(self, available):
        """Find the metric among the names that an evaluation returns."""
        self.name = find_metric(self.wanted, available)

    @property
    def mode(self):
        """``min`` or ``max``."""
        if self.given_mode:
            return self.given_mode
        return "min" if any(word in self.name.lower() for word in LOWER_IS_BETTER) else "max"

    def better(self, value):
        """Whether a value beats the best so far; NaN never does."""
        if math.isnan(value):
            return False
        if self.value is None:
            return True
        return value < self.value if self.mode == "min" else value > self.value
