"""Which structures a path stands for, and the names that tell them apart."""

import os
import pickle
import tarfile

import pytest

from gearnet_plugin.structures import (
    Entry,
    find_entries,
    find_structures,
    read_entry,
    read_structure,
    read_structures,
    try_read,
    unique_names,
)
from structure_text import backbone, names, pdb_text

PLAIN = pdb_text(backbone("ALA", 1), backbone("GLY", 2))


@pytest.fixture
def folder(tmp_path):
    """A folder with files, subfolders, archives, and what is no structure."""
    for name in [
        "b.pdb",
        "a/z.pdb",
        "a/y.cif",
        "a-b.pdb",
        "a.pdb",
        "c/d/e.ent",
        ".hidden/x.pdb",
        "._b.pdb",
        "n.txt",
        "a/m.md",
    ]:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(PLAIN)
    with tarfile.open(tmp_path / "data" / "a" / "t.tar", "w") as archive:
        archive.add(tmp_path / "data" / "b.pdb", "m/2.pdb")
        archive.add(tmp_path / "data" / "b.pdb", "m/1.pdb")
    with tarfile.open(tmp_path / "data" / "c.tgz", "w:gz") as archive:
        archive.add(tmp_path / "data" / "b.pdb", "3.pdb")
    return tmp_path / "data"


def found(paths, folder):
    return [os.path.relpath(entry.source, folder) for entry in find_entries(paths)]


EVERYTHING = [
    "a-b.pdb",
    "a.pdb",
    "a/t.tar/m/2.pdb",
    "a/t.tar/m/1.pdb",
    "a/y.cif",
    "a/z.pdb",
    "b.pdb",
    "c.tgz/3.pdb",
    "c/d/e.ent",
]


def test_folder_in_the_order_of_its_paths_with_its_archives(folder):
    assert found(folder, folder) == EVERYTHING
    files = [source for source in EVERYTHING if "/t.tar" not in source and ".tgz" not in source]
    assert files == sorted(files)


def test_every_form_of_path(folder, monkeypatch):
    assert found([folder / "a", folder / "b.pdb"], folder) == EVERYTHING[2:7]
    assert found(str(folder / "a" / "*"), folder) == EVERYTHING[2:6]
    assert found(str(folder / "**"), folder) and sorted(found(str(folder / "**"), folder)) == sorted(EVERYTHING)
    assert found(folder / "a" / "t.tar", folder) == EVERYTHING[2:4]
    (folder / "n.lst").write_text("# mine\nb.pdb\n a/t.tar \n\ngone.pdb # not there\n")
    assert found(folder / "n.lst", folder) == ["b.pdb", *EVERYTHING[2:4], "gone.pdb"]
    assert found([folder, folder / "gone.pdb", folder / "a" / "t.tar"], folder) == [*EVERYTHING, "gone.pdb"]
    monkeypatch.chdir(folder)
    assert [entry.source for entry in find_entries("a/t.tar")] == ["a/t.tar/m/2.pdb", "a/t.tar/m/1.pdb"]
    assert [entry.source for entry in find_entries(["./b.pdb", folder / "b.pdb", "a/../b.pdb"])] == ["b.pdb"]
    assert find_structures("a") == list(find_entries("a"))


@pytest.mark.parametrize(
    "paths, error, message",
    [
        ("gone", FileNotFoundError, "no such file or folder: `gone`, looked from"),
        ("*.gone", FileNotFoundError, r"nothing matches `\*.gone`"),
        (["*.gone"], FileNotFoundError, r"nothing matches `\*.gone`"),
        (7, TypeError, "not iterable"),
        ([7], ValueError, "a list of structures should hold paths, but found `7`"),
    ],
)
def test_what_stands_for_nothing_is_told_before_anything_is_read(paths, error, message):
    with pytest.raises(error, match=message):
        find_entries(paths)


def test_source_without_structures_is_an_error_at_its_end(tmp_path):
    (tmp_path / "notes.md").write_text("none")
    with pytest.raises(
        ValueError, match=f"no structure in `{tmp_path}`; expected files ending in .pdb, .*tar archives"
    ):
        list(find_entries(tmp_path))
    with pytest.raises(ValueError, match="no structure in the list of 0 paths"):
        list(find_entries([]))


def test_folders_through_links_once_and_unlistable_ones_told(folder):
    (folder / "loop").symlink_to(folder)
    (folder / "zz").symlink_to(folder / "a")
    assert found(folder, folder) == EVERYTHING
    if os.geteuid() != 0:  # nothing is closed to root
        (folder / "a").chmod(0)
        try:
            assert [entry.refusal for entry in find_entries(folder) if entry.refusal] == [
                "the folder must not be listed"
            ]
        finally:
            (folder / "a").chmod(0o700)


def test_entries_travel_between_processes(folder):
    entries = find_structures(folder)
    assert pickle.loads(pickle.dumps(entries)) == entries  # noqa: S301  made in this line
    assert len(set(entries)) == len(entries) and str(entries[0]) == entries[0].source
    alone = list(read_structures(entries, verbose=0))
    together = list(read_structures(entries, num_worker=2, verbose=0))
    assert alone == together
    assert [structure is not None for structure, _ in alone] == [True] * len(EVERYTHING)


