"""How far the embedding of many structures has come, and what its summary will tell."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from gearnet_plugin.structures import UNKNOWN_TYPE

from .embedded import Embedded
from .items import Item, token
from .opening import Position

#: Below this mean pLDDT a prediction is one of low confidence in the classes of AlphaFold DB.
LOW_PLDDT = 70


@dataclass
class Tally:
    """
    Numbers of a whole embedding, over all its interruptions.

    Parameters:
        structures, residues (int): embedded
        drops (int): files, structures or chains that gave nothing
        left_out (dict): residues left out of structures that were kept, by reason
        files_left_out (int): files of which there are such
        low_confidence (int): predictions with a mean pLDDT below :data:`LOW_PLDDT`
        unknown (int): residues of unknown type
        seconds (float): time it took
        first_drops (list): the first five drops
        held (list): chains that files without those asked for have, at most a hundred different lists
    """

    structures: int = 0
    residues: int = 0
    drops: int = 0
    left_out: dict = field(default_factory=dict)
    files_left_out: int = 0
    low_confidence: int = 0
    unknown: int = 0
    seconds: float = 0.0
    first_drops: list = field(default_factory=list)
    held: list = field(default_factory=list)

    def plus(self, batch: Embedded, seconds: float) -> Tally:
        """The same with a batch that took so many seconds."""
        predicted = [s for s in batch.structures if s.confidence_kind == "plddt"]
        return Tally(
            self.structures + len(batch.structures),
            self.residues + len(batch.residue),
            self.drops + len(batch.drops),
            dict(sum(map(Counter, batch.left_out.values()), Counter(self.left_out))),
            self.files_left_out + len(batch.left_out),
            self.low_confidence + sum(bool(s.confidence.mean() < LOW_PLDDT) for s in predicted),
            self.unknown + sum(int((s.residue_types == UNKNOWN_TYPE).sum()) for s in batch.structures),
            self.seconds + seconds,
            [*self.first_drops, *map(list, batch.drops)][:5],
            [list(held) for held in dict.fromkeys([*map(tuple, self.held), *batch.held])][:100],
        )


@dataclass
class State:
    """
    What counts of a folder; replaced as one, so that an interruption finds the old or the new one.

    Parameters:
        sizes (dict): bytes that count of each file
        position (Position): where to go on
        read (hashlib.blake2b): fingerprint of the items that something is done of
        num_read (int): their number
        tally (Tally): what the summary tells
    """

    sizes: dict[str, int]
    position: Position = field(default_factory=Position)
    read: hashlib.blake2b = field(default_factory=lambda: hashlib.blake2b(digest_size=16))
    num_read: int = 0
    tally: Tally = field(default_factory=Tally)

    def after(self, position: Position, items: Sequence[Item], sizes: dict[str, int], tally: Tally) -> State:
        """The state at a later position."""
        num_read = min(len(items), position.item + (position.part > 0))
        read = self.read.copy()
        for item in items[self.num_read : num_read]:
            read.update(token(item).encode(errors="surrogateescape") + b"\n")
        return State(sizes, position, read, num_read, tally)
