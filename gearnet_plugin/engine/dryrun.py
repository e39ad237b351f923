"""``--dry-run``: what a configuration would train and what it lacks, without opening or fetching data."""
import contextlib
import os

from gearnet_plugin.engine import groups, heads, labels, launch, precision, weight_files
from gearnet_plugin.engine.assemble import WEIGHTS, count_parameters
from gearnet_plugin.engine.build import build
from gearnet_plugin.engine.checkpoint import find_encoder, published_file
from gearnet_plugin.engine.config import join, plain
from gearnet_plugin.engine.errors import ConfigError
from gearnet_plugin.engine.precheck import compare_weights
from gearnet_plugin.engine.weight_files import Unavailable

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
    weights = weight_files.named(config["task"], "task")
    try:
        rows += _describe_unread(config, weights) if weights else _describe(config)
    except Unavailable as error:
        rows.append(("task", "%s, not built: it reads weights" % config["task"]["class"]))
        missing.append(("missing", "weights of the model -> %s" % error))
    missing += [("missing", "weights of the model -> %s" % line) for _, line in weight_files.absent(config["task"])]
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


def _describe_unread(config, weights):
    """What can be said of a model whose weights would have to be read: gigabytes."""
    rows = [("task", "%s, not built: its sequence model is as large as its weights" % config["task"]["class"])]
    rows += [("weights", "%s: %s, %.1f GB, there and not read" % (name, path, os.path.getsize(path) / 1e9))
             for _, name, path, _, _ in weights if os.path.exists(path)]
    rows += _labels(config)
    return [*rows, ("optimizer", config["optimizer"]["class"] + _ratios(config))]


def _labels(config):
    """What the task predicts; fills it in, with a placeholder where only the data know it."""
    task, notes = config["task"], []
    if not labels.kind(config)[1] or task.get("task"):
        return notes
    known, columns = labels.names(config), labels.numbered(config)
    if known is None:
        notes.append(("labels", "all of the dataset; their number is known once it is opened"))
    elif columns:
        notes.append(("labels", "all %d of the dataset" % len(known)))
    else:
        notes.append(("labels", ", ".join(map(str, known))))
    task["task"] = known or (list(range(PLACEHOLDER)) if columns else ["label"])
    if known is None and columns:
        notes.append(("head", "counted with %d label in place of all" % PLACEHOLDER))
    if "ce" in labels.criteria(task) and task.get("num_class") is None:
        counts = [labels.num_classes(config, label) for label in task["task"]]
        if all(counts):
            task["num_class"] = counts
            notes.append(("classes", ", ".join(map(str, counts))))
    return notes


def _describe(config):
    notes = _labels(config)
    with weight_files.on_meta():
        task = build(config["task"], "task")
        optimizer = groups.build_optimizer(config, task)
        groups.build_scheduler(config, optimizer)
    encoder = find_encoder(task)
    outputs = heads.expected_size(config)
    rows = [
        ("task", "%s, %s parameters" % (config["task"]["class"], count_parameters(task))),
        ("encoder", "%s, %s parameters, output dim %s" % (
            type(encoder).__name__, count_parameters(encoder), getattr(encoder, "output_dim", "unknown"))),
    ]
    if not any(name.startswith("mlp.") or ".mlp." in name for name, _ in task.named_parameters()) and \
            labels.kind(config)[1]:
        notes.append(("head", "%snot counted: %s makes it from the training set when the run starts"
                      % ("%d outputs, " % outputs if outputs else "", config["task"]["class"])))
    lr = optimizer.param_groups[0]["lr"] if not _ratios(config) else optimizer.defaults["lr"]
    rows.append(("optimizer", "%s, learning rate %g%s%s" % (
        config["optimizer"]["class"], lr, _ratios(config),
        ", schedule %s" % config["scheduler"]["class"] if config.get("scheduler") else "")))
    return rows[:2] + notes + rows[2:]


def _ratios(config):
    """The ratios of learning rates as the end of a line."""
    words = {"lr_ratio": "the encoder", "sequence_model_lr_ratio": "its sequence model"}
    return "".join(", times %g for %s" % (config[key], name) for key, name in words.items() if config.get(key))


def _missing(config, not_given):
    """List the files and folders that are named and do not exist, and the variables without a value."""
    rows = [("missing", "variable `%s`: give --%s VALUE" % (name, name)) for name in not_given]
    for key, path in _paths(config["dataset"], "dataset"):
        if not os.path.exists(os.path.expanduser(path)):
            rows.append(("missing", "%s -> %s" % (key, os.path.abspath(os.path.expanduser(path)))))
    for key in WEIGHTS:
        if config.get(key):
            try:
                path = os.path.abspath(os.path.expanduser(published_file(config[key], key, download=False)))
                rows += [] if os.path.exists(path) else [("missing", "%s -> %s" % (key, path))]
            except ConfigError as error:  # published weights that are not here yet
                rows.append(("missing", str(error)))
    return rows


def _compare(config):
    """Compare the weights that are there; :func:`_missing` lists those that are not."""
    there = {}
    for key in WEIGHTS:
        with contextlib.suppress(ConfigError):
            path = published_file(config[key], key, download=False) if config.get(key) else None
            if path and os.path.exists(os.path.expanduser(path)):
                there[key] = path
    compare_weights({"task": config["task"], "dataset": config["dataset"], **there})


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
