"""Several objectives in one run: one encoder, a head each."""

import inspect
import itertools
import math

from torch import nn

from torchdrug import core, tasks
from torchdrug.core import Registry as R

# what the combined task gives to every objective that takes it
SHARED = ("model", "graph_construction_model")


@R.register("tasks.CombinedPretraining")
class CombinedPretraining(tasks.Task, core.Configurable):
    """
    Pretraining by several objectives at once: each batch goes through all of them, and the loss is the sum of their
    losses, each times its weight.

    Encoder and graph construction are named once and shared; every objective has its own head, hides its own parts and
    takes its own pass through the encoder, so that a step costs what the objectives cost one after the other. The
    running statistics of BatchNorm average over the views of all objectives.

    Metrics carry the name of their objective: ``EdgeDistancePrediction mean squared error``. One that is named twice
    gets a number: ``EdgeDistancePrediction2``; both draw the same, unless one is given a ``seed`` of its own.

    In the state dict the encoder is ``model.*``, once, and what else an objective holds ``objectives.<name>.*``.

    Parameters:
        model (nn.Module): encoder
        objectives (list of dict): configurations of registered tasks, such as
            ``{"class": "EdgeDistancePrediction", "num_sample": 64, "weight": 0.5}``, without ``model`` and
            ``graph_construction_model``; ``weight`` is that of its loss, 1 where it is left out; arguments can be
            objects or configurations
        graph_construction_model (nn.Module, optional): graph construction
    """

    # which arguments the mappings inside an argument may leave out
    given_inside = {"objectives": SHARED}
    # and what is said in them that is no argument
    more_inside = {"objectives": ("weight",)}

    def __init__(self, model, objectives, graph_construction_model=None):
        super().__init__()
        self.model = model
        self.graph_construction_model = graph_construction_model
        self.objectives = nn.ModuleDict()
        objectives = _checked(objectives)
        self.weights = _checked_weights([config.get("weight", 1) for config in objectives])
        for i, config in enumerate(objectives):
            config = {name: value for name, value in config.items() if name != "weight"}
            objective = self._build(config, "objectives.%d" % i)
            _disown(objective, model, graph_construction_model)
            self.objectives[_free_name(type(objective).__name__, self.objectives)] = objective

    def _build(self, config, key):
        """The task that a configuration describes, around the encoder."""
        own = [name for name in SHARED if config.get(name) is not None]
        if own:
            raise ValueError(
                "%s.%s is shared by all objectives: give it to CombinedPretraining, and not here" % (key, own[0])
            )
        try:
            cls = core.Registry.search(config["class"])
        except (KeyError, TypeError) as error:
            raise ValueError("%s.class should name a registered task: %s" % (key, error.args[0])) from error
        known = inspect.signature(cls).parameters
        if "model" not in known or not issubclass(cls, nn.Module):
            raise ValueError(
                "%s.class should be a task that trains an encoder, such as EdgeDistancePrediction, but "
                "found `%s`" % (key, config["class"])
            )
        given = {name: getattr(self, name) for name in SHARED if name in known}
        try:
            return core.Configurable.load_config_dict({**config, **given})
        except (TypeError, ValueError) as error:
            raise ValueError("%s: %s cannot be built: %s" % (key, config["class"], error)) from error

    @classmethod
    def load_config_dict(cls, config):
        """Build a task from its configuration. The objectives stay configurations until there is an encoder."""
        values = {}
        for name, value in config.items():
            if isinstance(value, dict) and "class" in value:
                value = core.Configurable.load_config_dict(value)
            if name != "class":
                values[name] = value
        return cls(**values)

    def set_epoch(self, epoch):
        """Tell all objectives which epoch of training begins."""
        self._tell("set_epoch", epoch)

    def set_seed(self, seed):
        """Tell all objectives the seed of the run."""
        self._tell("set_seed", seed)

    def _tell(self, method, value):
        for objective in self.objectives.values():
            if hasattr(objective, method):
                getattr(objective, method)(value)

    def preprocess(self, train_set, valid_set, test_set):
        """Let every objective look at the data."""
        result = None
        for objective in self.objectives.values():
            if hasattr(objective, "preprocess"):
                result = objective.preprocess(train_set, valid_set, test_set) or result
                train_set, valid_set, test_set = result or (train_set, valid_set, test_set)
        return result

    def forward(self, batch):
        """Weighted sum of the losses, and the metrics and the loss of every objective."""
        total, metric = 0, {}
        for (name, objective), weight in zip(self.objectives.items(), self.weights):
            loss, found = objective(batch)
            total = total + weight * loss
            metric["%s loss" % name] = loss.detach()
            metric.update(_prefixed(found, name))
        return total, metric

    def predict_and_target(self, batch, all_loss=None, metric=None):
        """Predictions and targets of every objective: two dicts by its name."""
        preds, targets = {}, {}
        for name, objective in self.objectives.items():
            found = {}
            preds[name], targets[name] = objective.predict_and_target(batch, all_loss, found)
            if metric is not None:
                metric.update(_prefixed(found, name))
        return preds, targets

    def evaluate(self, pred, target):
        """Metrics of every objective."""
        metric = {}
        for name, objective in self.objectives.items():
            metric.update(_prefixed(objective.evaluate(pred[name], target[name]), name))
        return metric


def _prefixed(metric, name):
    return {"%s %s" % (name, key): value for key, value in metric.items()}


def _free_name(name, taken):
    candidates = itertools.chain([name], ("%s%d" % (name, number) for number in itertools.count(2)))
    return next(candidate for candidate in candidates if candidate not in taken)


def _checked(objectives):
    """The configurations, each with a class."""
    if not isinstance(objectives, (list, tuple)) or not objectives:
        raise ValueError("objectives should be a list of one objective or more, but found %s" % (objectives,))
    for i, config in enumerate(objectives):
        if not isinstance(config, dict) or "class" not in config:
            raise ValueError(
                "objectives.%d should be a mapping with `class`, such as {'class': "
                "'EdgeDistancePrediction', 'num_sample': 64}, but found %s" % (i, type(config).__name__)
            )
    return objectives


def _checked_weights(weights):
    numbers = [isinstance(w, (int, float)) and not isinstance(w, bool) and math.isfinite(w) and w >= 0 for w in weights]
    if not all(numbers) or not any(weights):
        raise ValueError("weight of objectives should be numbers of at least 0, and not all 0, but found %s" % weights)
    return weights


def _disown(objective, *shared):
    """
    Let the modules of an objective refer to what is shared without holding it as their submodule: it belongs to the
    combined task, which moves it, trains it and writes it into the state dict once.
    """
    for module in objective.modules():
        for name, child in list(module._modules.items()):
            if child is not None and any(child is other for other in shared):
                del module._modules[name]
                module.__dict__[name] = child
