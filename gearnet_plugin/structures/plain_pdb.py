"""Read plain PDB text by columns, without an object per atom: what gemmi's way in :mod:`.reader` gives, sooner.

Plain is what most files are: atom records in their fixed columns and little among them that takes judgement.
The header is left to gemmi. Whatever else comes, however harmless, the answer is None and the whole file goes
the way of gemmi, which alone decides what is refused: nothing is accepted here that gemmi would refuse, and
nothing is read otherwise. What counts as a residue is said in :mod:`.reader`.

``Q`` is the number of residues of any kind, a residue being a run of atom records with the same name, chain,
number, insertion code and segment. :mod:`.pdb_fields` tells what a word is.
"""

from __future__ import annotations

import re
from collections import Counter

import gemmi
import numpy as np

from .pdb_fields import ATOM, LOW, NotPlain, atom_records, decimals, demand, integers, letters, word, words_of
from .polymer import AMBIGUOUS_NAMES
from .residues import residue_type

NO_AMINO_ACID, UNKNOWN_NAME = -1, -2
CA, CA_LEFT, CA_RIGHT = word(b" CA "), word(b"CA  "), word(b"  CA")
CARBON, NO_ELEMENT = word(b" C"), word(b"  ")
ATOM_NAMES, LATER_ATOM = (b"ATOM", b"HETA"), re.compile(rb"\n(?:ATOM|HETA)")
# Tells of a residue name of five letters, which stands shortened in the atom records.
LONG_NAME = re.compile(rb"\nHETN.{67}.*\S")


def read_plain(data: bytes) -> tuple[gemmi.Structure, dict[str, np.ndarray], dict] | None:
    """
    Read a plain PDB text.

    Parameters:
        data (bytes): ASCII text without null bytes

    Returns:
        what gemmi makes of the header and the first atom; the array fields of a Structure; what each chain
        dropped, by reason. None if the text is not plain.
    """
    try:
        first, end = _first_model(data)
        entry = _read_header(data, first)
        return entry, *_read_columns(*words_of(data, first, end), entry)
    except NotPlain:
        return None


def _first_model(data: bytes) -> tuple[int, int]:
    """Where the first atom record begins, and where the text ends or is cut after its first model."""
    if data.startswith(ATOM_NAMES):
        return 0, len(data)
    found = LATER_ATOM.search(data)
    if found is None:
        raise NotPlain
    first = found.start() + 1
    if not data.startswith(b"MODEL"):
        # From behind, which takes a third of the time.
        if data.rfind(b"\nMODEL", 0, first) < 0:
            return first, len(data)
        # The reader does not look for models where all atoms are HETATM records.
        demand(data.find(b"\nATOM", first - 1) >= 0)
    end = data.find(b"\nENDMDL")
    demand(end < 0 or end > first)
    return first, end if end >= 0 else len(data)


def _read_header(data: bytes, first: int) -> gemmi.Structure:
    """What stands before the atoms, and the first of them, which shows that gemmi reads on until there."""
    end = data.find(b"\n", first) + 1
    header = data[: end or len(data)]
    upper = b"\n" + header.upper()
    demand(upper.rfind(b"\nHETN") < 0 or not LONG_NAME.search(upper))
    try:
        entry = gemmi.read_pdb_string(header)
    except (RuntimeError, ValueError, IndexError):
        raise NotPlain from None
    demand(len(entry) == 1 and [[len(residue) for residue in chain] for chain in entry[0]] == [[1]])
    return entry


def _read_columns(words: np.ndarray, buffer: np.ndarray, entry: gemmi.Structure) -> tuple[dict, dict]:
    """The array fields of a Structure, and what each chain dropped."""
    starts, heads, tails, ters = atom_records(words, buffer)
    atom_words, place_words = words[starts + 12], words[starts + 20] & LOW[7]
    atom_names, residue_names = atom_words & LOW[4], atom_words >> 40
    demand((place_words & 0xFF == ord(" ")).all())  # chain ids of two characters

    same = (residue_names[1:] == residue_names[:-1]) & (place_words[1:] == place_words[:-1])
    same &= tails[1:] & LOW[4] == tails[:-1] & LOW[4]
    begins = np.concatenate(([0], (~same).nonzero()[0] + 1))
    places = place_words[begins]
    chains, insertions = places >> 8 & 0xFF, places >> 48
    numbers = integers((places >> 16).astype("<u4").view(np.uint8).reshape(-1, 4))
    names, name_index, types = _residue_types(residue_names[begins], entry)

    alphas = (atom_names == CA).nonzero()[0]
    residues = _residue_of(alphas, begins)
    members = (types >= 0) & (heads[begins] == ATOM)
    judged = (types >= 0) & ~members
    judged[residues[types[residues] == UNKNOWN_NAME]] = True
    if judged.any():
        members |= _judge(members, judged, types, chains, [names[i] for i in name_index], begins, ters)

    # A residue in pieces, or variants of one position.
    relevant = types != NO_AMINO_ACID
    # Two insertion codes are one to gemmi if they differ in case only.
    keys = (chains[relevant] << 40 | insertions[relevant] & 0xDF).astype(np.int64) + (numbers[relevant] << 8)
    demand(_all_differ(keys))
    inside = members[residues]
    alphas, residues = alphas[inside], residues[inside]
    elements = tails >> 32 & 0xFFFF
    demand(((elements[alphas] == CARBON) | (elements[alphas] == NO_ELEMENT)).all())
    # Calcium, or a Cα out of place.
    others = ((atom_names == CA_LEFT) | (atom_names == CA_RIGHT)).nonzero()[0]
    demand(not relevant[_residue_of(others, begins)].any())
    if (residues[1:] == residues[:-1]).any():
        chosen = _best_alternatives(residues, atom_words[alphas] >> 32 & 0xFF, words[starts[alphas] + 54])
        alphas, residues = alphas[chosen], residues[chosen]
    members[residues] = False
    dropped = Counter(chr(chain).strip() for chain in chains[members].tolist())
    demand(len(alphas) > 0 and not (dropped and (elements[others] == NO_ELEMENT).any()))
    if (chains != chains[0]).any():
        order = _chain_order(chains, residues)
        alphas, residues = alphas[order], residues[order]

    columns = {
        **_columns_of_lines(words, starts[alphas]),
        "chain_ids": letters(chains[residues]),
        "residue_types": types[residues].astype(np.uint8),
        "residue_numbers": numbers[residues].astype(np.int32),
        "insertion_codes": letters(insertions[residues]),
        "residue_names": _pick(names, name_index[residues]),
    }
    columns["label_chain_ids"] = columns["chain_ids"]
    return columns, {chain: {"no CA": count} for chain, count in dropped.items()}


