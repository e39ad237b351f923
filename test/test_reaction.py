"""datasets.ReactionStructures: IEConv's lists with its HDF5 files or with one's own structures, by chain."""
import gzip
import hashlib
import logging
import os
import shutil

import numpy as np
import pytest
import torch
import yaml
from easydict import EasyDict

import gearnet_plugin  # noqa: F401  first: makes torchdrug importable
from gearnet_plugin.datasets import StructuresDropped
from gearnet_plugin.datasets.reaction import LISTS, ReactionStructures
from gearnet_plugin.models import GearNetEncoder
from gearnet_plugin.structures import read_structure
from gearnet_plugin.structures.prepare import Recipe, prepare
from gearnet_plugin.structures.shard import Shard
from ieconv_files import SHORT, NamesOnly, bundled, link_lists, pack, stem, write_hdf5, write_lists
from structure_text import backbone, pdb_text
from torchdrug import core, tasks
from torchdrug.layers import geometry

CLASSES = ["3.2.1.17", "1.1.1.1", "2.7.7.8", "5.3.1.9"]
FILES = SHORT[:8]
SPLITS = {"train": "training", "valid": "validation", "test": "testing"}
# bundled file: split, class. No training chain has the highest class.
ROWS = {file: ("train" if i < 4 else "valid" if i < 6 else "test", i % 3 if i < 6 else 9 - i) for i, file in
        enumerate(FILES)}


def chain(file):
    """Name in the lists, ``1a8o.A``."""
    return stem(file).replace("_", ".")


def texts(rows=None, **changes):
    """The lists; classes in the order of names, which is not that of the splits."""
    rows = ROWS if rows is None else rows
    lists = {"unique_functions": CLASSES,
             "chain_functions": [f"{chain(file)},{rows[file][1]}" for file in sorted(rows)],
             **{name: [chain(file) for file in rows if rows[file][0] == split] for split, name in SPLITS.items()}}
    return {name: rows for name, rows in {**lists, **changes}.items() if rows is not None}


def own(folder, files=FILES, name=stem):
    """Copies of bundled files under other names."""
    os.makedirs(folder, exist_ok=True)
    for file in files:
        shutil.copy(bundled(file), os.path.join(folder, name(file) + file[len(stem(file)):]))
    return str(folder)


def load(path, **arguments):
    return ReactionStructures(path, verbose=0, num_worker=1, **arguments)


def content(dataset):
    """Length and class of the items of each split."""
    return [[(len(dataset.structures[i]), dataset[i]["reaction_label"]) for i in part.indices]
            for part in dataset.split()]


def expected(files=FILES):
    return [[(len(read_structure(bundled(file))), ROWS[file][1]) for file in files if ROWS[file][0] == split]
            for split in SPLITS]


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """Lists and HDF5 files as IEConv has them, with the poolings that its scripts leave."""
    path = tmp_path_factory.mktemp("release")
    write_lists(path, texts())
    for file in FILES:
        write_hdf5(str(path / "data" / f"{chain(file)}.hdf5"), bundled(file))
    shutil.copytree(path / "data", path / "poolings")
    return path


@pytest.fixture(scope="module")
def loaded(release):
    return load(release)


# === the release ===


def test_items_are_those_of_the_lists_in_their_order(loaded):
    assert content(loaded) == expected() and loaded.drops == []
    assert loaded.names == [chain(file) for split in SPLITS for file in FILES if ROWS[file][0] == split]
    assert loaded.split_names == ["train", "valid", "test"] and loaded.tasks == ["reaction_label"]
    assert loaded.num_classes == {"reaction_label": 4} and loaded.classes == {"reaction_label": CLASSES}
    for index, name in enumerate(loaded.names[:3]):
        plain = read_structure(bundled(next(file for file in FILES if chain(file) == name)))
        np.testing.assert_array_equal(loaded[index]["graph"].node_position, plain.positions)


@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize("folder", ["", "ProtFunct"])
def test_lists_and_data_may_be_packed_renamed_and_a_folder_below(release, tmp_path, folder, archived):
    place = tmp_path / folder
    write_lists(place, {f"IEConv_ProtFunct__{name}" if archived else name.replace("testing", "test"): rows
                        for name, rows in texts().items()})
    if archived:
        pack(release / "data", place / "data.zip", "data")
    else:
        shutil.copytree(release / "data", place / "data")
    assert content(load(tmp_path)) == expected()


