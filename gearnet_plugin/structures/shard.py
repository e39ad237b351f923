"""
One shard of a store: an Arrow IPC file with a row a structure, read through NumPy views of its memory map.

The columns, all readable by pyarrow and pandas alone::

    name, source      string      what the structure is called, and where it was read
    length            int32       number of residues N
    mean_confidence   float32     mean of `confidence`
    resolution        float64     Å, NaN where the source tells none
    method            dictionary  as in the file
    confidence_kind   dictionary  b_factor or plddt
    notes             string      JSON: residue names other than those of the types, what was left out; mostly empty
    origin            3 float64   Å; in a compact store only
    crc               uint32      CRC-32 of the columns below, as :meth:`Shard.checksum` makes it
    position          list        N x 3 float32, Å; in a compact store int16, in steps of 0.01 Å from `origin`
    residue_type      list        N uint8, TorchDrug's order, 20 unknown
    confidence        list        N uint8 (rounded, 0 to 255) or float32
    runs              list        stretches of consecutive residue numbers: chain, label_chain, number of the first
                                  residue, insertion_code, length

All rows are one record batch without compression, so a column is one contiguous array and the residues of a structure
are one slice of it. What is not covered by the checksum of a row is covered by that of the file's frame, see
:mod:`.arrow`. Format: https://arrow.apache.org/docs/format/Columnar.html
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .residues import RESIDUE_NAMES
from .structure import Structure

#: Step of the coordinates of a compact store in Å, and the largest number of steps from the middle.
STEP = 0.01
MAX_STEP = 32767
TYPE_NAMES = np.array([*RESIDUE_NAMES, "UNK"])

TEXTS = ("name", "source", "notes")
RESIDUES = ("position", "residue_type", "confidence")
RUNS = ("chain", "label_chain", "number", "insertion_code", "length")
ROWS = {
    "length": np.int32,
    "mean_confidence": np.float32,
    "resolution": np.float64,
    "method": np.int32,
    "confidence_kind": np.int32,
    "origin": np.float64,
    "crc": np.uint32,
}
#: Columns that hold places in a list of words, with the name of that list in this module's arrays.
WORDS = ("method", "confidence_kind", "chain", "label_chain", "insertion_code")


class ResidueArrays(NamedTuple):
    """
    The residues of a structure as arrays, without the text that a Structure carries.

    ``N`` residues in ``R`` runs; all arrays but ``positions`` may be read-only views of the file.
    """

    positions: np.ndarray  # [N, 3] float32, Å; one's own copy
    residue_types: np.ndarray  # [N] uint8
    confidence: np.ndarray  # [N] uint8 or float32
    run_chains: list[str]  # [R] author's chain id
    run_codes: list[str]  # [R] insertion code
    run_numbers: np.ndarray  # [R] int32, residue number of the first residue
    run_lengths: np.ndarray  # [R] int32

    @property
    def residue_numbers(self) -> np.ndarray:
        """Author's residue numbers, int32 of shape [N]."""
        places = np.arange(len(self.residue_types))
        if len(self.run_lengths) == 1:
            return (places + int(self.run_numbers[0])).astype(np.int32)
        starts = np.cumsum(self.run_lengths) - self.run_lengths
        return (places + np.repeat(self.run_numbers - starts, self.run_lengths)).astype(np.int32)


