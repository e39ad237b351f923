"""
A folder ``<output>.part`` that grows by what is computed, so that memory does not, and an interruption loses nothing.

Arrays are raw files that are only appended to; ``progress.json`` tells how much of each counts and is replaced every
few seconds, after what it tells of is on the disk. What a killed process wrote beyond is cut off before going on::

    progress.json       settings, position, fingerprint of what was read, sizes of the files, numbers for the summary
    protein.f32         a vector a protein
    residue.f32         a vector a residue
    residue_number.i32, chain_id.i32, insertion_code.i32, residue_name.i32
                        keys of the residues; texts as places among the different ones
    texts.jsonl         these texts, as [key, text]
    proteins.jsonl      [name, source, suffix, chains, length]
    drops.jsonl         [file, reason]
    left_out.jsonl      [file, {reason: number of residues}]
    facts.jsonl         of predictions: what warnings are made of, see caution.py
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from gearnet_plugin.structures.manifest import read_json, write_atomically

from .embedded import Embedded, add_left_out, chains_of, make_names
from .items import Item
from .layout import RESIDUE_KEYS, Table, Texts
from .opening import Position
from .progress import State, Tally

PROGRESS = "progress.json"
FORMAT = "gearnet-plugin embeddings in the making"
VECTORS = ("protein.f32", "residue.f32")
LINES = ("texts.jsonl", "proteins.jsonl", "drops.jsonl", "left_out.jsonl")
KEYS = tuple(f"{key}.i32" for key in RESIDUE_KEYS)
FACTS = "facts.jsonl"
#: What such a folder may hold.
OURS = {PROGRESS, *VECTORS, *LINES, *KEYS, FACTS}
#: Seconds between two looks at the disk, which is what a killed process loses.
INTERVAL = 5.0


class Staging:
    """
    Embeddings in the making, after :meth:`begin` or :meth:`resume`.

    Parameters:
        folder (str): ``<output>.part``
        settings (dict): what must be equal to go on, JSON
        widths ((int, int)): numbers in the vector of a protein, and of a residue
        level (str): ``protein``, ``residue`` or ``both``
    """

    def __init__(self, folder: str, settings: dict, widths: tuple[int, int], level: str):
        self.folder, self.settings, self.widths = folder, settings, widths
        names = list(LINES)
        if level != "residue":
            names.append(VECTORS[0])
        if level != "protein":
            names += [VECTORS[1], *KEYS]
        self.state = State(dict.fromkeys(names, 0))
        self._files: dict = {}
        self._texts: dict[str, dict[str, int]] = {key: {} for key in RESIDUE_KEYS}
        self._saved = time.monotonic()

    # === begin, go on, end ===

    def begin(self) -> None:
        """Start in a folder that does not exist or is empty."""
        os.makedirs(self.folder, exist_ok=True)
        self._files = {name: open(self._path(name), "wb") for name in self.state.sizes}
        self.commit()

    def resume(self, progress: dict, items: Sequence[Item]) -> None:
        """
        Go on after what ``progress`` tells.

        Parameters:
            progress (dict): of :func:`read_progress`
            items (list of Item): the same as when it began

        Raises:
            ValueError: what was read since has changed, or the folder is damaged
        """
        sizes = {name: progress["sizes"][name] for name in self.state.sizes}
        state = self.state.after(Position(*progress["position"]), items, sizes, Tally(**progress["tally"]))
        if state.read.hexdigest() != progress["read"]:
            raise ValueError(
                f"`{self.folder}` was begun with other structures, or their files have changed since: the first "
                f"{progress['position'][0]:,}, which are done, are not the same now"
            )
        for name, size in sizes.items():
            path = self._path(name)
            if not os.path.isfile(path) or os.path.getsize(path) < size:
                raise ValueError(f"`{self.folder}` is damaged: {name} is missing or cut off")
        for name, size in sizes.items():
            self._files[name] = file = open(self._path(name), "r+b")
            file.truncate(size)
        self.state = state
        for key, text in self._lines("texts.jsonl"):
            self._texts[key][text] = len(self._texts[key])

    def append(self, batch: Embedded, items: Sequence[Item], seconds: float) -> None:
        """Add a batch; all of it counts or, interrupted on the way, nothing."""
        parts, texts = self._parts(batch)
        sizes = dict(self.state.sizes)
        for name, part in parts.items():
            # behind what counts, whatever an interrupted call has left there
            self._files[name].seek(sizes[name])
            self._files[name].write(part)
            sizes[name] += len(part)
        self.state = self.state.after(batch.position, items, sizes, self.state.tally.plus(batch, seconds))
        for key, new in texts.items():
            self._texts[key].update(new)
        if time.monotonic() - self._saved > INTERVAL:
            self.commit()

    def commit(self) -> None:
        """Bring to the disk what was appended, and then that it counts."""
        state = self.state
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        progress = {
            "format": FORMAT,
            "settings": self.settings,
            "position": list(state.position),
            "read": state.read.hexdigest(),
            "sizes": state.sizes,
            "tally": vars(state.tally),
        }
        write_atomically(self._path(PROGRESS), json.dumps(progress))
        self._saved = time.monotonic()

    def close(self) -> None:
        """Close the files; what counts stays."""
        for file in self._files.values():
            # what counts is on the disk; the rest finds no room on a full one, the error of which was told already
            with suppress(OSError):
                file.close()

    def table(self, info: dict) -> Table:
        """All that was appended, arrays mapped; ``info`` gets the residues that files had to leave out."""
        for file in self._files.values():
            file.flush()
        rows = list(self._lines("proteins.jsonl"))
        left_out: dict = {}
        for file, counts in self._lines("left_out.jsonl"):
            add_left_out(left_out, {file: counts})
        names, sources, suffixes, chains, lengths = (list(column) for column in zip(*rows, strict=True))
        table = Table(
            make_names(names, sources, suffixes),
            sources,
            chains,
            np.array(lengths, dtype=np.int64),
            drops=self.drops(),
            info=info | {"residues_left_out": left_out},
        )
        if VECTORS[0] in self._files:
            table.protein = self._map(VECTORS[0], np.float32).reshape(-1, self.widths[0])
        if VECTORS[1] in self._files:
            table.residue = self._map(VECTORS[1], np.float32).reshape(-1, self.widths[1])
            columns = {key: self._map(f"{key}.i32", np.int32) for key in RESIDUE_KEYS}
            table.keys = {
                key: column if key == "residue_number" else Texts(list(self._texts[key]), column)
                for key, column in columns.items()
            }
        return table

    def drops(self) -> list[tuple[str, str]]:
        """File and reason of everything that gave nothing."""
        return [tuple(drop) for drop in self._lines("drops.jsonl")]

    # === inside ===

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def _parts(self, batch: Embedded) -> tuple[dict[str, bytes], dict[str, dict[str, int]]]:
        """What each file gets of a batch, and the texts that are new with it."""
        parts: dict[str, bytes] = {}
        texts: dict[str, dict[str, int]] = {key: {} for key in RESIDUE_KEYS}
        if VECTORS[0] in self._files:
            parts[VECTORS[0]] = _bytes(batch.protein, np.float32)
        if VECTORS[1] in self._files:
            parts[VECTORS[1]] = _bytes(batch.residue, np.float32)
            for key, name in RESIDUE_KEYS.items():
                columns = [getattr(structure, name) for structure in batch.structures]
                if key != "residue_number":
                    columns = [self._codes(key, column, texts[key]) for column in columns]
                parts[f"{key}.i32"] = b"".join(_bytes(column, np.int32) for column in columns)
        parts["texts.jsonl"] = _json([key, text] for key, new in texts.items() for text in new)
        named = zip(batch.structures, batch.suffixes, strict=True)
        parts["proteins.jsonl"] = _json([s.name, s.source, suffix, chains_of(s), len(s)] for s, suffix in named)
        parts["drops.jsonl"] = _json(batch.drops)
        parts["left_out.jsonl"] = _json(batch.left_out.items())
        return parts, texts

    def _codes(self, key: str, texts: np.ndarray, new: dict[str, int]) -> np.ndarray:
        """Places of texts among the known ones, to which those of ``new`` will belong."""
        known = self._texts[key]
        values, inverse = np.unique(texts, return_inverse=True)
        codes = []
        for value in values.tolist():
            code = known.get(value, new.get(value))
            if code is None:
                code = new[value] = len(known) + len(new)
            codes.append(code)
        return np.array(codes, dtype=np.int32)[inverse]

    def _lines(self, name: str):
        """The lines of a file that count."""
        left = self.state.sizes[name]
        with open(self._path(name), "rb") as file:
            while left > 0:
                line = file.readline()
                left -= len(line)
                yield json.loads(line)

    def _map(self, name: str, dtype) -> np.ndarray:
        # copied when written to, which nobody does: torch warns of arrays that it might not write to
        size = self.state.sizes[name] // np.dtype(dtype).itemsize
        return np.memmap(self._path(name), dtype, "c", shape=(size,))


def read_progress(folder: str) -> dict | None:
    """
    What ``progress.json`` of a folder says; None if there is no folder, or an empty one.

    Raises:
        ValueError: the folder is something else
    """
    if not os.path.lexists(folder):
        return None
    progress = read_json(os.path.join(folder, PROGRESS)) if os.path.isdir(folder) else None
    if isinstance(progress, dict) and progress.get("format") == FORMAT:
        return progress
    # killed between the folder and its first progress
    if os.path.isdir(folder) and all(_is_ours(name) for name in os.listdir(folder)):
        return None
    raise ValueError(
        f"`{folder}` is where embeddings in the making are kept, but it holds something else; move it away, or choose "
        f"another output"
    )


def remove(folder: str) -> None:
    """Remove a folder of embeddings in the making, and nothing that is not part of them."""
    with suppress(FileNotFoundError):
        for name in os.listdir(folder):
            if _is_ours(name):
                os.remove(os.path.join(folder, name))
        os.rmdir(folder)


def _is_ours(name: str) -> bool:
    return name in OURS or name.startswith(PROGRESS) and name.endswith(".tmp")


def _bytes(array: np.ndarray, dtype) -> bytes:
    return np.ascontiguousarray(array, dtype=dtype).tobytes()


def _json(rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()
