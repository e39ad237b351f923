"""What is in a file of embeddings, in words; the long arrays are gone through in steps, whatever their size."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import click
import numpy as np

from .doctor_store import LENGTHS, histogram

VECTORS = ("protein", "residue")
SHOWN = 10
#: Bytes that are looked at at once.
STEP = 1 << 24


@dataclass
class Vectors:
    """Rows of numbers: how many, how wide, how many of them hold NaN or infinity, median length of a sample."""

    rows: int
    width: int
    broken: int
    norm: float


@dataclass
class Contents:
    """
    What a file of embeddings tells.

    Parameters:
        lengths (np.ndarray): residues of each protein
        names (list of str): name of each protein
        drops (list of (str, str)): what was left out, and why
        info (dict): what made them
        vectors (dict): :class:`Vectors` by level
    """

    lengths: np.ndarray
    names: list[str]
    drops: list[tuple[str, str]]
    info: dict
    vectors: dict[str, Vectors]


def examine(path: str, quick: bool = False) -> int:
    """Tell what is in a file of embeddings; the exit code: 1 if numbers in it are not finite."""
    lower = path.lower()
    if lower.endswith(".npz"):
        contents = _of_npz(path, quick)
        if contents is None:
            return 0
    elif lower.endswith(".parquet"):
        return _examine_parquet(path)
    elif lower.endswith(".pt"):
        contents = _of_pt(path, quick)
    else:
        contents = _of_h5(path, quick)
    for line in describe(path, contents):
        click.echo(line)
    broken = {level: vectors for level, vectors in contents.vectors.items() if vectors.broken}
    for level, vectors in broken.items():
        click.echo(f"  `{level}`: {vectors.broken:,} of {vectors.rows:,} rows hold NaN or infinity", err=True)
    return 1 if broken else 0


def describe(path: str, contents: Contents) -> Iterator[str]:
    """Embeddings in words."""
    lengths = contents.lengths
    yield f"{path}: embeddings of {len(lengths):,} proteins, {int(lengths.sum()):,} residues"
    for level, vectors in contents.vectors.items():
        yield f"  `{level}`: {vectors.rows:,} rows of {vectors.width} dimensions, median norm {vectors.norm:.4g}"
    repeated = [name for name, count in Counter(contents.names).items() if count > 1]
    if repeated:
        yield f"  {len(repeated)} names occur several times, such as `{repeated[0]}`"
    yield f"  first: {', '.join(contents.names[:5])}"
    kept = {key: value for key, value in contents.info.items() if not isinstance(value, (dict, list))}
    if kept:
        yield "  made with " + ", ".join(f"{key} {value}" for key, value in kept.items())
    yield f"  left out: {len(contents.drops):,}"
    for source, reason in contents.drops[:SHOWN]:
        yield f"    {source}: {reason}"
    if len(contents.drops) > SHOWN:
        yield f"    and {len(contents.drops) - SHOWN:,} more"
    yield from histogram("length, residues", lengths, LENGTHS)


def look(blocks: Iterator[np.ndarray], rows: int, width: int) -> Vectors:
    """Go through rows of numbers."""
    broken, norms = 0, []
    for block in blocks:
        finite = np.isfinite(block).all(axis=1)
        broken += int((~finite).sum())
        norms.append(np.linalg.norm(block[finite][:1000].astype(np.float64), axis=1))
    found = np.concatenate(norms) if norms else np.zeros(0)
    return Vectors(rows, width, broken, float(np.median(found)) if len(found) else float("nan"))


def _height(width: int) -> int:
    return max(1, STEP // max(1, 4 * width))


def _of_npz(path: str, quick: bool) -> Contents | None:
    """What ``.npz`` holds; None, and a line for each array, where that is something else."""
    # of anything else, numpy advises to unpickle it
    if not zipfile.is_zipfile(path):
        raise ValueError(f"`{path}` is no .npz file, or is cut off")
    with np.load(path, allow_pickle=False) as file:
        if not {"names", "lengths", "info"} <= set(file.files):
            click.echo(f"{path}: no embeddings, but these arrays:")
            for line in _arrays(path):
                click.echo(f"  {line}")
            return None
        names, lengths = file["names"].tolist(), file["lengths"]
        drops = [(source, reason) for source, reason in file["drops"].tolist()]
        info = json.loads(str(file["info"]))
        levels = [level for level in VECTORS if level in file.files]
    with zipfile.ZipFile(path) as archive:
        vectors = {level: _npy(archive, level, quick) for level in levels}
    return Contents(lengths, names, drops, info, vectors)


def _arrays(path: str) -> Iterator[str]:
    """What ``.npz`` holds, by the headers alone: the arrays of others may not fit into memory."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if not name.endswith(".npy"):
                yield f"{name}: no array"
                continue
            with archive.open(name) as member:
                shape, dtype = _header(member)
            objects = ", pickled objects, which are never loaded" if dtype.hasobject else ""
            yield f"{name.removesuffix('.npy')}: {dtype} of shape {list(shape)}{objects}"


def _header(member: Any) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(member)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(member)
    return shape, dtype


def _npy(archive: zipfile.ZipFile, level: str, quick: bool) -> Vectors:
    with archive.open(f"{level}.npy") as member:
        (rows, width), dtype = _header(member)

        def blocks() -> Iterator[np.ndarray]:
            while data := member.read(_height(width) * width * dtype.itemsize):
                yield np.frombuffer(data, dtype=dtype).reshape(-1, width)
                if quick:
                    return

        return look(blocks(), rows, width)


def _of_h5(path: str, quick: bool) -> Contents:
    import h5py

    with h5py.File(path, "r") as file:
        names = [str(name) for name in file["names"].asstr()[()]]
        drops = (
            [(str(source), str(reason)) for source, reason in file["drops"].asstr()[()]] if len(file["drops"]) else []
        )
        info = json.loads(file["info"].asstr()[()])
        vectors = {level: _dataset(file[level], quick) for level in VECTORS if level in file}
        return Contents(file["lengths"][()], names, drops, info, vectors)


def _dataset(data: Any, quick: bool) -> Vectors:
    rows, width = data.shape
    starts = range(0, rows, _height(width))
    return look((data[start : start + _height(width)] for start in (starts[:1] if quick else starts)), rows, width)


def _of_pt(path: str, quick: bool) -> Contents:
    import torch

    state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    vectors = {level: _dataset(state[level].numpy(), quick) for level in VECTORS if level in state}
    drops = [(source, reason) for source, reason in state["drops"]]
    return Contents(state["lengths"].numpy(), state["names"], drops, state["info"], vectors)


def _examine_parquet(path: str) -> int:
    """Tell what a table of embeddings holds."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    metadata = file.schema_arrow.metadata or {}
    columns = ", ".join(f"{field.name} ({field.type})" for field in file.schema_arrow)
    rows = "residue" if "residue_number" in file.schema_arrow.names else "protein"
    what = f"a row a {rows}" if "embedding" in file.schema_arrow.names else "no embeddings written by this package"
    click.echo(f"{path}: table of {file.metadata.num_rows:,} rows, {what}")
    click.echo(f"  columns: {columns}")
    info = json.loads(metadata.get(b"gearnet_plugin", b"{}"))
    for key, value in info.items():
        if not isinstance(value, (dict, list)):
            click.echo(f"  {key} {value}")
    return 0
