"""The labels of training, validation and test set, read without making proteins where that can be."""

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Subset

from gearnet_plugin.datasets.labels import quoted
from gearnet_plugin.tasks.head import did_you_mean

SPLITS = ("training", "validation", "test")


@dataclass
class Labels:
    """
    One label of all items of a set.

    Parameters:
        where (str): the set, for messages
        name (str): the label
        values (np.ndarray): float64, NaN for none; a value an item, or the residues of all items one after the other
        ends (np.ndarray): of each item the end of its values
    """

    where: str
    name: str
    values: np.ndarray
    ends: np.ndarray

    @property
    def known(self):
        """The values that there are."""
        return self.values[~np.isnan(self.values)]

    def place(self, mask):
        """Where the first value of a mask is, in words."""
        return "item %d of the %s set" % (np.searchsorted(self.ends, np.flatnonzero(mask)[0], "right"), self.where)


@dataclass
class Counts:
    """
    Columns of ``targets`` of all items of a set.

    Parameters:
        items (int): number of items
        positive (Tensor): items that have each label, float64 of shape :math:`(L,)`
        labeled (Tensor): items that have it or are known not to, float64 of shape :math:`(L,)`
    """

    items: int
    positive: torch.Tensor
    labeled: torch.Tensor


def base_dataset(dataset):
    """The data set that a subset of a subset is of."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return dataset


def reader(dataset, method="labels"):
    """
    What reads the labels of an item of a set without its protein.

    Parameters:
        dataset (Dataset): data set, or subset of one
        method (str, optional): of the data set: ``labels`` of proteins, ``residue_values`` of residues

    Returns:
        Callable or None: number of the item -> {name: value}; None where only the item itself has them
    """
    if isinstance(dataset, Subset):
        inner = reader(dataset.dataset, method)
        return inner and (lambda index: inner(dataset.indices[index]))
    if method == "residue_values" and not getattr(dataset, "residue_tasks", True):
        # a transform may set them
        return None
    found = getattr(dataset, method, None)
    return found if callable(found) else None


# === reading ===


def read_labels(sets, names, level="protein"):
    """
    Read named labels of all sets.

    Parameters:
        sets (dict): {where: data set}; those that are None or empty are left out
        names (list of str): names of the labels
        level (str, optional): ``protein``: keys of an item; ``residue``: residue attributes of its graph

    Returns:
        dict: {name: list of Labels}
    """
    found = {name: [] for name in names}
    for where, dataset in sets.items():
        if not dataset:
            continue
        values, ends = {name: [] for name in names}, []
        for index, sample in enumerate(_samples(dataset, level, names)):
            row = _residues(sample, names, where) if level == "residue" else _protein(sample, names, where, index)
            ends.append((ends[-1] if ends else 0) + len(row[0]))
            for name, own in zip(names, row):
                values[name].append(own)
        for name in names:
            found[name].append(Labels(where, name, np.concatenate(values[name]), np.array(ends)))
    return found


def read_counts(dataset, columns, where):
    """
    Count columns of ``targets``.

    Parameters:
        dataset (Dataset): set
        columns (list of int): columns
        where (str): the set, for messages

    Returns:
        Counts: counts
    """
    index = torch.tensor(columns)
    positive, labeled = torch.zeros(2, len(columns), dtype=torch.float64).unbind()
    items = 0
    for number, sample in enumerate(_samples(dataset, "protein", ["targets"])):
        if not sample.get("labeled", True):
            continue
        targets = _targets(sample, columns, where, number)[index].double()
        known = ~torch.isnan(targets)
        if not bool(((targets == 0) | (targets == 1) | ~known).all()):
            raise ValueError(
                "`targets` should hold 0, 1, or NaN for no label, but item %d of the %s set holds others"
                % (number, where)
            )
        positive += targets.nan_to_num()
        labeled += known
        items += 1
    return Counts(items, positive, labeled)


def _samples(dataset, level, names):
    """The labels of every item, from the items themselves where the data set does not offer them alone."""
    read = reader(dataset, "labels" if level == "protein" else "residue_values")
    if read is not None and not set(names) <= set(read(0)) and getattr(base_dataset(dataset), "transform", None):
        # a transform may make them
        read = None
    for index in range(len(dataset)):
        if read is not None:
            yield read(index)
        else:
            sample = dataset[index]
            yield sample if level == "protein" else sample["graph"]


def _targets(sample, columns, where, number):
    if "targets" not in sample:
        raise ValueError(
            "task lists columns of `targets`, but item %d of the %s set has no `targets`. The labels it has: %s. Name "
            "them in task" % (number, where, quoted(_label_names(sample)) or "none")
        )
    targets = torch.as_tensor(sample["targets"])
    if targets.dim() != 1:
        raise ValueError(
            "`targets` should be a vector, but that of item %d of the %s set has shape %s"
            % (number, where, tuple(targets.shape))
        )
    if max(columns) >= len(targets):
        raise ValueError(
            "task lists column %d of `targets`, counted from 0, but the %s set has %d (item %d): the labels of another "
            "data set?" % (max(columns), where, len(targets), number)
        )
    return targets


def _protein(sample, names, where, index):
    """The labels of one protein, each a vector of one value."""
    if not sample.get("labeled", True):
        return [np.array([math.nan])] * len(names)
    row = []
    for name in names:
        if name not in sample:
            raise ValueError(
                "no label is called `%s` in item %d of the %s set.%s"
                % (name, index, where, did_you_mean(name, _label_names(sample)))
            )
        value = sample[name]
        if not isinstance(value, numbers.Real):
            value = torch.as_tensor(value)
            if value.numel() != 1:
                raise ValueError(
                    "label `%s` should be one number a protein, but that of item %d of the %s set has shape %s. For "
                    "several labels a protein list columns of `targets` in task"
                    % (name, index, where, tuple(value.shape))
                )
            value = value.item()
        row.append(np.array([value], dtype=np.float64))
    return row


def _residues(source, names, where):
    """The labels of the residues of one protein: vectors of one length."""
    row = []
    for name in names:
        value = residue_label(source, name, "the %s set" % where)
        row.append(np.asarray(value, dtype=np.float64))
    return row


def residue_label(source, name, where="the batch"):
    """
    A label of residues.

    Parameters:
        source (PackedProtein, Protein or dict): graph with residue attributes, or labels by name
        name (str): the label
        where (str, optional): what it is of, for messages
    """
    value = source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)
    if value is None:
        held = source if isinstance(source, Mapping) else _own_attributes(source)
        raise ValueError(
            "level is `residue`, but the proteins of %s have no residue attribute `%s`.%s. StructureFolder sets such "
            "attributes by `residue_labels`; in Python: `with graph.residue(): graph.%s = values`, NaN for none"
            % (where, name, did_you_mean(name, held), name)
        )
    return value


def _label_names(sample):
    return [name for name in sample if name not in ("graph", "labeled")]


def _own_attributes(graph):
    """Residue attributes that are no part of every protein."""
    usual = ("residue_type", "unknown_residue", "residue_feature", "residue_number", "insertion_code", "chain_id")
    return [name for name, kinds in graph.meta_dict.items() if "residue" in kinds and name not in usual]
