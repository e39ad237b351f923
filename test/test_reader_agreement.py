"""
The reader, gemmi alone and biotite give the same residues, sequence and coordinates.

Each of the two is used here in the plainest way: the Cα atoms of its first model, of which the one with the highest
occupancy stands for a position, the lowest letter where several have it. Where they differ from the reader for a
reason, a table below names it.
"""

import gzip
import io
import itertools
import multiprocessing
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import gemmi
import numpy as np
import pytest

from gearnet_plugin.structures import bundled, read_structure

FOLDERS = (
    "structures", "structures_bb3", "structures_ca", "structures_ext", "domains", "domains_ca", "predicted",
)  # fmt: skip
FIELDS = ("chain_ids", "residue_numbers", "insertion_codes", "residue_names", "sequence", "positions", "confidence")

# Ligands that have a carbon called CA, and stand alone in HETATM records: by file, the name of the ligand.
LIGANDS = {
    "structures/1cmc_A.pdb.gz": "SAM", "structures/1dyj_B.pdb.gz": "DDF", "structures/1eiz_A.pdb.gz": "SAM",
    "structures/1fp2_A.pdb.gz": "SAH", "structures/1i9g_A.pdb.gz": "SAM", "structures/1jg1_A.pdb.gz": "SAH",
    "structures/1msk_A.pdb.gz": "SAM", "structures/1nt2_A.pdb.gz": "SAM", "structures/1nw3_A.pdb.gz": "SAM",
    "structures/1p91_A.pdb.gz": "SAM", "structures/1r30_A.pdb.gz": "SAM", "structures/2efj_A.pdb.gz": "SAH",
    "structures/3dfr_A.pdb.gz": "MTX", "structures_ext/1bma_A.pdb.gz": "0QH", "structures_ext/2aeb_A.pdb.gz": "ABH",
    "structures_ext/4kya_A.pdb.gz": "FOL",
}  # fmt: skip
# Two residues, one after the other, with the same number and no alternate location: both are residues.
NUMBERED_TWICE = {"structures/1ril_A.pdb.gz": ("A", 80, "")}
# Letters that may be others elsewhere: by residue name ours, with the reason.
LETTERS = {
    "SEC": ("C", "selenocysteine (U) is given the type of cysteine"),
    "PCA": ("E", "made from glutamine or glutamate; gemmi says E, the chemical component dictionary Q"),
    "MDO": ("A", "a chromophore made of three residues, all of which the dictionary names"),
    **dict.fromkeys(
        "ALS ARO AYA BCS BHD CGA CSB CSP CSZ DDZ FGL HTR MSO MTY NFA NLW OMT TRO".split(),
        ("X", "the dictionary has a parent for it; gemmi's table of common residues has no such residue"),
    ),
}
# Files with Cα atoms that are there only as alternate location B or C.
ONLY_B = ("structures/1j8b_A.pdb.gz", "structures/1kmv_A.pdb.gz", "structures/1lb3_A.pdb.gz")


# === the same by others ===
# Each gives a list of candidates: position in the chain (chain, number, insertion code), altloc, name, x, y, z,
# occupancy, B-factor.


def by_gemmi(path):
    candidates = []
    for chain in gemmi.read_structure(str(path))[0]:
        for residue in chain:
            for atom in residue:
                if atom.name == "CA" and atom.element == gemmi.Element("C"):
                    seqid = residue.seqid
                    place = chain.name, seqid.num, seqid.icode.strip()
                    candidates.append((place, atom.altloc.strip("\0"), residue.name, *atom.pos, atom.occ, atom.b_iso))
    return candidates


def by_biotite(path):
    from biotite.structure.io import pdb, pdbx

    text = io.StringIO(gzip.decompress(path.read_bytes()).decode("latin-1"))
    options = dict(model=1, altloc="all", extra_fields=["occupancy", "b_factor"])
    if ".cif" in path.name:
        atoms = pdbx.get_structure(pdbx.CIFFile.read(text), use_author_fields=True, **options)
    else:
        atoms = pdb.PDBFile.read(text).get_structure(**options)
    atoms = atoms[(atoms.atom_name == "CA") & (np.char.upper(atoms.element) == "C")]
    altlocs = [altloc.strip(" .?") for altloc in atoms.altloc_id.tolist()]
    places = zip(atoms.chain_id.tolist(), atoms.res_id.tolist(), atoms.ins_code.tolist())
    numbers = atoms.occupancy.tolist(), atoms.b_factor.tolist()
    return list(zip(places, altlocs, atoms.res_name.tolist(), *atoms.coord.T.tolist(), *numbers))


