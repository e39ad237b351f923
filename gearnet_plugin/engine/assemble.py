"""From a checked configuration to the objects of a run: data, task, optimizer, engine, scheduler."""
import contextlib
import dataclasses
import logging
import math
import os
import random

import numpy as np
import torch

from gearnet_plugin.engine import checkpoint, evaluation, groups, labels, precision, smoke, weight_files
from gearnet_plugin.engine.build import build, describe
from gearnet_plugin.engine.errors import ConfigError, listing
from gearnet_plugin.engine.precheck import compare_weights
from gearnet_plugin.engine.recorder import ProgressMeter, watch
from gearnet_plugin.engine.world import lost_connection
from torchdrug import core

logger = logging.getLogger(__name__)

SPLITS = ("train", "valid", "test")
DROPS = "drops.tsv"
WEIGHTS = ("model_checkpoint", "checkpoint")


@dataclasses.dataclass
class Assembly:
    """
    The objects of a run.

    Parameters:
        solver (core.Engine): engine with task, data and optimizer
        scheduler (LRScheduler, optional): learning rate scheduler
        plateau (bool): whether it follows the validation metric, so that not the engine steps it
        batch_per_epoch (int): batches of an epoch on each process
        best (Best): by which metric epochs are compared
        validates (bool): whether there is something to compare them by
        watching (handle): ends the counting of batches
        labels (dict): what is predicted, see :func:`gearnet_plugin.engine.labels.of_dataset`
    """

    solver: core.Engine
    scheduler: object
    plateau: bool
    batch_per_epoch: int
    best: evaluation.Best
    validates: bool
    watching: object
    labels: dict = dataclasses.field(default_factory=dict)


def seed_everything(seed, rank=None):
    """Seed Python, NumPy and torch; with a rank, differently on each."""
    if rank is not None:
        seed = int(np.random.SeedSequence([seed, rank]).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed % 2 ** 32)
    torch.manual_seed(seed)


def assemble(config, world, recorder, folder, is_smoke=False, download=True):
    """
    Build everything that a run needs, with the same weights on every rank.

    Parameters:
        config (EasyDict): complete configuration, checked; labels of the dataset are filled in
        world (World): the processes
        recorder (Recorder, optional): on rank 0
        folder (str): output folder, for the list of what the dataset left out
        is_smoke (bool, optional): take a few items, with random labels
        download (bool, optional): whether the network may be used

    Returns:
        Assembly: the objects
    """
    with weight_files.downloads(download):
        return _assemble(config, world, recorder, folder, is_smoke, download)


def _assemble(config, world, recorder, folder, is_smoke, download):
    for key in WEIGHTS:
        if config.get(key):
            # the name of published weights becomes their file
            config[key] = checkpoint.published_file(config[key], key, download)
    # reading the data may take an hour
    compare_weights(config)
    weight_files.have_all(config, download)
    seed_everything(config.seed)
    dataset = build(config.dataset, "dataset")
    if world.rank == 0:
        report_drops(dataset, folder)
    labels.fill_in(config, dataset)
    names = labels.of_dataset(config, dataset)
    if is_smoke:
        dataset = smoke.SmokeDataset(dataset, config, config.seed, world.size)
    sets = split(dataset)
    logger.info("%s: %d for training, %d for validation, %d for test", config.dataset["class"],
                *(len(part or ()) for part in sets))

    # data may draw random numbers; one seed should still give one set of weights
    seed_everything(config.seed)
    task = build(config.task, "task")
    if hasattr(task, "set_seed"):
        # of draws that are keyed by structure, the same on every rank
        task.set_seed(config.seed)
    if config.model_checkpoint:
        logger.info("encoder weights from %s", checkpoint.load_encoder(task, config.model_checkpoint))
    optimizer = groups.build_optimizer(config, task)
    solver = _engine(config, world, task, sets, optimizer, recorder)
    if config.checkpoint:
        # after the engine, since some tasks make their head from the training set
        logger.info("all weights from %s", checkpoint.load_task(solver.model, config.checkpoint, names))
    groups.check_whole(optimizer, solver.model)
    logger.info("%s, %s", config.optimizer["class"], groups.describe(config, optimizer))
    # after the engine too: a scheduler wants every parameter group, the head's included
    scheduler = groups.build_scheduler(config, optimizer)
    plateau = isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
    solver.scheduler = None if plateau else scheduler

    batches = math.ceil(math.ceil(len(sets[0]) / world.size) / config.engine.batch_size)
    # stock would wait for batches that never come, and drop the gradients of the last ones
    batch_per_epoch = min(config.train.batch_per_epoch or batches, batches)
    updates = math.ceil(batch_per_epoch / config.engine.gradient_interval)
    total = updates * config.train.num_epoch
    solver.meter = ProgressMeter(recorder, config.engine.log_interval, total, world.size)
    best, validates = _validation(config, solver, scheduler if plateau else None)
    encoder = checkpoint.find_encoder(solver.model)
    logger.info("%s with %s: %s parameters, of which the encoder %s", config.task["class"],
                type(encoder).__name__, count_parameters(solver.model), count_parameters(encoder))
    seed_everything(config.seed, world.rank)
    watching = watch(solver.model, solver.meter)
    return Assembly(solver, scheduler, plateau, batch_per_epoch, best, validates, watching, names)


