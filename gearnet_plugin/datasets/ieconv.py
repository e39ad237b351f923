"""
Lists of the IEConv benchmarks: which structure has which class and stands in which split.

Text files of one line a structure. Two benchmarks have them: fold classification (``class_map.txt`` and a list for
each split, tab-separated: domain first, name of the fold last) and reaction classification (``chain_functions.txt``
with ``pdb.chain,class number``, ``unique_functions.txt`` with the EC number of each class in order, and lists of the
chains of each split). Rows are counted from 1.
"""
from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from gearnet_plugin.structures.download import fetch

from .labels import quoted

#: Where the lists are published; the contents are known, so it does not matter which of them answers.
ADDRESSES = (
    "https://raw.githubusercontent.com/phermosilla/IEConv_proteins/master/Datasets/data",
    "https://raw.githubusercontent.com/phermosilla/IEConv_proteins/91d12fe97980d62c55cb25e2f6af3b69d5e1e936/Datasets/data",
)


class Member(NamedTuple):
    """
    A structure that the lists name.

    Parameters:
        name (str): name in the lists, e.g. ``d1a3aa_`` or ``1abc.A``
        key (str): what all spellings of that name have in common
        label (int): number of its class
        split (str): name of its split
        path (str): list that names it
        row (int): where
    """

    name: str
    key: str
    label: int
    split: str
    path: str
    row: int

    @property
    def where(self) -> str:
        """File and row, for messages."""
        return f"{self.path}, row {self.row}"


@dataclass(frozen=True)
class Lists:
    """
    What the lists say.

    Parameters:
        classes (list of str): names of the classes by number
        members (list of Member): in the order of the lists, split by split
        faults (list): rows that are not used: (name, reason)
    """

    classes: list[str]
    members: list[Member]
    faults: list[tuple[str, str]]


# === files ===


def find_lists(folders: Iterable[str], stems: dict[str, tuple[str, ...]], prefix: str) -> dict[str, str]:
    """
    The files of the lists, in the first folder that has any of them.

    Parameters:
        folders (iterable of str): where to look
        stems (dict): for each list the names it may have, without ``.txt``, also after ``IEConv_<prefix>__``
        prefix (str): name of the benchmark

    Returns:
        dict: path of each list, empty if no folder has any

    Raises:
        FileNotFoundError: the folder has some of the lists only
        ValueError: it has a list twice
    """
    for folder in folders:
        found, missing = {}, []
        for name, spellings in stems.items():
            files = [f"{start}{stem}.txt" for start in ("", f"IEConv_{prefix}__") for stem in spellings]
            present = [file for file in files if os.path.isfile(os.path.join(folder, file))]
            if len(present) > 1:
                raise ValueError(f"folder `{folder}` has the list `{name}` more than once: {quoted(present)}; remove "
                                 f"all but one")
            if present:
                found[name] = os.path.join(folder, present[0])
            else:
                missing.append(" or ".join(f"`{stem}.txt`" for stem in spellings))
        if found and missing:
            has = quoted([os.path.basename(path) for path in found.values()])
            raise FileNotFoundError(f"folder `{folder}` has {has}, but lacks {', '.join(missing)}; all of them are "
                                    f"needed")
        if found:
            return found
    return {}


def published_lists(folder: str, stems: dict[str, tuple[str, ...]], benchmark: str, sums: dict[str, str],
                    download: bool = True, verbose: int = 1) -> dict[str, str]:
    """
    The files of the lists in a folder, downloaded if it has none, or some of those that a download brings.

    Parameters:
        folder (str): folder, made if it is not there
        stems (dict): as for :func:`find_lists`
        benchmark (str): folder of the release, ``HomologyTAPE`` or ``ProtFunct``
        sums (dict): SHA-256 by name of the published file
        download (bool, optional): False to use no network
        verbose (int, optional): 0 for no messages

    Returns:
        dict: path of each list

    Raises:
        FileNotFoundError: a list is not there and was not to be had
        ValueError: a list is there twice, or together with others that are missing and is not as published
    """
    present = {name for name in os.listdir(folder) if name.endswith(".txt")} if os.path.isdir(folder) else set()
    if present < set(sums):
        for name, digest in sums.items():
            urls = [f"{address}/{benchmark}/{name}" for address in ADDRESSES]
            fetch(urls, os.path.join(folder, name), sha256=digest, download=download, verbose=verbose)
    return find_lists([folder], stems, benchmark)