def letter_of_gemmi(name):
    return gemmi.find_tabulated_residue(name).one_letter_code.upper().strip()


def letter_of_biotite(name):
    from biotite.structure.info import one_letter_code

    return one_letter_code(name)


def residues(name, candidates, letter):
    """
    What the reader should give, by field: of each position the atom with the highest occupancy.

    Parameters:
        name (str): folder and name of the file, which may be in the tables above
        candidates (list): from :func:`by_gemmi` or :func:`by_biotite`
        letter (callable): residue name -> one-letter code
    """
    twice = NUMBERED_TWICE.get(name)
    candidates = [row for row in candidates if row[2] != LIGANDS.get(name)]
    groups = itertools.groupby(candidates, key=lambda row: (row[0], row[2] if row[0] == twice else ""))
    chosen = [min(group, key=lambda row: (-row[6], row[1])) for _, group in groups]
    places, _, names, x, y, z, _, b = zip(*chosen)
    letters = {name: letter(name) or "X" for name in set(names)}
    sequence = [letters[name] for name in names]
    positions, confidence = np.array([x, y, z], dtype=np.float32).T, np.array(b, dtype=np.float32)
    return dict(zip(FIELDS, (*zip(*places), names, sequence, positions, confidence)))


def compare(path, name, others=("gemmi", "biotite")):
    """
    The differences of one file.

    Returns:
        (list of str, bool): differences, a text for each; and whether a position has Cα atoms, but none of them at a
            blank location, A or 1
    """
    structure, found, only_b = read_structure(path), [], False
    for other in others:
        by, letter = {"gemmi": (by_gemmi, letter_of_gemmi), "biotite": (by_biotite, letter_of_biotite)}[other]
        candidates = by(path)
        expected = residues(name, candidates, letter)
        places = {row[0] for row in candidates}
        only_b |= len(places) > len({row[0] for row in candidates if row[1] in ("", "A", "1")})
        found += [f"{other}: {text}" for text in differences(structure, expected)]
    return found, only_b


def differences(structure, expected):
    if len(structure) != len(expected["sequence"]):
        return [f"{len(structure)} residues, expected {len(expected['sequence'])}"]
    ours = {field: getattr(structure, field) for field in FIELDS if field != "sequence"}
    texts = [field for field, values in ours.items() if not np.array_equal(values, expected[field])]
    for name, letter, other in zip(structure.residue_names.tolist(), structure.sequence, expected["sequence"]):
        if letter != other:
            # The word "letter" marks what LETTERS explains.
            known = LETTERS.get(name, ("",))[0] == letter
            texts.append(f"letter of {name}" if known else f"{name} is {letter}, expected {other}")
    return texts


# === tests ===


def unexplained(results):
    """File -> differences that no table gives a reason for."""
    rest = {name: [text for text in found if " letter of " not in text] for name, (found, _) in results.items()}
    return {name: texts for name, texts in rest.items() if texts}


@pytest.mark.parametrize("other", ["gemmi", "biotite"])
def test_bundled_structures(other):
    if other == "biotite":
        pytest.importorskip("biotite", reason="compared with biotite, which is not installed")
    results = {path.name: compare(path, path.name, (other,)) for path in bundled.bundled_structures()}
    assert len(results) >= 60 and unexplained(results) == {}


def shared_files(shared_data):
    """Folder and name -> path, of every structure there."""
    return {
        f"{folder}/{path.name}": path for folder in FOLDERS for path in sorted(Path(shared_data, folder).glob("*.gz"))
    }


def test_sample(shared_data):
    pytest.importorskip("biotite", reason="compared with biotite, which is not installed")
    files = shared_files(shared_data)
    names = [*list(files)[:: len(files) // 60], *ONLY_B, *LIGANDS, *NUMBERED_TWICE]
    results = {name: compare(files[name], name) for name in names}
    assert unexplained(results) == {}
    assert all(results[name][1] for name in ONLY_B)


@pytest.mark.slow
def test_every_file(shared_data):
    pytest.importorskip("biotite", reason="compared with biotite, which is not installed")
    files = shared_files(shared_data)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, context, initializer=os.nice, initargs=(10,)) as pool:
        results = dict(zip(files, pool.map(compare, files.values(), files, chunksize=100), strict=True))
    assert len(results) > 7000 and unexplained(results) == {}
    assert sum(only_b for _, only_b in results.values()) >= 125
    counts = Counter(text.split()[-1] for found, _ in results.values() for text in set(found))
    assert set(counts) == set(LETTERS), "a row of the table that nothing needs"
