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
from .residue_labels import ResidueLabels, read_residue_table
from .splits import FRACTIONS, IDENTITY, SplitRule
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

    Labels of residues come from a second table, ``residue_labels``, with a row a residue, see
    :mod:`~gearnet_plugin.datasets.residue_labels`. They are residue attributes of the graph, named as their columns,
    NaN where there is none, as ``tasks.ProteinPropertyPrediction`` takes them at level ``residue``.

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
        split (str, optional): where no column says it, ``random`` or ``cluster`` splits the structures; the latter so
            that no sequence is similar to one in another split. How is said at
            :class:`~gearnet_plugin.datasets.splits.SplitRule`, to which the next three go.
        split_fractions (list of float, optional): fractions of train, valid and test
        split_seed (int, optional): seed of the split
        identity (float, optional): for ``cluster``, from which sequence identity on sequences are similar, 0 to 1
        store (str, optional): a store in which the structures of a table are looked up by name, in place of reading
            files: ``structure`` and ``chain`` of a row name ``<structure>_<chain>``, folder and ending do not matter
        residue_labels (str, optional): table (``.csv``, ``.tsv``) with a row a residue
        residue_target (str or list of str, optional): columns of it that hold labels; by default all but
            ``structure``, ``chain`` and ``residue``
        residue_kind (str or list of str, optional): ``class`` or ``number``, for all of them or for each. By default
            inferred from the cells
        unknown (str, optional): what an unknown residue counts as, see :meth:`ResidueProtein.from_arrays`
        transform (Callable, optional): protein transformation function, applied to each item
        num_worker (int, optional): number of processes that read files; -1 for one a core. Each takes
            seconds to start, which pays from some thousands of files on. By default this process reads.
        strict (bool, optional): after going through all structures, raise if any was left out
        verbose (int, optional): 0 logs only warnings
    """

    def __init__(self, path, target=None, kind=None, classes=None, per=None, structure_column="structure",
                 chain_column="chain", split_column="split", split=None, split_fractions=FRACTIONS, split_seed=0,
                 identity=IDENTITY, store=None, unknown="glycine", transform=None, num_worker=0, strict=False,
                 verbose=1, residue_labels=None, residue_target=None, residue_kind=None):
        if per not in (None, "chain", "entry"):
            raise ValueError(f"per should be `chain` or `entry`, but found `{per}`")
        self.configure(transform, unknown)
        rule = _split_rule(split, split_fractions, split_seed, identity)

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
        if rule:
            _check_no_splits(table, path, split, split_column)
        residue_table = _read_residues(residue_labels, residue_target, residue_kind, table)

        self.residues_left_out = {}
        if store and not is_table(path):
            kept, self.structures = [], StoredStructures(store)
            # of files, or chains of files, that are not in it at all
            self.drops = store.lost()
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

        if rule:
            self._splits = rule.assign(self.structures, per or "chain", verbose)
        else:
            splits = [table.rows[place].split for place in kept]
            self._splits = {name: [i for i, split in enumerate(splits) if split == name] for name in SPLITS
                            if any(row.split == name for row in table.rows)}
        self.kinds = {name: target.kind for name, target in table.targets.items()}
        self.classes = {name: target.classes for name, target in table.targets.items() if target.classes}
        self.targets = {name: [target.values[place] for place in kept]
                        for name, target in table.targets.items()}
        self._multilabel = next((name for name, kind in self.kinds.items() if kind == "multilabel"), None)
        self._residues = None
        if residue_table:
            self._residues = ResidueLabels(residue_table, self.structures)
            self.drops = [*self.drops, *self._residues.drops]
            self.kinds.update((name, target.kind) for name, target in residue_table.targets.items())
            self.classes.update((name, target.classes) for name, target in residue_table.targets.items()
                                if target.classes)
            self.graph(0)  # a name that proteins have already is told now
        self.report(strict, verbose)

    def graph(self, index):
        graph = super().graph(index)
        return graph if self._residues is None else self._residues.attach(index % len(self), graph)

    def residue_values(self, index):
        """The labels of an item's residues by name, float32 of shape :math:`(N,)`, NaN for none; without its graph."""
        if self._residues is None:
            return {}
        index %= len(self)
        # an item with labels knows how many residues it has
        return self._residues.of(index, 0)

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
    def residue_tasks(self):
        """Names of the labels of residues."""
        return list(self._residues.targets) if self._residues else []

    @property
    def num_classes(self):
        """Number of classes or labels by target, of proteins and of residues; 1 for a number."""
        return {name: len(self.classes.get(name, [name])) for name in [*self.targets, *self.residue_tasks]}

    def split(self):
        """
        The splits that the table names or ``split`` makes, in the order train, valid, test.

        Raises:
            ValueError: there are none, or none of the structures of a split can be used
        """
        if not self.has_split:
            raise ValueError("these structures have no splits; use a table with a column `split` that holds "
                             "`train`, `valid` and `test` (or name it by split_column), or set split to `random` "
                             "or `cluster`")
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
        for name, number in (self._residues.num_labeled if self._residues else {}).items():
            kind = f"{self.kinds[name]} x {self.num_classes[name]}"
            lines.append(f"label of residues `{name}`: {kind}, {number} residues")
        return "{}(\n  {}\n)".format(type(self).__name__, "\n  ".join(lines))


def _read_residues(path, target, kind, table):
    """The table of residues, None if there is none."""
    if path is None:
        if target is not None or kind is not None:
            raise ValueError("residue_target and residue_kind describe a table, but residue_labels names none")
        return None
    residues = read_residue_table(path, target, kind)
    for name in residues.targets:
        if name in table.targets or name in RESERVED:
            raise ValueError(f"a label of residues cannot be called `{name}`, which is "
                             f"{'a target' if name in table.targets else 'something else in TorchDrug'} already; "
                             f"rename the column")
    return residues


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


def _split_rule(split, fractions, seed, identity):
    """The rule that the arguments describe, None for the splits of the table."""
    if split is None:
        fractions = tuple(fractions) if isinstance(fractions, list) else fractions
        for name, value, default in (("split_fractions", fractions, FRACTIONS), ("split_seed", seed, 0),
                                     ("identity", identity, IDENTITY)):
            if value != default:
                raise ValueError(f"{name} is {value}, but split is not given, so nothing is split by it; set split to "
                                 f"`random` or `cluster`, or leave {name} out")
        return None
    if split == "random" and identity != IDENTITY:
        raise ValueError(f"identity is {identity}, but split is `random`, which does not look at sequences; set split "
                         f"to `cluster`, or leave identity out")
    return SplitRule(split, fractions, seed, identity)


def _check_no_splits(table, path, split, split_column):
    """Complain where both the table and the arguments split."""
    row = next((row for row in table.rows if row.split), None)
    if row:
        raise ValueError(f"{os.fspath(path)}, row {row.number}, column `{split_column}`: it says `{row.split}`, but "
                         f"split is `{split}`; leave split out to take the column, or set split_column to null to "
                         f"split anew")


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
