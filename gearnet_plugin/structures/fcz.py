"""FoldComp entries: checked here, decoded by foldcomp.

FoldComp keeps the backbone as discrete angles between exact anchors, some 25 residues apart. On unbroken chains a Cα
lies 0.04 Å from where it was, 99 of 100 within 0.2 Å, the farthest 0.5 Å away (71 of the bundled structures and
models of AlphaFold, foldcomp 1.0.0). Where a chain had a gap FoldComp bridges it with one bond, so that much of the
chain lies tens of Å off; nothing in the entry tells. Confidence is kept in 256 steps between the lowest and the
highest of the entry. One chain is kept, and of residue numbers the first: they count on from there, past gaps and
insertion codes.

foldcomp trusts what it decodes: of entries cut off or with a few bytes changed, one in eight ends the process. So
lengths, anchors, residue types and numbers are checked before foldcomp sees an entry. It has no checksum: a changed
angle that decodes goes unnoticed.
"""

from __future__ import annotations

import math
import re
import struct

#: Residue types by FoldComp's code, and their heavy atoms beyond N, CA and C, which take an angle each.
LETTERS = {**dict(enumerate("ARNDCQEGHILKMFPSTWYV")), 23: "X"}
SIDE_CHAIN_ANGLES = dict(zip(LETTERS, (2, 8, 5, 5, 3, 6, 6, 1, 7, 5, 5, 6, 5, 8, 4, 3, 4, 11, 9, 4, 0), strict=True))
#: Numbers of residues and of atoms, first residue number, first atom number, number of anchors, chain; number of
#: side chain angles; letters of the first and last residue; length of the title; minima and steps of six angles.
HEADER = struct.Struct("<4x 4H B c 2x I c c 2x I 12f")
ANCHOR = struct.Struct("<9f")
#: What follows the anchors: whether there is a last oxygen OXT, and its place.
OXT = struct.Struct("<B 3f")
SCALE = struct.Struct("<2f")
#: Longest chain and farthest atom (in Å) that the text of foldcomp can hold.
MAX_RESIDUES, MAX_COORDINATE = 9999, 9999.0
BACKBONE = (" N  ", " CA ", " C  ")


def decompress(data: bytes) -> tuple[bytes, int]:
    """
    Decode an entry to the text of a PDB file with its title and backbone atoms, residues numbered from 1.

    Parameters:
        data (bytes): FoldComp entry, with or without the zero that databases put after it

    Returns:
        the text, and the number of the first residue

    Raises:
        ValueError: it is damaged or cut off
    """
    import foldcomp

    entry, title, first = _checked(data)
    try:
        text = foldcomp.decompress(entry)[1]
    except foldcomp.error as error:
        raise ValueError(f"foldcomp cannot decode it: {error}") from None
    atoms = [line for line in text.split("\n") if line[12:16] in BACKBONE]
    return "\n".join([f"TITLE     {title:.70}", *atoms, "END\n"]).encode("ascii", "replace"), first


def _checked(data: bytes) -> tuple[bytes, str, int]:
    """The entry as foldcomp can safely decode it, its title and its first residue number."""
    if len(data) < HEADER.size:
        raise ValueError(f"a FoldComp entry of {len(data)} bytes is cut off")
    residues, _, first, _, anchors, _, angles, begin, end, length, *scales = HEADER.unpack_from(data)
    title = HEADER.size + 4 * anchors
    coordinates = title + length
    oxt = coordinates + ANCHOR.size * anchors
    chain = oxt + OXT.size
    sides = chain + 8 * residues
    scale = sides + angles
    size = scale + SCALE.size + residues
    if data[size:] not in (b"", b"\0") or len(data) < size:
        raise ValueError(f"a FoldComp entry of {size} bytes is damaged or cut off: it has {len(data)}")
    if not 2 <= residues <= MAX_RESIDUES:
        raise ValueError(f"a FoldComp entry of {residues} residues; 2 to {MAX_RESIDUES} are read")
    indices = struct.unpack_from(f"<{anchors}i", data, HEADER.size)
    if anchors < 2 or indices[0] != 0 or indices[-1] != residues - 1 or list(indices) != sorted(set(indices)):
        raise ValueError("the anchors of its FoldComp entry are damaged")
    codes = [byte >> 3 for byte in data[chain:sides:8]]
    if strange := set(codes) - LETTERS.keys():
        raise ValueError(f"its FoldComp entry holds residues of unknown type {min(strange)}")
    if [begin, end] != [LETTERS[codes[0]].encode(), LETTERS[codes[-1]].encode()]:
        raise ValueError("the residues of its FoldComp entry are damaged")
    numbers = [*scales, *OXT.unpack_from(data, oxt)[1:], *SCALE.unpack_from(data, scale)]
    numbers += struct.unpack_from(f"<{9 * anchors}f", data, coordinates)
    if not all(math.isfinite(number) and abs(number) <= MAX_COORDINATE for number in numbers):
        raise ValueError("its FoldComp entry holds numbers that are none, or too large")

    # What foldcomp gets: no title, which may hold anything, also what looks like atoms. Numbers from 1, which keep
    # their columns; those of the entry may be negative, written modulo 2 ** 16. Of side chains, which are not read, as
    # many angles as it expects; it does not heed that itself when it compresses residues that share a number.
    angles = sum(map(SIDE_CHAIN_ANGLES.get, codes))
    head = data[:8] + struct.pack("<2H", 1, 1) + data[12:16] + struct.pack("<I", angles) + data[20:24] + bytes(4)
    entry = head + data[28 : HEADER.size + 4 * anchors] + data[coordinates:sides] + bytes(angles) + data[scale:size]
    text = data[title:coordinates].decode("ascii", "replace")
    return entry, re.sub(r"[^ -~]", " ", text).strip(), first - (first >> 15 << 16)
