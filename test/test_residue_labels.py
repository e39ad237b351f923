"""StructureFolder(residue_labels=...): labels of residues from a table, whatever the structures are read from."""

import logging
import math
import pickle

import numpy as np
import pytest
import torch

from gearnet_plugin.datasets import StructureFolder, StructuresDropped
from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.structures.prepare import Recipe, prepare
from test_structure_folder import pdb_text
from torchdrug import data, transforms

NAN = math.nan


@pytest.fixture
def folder(tmp_path):
    """Two structures: chains A and B, chain A. Every fifth residue shares its number with the one before, as A."""
    (tmp_path / "two.pdb").write_text(pdb_text({"A": 12, "B": 9}, seed=1))
    (tmp_path / "one.pdb").write_text(pdb_text({"A": 7}, seed=2))
    return tmp_path


def write(folder, *rows, name="residues.csv"):
    path = folder / name
    path.write_text("".join(f"{row}\n" for row in rows))
    return str(path)


ROWS = [
    "structure,chain,residue,site,score",
    "two.pdb,A,4,1,0.5",
    "two.pdb,A,4A,0,-1.5",
    "two,B,9.0,1,",
    "one,,2,,2.5",
    "one,,7,1,3",
]


def known(dataset, name):
    """The labels that there are: {(item, author's number, insertion code): value}."""
    found = {}
    for item in range(len(dataset)):
        graph = dataset.graph(item)
        codes = [data.Protein.id2alphabet[code].strip() for code in graph.insertion_code.tolist()]
        for number, code, value in zip(graph.residue_number.tolist(), codes, getattr(graph, name).tolist()):
            if not math.isnan(value):
                found[dataset.names[item], number, code] = value
    return found


def source(folder, kind):
    """The structures, per chain, from files, from a store, or by a table of a store."""
    if kind == "files":
        return dict(path=str(folder / "*.pdb"))
    prepare([str(folder / "*.pdb")], folder / "my.store", Recipe(), workers=1, verbose=0)
    if kind == "store":
        return dict(path=str(folder / "my.store"))
    table = write(folder, "structure,chain", "two,B", "one,A", "two,A", name="table.csv")
    return dict(path=table, store=str(folder / "my.store"))


@pytest.mark.parametrize("kind", ["files", "store", "table of a store"])
def test_labels_reach_their_residues(folder, kind, caplog):
    """By author's chain, number and insertion code; all others are NaN, and so are those of an empty cell."""
    dataset = StructureFolder(**source(folder, kind), residue_labels=write(folder, *ROWS), verbose=0)
    assert known(dataset, "site") == {
        ("two_A", 4, ""): 1,
        ("two_A", 4, "A"): 0,
        ("two_B", 9, ""): 1,
        ("one_A", 7, ""): 1,
    }
    assert known(dataset, "score") == {
        ("two_A", 4, ""): 0.5,
        ("two_A", 4, "A"): -1.5,
        ("one_A", 2, ""): 2.5,
        ("one_A", 7, ""): 3,
    }
    assert dataset.drops == [] and dataset.residue_tasks == ["site", "score"] and list(dataset.tasks) == []
    assert dataset.kinds == {"site": "class", "score": "number"} and dataset.num_classes == {"site": 2, "score": 1}
    assert "label of residues `site`: class x 2, 4 residues" in repr(dataset)
    for item in range(len(dataset)):
        for name, values in dataset.residue_values(item).items():
            np.testing.assert_array_equal(values, getattr(dataset[item]["graph"], name).numpy())
    last = dataset[len(dataset) - 1]["graph"].score
    torch.testing.assert_close(dataset[-1]["graph"].score, last, equal_nan=True)


def test_an_entry_of_several_chains_has_the_labels_of_all(folder):
    dataset = StructureFolder(str(folder / "*.pdb"), per="entry", residue_labels=write(folder, *ROWS), verbose=0)
    assert known(dataset, "site") == {("two", 4, ""): 1, ("two", 4, "A"): 0, ("two", 9, ""): 1, ("one", 7, ""): 1}
    graph = dataset.graph(dataset.names.index("two"))
    places = data.Protein.alphabet2id
    assert graph.chain_id[~graph.site.isnan()].tolist() == [places["A"], places["A"], places["B"]]


def test_they_follow_their_residues(folder):
    """Into batches, crops, masks and other processes."""
    dataset = StructureFolder(
        str(folder / "*.pdb"),
        residue_labels=write(folder, *ROWS),
        residue_target="score",
        transform=transforms.TruncateProtein(5, random=False, keys="graph"),
        verbose=0,
    )
    assert dataset.residue_tasks == ["score"]
    graphs = [dataset[i]["graph"] for i in range(3)]
    whole = torch.cat([dataset.graph(i).score[:5] for i in range(3)])
    packed = ResidueProtein.pack(graphs)
    torch.testing.assert_close(packed.score, whole, equal_nan=True)
    keep = torch.arange(len(whole)) % 2 == 0
    torch.testing.assert_close(packed.residue_mask(keep, compact=True).score, whole[keep], equal_nan=True)
    torch.testing.assert_close(
        packed.subbatch(torch.tensor([2, 0])).score, torch.cat([whole[10:], whole[:5]]), equal_nan=True
    )
    again = pickle.loads(pickle.dumps(dataset))  # noqa: S301  its own bytes
    loaded = next(iter(data.DataLoader(again, 3, num_workers=1)))["graph"]
    torch.testing.assert_close(loaded.score, whole, equal_nan=True)
    for item in range(3):
        dataset.graph(item).score.fill_(7)
        assert not (dataset.graph(item).score == 7).any()


