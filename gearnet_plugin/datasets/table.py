"""
Tables of structures: which file, which chain, which split, which labels.

A table is a CSV file (``.csv``, cells separated by commas) or a TSV file (``.tsv``, ``.tab``; by tabs) in
UTF-8. Its first row names the columns. Rows are counted as a spreadsheet does: the header is row 1.
"""
from __future__ import annotations

import csv
import difflib
import os
from dataclasses import dataclass

from gearnet_plugin.structures import Entry

from .labels import Target, parse_target, quoted

DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Row:
    """
    A structure: row number, file, author's chain id (``""``: all chains), split (``""``: none), and where to read
    it if it is no file on its own.
    """

    number: int
    file: str
    chain: str = ""
    split: str = ""
    member: Entry | None = None

    @property
    def entry(self) -> Entry:
        """What to read."""
        return self.member or Entry(self.file, self.file)


@dataclass(frozen=True)
class Table:
    """What a table says: its rows and, by name, its targets."""

    rows: list[Row]
    targets: dict[str, Target]


@dataclass(frozen=True)
class Column:
    """A column of a table and the numbers of its rows, to say where something is wrong."""

    path: str
    name: str
    numbers: list[int]

    def error(self, message: str, row: int | None = None) -> ValueError:
        """An error that names the column and, by its place, the row."""
        where = "" if row is None else f"row {self.numbers[row]}, "
        return ValueError(f"{self.path}, {where}column `{self.name}`: {message}")


def is_table(path) -> bool:
    """Whether a path names a table, by its ending."""
    return isinstance(path, (str, os.PathLike)) and _ending(path) in DELIMITERS


def read_table(path, target=None, kind=None, classes=None, structure_column="structure", chain_column="chain",
               split_column="split") -> Table:
    """
    Read a table of structures. No structure is opened.

    How cells become labels is said at :func:`~gearnet_plugin.datasets.labels.parse_target`. All rows count,
    so that the numbers of classes do not depend on which structures can be read.

    Parameters:
        path (str or Path): file ending in ``.csv``, ``.tsv`` or ``.tab``
        target (str or list of str, optional): columns that hold labels
        kind (str or list of str, optional): ``class``, ``multilabel`` or ``number``, for all targets or for
            each
        classes (list, optional): names of the classes by number, e.g. those of the table a model was trained
            on; for several targets, a list (or ``None``) for each
        structure_column (str, optional): column with paths, absolute or relative to the folder of the table
        chain_column (str, optional): column with author's chain ids, if there is one
        split_column (str, optional): column with ``train``, ``valid``, ``test`` or nothing, if there is one

    Raises:
        FileNotFoundError: there is no such table
        ValueError: says which row and column is wrong, what is allowed and what to do
    """
    path = os.path.expanduser(os.fspath(path))
    names = [target] if isinstance(target, str) else list(target or ())
    if len(set(names)) < len(names):
        raise ValueError(f"target names a column twice: {quoted(names)}")
    if not names and not (kind is None and classes is None):
        raise ValueError("kind and classes describe a target, but none is given; name a column by target")
    kinds = [kind] * len(names) if kind is None or isinstance(kind, str) else _for_each(kind, names, "kind")
    classes = _for_each(_nested(classes, names), names, "classes")

    header, numbers, lines = read_cells(path)

    def cells(name, default=None):
        if name is None or name == default and name not in header:
            return [""] * len(lines)
        place = column_place(path, header, name)
        return [line[place] for line in lines]

    columns = cells(structure_column), cells(chain_column, "chain"), cells(split_column, "split")
    rows = [Row(*values) for values in zip(numbers, *columns, strict=True)]
    rows = _checked(rows, Column(path, structure_column, numbers), Column(path, split_column, numbers))
    targets = {name: parse_target(Column(path, name, numbers), cells(name), kind, known)
               for name, kind, known in zip(names, kinds, classes, strict=True)}
    return Table(rows, targets)


def read_cells(path) -> tuple[list[str], list[int], list[list[str]]]:
    """Header, numbers of the rows and their cells, stripped; blank rows are left out."""
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no such table: `{path}`, looked from `{os.getcwd()}`")
    if not is_table(path):
        raise ValueError(f"`{path}` is no table; expected a file ending in {', '.join(DELIMITERS)}")
    numbers, lines = [], []
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, delimiter=DELIMITERS[_ending(path)], strict=True)
        try:
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    numbers.append(reader.line_num)
                    lines.append([cell.strip() for cell in cells])
        except UnicodeDecodeError:
            raise ValueError(f"{path}: not UTF-8 text; save the table as CSV UTF-8") from None
        except csv.Error as error:
            raise ValueError(f"{path}, row {reader.line_num}: {error}") from None
    if not lines:
        raise ValueError(f"{path}: the table is empty; its first row should name the columns")
    header, *lines = lines
    if not lines:
        raise ValueError(f"{path}: the table has a header but no rows")
    for number, cells in zip(numbers[1:], lines, strict=True):
        if len(cells) < len(header) or any(cells[len(header):]):
            raise ValueError(f"{path}, row {number}: expected {len(header)} cells like the header, "
                             f"but found {len(cells)}")
    return header, numbers[1:], lines


def column_place(path, header, name) -> int:
    """Place of the column of a name in a header, or an error that says which there are."""
    if header.count(name) == 1:
        return header.index(name)
    if name in header:
        raise ValueError(f"{path}: {header.count(name)} columns are called `{name}`; rename all but one")
    close = difflib.get_close_matches(str(name), header, n=1)
    hint = f"did you mean `{close[0]}`?" if close else "name the right one, or add it"
    if len(header) == 1:
        hint = "cells are separated by commas in .csv, by tabs in .tsv"
    raise ValueError(f"{path}: no column `{name}` in the header, which has {quoted(header)}; {hint}")


def _checked(rows, structures: Column, splits: Column) -> list[Row]:
    """The rows with full paths, after a look for empty, unknown and repeated ones."""
    checked, seen = [], {}
    for place, row in enumerate(rows):
        if not row.file:
            raise structures.error("the cell is empty; it should name a structure file", place)
        if row.split and row.split not in SPLITS:
            raise splits.error(f"unknown split `{row.split}`; allowed are {quoted(SPLITS)}, or an empty cell "
                               f"for a structure that is in none", place)
        folder = os.path.dirname(structures.path)
        file = os.path.normpath(os.path.join(folder, os.path.expanduser(row.file)))
        chains = seen.setdefault(file, {})
        # a row without a chain stands for all of them
        other = chains.get(row.chain, chains.get("") if row.chain else next(iter(chains.values()), None))
        if other is not None:
            what = f"chain `{row.chain}` of `{row.file}`" if row.chain else f"`{row.file}`"
            raise structures.error(f"{what} is already in row {other}; keep one of the two", place)
        chains[row.chain] = row.number
        checked.append(Row(row.number, file, row.chain, row.split))
    return checked


def _nested(classes, names) -> list | None:
    """Names of classes as a list for each target; a single target's may come without the outer list."""
    if isinstance(classes, str):
        raise ValueError(f"classes should be a list of names, but found `{classes}`")
    if classes is None:
        return [None] * len(names)
    if len(names) == 1 and not any(isinstance(value, (list, tuple)) for value in classes):
        return [classes]
    return classes


def _for_each(values, names, what) -> list:
    values = list(values)
    if len(values) != len(names):
        raise ValueError(f"{what} should be given for each of {len(names)} targets, but found {len(values)}")
    return values


def _ending(path) -> str:
    return os.path.splitext(os.fspath(path))[1].lower()
