"""datasets.EnzymeCommissionStructures: the items of TorchDrug's data set, from each form that its files may have."""
import csv
import functools
import hashlib
import importlib.util
import logging
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
import urllib.request
from unittest import mock

import numpy as np
import pytest
import torch
from rdkit import Chem, RDLogger

from deepfri_files import (
    CHAINS,
    EC,
    EC_OF,
    KEPT,
    ec_annotation,
    pdb_of,
    write_release,
    write_structure,
    write_tables,
    zip_release,
    zip_splits,
)
from gearnet_plugin.datasets.enzyme_commission import EnzymeCommissionStructures
from gearnet_plugin.datasets.loading import StructuresDropped
from gearnet_plugin.models import GearNetEncoder
from gearnet_plugin.structures import parse_structure
from gearnet_plugin.structures.prepare import Recipe, prepare
from gearnet_plugin.structures.shard import Shard
from structure_text import backbone, pdb_text
from torchdrug import core, data, datasets, layers, tasks, transforms
from torchdrug.layers import geometry

STOCK_QUICK = dict(atom_feature=None, bond_feature=None, residue_feature=None, verbose=0)
load = functools.partial(EnzymeCommissionStructures, num_worker=1, verbose=0, download=False)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """The released folder, not zipped; its store is made."""
    folder = write_release(tmp_path_factory.mktemp("release") / "EnzymeCommission")
    load(os.path.dirname(folder))
    return folder


@pytest.fixture
def copy(release, tmp_path):
    """A copy of the released folder, to be changed."""
    return shutil.copytree(release, tmp_path / "EnzymeCommission")


def targets_of(dataset):
    """The functions of each item, as its tensor says."""
    names = dataset.tasks
    return {chain: {names[i] for i in dataset.labels(place)["targets"].nonzero().ravel()}
            for place, chain in enumerate(dataset.chains)}


def splits_of(dataset):
    return {name: [dataset.chains[i] for i in part.indices]
            for name, part in zip(dataset.split_names, dataset.split(), strict=True)}


def assert_is_the_release(dataset, cutoff=0.95):
    expected = {**{split: sorted(chains) for split, chains in CHAINS.items()}, "test": sorted(KEPT[cutoff])}
    assert splits_of(dataset) == expected
    assert dataset.chains == sum(expected.values(), [])
    assert all(torch.equal(item["targets"], dataset.labels(i)["targets"]) for i, item in enumerate(dataset))
    assert targets_of(dataset) == {chain: set(EC_OF[chain].split(",")) for chain in dataset.chains}
    for item, chain in zip(dataset, dataset.chains, strict=True):
        protein, structure = item["graph"], parse_structure(pdb_of(chain).encode(), chain, f"{chain}.pdb")
        assert protein.residue_type.tolist() == [min(kind, 19) if kind < 20 else 0 for kind in structure.residue_types]
        assert torch.equal(protein.node_position, torch.as_tensor(structure.positions))


# === forms of the files ===


@pytest.mark.parametrize("cutoff", KEPT)
def test_every_cutoff(release, cutoff):
    dataset = load(os.path.dirname(release), test_cutoff=cutoff)
    assert_is_the_release(dataset, cutoff)
    assert dataset.drops == [] and dataset.num_samples == [4, 2, len(KEPT[cutoff])]
    assert dataset.tasks == EC and dataset.targets == {number: i for i, number in enumerate(EC)}


def test_item_is_what_the_tasks_take(release):
    item = load(os.path.dirname(release))[0]
    assert item.keys() == {"graph", "targets"}
    assert item["targets"].dtype == torch.float32 and item["targets"].shape == (len(EC),)
    batch = data.graph_collate([item, item])
    assert batch["targets"].shape == (2, len(EC)) and batch["graph"].batch_size == 2


def test_folder_itself_as_path(copy):
    assert_is_the_release(load(copy))
    assert os.path.isdir(copy / "EnzymeCommissionStructures.store")


def test_folder_with_zipped_splits(copy, tmp_path):
    zip_splits(copy)
    assert_is_the_release(load(tmp_path))
    assert not os.path.exists(copy / "train"), "what is unpacked goes elsewhere"