def _engine(config, world, task, sets, optimizer, recorder):
    engine = dict(config.engine, gpus=world.gpus)
    del engine["precision"]
    try:
        solver = core.Engine(task, *sets, optimizer, None, logger=recorder or Silent(), **engine)
    except Exception as error:
        if isinstance(error, (ConfigError, torch.cuda.OutOfMemoryError)) or lost_connection(error):
            raise
        # `preprocess` of the task reads items and labels from the training set
        raise ConfigError("task", "%s cannot be prepared from the training set: %s"
                          % (config.task["class"], describe(error))) from error
    precision.apply(config, solver.device)
    return solver


def _validation(config, solver, plateau):
    """Settle whether and by what epochs are compared, before any is trained."""
    best = evaluation.Best(config.metric, config.metric_mode)
    validates = bool(solver.valid_set) and evaluation.can_evaluate(solver.model)
    if not validates:
        if config.metric is not None:
            logger.warning("`metric` is ignored: %s", "there is no validation set" if not solver.valid_set
                           else "the task has no metrics")
        if plateau is not None:
            raise ConfigError("scheduler", "ReduceLROnPlateau follows the validation metric, but there is "
                              "none; give the dataset a validation split, or take another scheduler")
        return best, False
    names = evaluation.preview(solver.model, solver.valid_set, solver.device)
    if names is None:
        return best, True
    best.settle(names)
    if config.metric is None and len(names) > 1:
        logger.info("`metric` is not given: `%s` chooses the best epoch", best.name)
    if plateau is not None and plateau.mode != best.mode:
        logger.warning("scheduler.mode is `%s`, but `%s` is best at its %simum: the learning rate would fall "
                       "while it improves. Set `mode: %s`", plateau.mode, best.name, best.mode, best.mode)
    return best, True


def split(dataset):
    """
    Return training, validation and test set; the latter two may be None.

    Parameters:
        dataset (Dataset): ``split()``, where it has that, gives one, two or three sets in this order, or
            those that ``split_names`` says; without it, all is for training
    """
    if callable(getattr(dataset, "split", None)) and getattr(dataset, "has_split", True):
        try:
            parts = list(dataset.split())
        except Exception as error:
            message = describe(error).replace("`drops` says why", "%s says why" % DROPS)
            raise ConfigError("dataset", message) from error
    else:
        parts = [dataset]
    names = getattr(dataset, "split_names", None) or SPLITS[:len(parts)]
    found = dict(zip(names, parts))
    if len(parts) > len(SPLITS) or len(found) < len(parts) or not set(found) <= set(SPLITS):
        raise ConfigError("dataset", "expected the splits `train`, `valid` and `test`, but found %d: %s"
                          % (len(parts), listing(names)))
    found = [found.get(name) if len(found.get(name) or ()) else None for name in SPLITS]
    if found[0] is None:
        raise ConfigError("dataset", "nothing is in the training set; splits with items: %s"
                          % listing(name for name, part in zip(SPLITS, found) if part))
    return found


def report_drops(dataset, folder):
    """Write which structures and residues the dataset left out, and why, to ``drops.tsv``."""
    drops = getattr(dataset, "drops", None)
    residues = getattr(dataset, "residues_left_out", None)
    path = os.path.join(folder, DROPS)
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)  # of an attempt that did not start
    if (drops or residues) and hasattr(dataset, "write_drops"):
        dataset.write_drops(path)
        logger.warning("%d structures or labels cannot be used, and %d files lack residues; the reasons are in %s",
                       len(drops or ()), len(residues or ()), path)


def count_parameters(module):
    """Return the number of parameters as text, such as ``20,145,635``."""
    return f"{sum(p.numel() for p in module.parameters()):,}"


class Silent(core.LoggerBase):
    """Log handler of the ranks that say nothing."""

    def log(self, record, step_id, category="train/batch"):
        """Nothing."""

    def log_config(self, config):
        """Nothing."""