class Shard:
    """
    The columns of a shard as flat arrays, whether made in memory or mapped from a file.

    Parameters:
        arrays (dict): ``<column>`` for values; offsets [rows + 1] as ``<column>.starts`` for texts,
            ``runs.starts``, and ``residues.starts`` for what there is a value a residue of
        words (dict): for each column of :data:`WORDS` the words that its numbers stand for
    """

    def __init__(self, arrays: dict[str, np.ndarray], words: dict[str, list[str]]):
        self.arrays = arrays
        self.words = words
        self.compact = "origin" in arrays
        # What makes up a row, in the order of its checksum: columns that share their offsets, each with the bytes that
        # a place takes. Offsets as memory views, which give Python's integers several times faster than NumPy does.
        lists = [("residues", RESIDUES), ("runs", ["runs." + field for field in RUNS])]
        self._lists = [
            (arrays[owner + ".starts"].data, [_bytes(arrays[column]) for column in columns])
            for owner, columns in lists
        ]

    def __len__(self) -> int:
        return len(self.arrays["crc"])

    # === rows ===

    def checksum(self, row: int) -> int:
        """CRC-32 of the residues and runs of a row, to be equal to ``crc``."""
        pieces = []
        for starts, columns in self._lists:
            first, last = starts[row], starts[row + 1]
            pieces += [data[first * size : last * size] for data, size in columns]
        return zlib.crc32(b"".join(pieces))

    def is_sound(self, row: int) -> bool:
        """Whether a row is as it was written."""
        return self.checksum(row) == int(self.arrays["crc"][row])

    def text(self, column: str, row: int) -> str:
        """A text of a row: ``name``, ``source`` or ``notes``."""
        starts = self.arrays[column + ".starts"]
        return self.arrays[column][starts[row] : starts[row + 1]].tobytes().decode()

    def residues(self, row: int) -> ResidueArrays:
        """The residues of a row. Nothing is checked."""
        arrays, words = self.arrays, self.words
        starts = arrays["residues.starts"]
        residues = slice(starts[row], starts[row + 1])
        runs = slice(arrays["runs.starts"][row], arrays["runs.starts"][row + 1])
        positions = arrays["position"][residues]
        if self.compact:
            positions = (positions * STEP + arrays["origin"][row]).astype(np.float32)
        else:
            positions = positions.copy()
        return ResidueArrays(
            positions,
            arrays["residue_type"][residues],
            arrays["confidence"][residues],
            [words["chain"][word] for word in arrays["runs.chain"][runs].tolist()],
            [words["insertion_code"][word] for word in arrays["runs.insertion_code"][runs].tolist()],
            arrays["runs.number"][runs],
            arrays["runs.length"][runs],
        )

    def structure(self, row: int) -> Structure:
        """A row as a Structure. Nothing is checked."""
        arrays, words = self.arrays, self.words
        residues = self.residues(row)
        lengths = residues.run_lengths
        runs = slice(arrays["runs.starts"][row], arrays["runs.starts"][row + 1])
        labels = [words["label_chain"][word] for word in arrays["runs.label_chain"][runs].tolist()]
        notes = self.text("notes", row)
        notes = json.loads(notes) if notes else {}
        by_chain = notes.get("dropped_by_chain", {})
        resolution = float(arrays["resolution"][row])
        return Structure(
            name=self.text("name", row),
            positions=residues.positions,
            residue_types=residues.residue_types.copy(),
            chain_ids=np.repeat(residues.run_chains, lengths),
            label_chain_ids=np.repeat(labels, lengths),
            residue_numbers=residues.residue_numbers,
            insertion_codes=np.repeat(residues.run_codes, lengths),
            residue_names=_residue_names(residues.residue_types, notes.get("residue_names", {})),
            confidence=residues.confidence.astype(np.float32),
            confidence_kind=words["confidence_kind"][int(arrays["confidence_kind"][row])],
            resolution=None if np.isnan(resolution) else resolution,
            method=words["method"][int(arrays["method"][row])],
            source=self.text("source", row),
            dropped=notes.get("dropped", _total(by_chain)),
            dropped_by_chain=by_chain,
        )

    # === making one ===

    @classmethod
    def build(cls, structures: Sequence[Structure], compact: bool = False, confidence: str = "uint8") -> Shard:
        """
        Put structures into columns.

        Parameters:
            structures (list of Structure): at least one residue each
            compact (bool, optional): int16 coordinates in steps of 0.01 Å; every structure must
                :func:`fit <fits_compact>`
            confidence (str, optional): ``uint8`` rounds to whole numbers from 0 to 255, ``float`` keeps float32
        """
        lengths = [len(structure) for structure in structures]
        words: dict[str, dict[str, int]] = {column: {} for column in WORDS}
        arrays = {"length": np.array(lengths, dtype=np.int32)}
        for column in ("method", "confidence_kind"):
            arrays[column] = _numbered([getattr(structure, column) for structure in structures], words[column])
        arrays["resolution"] = np.array(
            [np.nan if structure.resolution is None else structure.resolution for structure in structures],
            dtype=np.float64,
        )
        arrays["mean_confidence"] = np.array(
            [structure.confidence.mean(dtype=np.float64) for structure in structures], dtype=np.float32
        )
        for column, texts in (
            ("name", [structure.name for structure in structures]),
            ("source", [structure.source for structure in structures]),
            ("notes", [_notes(structure) for structure in structures]),
        ):
            encoded = [text.encode() for text in texts]
            arrays[column] = np.frombuffer(b"".join(encoded), dtype=np.uint8)
            arrays[column + ".starts"] = _starts(map(len, encoded))
        arrays["residues.starts"] = _starts(lengths)
        if compact:
            arrays["origin"] = np.array([_origin(structure.positions) for structure in structures]).reshape(-1, 3)
            arrays["position"] = _joined(
                [
                    _steps(structure.positions, origin)
                    for structure, origin in zip(structures, arrays["origin"], strict=True)
                ],
                np.int16,
                3,
            )
        else:
            arrays["position"] = _joined([structure.positions for structure in structures], np.float32, 3)
        arrays["residue_type"] = _joined([structure.residue_types for structure in structures], np.uint8)
        values = _joined([structure.confidence for structure in structures], np.float32)
        arrays["confidence"] = values if confidence == "float" else np.rint(values).clip(0, 255).astype(np.uint8)

        runs = [_runs(structure) for structure in structures]
        arrays["runs.starts"] = _starts(len(rows) for rows in runs)
        columns = list(zip(*(row for rows in runs for row in rows), strict=True)) or [()] * len(RUNS)
        for field, values_of_runs in zip(RUNS, columns, strict=True):
            arrays["runs." + field] = (
                _numbered(values_of_runs, words[field])
                if field in WORDS
                else np.array(values_of_runs, dtype=np.int32)
            )
        arrays["crc"] = np.zeros(len(lengths), dtype=np.uint32)
        shard = cls(arrays, {column: list(known) for column, known in words.items()})
        for row in range(len(lengths)):
            arrays["crc"][row] = shard.checksum(row)
        return shard