def test_split_that_was_half_unpacked_is_unpacked_again(copy, tmp_path):
    """TorchDrug killed while unpacking leaves a folder with some of the files."""
    half = shutil.copytree(copy / "train", tmp_path / "half")
    os.remove(half / "1EJG-A_.pdb")
    zip_splits(copy)
    shutil.move(half, copy / "train")
    assert_is_the_release(load(tmp_path))


def test_archive_with_zips_inside(copy, tmp_path, monkeypatch):
    zip_splits(copy)
    archive = zip_release(copy, tmp_path / "away.zip")
    shutil.rmtree(copy)
    with open(archive, "rb") as file:
        monkeypatch.setattr(EnzymeCommissionStructures, "md5", hashlib.md5(file.read()).hexdigest())
    monkeypatch.setattr(EnzymeCommissionStructures, "url", f"file://{archive}")
    with pytest.raises(FileNotFoundError, match=r"file://.*away.zip.* put it at `.*EnzymeCommission.zip`"):
        load(tmp_path / "data")
    assert_is_the_release(load(tmp_path / "data", download=True))
    os.remove(archive)
    os.remove(tmp_path / "data" / "EnzymeCommission.zip")
    assert_is_the_release(load(tmp_path / "data", test_cutoff=0.3), 0.3)


def test_another_archive_is_refused(copy, tmp_path, monkeypatch):
    zip_splits(copy)
    os.remove(copy / "valid.zip")
    zip_release(copy, tmp_path / "EnzymeCommission.zip")
    shutil.rmtree(copy)
    with pytest.raises(ValueError, match=f"Commission.zip` is there, but its md5 is .*{load.func.md5} is expected"):
        load(tmp_path)
    monkeypatch.setattr(EnzymeCommissionStructures, "md5", None)
    with pytest.raises(ValueError, match="should have a folder `EnzymeCommission` with an annotation and train.zip"):
        load(tmp_path)


def test_release_is_what_torchdrug_asks_for():
    ours, stock = EnzymeCommissionStructures, datasets.EnzymeCommission
    assert (ours.url, ours.md5, list(ours.test_cutoffs)) == (stock.url, stock.md5, stock.test_cutoffs)


def test_structures_may_go_once_they_are_in_the_store(copy, tmp_path):
    load(tmp_path)
    for split in CHAINS:
        shutil.rmtree(copy / split)
    assert_is_the_release(load(tmp_path, test_cutoff=0.5), 0.5)


def test_loading_from_the_store_opens_no_structure(release, monkeypatch):
    """Fifteen thousand items are matched by name; each structure is read when it is asked for."""
    opened = []
    checksum = Shard.checksum
    monkeypatch.setattr(Shard, "checksum", lambda shard, row: opened.append(row) or checksum(shard, row))
    dataset = load(os.path.dirname(release))
    assert opened == []
    dataset[0]
    assert len(opened) == 1


def test_all_chains_of_a_released_file_are_one_item(copy, tmp_path):
    """As TorchDrug has it; and a file is the chain that it is called, whatever id is in it."""
    path = copy / "train" / "1ORC-A_.pdb"
    length = len(parse_structure(path.read_bytes(), "1ORC-A", "1ORC-A_.pdb"))
    path.write_text(pdb_text(backbone("GLY", 1, chain="B"), backbone("ALA", 1, chain="C")) + path.read_text())
    (copy / "train" / "1EJG-A_.pdb").write_text(pdb_text(backbone("SER", 4, chain="Q")))
    dataset = load(tmp_path)
    assert dataset.drops == [] and dataset.chains[:4] == sorted(CHAINS["train"])
    lengths = {chain: len(dataset.structures[place]) for place, chain in enumerate(dataset.chains)}
    assert (lengths["1ORC-A"], lengths["1EJG-A"]) == (length + 2, 1)


# === tables and one's own structures ===


def own_structures(folder, spell):
    for chain in sum(CHAINS.values(), []):
        entry, _, name = chain.partition("-")
        write_structure(os.path.join(folder, spell(entry, name) + ".pdb"), chain)
    return folder


