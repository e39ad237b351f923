"""
Tables of protein functions as DeepFRI publishes them: which chain has which functions, which chain is in which split,
and how close the chains for testing are to those for training.

The annotation is a text file of cells separated by tabs. Pairs of lines come first, a title that begins with ``###``
and the functions (or their descriptions) under it, then ``### PDB-chain`` with the title of each column, then a line a
chain. Chains are called ``1ABC-A``: entry in upper case, author's chain id as it is. Lines count from 1.
"""
from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .labels import quoted

#: Largest sequence identity to the chains for training; the published tables have a column for each.
TEST_CUTOFFS = (0.3, 0.4, 0.5, 0.7, 0.95)
SPLITS = ("train", "valid", "test")
MARK = "###"
CHAIN_COLUMN = f"{MARK} PDB-chain"
SOURCE = "https://github.com/flatironinstitute/DeepFRI/tree/master/preprocessing/data"


@dataclass(frozen=True)
class Annotation:
    """
    The functions of one column of an annotation.

    Parameters:
        path (str): file
        functions (list of str): EC numbers or GO terms, in the order of the file; a model's outputs are in this order
        descriptions (list of str): what they are called where the file tells, else the functions themselves
        rows (dict): place of each chain in ``starts``
        starts (np.ndarray): where the functions of a chain begin in ``places``, and where the last ones end;
            shape [number of chains + 1]
        places (np.ndarray): places in ``functions``, int32
    """

    path: str
    functions: list[str]
    descriptions: list[str]
    rows: dict[str, int]
    starts: np.ndarray
    places: np.ndarray

    def of(self, chain: str) -> np.ndarray:
        """Places in ``functions`` of what a chain does."""
        row = self.rows[chain]
        return self.places[self.starts[row]:self.starts[row + 1]]


@dataclass(frozen=True)
class Tables:
    """Files of one set of tables. Without lists, the folders of the structures tell the splits."""

    annotation: str
    cutoffs: str
    lists: dict[str, str]


def find_tables(folder: str | os.PathLike, prefix: str) -> Tables | None:
    """
    The tables in a folder, ``None`` if it has no annotation.

    Names are those of the release for TorchDrug (``nrPDB-EC_annot.tsv``) or of DeepFRI, which have a date in them
    (``nrPDB-EC_2020.04_annot.tsv``).

    Parameters:
        folder (str or Path): folder
        prefix (str): ``nrPDB-EC`` or ``nrPDB-GO``

    Raises:
        FileNotFoundError: there is an annotation, but other tables are missing
        ValueError: there are several annotations
    """
    folder = os.fspath(folder)
    pattern = re.compile(re.escape(prefix) + r"(_.*)?_annot\.tsv")
    found = sorted(name for name in os.listdir(folder) if pattern.fullmatch(name)) if os.path.isdir(folder) else []
    if not found:
        return None
    if len(found) > 1:
        raise ValueError(f"`{folder}` has several annotations, {quoted(found)}; keep the one to use, with its lists")
    stem = os.path.join(folder, found[0].removesuffix("_annot.tsv"))
    cutoffs = f"{stem}_test.csv"
    if not os.path.isfile(cutoffs):
        raise FileNotFoundError(f"`{cutoffs}` is missing beside `{found[0]}`; it tells how close the test chains are "
                                f"to those for training, and is published at {SOURCE}")
    lists = {split: path for split in SPLITS if os.path.isfile(path := f"{stem}_{split}.txt")}
    if lists and len(lists) < len(SPLITS):
        missing = next(split for split in SPLITS if split not in lists)
        raise FileNotFoundError(f"`{stem}_{missing}.txt` is missing, but the list of another split is there; all are "
                                f"published at {SOURCE}")
    return Tables(f"{stem}_annot.tsv", cutoffs, lists)


# === annotation ===


def read_annotation(path: str | os.PathLike, column: str) -> Annotation:
    """
    Read the functions of a column.

    A chain with an empty cell has none of them. Of several columns, those missing at the end of a line are empty.

    Parameters:
        path (str or Path): annotation
        column (str): title of the column: ``EC-numbers``, ``GO-terms (molecular_function)``, ...

    Raises:
        FileNotFoundError: there is no such file
        ValueError: says which row and column is wrong, and what is expected
    """
    path = os.fspath(path)
    lines = _lines(path)
    blocks, titles, number = _read_header(path, lines)
    if column not in titles or column not in blocks:
        raise ValueError(f"{path}: it should have the functions `{column}`, but row {number} names the columns "
                         f"{quoted(titles)}; this is another annotation")
    place, functions = 1 + titles.index(column), blocks[column]
    known = {function: i for i, function in enumerate(functions)}
    if len(known) < len(functions):
        twice = next(function for function in functions if functions.count(function) > 1)
        raise ValueError(f"{path}: `{twice}` stands twice among the {len(functions)} functions `{column}` in its head")
    rows, numbers, starts, places = {}, [], [0], []
    for number, line in lines:
        cells = line.split("\t")
        chain = cells[0].strip()
        if not chain:
            raise ValueError(f"{path}, row {number}, column `PDB-chain`: the cell is empty; it should name a chain")
        if not 1 < len(cells) <= 1 + len(titles):
            raise ValueError(f"{path}, row {number}: expected {1 + len(titles)} cells separated by tabs, but found "
                             f"{len(cells)}; the file may be cut off")
        if chain in rows:
            raise ValueError(f"{path}, row {number}, column `PDB-chain`: `{chain}` is already in row "
                             f"{numbers[rows[chain]]}; keep one of the two")
        rows[chain] = len(numbers)
        numbers.append(number)
        cell = cells[place].strip() if place < len(cells) else ""
        try:
            # a function named twice is one function
            places += sorted({known[function] for function in cell.split(",")}) if cell else []
        except KeyError as error:
            raise ValueError(f"{path}, row {number}, column `{column}`: `{error.args[0]}` is none of the "
                             f"{len(functions)} that the head of the file names") from None
        starts.append(len(places))
    if not rows:
        raise ValueError(f"{path}: it has a head, but no chains; the file may be cut off")
    descriptions = blocks.get(column.replace("-terms", "-names"), functions)
    return Annotation(path, functions, descriptions, rows, np.array(starts, np.int64), np.array(places, np.int32))


