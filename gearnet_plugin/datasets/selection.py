"""Which structures of a store a dataset takes, and how many each filter left out."""
from __future__ import annotations

from collections import Counter

import numpy as np

from gearnet_plugin.structures import StructureStore

from .stored import StoredStructures


class Selection:
    """
    Rows of a store that pass filters.

    Attributes:
        numbers (np.ndarray): which structures, in order
        filtered (Counter): number of structures left out, by reason; each under the first that holds

    Parameters:
        store (StructureStore): store
        numbers (np.ndarray, optional): rows to begin with; by default all
    """

    def __init__(self, store: StructureStore, numbers: np.ndarray | None = None):
        self.store = store
        self.numbers = np.arange(len(store)) if numbers is None else np.asarray(numbers, dtype=np.int64)
        self.whole = numbers is None
        self.filtered = Counter()

    def leave_out(self, rows: np.ndarray, reason: str) -> None:
        """
        Leave rows out.

        Parameters:
            rows (np.ndarray): for each structure of the store, bool
            reason (str): under which they are counted
        """
        out = rows[self.numbers]
        if out.any():
            self.numbers = self.numbers[~out]
            self.whole = False
            self.filtered[reason] += int(out.sum())

    def leave_out_by_length(self, min_length: int | None, max_length: int | None) -> None:
        """Leave out what has too few or too many residues."""
        if min_length is not None:
            self.leave_out(self.store.lengths < min_length, f"fewer than {min_length} residues")
        if max_length is not None:
            self.leave_out(self.store.lengths > max_length, f"more than {max_length} residues")

    def structures(self) -> StoredStructures:
        """What is left."""
        return StoredStructures(self.store, None if self.whole else self.numbers)


def check_lengths(min_length: int | None, max_length: int | None) -> None:
    """Complain about lengths that no structure can have."""
    for name, value in (("min_length", min_length), ("max_length", max_length)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f"{name} should be a number of residues, at least 1, but found {value!r}")
    if None not in (min_length, max_length) and min_length > max_length:
        raise ValueError(f"min_length {min_length} is larger than max_length {max_length}, so that nothing is left")


def nothing_left(filtered: Counter, what: str) -> ValueError:
    """The error that filters leave nothing of what there is."""
    return ValueError(f"no structure of {what} passes the filters: {told(filtered) or 'there is none'}; change them")


def told(filtered: Counter) -> str:
    """What filters left out, in one line."""
    return ", ".join(f"{number} {reason}" for reason, number in filtered.items())
