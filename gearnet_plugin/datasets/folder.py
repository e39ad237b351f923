"""One's own structures: a folder, a list or a table of files, with labels and splits."""
from __future__ import annotations

import math
import os

import numpy as np
import torch

from gearnet_plugin.structures import StructureStore, find_structures
from gearnet_plugin.structures.manifest import is_store
from torchdrug import core
from torchdrug.core import Registry as R

from .base import StructureDataset
from .loading import load_structures
from .stored import LoadedStructures, StoredStructures, find_rows
from .table import SPLITS, Row, Table, is_table, read_table

# keys of an item to which TorchDrug's tasks give a meaning of their own
RESERVED = ("graph", "labeled", "targets")


@R.register("datasets.StructureFolder")
class StructureFolder(StructureDataset, core.Configurable):
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
        path (str or list): a folder (with its subfolders), a glob pattern, a structure file, an archive of such, a
            text file (``.txt``) with one path a line, a list of these, a table (``.csv``, ``.tsv``), or a store that
            ``gearnet prepare`` made
        target (str or list of str, optional): columns of the table that hold labels
        kind (str or list of str, optional): ``class``, ``multilabel`` (labels in a cell separated by ``;``)
            or ``number``, for all targets or for each. By default inferred from the cells, and logged.
        classes (list of str, optional): names of the classes by number, where they shall be those of another
            table; for several targets, a list for each
        per (str, optional): ``chain`` makes an item of each protein chain, ``entry`` of all chains of a file; by
            default ``chain``, or what the store was made with
        structure_column (str, optional): name of the column of files
        chain_column (str, optional): name of the column of chains; ``None`` takes all chains
        split_column (str, optional): name of the column of splits; ``None`` ignores it
        store (str, optional): a store in which the structures of a table are looked up by name, in place of reading
            files: ``structure`` and ``chain`` of a row name ``<structure>_<chain>``, folder and ending do not matter
        unknown (str, optional): what an unknown residue counts as, see :meth:`ResidueProtein.from_arrays`
        transform (Callable, optional): protein transformation function, applied to each item
        num_worker (int, optional): number of processes that read files; -1 for one a core. Each takes
            seconds to start, which pays from some thousands of files on. By default this process reads.
        strict (bool, optional): after going through all structures, raise if any was left out
        verbose (int, optional): 0 logs only warnings
    """

    def __init__(self, path, target=None, kind=None, classes=None, per=None, structure_column="structure",
                 chain_column="chain", split_column="split", store=None, unknown="glycine", transform=None,
                 num_worker=0, strict=False, verbose=1):
        if per not in (None, "chain", "entry"):
            raise ValueError(f"per should be `chain` or `entry`, but found `{per}`")
        self.configure(transform, unknown)

        store = _open_store(path, store)
        if store:
            per = _per_of_store(store, per)
        if is_table(path):
            table = read_table(path, target, kind, classes, structure_column, chain_column, split_column)
        elif target is None and kind is None and classes is None:
            rows = [] if store else [Row(0, entry.source, member=entry) for entry in find_structures(path)]
            table = Table(rows, {})
        else:
            raise ValueError(f"target, kind and classes need a table (.csv, .tsv), but path is `{path}`")
        _check_use(table, per, path, chain_column)

        self.residues_left_out = {}
        if store and not is_table(path):
            kept, self.drops, self.structures = [], [], StoredStructures(store)
        elif store:
            found, self.drops = find_rows(store, table.rows)
            if not any(found):
                raise ValueError(f"none of {len(found)} rows of `{path}` is in the store `{store.path}`; its first "
                                 f"structure is called `{store.name(0)}`")
            kept = [place for place, numbers in enumerate(found) for _ in numbers]
            numbers = np.array([number for numbers in found for number in numbers], dtype=np.int64)
            self.structures = StoredStructures(store, numbers)
        else:
            found, self.drops, self.residues_left_out = load_structures(table.rows, per or "chain", num_worker, verbose)
            kept = [place for place, structures in enumerate(found) for _ in structures]
            self.structures = LoadedStructures([structure for structures in found for structure in structures])

        splits = [table.rows[place].split for place in kept]
        self._splits = {name: [i for i, split in enumerate(splits) if split == name] for name in SPLITS
                        if any(row.split == name for row in table.rows)}
        self.kinds = {name: target.kind for name, target in table.targets.items()}
        self.classes = {name: target.classes for name, target in table.targets.items() if target.classes}
        self.targets = {name: [target.values[place] for place in kept]
                        for name, target in table.targets.items()}
        self._multilabel = next((name for name, kind in self.kinds.items() if kind == "multilabel"), None)
        self.report(strict, verbose)

    def labels(self, index):
        if self._multilabel is None:
            return {name: values[index] for name, values in self.targets.items()}
        targets = torch.zeros(len(self.classes[self._multilabel]))
        targets[list(self.targets[self._multilabel][index])] = 1
        return {"targets": targets}

    @property
    def tasks(self):
        """List of tasks: the targets, or the labels of a target that has several a structure."""
        return list(self.targets if self._multilabel is None else self.classes[self._multilabel])

    @property
    def num_classes(self):
        """Number of classes or labels by target; 1 for a number."""
        return {name: len(self.classes.get(name, [name])) for name in self.targets}

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
        return super().split()

    def __repr__(self):
        lines = [f"#sample: {len(self)} of {self.structures.num_file} files",
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


def _open_store(path, store):
    """The store that path or store names, None for files."""
    if is_store(path):
        if store is not None:
            raise ValueError(f"path is a store already, `{path}`; store is for tables")
        return StructureStore(path)
    if store is None:
        return None
    if not is_table(path):
        raise ValueError(f"store `{store}` needs a table (.csv, .tsv) that names structures in it, but path is "
                         f"`{path}`; for all structures of the store, give it as path")
    return StructureStore(store)


def _per_of_store(store, per):
    made = store.manifest.recipe["per"]
    if per not in (None, made):
        raise ValueError(f"per is `{per}`, but the store `{store.path}` was made with `{made}`; leave per out, or make "
                         f"another store with `gearnet prepare --per {per}`")
    return made
