"""
Prepared structures on disk: sharded, memory-mapped, immutable, checked as they are read.

A store is a folder::

    manifest.json     how it was made, what it holds, size and checksum of every other file
    index.arrow       where to find a name
    shards/           000000.arrow, 000001.arrow, ...: see :mod:`.shard`
    drops.tsv         what was left out, and why

Opening reads the manifest and looks at the sizes of the files. Shards are mapped when first needed and their pages
are the operating system's, so processes that read one store, forked or not, share one copy of it in memory. Made by
:mod:`.prepare`.
"""

from __future__ import annotations

import csv
import itertools
import operator
import os
from bisect import bisect_right
from collections.abc import Iterator
from typing import SupportsIndex, overload

import numpy as np

from .manifest import DROPS, INDEX, MANIFEST, PLAN, SHARDS, StoreError, read_manifest, shard_name
from .names import name_hash
from .shard import ResidueArrays, Shard
from .structure import Structure

#: How reasons begin that are about residues of a structure that was kept.
RESIDUES_LEFT_OUT = "residues left out: "
#: Most shards that a process keeps open: each takes 20 kB of Python objects.
MAX_OPEN = 1024


class StructureStore:
    """
    The structures of a store, by number and by name.

    Parameters:
        path (str or Path): folder of the store

    Raises:
        FileNotFoundError: there is no such folder, or a shard is missing
        StoreError: the folder is no whole store, or a file has another size than it was written with
    """

    def __init__(self, path: str | os.PathLike):
        self.path = os.fspath(path)
        #: the same from any folder
        self.root = os.path.abspath(os.path.expanduser(self.path))
        self.manifest = read_manifest(self.path)
        self._starts = [0, *itertools.accumulate(shard.structures for shard in self.manifest.shards)]
        self._shards: dict[int, Shard] = {}
        self._index: tuple[np.ndarray, np.ndarray] | None = None
        self._check_files()

    def __len__(self) -> int:
        return self._starts[-1]

    @overload
    def __getitem__(self, index: SupportsIndex) -> Structure: ...

    @overload
    def __getitem__(self, index: slice) -> list[Structure]: ...

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        shard, row = self._place(index)
        return shard.structure(row)

    def __iter__(self) -> Iterator[Structure]:
        return (self[i] for i in range(len(self)))

    def __contains__(self, name) -> bool:
        return bool(self.numbers(name))

    def __reduce__(self):
        # a process that gets a store maps the files itself
        return type(self), (self.root,)

    def __repr__(self) -> str:
        counts = self.manifest.counts
        return f"{type(self).__name__}({self.path!r}): {counts['structures']} structures, {counts['residues']} residues"

    @property
    def size(self) -> int:
        """Bytes on disk, the report of what was left out apart."""
        return (
            sum(shard.size for shard in self.manifest.shards)
            + self.manifest.index["size"]
            + os.path.getsize(os.path.join(self.root, MANIFEST))
        )

    # === one structure ===

    def residues(self, index: int) -> ResidueArrays:
        """
        The residues of a structure without the text around them, at a third of the time of ``store[index]``.

        Raises:
            IndexError: there is no such structure
            StoreError: the structure is not what was written
        """
        shard, row = self._place(index)
        return shard.residues(row)

    def get(self, name: str) -> Structure:
        """The structure of a name. Raises as :meth:`index`."""
        return self[self.index(name)]

    def index(self, name: str) -> int:
        """
        The number of the structure that has a name.

        Raises:
            KeyError: there is none
            StoreError: several have it, or the index is damaged
        """
        found = self.numbers(name)
        if len(found) > 1:
            raise StoreError(
                f"store `{self.path}`: {len(found)} structures are called `{name}` "
                f"(numbers {', '.join(map(str, found))}); ask by number"
            )
        if not found:
            raise KeyError(f"store `{self.path}` has no structure `{name}`")
        return found[0]

    def numbers(self, name) -> list[int]:
        """Numbers of the structures that have a name: one, none, or those that share it."""
        if not isinstance(name, str):
            return []
        hashes, numbers = self.name_index
        first, last = (int(np.searchsorted(hashes, np.uint64(name_hash(name)), side)) for side in ("left", "right"))
        return [number for number in map(int, numbers[first:last]) if self.name(number) == name]

    def name(self, index: int) -> str:
        """The name of a structure."""
        shard, row = self._place(index, check=False)
        return shard.text("name", row)

    # === all of them ===

    @property
    def names(self) -> Iterator[str]:
        """Names by number, one shard after the other."""
        return self._texts("name")

    @property
    def name_index(self) -> tuple[np.ndarray, np.ndarray]:
        """Hashes of all names in order, see :func:`~.names.name_hash`, and the numbers of their structures."""
        if self._index is None:
            self._index = read_index(self.root, self.manifest.index, self.path)
        return self._index

    @property
    def sources(self) -> Iterator[str]:
        """Where each structure was read, by number."""
        return self._texts("source")

    def _texts(self, column: str) -> Iterator[str]:
        for number in range(len(self.manifest.shards)):
            shard = self._shard(number)
            for row in range(len(shard)):
                yield shard.text(column, row)

    @property
    def lengths(self) -> np.ndarray:
        """Number of residues of each structure, int32."""
        return self.column("length")

    def column(self, name: str) -> np.ndarray:
        """
        A value of every structure: ``length``, ``mean_confidence``, ``resolution``, ``method`` or
        ``confidence_kind``.

        Returns:
            np.ndarray: numbers, or words as objects, of shape [number of structures]
        """
        allowed = ("length", "mean_confidence", "resolution", "method", "confidence_kind")
        if name not in allowed:
            raise ValueError(f"a store has no column `{name}` with a value a structure; there are {', '.join(allowed)}")
        parts = [np.zeros(0, dtype=np.int32)]
        for number in range(len(self.manifest.shards)):
            shard = self._shard(number)
            values = shard.arrays[name]
            parts.append(np.array(shard.words[name] or [""], dtype=object)[values] if name in shard.words else values)
        return np.concatenate(parts[1:] or parts)

    def drops(self) -> list[tuple[str, str]]:
        """
        What was left out when the store was made: (file, reason) of each. A reason that begins with ``residues left
        out`` is about a file that was kept.
        """
        try:
            with open(os.path.join(self.root, DROPS), newline="", encoding="utf-8", errors="surrogateescape") as file:
                return [tuple(row) for row in itertools.islice(csv.reader(file, delimiter="\t"), 1, None)]  # type: ignore[misc]
        except FileNotFoundError:
            raise StoreError(f"store `{self.path}`: {DROPS} is missing; bring it back from a copy") from None

    def lost(self) -> list[tuple[str, str]]:
        """The files, or chains of files, that are not in the store: (file, reason) of each."""
        return [(file, reason) for file, reason in self.drops() if not reason.startswith(RESIDUES_LEFT_OUT)]

    def residues_left_out(self) -> dict[str, dict[str, int]]:
        """How many residues the files that are in the store had to leave out: {file: {reason: number}}."""
        found = {}
        for file, reason in self.drops() if self.manifest.counts["residues_left_out"] else ():
            if reason.startswith(RESIDUES_LEFT_OUT):
                counts = (part.split(" x ", 1) for part in reason.removeprefix(RESIDUES_LEFT_OUT).split(", "))
                found[file] = {what: int(number) for number, what in counts}
        return found

    def problems(self) -> Iterator[tuple[int, str]]:
        """
        Check every byte.

        Yields:
            for each shard its number and what is wrong with it, ``""`` for nothing; for the other files, number -1
        """
        from .arrow import file_crc

        for number, info in enumerate(self.manifest.shards):
            try:
                if file_crc(self._file(number)) == info.crc:
                    yield number, ""
                    continue
                shard = self._shard(number)
                bad = [self._starts[number] + row for row in range(len(shard)) if not shard.is_sound(row)]
            except (OSError, StoreError) as error:
                yield number, str(error)
                continue
            names = ", ".join(map(str, bad[:10])) + (", ..." if len(bad) > 10 else "")
            what = f"{len(bad)} structures of shard {shard_name(number)} are damaged: {names}"
            yield (
                number,
                f"store `{self.path}`: {what if bad else f'unused bytes of {shard_name(number)} have changed'}",
            )
        for name, wanted in ((INDEX, self.manifest.index), (DROPS, self.manifest.drops)):
            try:
                sound = file_crc(os.path.join(self.root, name)) == wanted["crc"]
            except FileNotFoundError:
                sound = False
            yield -1, "" if sound else f"store `{self.path}`: {name} is missing or damaged"

    # === files ===

    def _place(self, index, check: bool = True) -> tuple[Shard, int]:
        """Shard and row of a structure, with a look at its checksum if its residues are wanted."""
        number = operator.index(index)
        if number < 0:
            number += len(self)
        if not 0 <= number < len(self):
            raise IndexError(f"store `{self.path}` has {len(self)} structures, but number {index} was asked for")
        which = bisect_right(self._starts, number) - 1
        shard, row = self._shard(which), number - self._starts[which]
        if check and not shard.is_sound(row):
            raise StoreError(
                f"store `{self.path}`: structure {number} in shard {shard_name(which)} is damaged, its checksum "
                f"is wrong; the others can still be read. `gearnet doctor {self.path}` checks them all; bring "
                f"the shard back from a copy, or make the store anew with `gearnet prepare --overwrite`"
            )
        return shard, row

    def _shard(self, number: int) -> Shard:
        shard = self._shards.get(number)
        if shard is None:
            # pyarrow costs 0.2 s and 25 MB, which a process that opens no shard need not pay
            from .arrow import DamagedFile, Frame, open_shard

            try:
                shard = open_shard(self._file(number), Frame(*self.manifest.shards[number].frame))
            except FileNotFoundError:
                raise self._missing(number) from None
            except DamagedFile as error:
                raise self._wrong(number, str(error)) from None
            if len(self._shards) >= MAX_OPEN:
                # what was read from it stays mapped as long as it is in use
                self._shards.pop(next(iter(self._shards)), None)
            self._shards[number] = shard
        return shard

    def _file(self, number: int) -> str:
        return os.path.join(self.root, SHARDS, shard_name(number))

    def _check_files(self) -> None:
        try:
            with os.scandir(os.path.join(self.root, SHARDS)) as entries:
                sizes = {entry.name: entry.stat().st_size for entry in entries}
        except FileNotFoundError:
            sizes = {}
        for number, info in enumerate(self.manifest.shards):
            size = sizes.get(shard_name(number))
            if size is None:
                raise self._missing(number)
            if size != info.size:
                raise self._wrong(number, f"it has {size} bytes instead of {info.size}")

    def _missing(self, number: int) -> FileNotFoundError:
        return FileNotFoundError(
            f"store `{self.path}`: shard {shard_name(number)} is missing, with structures {self._starts[number]} to "
            f"{self._starts[number + 1] - 1}; bring it back from a copy, or make the store anew with "
            f"`gearnet prepare --overwrite`"
        )

    def _wrong(self, number: int, how: str) -> StoreError:
        return StoreError(
            f"store `{self.path}`: shard {shard_name(number)}, with structures {self._starts[number]} to "
            f"{self._starts[number + 1] - 1}, is cut off or damaged: {how}; bring it back from a copy, or make "
            f"the store anew with `gearnet prepare --overwrite`"
        )


