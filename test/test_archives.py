"""Structures inside tar archives and FoldComp databases: listed in flat memory, read in place, the strange refused."""

import gzip
import io
import os
import struct
import tarfile
import tracemalloc

import pytest

from gearnet_plugin.structures import Entry, find_entries, read_entry, read_structure, try_read
from gearnet_plugin.structures.archives import tar_members
from structure_text import backbone, cif_text, names, pdb_text

PLAIN = pdb_text(backbone("ALA", 1), backbone("GLY", 2)).encode()
CIF = cif_text([*backbone("ALA", 1), *backbone("GLY", 2)]).encode()


def make_tar(path, members, **options):
    """A tar archive of (name or TarInfo, content) pairs."""
    with tarfile.open(path, **{"mode": "w", **options}) as archive:
        for name, content in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def special(name, type, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = type, link
    return info, b""


def refusals(path):
    """Reasons by name of the members that are refused."""
    return {member.name: member.refusal for member in tar_members(str(path)) if member.refusal}


MEMBERS = [
    ("b/one.pdb", PLAIN),
    ("a.cif", CIF),
    ("notes.txt", b"text"),
    ("packed.PDB.gz", gzip.compress(PLAIN)),
    ("./dot/two.ent", PLAIN),
    ("._b.pdb", b"macOS"),
    (".hidden/x.pdb", PLAIN),
    ("n" * 120 + "/" + "m" * 140 + ".pdb", PLAIN),
    ("ü.pdb", PLAIN),
]
READABLE = ["one", "a", "packed", "two", "m" * 140, "ü"]


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_members_are_read_in_place_in_the_order_of_the_archive(tmp_path, format):
    path = make_tar(tmp_path / "x.tar", MEMBERS, format=format)
    entries = list(find_entries(path))
    assert [entry.stem for entry in entries] == READABLE
    assert entries[0].source == f"{path}/b/one.pdb" and entries[0].file == str(path)
    assert [entry.ending for entry in entries] == [".pdb", ".cif", ".pdb.gz", ".ent", ".pdb", ".pdb"]
    for entry in entries:
        structure = read_entry(entry)
        assert names(structure) == ["ALA", "GLY"]
        assert (structure.name, structure.source) == (entry.stem, entry.source)
    (tmp_path / "one.pdb").write_bytes(PLAIN)
    alone = read_structure(tmp_path / "one.pdb")
    assert read_entry(entries[0]).positions.tolist() == alone.positions.tolist()


def test_members_agree_with_tarfile(tmp_path):
    """Names, places and sizes are those that Python's own reader gives, in all its formats."""
    for format in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        members = [(f"{'d' * (1 + i % 90)}/{i}.pdb", b"x" * (37 * i % 2000)) for i in range(300)]
        members += [("l" * 300 + ".pdb", b"y")] * (format != tarfile.USTAR_FORMAT)
        path = make_tar(tmp_path / "x.tar", members, format=format)
        with tarfile.open(path) as archive:
            expected = [(info.name, info.offset_data, info.size, "") for info in archive]
        assert [tuple(member) for member in tar_members(str(path))] == expected


def test_what_is_no_plain_file_or_points_out_is_refused_with_its_reason(tmp_path):
    path = make_tar(
        tmp_path / "x.tar",
        [
            ("fine.pdb", PLAIN),
            ("../up.pdb", PLAIN),
            ("a/../../up.pdb", PLAIN),
            ("a/../inside.pdb", PLAIN),
            ("/root.pdb", PLAIN),
            ("//root.pdb", PLAIN),
            ("C:\\windows.pdb", PLAIN),
            ("c:relative.pdb", PLAIN),
            ("\\share\\x.pdb", PLAIN),
            ("..\\up.pdb", PLAIN),
            ("two\nlines.pdb", PLAIN),
            ("inner.tar", PLAIN),
            ("inner.tgz", PLAIN),
            special("sym.pdb", tarfile.SYMTYPE, "/etc/passwd"),
            special("hard.pdb", tarfile.LNKTYPE, "fine.pdb"),
            special("fifo.pdb", tarfile.FIFOTYPE),
            special("char.pdb", tarfile.CHRTYPE),
            special("block.pdb", tarfile.BLKTYPE),
            special("volume.pdb", b"M"),
            special("folder.pdb", tarfile.DIRTYPE),
            ("last.pdb", PLAIN),
        ],
    )
    found = refusals(path)
    dotted, absolute = "leads out of the archive", "absolute path"
    expected = {
        "../up.pdb": dotted,
        "a/../../up.pdb": dotted,
        "a/../inside.pdb": dotted,
        "..\\up.pdb": dotted,
        "/root.pdb": absolute,
        "//root.pdb": absolute,
        "C:\\windows.pdb": absolute,
        "c:relative.pdb": absolute,
        "\\share\\x.pdb": absolute,
        "two\nlines.pdb": "control characters",
        "inner.tar": "archive within an archive",
        "inner.tgz": "archive within an archive",
        "sym.pdb": "symbolic link",
        "hard.pdb": "hard link",
        "fifo.pdb": "FIFO",
        "char.pdb": "device",
        "block.pdb": "device",
        "volume.pdb": "unknown type",
    }
    assert found.keys() == expected.keys()
    assert all(reason in found[name] for name, reason in expected.items()), found
    entries = list(find_entries(path))
    assert [entry.stem for entry in entries if not entry.refusal] == ["fine", "last"]
    with pytest.raises(ValueError, match=r"cannot read structure '.*sym.pdb': it is a symbolic link"):
        read_entry(next(entry for entry in entries if entry.stem == "sym"))
    assert try_read(entries[1]) == (None, "its name leads out of the archive (`..`)")
    assert sorted(os.listdir(tmp_path)) == ["x.tar"], "nothing is unpacked"


def test_empty_name_and_sparse_members_are_refused(tmp_path):
    sparse = tarfile.TarInfo("pax_sparse.pdb")
    sparse.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "s.pdb"}
    path = make_tar(tmp_path / "x.tar", [("", PLAIN), (sparse, PLAIN), special("old.pdb", b"S"), ("z.pdb", PLAIN)])
    assert refusals(path) == {
        "(at byte 0)": "its name is empty",
        "pax_sparse.pdb": "it is a sparse file",
        "old.pdb": "it is a sparse file",
    }
    assert [member.name for member in tar_members(str(path))][-1] == "z.pdb"