def test_without_structures_the_message_says_where_to_get_them(tmp_path):
    write_lists(tmp_path, texts())
    with pytest.raises(FileNotFoundError, match=f"no structures at `{tmp_path}/data`: download .* https://github.com/ph"):
        load(tmp_path)


def test_lists_are_downloaded_where_they_are_missing(tmp_path, monkeypatch):
    published = write_lists(tmp_path / "web" / "ProtFunct", texts())
    monkeypatch.setattr("gearnet_plugin.datasets.ieconv.ADDRESSES", ((tmp_path / "web").as_uri(),))
    with pytest.raises(ValueError, match="its sha256 is .*, where aac62706|its sha256 is .*, where 3141f70d"):
        load(tmp_path / "new", structures=own(tmp_path / "files"))
    for name in LISTS:
        with open(os.path.join(published, name), "rb") as file:
            monkeypatch.setitem(LISTS, name, hashlib.sha256(file.read()).hexdigest())
    assert content(load(tmp_path / "new", structures=str(tmp_path / "files"))) == expected()
    with pytest.raises(FileNotFoundError, match="chain_functions.txt` is not there.*Fetch file://.*/ProtFunct/chain_functions"):
        load(tmp_path / "other", structures=str(tmp_path / "files"), download=False)


def test_store_serves_when_the_files_are_gone_and_no_structure_is_read(release, tmp_path, monkeypatch):
    shutil.copytree(release, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.store"))
    before = load(tmp_path)
    shutil.rmtree(tmp_path / "data")
    assert content(load(tmp_path)) == content(before)

    def never(*_):
        raise AssertionError("a structure was read")

    monkeypatch.setattr(Shard, "structure", never)
    monkeypatch.setattr(Shard, "residues", never)
    assert len(load(tmp_path)) == len(FILES)


# === one's own structures ===


@pytest.mark.parametrize("name", [
    stem, chain, lambda file: stem(file)[:4].upper() + "-" + stem(file)[5:], lambda file: stem(file).replace("_", ""),
    lambda file: "pdb" + stem(file), lambda file: stem(file)[:4], lambda file: "pdb" + stem(file)[:4]])
def test_own_structures_are_found_by_chain_or_entry(tmp_path, name):
    write_lists(tmp_path, texts())
    dataset = load(tmp_path, structures=own(tmp_path / "files", name=name))
    assert content(dataset) == expected() and dataset.drops == []


@pytest.mark.parametrize("per", ["chain", "entry"])
def test_own_store_is_used_whatever_it_holds_one_of(tmp_path, per):
    write_lists(tmp_path, texts())
    store = prepare([own(tmp_path / "files")], tmp_path / "own", Recipe(per=per), workers=1, verbose=0).store
    assert content(load(tmp_path, structures=store.path)) == expected()
    assert not os.path.exists(tmp_path / "ReactionStructures.store")


def write_chains(path, **lengths):
    path.parent.mkdir(exist_ok=True)
    path.write_text(pdb_text(*(backbone("ALA", i, chain=chain_id) for chain_id, length in lengths.items()
                               for i in range(length))))


def only(tmp_path, *names):
    """Lists that name these chains, all of class 0 and for training but one each."""
    filler = ["9xxx.A", "9xxx.B"]
    write_lists(tmp_path, {"unique_functions": CLASSES, "chain_functions": [f"{name},0" for name in [*names, *filler]],
                           "training": names, "validation": filler[:1], "testing": filler[1:]})
    dataset = load(tmp_path, structures=str(tmp_path / "files"))
    return {name: len(structure) for name, structure in zip(dataset.names, dataset.structures)}, dict(dataset.drops)


def test_of_an_entry_each_chain_is_looked_up_by_its_author_id(tmp_path):
    """The case of chain ids counts, that of entries does not."""
    write_chains(tmp_path / "files" / "1ABC.pdb", A=5, a=6, B=7)
    found, drops = only(tmp_path, "1abc.a", "1abc.A", "1abc.C")
    assert found == {"1ABC_a": 6, "1ABC_A": 5}
    assert drops["1abc.C"] == "training.txt, row 3: there is no such structure"
    assert drops["1ABC_B"] == "structure without a class: no list names it"


def test_of_a_file_named_by_a_chain_that_chain_counts_or_the_only_one(tmp_path):
    """Programs that cut out chains often call them A, or not at all."""
    write_chains(tmp_path / "files" / "1abc_B.pdb", A=5, B=6)
    write_chains(tmp_path / "files" / "1abc_C.pdb", A=7)
    write_chains(tmp_path / "files" / "1abc_D.pdb", **{" ": 8})
    write_chains(tmp_path / "files" / "1abc_E.pdb", X=9, Y=10)
    found, drops = only(tmp_path, "1abc.B", "1abc.C", "1abc.D", "1abc.E")
    assert found == {"1abc_B_B": 6, "1abc_C_A": 7, "1abc_D": 8}
    assert drops["1abc.E"] == "training.txt, row 4: several structures may be meant: `1abc_E_X`, `1abc_E_Y`"
    assert drops["1abc_B_A"] == "another structure of `1abc.B`: `1abc_B_B` is taken"


# === what is missing, doubled or wrong ===


def test_everything_left_out_is_told(tmp_path, caplog):
    lists = texts({file: ROWS[file] for file in FILES[:6]})
    first, second = chain(FILES[0]), chain(FILES[1])
    write_lists(tmp_path, {**lists, "testing": ["8xyz.A"],
                           "training": [*lists["training"], second],
                           "chain_functions": [*lists["chain_functions"], "7xyz.A,1", lists["chain_functions"][0]]})
    own(tmp_path / "files", FILES[1:4])
    own(tmp_path / "files", FILES[6:7])
    with gzip.open(tmp_path / "files" / f"{stem(FILES[0])}.pdb.gz", "wb") as file:
        file.write(b"")
    with caplog.at_level(logging.WARNING):
        dataset = load(tmp_path, structures=str(tmp_path / "files"))
    drops = dict(dataset.drops)
    assert [len(structure) for structure in dataset.structures] == [len(read_structure(bundled(f))) for f in FILES[1:4]]
    assert drops["8xyz.A"].endswith(f"testing.txt, row 1: it has no class in `{tmp_path}/chain_functions.txt`")
    assert drops["7xyz.A"] == f"{tmp_path}/chain_functions.txt, row 7: it is in no split"
    assert drops[second] == f"{tmp_path}/training.txt, row 5: it repeats {tmp_path}/training.txt, row 2"
    assert (lists["chain_functions"][0].split(",")[0], f"{tmp_path}/chain_functions.txt, row 8: it repeats row 1") in \
        dataset.drops
    assert drops[first].startswith("training.txt, row 1: its file cannot be read: ")
    assert drops[chain(FILES[4])] == "validation.txt, row 1: there is no such structure"
    assert dataset.left_out == {"rows": 4, "listed without structure": 3, "structures without use": 1}
    assert "8 structures or labels cannot be used" in caplog.text and "train 3 of 4, valid 0 of 2" in repr(dataset)
    with pytest.raises(StructuresDropped, match="8 structures or labels cannot be used"):
        load(tmp_path, structures=str(tmp_path / "files"), strict=True)


@pytest.mark.parametrize(("changes", "message"), [
    ({"chain_functions": ["1abc.A,4"]}, r"functions.txt, row 1, column 2: expected the number of a class, from 0 to 3"),
    ({"chain_functions": ["1abc.A,-1"]}, r"chain_functions.txt, row 1, column 2: expected the number of a class"),
    ({"chain_functions": ["1abc.A 1"]}, r"chain_functions.txt, row 1: expected at least 2 columns with commas"),
    ({"chain_functions": ["1abc.A,1", "1ABC.A,2"]}, r"row 2, column 2: `1ABC.A` has class 2, but class 1 in row 1; "),
    ({"unique_functions": ["1.1.1.1", "1.1.1.1"]}, r"unique_functions.txt, row 2, column 1: EC number `1.1.1.1` is "),
    ({"validation": [chain(FILES[0])]}, r"validation.txt, row 1, column 1: .* is in split `valid`, but in split `tra"),
    ({"validation": []}, r"validation.txt: the list is empty"),
    ({"testing": None}, r"but lacks `testing.txt` or `test.txt`; all of them are needed"),
    ({"test": [chain(FILES[0])]}, r"has the list `test` more than once: `testing.txt`, `test.txt`; remove all but one"),
])
def test_wrong_lists_name_file_row_and_column(tmp_path, changes, message):
    write_lists(tmp_path, texts(**changes))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load(tmp_path, structures=str(tmp_path), download=False)


# === with TorchDrug ===


def test_configuration_and_stock_engine(loaded):
    config = EasyDict(yaml.safe_load(f"{{class: ReactionStructures, path: {loaded.path}, verbose: 0, lazy: true}}"))
    dataset = core.Configurable.load_config_dict(config)
    assert core.Configurable.load_config_dict(dataset.config_dict()).config_dict() == dataset.config_dict()
    train, valid, test = dataset.split()
    assert max(train[i]["reaction_label"] for i in range(len(train))) < 3 == max(dataset.targets["reaction_label"])
    graphs = core.Registry.get("layers.ResidueGraphConstruction")([geometry.AlphaCarbonNode()],
                                                                 [geometry.SequentialEdge(0)], edge_feature=None)
    task = tasks.PropertyPrediction(GearNetEncoder(21, [8], 1, readout="mean"), task=dataset.tasks, criterion="ce",
                                    metric=["acc"], num_class=list(dataset.num_classes.values()),
                                    graph_construction_model=graphs)
    solver = core.Engine(task, train, valid, test, torch.optim.SGD(task.parameters(), 1e-3), batch_size=2)
    solver.train(1)
    assert task.mlp.layers[-1].out_features == 4
    assert 0 <= solver.evaluate("test")["accuracy [reaction_label]"] <= 1


# === real data ===


def plain_lists(shared_data):
    """An independent reading of the published lists: split and class number of each chain."""
    start = os.path.join(shared_data, "original", "IEConv_ProtFunct__")
    with open(start + "chain_functions.txt") as file:
        numbers = dict(line.strip().split(",") for line in file)
    members = {}
    for split, name in SPLITS.items():
        with open(f"{start}{name}.txt") as file:
            members.update({line.strip(): (split, int(numbers[line.strip()])) for line in file})
    return members


@pytest.mark.parametrize("separator", [".", "_", "-"])
def test_targets_and_splits_equal_the_published_lists(shared_data, tmp_path, monkeypatch, separator):
    """All 37,428, with chains that differ by the case of their ids alone, as an independent reading has them."""
    link_lists(shared_data, tmp_path, "ProtFunct")
    members = plain_lists(shared_data)
    store = NamesOnly("chain", [name.replace(".", separator) for name in sorted(members, key=lambda name: name[::-1])])
    monkeypatch.setattr("gearnet_plugin.datasets.reaction.open_structures", lambda *_: store)
    dataset = ReactionStructures(tmp_path, verbose=0)
    names = dataset.names
    found = {names[i].replace(separator, "."): (split, dataset.targets["reaction_label"][i])
             for split, part in zip(SPLITS, dataset.split()) for i in part.indices}
    assert found == members and len(dataset) == len(members) and dataset.drops == []
    assert [len(part) for part in dataset.split()] == [29215, 2562, 5651]
    assert dataset.num_classes == {"reaction_label": 384}


def test_checksums_are_those_of_the_published_lists(shared_data):
    for name, digest in LISTS.items():
        with open(os.path.join(shared_data, "original", f"IEConv_ProtFunct__{name}"), "rb") as file:
            assert hashlib.sha256(file.read()).hexdigest() == digest


@pytest.mark.slow
def test_real_structures_get_their_labels(shared_data, tmp_path):
    """Each chain that has a file, with the published label."""
    link_lists(shared_data, tmp_path, "ProtFunct")
    folders = ["structures", "structures_bb3"]
    dataset = ReactionStructures(tmp_path, verbose=0, structures=[os.path.join(shared_data, name) for name in folders])
    with open(os.path.join(shared_data, "labels", "reaction.tsv")) as file:
        header, *rows = [line.rstrip("\n").split("\t") for line in file]
    rows = [dict(zip(header, row)) for row in rows]
    # of a chain that is not held, another chain of the entry is given there, which no name tells
    rows = [row for row in rows if row["structure"].split("/")[0] in folders and row["match"] == "exact"]
    members = plain_lists(shared_data)
    assert all(members[row["pdb_chain"][:4].lower() + "." + row["pdb_chain"][5:]]
               == (row["split"], int(row["class_id"])) for row in rows)
    found = {}
    for index, number in enumerate(dataset.structures.numbers):
        source = dataset.structures.store[int(number)].source
        found[os.path.relpath(source, shared_data)] = dataset.targets["reaction_label"][index]
    assert {row["structure"]: int(row["class_id"]) for row in rows} == found and len(found) > 900
    assert len(dataset) + dataset.left_out["listed without structure"] == len(members)
    assert len(dataset) + dataset.left_out["structures without use"] == len(dataset.structures.store)
