"""
What ``gearnet prepare`` is going to read, written down before it starts: the folder ``plan`` of a store in the
making.

The files of all sources are listed once, in a fixed order, and cut into parts of equal number; each part becomes one
shard. So a shard depends on the sources and the options alone, not on how many workers there are or when one of them
died.

The list lives on disk. While it is made, 50 to 70 bytes a file are in memory, five times as many where each structure
comes in two formats; once it is there, those of a part.
"""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .content import missing_formats
from .manifest import PLAN, read_json, write_atomically
from .names import name_hash, unique_names
from .sources import Entry, find_entries, find_files

ENTRIES = "entries.jsonl"
#: A store has about this many shards, each of so many files; the limits hold first.
NUM_SHARDS = 256
SHARD_FILES = (128, 4096)
# Which of several formats of one structure to read, the fastest of those that are exact first.
FORMATS = (".pdb", ".ent", ".bcif", ".cif", ".mmcif", ".hdf5", ".h5", ".fcz")


@dataclass(frozen=True)
class Plan:
    """
    Parts of a list of files.

    Parameters:
        store (str): folder of the store
        files (int): number of files to read
        twins (int): number of files left aside because the same structure is read in another format
        fingerprint (str): of the sources, see :func:`fingerprint`
        starts (list of int): where each part begins in the list, in bytes, and where the last ends
        shard_files (int): number of files of a part, but for the last
    """

    store: str
    files: int
    twins: int
    fingerprint: str
    starts: list[int]
    shard_files: int

    def __len__(self) -> int:
        return len(self.starts) - 1

    def part_files(self, part: int) -> int:
        """Number of files of a part."""
        return min(self.shard_files, self.files - part * self.shard_files)

    def path(self, *names: str) -> str:
        """A path in the folder of the plan."""
        return os.path.join(self.store, PLAN, *names)

    def save(self) -> None:
        """Keep all but the list, which is on disk already."""
        write_atomically(
            self.path("plan.json"), json.dumps({key: value for key, value in vars(self).items() if key != "store"})
        )


def load_plan(store: str) -> Plan | None:
    """The plan that a store in the making has, if listing came to its end."""
    plan = read_json(os.path.join(store, PLAN, "plan.json"))
    return None if plan is None else Plan(store, **plan)


def fingerprint(sources: Sequence) -> str:
    """
    SHA-256 of the files that sources stand for: their paths as given, sizes and times of change, not what is in them.
    An archive is one file.

    Parameters:
        sources (list): as :func:`~.sources.find_entries` takes them
    """
    digest = hashlib.sha256()
    for path in find_files(sources[0] if len(sources) == 1 else sources):
        try:
            status = os.stat(path)
            about = status.st_size, status.st_mtime_ns
        except OSError:
            about = -1, -1
        digest.update(repr((os.fsencode(path), *about)).encode())
    return digest.hexdigest()


def read_part(store: str, start: int, stop: int) -> Iterator[tuple[str, Entry]]:
    """The files of a part and the names that their structures get."""
    with open(os.path.join(store, PLAN, ENTRIES), "rb") as file:
        file.seek(start)
        for line in file.read(stop - start).splitlines():
            yield _parse(line)