@pytest.mark.parametrize(
    "end, message",
    [
        (512 + 100, "damaged: a member at byte 0 should have 474 bytes, but the archive holds 100 more"),
        (1024 + 200, "cut off at byte 1224: its end mark is missing"),
        (3 * 1024, "cut off at byte 3072: its end mark is missing"),
    ],
)
def test_archive_cut_off_gives_what_comes_before_and_then_says_so(tmp_path, end, message):
    path = make_tar(tmp_path / "x.tar", [(f"{i}.pdb", PLAIN) for i in range(3)])
    path.write_bytes(path.read_bytes()[:end])
    *before, last = find_entries(path)
    assert [entry.stem for entry in before] == ["0", "1", "2"][: end // 1024]
    assert all(try_read(entry)[0] is not None for entry in before)
    assert message in last.refusal


def test_damaged_header_and_false_sizes(tmp_path):
    path = make_tar(tmp_path / "x.tar", [(f"{i}.pdb", PLAIN) for i in range(3)])
    whole = path.read_bytes()
    path.write_bytes(whole[:1024] + b"\x07" * 512 + whole[1536:])
    assert [member.name for member in tar_members(str(path))] == ["0.pdb", ""]
    assert "damaged at byte 1024, its rest is lost" in refusals(path)[""]

    info = tarfile.TarInfo("huge.pdb")
    info.size = 1 << 60
    path.write_bytes(whole[:1024] + info.tobuf(tarfile.GNU_FORMAT) + whole[1024:])
    assert "should have 1152921504606846976 bytes" in refusals(path)["huge.pdb"]
    info.type = tarfile.GNUTYPE_LONGNAME
    info.size = 1 << 21
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 21) + whole)
    assert "has 2097152 bytes, more than 1048576" in refusals(path)[""]
    path.write_bytes(b"")
    assert "cut off at byte 0" in refusals(path)[""]


