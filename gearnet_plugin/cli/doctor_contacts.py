"""
The graph that GearNet makes of a structure, in plain numpy, and the places where its chains are interrupted.

The edges are those of :mod:`gearnet_plugin.graphs.edges` with the numbers of the paper, found in another way: doctor
tells them where torch is missing or broken, and without its seconds of import; a test compares both.

N residues, E edges as (source, target); positions in Å.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gearnet_plugin.structures import Structure

SEQUENTIAL, RADIUS, NEIGHBOURS = 2, 10.0, 10
#: Radius and kNN edges join residues at least this far apart in the sequence.
APART = 5
#: Most radius edges to a residue; those of lowest index stay.
MOST = 32
#: Squared distance in Å² below which two residues stand at one place, an error of the file.
SAME_PLACE = 1e-20
#: Largest distance of bonded Cα atoms, in Å: 3.8 in a trans peptide, 2.9 in a cis one.
BONDED = 4.5
# numbers of a block of distances
BLOCK = 1 << 22


class Edges(NamedTuple):
    """Edges of the three rules, int64 arrays of shape [E, 2]."""

    sequential: np.ndarray
    radius: np.ndarray
    nearest: np.ndarray


class Gap(NamedTuple):
    """An interruption between row ``after - 1`` and row ``after`` of a structure."""

    after: int
    chain: str
    first: str
    second: str
    missing: int  # numbers that are left out between the two; 0 where the numbering runs on, -1 where it goes back
    distance: float  # of the two Cα atoms, Å


def find_edges(structure: Structure) -> Edges:
    """The edges among all residues of a structure, as one graph."""
    count = len(structure)
    chain = np.unique(structure.chain_ids, return_inverse=True)[1]
    sequential = []
    for offset in range(-SEQUENTIAL, SEQUENTIAL + 1):
        source = np.arange(max(0, -offset), count - max(0, offset))
        source = source[chain[source] == chain[source + offset]]
        sequential.append(np.stack([source, source + offset], axis=1))
    radius, nearest = [np.zeros((0, 2), dtype=np.int64)], [np.zeros((0, 2), dtype=np.int64)]
    rows = max(1, BLOCK // max(1, count))
    for start in range(0, count, rows):
        target = np.arange(start, min(start + rows, count))
        squared = squared_distances(structure.positions, target)
        radius.append(_in_radius(squared, target))
        nearest.append(_nearest(squared, target))
    return Edges(np.concatenate(sequential), np.concatenate(radius), np.concatenate(nearest))


def squared_distances(positions: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Squared distances in Å² from some residues to all, rounded as the graph rounds them."""
    total = np.zeros((len(rows), len(positions)), dtype=np.float32)
    for axis in range(3):
        difference = positions[rows, axis, None] - positions[None, :, axis]
        total += difference * difference
    return total


def _in_radius(squared: np.ndarray, target: np.ndarray) -> np.ndarray:
    inside = squared < RADIUS**2
    # the residue itself is counted, then left out
    inside &= inside.cumsum(axis=1) <= MOST + 1
    row, column = np.nonzero(inside)
    return _far_apart(row, column, squared, target)


def _nearest(squared: np.ndarray, target: np.ndarray) -> np.ndarray:
    others = squared.copy()
    others[np.arange(len(target)), target] = np.inf
    wanted = min(NEIGHBOURS, squared.shape[1] - 1)
    if not wanted:
        return np.zeros((0, 2), dtype=np.int64)
    # all that are as near as the last of them, then of equally near ones those of the lowest index
    last = np.partition(others, wanted - 1, axis=1)[:, wanted - 1 : wanted]
    row, column = np.nonzero(others <= last)
    order = np.lexsort((column, others[row, column], row))
    row, column = row[order], column[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    return _far_apart(row[rank < wanted], column[rank < wanted], squared, target)


def _far_apart(row: np.ndarray, column: np.ndarray, squared: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Pairs (source, target) that are at two places and far enough apart in the sequence."""
    kept = (np.abs(column - target[row]) >= APART) & (squared[row, column] >= SAME_PLACE)
    return np.stack([column[kept], target[row[kept]]], axis=1)


def find_gaps(structure: Structure) -> list[Gap]:
    """Where a chain is interrupted: its numbers leave some out or go back, or its Cα atoms are not bonded."""
    gaps = []
    same = structure.chain_ids[1:] == structure.chain_ids[:-1]
    step = np.diff(structure.residue_numbers.astype(np.int64))
    positions = structure.positions.astype(np.float64)
    distance = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    # equal numbers are told apart by insertion codes
    for i in np.flatnonzero(same & ((step > 1) | (step < 0) | (distance > BONDED))).tolist():
        missing = -1 if step[i] < 0 else max(0, int(step[i]) - 1)
        gaps.append(
            Gap(i + 1, str(structure.chain_ids[i]), number(structure, i), number(structure, i + 1), missing,
                float(distance[i]))
        )  # fmt: skip
    return gaps


def number(structure: Structure, row: int) -> str:
    """Author's residue number with its insertion code, as PyMOL shows it."""
    return f"{structure.residue_numbers[row]}{structure.insertion_codes[row]}"