def read_rows(path: str, separator: str | None = None, columns: int = 1) -> Iterator[tuple[int, list[str]]]:
    """
    The rows of a list that hold something, with their numbers; one by one, since each costs the garbage collector.

    Parameters:
        path (str): file
        separator (str, optional): what stands between columns; without it a row is one column
        columns (int, optional): least number of columns

    Raises:
        ValueError: no UTF-8 text, no rows, or a row has too few columns or an empty one
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = file.read().splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8 text; take the list as it was published") from None
    empty = True
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split(separator)] if separator else [line.strip()]
        if len(cells) < columns:
            between = {"\t": "tabs", ",": "commas"}[separator]
            raise ValueError(f"{path}, row {number}: expected at least {columns} columns with {between} between them, "
                             f"but found `{line.strip()}`")
        if "" in cells:
            raise ValueError(f"{path}, row {number}, column {cells.index('') + 1}: the cell is empty")
        empty = False
        yield number, cells
    if empty:
        raise ValueError(f"{path}: the list is empty; take it as it was published")


# === what they say ===


def read_fold_lists(files: dict[str, str]) -> Lists:
    """
    Read the lists of fold classification.

    Parameters:
        files (dict): path of ``class_map`` and of the list of each split

    Raises:
        ValueError: a row is wrong; it names file, row and column
    """
    classes = _read_class_map(files["class_map"])
    numbers = {name: number for number, name in enumerate(classes)}
    collect = _Collector()
    for split, path in files.items():
        if split == "class_map":
            continue
        for row, cells in read_rows(path, "\t", columns=2):
            if cells[-1] not in numbers:
                raise ValueError(f"{path}, row {row}, column {len(cells)}: class `{cells[-1]}` of `{cells[0]}` is not "
                                 f"among the {len(classes)} classes of `{files['class_map']}`")
            collect.add(Member(cells[0], cells[0].lower(), numbers[cells[-1]], split, path, row))
    return Lists(classes, collect.members, collect.faults)


def read_reaction_lists(files: dict[str, str], key: Callable[[str], str]) -> Lists:
    """
    Read the lists of reaction classification.

    Parameters:
        files (dict): path of ``chain_functions``, ``unique_functions`` and of the list of each split
        key (Callable): what all spellings of a name have in common

    Raises:
        ValueError: a row is wrong; it names file, row and column
    """
    path = files["unique_functions"]
    classes = [cells[0] for _, cells in read_rows(path)]
    _check_unique(path, enumerate(classes, 1), "EC number")
    labels, rows, faults, path = {}, {}, [], files["chain_functions"]
    for row, (name, cell, *_) in read_rows(path, ",", columns=2):
        chain, label = key(name), _class_number(path, row, cell, len(classes))
        if labels.setdefault(chain, label) != label:
            raise ValueError(f"{path}, row {row}, column 2: `{name}` has class {label}, but class {labels[chain]} in "
                             f"row {rows[chain]}; keep one of the two")
        if rows.setdefault(chain, row) != row:
            faults.append((name, f"{path}, row {row}: it repeats row {rows[chain]}"))

    collect = _Collector()
    for split, path in files.items():
        if split in ("unique_functions", "chain_functions"):
            continue
        for row, (name,) in read_rows(path):
            chain = key(name)
            if chain in labels:
                collect.add(Member(name, chain, labels[chain], split, path, row))
            else:
                faults.append((name, f"{path}, row {row}: it has no class in `{files['chain_functions']}`"))
    faults += [(chain, f"{files['chain_functions']}, row {rows[chain]}: it is in no split")
               for chain in labels if chain not in collect.known]
    return Lists(classes, collect.members, faults + collect.faults)


class _Collector:
    """Members, each once. One in two splits, or with two classes, would make results wrong and is an error."""

    def __init__(self):
        self.known, self.members, self.faults = {}, [], []

    def add(self, member):
        other = self.known.setdefault(member.key, member)
        if other is member:
            self.members.append(member)
            return
        for word, mine, its in (("split", member.split, other.split), ("class", member.label, other.label)):
            if mine != its:
                raise ValueError(f"{member.where}, column 1: `{member.name}` is in {word} `{mine}`, but in {word} "
                                 f"`{its}` by {other.where}; keep one of the two")
        self.faults.append((member.name, f"{member.where}: it repeats {other.where}"))


def _read_class_map(path) -> list[str]:
    """Names of classes by number, from rows of name and number."""
    rows = list(read_rows(path, "\t", columns=2))
    _check_unique(path, ((row, cells[0]) for row, cells in rows), "class")
    names = {}
    for row, (name, *_, cell) in rows:
        number = _class_number(path, row, cell, len(rows))
        if number in names:
            raise ValueError(f"{path}, row {row}, column 2: `{name}` has number {number}, as `{names[number]}` does")
        names[number] = name
    return [names[number] for number in range(len(rows))]


def _check_unique(path, rows, what):
    first = {}
    for row, name in rows:
        if first.setdefault(name, row) != row:
            raise ValueError(f"{path}, row {row}, column 1: {what} `{name}` is already in row {first[name]}")


def _class_number(path, row, cell, count) -> int:
    number = int(cell) if cell.isascii() and cell.isdigit() else -1
    if not 0 <= number < count:
        raise ValueError(f"{path}, row {row}, column 2: expected the number of a class, from 0 to {count - 1}, but "
                         f"found `{cell}`")
    return number
