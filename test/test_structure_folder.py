"""datasets.StructureFolder: which files, which chains, which labels; and what becomes of what is wrong."""
import gzip
import logging
import math
import pickle

import numpy as np
import pytest
import torch
import yaml
from easydict import EasyDict

import gearnet_plugin  # noqa: F401  first: makes torchdrug importable
from gearnet_plugin.datasets import StructureFolder, StructuresDropped, read_table
from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.models import GearNetEncoder
from gearnet_plugin.structures import RESIDUE_NAMES, read_structure
from gearnet_plugin.structures.bundled import bundled_path, bundled_table
from torchdrug import core, data, models, tasks, transforms


def pdb_text(chains, seed=0):
    """A Cα trace; ``chains`` holds the number of residues by chain id."""
    rng = np.random.default_rng(seed)
    lines, serial = [], 0
    for shift, (chain, length) in enumerate(chains.items()):
        steps = rng.normal(size=(length, 3))
        trace = (3.8 * steps / np.linalg.norm(steps, axis=-1, keepdims=True)).cumsum(0) + 40 * shift
        for i, (x, y, z) in enumerate(trace):
            serial += 1
            name = RESIDUE_NAMES[rng.integers(20)]
            # every fifth residue shares the number of the one before, with insertion code A
            number, code = (i, "A") if i % 5 == 4 else (i + 1, " ")
            lines.append(f"ATOM  {serial:5d}  CA  {name} {chain}{number:4d}{code}   "
                         f"{x:8.3f}{y:8.3f}{z:8.3f}  1.00{20 + i % 7:6.2f}           C")
        lines.append("TER")
    return "\n".join([*lines, "END", ""])


@pytest.fixture
def folder(tmp_path):
    """Three structures in two folders: chains A and B, chain A, chain C; beside them what is none."""
    (tmp_path / "more").mkdir()
    (tmp_path / "two.pdb").write_text(pdb_text({"A": 12, "B": 9}, seed=1))
    (tmp_path / "one.ent").write_text(pdb_text({"A": 15}, seed=2))
    with gzip.open(tmp_path / "more" / "third.pdb.gz", "wt") as file:
        file.write(pdb_text({"C": 11}, seed=3))
    (tmp_path / "._two.pdb").write_text("left by another system")
    (tmp_path / "README.md").write_text("no structure")
    return tmp_path


def write_table(folder, *rows, name="table.csv"):
    path = folder / name
    path.write_text("".join(f"{row}\n" for row in rows))
    return str(path)


def same(left, right):
    assert left.meta_dict.keys() == right.meta_dict.keys()
    assert all(torch.equal(getattr(left, key), getattr(right, key)) for key in left.meta_dict)


# === files and chains ===


def test_folder_is_searched_with_subfolders_in_order(folder):
    dataset = StructureFolder(folder)
    assert dataset.names == ["third_C", "one_A", "two_A", "two_B"]
    assert [len(structure) for structure in dataset.structures] == [11, 15, 12, 9]
    assert dataset.drops == [] and dataset.tasks == [] and not dataset.has_split


@pytest.mark.parametrize("make", [
    lambda folder: str(folder / "**" / "*.*"),
    lambda folder: str(folder / "*"),
    lambda folder: [folder / "more" / "third.pdb.gz", str(folder / "one.ent"), str(folder / "two.pdb")],
    lambda folder: [str(folder / "more"), str(folder / "*.ent"), str(folder / "*.*")],
    lambda folder: folder / "list.txt",
    lambda folder: str(folder / "table.tsv"),
], ids=["glob", "glob with a folder", "list", "list of folder and globs", "text file", "table"])
def test_every_form_of_path_finds_the_same_structures(folder, make):
    names = ["more/third.pdb.gz", "one.ent", "two.pdb"]
    (folder / "list.txt").write_text("# mine\n\n" + "\n".join(names) + "  # the last\n")
    write_table(folder, "structure", *names, name="table.tsv")
    dataset = StructureFolder(make(folder))
    assert dataset.names == ["third_C", "one_A", "two_A", "two_B"]
    for item, expected in zip(dataset, StructureFolder(folder), strict=True):
        same(item["graph"], expected["graph"])


def test_linked_folders_are_searched_once(folder):
    (folder / "more" / "loop").symlink_to(folder)
    (folder / "linked").symlink_to(folder / "more")
    assert len(StructureFolder(folder)) == 4