def test_archive_of_anything_never_raises(tmp_path):
    """Bytes of an archive changed at random: listed and read to the end, every time."""
    import random

    draw = random.Random(0)
    whole = make_tar(tmp_path / "w.tar", MEMBERS).read_bytes()
    path = tmp_path / "x.tar"
    refused = 0
    for _ in range(150):
        data = bytearray(whole[: draw.choice([len(whole), draw.randrange(len(whole))])])
        for _ in range(draw.randrange(6)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        path.write_bytes(data)
        for entry in find_entries(path) if data.strip(b"\0") else ():
            assert entry.source.startswith(str(path))
            structure, reason = try_read(entry)
            assert (structure is None) == bool(reason) and not reason.startswith("unexpected"), reason
            refused += bool(reason)
    assert refused > 50


def test_listing_does_not_remember_members(tmp_path):
    block = b"".join(tarfile.TarInfo(f"AF-{i:08}-F1-model_v4.cif.gz").tobuf() for i in range(2000))
    path = tmp_path / "many.tar"
    path.write_bytes(block * 10 + bytes(1024))
    tracemalloc.start()
    try:
        assert sum(1 for _ in find_entries(path)) == 20_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20, "20,000 members remembered take 10 MiB"


# === compressed archives ===


def test_compressed_archive_is_unpacked_once_under_scratch(tmp_path):
    make_tar(tmp_path / "x.tar", MEMBERS)
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress((tmp_path / "x.tar").read_bytes()))
    plain = list(find_entries(tmp_path / "x.tar"))
    entries = list(find_entries(tmp_path / "x.tar.gz", scratch=tmp_path / "scratch"))
    assert [entry.stem for entry in entries] == READABLE
    assert entries[0].source == str(tmp_path / "x.tar.gz" / "b" / "one.pdb")
    assert [(e.offset, e.size) for e in entries] == [(e.offset, e.size) for e in plain]
    (unpacked,) = (tmp_path / "scratch").iterdir()
    before = unpacked.stat().st_mtime_ns
    assert list(find_entries(tmp_path / "x.tar.gz", scratch=tmp_path / "scratch")) == entries
    assert unpacked.stat().st_mtime_ns == before and len(list((tmp_path / "scratch").iterdir())) == 1
    assert names(read_entry(entries[0])) == ["ALA", "GLY"]


def test_content_decides_whether_an_archive_is_compressed(tmp_path):
    plain = make_tar(tmp_path / "x.tar", MEMBERS).read_bytes()
    (tmp_path / "plain.tar.gz").write_bytes(plain)
    (tmp_path / "packed.tar").write_bytes(gzip.compress(plain))
    for name in ("plain.tar.gz", "packed.tar"):
        assert [entry.stem for entry in find_entries(tmp_path / name, tmp_path / "s")] == READABLE


def test_temporary_copy_goes_with_the_process(tmp_path, python):
    make_tar(tmp_path / "x.tgz", MEMBERS, mode="w:gz")
    code = (
        "import sys; from gearnet_plugin.structures import find_entries, read_entry; "
        "entries = list(find_entries(sys.argv[1])); print(len(read_entry(entries[0])), entries[0].file)"
    )
    size, file = python("-c", code, tmp_path / "x.tgz", TMPDIR=tmp_path).stdout.split()
    assert size == "2" and file.startswith(str(tmp_path)) and not os.path.exists(file)
    assert os.listdir(tmp_path) == ["x.tgz"]


