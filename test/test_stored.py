"""Datasets of a store: the same items as from the files, without reading them again."""

import csv
import multiprocessing
import os
import pickle
import shutil

import numpy as np
import pytest
import torch

from gearnet_plugin.cli import main
from gearnet_plugin.datasets import PDBStructures, StructureFolder, StructuresDropped
from gearnet_plugin.datasets.prepared import prepared_store
from gearnet_plugin.datasets.sourced import is_below
from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.structures.bundled import bundled_path, bundled_table
from gearnet_plugin.structures.manifest import StoreError
from gearnet_plugin.structures.prepare import Recipe, prepare
from peptides import write_peptides
from structure_text import backbone, pdb_text, write
from torchdrug import core, data

TABLE = os.path.join(bundled_path(), "chains.tsv")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("stored") / "bundled.store"
    prepare([bundled_path()], path, Recipe(confidence="float"), workers=1, verbose=0)
    return os.fspath(path)


@pytest.fixture(scope="module")
def files():
    return StructureFolder(bundled_path(), verbose=0)


@pytest.fixture(scope="module")
def stored(path):
    return StructureFolder(path, verbose=0)


def assert_same(protein, expected):
    assert type(protein) is type(expected) and protein.meta_dict == expected.meta_dict
    for name in expected.meta_dict:
        value, wanted = getattr(protein, name), getattr(expected, name)
        assert value.dtype == wanted.dtype and torch.equal(value, wanted), name
    for name in ("num_atom", "num_residue", "num_bond"):
        assert torch.equal(getattr(protein, name), getattr(expected, name)), name


def test_items_are_those_of_the_files(stored, files):
    assert stored.names == files.names and len(stored) == len(files)
    for item, expected in zip(stored, files, strict=True):
        assert_same(item["graph"], expected["graph"])


def test_awkward_items_are_those_of_the_files(tmp_path):
    """Several chains, gaps, insertion codes, unknown residues, ids that TorchDrug's alphabet lacks."""
    write(
        tmp_path / "a.pdb",
        pdb_text(
            backbone("ALA", 1),
            backbone("UNK", 2),
            backbone("GLY", 9),
            backbone("GLY", 9, insertion="C"),
            backbone("SER", 4, chain="z"),
            backbone("TRP", 5, chain="z"),
        ),
    )
    write(tmp_path / "b.pdb", pdb_text(backbone("ALA", 1, chain="?"), backbone("ALA", 2, chain="?")))
    write(tmp_path / "c.pdb", pdb_text(backbone("ALA", 1, chain=" ")))
    for per in ("chain", "entry"):
        prepare([tmp_path], tmp_path / per, Recipe(per=per, confidence="float"), workers=1, verbose=0)
        stored = StructureFolder(tmp_path / per, verbose=0)
        files = StructureFolder(tmp_path, per=per, verbose=0)
        assert stored.names == files.names
        for item, expected in zip(stored, files, strict=True):
            assert_same(item["graph"], expected["graph"])
        for structure, item in zip(stored.structures, stored, strict=True):
            assert_same(ResidueProtein.from_structure(structure), item["graph"])


def test_items_are_their_own(stored):
    """Changing an item changes neither the store nor another item."""
    first, again = stored[3]["graph"], stored[3]["graph"]
    for name in first.meta_dict:
        getattr(first, name).zero_()
    assert_same(stored[3]["graph"], again)


def test_a_pack_is_the_pack_of_the_files(stored, files):
    packed, expected = (ResidueProtein.pack([dataset[i]["graph"] for i in (0, 5, 9)]) for dataset in (stored, files))
    for name in ("node_position", "residue_type", "chain_id", "residue_number", "residue2graph", "num_residues"):
        assert torch.equal(getattr(packed, name), getattr(expected, name)), name