def test_item_is_the_protein_that_from_structure_makes(folder):
    dataset = StructureFolder(folder / "two.pdb")
    for item, structure in zip(dataset, read_structure(folder / "two.pdb").chains(), strict=True):
        assert isinstance(item["graph"], ResidueProtein) and item.keys() == {"graph"}
        same(item["graph"], ResidueProtein.from_structure(structure))
    assert data.Protein.id2alphabet[int(dataset[1]["graph"].insertion_code[4])] == "A"
    assert data.Protein.id2alphabet[int(dataset[1]["graph"].chain_id[0])] == "B"


def test_per_entry_keeps_all_chains_of_a_file_in_one_graph(folder):
    dataset = StructureFolder(folder, per="entry")
    assert dataset.names == ["third", "one", "two"]
    same(dataset[2]["graph"], ResidueProtein.from_structure(read_structure(folder / "two.pdb")))
    assert dataset[2]["graph"].chain_id.unique_consecutive(return_counts=True)[1].tolist() == [12, 9]


def test_files_of_one_name_are_told_apart(folder):
    text = (folder / "two.pdb").read_text()
    (folder / "more" / "two.pdb").write_text(text)
    (folder / "more" / "third.pdb").write_text(text)
    assert StructureFolder(folder).names == [
        "third.pdb_A", "third.pdb_B", "third.pdb.gz_C", "more/two_A", "more/two_B", "one_A", "two_A", "two_B"]


def test_processes_change_nothing(folder):
    (folder / "broken.pdb").write_text("nothing of use")
    alone, together = StructureFolder(folder), StructureFolder(folder, num_worker=2)
    assert alone.structures == together.structures and alone.names == together.names
    assert alone.drops == together.drops and len(alone.drops) == 1


@pytest.mark.parametrize("path, error, message", [
    ("nowhere", FileNotFoundError, "no such file or folder: `nowhere`, looked from"),
    ("nowhere/*.pdb", FileNotFoundError, r"nothing matches `nowhere/\*.pdb`"),
    ("nowhere.csv", FileNotFoundError, "no such table: `nowhere.csv`"),
    ([], ValueError, r"no structure in the list of 0 paths; expected files ending in .pdb"),
    ([3], ValueError, "a list of structures should hold paths, but found `3`"),
    (["a.pdb", "b.pdb"], ValueError, r"none of 2 structures can be used, the first:\s+a.pdb: no such file"),
])
def test_wrong_paths(path, error, message):
    with pytest.raises(error, match=message):
        StructureFolder(path)


def test_folder_without_structures(tmp_path):
    (tmp_path / "notes.md").write_text("none")
    with pytest.raises(ValueError, match="no structure in .*; expected files ending in .pdb, .ent"):
        StructureFolder(tmp_path)


@pytest.mark.parametrize("arguments, message", [
    (dict(per="model"), "per should be `chain` or `entry`, but found `model`"),
    (dict(unknown="alanine"), "unknown should be .*, but found `alanine`"),
    (dict(target="class"), r"target, kind and classes need a table \(.csv, .tsv\), but path is"),
])
def test_wrong_arguments(folder, arguments, message):
    with pytest.raises(ValueError, match=message):
        StructureFolder(folder, **arguments)


# === what cannot be used ===


@pytest.fixture
def faulty(folder):
    """A table whose rows 2, 4, 6 can be used; its split test cannot."""
    (folder / "broken.pdb").write_text("nothing of use")
    return write_table(folder, "structure,chain,split,y", "two.pdb,B,train,1", "broken.pdb,,valid,2",
                       "one.ent,A,valid,3", "gone.pdb,A,train,4", "two.pdb,A,train,0", "two.pdb,Z,test,6")


def test_what_cannot_be_used_is_left_out_and_told(faulty, folder, tmp_path, caplog):
    dataset = StructureFolder(faulty, target="y")
    assert dataset.names == ["two_B", "one_A", "two_A"] and dataset.targets == {"y": [1, 3, 0]}
    assert dict(dataset.drops) == {
        str(folder / "broken.pdb"): "row 3: it is not a structure: neither an mmCIF data block nor a PDB "
                                    "atom record in it",
        str(folder / "gone.pdb"): "row 5: no such file",
        str(folder / "two.pdb"): "row 7: no protein chain `Z`; there are `A`, `B`"}
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1 and "3 structures or labels cannot be used" in warnings[0].getMessage()
    dataset.write_drops(tmp_path / "drops.tsv")
    lines = (tmp_path / "drops.tsv").read_text().splitlines()
    assert lines[0] == "file\treason" and [tuple(line.split("\t")) for line in lines[1:]] == dataset.drops
    with pytest.raises(ValueError, match="no structure of split `test` can be used"):
        dataset.split()


