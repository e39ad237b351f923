"""``gearnet doctor STRUCTURE``: what it says and draws of structure files, and of many of them."""

import gzip

import numpy as np
import pytest

from gearnet_plugin.cli import doctor_contacts as contacts
from gearnet_plugin.cli import doctor_folder, doctor_picture, main
from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.structures import Structure, bundled, read_structure
from proteins import construction
from structure_text import atom, backbone, cif_text, pdb_text


def structure(positions, chains=None, numbers=None):
    """A structure of alanines at some positions."""
    count = len(positions)
    chains = np.array(["A"] * count if chains is None else chains)
    numbers = np.arange(1, count + 1) if numbers is None else numbers
    names = np.array(["ALA"] * count)
    return Structure("made", positions, np.ones(count), chains, chains, numbers, [""] * count, names, np.zeros(count))


def grid(side):
    """Points 4 Å apart in a cube, of which many are equally far away and many have more than 32 neighbours."""
    return 4.0 * np.stack(np.meshgrid(*[np.arange(side)] * 3), axis=-1).reshape(-1, 3)


def pairs(edges):
    return sorted(map(tuple, np.asarray(edges).tolist()))


@pytest.mark.parametrize(
    "made",
    [
        *[pytest.param(path, id=path.name) for path in bundled.bundled_structures()[:4]],
        pytest.param(structure(grid(5), ["A"] * 60 + ["B"] * 65), id="grid"),
        pytest.param(structure(np.zeros((7, 3))), id="one place"),
        pytest.param(structure(np.zeros((1, 3))), id="one residue"),
    ],
)
def test_edges_are_those_of_the_graph(made, monkeypatch):
    """Found in plain numpy, block by block, as ResidueGraphConstruction finds them with torch."""
    made = made if isinstance(made, Structure) else read_structure(made)
    monkeypatch.setattr(contacts, "BLOCK", 1000)
    graph = construction()(ResidueProtein.pack([ResidueProtein.from_structure(made)]))
    source, target, relation = graph.edge_list.t().numpy()
    found = contacts.find_edges(made)
    for kind, edges in (("sequential", relation < 5), ("radius", relation == 5), ("nearest", relation == 6)):
        assert pairs(getattr(found, kind)) == pairs(np.stack([source, target], axis=1)[edges]), kind


def test_gaps_are_found_by_number_and_by_distance():
    positions = np.zeros((8, 3))
    positions[:, 0] = 3.8 * np.arange(8)
    positions[6:, 0] += 10
    made = structure(positions, list("AAAAAAAB"), [1, 2, 6, 7, 5, 6, 7, 1])
    gaps = contacts.find_gaps(made)
    assert [(gap.first, gap.second, gap.missing) for gap in gaps] == [("2", "6", 3), ("7", "5", -1), ("6", "7", 0)]
    assert gaps[2].distance == pytest.approx(13.8, abs=1e-4)


def text_of_everything():
    """A PDB text with all that doctor tells: two models, a gap, MSE, UNK, alternates, water, DNA, a ligand."""
    chain = [*backbone("ALA", 1), *backbone("MSE", 2), *backbone("UNK", 3), *backbone("GLY", 9)]
    chain += [a for a in backbone("SER", 10) if a["name"] != "CA"]
    chain += [atom("CA", "SER", 10, (38.0, y, 0.0), altloc=letter, occupancy=0.5) for y, letter in ((0, "A"), (1, "B"))]
    others = [atom("O", "HOH", 100 + i, (i, 30, 0), record="HETATM") for i in range(3)]
    others += [atom("ZN", "ZN", 200, (0, 40, 0), record="HETATM", element="ZN")]
    others += [atom("P", "DA", 1, (0, 50, 0), chain="C")]
    model = [*chain, *others]
    return pdb_text("MODEL        1", model, "ENDMDL", "MODEL        2", model, "ENDMDL")


def test_structure_in_words(tmp_path, capsys):
    path = tmp_path / "all.pdb"
    path.write_text(text_of_everything())
    assert main(["doctor", str(path)]) == 0
    told = capsys.readouterr().out
    for words in (
        f"{path}: PDB, told by its content",
        "1 protein chain, 5 residues",
        "chain A: 5 residues, 1 to 10",
        "chain A: between 3 and 9 5 numbers left out; their CA atoms are 22.8 Å apart",
        "1 unknown residue (kept as type X): 1 x UNK",
        "1 residue under another name: 1 x MSE as MET",
        "2 models; the first one is read",
        "alternate locations in 1 residue:",
        "not read: 3 x water, 1 x ZN, 1 x nucleotide",
        "chain A: 5 nodes",
    ):
        assert words in told, (words, told)