def _read_header(path: str, lines: Iterator[tuple[int, str]]) -> tuple[dict[str, list[str]], list[str], int]:
    """Lines of the head by title, the titles of the columns and their row; lines go on with the first chain."""
    blocks, number = {}, 0
    for number, line in lines:
        if line.startswith(CHAIN_COLUMN):
            return blocks, [cell.strip() for cell in line.split("\t")[1:]], number
        if not line.startswith(MARK):
            raise ValueError(f"{path}, row {number}: expected a title that begins with `{MARK}`, but found "
                             f"`{line[:40]}`; this is no annotation of DeepFRI")
        title = line.removeprefix(MARK).strip()
        number, line = next(lines, (number + 1, ""))
        blocks[title] = [cell.strip() for cell in line.split("\t")]
    raise ValueError(f"{path}: no row `{CHAIN_COLUMN}` among its {number}; the file is empty or cut off")


# === splits ===


def read_cutoffs(path: str | os.PathLike, cutoff: float) -> dict[str, bool]:
    """
    Which chains for testing stay at a cutoff.

    Parameters:
        path (str or Path): table with a row a chain and a column a cutoff, ``<30%``, ...; 1 where the chain is that far
            from all chains for training
        cutoff (float): largest sequence identity, one of ``TEST_CUTOFFS``

    Raises:
        FileNotFoundError: there is no such file
        ValueError: says which row and column is wrong, and what is expected
    """
    path, column = os.fspath(path), f"<{cutoff:.0%}"
    stays, numbers, place, header = {}, {}, 0, []
    for number, line in _lines(path):
        cells = next(csv.reader([line]), [])
        if not header:
            header = [cell.strip() for cell in cells]
            if header.count(column) != 1 or header.index(column) == 0:
                raise ValueError(f"{path}, row {number}: expected a column `{column}` for test_cutoff {cutoff}, but "
                                 f"the header has {quoted(header)}")
            place = header.index(column)
            continue
        if len(cells) != len(header):
            raise ValueError(f"{path}, row {number}: expected {len(header)} cells like the header, but found "
                             f"{len(cells)}; the file may be cut off")
        chain, value = cells[0].strip(), cells[place].strip()
        if value not in ("0", "1"):
            raise ValueError(f"{path}, row {number}, column `{column}`: expected 0 or 1, but found `{value}`")
        if chain in stays:
            raise ValueError(f"{path}, row {number}, column `{header[0]}`: `{chain}` is already in row "
                             f"{numbers[chain]}; keep one of the two")
        stays[chain], numbers[chain] = value == "1", number
    if not stays:
        what = "has a header but no rows" if header else "is empty; its first row should name the columns"
        raise ValueError(f"{path}: the table {what}; take it as it was published")
    return stays


def read_lists(paths: dict[str, str]) -> dict[str, str]:
    """
    The split of each chain.

    Parameters:
        paths (dict): for each split a file with a chain a line

    Raises:
        FileNotFoundError: there is no such file
        ValueError: a list is empty, or a chain is listed twice
    """
    splits, seen = {}, {}
    for split, path in paths.items():
        before = len(splits)
        for number, line in _lines(path):
            chain = line.strip()
            if chain in seen:
                raise ValueError(f"{path}, row {number}: `{chain}` is already in {seen[chain]}; a chain belongs to one "
                                 f"split, once")
            splits[chain], seen[chain] = split, f"{path}, row {number}"
        if len(splits) == before:
            raise ValueError(f"{path}: the list is empty; expected a chain a line, such as `1ABC-A`")
    return splits


def _lines(path: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, blank ones left out, whatever ends them."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line.rstrip("\n")
    except FileNotFoundError:
        raise FileNotFoundError(f"no such table: `{path}`, looked from `{os.getcwd()}`") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8 text; this is no table of DeepFRI") from None