def test_strict_goes_through_all_and_then_raises(faulty):
    with pytest.raises(StructuresDropped, match="3 structures or labels cannot be used") as caught:
        StructureFolder(faulty, target="y", strict=True)
    assert [reason[:5] for _, reason in caught.value.drops] == ["row 7", "row 3", "row 5"]
    assert all(reason in str(caught.value) for _, reason in caught.value.drops)
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301  made in this line
    assert again.drops == caught.value.drops


def test_an_unforeseen_error_in_one_file_ends_nothing(folder, monkeypatch):
    def read(path):
        if path.endswith("one.ent"):
            raise RuntimeError("a surprise\nin two lines")
        return read_structure(path)

    monkeypatch.setattr("gearnet_plugin.structures.sources.read_structure", read)
    dataset = StructureFolder(folder)
    assert dataset.names == ["third_C", "two_A", "two_B"]
    assert dataset.drops == [(str(folder / "one.ent"), "unexpected RuntimeError: a surprise in two lines")]


def test_residues_left_out_are_told(tmp_path, caplog):
    """Residues without a CA, and a chain without any, are counted, logged and listed."""
    atom = "ATOM  %5d  %-3s GLY %s%4d    %8.3f%8.3f%8.3f  1.00  0.00           %s\n"
    lines = [atom % (i + 1, "CA" if chain == "A" and i % 2 else "N", chain, i + 1, 3.8 * i, 0, 0,
                     "C" if chain == "A" and i % 2 else "N") for chain in "AQ" for i in range(6)]
    (tmp_path / "half.pdb").write_text("".join(lines) + "END\n")
    dataset = StructureFolder(tmp_path, verbose=0)
    assert len(dataset) == 1 and dataset.drops == []
    assert dataset.residues_left_out == {str(tmp_path / "half.pdb"): {"no CA": 9}}
    assert "residues left out: 9 x no CA, in 1 file" in caplog.text
    dataset.write_drops(tmp_path / "drops.tsv")
    assert "half.pdb\tresidues left out: 9 x no CA" in (tmp_path / "drops.tsv").read_text()
    from gearnet_plugin.embedding import LoadedEncoder
    from gearnet_plugin.models import GearNetEncoder
    from proteins import construction

    caplog.clear()
    result = LoadedEncoder(GearNetEncoder(21, [4], 7), construction()).embed(str(tmp_path / "half.pdb"))
    assert result.info["residues_left_out"] == dataset.residues_left_out
    assert "residues left out: 9 x no CA, in 1 file" in caplog.text


# === labels ===


@pytest.mark.parametrize("cells, kind, values, classes", [
    (["b", "a", "", "b"], "class", [1, 0, None, 1], ["a", "b"]),
    (["3", "0", "1", "1"], "class", [3, 0, 1, 1], ["0", "1", "2", "3"]),
    (["1.5", "-2", "", "nan"], "number", [1.5, -2.0, None, None], None),
    (["1e-3", ".5", "2.", "7"], "number", [0.001, 0.5, 2.0, 7.0], None),
    (["1.2.3.4", "1.2", "1.10", "1.2"], "class", [2, 1, 0, 1], ["1.10", "1.2", "1.2.3.4"]),
    (["x; y", "", "y;", "z;x;z"], "multilabel", [(0, 1), (), (1,), (0, 2)], ["x", "y", "z"]),
    (["0;2", "1", "", "2"], "multilabel", [(0, 2), (1,), (), (2,)], ["0", "1", "2"]),
])
def test_kind_and_values_follow_from_the_cells(tmp_path, cells, kind, values, classes):
    path = write_table(tmp_path, "structure,y", *[f"{i}.pdb,{cell}" for i, cell in enumerate(cells)])
    target = read_table(path, "y").targets["y"]
    assert target.kind == kind and target.classes == classes
    assert [None if value != value else value for value in target.values] == values


