"""
Residue features of a frozen sequence model on disk, by sequence: a folder that is written once and read lazily.

    index.json        format, model and its fingerprint, dtype, widths, counts, CRC-32 of ``entries.npy``
    entries.npy       a row an entry, sorted by key: key, row, start, length, CRC-32 of all that belongs to the entry
    residues.bin      features of residues, [R, D] of dtype
    proteins.bin      features of whole proteins, [M, P] of dtype, by row
    sequences.bin     residue types, [R] uint8, 20 unknown

An entry is found by the hash of its residue types and then compared with them, so that features of one sequence are
never taken for those of another. M entries, R residues of all of them, n residues of one.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib

import numpy as np

from gearnet_plugin.structures.manifest import read_json
from gearnet_plugin.structures.residues import ONE_LETTER

FORMAT = "gearnet-plugin residue features"
VERSION = 1
DTYPES = {"float16": np.float16, "float32": np.float32}
ENTRY = np.dtype([("key", "S16"), ("row", "<i8"), ("start", "<i8"), ("length", "<i4"), ("crc", "<u4")])
INDEX, ENTRIES, RESIDUES, PROTEINS, SEQUENCES = (
    "index.json",
    "entries.npy",
    "residues.bin",
    "proteins.bin",
    "sequences.bin",
)
#: What makes the folder, for messages.
COMMAND = "gearnet_plugin.datasets.features.cache_features(model.sequence_model, dataset, %r)"

# a protein of the same length that differs in at most this part is told as the one that was meant
NEAR = 0.1


def sequence_key(codes: np.ndarray) -> bytes:
    """Hash of residue types, uint8 of shape [n]."""
    return hashlib.blake2b(codes.tobytes(), digest_size=16).digest()


def letters(codes: np.ndarray, most: int = 12) -> str:
    """The first residues in one-letter code, ``X`` for unknown."""
    return "".join(ONE_LETTER[code] for code in codes[:most]) + ("..." if len(codes) > most else "")


class FeatureCache:
    """
    Cached features, read when they are asked for. Copies and other processes open the folder anew.

    Parameters:
        path (str or Path): folder that :func:`~gearnet_plugin.datasets.features.cache_features` has written

    Raises:
        FileNotFoundError: there is no such folder
        ValueError: it is none, or it is damaged
    """

    def __init__(self, path: str | os.PathLike):
        self.path = os.path.abspath(os.path.expanduser(os.fspath(path)))
        index = self._read_index()
        self.model = index["model"]
        self.fingerprint = index["fingerprint"]
        self.dtype = np.dtype(DTYPES[index["dtype"]])
        self.width, self.protein_width = index["width"], index["protein_width"]
        self.num_residue = index["residues"]
        self._entries = self._read_entries(index)
        # searched without a copy
        self._keys = np.ascontiguousarray(self._entries["key"])
        self._residues = self._map(RESIDUES, self.dtype, self.num_residue, self.width)
        self._proteins = self._map(PROTEINS, self.dtype, len(self), self.protein_width)
        self._sequences = self._map(SEQUENCES, np.dtype(np.uint8), self.num_residue, 1)[:, 0]

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self):
        return f"FeatureCache({self.path!r}: {len(self)} sequences, {self.num_residue} residues, of {self.model})"

    def __reduce__(self):
        return type(self), (self.path,)

    def get(self, codes: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
        """
        Features of a whole protein.

        Parameters:
            codes (np.ndarray): its residue types, uint8 of shape [n]
            name (str): what to call it in messages

        Returns:
            (np.ndarray, np.ndarray): copies of the features of its residues [n, D] and of the protein [P]

        Raises:
            ValueError: it is not there, or damaged
        """
        place = self._find(codes)
        if place is None:
            raise ValueError(f"{name} has no features in `{self.path}`: {self._why(codes)}")
        residues, protein, held = self._read(place)
        if not np.array_equal(held, codes):
            raise ValueError(f"{name}: `{self.path}` holds another sequence under its key; {self._remake()}")
        return residues, protein

    def verify(self) -> None:
        """Read everything and compare it with its checksums."""
        for place in range(len(self)):
            self._read(place)

    def _find(self, codes):
        key = np.array(sequence_key(codes), dtype="S16")
        place = int(np.searchsorted(self._keys, key))
        return place if place < len(self) and self._keys[place] == key else None

    def _read(self, place):
        _, row, start, length, crc = self._entries[place].tolist()
        residues = np.array(self._residues[start : start + length])
        protein = np.array(self._proteins[row])
        codes = np.array(self._sequences[start : start + length])
        if checksum(codes, residues, protein) != crc:
            raise ValueError(
                f"the cached features of {letters(codes)} ({length} residues) in `{self.path}` are damaged; "
                f"{self._remake()}"
            )
        return residues, protein, codes

    # === opening ===

    def _read_index(self):
        if not os.path.isdir(self.path):
            raise FileNotFoundError(
                f"there are no cached features at `{self.path}`; make them with {COMMAND % self.path}"
            )
        index = read_json(os.path.join(self.path, INDEX))
        if not isinstance(index, dict) or index.get("format") != FORMAT:
            raise ValueError(f"`{self.path}` holds no cached features: its {INDEX} is missing or of another kind")
        if index.get("version") != VERSION:
            raise ValueError(
                f"the cached features in `{self.path}` have version {index.get('version')}, and this version of "
                f"gearnet-plugin reads {VERSION}; {self._remake()}"
            )
        numbers = [index.get(key) for key in ("width", "protein_width", "residues", "entries", "entries_crc")]
        texts = index.get("model"), index.get("fingerprint")
        if (
            not all(type(number) is int and number >= 0 for number in numbers)
            or not all(isinstance(text, str) for text in texts)
            or index.get("dtype") not in DTYPES
        ):
            raise self._damaged(INDEX)
        return index

    def _read_entries(self, index):
        path = os.path.join(self.path, ENTRIES)
        try:
            entries = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            raise self._damaged(ENTRIES) from None
        if entries.dtype != ENTRY or len(entries) != index["entries"] or zlib.crc32(entries) != index["entries_crc"]:
            raise self._damaged(ENTRIES)
        ends = entries["start"] + entries["length"]
        rows = entries["row"]
        if len(entries) == 0 or entries["start"].min() < 0 or ends.max() > self.num_residue or rows.max() >= len(rows):
            raise self._damaged(ENTRIES)
        return entries

    def _map(self, name, dtype, rows, width):
        path = os.path.join(self.path, name)
        if not os.path.isfile(path) or os.path.getsize(path) != rows * width * dtype.itemsize:
            raise self._damaged(name)
        return np.memmap(path, dtype, "r", shape=(rows, width))

    def _damaged(self, name):
        return ValueError(f"`{name}` of the cached features in `{self.path}` is missing or damaged; {self._remake()}")

    def _remake(self):
        return f"remove the folder and make it anew with {COMMAND % self.path}"

    # === what to say of a sequence that is not there ===

    def _why(self, codes):
        make = f"Make a cache of these proteins with {COMMAND % '...'}"
        part = self._part(codes)
        if part is not None:
            length, first = part
            return (
                f"it is residues {first + 1} to {first + len(codes)} of a cached protein of {length}. The cache "
                f"serves whole proteins only, since a sequence model makes other features of a crop. Leave out "
                f"`features` where proteins are cropped, as in multiview contrast, or make the cache of what is "
                f"left of them"
            )
        near = self._near(codes)
        if near is not None:
            place = int(np.flatnonzero(near != codes)[0])
            return (
                f"its sequence differs from that of the cached protein of the same length at residue {place + 1}: "
                f"{letters(codes[place : place + 1])} here, {letters(near[place : place + 1])} there. {make}"
            )
        return f"none of the {len(self)} cached sequences is its own. {make}; crops cannot be cached"

    def _part(self, codes):
        """Length of a cached protein that holds these residues in a row, and where; None if there is none."""
        starts = np.sort(self._entries["start"])
        everything, wanted = self._sequences.tobytes(), codes.tobytes()
        found = everything.find(wanted)
        while found >= 0:
            entry = int(np.searchsorted(starts, found, side="right")) - 1
            end = int(starts[entry + 1]) if entry + 1 < len(starts) else len(everything)
            if found + len(wanted) <= end:
                return end - int(starts[entry]), found - int(starts[entry])
            found = everything.find(wanted, found + 1)
        return None

    def _near(self, codes):
        """Residue types of the cached protein of this length that differs in fewest places, if they are few."""
        same = self._entries["start"][self._entries["length"] == len(codes)]
        if not len(same):
            return None
        rows = self._sequences[same[:, None] + np.arange(len(codes))]
        differing = (rows != codes).sum(axis=1)
        return rows[differing.argmin()] if differing.min() <= NEAR * len(codes) else None


def checksum(codes: np.ndarray, residues: np.ndarray, protein: np.ndarray) -> int:
    """CRC-32 of what an entry holds."""
    value = 0
    for part in (codes, residues, protein):
        value = zlib.crc32(np.ascontiguousarray(part), value)
    return value


def write_index(folder: str, content: dict, entries: np.ndarray) -> None:
    """Write the two small files, the index last."""
    entries = entries[np.argsort(entries["key"])]
    np.save(os.path.join(folder, ENTRIES), entries, allow_pickle=False)
    content = {"format": FORMAT, "version": VERSION, **content}
    content.update(entries=len(entries), entries_crc=zlib.crc32(entries))
    with open(os.path.join(folder, INDEX), "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
