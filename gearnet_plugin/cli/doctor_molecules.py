"""What a structure file holds beside the protein chains that are read: further models, alternates, other molecules."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

import gemmi

from gearnet_plugin.structures import Structure
from gearnet_plugin.structures.content import as_text
from gearnet_plugin.structures.reader import parse_pdb

from .doctor_contacts import number
from .doctor_store import tally

MODEL = re.compile(rb"^MODEL ", re.MULTILINE)
WATER = ("HOH", "DOD", "WAT", "H2O", "TIP", "TIP3", "SOL")
#: Most kinds that are named.
SHOWN = 8


def others(content: bytes, format: str, structure: Structure) -> Iterator[str]:
    """What else the file holds: further models, alternate locations, other molecules."""
    entry = _parse(content, format)
    if entry is None or not len(entry):
        return
    models = len(MODEL.findall(content)) if format == "pdb" else len(entry)
    if models > 1:
        yield f"  {models} models; the first one is read"
    entry.merge_chain_parts()
    numbers = (number(structure, row) for row in range(len(structure)))
    kept: Counter = Counter(zip(structure.chain_ids.tolist(), numbers, strict=True))
    kinds: Counter[str] = Counter()
    alternates = 0
    for chain in entry[0]:
        for residue in chain:
            icode = residue.seqid.icode.strip()
            if kept[chain.name, f"{residue.seqid.num}{icode}"]:
                alternates += any(atom.altloc != "\0" for atom in residue)
                if residue.name not in WATER and residue.find_atom("CA", "*") is not None:
                    continue
            kinds[_kind(residue)] += 1
    if alternates:
        yield (
            f"  alternate locations in {counted(alternates, 'residue')}: of each the CA with the highest occupancy is "
            f"read, of equal ones that of the lowest letter"
        )
    else:
        yield "  no alternate locations"
    if kinds:
        yield f"  besides in the file, not read: {words_of(kinds.elements())}"


def instead(content: bytes, format: str) -> Iterator[str]:
    """What a file holds that the reader finds no protein in; nothing where it is no file of atoms."""
    try:
        entry = _parse(content, format)
    except (RuntimeError, ValueError, StopIteration):
        return
    if entry is not None and len(entry):
        others = Counter(_kind(residue) for chain in entry[0] for residue in chain)
        yield f"it holds {words_of(others.elements()) or 'no atom'}"


def _parse(content: bytes, format: str) -> gemmi.Structure | None:
    """The file as gemmi has it; None for formats that hold nothing but one chain of amino acids."""
    if format == "pdb":
        # as the reader has it, which forgives what old files have in the columns of charges
        return parse_pdb(as_text(content))
    if format == "bcif":
        from gearnet_plugin.structures.binarycif import read_block

        return gemmi.make_structure_from_block(read_block(content))
    if format != "mmcif":
        return None
    document = gemmi.cif.read_string(as_text(content))
    blocks = (block for block in document if block.find_values("_atom_site.Cartn_x"))
    return gemmi.make_structure_from_block(next(blocks))


def _kind(residue: gemmi.Residue) -> str:
    """Which molecule a residue that was not read belongs to."""
    if residue.name in WATER:
        return "water"
    info = gemmi.find_tabulated_residue(residue.name)
    if info.is_nucleic_acid():
        return "nucleotide"
    if info.is_amino_acid():
        return f"{residue.name} (amino acid)"
    return residue.name


def words_of(names: Iterable[str]) -> str:
    """Words with how often each occurs, the most frequent first."""
    found = tally(names)
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(f"{count} x {name}" for name, count in found[:SHOWN]) + more


def counted(count: int, noun: str) -> str:
    """A number with its noun."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