def test_one_word_among_measurements_is_an_error(tmp_path):
    """It would turn a regression into a classification of strings; NA and the like are no words but missing values."""
    cells = ["1.5", "2.5", "high", "3.5"]
    path = write_table(tmp_path, "structure,y", *[f"{i}.pdb,{cell}" for i, cell in enumerate(cells)])
    with pytest.raises(ValueError, match="row 4, column `y`: `high` stands among numbers such as `1.5`.*kind `class`"):
        read_table(path, "y")
    assert read_table(path, "y", kind="class").targets["y"].classes == ["1.5", "2.5", "3.5", "high"]
    path = write_table(tmp_path, "structure,y", "0.pdb,1.5", "1.pdb,NA", "2.pdb,n/a", "3.pdb,null")
    assert [v if v == v else None for v in read_table(path, "y").targets["y"].values] == [1.5, None, None, None]


def test_every_row_of_an_unreadable_file_is_accounted_for(tmp_path, folder):
    """A file that cannot be read is listed once for each row that names it."""
    path = write_table(tmp_path, "structure,chain", "gone.pdb,A", "gone.pdb,B", "gone.pdb,C", f"{folder}/one.ent,")
    dataset = StructureFolder(path, verbose=0)
    assert [reason.split(":")[0] for _, reason in dataset.drops] == ["row 2", "row 3", "row 4"]


@pytest.mark.parametrize("cells, kind, values", [
    (["1", "0"], "number", [1.0, 0.0]),
    (["1.0", "0.0"], "class", [1, 0]),
    (["x", "y"], "multilabel", [(0,), (1,)]),
    (["y;x", "x"], "class", [1, 0]),
])
def test_kind_can_be_given(tmp_path, cells, kind, values):
    path = write_table(tmp_path, "structure,y", *[f"{i}.pdb,{cell}" for i, cell in enumerate(cells)])
    target = read_table(path, "y", kind=kind).targets["y"]
    assert target.values == values and [type(v) for v in target.values] == [type(v) for v in values]


def test_classes_of_another_table_keep_their_numbers(folder):
    path = write_table(folder, "structure,y", "one.ent,beta", "two.pdb,other")
    dataset = StructureFolder(path, "y", classes=["alpha", "beta", "other"])
    assert dataset.targets["y"] == [1, 2, 2] and dataset.num_classes == {"y": 3}
    with pytest.raises(ValueError, match="row 3, column `y`: `other` is none of the classes given: `beta`"):
        StructureFolder(path, "y", classes=["beta"])


def test_classes_do_not_depend_on_which_structures_can_be_read(folder):
    path = write_table(folder, "structure,y", "gone.pdb,a", "one.ent,b")
    dataset = StructureFolder(path, "y")
    assert dataset.classes == {"y": ["a", "b"]} and dataset[0]["y"] == 1


def test_items_hold_classes_and_numbers_by_name(folder):
    path = write_table(folder, "structure,class,melting,other", "two.pdb,b,51.5,x", "one.ent,a,,y")
    dataset = StructureFolder(path, ["class", "melting"])
    assert dataset.tasks == ["class", "melting"] and dataset.num_classes == {"class": 2, "melting": 1}
    items = dataset[:]
    assert [item["class"] for item in items] == [1, 1, 0] and type(items[0]["class"]) is int
    assert [item["melting"] for item in items[:2]] == [51.5, 51.5] and math.isnan(items[2]["melting"])
    assert items[0].keys() == {"graph", "class", "melting"}
    assert "class x 2, 0 without" in repr(dataset) and "number x 1, 1 without" in repr(dataset)


def test_items_hold_several_labels_as_one_vector(folder):
    path = write_table(folder, "structure\tgo", "two.pdb\tGO:2;GO:1", "one.ent\t", "more/third.pdb.gz\tGO:3",
                       name="table.tsv")
    dataset = StructureFolder(path, "go")
    assert dataset.tasks == ["GO:1", "GO:2", "GO:3"] and dataset.num_classes == {"go": 3}
    assert dataset[0].keys() == {"graph", "targets"}
    targets = torch.stack([item["targets"] for item in dataset])
    assert targets.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_tables_as_spreadsheets_write_them(folder):
    """Byte order mark, quotes, Windows line ends, blank rows and empty cells at the end of a row."""
    text = '\ufeffstructure,"y, mine",split\r\n"two.pdb", a,train,,\r\n,,\r\none.ent,b ,\r\n'
    (folder / "table.csv").write_text(text, newline="")
    dataset = StructureFolder(folder / "table.csv", "y, mine")
    assert dataset.names == ["two_A", "two_B", "one_A"] and dataset.targets["y, mine"] == [0, 0, 1]
    (folder / "table.csv").write_text(text.replace(" a,", "1,"), newline="")
    with pytest.raises(ValueError, match="row 4, column `y, mine`: `b` is not a finite number"):
        read_table(folder / "table.csv", "y, mine", kind="number")


