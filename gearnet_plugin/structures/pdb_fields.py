"""Atom records and fields of PDB text as arrays, for :mod:`.plain_pdb`.

Eight columns of a line are one number (``words[start + 12]`` holds columns 13 to 20, the first in the lowest
byte), so that comparing fields is comparing numbers. ``R`` is the number of atom records. What is not laid out as
the format says raises :class:`NotPlain`.
"""

from __future__ import annotations

from functools import cache

import numpy as np


class NotPlain(Exception):
    """The text has something that takes judgement."""


def demand(condition: bool) -> None:
    """Go on only if something is plain."""
    if not condition:
        raise NotPlain


def word(text: bytes) -> int:
    """The number that a text of up to eight bytes is as a word."""
    return int.from_bytes(text, "little")


ATOM, HETATM = word(b"ATOM  "), word(b"HETATM")
ANISOU, ENDMDL, EMPTY_LINE = word(b"ANIS"), word(b"ENDM"), 0
TER, END = ({word(name + end) for end in (b" ", b"\n", b"\r")} for name in (b"TER", b"END"))
ALLOWED_RECORDS = {ANISOU, ENDMDL, EMPTY_LINE, word(b"CONE"), word(b"MAST"), *TER, *END}
NO_CHARGE, BLANKS = word(b"  "), np.uint64(word(b" " * 8))
#: Masks for the first k bytes of a word, k = 0 to 8.
LOW = np.array([(1 << 8 * k) - 1 for k in range(9)], dtype=np.uint64)

#: An atom record has to reach the end of its B-factor; long lines (gemmi cuts them at 120) are for gemmi.
SHORTEST, LONGEST = 66, 100
# Larger temporary arrays come from the system page by page, which takes longer than filling them.
BLOCK = 1 << 16


def words_of(data: bytes, first: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    """
    The words that begin at each byte of a piece of text, and the bytes.

    A newline follows for the last line, and blanks so that no field of it lies beyond the end.
    """
    text = b"".join((memoryview(data)[first:end], b"\n", b" " * LONGEST))
    return np.ndarray(len(text) - 7, "<u8", text, strides=(1,)), np.frombuffer(text, np.uint8)


def atom_records(words: np.ndarray, buffer: np.ndarray) -> tuple[np.ndarray, ...]:
    """
    Atom records up to the end of the model.

    Returns:
        where each begins, its columns 1 to 6, and its columns 73 to 80 (blank where the line is shorter), of
        shape :math:`(R,)`; for each TER record the number of atom records before it
    """
    blocks = range(0, len(buffer), BLOCK)
    controls = np.concatenate([(buffer[i : i + BLOCK] < ord(" ")).nonzero()[0] + i for i in blocks])
    is_newline = buffer[controls] == ord("\n")
    ends = controls[is_newline]
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts
    if not is_newline.all():
        returns = controls[~is_newline]
        demand((buffer[returns] == ord("\r")).all() and (buffer[returns + 1] == ord("\n")).all())
        lengths -= buffer[ends - 1] == ord("\r")

    demand(lengths.max() <= LONGEST)
    heads = words[starts] & LOW[6]
    is_atom = (heads == ATOM) | (heads == HETATM)
    others = (~is_atom).nonzero()[0]
    records = ((heads[others] & LOW[4]) * (lengths[others] > 0)).tolist()
    if not END.isdisjoint(records):
        last = next(i for i, record in enumerate(records) if record in END)
        is_atom[others[last] :] = False
        others, records = others[:last], records[:last]
    demand(ALLOWED_RECORDS.issuperset(records))
    if ENDMDL in records:
        last = records.index(ENDMDL)
        demand(not is_atom[others[last] :].any() and TER.isdisjoint(records[last:]))
    if ANISOU in records:
        demand(is_atom[others[np.equal(records, ANISOU)] - 1].all())

    rows = is_atom.nonzero()[0]
    ters = np.searchsorted(rows, [line for line, record in zip(others, records, strict=True) if record in TER])
    starts, lengths = starts[rows], lengths[rows]
    demand(lengths.min() >= SHORTEST)
    tails = words[starts + 72]
    if lengths.min() < 80:
        # Mostly all lines are of one length.
        present = np.maximum(lengths if lengths.min() < lengths.max() else lengths[:1], 72)
        present = LOW[np.minimum(present, 80) - 72]
        tails = tails & present | BLANKS & ~present
    charges = tails >> 48
    charges = charges[charges != NO_CHARGE]
    if len(charges):
        digits, signs = charges & 0xFF, charges >> 8
        demand(((digits >= ord("0")) & (digits <= ord("9")) & ((signs == ord("+")) | (signs == ord("-")))).all())
    return starts, heads[rows], tails, ters


def integers(fields: np.ndarray) -> np.ndarray:
    """Whole numbers, right aligned in fields of shape :math:`(n, width)`."""
    size, is_negative = _magnitudes(fields, 0)
    return np.where(is_negative, -size, size).astype(np.int64)


def decimals(fields: np.ndarray, places: int) -> np.ndarray:
    """
    Numbers with so many decimal places, in float32.

    The quotient of two whole numbers that float64 holds exactly is the float64 nearest to the decimal number,
    which is what gemmi reads.
    """
    size, is_negative = _magnitudes(fields, places)
    return np.copysign(size / 10**places, np.where(is_negative, -1.0, 1.0)).astype(np.float32)


def _magnitudes(fields: np.ndarray, places: int) -> tuple[np.ndarray, np.ndarray]:
    """Sizes in units of the last place, and which are negative: blanks, perhaps a minus, digits, point, digits."""
    columns = np.ascontiguousarray(fields.T)
    point = len(columns) - places - 1 if places else len(columns)
    digits = columns - np.uint8(ord("0"))
    is_digit = digits < 10
    minus = columns[:point] == ord("-")
    begun = is_digit[:point] | minus
    # Before the minus, or else the first digit, blanks; after it digits.
    demand((begun[:-1] <= is_digit[1:point]).all() and (begun | (columns[:point] == ord(" "))).all())
    sizes = _weights(point, places) @ (digits * is_digit)
    if places:
        is_digit[point] = columns[point] == ord(".")
    demand(bool(is_digit[point - 1 :].all()))
    return sizes, minus.any(axis=0)


@cache
def _weights(point: int, places: int) -> np.ndarray:
    """What a digit of each column counts, in units of the last place; the point counts nothing."""
    weights = 10.0 ** np.arange(point + places)[::-1]
    return np.insert(weights, point, 0) if places else weights


def letters(codes: np.ndarray) -> np.ndarray:
    """Text of one character each, empty for a blank."""
    return np.where(codes == ord(" "), 0, codes).astype(np.uint32).view("U1")