def test_old_and_odd_files_are_told_about(tmp_path, capsys):
    """Entry and line number where charges are now, a model number that comes twice, a chain without an id."""
    lines = pdb_text(backbone("ALA", 1, chain=""), backbone("GLY", 5, chain="")).splitlines()
    old = "".join(f"{line[:66]:72}1ABC{i:4}\n" for i, line in enumerate(lines, 90))
    (tmp_path / "a.ent").write_text(f"MODEL        1\n{old}ENDMDL\nMODEL        1\n{old}ENDMDL\n")
    assert main(["doctor", str(tmp_path / "a.ent")]) == 0
    told = capsys.readouterr().out
    assert "2 models" in told and "chain without an id: between 1 and 5 3 numbers left out" in told


def test_content_counts_not_the_name(tmp_path, capsys):
    path = tmp_path / "a.pdb"
    path.write_bytes(gzip.compress(cif_text(backbone("ALA", 1) + backbone("GLY", 2)).encode()))
    assert main(["doctor", str(path)]) == 0
    told = capsys.readouterr().out
    assert "mmCIF packed with gzip" in told and "the name says otherwise (`.pdb`)" in told
    assert "no gap in any chain" in told and "no unknown residue" in told and "no alternate locations" in told


def test_confidence_of_a_prediction_is_told(tmp_path, capsys):
    path = tmp_path / "AF-P12345-F1-model_v4.pdb"
    path.write_text(pdb_text(*[backbone("ALA", i, b=40.0 if i < 3 else 95.0) for i in range(1, 9)]))
    assert main(["doctor", str(path)]) == 0
    told = capsys.readouterr().out
    assert "predicted" in told and "pLDDT: median 95, 40 to 95" in told and "2 residues below 70" in told


def test_chain_is_chosen(tmp_path, capsys):
    path = tmp_path / "two.pdb"
    path.write_text(pdb_text(backbone("ALA", 1), backbone("GLY", 2), backbone("SER", 1, chain="B")))
    assert main(["doctor", str(path), "--chain", "B"]) == 0
    assert "1 protein chain, 1 residue\n" in capsys.readouterr().out
    assert main(["doctor", str(path)]) == 0
    assert "all chains in one graph (per: entry): 3 nodes" in capsys.readouterr().out
    assert main(["doctor", str(path), "--chain", "C"]) == 1
    assert "has no chain `C`; its protein chains are `A`, `B`" in capsys.readouterr().err


def test_unreadable_structure_is_an_error(tmp_path, capsys):
    water = pdb_text(
        [atom("O", "HOH", i, (i, 30, 0), record="HETATM") for i in range(3)], atom("P", "DA", 1, (0, 50, 0))
    )
    (tmp_path / "a.pdb").write_text(water)
    assert main(["doctor", str(tmp_path / "a.pdb")]) == 1
    told = capsys.readouterr()
    assert "it holds 3 x water, 1 x nucleotide" in told.out and "no protein residue with a CA atom" in told.err
    (tmp_path / "a.cif").write_text("data_x\nloop_\n_atom_site.id\n_atom_site.Cartn_x\n1\n")
    assert main(["doctor", str(tmp_path / "a.cif")]) == 1
    assert "cannot read structure" in capsys.readouterr().err


# === pictures ===


def test_picture_shows_every_edge():
    made = read_structure(bundled.bundled_structures()[0])
    edges = contacts.find_edges(made)
    kinds, distance = doctor_picture.paint(edges, made.positions)
    sequential, radius, nearest = (set(map(tuple, part.tolist())) for part in edges)
    expected = [sequential, radius - nearest, nearest - radius, radius & nearest]
    for kind, edge in enumerate(expected, 1):
        target, source = np.nonzero(kinds == kind)
        assert set(zip(source.tolist(), target.tolist(), strict=True)) == edge
    exact = np.linalg.norm(made.positions[:, None] - made.positions[None].astype(np.float64), axis=-1)
    np.testing.assert_allclose(distance, exact, rtol=1e-5, atol=1e-3)