# rows of a table, arguments, message
FAULTY_TABLES = [
    ("", {}, "the table is empty"),
    ("structure,y", {}, "a header but no rows"),
    ("structures,y a.pdb,1", {}, "no column `structure` in the header, .* did you mean `structures`"),
    ("structure;y a.pdb;1", {}, "no column `structure` .*cells are separated by commas in .csv"),
    ("structure,y,y a.pdb,1,2", dict(target="y"), "2 columns are called `y`"),
    ("structure,y a.pdb,1", dict(target="z"), "no column `z` in the header, which has `structure`, `y`"),
    ("structure,y a.pdb,1", dict(split_column="set"), "no column `set`"),
    ("structure,y a.pdb,1", dict(chain_column="asym"), "no column `asym`"),
    ("structure,y a.pdb,1 b.pdb", {}, "row 3: expected 2 cells like the header, but found 1"),
    ("structure,y a.pdb,1,2", {}, "row 2: expected 2 cells like the header, but found 3"),
    ('structure,y a.pdb,"1', {}, "row 2: unexpected end of data"),
    ("structure,y a.pdb,1 ,2", {}, "row 3, column `structure`: the cell is empty"),
    ("structure,split a.pdb,train , b.pdb,dev", {},
     "row 4, column `split`: unknown split `dev`; allowed are `train`, `valid`, `test`, or an empty cell"),
    ("structure,y a.pdb,1 ./a.pdb,2", {}, "row 3, column `structure`: `./a.pdb` is already in row 2"),
    ("structure,chain a.pdb,A b.pdb,A a.pdb,A", {}, "row 4, .*chain `A` of `a.pdb` is already in row 2"),
    ("structure,chain a.pdb, a.pdb,A", {}, "row 3, .*chain `A` of `a.pdb` is already in row 2"),
    ("structure,chain a.pdb,A a.pdb,", {}, "row 3, .*`a.pdb` is already in row 2"),
    ("structure,chain a.pdb, b.pdb,A", dict(per="entry"),
     "row 3, column `chain`: it names chain `A`, but per is `entry`"),
    ("structure,y a.pdb,", dict(target="y"), "column `y`: no row has a label"),
    ("structure,y a.pdb,;", dict(target="y"), "column `y`: no row has a label"),
    ("structure,y a.pdb,1 b.pdb,many", dict(target="y", kind="number"),
     "row 3, column `y`: `many` is not a finite number"),
    ("structure,y a.pdb,1e999", dict(target="y"), "row 2, column `y`: `1e999` is not a finite number"),
    ("structure,y a.pdb,1 b.pdb,-1", dict(target="y"), "row 3, column `y`: class `-1` is negative"),
    ("structure,y a.pdb,1 b.pdb,100001", dict(target="y"), "row 3, .*class `100001` is larger than 100000"),
    ("structure,y a.pdb,1", dict(target="y", kind="real"), "unknown kind `real`; allowed are `class`"),
    ("structure,y a.pdb,1", dict(kind="class"), "kind and classes describe a target, but none is given"),
    ("structure,y a.pdb,1", dict(target=["y", "y"]), "target names a column twice"),
    ("structure,y,z a.pdb,1,2", dict(target=["y", "z"], kind=["class"]),
     "kind should be given for each of 2 targets, but found 1"),
    ("structure,y a.pdb,1.5", dict(target="y", classes=["a"]), "classes are given, but these are numbers"),
    ("structure,y a.pdb,b", dict(target="y", classes=["b", "b"]), "classes given name one twice"),
    ("structure,y a.pdb,b", dict(target="y", classes="b"), "classes should be a list of names, but found"),
    ("structure,y,z a.pdb,a;b,1", dict(target=["y", "z"]), "`y` has several labels .* stands alone"),
    ("structure,graph a.pdb,1", dict(target="graph"), "a target cannot be called `graph`"),
]


