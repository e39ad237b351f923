"""Structures of several stores as one sequence."""
from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.structures import Structure

from .stored import StoredStructures


class JoinedStructures(Sequence):
    """
    Structures of several stores, one store after the other; nothing is held in memory.

    Parameters:
        parts (list of StoredStructures): what of each store
    """

    def __init__(self, parts: list[StoredStructures]):
        self.parts = list(parts)
        self._starts = [0, *accumulate(map(len, self.parts))]

    def __len__(self):
        return self._starts[-1]

    def __getitem__(self, index) -> Structure | list[Structure]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        part, place = self._place(index)
        return part[place]

    @property
    def names(self) -> list[str]:
        """Name of each structure."""
        return [name for part in self.parts for name in part.names]

    @property
    def num_file(self) -> int:
        """Number of files the stores were made from."""
        return sum(part.num_file for part in self.parts)

    @property
    def stores(self) -> list:
        """The stores they lie in."""
        return [part.store for part in self.parts]

    def protein(self, index, unknown) -> ResidueProtein:
        """A structure as a protein with tensors of its own."""
        part, place = self._place(index)
        return part.protein(place, unknown)

    def _place(self, index):
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(f"there are {len(self)} structures, but number {index} was asked for")
        which = bisect_right(self._starts, number) - 1
        return self.parts[which], number - self._starts[which]