def write_index(store: str, names: Iterator[str], count: int) -> tuple[dict, int]:
    """
    Write the index of a store: the hashes of all names in order, each with the number of its structure.

    Returns:
        what the manifest says of it, and the number of structures that have a name which is not theirs alone
    """
    import pyarrow as pa

    from .arrow import write_columns

    hashes = np.fromiter(map(name_hash, names), dtype=np.uint64, count=count)
    # stable: structures of one name keep their order
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    temporary = os.path.join(store, PLAN, f"{INDEX}.{os.getpid()}.tmp")
    frame = write_columns({"name_hash": pa.array(ordered), "structure": pa.array(order.astype(np.uint32))}, temporary)
    os.replace(temporary, os.path.join(store, INDEX))
    same = ordered[1:] == ordered[:-1]
    shared = int((np.append(same, False) | np.append(False, same)).sum())
    return frame._asdict(), shared


def read_index(store: str, info: dict, shown: str) -> tuple[np.ndarray, np.ndarray]:
    """Hashes and numbers of the index of a store, mapped."""
    from .arrow import DamagedFile, Frame, open_columns

    try:
        batch = open_columns(os.path.join(store, INDEX), Frame(**info))
    except (FileNotFoundError, DamagedFile):
        raise StoreError(
            f"store `{shown}`: {INDEX} is missing or damaged, so names cannot be found; structures can be had by "
            f"number. Bring it back from a copy, or make the store anew with `gearnet prepare --overwrite`"
        ) from None
    return tuple(batch.column(name).to_numpy(zero_copy_only=True) for name in ("name_hash", "structure"))
