"""
Files of weights: written whole or not at all, read without running anything that is inside.

An *encoder* is the part of a task that is worth keeping: its state dict, in TorchDrug's key names, is what
``model_checkpoint`` loads, whatever task it was trained in.
"""
import contextlib
import os
import pickle
import re

import torch
import yaml
from torch import nn

from gearnet_plugin.engine import heads
from gearnet_plugin.engine.errors import ConfigError, listing
from gearnet_plugin.engine.mismatch import explain
from torchdrug import core

ENCODER_WEIGHTS = "encoder.pth"
ENCODER_RECIPE = "encoder.yaml"
BEST = "checkpoint-best.pth"
STOPPED = "checkpoint-stopped.pth"


@contextlib.contextmanager
def whole_file(path):
    """Open a temporary file, binary, that becomes ``path`` when the block ends well and vanishes when not."""
    folder, name = os.path.split(os.path.abspath(path))
    temporary = os.path.join(folder, ".%s.%d" % (name, os.getpid()))
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)
        raise
    with contextlib.suppress(OSError):  # a folder cannot be synchronised on every file system
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def save(state, path):
    """Write a state with ``torch.save``, tensors on CPU."""
    with whole_file(path) as file:
        torch.save(_on_cpu(state), file)


def _on_cpu(state):
    if isinstance(state, torch.Tensor):
        return state.detach().cpu()
    if isinstance(state, dict):
        return {key: _on_cpu(value) for key, value in state.items()}
    return state


def copy_weights(module):
    """Return a copy of the state dict of a module, tensors on CPU."""
    return {name: value.detach().to("cpu", copy=True) if isinstance(value, torch.Tensor) else value
            for name, value in module.state_dict().items()}


def find_encoder(task):
    """
    Return the encoder of a task: its model without wrappers that only pretrain (contrast, InfoGraph).

    A wrapper is known by its ``model`` being an encoder itself, something with an ``output_dim``.
    """
    model = task.model
    while isinstance(getattr(model, "model", None), nn.Module) and hasattr(model.model, "output_dim"):
        model = model.model
    return model


def save_encoder(task, folder, version):
    """
    Write ``encoder.pth`` and ``encoder.yaml``, from which the encoder and its graph can be built anywhere.

    Parameters:
        task (nn.Module): task
        folder (str): folder for both files
        version (str): version of this package
    """
    encoder = find_encoder(task)
    save(encoder.state_dict(), os.path.join(folder, ENCODER_WEIGHTS))
    construction = getattr(task, "graph_construction_model", None)
    recipe = {
        "encoder": _without_caches(_config_dict(encoder)),
        "graph_construction_model": _config_dict(construction),
        "gearnet_plugin": version,
    }
    with whole_file(os.path.join(folder, ENCODER_RECIPE)) as file:
        file.write(yaml.safe_dump(recipe, sort_keys=False, default_flow_style=None).encode())


def _without_caches(config):
    """A recipe whose fusion runs its sequence model: cached features are those of the training set."""
    if not isinstance(config, dict):
        return [_without_caches(child) for child in config] if isinstance(config, list) else config
    config = {key: _without_caches(value) for key, value in config.items()}
    if config.get("class") == "models.SequenceStructureFusion":
        config["features"] = None
    return config


def _config_dict(module):
    """Return class and arguments of a module as plain values, or None for one that does not record them."""
    return _plain_values(module.config_dict()) if isinstance(module, core.Configurable) else None