def test_reading_an_entry_is_reading_its_file(folder):
    for entry in find_entries(folder):
        structure = read_entry(entry)
        assert names(structure) == ["ALA", "GLY"] and (structure.name, structure.source) == (entry.stem, entry.source)
    assert read_entry(Entry(str(folder / "b.pdb"), str(folder / "b.pdb"))) == read_structure(folder / "b.pdb")


def test_what_goes_wrong_has_a_reason_in_one_line(folder, monkeypatch):
    member = next(find_entries(folder / "a" / "t.tar"))
    (folder / "bad.pdb").write_text("nothing")
    bad = Entry(str(folder / "bad.pdb"), str(folder / "bad.pdb"))
    assert try_read(bad) == (None, "it is not a structure: neither an mmCIF data block nor a PDB atom record in it")
    assert try_read(Entry("gone.pdb", "gone.pdb")) == (None, "no such file")
    archive = folder / "a" / "t.tar"
    archive.write_bytes(archive.read_bytes()[: member.offset + 188])
    assert try_read(member) == (None, f"it is cut off: 188 of its {len(PLAIN)} bytes are there")
    archive.unlink()
    assert try_read(member) == (None, "no such file")
    with pytest.raises(FileNotFoundError, match="t.tar`, which holds structure '.*2.pdb', does not exist"):
        read_entry(member)

    def surprise(path):
        raise RuntimeError("in\ntwo lines")

    monkeypatch.setattr("gearnet_plugin.structures.sources.read_structure", surprise)
    assert try_read(bad) == (None, "unexpected RuntimeError: in two lines")


# === names ===


@pytest.mark.parametrize(
    "items, expected",
    [
        ([("x/a.pdb", "_A"), ("x/a.pdb", "_B"), ("x/b.pdb", "")], ["a_A", "a_B", "b"]),
        ([("x/a.pdb", "_A"), ("y/a.pdb", "_A"), ("y/a.pdb", "_B")], ["x/a_A", "y/a_A", "y/a_B"]),
        ([("a.pdb", ""), ("a.cif", "")], ["a.pdb", "a.cif"]),
        ([("a.pdb", "_A"), ("a.pdb", "_B"), ("a_B.pdb", "")], ["a.pdb_A", "a.pdb_B", "a_B.pdb"]),
        ([("t.tar/a.pdb", ""), ("t.tar/a.pdb", ""), ("t.tar/b.pdb", "")], ["a", "a#2", "b"]),
        ([("t.tar/a.pdb", ""), ("a.pdb", "")], ["t.tar/a", "a"]),
        ([], []),
    ],
)
def test_unique_names(items, expected):
    assert unique_names(items) == expected


def test_names_are_unique_whatever_the_files():
    import random

    draw = random.Random(0)
    stems = ["a", "a_B", "a_B_C", "a.pdb", "a#2", "b/a", "b/a_B"]
    for _ in range(300):
        items = [
            (draw.choice(stems) + draw.choice([".pdb", ".cif"]), draw.choice(["", "_B", "_C", "_B_C"]))
            for _ in range(9)
        ]
        given = unique_names(items)
        assert len(set(given)) == len(items)
        assert unique_names(items) == given


def test_many_of_one_name_are_numbered_in_one_go():
    """Minutes, if each were numbered from the beginning."""
    items = [("t.tar/a.pdb", "")] * 20000
    assert unique_names([*items, ("t.tar/b.pdb", "")])[-2:] == ["a#20000", "b"]


def test_names_of_chains_and_files_do_not_meet(tmp_path):
    """Chain B of a.pdb is called a_B, as a file may be."""
    from gearnet_plugin.datasets import StructureFolder

    (tmp_path / "a.pdb").write_text(pdb_text(backbone("ALA", 1), backbone("GLY", 1, chain="B")))
    (tmp_path / "a_B.pdb").write_text(pdb_text(backbone("SER", 1, chain=" ")))
    dataset = StructureFolder(tmp_path, verbose=0)
    assert dataset.names == ["a.pdb_A", "a.pdb_B", "a_B.pdb"]
    assert [structure.sequence for structure in dataset.structures] == ["A", "G", "S"]


def test_folder_of_archives_as_dataset_and_embedded(folder):
    from gearnet_plugin.datasets import StructureFolder
    from gearnet_plugin.embedding import LoadedEncoder
    from gearnet_plugin.models import GearNetEncoder
    from proteins import construction

    dataset = StructureFolder(folder / "a", verbose=0)
    assert dataset.names == ["2_A", "1_A", "y_A", "z_A"] and dataset.drops == []
    assert dataset.structures[0].source == str(folder / "a" / "t.tar" / "m" / "2.pdb")
    result = LoadedEncoder(GearNetEncoder(21, [4], 7), construction()).embed(folder / "a", verbose=0)
    assert result.names == dataset.names and result.sources == [s.source for s in dataset.structures]
