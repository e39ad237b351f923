"""Which residues of a chain belong to its protein, as opposed to ligands, water and nucleic acids.

A chain id is shared by a protein and all that is bound to it. The rules stand in :mod:`.reader`.
"""

from __future__ import annotations

import gemmi

from .residues import ALIAS_TYPES, RESIDUE_NAMES, UNKNOWN_TYPE, residue_type

#: Largest C-N distance of a peptide bond, and CA-CA distance of neighbours where C or N is missing, in Å.
PEPTIDE_BOND = 2.0
CA_NEIGHBOUR = 4.5

# How sure it is that an amino acid belongs to the chain: by itself, if some residue that does follows it, or
# only if it is bonded to one that does.
SURE, FOLLOWED, BONDED = 2, 1, 0
# Names that free amino acids and ligands of unknown nature bear as well: in HETATM records they need a bond.
AMBIGUOUS_NAMES = frozenset((*RESIDUE_NAMES, *ALIAS_TYPES, "UNK", "ASX", "GLX"))

POLYMER, NON_POLYMER, UNSAID = gemmi.EntityType.Polymer, gemmi.EntityType.NonPolymer, gemmi.EntityType.Unknown


def chain_residues(chain: gemmi.Chain, parents: dict, from_mmcif: bool) -> list[tuple[gemmi.Residue, int]]:
    """
    The amino acids of a chain that belong to its protein.

    Parameters:
        chain (gemmi.Chain): chain with all that bears its id, ligands and water included
        parents (dict): name of the parent of each modified residue, as the file declares it
        from_mmcif (bool): whether the file is mmCIF, which can say what belongs to a polymer

    Returns:
        residues with their types, in the order of the file
    """
    types = {}
    found, levels = [], []
    for residue in chain:
        name = residue.name
        if name not in types:
            types[name] = residue_type(name, parents)
        type = types[name]
        if not _has_backbone(residue) if type is None else type < 0:
            continue
        level = _sureness(residue, name, type, from_mmcif)
        if level is None:
            continue
        found.append((residue, UNKNOWN_TYPE if type is None else type))
        levels.append(level)

    if BONDED not in levels and FOLLOWED not in levels:
        return found
    last_sure = max((index for index, level in enumerate(levels) if level == SURE), default=-1)
    members = {i for i, level in enumerate(levels) if level == SURE or level == FOLLOWED and i < last_sure}
    # In PDB files gemmi calls non-polymer what stands after TER. TER ends a chain if nothing but HETATM
    # follows; otherwise it marks a gap within the chain.
    after_ter = {index for index, (residue, _) in enumerate(found) if residue.entity_type == NON_POLYMER}
    ligands = set() if last_sure in after_ter else after_ter
    return [found[index] for index in _add_bonded(found, members, ligands)]


def _sureness(residue: gemmi.Residue, name: str, type: int | None, from_mmcif: bool) -> int | None:
    """SURE, FOLLOWED or BONDED for an amino acid; None if the file says that it belongs to no polymer."""
    if from_mmcif:
        entity = residue.entity_type
        if entity != UNSAID:
            return SURE if entity == POLYMER else None
    if type is None:
        return BONDED
    if residue.het_flag != "H":
        return SURE
    if name in AMBIGUOUS_NAMES:
        return BONDED
    # In PDB files gemmi calls polymer what stands before the TER record of its chain.
    return SURE if residue.entity_type == POLYMER else FOLLOWED


def _add_bonded(found: list, members: set, ligands: set) -> list[int]:
    """
    Indices of the members and of all residues bonded to them, directly or through each other.

    Parameters:
        found (list): residues of a chain with their types
        members (set): indices of those known to belong to the chain
        ligands (set): indices of those known not to
    """
    waiting = set(range(len(found))) - members - ligands
    # Two places either way, because the variants of a position with alternate residues stand side by side.
    bonds = {
        i: {j for j in range(i - 2, i + 3) if 0 <= j < len(found) and _bonded(found, i, j)} for i in waiting
    }
    if not members:
        # A chain all of HETATM records: bonded residues make a chain, a residue alone is a ligand. Lone CA
        # atoms of unknown names are too little to start from.
        members = {
            i for i in waiting if bonds[i] & waiting and (found[i][1] < UNKNOWN_TYPE or len(found[i][0]) > 1)
        }
    members = set(members)
    reached = list(members)
    while reached:
        last = reached.pop()
        for i in range(last - 2, last + 3):
            if i in waiting and i not in members and last in bonds[i]:
                members.add(i)
                reached.append(i)
    return sorted(members)


def _bonded(found: list, i: int, j: int) -> bool:
    """Whether the later of two residues is bonded to the other: by C-N, or by CA-CA if those are missing."""
    if i == j:
        return False
    first, second = found[min(i, j)][0], found[max(i, j)][0]
    carbon, nitrogen = first.find_atom("C", "*"), second.find_atom("N", "*")
    if carbon is not None and nitrogen is not None:
        return carbon.pos.dist(nitrogen.pos) < PEPTIDE_BOND
    alphas = first.get_ca(), second.get_ca()
    return None not in alphas and alphas[0].pos.dist(alphas[1].pos) < CA_NEIGHBOUR


def _has_backbone(residue: gemmi.Residue) -> bool:
    """Whether a residue of unknown name is an amino acid: atoms N, CA, C, or CA alone as in a CA trace."""
    return residue.get_ca() is not None and (len(residue) == 1 or "N" in residue and "C" in residue)