@pytest.mark.parametrize("rows, arguments, message", FAULTY_TABLES)
def test_faulty_tables(tmp_path, rows, arguments, message):
    with pytest.raises(ValueError, match=message):
        StructureFolder(write_table(tmp_path, *rows.split()), **arguments)


def test_table_in_another_encoding(tmp_path):
    (tmp_path / "table.csv").write_bytes("structure,y\na.pdb,é\n".encode("latin-1"))
    with pytest.raises(ValueError, match="not UTF-8 text; save the table as CSV UTF-8"):
        StructureFolder(tmp_path / "table.csv")


# === splits ===


def test_split_returns_what_the_table_names_in_fixed_order(folder):
    path = write_table(folder, "structure,chain,set", "two.pdb,B,test", "one.ent,,", "two.pdb,A,train",
                       "more/third.pdb.gz,,test")
    dataset = StructureFolder(path, split_column="set")
    assert dataset.has_split and dataset.split_names == ["train", "test"]
    assert [list(subset.indices) for subset in dataset.split()] == [[2], [0, 3]]
    assert "split: train 1, test 2, none 1" in repr(dataset)


def test_no_split(folder):
    for path in (folder, write_table(folder, "structure,split", "one.ent,")):
        dataset = StructureFolder(path)
        assert not dataset.has_split and dataset.split_names == []
        with pytest.raises(ValueError, match="have no splits; use a table with a column `split`"):
            dataset.split()


# === as a dataset of TorchDrug ===


def test_items_are_their_own(folder):
    dataset = StructureFolder(folder)
    before = pickle.dumps(dataset.structures)
    for key in dataset[0]["graph"].meta_dict:
        getattr(dataset[0]["graph"], key).zero_()
    assert pickle.dumps(dataset.structures) == before
    same(dataset[0]["graph"], dataset.graph(0))


def test_indexing_is_that_of_a_sequence(folder):
    dataset = StructureFolder(folder)
    lengths = [11, 15, 12, 9]
    for index in (slice(None), slice(1, 9), slice(-2, None), [3, 0]):
        expected = [lengths[i] for i in index] if isinstance(index, list) else lengths[index]
        assert [int(item["graph"].num_residue) for item in dataset[index]] == expected
    assert dataset[-1]["graph"].num_residue == dataset[np.int64(3)]["graph"].num_residue == 9
    with pytest.raises(IndexError):
        dataset[4]
    assert isinstance(dataset, data.ProteinDataset)
    assert dataset.node_feature_dim == dataset.residue_feature_dim == 21


def test_transform_gets_the_whole_item(folder):
    path = write_table(folder, "structure,y", "one.ent,1", "two.pdb,0")

    def flip(item):
        return {**item, "y": 1 - item["y"]}

    transform = transforms.Compose([transforms.TruncateProtein(10), transforms.ProteinView("residue"), flip])
    dataset = StructureFolder(path, "y", transform=transform)
    assert [(int(item["graph"].num_residue), item["y"]) for item in dataset] == [(10, 0), (10, 1), (9, 1)]


def test_config_makes_the_same_dataset_again(folder):
    """Also for a target called ``class``, the key by which TorchDrug knows the configuration of an object."""
    path = write_table(folder, "structure,class,go", "two.pdb,b,x;y", "one.ent,a,z")
    config = yaml.safe_load(f"""
        class: StructureFolder
        path: {path}
        target: [class, go]
        kind: [class, class]
        classes: [[a, b, c], null]
        transform: {{class: TruncateProtein, max_length: 10}}
    """)
    dataset = core.Configurable.load_config_dict(EasyDict(config))
    again = core.Configurable.load_config_dict(dataset.config_dict())
    assert type(again) is StructureFolder and again.config_dict() == dataset.config_dict()
    assert dataset.config_dict()["class"] == "datasets.StructureFolder"
    assert again.classes == {"class": ["a", "b", "c"], "go": ["x;y", "z"]}
    for left, right in zip(dataset, again, strict=True):
        assert left["graph"].num_residue <= 10 and left["class"] == right["class"]
        same(left["graph"], right["graph"])


