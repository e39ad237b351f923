"""``--smoke``: any configuration for two optimizer steps on few bundled structures, narrow, from scratch."""
import os

import torch
from easydict import EasyDict
from torch.utils import data as torch_data

from gearnet_plugin.engine import labels
from gearnet_plugin.engine.config import plain
from torchdrug import models

WIDTH = 32
STEPS = 2
BATCH_SIZE = 4
EVALUATED = 4
NUM_CLASS = 3
# the arguments that set how wide an encoder is
WIDTHS = ("hidden_dims", "hidden_dim", "embedding_dim", "intermediate_dim")


def shrink(config):
    """
    Return the smallest form of a configuration: bundled structures, width 32, two steps, no checkpoint.

    Parameters:
        config (EasyDict): complete configuration
    """
    config = plain(config)
    dataset = {"class": "StructureFolder", "path": bundled_table()}
    if config["dataset"].get("transform") is not None:
        dataset["transform"] = config["dataset"]["transform"]
    task = {key: _narrow(value, key) for key, value in config["task"].items()}
    key, labelled = labels.kind(config)
    if labelled:
        if "ce" in labels.criteria(task) and task.get("num_class") is None:
            task["num_class"] = NUM_CLASS
        task["task"] = labels.names(config) or ([0, 1, 2] if key in labels.NUMBERED else ["label"])
    engine = dict(config["engine"], gradient_interval=1, num_worker=0, log_interval=1,
                  # one protein is no contrast and no BatchNorm
                  batch_size=max(2, min(config["engine"]["batch_size"], BATCH_SIZE)))
    train = {"num_epoch": 1, "batch_per_epoch": STEPS}
    return EasyDict(dict(config, dataset=dataset, task=task, engine=engine, train=train, eval_interval=None,
                         save_interval=None, model_checkpoint=None, checkpoint=None))


def _narrow(value, key):
    if isinstance(value, dict) and value.get("class") in ("ESM", "models.ESM"):
        return _stand_in(value)
    if key in WIDTHS:
        if isinstance(value, list):
            return [WIDTH] * len(value)
        return WIDTH if isinstance(value, int) else value
    if isinstance(value, dict):
        return {name: _narrow(child, name) for name, child in value.items()}
    if isinstance(value, list):
        return [_narrow(child, None) for child in value]
    return value


def _stand_in(config):
    """A random vector for each residue type in place of ESM, as wide, so that whatever follows fits."""
    width = models.ESM.output_dim.get(config.get("model", "ESM-1b"), WIDTH)
    return {"class": "ProteinConvolutionalNetwork", "input_dim": 21, "hidden_dims": [width], "kernel_size": 1,
            "padding": 0, "readout": config.get("readout", "mean")}


def bundled_table():
    """Return the table of the structures that come with the package."""
    from gearnet_plugin.structures.bundled import bundled_path

    path = str(bundled_path())
    return os.path.join(path, "chains.tsv") if os.path.isdir(path) else path


class SmokeDataset(torch_data.Dataset):
    """
    The first items of a dataset, with random labels of the kind that the task of a configuration wants.

    Parameters:
        dataset (Dataset): items ``{"graph": protein}``
        config (dict): shrunk configuration
        seed (int): seed of the labels
        world_size (int): number of processes
    """

    def __init__(self, dataset, config, seed, world_size=1):
        self.dataset = dataset
        self.num_train = STEPS * config["engine"]["batch_size"] * world_size
        generator = torch.Generator().manual_seed(seed)
        size = self.num_train + 2 * EVALUATED
        self.labels = _random_labels(config, size, generator) if labels.kind(config)[1] else [{}] * size

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        item = self.dataset[index % len(self.dataset)]
        return {"graph": item["graph"], **self.labels[index]}

    def split(self):
        """Return training, validation and test set."""
        bounds = [0, self.num_train, self.num_train + EVALUATED, len(self)]
        return [torch_data.Subset(self, range(a, b)) for a, b in zip(bounds, bounds[1:])]


def _random_labels(config, size, generator):
    key = labels.kind(config)[0]
    task = config["task"]
    names = labels.names(config)
    if key in labels.NUMBERED:
        targets = torch.randint(2, (size, max(names) + 1), generator=generator).float()
        return [{"targets": row} for row in targets]
    criterion = task.get("criterion", "mse")
    if "mse" in criterion:
        columns = {name: torch.randn(size, generator=generator).tolist() for name in names}
    else:
        counts = task.get("num_class") or (2 if "bce" in criterion else NUM_CLASS)
        counts = [counts] * len(names) if isinstance(counts, int) else counts
        # `bce` with one output a task has classes 0 and 1
        columns = {name: torch.randint(max(count, 2), (size,), generator=generator).tolist()
                   for name, count in zip(names, counts)}
    return [{name: column[i] for name, column in columns.items()} for i in range(size)]