@pytest.mark.parametrize("workers, context", [(0, None), (2, "fork"), (2, "spawn")])
def test_loader_workers_give_the_batches_of_one_process(stored, workers, context):
    loader = data.DataLoader(stored, 32, num_workers=workers, multiprocessing_context=context)
    batches = [batch["graph"] for batch in loader]
    whole = ResidueProtein.pack([stored[i]["graph"] for i in range(len(stored))])
    assert torch.equal(torch.cat([batch.node_position for batch in batches]), whole.node_position)
    assert torch.equal(torch.cat([batch.residue_type for batch in batches]), whole.residue_type)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_batches_can_be_pinned(stored):
    batch = next(iter(data.DataLoader(stored, 8, pin_memory=True)))["graph"]
    assert batch.node_position.is_pinned() and batch.residue_type.is_pinned()


def test_a_dataset_of_a_store_costs_no_memory_to_send(stored):
    assert len(pickle.dumps(stored)) < 3000
    again = pickle.loads(pickle.dumps(stored))  # noqa: S301  written here
    assert_same(again[7]["graph"], stored[7]["graph"])


def test_config_makes_the_same_dataset_again(path, stored):
    again = core.Configurable.load_config_dict(stored.config_dict())
    assert again.config_dict() == stored.config_dict() and len(again) == len(stored)


# === with labels ===


def test_a_table_finds_its_structures_in_the_store(path):
    stored = StructureFolder(TABLE, target="class", store=path, verbose=0)
    files = StructureFolder(TABLE, target="class", verbose=0)
    assert stored.names == files.names and stored.targets == files.targets and stored.classes == files.classes
    assert [len(split) for split in stored.split()] == [len(split) for split in files.split()]
    for item, expected in zip(stored, files, strict=True):
        assert item["class"] == expected["class"]
        assert_same(item["graph"], expected["graph"])


def test_rows_without_chain_and_in_another_order(path, tmp_path):
    rows = bundled_table()[:6][::-1]
    with open(tmp_path / "t.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("structure", "y"))
        writer.writerows(("somewhere/else/" + row["structure"], row["length"]) for row in rows)
    stored = StructureFolder(str(tmp_path / "t.csv"), target="y", kind="number", store=path, verbose=0)
    assert [item["y"] for item in stored] == [row["length"] for row in rows]
    assert [item["graph"].num_residue.item() for item in stored] == [row["length"] for row in rows]


def test_rows_that_the_store_lacks_are_told(path, tmp_path):
    known = bundled_table()[0]["structure"]
    write(tmp_path / "t.csv", f"structure,chain,y\n{known},A,1\n{known},Q,1\nnone.pdb,,2\n")
    stored = StructureFolder(str(tmp_path / "t.csv"), target="y", store=path, verbose=0)
    assert len(stored) == 1
    stem = known.split(".")[0]
    assert [reason for _, reason in stored.drops] == [
        f"row 3: no protein chain `Q` of `{stem}` in the store `{path}`; there are `A`",
        f"row 4: structure `none` is not in the store `{path}`",
    ]
    write(tmp_path / "t.csv", "structure\nnone.pdb\n")
    with pytest.raises(
        ValueError, match="none of 1 rows of .* is in the store .*; its first structure is called `19hc_A_A`"
    ):
        StructureFolder(str(tmp_path / "t.csv"), store=path, verbose=0)


# === wrong use ===


def test_wrong_use(path, tmp_path):
    with pytest.raises(ValueError, match="per is `entry`, but the store .* was made with `chain`"):
        StructureFolder(path, per="entry", verbose=0)
    with pytest.raises(ValueError, match="path is a store already"):
        StructureFolder(path, store=path, verbose=0)
    with pytest.raises(ValueError, match="store .* needs a table"):
        StructureFolder(bundled_path(), store=path, verbose=0)
    with pytest.raises(FileNotFoundError, match="no store at"):
        StructureFolder(TABLE, store=str(tmp_path / "nowhere"), verbose=0)
    with pytest.raises(ValueError, match="target, kind and classes need a table"):
        StructureFolder(path, target="class", verbose=0)


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path):
    """A label never goes to a structure of the same name."""
    for folder, residue in (("a", "ALA"), ("b", "GLY")):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "1abc.pdb", pdb_text(backbone(residue, 1), backbone(residue, 2)))
    prepare([tmp_path / "a", tmp_path / "b"], tmp_path / "s", workers=1, verbose=0)
    for table in ("structure,y\na/1abc.pdb,1\nb/1abc.pdb,2\n", "structure,chain,y\nb/1abc.cif,A,2\na/1abc.cif,A,1\n"):
        write(tmp_path / "t.csv", table)
        stored = StructureFolder(str(tmp_path / "t.csv"), target="y", kind="number", store=tmp_path / "s", verbose=0)
        labels = {stored.structures[i].sequence: stored[i]["y"] for i in range(len(stored))}
        assert labels == {"AA": 1, "GG": 2} and len(stored) == 2
    write(tmp_path / "t.csv", "structure,y\nelsewhere/1abc.pdb,1\nb/1abc.pdb,2\n")
    stored = StructureFolder(str(tmp_path / "t.csv"), target="y", kind="number", store=tmp_path / "s", verbose=0)
    assert len(stored) == 1 and "is in several places" in stored.drops[0][1]


