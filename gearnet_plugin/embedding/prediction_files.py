"""
The files that predictions are written to, each whole or not at all, protein by protein.

``.csv`` and ``.parquet`` have a row a protein and label, at level ``residue`` a row a residue and label. ``.json`` is a
list of proteins, each with its ``labels``, or ``residues`` with theirs, and ``warnings``. An empty cell, or null, is
what is not known. Numbers of text files have seven digits.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
from collections.abc import Iterable, Iterator

from gearnet_plugin.engine.checkpoint import whole_file

from .formats import utf8
from .layout import RESIDUE_KEYS
from .prediction import ProteinPrediction, flat

ENDINGS = (".csv", ".json", ".parquet")
ROWS = 50_000  # rows of a table that are in memory at once
TYPES = {
    "length": "int64", "residue_number": "int32", "probability": "float32", "uncalibrated": "float32",
    "value": "float32", "validation_mae": "float32", "validation_rmse": "float32", "calibrated": "bool",
    "above_threshold": "bool",
}  # fmt: skip


def check_ending(path: str | os.PathLike) -> str:
    """
    The ending of a file for predictions.

    Raises:
        ValueError: predictions are not written to such files
    """
    ending = os.path.splitext(os.fspath(path))[1].lower()
    if ending not in ENDINGS:
        raise ValueError(
            f"predictions are saved in a file ending in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}, but found "
            f"`{os.fspath(path)}`"
        )
    return ending


def write(path: str, proteins: Iterable[ProteinPrediction], columns: list[str], info: dict) -> None:
    """
    Write predictions in the format that the ending of the file names.

    Parameters:
        path (str): file
        proteins (iterable of ProteinPrediction): predictions
        columns (list of str): columns of the rows
        info (dict): model and options; in the metadata of ``.parquet``, where alone there is room
    """
    writers = {".csv": _csv, ".json": _json, ".parquet": _parquet}
    with whole_file(path) as file:
        writers[check_ending(path)](file, proteins, columns, info)


def _csv(file, proteins, columns, info) -> None:
    text = io.StringIO(newline="")
    writer, quoted = csv.writer(text, lineterminator="\n"), csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(columns)
    for protein in proteins:
        for row in flat(protein):
            cells = [_cell(row[name]) for name in columns]
            # a carriage return ends a line too, but before Python 3.13 none is quoted for it
            own = quoted if any(isinstance(cell, str) and "\r" in cell for cell in cells) else writer
            own.writerow(cells)
        file.write(utf8(text.getvalue()))
        text.seek(0)
        text.truncate()
    file.write(utf8(text.getvalue()))


def _cell(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    return format(value, ".7g") if isinstance(value, float) else "" if value is None else value


def _json(file, proteins, columns, info) -> None:
    file.write(b"[")
    for number, protein in enumerate(proteins):
        file.write(b"\n " if not number else b",\n ")
        file.write(utf8(json.dumps(_tree(protein), ensure_ascii=False)))
    file.write(b"\n]\n")


def _tree(protein: ProteinPrediction) -> dict:
    tree = {name: _short(getattr(protein, name)) for name in ("name", "source", "chain", "length")}
    rows = [{name: _short(value) for name, value in row.items()} for row in protein.rows]
    if rows and "residue_number" in rows[0]:
        tree["residues"] = [
            {**dict(zip(RESIDUE_KEYS, key)), "labels": [_without_keys(row) for row in own]}
            for key, own in itertools.groupby(rows, lambda row: [row[name] for name in RESIDUE_KEYS])
        ]
    else:
        tree["labels"] = rows
    tree["distance_from_training"] = _short(protein.distance)
    tree["warnings"] = [{"code": code, "text": words} for code, words in protein.warnings]
    return tree


def _without_keys(row: dict) -> dict:
    return {name: value for name, value in row.items() if name not in RESIDUE_KEYS}


def _short(value):
    if isinstance(value, str):
        # bytes that are no text are written as such before JSON escapes the backslash of that
        return utf8(value).decode()
    return float(format(value, ".7g")) if isinstance(value, float) else value


def _parquet(file, proteins, columns, info) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"int64": pa.int64(), "int32": pa.int32(), "float32": pa.float32(), "bool": pa.bool_()}
    schema = pa.schema(
        [(name, kinds[TYPES[name]] if name in TYPES else pa.string()) for name in columns],
        metadata={"gearnet_plugin": json.dumps(info)},
    )
    rows = (row for protein in proteins for row in flat(protein))
    with pq.ParquetWriter(file, schema) as writer:
        for part in _parts(rows):
            arrays = [_array(pa, [row[field.name] for row in part], field.type) for field in schema]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))


def _parts(rows: Iterator[dict]) -> Iterator[list[dict]]:
    while part := list(itertools.islice(rows, ROWS)):
        yield part


def _array(pa, values, kind):
    if kind == pa.string():
        return pa.array([None if value is None else utf8(value) for value in values], pa.binary()).cast(kind)
    return pa.array(values, kind)