def fits_compact(structure: Structure) -> bool:
    """Whether int16 steps of 0.01 Å reach all atoms of a structure: at most 655.34 Å along each axis."""
    return bool((np.abs(_steps(structure.positions, _origin(structure.positions))) <= MAX_STEP).all())


def _origin(positions: np.ndarray) -> np.ndarray:
    """Middle of the box around the atoms, a whole number of steps, in Å."""
    middle = (positions.max(axis=0).astype(np.float64) + positions.min(axis=0)) / 2
    return np.rint(middle / STEP) * STEP


def _steps(positions: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """Distances from the origin in whole steps, float64."""
    return np.rint((positions.astype(np.float64) - origin) / STEP)


def _runs(structure: Structure) -> list[tuple]:
    """Stretches of residues with consecutive numbers, one chain, one insertion code: rows in the order of RUNS."""
    breaks = np.diff(structure.residue_numbers.astype(np.int64)) != 1
    for column in (structure.chain_ids, structure.label_chain_ids, structure.insertion_codes):
        breaks |= column[1:] != column[:-1]
    starts = np.concatenate(([0], np.flatnonzero(breaks) + 1))
    lengths = np.diff(np.append(starts, len(structure)))
    return list(
        zip(
            structure.chain_ids[starts].tolist(),
            structure.label_chain_ids[starts].tolist(),
            structure.residue_numbers[starts].tolist(),
            structure.insertion_codes[starts].tolist(),
            lengths.tolist(),
            strict=True,
        )
    )


def _notes(structure: Structure) -> str:
    """JSON of what the other columns do not tell, an empty text for nothing."""
    notes = {}
    odd = np.flatnonzero(TYPE_NAMES[structure.residue_types] != structure.residue_names)
    if len(odd):
        notes["residue_names"] = dict(zip(map(str, odd.tolist()), structure.residue_names[odd].tolist(), strict=True))
    if structure.dropped_by_chain:
        notes["dropped_by_chain"] = structure.dropped_by_chain
    if structure.dropped != _total(structure.dropped_by_chain):
        notes["dropped"] = structure.dropped
    return json.dumps(notes, separators=(",", ":")) if notes else ""


def _residue_names(types: np.ndarray, odd: dict[str, str]) -> np.ndarray:
    names = TYPE_NAMES[types]
    if odd:
        names = names.astype(f"U{max(3, *map(len, odd.values()))}")
        names[[int(place) for place in odd]] = list(odd.values())
    return names


def _total(by_chain: dict[str, dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for counts in by_chain.values():
        for reason, number in counts.items():
            total[reason] = total.get(reason, 0) + number
    return total


def _numbered(values: Sequence[str], words: dict[str, int]) -> np.ndarray:
    """Each value as its place among the words, which grow by what is new."""
    return np.array([words.setdefault(value, len(words)) for value in values], dtype=np.int32)


def _starts(lengths) -> np.ndarray:
    return np.concatenate(([0], np.cumsum(np.fromiter(lengths, dtype=np.int64)))).astype(np.int32)


def _joined(arrays: list[np.ndarray], dtype, *shape: int) -> np.ndarray:
    return np.concatenate(arrays).astype(dtype, copy=False) if arrays else np.zeros((0, *shape), dtype)


def _bytes(array: np.ndarray) -> tuple[memoryview, int]:
    """The memory of an array as bytes, and how many make up a place of its first axis."""
    size = array.itemsize * int(np.prod(array.shape[1:]))
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, size
