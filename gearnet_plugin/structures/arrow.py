"""
Shards as Arrow IPC files: :class:`~.shard.Shard` to file, and file to Shard without copying.

The bytes of a shard file are the *body*, the residues and runs of its structures, covered row by row by their
checksums, and the *frame* around it: where each column lies, the words of the dictionary columns, and the columns
with one value a structure. The frame is about a thirtieth of the file and has a checksum of its own, which a store
keeps in its manifest and compares before Arrow is trusted with the file.
"""

from __future__ import annotations

import os
import zlib
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from .shard import RESIDUES, ROWS, RUNS, TEXTS, WORDS, Shard


class Frame(NamedTuple):
    """What a shard file must be like: its size, where its body begins and ends, CRC-32 of the rest and of the whole."""

    size: int
    start: int
    stop: int
    frame_crc: int
    crc: int


class DamagedFile(ValueError):
    """A file that is not what was written. The message says how; whoever opens it knows which it is."""


def write_shard(shard: Shard, path: str | os.PathLike, metadata: dict[str, str]) -> Frame:
    """
    Write a shard to a new file and onto the disk.

    Parameters:
        shard (Shard): the columns
        path (str or Path): file; overwritten if it exists
        metadata (dict): texts to keep in the file's schema

    Raises:
        OSError: the disk is full, among others
    """
    return write_columns(_to_arrow(shard), path, metadata)


def write_columns(
    columns: dict[str, pa.Array], path: str | os.PathLike, metadata: dict[str, str] | None = None
) -> Frame:
    """Write columns of one length as one record batch; see :func:`write_shard`."""
    schema = pa.schema([pa.field(name, column.type, nullable=False) for name, column in columns.items()], metadata)
    batch = pa.record_batch(list(columns.values()), schema=schema)
    with open(path, "wb") as file:
        with pa.ipc.new_file(file, schema) as writer:
            writer.write_batch(batch)
        file.flush()
        os.fsync(file.fileno())
    return frame_of(path)


def frame_of(path: str | os.PathLike) -> Frame:
    """The frame of an undamaged shard file."""
    with pa.memory_map(os.fspath(path)) as file:
        content = file.read_buffer()
        batch = pa.ipc.open_file(content).get_batch(0)
        # from the first of the positions on; the offsets of the positions, before them, belong to the frame
        body = [batch.column(name) for name in (*RESIDUES, "runs") if name in batch.schema.names]
        buffers = [
            buffer for column in body for buffer in column.values.buffers() if buffer is not None and buffer.size
        ]
        start = min((buffer.address for buffer in buffers), default=content.address) - content.address
        stop = max((buffer.address + buffer.size for buffer in buffers), default=content.address) - content.address
        view = memoryview(content)
        return Frame(content.size, start, stop, _frame_crc(view, start, stop), zlib.crc32(view))


def open_shard(path: str | os.PathLike, frame: Frame) -> Shard:
    """
    Map a shard file into memory. Rows are not checked.

    Raises:
        FileNotFoundError: there is no such file
        DamagedFile: the file is not what ``frame`` says
    """
    try:
        return _from_arrow(open_columns(path, frame))
    except (pa.ArrowException, KeyError, IndexError) as error:
        raise DamagedFile(str(error)) from None


def open_columns(path: str | os.PathLike, frame: Frame) -> pa.RecordBatch:
    """Map the columns of a file; see :func:`open_shard`."""
    with pa.memory_map(os.fspath(path)) as file:
        content = file.read_buffer()
    if content.size != frame.size:
        raise DamagedFile(f"it has {content.size} bytes instead of {frame.size}")
    if _frame_crc(memoryview(content), frame.start, frame.stop) != frame.frame_crc:
        raise DamagedFile("its description of the columns is not what was written")
    return pa.ipc.open_file(content).get_batch(0)


def file_crc(path: str | os.PathLike) -> int:
    """CRC-32 of a file."""
    crc = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            crc = zlib.crc32(block, crc)
    return crc