def make_plan(store: str, sources: list, fingerprint: str, report=None) -> Plan:
    """
    List the files of all sources.

    Parameters:
        store (str): folder of the store; its folder ``plan`` exists
        sources (list): as :func:`~.sources.find_entries` takes them
        fingerprint (str): theirs
        report (Callable, optional): called with the number of files found so far, once in a while

    Raises:
        FileNotFoundError: a source does not exist
        ValueError: there is no structure file, or a package is missing that one of them needs
    """
    raw, path = (os.path.join(store, PLAN, name) for name in (ENTRIES + ".raw", ENTRIES + ".new"))
    found, endings = array("Q"), set()
    with open(raw, "wb") as file:
        for entry in find_entries(
            sources[0] if len(sources) == 1 else sources, scratch=os.path.join(store, PLAN, "unpacked")
        ):
            stem = entry.stem
            found.append(name_hash(stem))
            endings.add(entry.ending)
            file.write(_line(stem, entry))
            if report and len(found) % 1000 == 0:
                report(len(found))
    # better told now than after hours of work
    for missing in filter(None, map(missing_formats, sorted(endings))):
        raise ValueError(missing)
    hashes = np.frombuffer(found, dtype=np.uint64)

    twins = _twins(raw, hashes)
    names = _new_names(raw, hashes, twins)
    files = len(hashes) - len(twins)
    shard_files = shard_size(files)
    starts, position, written = [], 0, 0
    with open(path, "wb") as file:
        for number, (name, entry) in enumerate(_lines(raw)):
            if number in twins:
                continue
            if written % shard_files == 0:
                starts.append(position)
            name = names.get(number, name)
            position += file.write(_line(name, entry))
            written += 1
        file.flush()
        os.fsync(file.fileno())
    os.remove(raw)
    plan = Plan(store, files, len(twins), fingerprint, [*starts, position], shard_files)
    os.replace(path, os.path.join(store, PLAN, ENTRIES))
    return plan


def shard_size(files: int) -> int:
    """Number of files that become a shard: a power of 2, so that it does not change with every file more."""
    low, high = SHARD_FILES
    return min(max(1 << (-(-files // NUM_SHARDS) - 1).bit_length(), low), high)


def _twins(raw: str, hashes: np.ndarray) -> set[int]:
    """Numbers of the files that are one structure in a further format: same place, same name without ending."""
    repeated = _repeated(hashes)
    twins: set[int] = set()
    group: str | None = None
    best: dict[tuple[str, str], tuple] = {}
    if not repeated:
        return twins
    for number, (_, entry) in enumerate(_lines(raw)):
        # a folder or an archive at a time, so that what is remembered does not grow with the number of sources
        place = os.path.dirname(entry.source) if entry.offset < 0 else entry.file
        if place != group:
            group, best = place, {}
        if int(hashes[number]) not in repeated or entry.refusal:
            continue
        key = (os.path.dirname(entry.source), entry.stem)
        rank = _rank(entry)
        other = best.setdefault(key, (rank, number))
        if other[1] != number:
            best[key], twin = ((rank, number), other) if rank < other[0] else (other, (rank, number))
            twins.add(twin[1])
    return twins


def _new_names(raw: str, hashes: np.ndarray, twins: set[int]) -> dict[int, str]:
    """Names of the files whose own names are taken in another folder or archive, by number."""
    kept = np.ones(len(hashes), dtype=bool)
    kept[list(twins)] = False
    repeated = _repeated(hashes[kept])
    if not repeated:
        return {}
    sources = {
        number: (entry.source, "")
        for number, (_, entry) in enumerate(_lines(raw))
        if int(hashes[number]) in repeated and number not in twins
    }
    return dict(zip(sources, unique_names(list(sources.values())), strict=True))


def _repeated(hashes: np.ndarray) -> set[int]:
    values, counts = np.unique(hashes, return_counts=True)
    return set(values[counts > 1].tolist())


def _rank(entry: Entry) -> int:
    ending = entry.ending.removesuffix(".gz")
    return FORMATS.index(ending) if ending in FORMATS else len(FORMATS)


def _line(name: str, entry: Entry) -> bytes:
    # a worker may stand in another folder
    row = name, os.path.abspath(entry.file), entry.source, entry.offset, entry.size, entry.refusal
    return json.dumps(row, separators=(",", ":")).encode() + b"\n"


def _lines(path: str) -> Iterator[tuple[str, Entry]]:
    with open(path, "rb") as file:
        for line in file:
            yield _parse(line)


def _parse(line: bytes) -> tuple[str, Entry]:
    name, *fields = json.loads(line)
    return name, Entry(*fields)
