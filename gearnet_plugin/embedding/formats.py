"""The writers of :mod:`.layout`: each goes through the rows in steps, so that no array has to be in memory."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator

import numpy as np
import torch

from gearnet_plugin.engine.checkpoint import whole_file

from .layout import STEP, Table, Texts, Words


def _steps(count: int, row: int, step: int = STEP) -> Iterator[slice]:
    """Slices of ``count`` rows of ``row`` bytes, each of about ``step`` bytes."""
    rows = max(1, step // max(1, row))
    return (slice(start, min(start + rows, count)) for start in range(0, count, rows))


def _columns(table: Table) -> dict:
    """What ``.npz`` and ``.h5`` hold, in this order."""
    columns = {
        "names": Words(table.names),
        "sources": Words(table.sources),
        "chains": Words(table.chains),
        "lengths": np.asarray(table.lengths, dtype=np.int64),
        "drops": np.array(table.drops, dtype=np.str_).reshape(-1, 2),
        "info": np.array(json.dumps(table.info)),
    }
    if table.protein is not None:
        columns["protein"] = table.protein
    if table.residue is not None:
        columns |= {"residue": table.residue, "offsets": table.offsets, **table.keys}
    return columns


def _shape(column) -> tuple[int, ...]:
    if isinstance(column, Words):
        return (len(column.values),)
    return (len(column.codes),) if isinstance(column, Texts) else column.shape


def write_npz(files: list[str], table: Table) -> None:
    """Write what ``numpy.savez`` would."""
    with whole_file(files[0]) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, column in _columns(table).items():
            # without the time of day, so that equal embeddings are equal files
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                shape = _shape(column)
                header = {"descr": np.lib.format.dtype_to_descr(column.dtype), "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(member, header)
                if not shape:
                    member.write(column.tobytes())
                    continue
                row = column.dtype.itemsize * int(np.prod(shape[1:]))
                for rows in _steps(shape[0], row):
                    member.write(np.ascontiguousarray(column[rows]).tobytes())


def write_h5(files: list[str], table: Table) -> None:
    """Write HDF5 with a data set a column; texts are UTF-8."""
    import h5py

    with whole_file(files[0]) as temporary, h5py.File(temporary.name, "w") as file:
        for name, column in _columns(table).items():
            if isinstance(column, Texts):
                # of fixed width: a text of its own for each residue would take 30 bytes more
                texts = [utf8(value) for value in column.values]
                dtype = h5py.string_dtype("utf-8", max(map(len, texts), default=1) or 1)
                values = np.array(texts, dtype=dtype)
                data = file.create_dataset(name, (len(column),), dtype)
                for rows in _steps(len(column), values.dtype.itemsize):
                    data[rows] = values[column.codes[rows]].astype(dtype)
            elif isinstance(column, Words):
                values = np.array([utf8(value) for value in column.values], dtype=object)
                file.create_dataset(name, data=values, dtype=h5py.string_dtype())
            elif column.dtype.kind == "U":
                values = np.array([utf8(value) for value in column.reshape(-1).tolist()], dtype=object)
                data = file.create_dataset(name, column.shape, h5py.string_dtype())
                if len(values):
                    data[...] = values.reshape(column.shape)
            else:
                data = file.create_dataset(name, column.shape, column.dtype)
                for rows in _steps(len(column), column.dtype.itemsize * int(np.prod(column.shape[1:]))):
                    data[rows] = column[rows]


def write_pt(files: list[str], table: Table) -> None:
    """Write a dict of tensors, lists and numbers; mapped arrays are written from where they are."""
    content = {
        "names": table.names,
        "sources": table.sources,
        "chains": table.chains,
        "lengths": torch.as_tensor(np.asarray(table.lengths, dtype=np.int64)),
        "drops": [tuple(drop) for drop in table.drops],
        "info": table.info,
    }
    if table.protein is not None:
        content["protein"] = _tensor(table.protein)
    if table.residue is not None:
        content |= {"residue": _tensor(table.residue), "offsets": torch.as_tensor(table.offsets)}
        for name, column in table.keys.items():
            content[name] = _tensor(column.codes if isinstance(column, Texts) else column)
            if isinstance(column, Texts):
                content[f"{name}_values"] = column.values
    with whole_file(files[0]) as file:
        torch.save(content, file)


def write_parquet(files: list[str], table: Table) -> None:
    """Write a table of proteins, of residues, or both in two files."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        # the last of them to be opened is the first to be whole
        opened = [stack.enter_context(whole_file(file)) for file in files]
        if table.protein is not None:
            _parquet(opened[0], table, table.protein, {"chain": "text", "length": "int64"}, _protein_columns)
        if table.residue is not None:
            types = {name: "int32" if name == "residue_number" else "text" for name in table.keys}
            _parquet(opened[-1], table, table.residue, types, _residue_columns)


def _parquet(file, table: Table, values: np.ndarray, types: dict[str, str], columns) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # names and the like repeat from row to row, which a dictionary makes free
    kinds = {"text": pa.string(), "int32": pa.int32(), "int64": pa.int64()}
    fields = [("name", "text"), ("source", "text"), *types.items()]
    embedding = pa.list_(pa.float32(), values.shape[1])
    schema = pa.schema(
        [(name, kinds[kind]) for name, kind in fields] + [("embedding", embedding)],
        metadata={"gearnet_plugin": json.dumps(table.info)},
    )
    texts = [name for name, kind in fields if kind == "text"]
    names, sources = (np.array([utf8(text) for text in column]) for column in (table.names, table.sources))
    # random numbers gain nothing from compression but cost its time
    with pq.ParquetWriter(file, schema, compression="none", use_dictionary=texts) as writer:
        for rows in _steps(len(values), 4 * values.shape[1], 4 * STEP):
            owner, more = columns(table, rows)
            arrays = [names[owner], sources[owner], *more]
            batch = [_arrow(array, kinds[kind]) for array, (_, kind) in zip(arrays, fields, strict=True)]
            flat = pa.array(np.ascontiguousarray(values[rows]).reshape(-1))
            batch.append(pa.FixedSizeListArray.from_arrays(flat, values.shape[1]))
            writer.write_batch(pa.RecordBatch.from_arrays(batch, schema=schema), row_group_size=len(batch[0]))


def _protein_columns(table: Table, rows: slice) -> tuple[np.ndarray, list]:
    lengths = np.asarray(table.lengths, dtype=np.int64)
    return np.arange(rows.start, rows.stop), [Words(table.chains)[rows], lengths[rows]]


def _residue_columns(table: Table, rows: slice) -> tuple[np.ndarray, list]:
    owner = np.searchsorted(table.offsets, np.arange(rows.start, rows.stop), side="right") - 1
    return owner, [column[rows] for column in table.keys.values()]


def _arrow(array: np.ndarray, kind):
    import pyarrow as pa

    if array.dtype.kind == "S":
        return pa.array(array.tolist(), pa.binary()).cast(kind)
    if array.dtype.kind == "U":
        return pa.array([utf8(text) for text in array.tolist()], pa.binary()).cast(kind)
    return pa.array(array, kind)


def utf8(text: str) -> bytes:
    """UTF-8 of a text; file names may hold bytes that are none, which are written as ``\\xff``."""
    raw = text.encode("utf-8", "surrogateescape")
    return raw.decode("utf-8", "backslashreplace").encode("utf-8", "backslashreplace")


def _tensor(array: np.ndarray) -> torch.Tensor:
    # of a file mapped for reading only, which torch warns of and torch.save does not change
    return torch.from_numpy(array if array.flags.writeable else array.view(np.ndarray))