def test_large_structures_share_points(monkeypatch):
    made = read_structure(bundled.bundled_structures()[0])
    edges = contacts.find_edges(made)
    whole, distance = doctor_picture.paint(edges, made.positions)
    monkeypatch.setattr(doctor_picture, "POINTS", len(made) // 3)
    kinds, near = doctor_picture.paint(edges, made.positions)
    assert len(kinds) <= len(made) // 3 and near.shape == kinds.shape
    # nothing that has an edge is lost
    share = -(-len(made) // len(kinds))
    target, source = np.nonzero(whole)
    assert kinds[target // share, source // share].all()
    assert near.min() == distance.min()


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_picture_is_written(tmp_path, capsys, ending):
    structure_file = tmp_path / "all.pdb"
    structure_file.write_text(text_of_everything())
    files = [tmp_path / f"{name}.{ending}" for name in "ab"]
    for file in files:
        assert main(["doctor", str(structure_file), "--picture", str(file)]) == 0
    assert f"picture: {files[0]}" in capsys.readouterr().out
    content = files[0].read_bytes()
    assert content == files[1].read_bytes()
    assert content.startswith(b"\x89PNG") if ending == "png" else b"radius and kNN" in content


def test_picture_that_cannot_be_written_is_refused_before_reading(tmp_path, capsys):
    path = tmp_path / "a.pdb"
    path.write_text("no structure")
    assert main(["doctor", str(path), "--picture", str(tmp_path / "a.doc")]) == 1
    assert "a picture is written to a file ending in .png, .svg, .pdf" in capsys.readouterr().err
    assert main(["doctor", str(path), "--picture", str(tmp_path / "none" / "a.png")]) == 1
    assert "there is no folder" in capsys.readouterr().err
    (tmp_path / "folder.png").mkdir()
    assert main(["doctor", str(path), "--picture", str(tmp_path / "folder.png")]) == 1
    assert "folder.png` is a folder; choose another file" in capsys.readouterr().err
    assert main(["doctor", str(tmp_path), "--chain", "A"]) in (1, 2)


# === folders ===


@pytest.fixture
def folder(tmp_path):
    for i in range(6):
        (tmp_path / f"{i}.pdb").write_text(pdb_text(*[backbone("ALA", j) for j in range(1, 20 + i)]))
    (tmp_path / "broken.cif").write_text("data_\n")
    (tmp_path / "notes.md").write_text("notes")
    return tmp_path


def test_folder_in_words(folder, capsys):
    assert main(["doctor", str(folder)]) == 0
    told = capsys.readouterr().out
    for words in (
        "7 structure files",
        ".pdb: 6",
        ".cif: 1",
        "not read for their endings: 1 (1 x .md)",
        "read: 6 files, 6 protein chains, 129 residues",
        "length of the chains, residues: median 21.5, 19 to 24",
        "cannot be read: 1",
        "broken.cif: ",
    ):
        assert words in told, (words, told)


def test_quick_reads_a_sample(folder, capsys, monkeypatch):
    monkeypatch.setattr(doctor_folder, "SAMPLE", 3)
    assert main(["doctor", str(folder), "--quick"]) == 0
    told = capsys.readouterr().out
    assert "7 structure files" in told and "--quick: 3 of them" in told and "read: 2 files" in told


def test_folder_without_a_readable_structure_fails(tmp_path, capsys):
    (tmp_path / "a.pdb").write_text("nothing")
    assert main(["doctor", str(tmp_path)]) == 1
    assert "cannot be read: 1" in capsys.readouterr().out


def test_runs_and_stores_below_a_folder_are_named(tmp_path, capsys):
    run = tmp_path / "runs" / "2025"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("{}")
    (run / "metrics.jsonl").write_text("")
    assert main(["doctor", str(tmp_path)]) == 1
    assert f"gearnet doctor {run}" in capsys.readouterr().err


def test_numbers_that_skip_where_the_chain_goes_on_are_told(capsys):
    """Trypsin is numbered as chymotrypsin, with numbers left out where nothing is missing."""
    assert main(["doctor", str(bundled.bundled_path() / "1gbt_A.cif.gz")]) == 0
    shown = capsys.readouterr().out
    assert "between 34 and 37 2 numbers left out; their CA atoms are 3.8 Å apart, so the chain itself goes on" in shown
