"""The bundled structures: what their table says is what the files hold."""

from collections import Counter
from itertools import combinations

import gemmi
import numpy as np
import pytest

from gearnet_plugin.structures import bundled

TABLE = bundled.bundled_table()
NAMES = [row["structure"] for row in TABLE]
CLASSES = ("alpha", "beta", "mixed")
SPLITS = ("train", "valid", "test")

each_chain = pytest.mark.parametrize("row", TABLE, ids=NAMES)


def read(row):
    return gemmi.read_structure(str(bundled.bundled_path() / row["structure"]))


def sequence(row):
    names = [residue.name for residue in read(row)[0][0]]
    letters = [gemmi.find_tabulated_residue(name).one_letter_code.upper() for name in names]
    return "".join(letters).replace(" ", "X")


@pytest.fixture(scope="module")
def sequences():
    return {row["structure"]: sequence(row) for row in TABLE}


def test_number_and_size():
    size = sum(file.stat().st_size for file in bundled.bundled_path().iterdir())
    assert len(TABLE) >= 60
    assert size <= 4e6


def test_table_lists_the_files_and_no_others():
    on_disk = {file.name for file in bundled.bundled_path().iterdir()}
    assert on_disk == {*NAMES, "chains.tsv", "README.md"}
    assert [file.name for file in bundled.bundled_structures()] == NAMES
    assert len({name.lower() for name in NAMES}) == len(NAMES), "names collide where file names ignore case"


def test_both_formats_are_there():
    """The readers of both formats meet real files, and residues that are not plain ones."""
    assert sum(name.endswith(".pdb.gz") for name in NAMES) >= 20
    assert sum(name.endswith(".cif.gz") for name in NAMES) >= 20
    chains = [read(row)[0][0] for row in TABLE]
    assert any(residue.seqid.icode != " " for chain in chains for residue in chain)
    assert any(residue.name == "MSE" for chain in chains for residue in chain)


@each_chain
def test_file_agrees_with_the_table(row):
    structure = read(row)
    assert len(structure) == 1 and len(structure[0]) == 1, "one model, one chain"
    chain = structure[0][0]
    assert chain.name == row["chain"]
    assert sum(atom.name == "CA" for residue in chain for atom in residue) == len(chain) == row["length"]
    assert 40 <= row["length"] <= 500
    assert len({str(residue.seqid) for residue in chain}) == len(chain), "author numbers are unique"
    assert {atom.name for residue in chain for atom in residue} == {"N", "CA", "C", "O", "CB"}
    assert structure.info["_entry.id"] == row["entry"]
    assert row["structure"].split(".")[0] == f"{row['entry'].lower()}_{row['chain']}"
    assert (structure.info["_exptl.method"] if "_exptl.method" in structure.info else "") == row["method"]
    assert (structure.resolution or None) == row["resolution"]


@each_chain
def test_chains_are_experimental_geometry(row):
    """Neighbouring CA of a real chain are 3.8 Å apart (2.9 Å around a cis bond); gaps are few."""
    chain = read(row)[0][0]
    positions = np.array([residue["CA"][0].pos.tolist() for residue in chain])
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=-1)
    bonded = steps[steps < 4.5]
    assert len(bonded) >= 0.95 * len(steps) and bonded.min() > 2.5
    assert abs(np.median(bonded) - 3.8) < 0.08


@each_chain
def test_class_follows_from_the_coordinates(row):
    """The label once more, with biotite reading the file as well and the rule written out again."""
    pytest.importorskip("biotite", reason="biotite computed the labels and is not installed")
    import gzip
    import io

    from biotite.structure import annotate_sse
    from biotite.structure.io import pdb, pdbx

    with gzip.open(bundled.bundled_path() / row["structure"], "rt") as fin:
        text = io.StringIO(fin.read())
    if row["structure"].endswith(".pdb.gz"):
        atoms = pdb.PDBFile.read(text).get_structure(model=1)
    else:
        atoms = pdbx.get_structure(pdbx.CIFFile.read(text), model=1)
    alphas = atoms[atoms.atom_name == "CA"]
    # Real neighbours only: number on where two CA are close, skip a number where they are not.
    alphas.res_id[0] = 1
    for i in range(1, len(alphas)):
        close = np.linalg.norm(alphas.coord[i] - alphas.coord[i - 1]) <= 4.5
        alphas.res_id[i] = alphas.res_id[i - 1] + (1 if close else 2)
    alphas.ins_code[:] = ""
    # biotite 2 numbers the elements that biotite 1 spells.
    annotation = annotate_sse(alphas).astype(str)
    helix, strand = np.isin(annotation, ["a", "1"]).mean(), np.isin(annotation, ["b", "2"]).mean()

    assert len(alphas) == row["length"]
    assert helix == pytest.approx(row["helix"], abs=1e-4) and strand == pytest.approx(row["strand"], abs=1e-4)
    alpha, beta = helix >= 0.35 and strand < 0.10, strand >= 0.20 and helix < 0.10
    assert row["class"] == ("alpha" if alpha else "beta" if beta else "mixed")


def test_every_class_is_in_every_split():
    counts = Counter((row["class"], row["split"]) for row in TABLE)
    assert set(counts) == {(kind, split) for kind in CLASSES for split in SPLITS}
    for kind in CLASSES:
        total = sum(counts[kind, split] for split in SPLITS)
        assert total >= 8
        # A share of a class may be off by the size of a cluster of similar chains.
        assert abs(counts[kind, "train"] - 0.6 * total) <= 3
        assert min(counts[kind, "valid"], counts[kind, "test"]) >= 3


def test_no_chain_comes_twice(sequences):
    assert len(set(sequences.values())) == len(sequences)


def test_splits_share_no_similar_sequences(sequences):
    """Any two chains of different splits are less than 40 % identical when aligned."""
    pytest.importorskip("biotite", reason="biotite aligns the sequences and is not installed")
    from biotite.sequence import ProteinSequence, align

    split = {row["structure"]: row["split"] for row in TABLE}
    encoded = {name: ProteinSequence(letters) for name, letters in sequences.items()}
    scores = align.SubstitutionMatrix.std_protein_matrix()
    for a, b in combinations(NAMES, 2):
        if split[a] == split[b]:
            continue
        aligned = align.align_optimal(
            encoded[a], encoded[b], scores, gap_penalty=(-10, -1), terminal_penalty=False, max_number=1
        )
        assert align.get_sequence_identity(aligned[0], mode="shortest") < 0.4, (a, b)
