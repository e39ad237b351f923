"""datasets.FoldStructures: the release in every form it comes in, one's own structures, and what is wrong in either."""
import gzip
import hashlib
import logging
import os
import pickle
import shutil
import tarfile

import numpy as np
import pytest
import torch
import yaml
from easydict import EasyDict

import gearnet_plugin  # noqa: F401  first: makes torchdrug importable
from gearnet_plugin.datasets import StructuresDropped
from gearnet_plugin.datasets.fold import LISTS, FoldStructures
from gearnet_plugin.engine import labels
from gearnet_plugin.models import GearNetEncoder
from gearnet_plugin.structures import read_structure
from gearnet_plugin.structures.prepare import Recipe, prepare
from gearnet_plugin.structures.shard import Shard
from ieconv_files import SHORT, NamesOnly, bundled, domain, link_lists, pack, stem, write_hdf5, write_lists
from structure_text import backbone, pdb_text
from torchdrug import core, tasks, transforms

CLASSES = ["a.1", "a.100", "b.2", "g.93"]
SPLITS = ["train", "valid", "test_fold", "test_family", "test_superfamily"]
# bundled file: split, class. No training domain has the highest class.
ROWS = {file: (SPLITS[min(i // 3, 4)], i % 3 if i < 6 else 3 - i % 4) for i, file in enumerate(SHORT)}


def texts(rows=None, train="train", valid="valid"):
    """The lists, in the columns that the release has; ids of the domains, not sorted."""
    rows = ROWS if rows is None else rows
    lists = {"class_map": [f"{name}\t{number}" for number, name in enumerate(CLASSES)]}
    for split, name in zip(SPLITS, [train, valid, *SPLITS[2:]]):
        middle = "12\t" if split in ("test_fold", "test_superfamily") else ""
        lists[name] = [f"{domain(file)}\t{middle}x.9\t{CLASSES[label]}"
                       for file, (own, label) in reversed(rows.items()) if own == split]
    return lists


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """The folder ``fold3d`` as it is before it is zipped: lists, and a zip archive a split."""
    root = tmp_path_factory.mktemp("release")
    for file, (split, _) in ROWS.items():
        write_hdf5(str(root / "hdf5" / split / f"{domain(file)}.hdf5"), bundled(file))
    folder = write_lists(str(root / "fold3d"), texts())
    for split in SPLITS:
        pack(root / "hdf5" / split, os.path.join(folder, f"{split}.zip"), split)
    pack(folder, root / "fold3d.zip", "fold3d")
    return root


@pytest.fixture
def known(release, monkeypatch):
    """The checksum of the small release in place of that of the real one."""
    monkeypatch.setattr(FoldStructures, "md5", hashlib.md5((release / "fold3d.zip").read_bytes()).hexdigest())


@pytest.fixture(scope="module")
def loaded(release, tmp_path_factory):
    """The data set from an extracted release, as most tests need it."""
    path = tmp_path_factory.mktemp("loaded")
    shutil.copytree(release / "fold3d", path / "fold3d")
    return FoldStructures(path, verbose=0, num_worker=1)


def expected(split=None):
    """Domain and class of each item, as ``datasets.Fold3D`` orders them."""
    return sorted(((SPLITS.index(own), domain(file), label) for file, (own, label) in ROWS.items()
                   if split in (None, own)))


def content(dataset):
    """The same of a data set."""
    places = {index: place for place, name in enumerate(SPLITS) for index in dataset.split([name])[0].indices}
    return [(places[i], name, dataset[i]["fold_label"]) for i, name in enumerate(dataset.names)]


def own(folder, files=SHORT, name=domain):
    """Copies of bundled files under other names."""
    os.makedirs(folder, exist_ok=True)
    for file in files:
        shutil.copy(bundled(file), os.path.join(folder, name(file) + file[len(stem(file)):]))
    return str(folder)


# === the release ===


def test_items_are_those_of_the_lists_in_the_order_of_the_stock_class(loaded):
    assert content(loaded) == expected() and loaded.drops == [] and len(loaded) == len(ROWS)
    assert loaded.coverage == {split: (len(expected(split)), len(expected(split))) for split in SPLITS}
    assert loaded.tasks == ["fold_label"] and loaded.classes == {"fold_label": CLASSES}
    assert loaded.num_classes == {"fold_label": 4} and loaded.num_samples == [3, 3, 3, 3, 2]
    for file in SHORT[:3]:
        graph = loaded[loaded.names.index(domain(file))]["graph"]
        plain = read_structure(bundled(file))
        np.testing.assert_array_equal(graph.node_position, plain.positions)
        assert graph.residue_type.tolist() == plain.residue_types.tolist()


def test_splits_are_train_valid_and_the_test_set_chosen(release, loaded, tmp_path):
    for test_split in SPLITS[2:]:
        loaded.test_split = test_split
        parts = loaded.split()
        chosen = ["train", "valid", test_split]
        assert [[(loaded.names[i], loaded.targets["fold_label"][i]) for i in part.indices] for part in parts] == [
            [row[1:] for row in expected(split)] for split in chosen]
    loaded.test_split = "test_fold"
    assert loaded.split_names == ["train", "valid", "test"] and list(loaded.splits) == SPLITS
    assert [len(part) for part in loaded.split(loaded.splits)] == [3, 3, 3, 3, 2]
    assert loaded.split("test_family")[0].indices == loaded.split(["train", "test_family"])[1].indices
    with pytest.raises(ValueError, match="unknown split `test`; there are `train`, `valid`, `test_fold`"):
        loaded.split(["test"])
    with pytest.raises(ValueError, match="unknown test_split `fold`; allowed are `test_fold`, `test_family`, `"):
        FoldStructures(tmp_path, "fold")


def as_zip(release, path):
    shutil.copy(release / "fold3d.zip", path)


def as_torchdrug_leaves_it(release, path):
    """Everything unpacked beside its archive, and the pickle that is never loaded."""
    shutil.copytree(release / "fold3d", path / "fold3d")
    shutil.copytree(release / "hdf5", path / "fold3d", dirs_exist_ok=True)
    (path / "fold3d" / "fold3d.pkl.gz").write_bytes(b"\x80\x04nothing")
    shutil.copy(release / "fold3d.zip", path)


def as_split_archives(release, path):
    shutil.copytree(release / "fold3d", path, dirs_exist_ok=True)


def as_split_folders(release, path):
    write_lists(path, texts())
    shutil.copytree(release / "hdf5", path, dirs_exist_ok=True)


def as_ieconv_has_it(release, path):
    """Other names, and the poolings that its scripts leave, which are HDF5 files of the same names."""
    write_lists(path / "HomologyTAPE", texts(train="training", valid="validation"))
    for split, name in zip(SPLITS, ["training", "validation", *SPLITS[2:]]):
        shutil.copytree(release / "hdf5" / split, path / "HomologyTAPE" / name)
    shutil.copytree(release / "hdf5" / "train", path / "HomologyTAPE" / "poolings")


@pytest.mark.parametrize("form", [as_zip, as_torchdrug_leaves_it, as_split_archives, as_split_folders,
                                  as_ieconv_has_it])
def test_every_form_of_the_release_gives_the_same(release, known, tmp_path, form, monkeypatch):
    """What is there is used; nothing is downloaded, and no network would be there to do so."""
    monkeypatch.setattr(FoldStructures, "urls", ("https://localhost:9/fold3d.zip",))
    form(release, tmp_path)
    dataset = FoldStructures(str(tmp_path), verbose=0, num_worker=1)
    assert content(dataset) == expected() and dataset.drops == []


def test_release_is_downloaded_at_first_use_alone(release, known, tmp_path, monkeypatch):
    monkeypatch.setattr(FoldStructures, "urls", ((release / "fold3d.zip").as_uri(),))
    path = tmp_path / "new" / "folder"
    first = FoldStructures(path, verbose=0, num_worker=1)
    monkeypatch.setattr(FoldStructures, "urls", ("https://localhost:9/fold3d.zip",))
    assert content(first) == expected() == content(FoldStructures(path, verbose=0, download=False))


def test_without_network_the_message_says_what_to_fetch_and_where_to_put_it(tmp_path):
    place = tmp_path / "fold3d.zip"
    with pytest.raises(FileNotFoundError, match=f"(?s){place}.*Fetch https://zenodo.org/record/7593591/files/fold3d.zip"):
        FoldStructures(tmp_path, verbose=0, download=False)
    write_lists(tmp_path / "lists", texts())
    with pytest.raises(FileNotFoundError, match="lists/fold3d.zip` is not there, and downloads are switched off"):
        FoldStructures(tmp_path / "lists", verbose=0, download=False)


def test_archive_of_another_content_is_an_error(release, known, tmp_path, monkeypatch):
    (tmp_path / "fold3d.zip").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(ValueError, match="fold3d.zip` is there, but its md5 is"):
        FoldStructures(tmp_path, verbose=0)
    other = pack(release / "hdf5", tmp_path / "fold3d.zip", "fold3d")
    monkeypatch.setattr(FoldStructures, "md5", hashlib.md5(other.read_bytes()).hexdigest())
    with pytest.raises(ValueError, match="not the Fold3D release: there is no `fold3d/class_map.txt`"):
        FoldStructures(tmp_path, verbose=0)


def test_store_serves_when_the_files_are_gone(release, tmp_path):
    as_split_folders(release, tmp_path)
    before = FoldStructures(tmp_path, verbose=0, num_worker=1)
    for split in SPLITS:
        shutil.rmtree(tmp_path / split)
    after = FoldStructures(tmp_path, verbose=0, download=False)
    assert content(after) == content(before) and after.structures.store.path == str(tmp_path / "FoldStructures.store")


def test_opening_a_store_reads_no_structure(loaded, monkeypatch):
    """So that its time is that of the lists and names, whatever the size of the proteins."""
    def never(*_):
        raise AssertionError("a structure was read")

    monkeypatch.setattr(Shard, "structure", never)
    monkeypatch.setattr(Shard, "residues", never)
    assert len(FoldStructures(loaded.path, verbose=0)) == len(ROWS)


# === one's own structures ===


@pytest.mark.parametrize("name", [
    domain, lambda file: domain(file).upper(), stem, lambda file: stem(file).upper().replace("_", "-"),
    lambda file: stem(file).replace("_", "."), lambda file: stem(file).replace("_", ""),
    lambda file: "pdb" + stem(file)])
def test_own_structures_are_found_by_domain_or_whole_chain(tmp_path, name):
    write_lists(tmp_path, texts())
    files = SHORT[:4]
    dataset = FoldStructures(tmp_path, structures=own(tmp_path / "files", files, name), verbose=0, num_worker=1)
    assert [dataset.targets["fold_label"], [len(item) for item in dataset.structures]] == [
        [ROWS[file][1] for file in sorted(files, key=lambda file: (SPLITS.index(ROWS[file][0]), domain(file)))],
        [len(read_structure(bundled(file)))
         for file in sorted(files, key=lambda file: (SPLITS.index(ROWS[file][0]), domain(file)))]]


def as_archive(folder, tmp_path):
    with tarfile.open(tmp_path / "own.tar.gz", "w:gz") as file:
        file.add(folder, "own")
    return str(tmp_path / "own.tar.gz")


def as_own_zip(folder, tmp_path):
    return pack(folder, tmp_path / "own.zip", "own")


def as_store(folder, tmp_path):
    return prepare([folder], tmp_path / "store", Recipe(per="entry"), workers=1, verbose=0).store.path


def as_store_of_chains(folder, tmp_path):
    return prepare([folder], tmp_path / "store", Recipe(per="chain"), workers=1, verbose=0).store.path


@pytest.mark.parametrize("form", [lambda folder, _: folder, lambda folder, _: [folder + "/*.gz"], as_archive,
                                  as_own_zip, as_store, as_store_of_chains])
@pytest.mark.parametrize("name", [domain, stem])
def test_own_structures_may_be_a_folder_pattern_archive_or_store(tmp_path, form, name):
    write_lists(tmp_path, texts())
    folder = own(tmp_path / "files", SHORT[:5], name)
    structures = form(folder, tmp_path)
    for _ in range(2):
        dataset = FoldStructures(tmp_path, structures=structures, verbose=0, num_worker=1)
        assert len(dataset) == 5 and dataset.left_out == {
            "rows": 0, "listed without structure": 9, "structures without use": 0}


def test_own_store_of_other_files_is_refused(tmp_path):
    write_lists(tmp_path, texts())
    FoldStructures(tmp_path, structures=own(tmp_path / "one"), verbose=0, num_worker=1)
    with pytest.raises(ValueError, match="FoldStructures.store` was made of .*/one`, but source is `.*/two`"):
        FoldStructures(tmp_path, structures=own(tmp_path / "two"), verbose=0, num_worker=1)


def test_lists_alone_are_downloaded_for_own_structures(tmp_path, monkeypatch):
    """From IEConv, small as they are, and not the whole release."""
    published = write_lists(tmp_path / "web" / "HomologyTAPE", texts(train="training", valid="validation"))
    monkeypatch.setattr("gearnet_plugin.datasets.ieconv.ADDRESSES", ((tmp_path / "web").as_uri(),))
    for name in LISTS:
        with open(os.path.join(published, name), "rb") as file:
            monkeypatch.setitem(LISTS, name, hashlib.sha256(file.read()).hexdigest())
    dataset = FoldStructures(tmp_path / "new", structures=own(tmp_path / "files"), verbose=0, num_worker=1)
    assert content(dataset) == expected()
    assert sorted(os.listdir(tmp_path / "new")) == ["FoldStructures.store", "HomologyTAPE"]
    assert LISTS.keys() <= set(os.listdir(tmp_path / "new" / "HomologyTAPE"))
    # as an interrupted download leaves it
    os.remove(tmp_path / "new" / "HomologyTAPE" / "validation.txt")
    assert content(FoldStructures(tmp_path / "new", structures=str(tmp_path / "files"), verbose=0)) == expected()


def test_path_is_a_folder(release):
    with pytest.raises(ValueError, match="path should be the folder of the data set, but `.*fold3d.zip` is a file"):
        FoldStructures(release / "fold3d.zip")


def test_no_lists_and_no_network(tmp_path):
    with pytest.raises(FileNotFoundError, match="class_map.txt` is not there.*IEConv_proteins/master/.*/HomologyTAPE/"):
        FoldStructures(tmp_path / "new", structures=own(tmp_path / "files", SHORT[:1]), download=False)


# === what is missing, doubled or wrong ===


def drops_of(tmp_path, **arguments):
    dataset = FoldStructures(tmp_path, structures=str(tmp_path / "files"), verbose=0, num_worker=1, **arguments)
    return dataset, dict(dataset.drops)


def test_everything_left_out_is_told(tmp_path, caplog):
    write_lists(tmp_path, texts({file: ROWS[file] for file in SHORT[:4]}) | {
        name: [f"{domain(SHORT[5])}\tx\ta.1"] for name in ("test_fold", "test_family")[:1]} | {
        "test_family": ["d9xyza_\ta.1"], "test_superfamily": ["d8xyza_\ta.1", "d8xyza_\ta.1"]})
    own(tmp_path / "files", SHORT[:3])
    own(tmp_path / "files", SHORT[6:8])
    (tmp_path / "files" / "d9xyza_.pdb").write_text("nothing\n")
    with gzip.open(tmp_path / "files" / f"{domain(SHORT[3])}.pdb.gz", "wb") as file:
        file.write(b"")
    with caplog.at_level(logging.WARNING):
        dataset, drops = drops_of(tmp_path)
    assert dataset.names == sorted(domain(file) for file in SHORT[:3])
    assert drops.keys() == {"d9xyza_", "d8xyza_", domain(SHORT[3]), *(domain(file) for file in SHORT[5:8])}
    assert drops["d9xyza_"].startswith("test_family.txt, row 1: its file cannot be read: ")
    assert drops[domain(SHORT[3])].startswith("valid.txt, row 1: its file cannot be read: ")
    assert drops[domain(SHORT[5])] == "test_fold.txt, row 1: there is no such structure"
    assert drops[domain(SHORT[6])] == "structure without a class: no list names it"
    assert [reason.partition(": ")[2] for name, reason in dataset.drops if name == "d8xyza_"] == [
        f"it repeats {tmp_path}/test_superfamily.txt, row 1", "there is no such structure"]
    assert dataset.left_out == {"rows": 1, "listed without structure": 4, "structures without use": 2}
    assert "7 structures or labels cannot be used" in caplog.text
    assert "train 3 of 3, valid 0 of 1" in repr(dataset) and "4 listed without structure" in repr(dataset)
    with pytest.raises(ValueError, match="no structure of split `valid` can be used; `drops` says why"):
        dataset.split()
    message = r"7 structures or labels cannot be used(?s:.*)d9xyza_: .*cannot be read"
    with pytest.raises(StructuresDropped, match=message):
        drops_of(tmp_path, strict=True)


def test_of_copies_the_first_is_taken_and_the_others_are_told(tmp_path):
    """The domain itself comes before the chain that it is; of one name in two folders, the first folder."""
    write_lists(tmp_path, texts())
    own(tmp_path / "files" / "a", SHORT[:1], stem)
    own(tmp_path / "files" / "b", SHORT[:2], domain)
    own(tmp_path / "files" / "c", SHORT[1:2], domain)
    dataset, drops = drops_of(tmp_path)
    first, second = sorted([domain(SHORT[0]), f"b/{domain(SHORT[1])}"], key=lambda name: name.split("/")[-1])
    assert dataset.names == [first, second]
    one, other = domain(SHORT[0]), domain(SHORT[1])
    assert drops[stem(SHORT[0])] == f"another structure of `{one}`: `{one}` is taken"
    assert drops[f"c/{other}"] == f"another structure of `{other}`: `b/{other}` is taken"


def test_chains_that_differ_in_case_are_not_guessed(tmp_path):
    """SCOP writes chain ids in lower case: of chains A and a of one entry, either may be meant."""
    write_lists(tmp_path, texts())
    own(tmp_path / "files", SHORT[:2], stem)
    lower = stem(SHORT[0])[:-1] + stem(SHORT[0])[-1].lower()
    own(tmp_path / "files", SHORT[:1], lambda _: lower)
    dataset, drops = drops_of(tmp_path)
    assert len(dataset) == 1
    several = f"several structures may be meant: `{stem(SHORT[0])}`, `{lower}`"
    assert drops[domain(SHORT[0])].endswith(several)
    assert drops[lower] == drops[stem(SHORT[0])] == f"for `{domain(SHORT[0])}` {several}"


def test_chain_at_the_end_of_a_name_counts_in_stores_of_chains_alone(tmp_path):
    """Of a file named by chain B, chain A is not that chain; of an entry, a name with more behind it is another one."""
    rows = [f"{name}\ta.1" for name in ("d1abca_", "d1abcb_", domain(SHORT[0]))]
    write_lists(tmp_path, {**texts(), "train": rows})
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "1abc_B.pdb").write_text(pdb_text(*(backbone("ALA", i, chain=name) for name in "AB"
                                                              for i in range(5))))
    store = as_store_of_chains(str(tmp_path / "files"), tmp_path)
    dataset = FoldStructures(tmp_path, structures=store, verbose=0)
    assert dataset.names == ["1abc_B_B"] and dataset.targets == {"fold_label": [0]}
    assert dict(dataset.drops)["1abc_B_A"] == "structure without a class: no list names it"
    own(tmp_path / "files", SHORT[:1], lambda file: domain(file) + "_old")
    dataset, drops = drops_of(tmp_path)
    assert dataset.names == ["1abc_B"] and domain(SHORT[0]) + "_old" in drops


def test_structures_of_other_names_altogether_are_an_error(tmp_path):
    write_lists(tmp_path, texts())
    files = own(tmp_path / "files", SHORT[:2], lambda file: "x" + stem(file))
    with pytest.raises(ValueError, match="none of 14 structures in the lists is in .*as `x.*where names such as `d"):
        FoldStructures(tmp_path, structures=files, verbose=0, num_worker=1)


@pytest.mark.parametrize(("changes", "message"), [
    ({"class_map": ["a.1\t0", "a.1\t1"]}, r"class_map.txt, row 2, column 1: class `a.1` is already in row 1"),
    ({"class_map": ["a.1\t0", "b.1\t0"]}, r"class_map.txt, row 2, column 2: `b.1` has number 0, as `a.1` does"),
    ({"class_map": ["a.1\t0", "b.1\t2"]}, r"row 2, column 2: expected the number of a class, from 0 to 1, but .* `2`"),
    ({"class_map": ["a.1\t0", "b.1\tone"]}, r"row 2, column 2: expected the number of a class, .* found `one`"),
    ({"class_map": ["a.1 0"]}, r"class_map.txt, row 1: expected at least 2 columns with tabs between them, but"),
    ({"class_map": []}, r"class_map.txt: the list is empty"),
    ({"train": ["d1abca_\tz.1"]}, r"train.txt, row 1, column 2: class `z.1` of `d1abca_` is not among the 4 classes"),
    ({"train": ["", "d1abca_"]}, r"train.txt, row 2: expected at least 2 columns"),
    ({"train": ["\ta.1"]}, r"train.txt, row 1, column 1: the cell is empty"),
    ({"train": ["d1abca_\ta.1", "D1ABCA_\tb.2"]},
     r"train.txt, row 2, column 1: `D1ABCA_` is in class `2`, but in class `0` by .*row 1"),
    ({"train": ["d1abca_\ta.1"], "valid": ["d1abca_\ta.1"]},
     r"valid.txt, row 1, column 1: `d1abca_` is in split `valid`, but in split `train` by .*train.txt, row 1"),
    ({"training": ["d1abca_\ta.1"]}, r"has the list `train` more than once: `train.txt`, `training.txt`; remove"),
    ({"valid": None, "class_map": None}, r"`, but lacks `class_map.txt`, `valid.txt` or `validation.txt`; all of them"),
])
def test_wrong_lists_name_file_row_and_column(tmp_path, changes, message):
    write_lists(tmp_path, {name: rows for name, rows in {**texts(), **changes}.items() if rows is not None})
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        FoldStructures(tmp_path, structures=str(tmp_path), verbose=0, download=False)


def test_lists_that_are_no_text(tmp_path):
    write_lists(tmp_path, texts())
    (tmp_path / "train.txt").write_bytes(b"d1abca_\t\xff\n")
    with pytest.raises(ValueError, match="train.txt: not UTF-8 text"):
        FoldStructures(tmp_path, structures=str(tmp_path), verbose=0)


# === with TorchDrug ===


def test_configuration_of_the_predecessor_builds_it(loaded):
    config = EasyDict(yaml.safe_load(f"""
        class: FoldStructures
        path: {loaded.path}
        test_split: test_family
        transform: {{class: ProteinView, view: residue}}
        lazy: false
        verbose: 0
    """))
    dataset = core.Configurable.load_config_dict(config)
    assert isinstance(dataset.transform, transforms.ProteinView) and dataset[0]["graph"].view == "residue"
    assert dataset.split()[2].indices == loaded.split("test_family")[0].indices
    assert core.Configurable.load_config_dict(dataset.config_dict()).config_dict() == dataset.config_dict()
    assert content(pickle.loads(pickle.dumps(loaded))) == content(loaded)  # noqa: S301  loader workers get it so


def test_what_has_no_meaning_is_told(loaded, caplog, monkeypatch):
    monkeypatch.setattr("gearnet_plugin.datasets.host._told", set())
    with caplog.at_level(logging.WARNING):
        FoldStructures(loaded.path, verbose=0, lazy=True, atom_feature="default")
    assert "FoldStructures: `atom_feature`, `lazy` have no effect" in caplog.text


def property_prediction(**arguments):
    return tasks.PropertyPrediction(GearNetEncoder(21, [8], 1, readout="mean"), task=["fold_label"], criterion="ce",
                                    metric=["acc"], graph_construction_model=sequence_graph(), **arguments)


def sequence_graph():
    from torchdrug.layers import geometry
    return core.Registry.get("layers.ResidueGraphConstruction")(
        [geometry.AlphaCarbonNode()], [geometry.SequentialEdge(0)], edge_feature=None)


def test_stock_task_and_engine_train_although_the_training_set_lacks_the_last_class(loaded):
    train, valid, test = loaded.split()
    assert max(loaded[i]["fold_label"] for i in train.indices) < 3 == max(loaded.targets["fold_label"])
    task = property_prediction(num_class=loaded.num_classes["fold_label"])
    solver = core.Engine(task, train, valid, test, torch.optim.SGD(task.parameters(), 1e-3), batch_size=2)
    assert task.mlp.layers[-1].out_features == 4
    solver.train(1)
    assert 0 <= solver.evaluate("test")["accuracy [fold_label]"] <= 1


def test_run_fills_in_the_number_of_classes(loaded):
    config = EasyDict(dataset={"class": "FoldStructures"}, task={"class": "PropertyPrediction", "criterion": "ce"})
    labels.fill_in(config, loaded)
    assert config.task.task == ["fold_label"] and config.task.num_class == [4]


# === real data ===


def plain_lists(shared_data):
    """An independent reading of the published lists: split and class number of each domain."""
    start = os.path.join(shared_data, "original", "IEConv_HomologyTAPE__")
    with open(start + "class_map.txt") as file:
        numbers = dict(line.split() for line in file)
    members = {}
    for split, name in zip(SPLITS, ["training", "validation", *SPLITS[2:]]):
        with open(f"{start}{name}.txt") as file:
            members.update({line.split()[0]: (split, int(numbers[line.split()[-1]])) for line in file})
    return members


def test_targets_and_splits_equal_the_published_lists(shared_data, tmp_path, monkeypatch):
    """All 16,292, as an independent reading has them."""
    link_lists(shared_data, tmp_path, "HomologyTAPE")
    members = plain_lists(shared_data)
    store = NamesOnly("entry", sorted(members, key=lambda name: name[::-1]))
    monkeypatch.setattr("gearnet_plugin.datasets.fold.open_structures", lambda *_: store)
    dataset = FoldStructures(tmp_path, verbose=0)
    names = dataset.names
    found = {names[i]: (split, dataset.targets["fold_label"][i])
             for split, part in zip(SPLITS, dataset.split(SPLITS)) for i in part.indices}
    assert found == members and len(dataset) == len(members) and dataset.drops == []


def test_of_the_real_lists_what_is_missing_is_counted(shared_data, tmp_path):
    """All but one of 16,292, by a store that has one structure."""
    link_lists(shared_data, tmp_path, "HomologyTAPE")
    shutil.copy(bundled(SHORT[0]), tmp_path / "d1a04a2.pdb.gz")
    dataset = FoldStructures(tmp_path, structures=str(tmp_path / "d1a04a2.pdb.gz"), verbose=0, num_worker=1)
    members = plain_lists(shared_data)
    assert dataset.num_classes == {"fold_label": 1195}
    assert dict(dataset.drops).keys() == members.keys() - set(dataset.names) and len(dataset.drops) == len(members) - 1
    assert {split: listed for split, (_, listed) in dataset.coverage.items()} == {
        "train": 12312, "valid": 736, "test_fold": 718, "test_family": 1272, "test_superfamily": 1254}
    assert dataset.names == ["d1a04a2"] and dataset[0]["fold_label"] == members["d1a04a2"][1]


def test_checksums_are_those_of_the_published_lists(shared_data):
    for name, digest in LISTS.items():
        with open(os.path.join(shared_data, "original", f"IEConv_HomologyTAPE__{name}"), "rb") as file:
            assert hashlib.sha256(file.read()).hexdigest() == digest


@pytest.mark.slow
def test_real_structures_get_their_labels(shared_data, tmp_path):
    """Each domain that has a file, and each whole-chain domain whose chain has one, with the published label."""
    link_lists(shared_data, tmp_path, "HomologyTAPE")
    folders = ["domains", "domains_ca", "structures"]
    dataset = FoldStructures(tmp_path, verbose=0, structures=[os.path.join(shared_data, name) for name in folders])
    with open(os.path.join(shared_data, "labels", "fold.tsv")) as file:
        header, *rows = [line.rstrip("\n").split("\t") for line in file]
    rows = [dict(zip(header, row)) for row in rows]
    # of a domain whose chain is not held, another chain of the entry is given there, which no name tells
    rows = [row for row in rows if row["structure"].split("/")[0] in folders and "same_entity" not in row["match"]]
    members = plain_lists(shared_data)
    found = {}
    for index, number in enumerate(dataset.structures.numbers):
        source = dataset.structures.store[int(number)].source
        found[os.path.relpath(source, shared_data)] = dataset.targets["fold_label"][index]
    named = {row["structure"]: int(row["class_id"]) for row in rows}
    assert named.items() <= found.items() and len(named) > 1900
    assert all(members[row["scop_id"]] == (row["split"], int(row["class_id"])) for row in rows)
    assert len(dataset) + dataset.left_out["listed without structure"] == len(members)
    assert len(dataset) + dataset.left_out["structures without use"] == len(dataset.structures.store)
