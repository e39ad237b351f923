"""Names of amino-acid residues and the residue type each stands for."""

from __future__ import annotations

from functools import cache

import gemmi

#: TorchDrug's order (``data.Protein.residue2id``): the index is the residue type.
RESIDUE_NAMES = (
    "GLY", "ALA", "SER", "PRO", "VAL", "THR", "CYS", "ILE", "LEU", "ASN",
    "ASP", "GLN", "LYS", "GLU", "MET", "HIS", "PHE", "ARG", "TYR", "TRP",
)  # fmt: skip
UNKNOWN_TYPE = len(RESIDUE_NAMES)
#: One-letter code of each residue type, the unknown one included.
ONE_LETTER = "GASPVTCILNDQKEMHFRYWX"

#: One letter to residue type. Selenocysteine (U) and pyrrolysine (O) are genetically coded relatives of
#: cysteine and lysine; B, Z and X name no single residue and stay unknown.
LETTER_TYPES = {letter: index for index, letter in enumerate(ONE_LETTER[:UNKNOWN_TYPE])}
LETTER_TYPES.update(U=LETTER_TYPES["C"], O=LETTER_TYPES["K"])

#: Names that simulation programs (AMBER, CHARMM, GROMACS, ...) give to protonation and bonding states.
SIMULATION_NAMES = {
    "HIS": "HID HIE HIP HSD HSE HSP HISA HISB HISD HISE HISH",
    "CYS": "CYX CYM CYS1 CYS2 CYSH",
    "LYS": "LYN LYSH LYSN",
    "ASP": "ASH ASPH ASPP",
    "GLU": "GLH GLUH GLUP",
    "ARG": "ARN ARGN",
    "TYR": "TYM",
}
ALIAS_TYPES = {
    alias: RESIDUE_NAMES.index(parent)
    for parent, aliases in SIMULATION_NAMES.items()
    for alias in aliases.split()
}


@cache
def tabulated_type(name: str) -> int | None:
    """
    Residue type that gemmi's table of residues gives to a name.

    Modified residues get the type of their parent (MSE that of MET), D-amino acids that of their mirror
    image.

    Parameters:
        name (str): residue name

    Returns:
        the residue type, 0 to 20; -1 if the table knows the name as something other than an amino acid
        (water, nucleotide, ligand); None if it does not know the name
    """
    info = gemmi.find_tabulated_residue(name)
    if not info.found():
        return None
    if not info.is_amino_acid():
        return -1
    return LETTER_TYPES.get(info.one_letter_code.upper(), UNKNOWN_TYPE)


def residue_type(name: str, parents: dict[str, str]) -> int | None:
    """
    Residue type of a name, from the first source that knows it: gemmi's table, the file itself, the names of
    simulation programs.

    The file goes before the simulation programs because a few names mean two things: HSE is a CHARMM
    histidine, and homoserine in PDB entries, which then say so.

    Parameters:
        name (str): residue name
        parents (dict): name of the parent of each modified residue, as the file declares it

    Returns:
        as :func:`tabulated_type`
    """
    known = tabulated_type(name)
    if known is not None:
        return known
    parent = tabulated_type(parents[name]) if name in parents else None
    if parent is not None and parent >= 0:
        return parent
    return ALIAS_TYPES.get(name)