def test_rows_may_give_the_names_that_the_store_gave(path, stored, tmp_path):
    write(tmp_path / "t.csv", "structure,y\n" + "".join(f"{name},{i}\n" for i, name in enumerate(stored.names[:4])))
    found = StructureFolder(str(tmp_path / "t.csv"), target="y", kind="number", store=path, verbose=0)
    assert found.names == stored.names[:4] and [item["y"] for item in found] == [0, 1, 2, 3]


def test_what_the_store_left_out_is_told(tmp_path, caplog):
    folder = write_peptides(tmp_path / "files", 4, broken=[2])
    prepare([folder], tmp_path / "store", workers=1, verbose=0)
    stored, files = StructureFolder(tmp_path / "store", verbose=0), StructureFolder(folder, verbose=0)
    assert len(stored) == 3 and stored.drops == files.drops and "1 structures or labels cannot be used" in caplog.text
    with pytest.raises(StructuresDropped):
        StructureFolder(tmp_path / "store", strict=True, verbose=0)


def test_residues_that_files_had_to_leave_out_are_told(tmp_path, caplog):
    write(tmp_path / "a.pdb", pdb_text(backbone("ALA", 1), [a for a in backbone("GLY", 2) if a["name"] != "CA"]))
    prepare([tmp_path / "a.pdb"], tmp_path / "s", workers=1, verbose=0)
    stored, files = StructureFolder(tmp_path / "s", verbose=0), StructureFolder(tmp_path / "a.pdb", verbose=0)
    assert stored.residues_left_out == files.residues_left_out == {str(tmp_path / "a.pdb"): {"no CA": 1}}
    assert caplog.text.count("residues left out: 1 x no CA, in 1 file") == 2


def test_a_source_that_the_store_was_not_made_of_is_no_source(tmp_path, caplog):
    """Neither another one nor one that does not exist; one that has grown is told."""
    one, two = (write_peptides(tmp_path / name, 3, seed=seed) for seed, name in enumerate(("one", "two")))
    first = PDBStructures(tmp_path / "d", source=one, num_worker=1, verbose=0)
    for other in (two, str(tmp_path / "gone"), one + "/*.pdb"):
        with pytest.raises(ValueError, match="was made of `.*one`, but source is"):
            PDBStructures(tmp_path / "d", source=other, num_worker=1, verbose=0)
    assert not caplog.text
    write_peptides(one, 5)
    assert len(PDBStructures(tmp_path / "d", source=one, num_worker=1, verbose=0)) == len(first)
    assert "have changed since the store" in caplog.text
    shutil.rmtree(one)
    assert len(PDBStructures(tmp_path / "d", source=one, num_worker=1, verbose=0)) == len(first)


def test_a_link_in_the_folder_of_a_data_set_lies_in_it(tmp_path):
    """Big releases are linked into place; and the folder itself may be a link."""
    for name in ("big/fold3d", "data", "other"):
        (tmp_path / name).mkdir(parents=True)
    os.symlink(tmp_path / "big" / "fold3d", tmp_path / "data" / "fold3d")
    os.symlink(tmp_path / "data", tmp_path / "link")
    assert is_below(tmp_path / "data" / "fold3d" / "train", tmp_path / "data")
    assert is_below(tmp_path / "data" / "own", tmp_path / "link") and is_below(tmp_path / "data", tmp_path / "data")
    assert not is_below(tmp_path / "other", tmp_path / "data") and not is_below(tmp_path / "data2", tmp_path / "data")


