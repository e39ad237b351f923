"""The reader on files as they come: endings that lie, and damage."""

import gzip
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gearnet_plugin.structures import read_structure, split_ending
from structure_text import atom, backbone, cif_text, names, pdb_text, write

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def read(tmp_path):
    """Write a text (or bytes) under a name and read it."""
    return lambda content, name="test.pdb": read_structure(write(tmp_path / name, content))


PLAIN = pdb_text(backbone("ALA", 1), backbone("GLY", 2))
PLAIN_CIF = cif_text([*backbone("ALA", 1), *backbone("GLY", 2)])


@pytest.mark.parametrize(
    "name, content",
    [
        ("x.pdb", PLAIN),
        ("x.ENT", PLAIN),
        ("x.cif", PLAIN_CIF),
        ("x.mmcif", "# a comment first\n\n" + PLAIN_CIF),
        ("x.pdb.gz", gzip.compress(PLAIN.encode())),
        ("x.ent.gz", gzip.compress(PLAIN[:243].encode()) + gzip.compress(PLAIN[243:].encode())),
        ("x.CIF.gz", gzip.compress(PLAIN_CIF.encode())),
        ("mmcif_inside.pdb", PLAIN_CIF),
        ("pdb_inside.cif.gz", gzip.compress(PLAIN.encode())),
        ("gzip_inside.pdb", gzip.compress(PLAIN.encode())),
        ("plain_inside.pdb.gz", PLAIN),
        ("bom.pdb", b"\xef\xbb\xbf" + PLAIN.encode()),
        ("bom.cif", b"\xef\xbb\xbf" + PLAIN_CIF.encode()),
        ("windows.pdb", PLAIN.replace("\n", "\r\n")),
        ("latin1.pdb", "TITLE     Müller\n".encode("latin-1") + PLAIN.encode()),
        ("two_blocks.cif", "data_first\n_entry.id x\n" + PLAIN_CIF),
        (
            "old.pdb",
            "".join(f"{line[:66]}      1ABC{i:4}\n" for i, line in enumerate(PLAIN.splitlines(), 81)),
        ),
    ],
)
def test_content_decides(read, name, content):
    structure = read(content, name)
    assert names(structure) == ["ALA", "GLY"] and structure.name == name.split(".")[0]


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("x.mmtf", PLAIN_CIF, r"ending is not one of .pdb, .ent, .cif, .mmcif, .*, .h5 \(each also with .gz\)"),
        ("x", PLAIN, "ending is not one of"),
        ("x.pdb", "", "empty"),
        ("x.pdb", "\n \n", "empty"),
        ("x.pdb.gz", gzip.compress(b""), "empty"),
        ("x.cif", b"\x83\xa7\x00\x00binary", "binary data"),
        ("x.pdb", "<html>404 Not Found</html>\n", "not a structure"),
        ("x.pdb", "HEADER    NOTHING ELSE\nEND\n", "not a structure"),
        ("x.pdb", PLAIN[:-40], "damaged, cut off .*too short"),
        ("x.pdb.gz", gzip.compress(PLAIN.encode())[:-20], "truncated: its gzip data"),
        ("x.pdb.gz", gzip.compress(PLAIN.encode())[:10] + b"\xff" * 50, "gzip data is damaged"),
        ("x.cif", PLAIN_CIF[:-30], "cut off .*Wrong number of values in loop _atom_site"),
        ("x.cif", "data_ligand\n_cell.length_a 5\n", "no data block with _atom_site"),
        ("x.pdb", pdb_text(atom("O", "HOH", record="HETATM")), "no protein residue"),
        (
            "x.pdb",
            pdb_text(atom("N"), atom("N", number=2)),
            r"no protein residue with a CA atom \(dropped: 2 x no CA\)",
        ),
    ],
)
def test_unreadable_file_is_a_value_error_with_file_and_reason(read, name, content, message):
    with pytest.raises(ValueError, match=f"cannot read structure '.*{re.escape(name)}': .*{message}"):
        read(content, name)


def test_what_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing.pdb' does not exist"):
        read_structure(tmp_path / "missing.pdb")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_structure(str(tmp_path / "missing" / "x.cif.gz"))
    (tmp_path / "folder.pdb").mkdir()
    with pytest.raises(ValueError, match="folder.pdb': it is a directory"):
        read_structure(tmp_path / "folder.pdb")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.pdb")
        with pytest.raises(ValueError, match="not a regular file"):
            read_structure(tmp_path / "pipe.pdb")


def test_a_gzip_bomb_is_refused_before_it_unpacks(read, monkeypatch):
    monkeypatch.setattr("gearnet_plugin.structures.content.MAX_BYTES", 10_000)
    with pytest.raises(ValueError, match="larger than 10000 bytes when unpacked"):
        read(gzip.compress(b" " * 1_000_000), "x.pdb.gz")
    with pytest.raises(ValueError, match="larger than 10000 bytes"):
        read(" " * 10_001)


def test_damaged_text_never_raises_anything_else(read):
    """Cut, shuffled and overwritten texts are read or refused by a ValueError."""
    draw = random.Random(0)
    outcomes = {"read": 0, "refused": 0}
    for _ in range(400):
        name, text = draw.choice([("x.pdb", PLAIN), ("x.cif", PLAIN_CIF)])
        data = bytearray(text.encode())
        for _ in range(draw.randrange(4)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        lines = bytes(data[: draw.randrange(len(data) // 2, len(data) + 1)]).split(b"\n")
        if draw.random() < 0.3:
            draw.shuffle(lines)
        try:
            read(b"\n".join(lines), name)
            outcomes["read"] += 1
        except ValueError as error:
            outcomes["refused"] += name in str(error)
    assert sum(outcomes.values()) == 400, "every refusal names the file"
    assert min(outcomes.values()) > 20, "both outcomes occur, so the test says something"


def test_split_ending():
    assert split_ending("a/1a8o.B.CIF.gz") == ("1a8o.B", ".cif.gz")
    assert split_ending(Path("pdb1gdr.ent")) == ("pdb1gdr", ".ent")
    assert split_ending("x.BCIF.gz") == ("x", ".bcif.gz") and split_ending("x.h5") == ("x", ".h5")
    assert split_ending("x.tar.gz") == ("x.tar.gz", "") and split_ending("x.tar") == ("x.tar", "")
    assert split_ending("notes.txt") == ("notes.txt", "") and split_ending(".pdb") == (".pdb", "")


def test_reading_needs_no_torch():
    """The parent package imports torch; this one must not, so that other programs can use it alone."""
    code = (
        "import sys, types; parent = types.ModuleType('gearnet_plugin'); "
        f"parent.__path__ = [{str(ROOT / 'gearnet_plugin')!r}]; sys.modules['gearnet_plugin'] = parent; "
        "import gearnet_plugin.structures; "
        "unwanted = {'torch', 'torchdrug', 'gearnet_plugin.compat', 'biotite', 'msgpack', 'foldcomp', 'h5py'}; "
        "print(sorted(unwanted & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
