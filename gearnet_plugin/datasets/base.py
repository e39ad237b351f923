"""What all datasets of structures share: items, splits, and account of what is missing."""

from __future__ import annotations

import csv
import logging
import operator
from collections.abc import Sequence

import numpy as np
from torch.utils.data import Subset

from gearnet_plugin.graphs import ResidueProtein
from torchdrug import data

from .loading import StructuresDropped, residues_left_out

logger = logging.getLogger(__name__)


class StructureDataset(data.ProteinDataset):
    """
    Proteins from structures, with labels and splits.

    A subclass calls :meth:`configure`, sets the attributes below and then calls :meth:`report`. The constructor of
    the host is never called: it would read sequences, and record the arguments of the wrong class.

    Attributes:
        structures (LoadedStructures or StoredStructures): a structure an item
        targets (dict): for each name of a target a value an item
        drops (list): what cannot be used: (file or name, reason)
        residues_left_out (dict): what files that are used had to leave out: {file: {reason: number}}
        _splits (dict): for each split the numbers of its items
    """

    lazy = False

    def configure(self, transform=None, unknown="glycine"):
        """
        Set how items are made.

        Parameters:
            transform (Callable, optional): protein transformation function, applied to each item
            unknown (str, optional): what an unknown residue counts as, see :meth:`ResidueProtein.from_arrays`
        """
        # a wrong value is better told before an hour of reading than after
        ResidueProtein.from_arrays(np.zeros((1, 3)), [0], unknown=unknown)
        self.unknown = unknown
        self.transform = transform
        self.targets, self.drops, self.residues_left_out, self._splits = {}, [], {}, {}

    # === items ===

    def graph(self, index):
        """The protein of an item without transform; its tensors are its own, to be changed at will."""
        return self.structures.protein(index, self.unknown)

    def labels(self, index):
        """The labels of an item, by key."""
        return {name: values[index] for name, values in self.targets.items()}

    def get_item(self, index):
        item = {"graph": self.graph(index), **self.labels(index)}
        if self.transform:
            item = self.transform(item)
        return item

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self.get_item(i) for i in range(*index.indices(len(self)))]
        if isinstance(index, list):
            return [self.get_item(i) for i in index]
        return self.get_item(operator.index(index))

    def __len__(self):
        return len(self.structures)

    # === what is in it ===

    @property
    def names(self):
        """Name of each item: ``<file>_<chain>``, with the folder where several files have one name."""
        return self.structures.names

    @property
    def data(self):
        """The proteins alone, from which TorchDrug's dataset properties are made."""
        return _Proteins(self)

    @property
    def has_split(self):
        """Whether there are splits."""
        return bool(self._splits)

    @property
    def split_names(self):
        """Names of the splits that :meth:`split` returns, in its order."""
        return list(self._splits)

    def split(self):
        """
        The splits, in the order of ``split_names``.

        Raises:
            ValueError: none of the structures of a split can be used
        """
        for name, indices in self._splits.items():
            if not indices:
                raise ValueError(f"no structure of split `{name}` can be used; `drops` says why")
        return [Subset(self, indices) for indices in self._splits.values()]

    # === what is not ===

    def write_drops(self, file):
        """Write what was left out, structures and residues, as a TSV file with the columns file and reason."""
        with open(file, "w", newline="", encoding="utf-8") as fout:
            writer = csv.writer(fout, delimiter="\t", lineterminator="\n")
            writer.writerow(("file", "reason"))
            writer.writerows(self.drops)
            writer.writerows(
                (file, "residues left out: " + ", ".join(f"{number} x {reason}" for reason, number in reasons.items()))
                for file, reasons in self.residues_left_out.items()
            )

    def report(self, strict=False, verbose=1):
        """
        Log what is there and what is missing.

        Parameters:
            strict (bool, optional): raise if anything was left out
            verbose (int, optional): 0 logs only what is missing
        """
        for store in getattr(self.structures, "stores", ()):
            self.residues_left_out.update(store.residues_left_out())
        if strict and self.drops:
            raise StructuresDropped(self.drops)
        if self.drops:
            some = "".join(f"\n  {file}: {reason}" for file, reason in self.drops[:5])
            logger.warning(
                "%d structures or labels cannot be used and are left out (see `drops`), the first:%s",
                len(self.drops),
                some,
            )
        if self.residues_left_out:
            logger.warning("residues left out: %s (see `residues_left_out`)", residues_left_out(self.residues_left_out))
        if verbose:
            logger.info("%r", self)


class _Proteins(Sequence):
    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        return self.dataset.graph(index)