def _frame_crc(content: memoryview, start: int, stop: int) -> int:
    return zlib.crc32(content[stop:], zlib.crc32(content[:start]))


# === to Arrow ===


def _to_arrow(shard: Shard) -> dict[str, pa.Array]:
    """The columns, those of the frame first."""
    arrays, words = shard.arrays, shard.words
    columns = {}
    for name in ("name", "source"):
        columns[name] = _text(arrays, name)
    for name in ("length", "mean_confidence", "resolution"):
        columns[name] = _plain(arrays[name])
    for name in ("method", "confidence_kind"):
        columns[name] = _worded(arrays[name], words[name])
    columns["notes"] = _text(arrays, "notes")
    if shard.compact:
        columns["origin"] = _triples(arrays["origin"])
    columns["crc"] = _plain(arrays["crc"])
    # the body, which has to be in one piece
    columns["position"] = _list(arrays["residues.starts"], _triples(arrays["position"]))
    for name in ("residue_type", "confidence"):
        columns[name] = _list(arrays["residues.starts"], _plain(arrays[name]))
    fields = [
        _worded(arrays["runs." + name], words[name]) if name in words else _plain(arrays["runs." + name])
        for name in RUNS
    ]
    columns["runs"] = _list(
        arrays["runs.starts"],
        pa.StructArray.from_arrays(
            fields,
            fields=[pa.field(name, field.type, nullable=False) for name, field in zip(RUNS, fields, strict=True)],
        ),
    )
    return columns


def _plain(array: np.ndarray) -> pa.Array:
    return pa.array(array)


def _triples(array: np.ndarray) -> pa.Array:
    values = pa.array(array.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(values, type=pa.list_(pa.field("item", values.type, nullable=False), 3))


def _worded(numbers: np.ndarray, words: list[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(numbers), pa.array(words, type=pa.string()))


def _text(arrays: dict, name: str) -> pa.Array:
    starts = arrays[name + ".starts"]
    return pa.StringArray.from_buffers(len(starts) - 1, pa.py_buffer(starts), pa.py_buffer(arrays[name]))


def _list(starts: np.ndarray, values: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(
        pa.array(starts), values, type=pa.list_(pa.field("item", values.type, nullable=False))
    )


# === from Arrow ===


def _from_arrow(batch: pa.RecordBatch) -> Shard:
    arrays, words = {}, {}

    def plain(name, column):
        if name.rpartition(".")[2] in WORDS:
            words[name.rpartition(".")[2]] = column.dictionary.to_pylist()
            column = column.indices
        arrays[name] = column.to_numpy(zero_copy_only=True)

    for name in TEXTS:
        _, starts, values = batch.column(name).buffers()
        arrays[name + ".starts"] = np.frombuffer(starts, dtype=np.int32)[: len(batch) + 1]
        arrays[name] = np.frombuffer(values or b"", dtype=np.uint8)
    for name in RESIDUES:
        column = batch.column(name)
        starts = column.offsets.to_numpy(zero_copy_only=True)
        if not np.array_equal(arrays.setdefault("residues.starts", starts), starts):
            raise DamagedFile("its columns disagree about how many residues the structures have")
        values = column.values
        arrays[name] = _rows_of_three(values) if name == "position" else values.to_numpy(zero_copy_only=True)
    column = batch.column("runs")
    arrays["runs.starts"] = column.offsets.to_numpy(zero_copy_only=True)
    for name in RUNS:
        plain("runs." + name, column.values.field(name))
    for name in ROWS:
        if name == "origin":
            if "origin" in batch.schema.names:
                arrays[name] = _rows_of_three(batch.column(name))
        else:
            plain(name, batch.column(name))
    return Shard(arrays, words)


def _rows_of_three(column: pa.Array) -> np.ndarray:
    return column.values.to_numpy(zero_copy_only=True).reshape(-1, 3)