@pytest.mark.parametrize("spell", [
    lambda entry, chain: f"{entry}-{chain}", lambda entry, chain: f"{entry}-{chain}_",
    lambda entry, chain: f"{entry.lower()}_{chain}", lambda entry, chain: f"{entry}_{chain}",
    lambda entry, chain: f"{entry.lower()}{chain}", lambda entry, chain: f"pdb{entry.lower()}",
    lambda entry, chain: f"{chain}/{entry}",
], ids=["1ABC-A", "1ABC-A_", "1abc_A", "1ABC_A", "1abcA", "pdb1abc", "A/1ABC"])
def test_published_tables_with_ones_own_structures(tmp_path, spell):
    write_tables(tmp_path / "tables", date="2020.04", lists=True)
    structures = own_structures(tmp_path / "files", spell)
    dataset = load(tmp_path / "tables", structures=structures, strict=True)
    assert_is_the_release(dataset)
    assert dataset.drops == [] and dataset.num_unlabelled == 0


def test_structures_from_an_archive_a_zip_a_store_or_several_places(release, tmp_path):
    files = own_structures(tmp_path / "files", lambda entry, chain: f"{entry.lower()}_{chain}")
    with tarfile.open(tmp_path / "files.tar.gz", "w:gz") as archive:
        archive.add(files, "files")
    shutil.make_archive(tmp_path / "files", "zip", files)
    prepare([files], tmp_path / "mine.store", Recipe(per="chain"), workers=1, verbose=0)
    prepare([files], tmp_path / "whole.store", Recipe(per="entry"), workers=1, verbose=0)
    forms = [tmp_path / "files.tar.gz", tmp_path / "files.zip", tmp_path / "mine.store", tmp_path / "whole.store",
             [os.path.join(release, split) for split in CHAINS]]
    for number, form in enumerate(forms):
        write_tables(tmp_path / str(number), lists=True)
        assert_is_the_release(load(tmp_path / str(number), structures=form))


def test_without_lists_folders_tell_the_splits(release, tmp_path):
    write_tables(tmp_path)
    assert_is_the_release(load(tmp_path, structures=[os.path.join(release, split) for split in CHAINS]))


def test_lists_matter_and_not_folders(release, tmp_path):
    """In one's own structures a folder `train` may mean anything."""
    stem = write_tables(tmp_path, lists=True)
    for split, other in (("valid", "train"), ("train", "valid")):
        with open(f"{stem}_{other}.txt", "w") as file:
            file.write("\n".join(CHAINS[split]))
    splits = splits_of(load(tmp_path, structures=release))
    assert splits["train"] == sorted(CHAINS["valid"]) and splits["valid"] == sorted(CHAINS["train"])


def test_own_pile_may_hold_more(tmp_path, caplog):
    write_tables(tmp_path / "tables", lists=True)
    files = own_structures(tmp_path / "files", lambda entry, chain: f"pdb{entry.lower()}")
    (files / "pdb1bd2.pdb").write_text(pdb_text(backbone("GLY", 1, chain="A")) + pdb_of("1BD2-B"))
    write_structure(files / "notes.pdb", "1EJG-A")
    caplog.set_level(logging.INFO)
    dataset = load(tmp_path / "tables", structures=files, strict=True)
    assert_is_the_release(dataset)
    assert dataset.num_unlabelled == 2
    assert "2 structures of" in caplog.text and "are not among the chains" in caplog.text


