"""One's own structures: a folder, a list or a table of files, with labels and splits."""
from __future__ import annotations

import csv
import logging
import math
import operator
import os
from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Subset

from gearnet_plugin.graphs import ResidueProtein
from torchdrug import core, data
from torchdrug.core import Registry as R

from .files import find_structures
from .loading import StructuresDropped, load_structures, residues_left_out
from .table import SPLITS, Row, Table, is_table, read_table

logger = logging.getLogger(__name__)

# keys of an item to which TorchDrug's tasks give a meaning of their own
RESERVED = ("graph", "labeled", "targets")


@R.register("datasets.StructureFolder")
class StructureFolder(data.ProteinDataset, core.Configurable):
    """
    Protein structures from files, with labels and splits if a table gives them.

    An item is ``{"graph": ResidueProtein}`` and its labels. A class (int) or number (float) is
    ``item[target]``, NaN where there is none, as ``tasks.PropertyPrediction`` takes it. Several labels a
    structure are ``item["targets"]``, zeros and ones of shape :math:`(L,)`, as
    ``tasks.MultipleBinaryClassification`` takes them.

    A table has a row a structure and these columns: ``structure`` (path, absolute or relative to the table),
    ``chain`` (optional; author's chain id, empty for all chains), ``split`` (optional; ``train``, ``valid``,
    ``test``, or empty for a structure in none of them), and labels in the columns named by ``target``, read
    as said at :func:`~gearnet_plugin.datasets.labels.parse_target`.

    Structures that cannot be read, do not exist or lack the chain asked for are left out; ``drops`` holds
    the file and the reason of each. A faulty table is an error at once.

    Parameters:
        path (str or list): a folder (with its subfolders), a glob pattern, a structure file, a text file
            (``.txt``) with one path a line, a list of these, or a table (``.csv``, ``.tsv``)
        target (str or list of str, optional): columns of the table that hold labels
        kind (str or list of str, optional): ``class``, ``multilabel`` (labels in a cell separated by ``;``)
            or ``number``, for all targets or for each. By default inferred from the cells, and logged.
        classes (list of str, optional): names of the classes by number, where they shall be those of another
            table; for several targets, a list for each
        per (str, optional): ``chain`` makes an item of each protein chain, ``entry`` of all chains of a file
        structure_column (str, optional): name of the column of files
        chain_column (str, optional): name of the column of chains; ``None`` takes all chains
        split_column (str, optional): name of the column of splits; ``None`` ignores it
        unknown (str, optional): what an unknown residue counts as, see :meth:`ResidueProtein.from_arrays`
        transform (Callable, optional): protein transformation function, applied to each item
        num_worker (int, optional): number of processes that read files; -1 for one a core. Each takes
            seconds to start, which pays from some thousands of files on. By default this process reads.
        strict (bool, optional): after going through all structures, raise if any was left out
        verbose (int, optional): 0 logs only warnings
    """

    def __init__(self, path, target=None, kind=None, classes=None, per="chain", structure_column="structure",
                 chain_column="chain", split_column="split", unknown="glycine", transform=None, num_worker=0,
                 strict=False, verbose=1):
        if per not in ("chain", "entry"):
            raise ValueError(f"per should be `chain` or `entry`, but found `{per}`")
        # a wrong value is better told before an hour of reading than after
        ResidueProtein.from_arrays(np.zeros((1, 3)), [0], unknown=unknown)
        self.unknown = unknown
        self.transform = transform

        if is_table(path):
            table = read_table(path, target, kind, classes, structure_column, chain_column, split_column)
        elif target is None and kind is None and classes is None:
            table = Table([Row(0, file) for file in find_structures(path)], {})
        else:
            raise ValueError(f"target, kind and classes need a table (.csv, .tsv), but path is `{path}`")
        _check_use(table, per, path, chain_column)

        found, self.drops, self.residues_left_out = load_structures(table.rows, per, num_worker, verbose)
        kept = [place for place, structures in enumerate(found) for _ in structures]
        self.structures = [structure for structures in found for structure in structures]
        self._codes = [_codes(structure) for structure in self.structures]

        splits = [table.rows[place].split for place in kept]
        self._splits = {name: [i for i, split in enumerate(splits) if split == name] for name in SPLITS
                        if any(row.split == name for row in table.rows)}
        self.kinds = {name: target.kind for name, target in table.targets.items()}
        self.classes = {name: target.classes for name, target in table.targets.items() if target.classes}
        self.targets = {name: [target.values[place] for place in kept]
                        for name, target in table.targets.items()}
        self._multilabel = next((name for name, kind in self.kinds.items() if kind == "multilabel"), None)
        self._report(strict, verbose)

    # === items ===

    def graph(self, index):
        """The protein of an item without transform; its tensors are its own, to be changed at will."""
        structure = self.structures[index]
        chain_id, insertion_code = self._codes[index]
        return ResidueProtein.from_arrays(
            structure.positions.copy(), structure.residue_types, chain_id=chain_id,
            residue_number=structure.residue_numbers, insertion_code=insertion_code,
            b_factor=structure.confidence.copy(), unknown=self.unknown)

    def get_item(self, index):
        item = {"graph": self.graph(index)}
        if self._multilabel is None:
            item.update({name: values[index] for name, values in self.targets.items()})
        else:
            item["targets"] = torch.zeros(len(self.classes[self._multilabel]))
            item["targets"][list(self.targets[self._multilabel][index])] = 1
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
        return [structure.name for structure in self.structures]

    @property
    def tasks(self):
        """List of tasks: the targets, or the labels of a target that has several a structure."""
        return list(self.targets if self._multilabel is None else self.classes[self._multilabel])

    @property
    def num_classes(self):
        """Number of classes or labels by target; 1 for a number."""
        return {name: len(self.classes.get(name, [name])) for name in self.targets}

    @property
    def data(self):
        """The proteins alone, from which TorchDrug's dataset properties are made."""
        return _Proteins(self)

    @property
    def has_split(self):
        """Whether the table names splits."""
        return bool(self._splits)

    @property
    def split_names(self):
        """Names of the splits that :meth:`split` returns, in its order."""
        return list(self._splits)

    def split(self):
        """
        The splits that the table names, in the order train, valid, test.

        Raises:
            ValueError: the table names no split, or none of the structures of a split can be used
        """
        if not self.has_split:
            raise ValueError("these structures have no splits; use a table with a column `split` that holds "
                             "`train`, `valid` and `test` (or name it by split_column), or "
                             "torch.utils.data.random_split")
        for name, indices in self._splits.items():
            if not indices:
                raise ValueError(f"no structure of split `{name}` can be used; `drops` says why")
        return [Subset(self, indices) for indices in self._splits.values()]

    def write_drops(self, file):
        """Write what was left out, structures and residues, as a TSV file with the columns file and reason."""
        with open(file, "w", newline="", encoding="utf-8") as fout:
            writer = csv.writer(fout, delimiter="\t", lineterminator="\n")
            writer.writerow(("file", "reason"))
            writer.writerows(self.drops)
            writer.writerows((file, "residues left out: " + ", ".join(f"{number} x {reason}" for reason, number
                                                                      in reasons.items()))
                             for file, reasons in self.residues_left_out.items())

    def __repr__(self):
        lines = [f"#sample: {len(self)} of {len({structure.source for structure in self.structures})} files",
                 f"left out: {len(self.drops)}"]
        if self.has_split:
            sizes = {name: len(indices) for name, indices in self._splits.items()}
            sizes["none"] = len(self) - sum(sizes.values())
            lines.append("split: " + ", ".join(f"{name} {size}" for name, size in sizes.items()))
        for name, values in self.targets.items():
            empty = sum(not value if isinstance(value, tuple) else math.isnan(value) for value in values)
            kind = f"{self.kinds[name]} x {self.num_classes[name]}"
            lines.append(f"target `{name}`: {kind}, {empty} without label")
        return "{}(\n  {}\n)".format(type(self).__name__, "\n  ".join(lines))

    def _report(self, strict, verbose):
        if strict and self.drops:
            raise StructuresDropped(self.drops)
        if self.drops:
            some = "".join(f"\n  {file}: {reason}" for file, reason in self.drops[:5])
            logger.warning("%d structures cannot be used and are left out (see `drops`), the first:%s",
                           len(self.drops), some)
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


def _check_use(table, per, path, chain_column):
    """Complain where table and arguments contradict each other."""
    named = next((row for row in table.rows if row.chain), None)
    if per == "entry" and named:
        raise ValueError(f"{os.fspath(path)}, row {named.number}, column `{chain_column}`: it names chain "
                         f"`{named.chain}`, but per is `entry`; set per to `chain`, or chain_column to null "
                         f"to keep all chains")
    for name, target in table.targets.items():
        if target.kind == "multilabel" and len(table.targets) > 1:
            raise ValueError(f"target `{name}` has several labels a structure and so stands alone, but found "
                             f"{len(table.targets)} targets; give kind if that was inferred wrongly")
        if target.kind != "multilabel" and name in RESERVED:
            raise ValueError(f"a target cannot be called `{name}`, which means something else in TorchDrug; "
                             f"rename the column")


def _codes(structure):
    """Chain ids and insertion codes as the numbers a protein has for them, in as few bytes as they need."""
    graph = ResidueProtein.from_structure(structure)
    codes = graph.chain_id.numpy(), graph.insertion_code.numpy()
    return [code.astype(np.uint8 if code.max() < 256 else np.int32) for code in codes]