def test_pickle_keeps_items(folder):
    path = write_table(folder, "structure,split,go", "two.pdb,train,x;y", "one.ent,test,z")
    dataset = StructureFolder(path, "go")
    again = pickle.loads(pickle.dumps(dataset))  # noqa: S301  made in this line
    assert [subset.indices for subset in again.split()] == [[0, 1], [2]]
    for left, right in zip(dataset, again, strict=True):
        same(left["graph"], right["graph"])
        assert torch.equal(left["targets"], right["targets"])


def test_loader_workers_give_the_batches_of_one_process(folder):
    path = write_table(folder, "structure,y,z", "two.pdb,1,0.5", "one.ent,,2", "more/third.pdb.gz,0,")
    dataset = StructureFolder(path, ["y", "z"])
    batches = [list(data.DataLoader(dataset, 3, num_workers=n)) for n in (0, 2)]
    for left, right in zip(*batches, strict=True):
        same(left["graph"], right["graph"])
        assert all(left[key].equal(right[key]) or left[key].isnan().any() for key in "yz")
    assert batches[1][0]["y"][:2].tolist() == [1, 1] and batches[1][0]["y"][2].isnan()
    subsets = torch.utils.data.random_split(dataset, [3, 1], torch.Generator().manual_seed(0))
    assert sorted(len(subset[i]["graph"].residue_type) for subset in subsets for i in range(len(subset))) == [
        9, 11, 12, 15]


def construction():
    return core.Configurable.load_config_dict(EasyDict({
        "class": "ResidueGraphConstruction", "edge_layers": [{"class": "SequentialEdge", "max_distance": 2}],
        "edge_feature": None}))


@pytest.mark.parametrize("make", [
    lambda: models.GCN(21, [8]),
    lambda: GearNetEncoder(21, [8], num_relation=5),
], ids=["stock GCN", "GearNetEncoder"])
def test_engine_fine_tunes_classes_and_numbers(folder, make):
    path = write_table(folder, "structure,chain,split,y,z", "two.pdb,A,train,a,1.5", "two.pdb,B,train,b,",
                       "one.ent,A,train,,2.5", "more/third.pdb.gz,C,valid,a,0.5")
    dataset = StructureFolder(path, ["y", "z"])
    for target, criterion, metric in (("y", "ce", "acc"), ("z", "mse", "mae")):
        task = tasks.PropertyPrediction(make(), task=target, criterion=criterion, metric=metric,
                                        graph_construction_model=construction(), num_mlp_layer=2)
        train_set, valid_set = dataset.split()
        solver = core.Engine(task, train_set, valid_set, valid_set, torch.optim.Adam(task.parameters(), 1e-2),
                             batch_size=2, num_worker=0)
        assert task.num_class == [dataset.num_classes[target]]
        weights = [p.detach().clone() for p in task.parameters()]
        solver.train(num_epoch=1)
        result = solver.evaluate("valid")
        assert not all(map(torch.equal, weights, task.parameters()))
        assert len(result) == 1 and all(math.isfinite(value) for value in result.values())


def test_engine_fine_tunes_several_labels(folder):
    path = write_table(folder, "structure,split,go", "two.pdb,train,x;y", "one.ent,train,",
                       "more/third.pdb.gz,valid,y;z")
    dataset = StructureFolder(path, "go")
    train_set, valid_set = dataset.split()
    task = tasks.MultipleBinaryClassification(models.GCN(21, [8]), task=range(len(dataset.tasks)),
                                              graph_construction_model=construction())
    solver = core.Engine(task, train_set, valid_set, valid_set, torch.optim.Adam(task.parameters()),
                         batch_size=2)
    solver.train(num_epoch=1)
    assert all(math.isfinite(value) for value in solver.evaluate("valid").values())


# === real structures ===


def test_bundled_structures_with_their_classes():
    rows = bundled_table()
    dataset = StructureFolder(bundled_path() / "chains.tsv", ["class", "helix"], strict=True)
    assert [len(structure) for structure in dataset.structures] == [row["length"] for row in rows]
    classes = dataset.classes["class"]
    assert classes == ["alpha", "beta", "mixed"] and dataset.kinds["helix"] == "number"
    assert [classes[value] for value in dataset.targets["class"]] == [row["class"] for row in rows]
    assert dataset.targets["helix"] == [row["helix"] for row in rows]
    for name, subset in zip(dataset.split_names, dataset.split(), strict=True):
        assert list(subset.indices) == [i for i, row in enumerate(rows) if row["split"] == name]