def test_what_prepare_says_of_a_data_set(tmp_path, capsys):
    """`gearnet prepare --dataset`: what it holds, and a report of what is left out, wherever its path is."""
    folder = write_peptides(tmp_path / "files", 3, broken=[1])
    arguments = ["prepare", "--dataset", "PDBStructures", "--set", f"source={folder}", "--workers", "1", "--quiet"]
    assert main([*arguments, "--out", str(tmp_path / "new" / "pdb"), "--strict"]) == 2
    told = capsys.readouterr().out
    assert "PDBStructures(" in told and "Left out: 1. Why, in" in told and "p0001.pdb: it is not a structure" in told
    assert "p0001.pdb" in (tmp_path / "new" / "pdb" / "drops.tsv").read_text()
    table = write(tmp_path / "t.csv", f"structure,y\n{folder}/p0000.pdb,1\n{folder}/none.pdb,2\n")
    assert main(["prepare", "--dataset", "StructureFolder", "--out", str(table), "--quiet", "--set", "target=y"]) == 0
    assert "none.pdb" in (tmp_path / "t.csv.drops.tsv").read_text()
    assert main(["prepare", "--dataset", "PDBStructures", "--out", str(tmp_path / "x"), "--compact"]) == 2
    assert main(["prepare", folder, "--dataset", "PDBStructures", "--out", str(tmp_path / "x")]) == 2
    assert main(["prepare", folder, "--set", "a=b", "--out", str(tmp_path / "x")]) == 2
    assert main(["prepare", "--dataset", "PDBStructure", "--out", str(tmp_path / "x")]) == 1
    assert "Did you mean `PDBStructures`?" in capsys.readouterr().err


def _prepare_alone(folder, calls):
    def sources():
        with open(calls, "a") as file:
            file.write("x")
        return [os.path.join(folder, "files")]

    return len(prepared_store(folder, "Some", sources, num_worker=1, verbose=0))


def test_of_several_processes_one_prepares(tmp_path):
    """The others wait, and do not even look for the files."""
    write_peptides(tmp_path / "files", 200)
    calls = tmp_path / "calls"
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert pool.starmap(_prepare_alone, [(tmp_path, calls)] * 4) == [200] * 4
    assert calls.read_text() == "x"
    shutil.rmtree(tmp_path / "files")
    assert len(prepared_store(tmp_path, "Some", ["gone"], verbose=0)) == 200
    with pytest.raises(StoreError, match="was made with other options"):
        prepared_store(tmp_path, "Some", ["gone"], Recipe(per="entry"), verbose=0)


def test_a_run_takes_a_store(path, tmp_path, python):
    """Where a configuration names a folder, it may name a store."""
    from conftest import ROOT

    done = python(
        os.path.join(ROOT, "script", "run.py"),
        "-c",
        "config/pretrain/mc_gearnet_edge.yaml",
        "--set",
        f"dataset.path={path}",
        "--set",
        "task.model.hidden_dims=[16]",
        "--set",
        "engine.batch_size=8",
        "--set",
        "train.num_epoch=1",
        "--out",
        tmp_path / "run",
        cwd=ROOT,
    )
    assert (tmp_path / "run" / "encoder.pth").exists(), done.stdout


def test_positions_of_another_dtype_do_not_slip_in(path):
    compact = os.path.join(os.path.dirname(path), "compact.store")
    prepare([bundled_path()], compact, Recipe(compact=True), workers=1, verbose=0)
    item = StructureFolder(compact, verbose=0)[0]["graph"]
    assert item.node_position.dtype == torch.float32 and item.b_factor.dtype == torch.float32
    np.testing.assert_allclose(
        item.node_position, StructureFolder(path, verbose=0)[0]["graph"].node_position, atol=0.0051
    )
