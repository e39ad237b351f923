"""Files that need much more time or memory than their size says, unless a reader takes care."""

import gzip
import re

from structure_text import atom, backbone, cif_text, pdb_line, pdb_text

WORD = "X" * 1_000_000
LINES = backbone("ALA", 1)


def with_chain(*atoms):
    """mmCIF of a thousand residues and these atoms."""
    return cif_text([*(a for number in range(1, 1001) for a in backbone("GLY", number)), *atoms])


def bonded_to_one(number):
    """mmCIF of one residue in ATOM records, and a chain bonded to it in HETATM records; not said what is a polymer."""
    chain = [a for k in range(1, number) for a in backbone("GLY", k, record="HETATM")]
    return re.sub(r"loop_\n_entity.id.*?(?=loop_)", "", cif_text([*backbone("ALA", 0), *chain]), flags=re.DOTALL)


def of_models(number):
    return "".join(f"MODEL     {k:4}\n{pdb_line(LINES[1])}ENDMDL\n" for k in range(number))


# Name -> function that gives the content.
CRAFTED = {
    "blank_lines_first.pdb": lambda: "\n" * 60 + pdb_text(LINES),
    "spaces_first.pdb": lambda: " " * 100_000 + "\n" + pdb_text(LINES),
    "comments_first.pdb": lambda: "# \n\n" * 50_000 + pdb_text(LINES),
    "comments_first.cif": lambda: "# \n\n" * 50_000 + cif_text(LINES),
    "long_residue_name.cif": lambda: with_chain(*backbone(WORD, 1001)),
    "long_chain_id.cif": lambda: with_chain(*backbone("GLY", 1, chain=WORD)),
    "long_atom_name.cif": lambda: with_chain(atom(WORD, "GLY", 1001)),
    "long_number.cif": lambda: with_chain(atom("CA", "GLY", "9" * 1_000_000)),
    "bonded_one_by_one.cif": lambda: bonded_to_one(12_000),
    "chains.cif": lambda: cif_text([a for k in range(5000) for a in backbone("ALA", 1, chain=f"c{k}")]),
    "models.cif": lambda: cif_text([atom("CA", number=1, model=k) for k in range(5000)]),
    "models.pdb": lambda: of_models(5000),
    "blocks.cif": lambda: "".join(f"data_{k}\n_a.b 1\n" for k in range(5000)) + cif_text(LINES),
    "altlocs.pdb": lambda: pdb_text([dict(LINES[1], altloc=chr(33 + k % 90)) for k in range(5000)]),
    "open_quote.cif": lambda: cif_text([]) + "'" + "x " * 500_000,
    "open_text.cif": lambda: cif_text([]) + ";" + "x\n" * 500_000,
    "open_texts.cif": lambda: cif_text([]) + "_a\n;\n" * 100_000,
    "save_frames.cif": lambda: cif_text([]) + "save_x\n" * 100_000,
    "bomb.pdb.gz": lambda: gzip.compress(pdb_text(LINES).encode() + b"\n" * 300_000_000, 1),
}
