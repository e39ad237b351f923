"""
Labels of residues from a table: a row a residue.

The columns are ``structure`` (path or name of the file, or name of the item), ``chain`` (optional; author's chain id),
``residue`` (author's residue number with its insertion code, such as ``52A``), and one for each label. Cells become
labels as said at :func:`~gearnet_plugin.datasets.labels.parse_target`; a residue without a row, or with an empty cell,
has no label.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import numpy as np
import torch

from gearnet_plugin.structures import split_ending

from .labels import Target, parse_target, quoted
from .stored import StoredStructures, common_tail
from .table import Column, column_place, read_cells

COLUMNS = ("structure", "chain", "residue")
# a data frame writes whole numbers with gaps as 52.0
RESIDUE = re.compile(r"([-+]?\d+)(?:\.0*)?\s*([A-Za-z]?)", re.ASCII)


@dataclass(frozen=True)
class ResidueTable:
    """
    What a table of residues says, by row.

    Parameters:
        path (str): file
        numbers (list of int): numbers of the rows, for messages
        structures (list of str): structures as they are written
        chains (list of str): author's chain ids, ``""`` for not said
        residues (list of (int, str)): residue numbers and insertion codes
        targets (dict of str: Target): labels by name
    """

    path: str
    numbers: list[int]
    structures: list[str]
    chains: list[str]
    residues: list[tuple[int, str]]
    targets: dict[str, Target]


def read_residue_table(path, target=None, kind=None) -> ResidueTable:
    """
    Read a table of residues. No structure is opened.

    Parameters:
        path (str or Path): file ending in ``.csv``, ``.tsv`` or ``.tab``
        target (str or list of str, optional): columns that hold labels; by default all others
        kind (str or list of str, optional): ``class`` or ``number``, for all or for each; by default inferred

    Raises:
        FileNotFoundError: there is no such table
        ValueError: says which row and column is wrong, what is allowed and what to do
    """
    path = os.path.expanduser(os.fspath(path))
    header, numbers, lines = read_cells(path)
    names = [target] if isinstance(target, str) else list(target or (name for name in header if name not in COLUMNS))
    if not names:
        raise ValueError(f"{path}: there is no column of labels beside {quoted(header)}")
    kinds = [kind] * len(names) if kind is None or isinstance(kind, str) else list(kind)
    if len(kinds) != len(names):
        raise ValueError(
            f"residue_kind should be given for each of {len(names)} labels, {quoted(names)}, but found {len(kinds)}"
        )

    def cells(name):
        place = column_place(path, header, name)
        return [line[place] for line in lines]

    structures, residues = cells("structure"), cells("residue")
    chains = cells("chain") if "chain" in header else [""] * len(lines)
    column = Column(path, "structure", numbers)
    for row, structure in enumerate(structures):
        if not structure:
            raise column.error("the cell is empty; it should name a structure", row)
    residues = _parse_residues(Column(path, "residue", numbers), residues)
    _check_repeated(Column(path, "residue", numbers), zip(structures, chains, residues, strict=True))
    targets = {}
    for name, own in zip(names, kinds, strict=True):
        column = Column(path, name, numbers)
        targets[name] = parse_target(column, cells(name), own)
        if targets[name].kind == "multilabel":
            raise column.error(
                "a residue has one value a column, but cells hold several separated by `;`. Make a column of 0 and 1 "
                "for each label"
            )
    return ResidueTable(path, numbers, structures, chains, residues, targets)


class ResidueLabels:
    """
    Labels of the residues of the items of a data set.

    Parameters:
        table (ResidueTable): what a table says
        structures (LoadedStructures or StoredStructures): a structure an item

    Attributes:
        drops (list): rows that mean no residue of an item: (structure, reason)
    """

    def __init__(self, table: ResidueTable, structures):
        self.targets = table.targets
        self.drops = []
        self._values = {}
        rows = {}
        for row, structure in enumerate(table.structures):
            rows.setdefault(structure, []).append(row)
        found = _Items(structures)
        for structure, own in rows.items():
            items, reason = found.of(structure)
            if reason:
                self.drops.append((structure, f"{_rows(table, own)}: {reason}"))
            else:
                self._fill(table, structures, structure, own, items)
        if not self._values:
            reasons = "".join(f"\n  {name}: {reason}" for name, reason in self.drops[:5])
            raise ValueError(
                f"none of the {len(table.numbers)} rows of `{table.path}` means a residue of these "
                f"structures, the first:{reasons}"
            )

    def _fill(self, table, structures, structure, rows, items):
        """Set the labels that rows give the items of one structure."""
        places, lengths = {}, {}
        for item in items:
            residues = structures[item]
            lengths[item] = len(residues)
            keys = zip(
                residues.chain_ids.tolist(),
                residues.residue_numbers.tolist(),
                residues.insertion_codes.tolist(),
                strict=True,
            )
            for place, (chain, number, code) in enumerate(keys):
                places.setdefault((number, code), {})[chain, item] = place
        missing, unclear = [], []
        for row in rows:
            held = places.get(table.residues[row], {})
            chain = table.chains[row]
            if chain:
                held = {key: place for key, place in held.items() if key[0] == chain}
            if not held:
                missing.append(row)
            elif len({key[0] for key in held}) > 1:
                unclear.append(row)
            else:
                # an item may stand for a chain twice, if rows of the table of structures do
                for (_, item), place in held.items():
                    self._set(item, lengths[item], place, row)
        if missing:
            self.drops.append(
                (structure, f"{_rows(table, missing)}: there is no such residue, {_residue(table, missing[0])}")
            )
        if unclear:
            self.drops.append(
                (
                    structure,
                    f"{_rows(table, unclear)}: several chains have residue "
                    f"{_residue(table, unclear[0])}; name the chain",
                )
            )

    def _set(self, item, length, place, row):
        for name, target in self.targets.items():
            values = self._values.setdefault(item, {})
            if name not in values:
                values[name] = np.full(length, np.nan, dtype=np.float32)
            values[name][place] = target.values[row]

    @property
    def num_labeled(self) -> dict[str, int]:
        """Number of residues that have each label."""
        return {name: int(sum((~np.isnan(own[name])).sum() for own in self._values.values())) for name in self.targets}

    def of(self, item: int, length: int) -> dict[str, np.ndarray]:
        """
        The labels of an item's residues, NaN for none.

        Parameters:
            item (int): number of the item, from 0 on
            length (int): number of its residues
        """
        own = self._values.get(item) or {}
        return {name: own[name] if name in own else np.full(length, np.nan, dtype=np.float32) for name in self.targets}

    def attach(self, item: int, graph):
        """Set the labels of an item as residue attributes of its protein."""
        for name, values in self.of(item, int(graph.num_residue)).items():
            if hasattr(graph, name):
                raise ValueError(
                    f"a label of residues cannot be called `{name}`, as proteins have something else of "
                    f"this name; rename the column"
                )
            with graph.residue():
                setattr(graph, name, torch.from_numpy(values.copy()))
        return graph


class _Items:
    """Which items the name of a structure means."""

    def __init__(self, structures):
        self.sources, self.names = {}, {}
        for item, (name, source) in enumerate(zip(structures.names, _sources(structures), strict=True)):
            self.names.setdefault(name, []).append(item)
            self.sources.setdefault(split_ending(source)[0], {}).setdefault(source, []).append(item)

    def of(self, structure: str) -> tuple[list[int], str]:
        """Numbers of the items, or the reason why there are none."""
        sources = self.sources.get(split_ending(structure)[0])
        if not sources:
            named = self.names.get(structure)
            return (named, "") if named else ([], "there is no such structure")
        if len(sources) > 1:
            common = {source: common_tail(source, structure) for source in sources}
            best = [source for source, length in common.items() if length == max(common.values())]
            if len(best) > 1:
                return [], f"several structures are called so: {quoted(best, 3)}; name the folder"
            sources = {best[0]: sources[best[0]]}
        ((_, items),) = sources.items()
        return items, ""


def _sources(structures) -> list[str]:
    """The file of each structure."""
    if not isinstance(structures, StoredStructures):
        return [structure.source for structure in structures]
    sources = list(structures.store.sources)
    return sources if structures.numbers is None else [sources[number] for number in structures.numbers]


def _parse_residues(column, cells) -> list[tuple[int, str]]:
    found = []
    for row, cell in enumerate(cells):
        match = RESIDUE.fullmatch(cell)
        if match is None:
            raise column.error(
                f"`{cell}` is no residue number; expected the author's number with its insertion code, such as 52 or "
                f"52A",
                row,
            )
        found.append((int(match.group(1)), match.group(2)))
    return found


def _check_repeated(column, keys):
    seen = {}
    for row, (structure, chain, residue) in enumerate(keys):
        first = seen.setdefault((structure, chain, residue), row)
        if first != row:
            raise column.error(
                f"residue `{residue[0]}{residue[1]}` of `{structure}` is already in row {column.numbers[first]}; keep "
                f"one of the two",
                row,
            )


def _rows(table, rows) -> str:
    first = f"row {table.numbers[rows[0]]}"
    return f"{first} of `{table.path}`" + (f" and {len(rows) - 1} more" if len(rows) > 1 else "")


def _residue(table, row) -> str:
    chain, (number, code) = table.chains[row], table.residues[row]
    return f"`{number}{code}`" + (f" of chain `{chain}`" if chain else "")
