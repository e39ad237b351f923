"""Labels as they stand in the cells of a table, turned into numbers."""
from __future__ import annotations

import math
import re
from dataclasses import dataclass

KINDS = ("class", "multilabel", "number")
SEPARATOR = ";"
# Whole numbers up to here are classes; a larger one is more likely a measurement or an identifier.
MAX_CLASS = 100_000

# how spreadsheets and data frames write a cell without a value
MISSING = ("nan", "na", "n/a", "null", "none", "#n/a")

NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
INTEGER = re.compile(r"[-+]?\d+", re.ASCII)
# EC numbers and the like: 1.2 is a name then
HIERARCHY = re.compile(r"\d+(\.(\d+|-)){2,}", re.ASCII)
# pandas writes a column of whole numbers with gaps as 1.0, 2.0
WHOLE = re.compile(r"[-+]?\d+(\.0*)?", re.ASCII)


@dataclass(frozen=True)
class Target:
    """
    The labels of one column.

    Parameters:
        name (str): name of the column
        kind (str): ``class``, ``multilabel`` or ``number``
        values (list): one a row. ``class``: number of the class; ``number``: float; both NaN where the cell
            is empty or ``nan``, ``NA`` and the like. ``multilabel``: tuple of the numbers of its labels; an
            empty cell has none
        classes (list of str, optional): names of the classes or labels by number; ``None`` for numbers
    """

    name: str
    kind: str
    values: list
    classes: list[str] | None = None


def parse_target(column, cells, kind=None, classes=None) -> Target:
    """
    Turn the cells of a column into labels.

    The kind, unless given: ``multilabel`` if a cell holds a ``;``; else ``number`` if all cells are numbers
    and some are written with a decimal point or an exponent; else ``class``.

    Classes that are all whole numbers are kept as they are, 0 being the first. Other classes are numbered in
    the order of their sorted names.

    Parameters:
        column (Column): where the cells stand, for messages
        cells (list of str): one a row
        kind (str, optional): ``class``, ``multilabel`` or ``number``
        classes (list of str, optional): names of the classes by number

    Raises:
        ValueError: says which row and column is wrong, what is allowed and what to do
    """
    cells = ["" if cell.lower() in MISSING else cell for cell in cells]
    if not any(cells):
        raise column.error("no row has a label")
    kind = kind or _infer(column, cells)
    if kind not in KINDS:
        raise column.error(f"unknown kind `{kind}`; allowed are {quoted(KINDS)}")
    if kind == "number":
        if classes is not None:
            raise column.error("classes are given, but these are numbers; leave them out, or set kind: class")
        return Target(column.name, kind, [_number(column, row, cell) for row, cell in enumerate(cells)])

    if kind == "class":
        labels = [[cell] if cell else [] for cell in cells]
    else:
        labels = [[label.strip() for label in cell.split(SEPARATOR) if label.strip()] for cell in cells]
    first_rows = {label: row for row in reversed(range(len(labels))) for label in labels[row]}
    if not first_rows:
        raise column.error("no row has a label")
    classes, places = _number_classes(column, first_rows, classes)
    if kind == "class":
        values = [places[row[0]] if row else math.nan for row in labels]
    else:
        values = [tuple(sorted({places[label] for label in row})) for row in labels]
    return Target(column.name, kind, values, classes)


def quoted(names, limit=20) -> str:
    """Names for a message, the first ``limit`` of them."""
    text = ", ".join(f"`{name}`" for name in list(names)[:limit])
    return text + (f" and {len(names) - limit} more" if len(names) > limit else "")


def _infer(column, cells) -> str:
    filled = [cell for cell in cells if cell]
    if any(SEPARATOR in cell for cell in filled):
        return "multilabel"
    decimals = [cell for cell in filled if NUMBER.fullmatch(cell) and not INTEGER.fullmatch(cell)]
    others = [row for row, cell in enumerate(cells) if cell and not NUMBER.fullmatch(cell)]
    hierarchical = any(HIERARCHY.fullmatch(cells[row]) for row in others)
    if decimals and others and not hierarchical and len(others) < len(filled) / 2:
        # one word among measurements would turn them all into names of classes
        raise column.error(f"`{cells[others[0]]}` stands among numbers such as `{decimals[0]}`. Leave the cell empty "
                           f"if there is no label; if these are names, give kind `class`", others[0])
    return "number" if decimals and not others else "class"


def _number(column, row, cell) -> float:
    if not cell:
        return math.nan
    value = float(cell) if NUMBER.fullmatch(cell) else math.inf
    if not math.isfinite(value):
        raise column.error(f"`{cell}` is not a finite number; leave the cell empty if there is no label", row)
    return value


def _number_classes(column, first_rows, classes) -> tuple[list[str], dict[str, int]]:
    """Names of the classes by number, and the number of each label, from the first row of each label."""
    if classes is not None:
        classes = [str(name) for name in classes]
        places = {name: i for i, name in enumerate(classes)}
        if len(places) < len(classes):
            raise column.error(f"the classes given name one twice: {quoted(classes)}")
        for label, row in first_rows.items():
            if label not in places:
                raise column.error(f"`{label}` is none of the classes given: {quoted(classes)}", row)
        return classes, places
    if not all(WHOLE.fullmatch(label) for label in first_rows):
        classes = sorted(first_rows)
        return classes, {name: i for i, name in enumerate(classes)}
    places = {label: int(label.split(".")[0]) for label in first_rows}
    for label, row in first_rows.items():
        if places[label] < 0:
            raise column.error(f"class `{label}` is negative; classes are counted from 0, and a structure "
                               f"without label has an empty cell", row)
        if places[label] > MAX_CLASS:
            raise column.error(f"class `{label}` is larger than {MAX_CLASS}; classes are counted from 0. For "
                               f"a measured value give kind `number`", row)
    return [str(i) for i in range(max(places.values()) + 1)], places
