"""Learning rates of the encoder and of its sequence model, as ratios of the optimizer's."""

import inspect
import logging

from gearnet_plugin.engine.build import arguments, build, find_class
from gearnet_plugin.engine.checkpoint import find_encoder
from gearnet_plugin.engine.errors import ConfigError

logger = logging.getLogger(__name__)

KEYS = ("lr_ratio", "sequence_model_lr_ratio")
#: rates by which schedulers replace those of all groups, where one number is given
RATES = ("max_lr", "base_lr", "swa_lr")


def build_optimizer(config, task):
    """
    Build the optimizer of a configuration, with a parameter group for each learning rate.

    Without ratios there is one group, as ever. Parameters that a task makes later (``core.Engine`` adds them) get the
    full learning rate.

    Parameters:
        config (dict): complete configuration, checked
        task (nn.Module): task
    """
    if all(config.get(key) is None for key in KEYS):
        return build(config["optimizer"], "optimizer", params=task.parameters())
    lr = _learning_rate(config["optimizer"])
    groups = [
        {"params": parameters, "lr": lr * ratio}
        for _, parameters, ratio in parts(task, config.get("lr_ratio"), config.get("sequence_model_lr_ratio"))
    ]
    return build(config["optimizer"], "optimizer", params=groups)


def parts(task, lr_ratio=None, sequence_model_lr_ratio=None):
    """
    Part the parameters of a task: its encoder, the sequence model of a fusion, and the rest, the head.

    Parameters:
        task (nn.Module): task
        lr_ratio (float, optional): learning rate of the encoder over that of the head
        sequence_model_lr_ratio (float, optional): that of the sequence model, which ``lr_ratio`` then leaves alone

    Returns:
        list of (str, list of Parameter, float): name, parameters and ratio of each part that has any
    """
    encoder, wanted = find_encoder(task), []
    if sequence_model_lr_ratio is not None:
        sequence_model = getattr(encoder, "sequence_model", None)
        if sequence_model is None:
            raise ConfigError(
                "sequence_model_lr_ratio",
                "is for the sequence model of a fusion "
                "(SequenceStructureFusion), but the encoder is %s; leave it out, or set `lr_ratio` for "
                "the encoder as a whole" % type(encoder).__name__,
            )
        wanted.append(("sequence model", sequence_model, sequence_model_lr_ratio, "sequence_model_lr_ratio"))
    if lr_ratio is not None:
        wanted.append(("encoder", encoder, lr_ratio, "lr_ratio"))
    found, taken = [], set()
    for name, module, ratio, key in wanted:
        parameters = [p for p in module.parameters() if id(p) not in taken]
        taken.update(map(id, parameters))
        if not any(p.requires_grad for p in parameters):
            logger.warning("`%s` is ignored: the %s is not trained", key, name)
        found.append((name, parameters, ratio))
    rest = [p for p in task.parameters() if id(p) not in taken]
    found.append(("head" if lr_ratio is not None else "rest", rest, 1.0))
    return [part for part in found if part[1]]


def build_scheduler(config, optimizer):
    """
    Build the scheduler of a configuration, if it has one; all groups keep their ratios.

    Most schedulers scale the rate of each group. Those that are given a rate set it for every group alike, so that it
    has to be scaled here.

    Parameters:
        config (dict): complete configuration, checked
        optimizer (Optimizer): with all its groups
    """
    scheduler = config.get("scheduler")
    if not scheduler:
        return None
    scheduler = dict(scheduler)
    if any(config.get(key) is not None for key in KEYS):
        ratios = [group["lr"] / optimizer.defaults["lr"] for group in optimizer.param_groups]
        for key in RATES:
            if isinstance(scheduler.get(key), (int, float)):
                scheduler[key] = [scheduler[key] * ratio for ratio in ratios]
    return build(scheduler, "scheduler", optimizer=optimizer)


def check_whole(optimizer, task):
    """Add to an optimizer what a task learns and the optimizer does not have yet."""
    known = {id(p) for group in optimizer.param_groups for p in group["params"]}
    absent = [p for p in task.parameters() if id(p) not in known]
    if absent:
        optimizer.add_param_group({"params": absent})


def describe(config, optimizer):
    """Return the learning rates of a configuration as text."""
    rate = optimizer.defaults["lr"]
    words = ["learning rate %g" % rate]
    for key, name in zip(KEYS, ("encoder", "sequence model")):
        if config.get(key) is not None:
            words.append("%s %g" % (name, rate * config[key]))
    return ", ".join(words)


def _learning_rate(optimizer):
    known = arguments(find_class(optimizer["class"], "optimizer"))[0]
    lr = optimizer.get("lr", known["lr"].default if "lr" in known else None)
    if lr is inspect.Parameter.empty or not isinstance(lr, (int, float)):
        raise ConfigError("optimizer.lr", "missing; `lr_ratio` and `sequence_model_lr_ratio` are of it")
    return lr