def test_labels_of_proteins_and_residues_stand_side_by_side(folder):
    table = write(folder, "structure,chain,fold", "two.pdb,A,x", "one.pdb,A,y", "two.pdb,B,", name="table.csv")
    dataset = StructureFolder(
        table, "fold", residue_labels=write(folder, *ROWS), residue_kind=["number", "number"], verbose=0
    )
    assert dataset.tasks == ["fold"] and dataset.residue_tasks == ["site", "score"]
    assert dataset.num_classes == {"fold": 2, "site": 1, "score": 1} and dataset.kinds["site"] == "number"
    assert dataset.classes == {"fold": ["x", "y"]} and set(dataset[0]) == {"graph", "fold"}


# === what cannot be used ===


def test_rows_without_a_residue_are_told(folder, caplog):
    """Per structure and reason, with the first row; the others count."""
    rows = [
        "structure,chain,residue,site",
        "two,A,4,1",
        "two,A,44,1",
        "two,C,4,1",
        "two,,4,1",
        "three,A,1,0",
        "three,A,2,0",
        "one,,2,0",
    ]
    with caplog.at_level(logging.WARNING):
        dataset = StructureFolder(str(folder / "*.pdb"), residue_labels=write(folder, *rows), verbose=0)
    reasons = [(name, reason.replace(str(folder) + "/", "")) for name, reason in dataset.drops]
    assert reasons == [
        ("two", "row 3 of `residues.csv` and 1 more: there is no such residue, `44` of chain `A`"),
        ("two", "row 5 of `residues.csv`: several chains have residue `4`; name the chain"),
        ("three", "row 6 of `residues.csv` and 1 more: there is no such structure"),
    ]
    assert "3 structures or labels cannot be used" in caplog.text
    assert known(dataset, "site") == {("two_A", 4, ""): 1, ("one_A", 2, ""): 0}
    dataset.write_drops(folder / "drops.tsv")
    assert len((folder / "drops.tsv").read_text().splitlines()) == 4
    with pytest.raises(StructuresDropped, match="several chains have residue"):
        StructureFolder(str(folder / "*.pdb"), residue_labels=write(folder, *rows), strict=True, verbose=0)


def test_structures_of_one_name_are_told_apart_by_their_folders(folder):
    for name in ("x", "y"):
        (folder / name).mkdir()
        (folder / name / "same.pdb").write_text(pdb_text({"A": 5}, seed=ord(name)))
    rows = ["structure,residue,site", "x/same.pdb,1,1", "y/same.pdb,2,0", "same,3,1"]
    dataset = StructureFolder(str(folder / "*" / "same.pdb"), residue_labels=write(folder, *rows), verbose=0)
    found = known(dataset, "site")
    assert sorted(key[1:] for key in found) == [(1, ""), (2, "")]
    assert {key[0].split("/")[0]: key[1] for key in found} in ({"x": 1, "y": 2}, {"x_same_A": 1, "y_same_A": 2})
    assert "several structures are called so" in dataset.drops[0][1]


@pytest.mark.parametrize(
    "rows, arguments, message",
    [
        (["structure,residue", "two,4"], {}, "no column of labels beside `structure`, `residue`"),
        (["structure,chain,site", "two,A,1"], {}, "no column `residue` in the header"),
        (
            ["structure,residue,site", "two,4AB,1"],
            {},
            "row 2, column `residue`: `4AB` is no residue number.* such as 52",
        ),
        (["structure,residue,site", "two,,1"], {}, "row 2, column `residue`: `` is no residue number"),
        (["structure,residue,site", ",4,1"], {}, "row 2, column `structure`: the cell is empty"),
        (["structure,residue,site", "two,4A,1", "two,4A,0"], {}, "row 3, .*`4A` of `two` is already in row 2"),
        (["structure,residue,site", "two,4,a;b"], {}, "a residue has one value a column"),
        (["structure,residue,site", "two,4,-1"], {}, "class `-1` is negative"),
        (["structure,residue,site", "two,4,1"], dict(residue_target="sites"), "no column `sites`.*did you mean `site`"),
        (["structure,residue,site", "two,4,1"], dict(residue_kind=["class", "number"]), "for each of 1 labels, `site`"),
        (
            ["structure,residue,site", "nine,4,1"],
            {},
            "none of the 1 rows of .* means a residue of these structures.*nine",
        ),
        (["structure,residue,graph", "two,4,1"], {}, "cannot be called `graph`, which is something else in TorchDrug"),
    ],
)
def test_a_faulty_table_is_an_error(folder, rows, arguments, message):
    with pytest.raises(ValueError, match="(?s)" + message):
        StructureFolder(str(folder / "*.pdb"), residue_labels=write(folder, *rows), verbose=0, **arguments)


def test_a_name_that_proteins_have_already_is_refused(folder):
    table = write(folder, "structure,residue,residue_type", "one,4,1")
    with pytest.raises(ValueError, match="cannot be called `residue_type`, as proteins have something else"):
        StructureFolder(str(folder / "*.pdb"), residue_labels=table, verbose=0)
    table = write(folder, "structure,fold", "one.pdb,1", name="table.csv")
    with pytest.raises(ValueError, match="cannot be called `fold`, which is a target already"):
        StructureFolder(table, "fold", residue_labels=write(folder, "structure,residue,fold", "one,4,1"), verbose=0)


def test_arguments_without_a_table_are_refused(folder):
    with pytest.raises(ValueError, match="residue_target and residue_kind describe a table"):
        StructureFolder(str(folder / "*.pdb"), residue_target="site", verbose=0)
    with pytest.raises(FileNotFoundError, match="no such table"):
        StructureFolder(str(folder / "*.pdb"), residue_labels=str(folder / "none.csv"), verbose=0)