def test_tables_alone(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no `nrPDB-EC_annot.tsv` .* which `structures` needs .*DeepFRI"):
        load(tmp_path, structures=tmp_path)
    write_tables(tmp_path, lists=True)
    with pytest.raises(FileNotFoundError, match="the tables, but neither folder nor zip .*`train`, `valid`, `test`"):
        load(tmp_path)


def test_another_pile_than_the_store_was_made_of_is_told(release, tmp_path, caplog):
    write_tables(tmp_path / "tables", lists=True)
    other = own_structures(tmp_path / "files", lambda entry, chain: f"{entry}-{chain}")
    load(tmp_path / "tables", structures=other)
    assert not caplog.text
    with pytest.raises(ValueError, match="was made of .*, but source is "):
        load(tmp_path / "tables", structures=release)
    shutil.copytree(release, tmp_path / "tables", dirs_exist_ok=True)
    with pytest.raises(ValueError, match="was made with other options"):
        load(tmp_path / "tables")


# === what is missing ===


def test_everything_left_out_is_told(copy, tmp_path, caplog):
    os.remove(copy / "train" / "1ORC-A_.pdb")
    (copy / "train" / "1EJG-A_.pdb").write_text("nothing\n")
    os.remove(copy / "test" / "1LCD-A_.pdb")
    write_structure(copy / "train" / "3ENL-A_.pdb", "1BX8-A")
    write_structure(copy / "train" / "1UBI-A_.pdb", "1UBI-A")
    write_structure(copy / "valid" / "1BD2-B_again.pdb", "1BD2-B")
    dataset = load(tmp_path)
    assert splits_of(dataset) == {"train": ["1BX8-A", "1H4A-X", "1UBI-A"], "valid": ["1BD2-B"],
                                  "test": sorted(KEPT[0.95])}
    drops = dict(dataset.drops)
    assert len(drops) == len(dataset.drops) == 5
    assert "there is no structure of it" in drops["1ORC-A"]
    # left out by the cutoff in any case
    assert "1LCD-A" not in drops
    assert "1EJG-A_.pdb: " in drops["1EJG-A"] and "no" in drops["1EJG-A"]
    assert "no label" in drops[str(copy / "train" / "3ENL-A_.pdb")]
    assert "another structure of `1UBI-A`; that of" in drops[str(copy / "valid" / "1UBI-A_.pdb")]
    assert "another structure of `1BD2-B`" in drops[str(copy / "valid" / "1BD2-B_again.pdb")]
    assert "5 structures or labels cannot be used and are left out" in caplog.text
    with pytest.raises(StructuresDropped, match="5 structures or labels cannot be used, but strict leaves none out"):
        load(tmp_path, strict=True)


def test_labels_and_lists_that_disagree(release, tmp_path):
    stem = write_tables(tmp_path, lists=True)
    with open(f"{stem}_train.txt", "a") as file:
        file.write("9XYZ-A\n")
    with open(f"{stem}_valid.txt", "w") as file:
        file.write("1UBI-A\n")
    dataset = load(tmp_path, structures=release)
    assert splits_of(dataset)["valid"] == ["1UBI-A"]
    drops = dict(dataset.drops)
    assert len(drops) == len(dataset.drops) == 2
    assert "the list of train names it, but `" in drops["9XYZ-A"]
    assert "no list names it" in drops["1BD2-B"]


def test_chain_for_training_among_the_cutoffs(copy, tmp_path):
    """TorchDrug leaves it out without a word."""
    with open(copy / "nrPDB-EC_test.csv", "a") as file:
        file.write("1ORC-A,0,0,0,0,1\n")
    assert load(tmp_path).drops == []
    dataset = load(tmp_path, test_cutoff=0.7)
    assert "1ORC-A" not in dataset.chains
    assert "it is in split `train`, but " in dict(dataset.drops)["1ORC-A"]


def test_test_chains_without_a_cutoff_stay_and_are_told(copy, tmp_path, caplog):
    path = copy / "nrPDB-EC_test.csv"
    path.write_text(path.read_text().replace("1LCD-A,0,0,0,0,0\n", ""))
    assert "1LCD-A" in splits_of(load(tmp_path, test_cutoff=0.3))["test"]
    assert "no row for 1 test chains, which stay at every cutoff, the first: `1LCD-A`" in caplog.text


def test_empty_split(copy, tmp_path):
    for name in os.listdir(copy / "valid"):
        os.remove(copy / "valid" / name)
    dataset = load(tmp_path)
    assert dataset.num_samples == [4, 0, 3]
    with pytest.raises(ValueError, match="no structure of split `valid` can be used"):
        dataset.split()


def test_nothing_in_common(tmp_path):
    write_structure(tmp_path / "files" / "other.pdb", "1EJG-A")
    write_tables(tmp_path / "tables", lists=True)
    with pytest.raises(ValueError, match="none of the 10 chains .* can be used .* structure is called `other_A`"):
        load(tmp_path / "tables", structures=tmp_path / "files")


def test_wrong_table_is_told_before_any_structure_is_read(copy, tmp_path):
    (copy / "nrPDB-EC_annot.tsv").write_text(ec_annotation().replace("1BX8-A\t3.4.21.4", "1BX8-A\t3.4.21.5"))
    with pytest.raises(ValueError, match=r"row 4, column `EC-numbers`: `3.4.21.5` is none of the 4"):
        load(tmp_path)
    assert not os.path.exists(tmp_path / "EnzymeCommissionStructures.store")


@pytest.mark.parametrize("arguments, message", [
    (dict(test_cutoff=0.6), "unknown test_cutoff `0.6`; allowed are `0.3`, `0.4`, `0.5`, `0.7`, `0.95`"),
    (dict(test_cutoff="all"), "unknown test_cutoff `all`"),
    (dict(unknown="alanine"), "unknown should be .*, but found `alanine`"),
])
def test_wrong_arguments(release, arguments, message):
    with pytest.raises(ValueError, match=message):
        load(os.path.dirname(release), **arguments)


# === as a data set ===


def test_copies_in_other_processes(release):
    dataset = load(os.path.dirname(release), transform=transforms.ProteinView("residue"))
    again = pickle.loads(pickle.dumps(dataset))  # noqa: S301  made in the line itself
    assert again.chains == dataset.chains and torch.equal(again[3]["targets"], dataset[3]["targets"])
    loader = data.DataLoader(dataset, 4, num_workers=2)
    assert torch.equal(torch.cat([batch["targets"] for batch in loader]),
                       torch.stack([item["targets"] for item in dataset]))


def test_arguments_of_torchdrug_are_taken(release, caplog, monkeypatch):
    from gearnet_plugin.datasets import host

    monkeypatch.setattr(host, "_told", set())
    load(os.path.dirname(release), atom_feature=None, bond_feature=None, lazy=None)
    assert "no effect" not in caplog.text
    load(os.path.dirname(release), atom_feature="default", lazy=True)
    assert "`atom_feature`, `lazy` have no effect" in caplog.text


def test_says_what_it_holds(release):
    text = repr(load(os.path.dirname(release), test_cutoff=0.5))
    for part in ("#sample: 8 of 10 chains", "train 4, valid 2, test 2 (test_cutoff 0.5)", "#task: 4", "left out: 0"):
        assert part in text


def test_configuration_builds_it(release):
    dataset = load(os.path.dirname(release), test_cutoff=0.4)
    config = dataset.config_dict()
    assert config["class"] == "datasets.EnzymeCommissionStructures" and config["test_cutoff"] == 0.4
    assert core.Configurable.load_config_dict(config).chains == dataset.chains


def test_stock_task_and_engine_train_on_it(release):
    dataset = load(os.path.dirname(release), transform=transforms.Compose(
        [transforms.TruncateProtein(60, random=False), transforms.ProteinView("residue")]))
    train, valid, test = dataset.split()
    graph = layers.GraphConstruction([geometry.AlphaCarbonNode()], [geometry.SequentialEdge(1)], edge_feature=None)
    task = tasks.MultipleBinaryClassification(
        GearNetEncoder(21, [8], 3), task=range(len(dataset.tasks)), criterion="bce", metric=["auprc@micro", "f1_max"],
        graph_construction_model=graph)
    solver = core.Engine(task, train, valid, test, torch.optim.Adam(task.parameters(), 1e-3), batch_size=2,
                         log_interval=1)
    solver.train(1)
    metric = solver.evaluate("test")
    assert np.isfinite([float(value) for value in metric.values()]).all()


# === against TorchDrug ===


def stock(archive, path, base=datasets.EnzymeCommission, **arguments):
    """TorchDrug's data set of an archive of one's own."""
    with open(archive, "rb") as file:
        digest = hashlib.md5(file.read()).hexdigest()
    kind = type("Stock", (base,), {"url": f"file://{archive}", "md5": digest})
    # all that it wants of six, which not every environment has
    six = dict.fromkeys(("six", "six.moves", "six.moves.urllib", "six.moves.urllib.request"), urllib.request)
    RDLogger.DisableLog("rdApp.*")
    try:
        with mock.patch.dict(sys.modules, {} if importlib.util.find_spec("six") else six):
            return kind(os.fspath(path), **STOCK_QUICK, **arguments)
    finally:
        RDLogger.EnableLog("rdApp.*")


def same_where_stock_keeps(dataset, reference):
    """
    Compare with TorchDrug's data set; returns the chains that it drops, and those that it alters with the sequences
    of both.
    """
    chains = [os.path.basename(file).split("_")[0] for file in reference.pdb_files]
    places = {chain: place for place, chain in enumerate(dataset.chains)}
    assert dataset.tasks == reference.tasks
    # the items of both are in one order, but for what stock has dropped
    assert [places[chain] for chain in chains] == sorted(places[chain] for chain in chains)
    splits, ends = splits_of(dataset), np.cumsum([0, *reference.num_samples])
    altered = {}
    for number, chain in enumerate(chains):
        split = list(CHAINS)[int(np.searchsorted(ends, number, "right")) - 1]
        assert chain in splits[split]
        item = dataset[places[chain]]
        assert torch.equal(item["targets"], reference.get_item(number)["targets"]), chain
        # a dot stands where residues are not bonded
        ours, theirs = (protein.to_sequence().replace(".", "") for protein in (item["graph"], reference.data[number]))
        if ours != theirs:
            altered[chain] = ours, theirs
    return sorted(set(dataset.chains) - set(chains)), altered


@pytest.mark.parametrize("cutoff", [0.3, 0.95])
def test_torchdrug_has_the_same_items(copy, tmp_path, cutoff):
    zip_splits(copy)
    archive = zip_release(copy, tmp_path / "EnzymeCommission.zip")
    reference = stock(archive, tmp_path, test_cutoff=cutoff)
    dropped, altered = same_where_stock_keeps(load(tmp_path, test_cutoff=cutoff), reference)
    # all its methionines are selenomethionines, which TorchDrug takes for glycines
    assert dropped == [] and list(altered) == ["1A8O-A"]
    assert altered["1A8O-A"][1] == altered["1A8O-A"][0].replace("M", "G")


def assert_altered_by_stock(file, ours, theirs):
    """
    TorchDrug takes residues that it does not know for glycines, loses those that stand only as an alternate B or later,
    and counts a ligand with a C-alpha as a residue.
    """
    if len(ours) == len(theirs):
        assert {new for old, new in zip(ours, theirs) if old != new} == {"G"}, file
        return
    alternates, ligands = {}, set()
    with open(file) as lines:
        for line in lines:
            if line.startswith(("ATOM", "HETATM")):
                alternates.setdefault(line[17:27], set()).add(line[16])
                if line[17:20] in ("SAM", "SAH"):
                    ligands.add(line[17:27])
    lost = sum(not found & set(" A1") for found in alternates.values())
    assert len(theirs) == len(ours) - lost + len(ligands), file


def find_file(folder, chain):
    return next(path for split in CHAINS if os.path.exists(path := f"{folder}/{split}/{chain}_.pdb"))


def rdkit_reads(folder, chain):
    """Whether the library that TorchDrug reads with makes a molecule of a file; if not, it has no such item."""
    RDLogger.DisableLog("rdApp.*")
    try:
        return bool(Chem.MolFromPDBFile(find_file(folder, chain)))
    finally:
        RDLogger.EnableLog("rdApp.*")


def export(shared_data, target, only=None, kind="ec"):
    """The official folder made of real structures, and zipped."""
    arguments = [kind, target]
    if only is not None:
        path = os.path.join(os.path.dirname(target), "only.txt")
        with open(path, "w") as file:
            file.write("\n".join(only))
        arguments += ["--only", path]
    subprocess.run([sys.executable, os.path.join(shared_data, "tools", "export_layout.py"), *arguments], check=True,
                   stdout=subprocess.DEVNULL)
    shutil.copytree(target, f"{target}.folders")
    zip_splits(target)
    return zip_release(target, f"{target}.zip")


def structures_of(table, number, annotated=None):
    """
    Small structures with side chains: some of each split, and as many for testing that every cutoff keeps as that only
    the last does.
    """
    found = {}
    with open(table, newline="") as file:
        for row in sorted(csv.DictReader(file, delimiter="\t"), key=lambda row: int(row["n_res"])):
            if row["tier"] in ("full", "bb4") and (annotated is None or row["pdb_chain"] in annotated):
                found.setdefault((row["split"], row["test_lt30"]), []).append(row["structure"])
    return [structure for structures in found.values() for structure in structures[:number]]


def test_real_structures_at_every_cutoff(shared_data, tmp_path):
    only = structures_of(os.path.join(shared_data, "labels", "ec.tsv"), 4)
    archive = export(shared_data, os.path.join(tmp_path, "EnzymeCommission"), only)
    for cutoff in KEPT:
        dataset, reference = load(tmp_path, test_cutoff=cutoff), stock(archive, tmp_path, test_cutoff=cutoff)
        assert dataset.num_samples[:2] == [4, 4] and 4 <= dataset.num_samples[2] <= 8
        dropped, altered = same_where_stock_keeps(dataset, reference)
        assert len(dropped) < 3
        for chain, sequences in altered.items():
            assert_altered_by_stock(find_file(f"{tmp_path}/EnzymeCommission.folders", chain), *sequences)
        for chain in dropped:
            assert not rdkit_reads(f"{tmp_path}/EnzymeCommission.folders", chain)
        assert_read_with_csv_alone(shared_data, dataset, cutoff)


def assert_read_with_csv_alone(shared_data, dataset, cutoff):
    stem = os.path.join(shared_data, "original", "nrPDB-EC_2020.04")
    with open(f"{stem}_annot.tsv", newline="") as file:
        _, functions, _, *rows = csv.reader(file, delimiter="\t")
    labels = dict(rows)
    with open(f"{stem}_test.csv", newline="") as file:
        header, *rows = csv.reader(file)
    place = header.index(f"<{round(100 * cutoff)}%")
    below = {row[0] for row in rows if row[place] == "0"}
    assert dataset.tasks == functions
    for split, chains in splits_of(dataset).items():
        with open(f"{stem}_{split}.txt") as file:
            listed = set(file.read().split())
        assert set(chains) <= listed - below
    for chain, found in targets_of(dataset).items():
        assert found == set(labels[chain].split(","))


def test_published_tables_over_all_real_structures_at_every_cutoff(shared_data, tmp_path):
    """Files of a residue each have their names."""
    with open(os.path.join(shared_data, "labels", "ec.tsv"), newline="") as file:
        chains = [row["pdb_chain"] for row in csv.DictReader(file, delimiter="\t")]
    with tarfile.open(tmp_path / "files.tar", "w") as archive:
        (tmp_path / "one.pdb").write_text(pdb_text(backbone("GLY", 1)))
        for chain in chains:
            archive.add(tmp_path / "one.pdb", f"{chain.replace('-', '_')}.pdb")
    stem = os.path.join(shared_data, "original", "nrPDB-EC_2020.04")
    (tmp_path / "tables").mkdir()
    for end in ("annot.tsv", "test.csv", *(f"{split}.txt" for split in CHAINS)):
        shutil.copy(f"{stem}_{end}", tmp_path / "tables")
    for cutoff in KEPT:
        dataset = load(tmp_path / "tables", structures=tmp_path / "files.tar", test_cutoff=cutoff)
        assert_read_with_csv_alone(shared_data, dataset, cutoff)
        with open(f"{stem}_test.csv", newline="") as file:
            header, *rows = csv.reader(file)
        below = {row[0] for row in rows if row[header.index(f"<{cutoff:.0%}")] == "0"}
        assert set(dataset.chains) == set(chains) - below
        assert len(dataset.chains) + len(dataset.drops) + len(below) == 19201


@pytest.mark.slow
def test_all_real_structures_as_torchdrug_has_them(shared_data, tmp_path):
    """What TorchDrug drops, RDKit cannot read; what it alters is explained."""
    archive = export(shared_data, os.path.join(tmp_path, "EnzymeCommission"))
    dataset, reference = load(tmp_path), stock(archive, tmp_path)
    dropped, altered = same_where_stock_keeps(dataset, reference)
    assert 0 < len(dropped) < 0.05 * len(dataset) and len(altered) < 0.1 * len(dataset)
    folder = f"{tmp_path}/EnzymeCommission.folders"
    assert not any(rdkit_reads(folder, chain) for chain in dropped)
    for chain, sequences in altered.items():
        assert_altered_by_stock(find_file(folder, chain), *sequences)