def _columns_of_lines(words: np.ndarray, starts: np.ndarray) -> dict[str, np.ndarray]:
    """The numbers with decimal places in some atom records."""
    positions = words[starts[:, None] + (30, 38, 46)].view(np.uint8).reshape(-1, 8)
    confidence = words[starts + 60].view(np.uint8).reshape(-1, 8)[:, :6]
    return {"positions": decimals(positions, 3).reshape(-1, 3), "confidence": decimals(confidence, 2)}


def _pick(names: list[str], index: np.ndarray) -> np.ndarray:
    """Names by index, as wide as the longest that is picked."""
    used = set(index.tolist())
    return np.array([name if i in used else "" for i, name in enumerate(names)])[index]


# === residues ===


def _residue_of(rows: np.ndarray, begins: np.ndarray) -> np.ndarray:
    return begins.searchsorted(rows, "right") - 1


def _all_differ(keys: np.ndarray) -> bool:
    return bool((keys[1:] > keys[:-1]).all()) or len(np.unique(keys)) == len(keys)


def _residue_types(codes: np.ndarray, entry: gemmi.Structure) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Different residue names, and for each residue the index of its name and its type."""
    parents = {mod.res_id.name: mod.parent_comp_id for mod in entry.mod_residues}
    codes, index = np.unique(codes, return_inverse=True)
    names = [code.to_bytes(3, "little").decode("latin-1").strip() for code in codes.tolist()]
    types = [residue_type(name, parents) for name in names]
    return names, index, np.array([UNKNOWN_NAME if type is None else type for type in types])[index]


def _best_alternatives(residues: np.ndarray, altlocs: np.ndarray, occupancies: np.ndarray) -> np.ndarray:
    """Index of the Cα to take for each residue: of the highest occupancy, then of the lowest letter."""
    keys = residues << 8 | altlocs.astype(np.int64)
    demand(_all_differ(keys))
    occupancies = decimals(occupancies.view(np.uint8).reshape(-1, 8)[:, :6], 2)
    order = np.lexsort((altlocs, -occupancies, residues))
    return order[np.flatnonzero(np.diff(residues[order], prepend=-1))]


def _chain_order(chains: np.ndarray, residues: np.ndarray) -> np.ndarray:
    """Order that puts the parts of a chain where its first part stands."""
    _, firsts, index = np.unique(chains, return_index=True, return_inverse=True)
    return np.argsort(firsts[index[residues]], kind="stable")


def _judge(members, judged, types, chains, names, begins, ters) -> np.ndarray:
    """
    Which amino acids in HETATM records belong to their chain, as :func:`.polymer.chain_residues` has it.

    Parameters (of shape :math:`(Q,)` but for the last):
        members (np.ndarray): whether it is an amino acid in ATOM records
        judged (np.ndarray): whether it is another that might belong to its chain
        types, chains, names, begins: type, chain, name and first atom record of each residue
        ters (np.ndarray): for each TER record the number of atom records before it
    """
    joined = np.zeros_like(members)
    ends = None
    for chain in np.unique(chains[judged]):
        here = chains == chain
        sure = np.flatnonzero(members & here)
        last = sure[-1] if len(sure) else -1
        for i in np.flatnonzero(judged & here).tolist():
            by_itself = types[i] >= 0 and names[i] not in AMBIGUOUS_NAMES
            if by_itself and i < last:
                joined[i] = True
                continue
            ends = _chain_ends(chains, names, begins, ters) if ends is None else ends
            # Without TER, and before it for want of a modified residue, bonds decide.
            demand(chain in ends)
            if begins[i] < ends[chain]:
                demand(by_itself)
                joined[i] = True
            else:
                demand(last < 0 or begins[last] < ends[chain])
    return joined


def _chain_ends(chains: np.ndarray, names: list[str], begins: np.ndarray, ters: np.ndarray) -> dict[int, int]:
    """
    Atom record from which on a chain is no polymer to gemmi, for chains with TER.

    That holds while every TER is the only one of its chain, in the first part of it, and no water before it.
    """
    ends = {}
    for ter in ters.tolist():
        last = _residue_of(ter - 1, begins)
        chain = chains[last]
        before = np.flatnonzero(chains[: last + 1] == chain)
        demand(chain not in ends and before[0] + len(before) == last + 1)
        demand(not any(_is_water(names[i]) for i in before))
        ends[chain] = ter
    return ends


def _is_water(name: str) -> bool:
    residue = gemmi.Residue()
    residue.name = name
    return residue.is_water()
