"""``--smoke``: any configuration for two optimizer steps on few bundled structures, narrow, from scratch."""
import os

import torch
from easydict import EasyDict
from torch.utils import data as torch_data

from gearnet_plugin.engine import labels
from gearnet_plugin.engine.config import plain
from gearnet_plugin.engine.weight_files import ESM
from torchdrug import models

WIDTH = 32
STEPS = 2
BATCH_SIZE = 4
EVALUATED = 4
NUM_CLASS = 3
# the arguments that set how wide an encoder is
FUSIONS = ("SequenceStructureFusion", "FusionNetwork")
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
    if labels.kind(config)[1]:
        task["task"] = labels.names(config) or ([0, 1, 2] if labels.numbered(config) else ["label"])
        if "ce" in labels.criteria(task) and task.get("num_class") is None:
            # the head keeps its size
            task["num_class"] = [labels.num_classes(config, label) or NUM_CLASS for label in task["task"]]
    engine = dict(config["engine"], gradient_interval=1, num_worker=0, log_interval=1,
                  # one protein is no contrast and no BatchNorm
                  batch_size=max(2, min(config["engine"]["batch_size"], BATCH_SIZE)))
    train = {"num_epoch": 1, "batch_per_epoch": STEPS}
    return EasyDict(dict(config, dataset=dataset, task=task, engine=engine, train=train, eval_interval=None,
                         save_interval=None, model_checkpoint=None, checkpoint=None))


def _narrow(value, key):
    if isinstance(value, dict) and value.get("class") in ESM:
        return _stand_in(value)
    if isinstance(value, dict) and _leaf(value) in FUSIONS:
        return _narrow_fusion(value)
    if isinstance(value, dict) and _leaf(value) == "ProteinBERT":
        # heads share the width
        heads = value.get("num_heads", 12)
        value = dict(value, num_heads=heads if isinstance(heads, int) and heads > 0 and WIDTH % heads == 0 else 4)
        value = {"hidden_dim": WIDTH, "intermediate_dim": WIDTH, **value}
    if key in WIDTHS:
        if isinstance(value, list):
            return [WIDTH] * len(value)
        return WIDTH if isinstance(value, int) else value
    if isinstance(value, dict):
        return {name: _narrow(child, name) for name, child in value.items()}
    if isinstance(value, list):
        return [_narrow(child, None) for child in value]
    return value


def _leaf(config):
    return str(config.get("class")).rpartition(".")[2]


def _narrow_fusion(value):
    """In series the structure model takes the features of the sequence model, whose width has changed."""
    value = {name: _narrow(child, name) for name, child in value.items()}
    if value.get("features") is not None:
        # made by a model that does not run here
        value["features"] = None
    sequence, structure = value.get("sequence_model"), value.get("structure_model")
    if isinstance(sequence, dict) and isinstance(structure, dict) and value.get("fusion", "series") == "series":
        width = _width(sequence)
        if width is not None and "input_dim" in structure:
            value["structure_model"] = dict(structure, input_dim=width)
    return value


def _width(config):
    """Width of the residue features of a narrow sequence model, None where that is not known."""
    name, dims = _leaf(config), config.get("hidden_dims")
    if name == "ProteinLSTM":
        return 2 * WIDTH
    if name == "ProteinBERT":
        return WIDTH
    if isinstance(dims, list):
        return sum(dims) if config.get("concat_hidden") else dims[-1]
    return dims if isinstance(dims, int) else None


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
        self.seed = seed
        self.residue_labels = _residue_labels(config) if labels.per_residue(config) else {}
        labelled = labels.kind(config)[1] and not self.residue_labels
        self.labels = _random_labels(config, size, generator, self.bounds) if labelled else [{}] * size

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        graph = self.dataset[index % len(self.dataset)]["graph"]
        if self.residue_labels:
            self._label_residues(graph, index)
        return {"graph": graph, **self.labels[index]}

    def _label_residues(self, graph, index):
        generator = torch.Generator().manual_seed(self.seed + index)
        with graph.residue():
            for name, count in self.residue_labels.items():
                size = int(graph.num_residue)
                if count is None:
                    value = torch.randn(size, generator=generator)
                else:  # in turns, so that no protein has one class alone
                    value = (torch.arange(size) + index) % count
                setattr(graph, name, value.float())

    @property
    def bounds(self):
        """Where the three sets begin, and the end."""
        return [0, self.num_train, self.num_train + EVALUATED, self.num_train + 2 * EVALUATED]

    @property
    def names(self):
        """Name of each item."""
        return [self.dataset.names[i % len(self.dataset)] for i in range(len(self))]

    def split(self):
        """Return training, validation and test set."""
        bounds = self.bounds
        return [torch_data.Subset(self, range(a, b)) for a, b in zip(bounds, bounds[1:])]


def _random_labels(config, size, generator, bounds):
    task = config["task"]
    names = labels.names(config)
    if labels.numbered(config):
        targets = torch.randint(2, (size, max(names) + 1), generator=generator).float()
        _vary(targets, bounds, 2)
        return [{labels.TARGETS: row} for row in targets]
    criteria = labels.criteria(task)
    if "mse" in criteria:
        columns = {name: torch.randn(size, generator=generator).tolist() for name in names}
    else:
        counts = task.get("num_class") or (2 if "bce" in criteria else NUM_CLASS)
        counts = [counts] * len(names) if isinstance(counts, int) else counts
        columns = {}
        for name, count in zip(names, counts):
            # `bce` with one output a task has classes 0 and 1
            column = torch.randint(max(count, 2), (size, 1), generator=generator)
            _vary(column, bounds, max(count, 2))
            columns[name] = column[:, 0].tolist()
    return [{name: column[i] for name, column in columns.items()} for i in range(size)]


def _residue_labels(config):
    """Labels of residues, with the number of their classes, None for numbers."""
    criteria = labels.criteria(config["task"])
    if "mse" in criteria:
        return dict.fromkeys(labels.names(config))
    return {name: 2 if "bce" in criteria else labels.num_classes(config, name) or NUM_CLASS
            for name in labels.names(config)}


def _vary(targets, bounds, count):
    """Let no split have one class of a label alone, of which nothing can be learned or said."""
    for begin, end in zip(bounds, bounds[1:]):
        alone = (targets[begin:end] == targets[begin]).all(dim=0)
        targets[begin, alone] = (targets[begin, alone] + 1) % count