def _plain_values(value):
    if isinstance(value, dict):
        return {str(key): _plain_values(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain_values(child) for child in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    # a function given in Python, such as an activation: its name says what it was
    return getattr(value, "__name__", str(value))


def read_state(path, key="checkpoint"):
    """
    Read a file of weights, or the best one of a run folder, without unpickling code.

    Parameters:
        path (str): ``encoder.pth``, any checkpoint, the folder of a run, or the name of published weights, which are
            downloaded where they are not there yet
        key (str, optional): path of the setting, for messages

    Returns:
        (dict, str): what the file holds, and the file
    """
    path = os.path.expanduser(published_file(path, key))
    if os.path.isdir(path):
        path = _best_file(path, key)
    if not os.path.isfile(path):
        raise ConfigError(key, "there is no file or run folder `%s`, nor are published weights of that name"
                          % os.path.abspath(path))
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ConfigError(key, _not_weights(path, error)) from None
    except Exception as error:  # noqa: BLE001  torch raises many kinds for a file cut short
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(key, "`%s` is no checkpoint or is damaged (%d bytes): %s" % (
            path, os.path.getsize(path), reason)) from None
    if not isinstance(state, dict):
        raise ConfigError(key, "`%s` holds %s instead of a state dict" % (path, type(state).__name__))
    return state, path


def published_file(path, key, download=True):
    """Return the file that the name of published weights stands for, downloaded if allowed; anything else as it is."""
    # that package imports this module
    from gearnet_plugin.embedding import weight_folder

    try:
        return weight_folder.resolve(path, download)
    except (OSError, ValueError) as error:
        raise ConfigError(key, str(error)) from None


def _not_weights(path, error):
    text = str(error)
    found = re.search(r"(?:Unsupported global: )?GLOBAL ([\w.]+)", text)
    if found:
        return ("`%s` holds pickled Python objects (%s), which could run code and are never loaded. Save "
                "tensors only: torch.save(model.state_dict(), path)" % (path, found.group(1)))
    # not torch's own text: it advises to load the file unsafely
    return "`%s` is no checkpoint or is damaged (%d bytes)" % (path, os.path.getsize(path))


def _best_file(folder, key):
    """Return the file of a run folder that counts: the encoder, else the best, else the last checkpoint."""
    for name in (ENCODER_WEIGHTS, BEST) if key == "model_checkpoint" else (BEST,):
        if os.path.isfile(os.path.join(folder, name)):
            return os.path.join(folder, name)
    found = [re.fullmatch(r"checkpoint-(\d+)\.pth", name) for name in os.listdir(folder)]
    steps = {int(match.group(1)): match.string for match in found if match}
    if not steps:
        raise ConfigError(key, "the folder `%s` holds no checkpoint (`checkpoint-*.pth`, `%s`)"
                          % (os.path.abspath(folder), ENCODER_WEIGHTS))
    return os.path.join(folder, steps[max(steps)])


def model_state(state, path, key):
    """Return the model's part of a checkpoint: {name: tensor}."""
    state = state["model"] if isinstance(state.get("model"), dict) else state
    tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise ConfigError(key, "`%s` holds no weights; its keys are %s" % (path, listing(list(state)[:5])))
    return tensors


def encoder_state(tensors, names):
    """
    Return the part of a state dict that belongs to an encoder, without the prefix that the task gave it.

    Parameters:
        tensors (dict): state dict of an encoder or of a task around it
        names (iterable of str): names that the encoder expects
    """
    counts = {}
    for expected in names:
        for name in tensors:
            if name == expected or name.endswith("." + expected):
                prefix = name[:len(name) - len(expected)]
                # half of a sequence model joined with a structure encoder is not the encoder that was trained
                if not prefix.endswith(("sequence_model.", "structure_model.")):
                    counts[prefix] = counts.get(prefix, 0) + 1
    if not counts:
        return tensors
    # of two equally good ones (an encoder inside an encoder) the outer
    prefix = max(counts, key=lambda x: (counts[x], -len(x)))
    return {name[len(prefix):]: value for name, value in tensors.items() if name.startswith(prefix)}


def load_encoder(task, path):
    """Load the encoder of a task from a file or run folder; every weight must fit. Returns the file."""
    state, file = read_state(path, "model_checkpoint")
    encoder = find_encoder(task)
    found = compare_encoder(task, state, file, "model_checkpoint")
    encoder.load_state_dict(found)
    return file


def compare_encoder(task, state, file, key):
    """
    Return the encoder's part of what a file holds, after checking that every weight fits the task's encoder.

    Parameters:
        task (nn.Module): task, or anything with its ``model``; may be on the ``meta`` device
        state (dict): what the file holds
        file (str): the file, for messages
        key (str): path of the setting, for messages
    """
    encoder = find_encoder(task)
    found = encoder_state(model_state(state, file, key), encoder.state_dict())
    _compare(encoder, found, file, key)
    return found


def load_task(task, path, names=None):
    """
    Load a whole task with its head from a file or run folder; every weight must fit.

    Parameters:
        task (nn.Module): task
        path (str): file or run folder
        names (dict, optional): labels of this run, which have to be those of the file where both are known

    Returns:
        str: the file
    """
    state, file = read_state(path, "checkpoint")
    tensors = model_state(state, file, "checkpoint")
    if names:
        heads.compare(state, file, names)
        heads.compare_sizes(heads.size(task.state_dict()), tensors, file)
    heads.compare_kinds(task, tensors, file)
    _compare(task, tensors, file, "checkpoint")
    task.load_state_dict(tensors)
    return file


def _compare(module, state, file, key):
    message = explain(module.state_dict(), state)
    if message:
        raise ConfigError(key, "the weights in `%s` do not fit. %s" % (file, message))
    bad = not_finite(module, state)
    if bad:
        raise ConfigError(key, "`%s` in `%s` holds NaN or infinity, so these weights are of no use; take an earlier "
                          "checkpoint" % (bad, file))


def not_finite(module, state=None):
    """
    Return the first name of what a module learns (parameters, running statistics) that is not all finite.

    Parameters:
        module (nn.Module): module
        state (dict, optional): state dict to look at; by default the module's own
    """
    state = module.state_dict() if state is None else state
    learned = dict(module.named_parameters())
    for name, value in state.items():
        if (name in learned or ".running_" in name) and not bool(value.isfinite().all()):
            return name
    return None
