"""``--dry-run``: what a configuration would train and what it lacks, without opening or fetching data."""
import os

import torch

from gearnet_plugin.engine import labels, launch, precision
from gearnet_plugin.engine.assemble import count_parameters
from gearnet_plugin.engine.build import build
from gearnet_plugin.engine.checkpoint import find_encoder
from gearnet_plugin.engine.config import join, plain
from gearnet_plugin.engine.errors import ConfigError
from gearnet_plugin.engine.precheck import Unavailable, compare_weights, no_downloads

# how many labels stand in where only the data know
PLACEHOLDER = 1
# arguments of datasets that name files, folders or stores
PATHS = ("path", "store", "source", "structures")


def dry_run(config, not_given=(), nproc=None):
    """
    Build model, task and optimizer on the ``meta`` device and describe them.

    Parameters:
        config (EasyDict): complete configuration, checked
        not_given (list of str, optional): variables of the file that have no value yet
        nproc (int, optional): ``--nproc``

    Returns:
        list of (str, str): rows of a table, those called ``missing`` last
    """
    config = plain(config)
    precision.fill_in(config)
    rows, missing = [], _missing(config, not_given)
    for check in (lambda: launch.workers_wanted(config["engine"]["gpus"], nproc),
                  lambda: _compare(config)):
        try:
            check()
        except ConfigError as error:
            missing.append(("missing", str(error)))
    try:
        rows += _describe(config)
    except Unavailable as error:
        rows.append(("task", "%s, not built: it reads weights that are not here" % config["task"]["class"]))
        missing.append(("missing", "weights of the model -> %s" % error))
    rows.append(("data", "%s, not opened" % config["dataset"]["class"]))
    gpus = config["engine"]["gpus"]
    rows.append(("runs on", "CPU" if gpus is None else "GPU %s" % ", ".join(map(str, gpus))))
    rows.append(("batch", "%d on each process, times %d before an update" % (
        config["engine"]["batch_size"], config["engine"]["gradient_interval"])))
    return rows + (missing or [("missing", "nothing")])


def table(rows):
    """Return rows as lines of text in two columns."""
    width = max(len(name) for name, _ in rows)
    return "\n".join("%-*s  %s" % (width, name, value) for name, value in rows)


def _describe(config):
    notes = []
    if labels.kind(config)[1] and config["task"].get("task") is None:
        known = labels.names(config)
        notes.append(("labels", "all of the dataset; their number is known once it is opened" if known is None
                      else ", ".join(map(str, known))))
        numbered = labels.kind(config)[0] in labels.NUMBERED
        config["task"]["task"] = known or (list(range(PLACEHOLDER)) if numbered else ["label"])
        if known is None and numbered:
            notes.append(("head", "counted with %d label in place of all" % PLACEHOLDER))
    with no_downloads(), torch.device("meta"):
        task = build(config["task"], "task")
        optimizer = build(config["optimizer"], "optimizer", params=task.parameters())
        if config.get("scheduler"):
            build(config["scheduler"], "scheduler", optimizer=optimizer)
    encoder = find_encoder(task)
    rows = [
        ("task", "%s, %s parameters" % (config["task"]["class"], count_parameters(task))),
        ("encoder", "%s, %s parameters, output dim %s" % (
            type(encoder).__name__, count_parameters(encoder), getattr(encoder, "output_dim", "unknown"))),
    ]
    if not any(name.startswith("mlp.") or ".mlp." in name for name, _ in task.named_parameters()) and \
            labels.kind(config)[1]:
        notes.append(("head", "not counted: %s makes it from the training set when the run starts"
                      % config["task"]["class"]))
    lr = optimizer.param_groups[0]["lr"]
    rows.append(("optimizer", "%s, learning rate %g%s" % (
        config["optimizer"]["class"], lr,
        ", schedule %s" % config["scheduler"]["class"] if config.get("scheduler") else "")))
    return rows[:2] + notes + rows[2:]


def _missing(config, not_given):
    """List the files and folders that are named and do not exist, and the variables without a value."""
    rows = [("missing", "variable `%s`: give --%s VALUE" % (name, name)) for name in not_given]
    for key, path in _paths(config["dataset"], "dataset"):
        if not os.path.exists(os.path.expanduser(path)):
            rows.append(("missing", "%s -> %s" % (key, os.path.abspath(os.path.expanduser(path)))))
    for key in ("model_checkpoint", "checkpoint"):
        path = config.get(key)
        if path and not os.path.exists(os.path.expanduser(path)):
            rows.append(("missing", "%s -> %s" % (key, os.path.abspath(os.path.expanduser(path)))))
    return rows


def _compare(config):
    """Compare the weights that are there; :func:`_missing` lists those that are not."""
    there = {key: config[key] for key in ("model_checkpoint", "checkpoint")
             if config.get(key) and os.path.exists(os.path.expanduser(config[key]))}
    compare_weights({"task": config["task"], **there})


def _paths(value, key):
    if isinstance(value, dict):
        for name, child in value.items():
            if name in PATHS:
                for path in child if isinstance(child, list) else [child]:
                    if isinstance(path, str) and not any(c in path for c in "*?["):
                        yield join(key, name), path
            else:
                yield from _paths(child, join(key, name))
    elif isinstance(value, list):
        for i, child in enumerate(value):
            yield from _paths(child, join(key, i))
