"""
Local alignments of one protein sequence with many, by score and identical residues.

Sequences are arrays of residue types, 0 to 19 and 20 for unknown. Legend: ``L`` residues of one sequence, ``W`` of the
sequences that it is aligned with, which stand side by side with a separator after each.
"""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gearnet_plugin.structures import UNKNOWN_TYPE

# BLOSUM62 (Henikoff and Henikoff, 1992) in TorchDrug's order of residue types, lower half
BLOSUM62 = """
G  6
A  0  4
S  0  1  4
P -2 -1 -1  7
V -3  0 -2 -2  4
T -2  0  1 -1  0  5
C -3  0 -1 -3 -1 -1  9
I -4 -1 -2 -3  3 -1 -1  4
L -4 -1 -2 -3  1 -1 -1  2  4
N  0 -2  1 -2 -3  0 -3 -3 -3  6
D -1 -2  0 -1 -3 -1 -3 -3 -4  1  6
Q -2 -1  0 -1 -2 -1 -3 -3 -2  0  0  5
K -2 -1  0 -1 -2 -1 -3 -3 -2  0 -1  1  5
E -2 -1  0 -1 -2 -1 -4 -3 -3  0  2  2  1  5
M -3 -1 -1 -2  1 -1 -1  1  2 -2 -3  0 -1 -2  5
H -2 -2 -1 -2 -3 -2 -3 -3 -3  1 -1  0 -1  0 -2  8
F -3 -2 -2 -4 -1 -2 -2  0  0 -3 -3 -3 -3 -3  0 -1  6
R -2 -1 -1 -2 -3 -1 -3 -3 -2  0 -2  1  2  0 -1  0 -3  5
Y -3 -2 -2 -3 -1 -2 -2 -1 -1 -2 -3 -1 -2 -2 -1  2  3 -2  7
W -2 -3 -3 -4 -3 -2 -2 -3 -2 -4 -4 -2 -3 -3 -1 -2  1 -3  2 11
"""
MAX_SCORE, UNKNOWN_SCORE = 11, -1
GAP_OPEN, GAP_EXTEND = 11, 1
# lambda and K of BLOSUM62 with these gaps, and without gaps (Altschul and Gish, 1996)
GAPPED, UNGAPPED = (0.267, 0.041), (0.318, 0.134)

SEPARATOR = UNKNOWN_TYPE + 1
# residues that a stretch without gaps grows by at once, see ungapped
STRIDE = 3
# few stretches are worth going on across it, and a stride of them still fits into int16
WALL = -10000


def _scores():
    """Scores of all pairs of residue types, the unknown one and the separator included: [22, 22] int16."""
    scores = np.full((SEPARATOR + 1, SEPARATOR + 1), WALL, dtype=np.int16)
    scores[: UNKNOWN_TYPE + 1, : UNKNOWN_TYPE + 1] = UNKNOWN_SCORE
    for row, line in enumerate(BLOSUM62.split("\n")[1:-1]):
        scores[row, : row + 1] = scores[: row + 1, row] = line.split()[1:]
    return scores


SCORES = _scores()


def chance(score, lengths, statistics=GAPPED):
    """
    How many alignments of unrelated sequences score as well.

    Parameters:
        score (np.ndarray): scores of shape :math:`(n,)`
        lengths (np.ndarray): product of the lengths of the two sequences, of shape :math:`(n,)`
        statistics (tuple, optional): lambda and K of the scores
    """
    slope, factor = statistics
    return factor * lengths * np.exp(-slope * np.asarray(score, dtype=np.float64))


def align(query: np.ndarray, targets: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """
    Align a sequence with others, locally, with gaps.

    Parameters:
        query (np.ndarray): residue types of shape :math:`(L,)`
        targets (list of np.ndarray): the same of each of the others

    Returns:
        score of the best alignment with each, and how many residues are identical in it
    """
    joined, starts = side_by_side(targets)
    walls = joined == SEPARATOR
    # A score and the number of identical residues in one number, of which the larger is the better alignment.
    most = min(len(query), max(map(len, targets)))
    unit = 1 << most.bit_length()
    top = (MAX_SCORE * most + 1) * unit
    size = (len(targets) + 1) * top + (len(joined) + GAP_OPEN) * GAP_EXTEND * unit
    dtype = np.int32 if size < 2 ** 31 else np.int64
    profile = SCORES[:SEPARATOR, joined].astype(dtype) * unit
    profile[:UNKNOWN_TYPE] += np.arange(UNKNOWN_TYPE)[:, None] == joined
    profile[:, walls] = -top
    # What makes the best of all earlier places, as a gap along the targets wants it, a running maximum: a price for
    # each place. Separators lift what follows above all that came before, so that no gap reaches over one.
    price = (np.arange(len(joined)) * (GAP_EXTEND * unit) + np.cumsum(walls) * top).astype(dtype)
    price_of_gap = price + GAP_OPEN * unit
    best, here, gap, before, along, zero = (np.zeros(len(joined), dtype=dtype) for _ in range(6))
    for type in query.tolist():
        # a gap along the query goes on or opens
        np.subtract(here, (GAP_OPEN + GAP_EXTEND) * unit, out=along)
        gap -= GAP_EXTEND * unit
        np.maximum(gap, along, out=gap)
        before[1:] = here[:-1]
        np.add(before, profile[type], out=here)
        np.maximum(here, gap, out=here)
        np.maximum(here, zero, out=here)
        np.add(here, price, out=along)
        np.maximum.accumulate(along, out=along)
        along -= price_of_gap
        np.maximum(here, along, out=here)
        np.maximum(best, here, out=best)
    best = np.maximum.reduceat(best, starts)
    return best // unit, best % unit


def ungapped(query, profile, starts):
    """
    About the best score of an alignment without gaps with each of the sequences in a profile.

    Stretches begin and end at every third residue of the query, which is nearly half the work and costs a few points.
    """
    width = profile.shape[1]
    # here[1 + j]: score of the stretch that ends with the query's residue and residue j
    here, there = np.zeros(width + 1, dtype=np.int16), np.zeros(width + 1, dtype=np.int16)
    best, zero = np.zeros(width, dtype=np.int16), np.zeros(width, dtype=np.int16)
    types = query.tolist()
    types += [UNKNOWN_TYPE] * (-len(types) % STRIDE)
    for place in range(0, len(types), STRIDE):
        for type in types[place : place + STRIDE]:
            np.add(here[:-1], profile[type], out=there[1:])
            here, there = there, here
        # a scalar instead of the array of zeros is five times slower
        np.maximum(here[1:], zero, out=here[1:])
        np.maximum(best, here[1:], out=best)
    return np.maximum.reduceat(best, starts)


def side_by_side(sequences):
    """Sequences as one array with a separator after each, and where each begins."""
    joined = np.concatenate([part for sequence in sequences for part in (sequence, [SEPARATOR])]).astype(np.uint8)
    ends = np.cumsum([len(sequence) + 1 for sequence in sequences])
    return joined, np.append(0, ends[:-1])


def make_profile(joined):
    """For each residue type its scores with the residues of an array: [21, W] int16."""
    return np.ascontiguousarray(SCORES[:SEPARATOR, joined])