def test_compressed_archive_cut_off_or_damaged(tmp_path):
    import random

    noise = random.Random(0).randbytes(3000)  # so that the place of the cut is known by the proportion
    make_tar(tmp_path / "x.tar", [("a.pdb", PLAIN), ("b.txt", noise), ("c.pdb", PLAIN)])
    packed = gzip.compress((tmp_path / "x.tar").read_bytes())
    path = tmp_path / "x.tar.gz"
    path.write_bytes(packed[: len(packed) // 2])
    first, last = find_entries(path, tmp_path / "s")
    assert try_read(first)[0] is not None and "cut off" in last.refusal
    path.write_bytes(packed[:-8] + bytes(8))
    (only,) = find_entries(path, tmp_path / "s")
    assert only.source == str(path) and "gzip data is damaged" in only.refusal
    path.write_bytes(gzip.compress(b"")[:10] + b"\xff" * 99)
    (only,) = find_entries(path, tmp_path / "s")
    assert "gzip data is damaged" in only.refusal
    assert not [name for name in os.listdir(tmp_path / "s") if name.endswith(".partial")]


def test_bombs_are_refused_while_they_unpack(tmp_path, monkeypatch):
    monkeypatch.setattr("gearnet_plugin.structures.content.FREE_BYTES", 1 << 20)
    bomb = gzip.compress(bytes(64 << 20), 9)
    make_tar(tmp_path / "x.tar", [("bomb.pdb.gz", bomb), ("fine.pdb.gz", gzip.compress(PLAIN))])
    (tmp_path / "bomb.tar.gz").write_bytes(bomb)
    tracemalloc.start()
    try:
        first, second, third = map(
            try_read, find_entries([tmp_path / "x.tar", tmp_path / "bomb.tar.gz"], tmp_path / "s")
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "unpack to more than 200 times" in first[1] and second[0] is not None
    assert "unpack to more than 200 times" in third[1]
    assert peak < 40 << 20 and os.listdir(tmp_path / "s") == []


def test_no_room_for_the_copy_ends_the_listing_with_a_reason(tmp_path):
    make_tar(tmp_path / "x.tgz", MEMBERS, mode="w:gz")
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match="cannot unpack `.*x.tgz` under `.*file`: "):
        list(find_entries(tmp_path / "x.tgz", scratch=tmp_path / "file"))


# === FoldComp databases ===


def make_database(path, entries, lookup=True, reverse=False):
    """The files of a FoldComp database from (name, bytes) pairs: each entry is followed by a zero, which counts."""
    data, index, names = b"", [], []
    for key, (name, content) in enumerate(entries):
        index.append(f"{key}\t{len(data)}\t{len(content) + 1}\n")
        names.append(f"{key}\t{name}\t0\n")
        data += content + b"\0"
    path.write_bytes(data)
    path.with_name(path.name + ".index").write_text("".join(index))
    path.with_name(path.name + ".dbtype").write_bytes(struct.pack("<i", 12))
    if lookup:
        path.with_name(path.name + ".lookup").write_text("".join(names[::-1] if reverse else names))
    return path


@pytest.mark.parametrize("reverse", [False, True])
def test_database_is_listed_with_its_names(tmp_path, reverse):
    contents = [b"FCMP" + bytes([65 + i]) * i for i in range(5)]
    path = make_database(tmp_path / "db", [(f"AF-{i}.pdb", c) for i, c in enumerate(contents)], reverse=reverse)
    entries = list(find_entries(path))
    assert [entry.stem for entry in entries] == [f"AF-{i}" for i in range(5)]
    assert entries[3].source == f"{path}/AF-3.pdb" and entries[3].ending == ".fcz"
    data = path.read_bytes()
    assert [data[e.offset : e.offset + e.size] for e in entries] == [content + b"\0" for content in contents]


def test_database_without_lookup_or_damaged(tmp_path):
    path = make_database(tmp_path / "db", [("a", b"FCMPxx"), ("b", b"FCMPyy")], lookup=False)
    assert [entry.source for entry in find_entries(path)] == [f"{path}/0", f"{path}/1"]
    path.with_name("db.index").write_text("0\t0\t7\n1\t7\t900\nno number\n")
    fine, cut, line = find_entries(path)
    assert not fine.refusal and "should end at byte 907, but" in cut.refusal
    assert "line 3 of" in line.refusal and "is damaged" in line.refusal
    path.with_name("db.lookup").write_bytes(b"1\tonly\xff\t0\n")
    assert [entry.stem for entry in find_entries(path)] == ["0", "onlyÿ", "db"]


def test_only_foldcomp_databases_are_taken_for_one(tmp_path):
    """Foldseek's databases have the same files; a folder of them holds no structure."""
    make_database(tmp_path / "foldseek", [("a", b"DVQLAWWWV")])
    with pytest.raises(ValueError, match="no structure in"):
        list(find_entries(tmp_path))
    assert list(find_entries(tmp_path / "foldseek")) == [Entry(str(tmp_path / "foldseek"), str(tmp_path / "foldseek"))]
