"""Archives unpacked: whole or not at all, nothing outside the folder, nothing strange within it."""
import collections
import errno
import gzip
import io
import json
import multiprocessing
import os
import random
import shutil
import struct
import tarfile
import zipfile

import pytest

from gearnet_plugin.structures import unpacking
from gearnet_plugin.structures.extract import STAMP, extract

FILES = {"a/one.tsv": b"x\ty\n" * 900, "a/b/two.hdf5": random.Random(0).randbytes(70_000), "three": b"", "ü.txt": b"u"}


def make_zip(path, members, method=zipfile.ZIP_DEFLATED):
    """A zip file of (name or ZipInfo, content) pairs."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def make_tar(path, members, mode="w", **options):
    """A tar archive of (name or TarInfo, content) pairs."""
    with tarfile.open(path, mode, **options) as archive:
        for name, content in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def make_tgz(path, members):
    return make_tar(path, members, "w:gz")


KINDS = {"x.zip": make_zip, "x.tar": make_tar, "x.tgz": make_tgz, "x.tar.gz": make_tgz}


def tar_member(name, type=tarfile.REGTYPE, **fields):
    info = tarfile.TarInfo(name)
    info.type = type
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def zip_member(name, mode=0o100644, **fields):
    info = zipfile.ZipInfo("placeholder")
    info.filename = info.orig_filename = name
    info.external_attr = mode << 16
    info.create_system = 3
    for key, value in fields.items():
        setattr(info, key, value)
    return info


@pytest.fixture(autouse=True)
def synced(monkeypatch):
    """The calls of os.sync(), none of which waits for the disk of this machine."""
    calls = []
    monkeypatch.setattr(os, "sync", lambda: calls.append(os.getcwd()), raising=False)
    return calls


@pytest.fixture
def unpack(tmp_path):
    """extract() into a folder that is not there yet."""
    def unpack(archive, **options):
        return extract(archive, tmp_path / "out" / "x", **{"verbose": 0, **options})
    return unpack


def content(folder):
    """Files of a folder by their place, without the stamp."""
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*") if path.is_file() and path.name != STAMP}


def assert_nothing_left(tmp_path):
    out = tmp_path / "out"
    assert not out.exists() or os.listdir(out) == []


# === what is allowed ===


@pytest.mark.parametrize("name", KINDS)
def test_all_files_come_as_they_are(tmp_path, unpack, name):
    folder = unpack(KINDS[name](tmp_path / name, FILES.items()))
    assert folder == tmp_path / "out" / "x" and content(folder) == FILES
    assert os.listdir(tmp_path / "out") == ["x"]
    stamp = json.loads((folder / STAMP).read_text())
    assert (stamp["archive"], stamp["files"], stamp["bytes"]) == (name, 4, sum(map(len, FILES.values())))


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tar_agrees_with_tarfile_in_all_its_formats(tmp_path, unpack, format):
    members = {f"./{'d' * (1 + i % 90)}/{i}.pdb": b"x" * (37 * i % 2000) for i in range(200)}
    if format != tarfile.USTAR_FORMAT:
        members["l" * 120 + "/" + "m" * 240] = b"long"
    path = make_tar(tmp_path / "x.tar", [(tar_member("./", tarfile.DIRTYPE), b""), *members.items()], format=format)
    with tarfile.open(path) as archive:
        expected = {os.path.normpath(info.name): archive.extractfile(info).read() for info in archive if info.isfile()}
    assert content(unpack(path)) == expected


def test_a_gz_file_takes_its_name_from_its_own(tmp_path, unpack):
    path = tmp_path / "table.TSV.GZ"
    with open(path, "wb") as file:  # two members, and a name inside that leads out of the folder
        with gzip.GzipFile("../../evil", "wb", fileobj=file) as packed:
            packed.write(b"one")
        file.write(gzip.compress(b"two"))
    assert content(unpack(path)) == {"table.TSV": b"onetwo"}


def test_content_decides_not_the_ending(tmp_path, unpack):
    assert content(unpack(make_tgz(tmp_path / "x.zip", FILES.items()))) == FILES


def test_folders_modes_and_nested_archives(tmp_path, unpack):
    """Empty folders are made; modes are not taken over; an archive within stays packed."""
    make_zip(tmp_path / "inner.zip", FILES.items())
    packed = (tmp_path / "inner.zip").read_bytes()
    members = [(tar_member("empty/", tarfile.DIRTYPE, mode=0), b""), (tar_member("s", mode=0o6777), b"#!"),
               ("empty/in.zip", packed)]
    folder = unpack(make_tar(tmp_path / "x.tar", members))
    assert content(folder) == {"s": b"#!", "empty/in.zip": packed}
    assert not (folder / "s").stat().st_mode & 0o6111
    assert content(extract(folder / "empty" / "in.zip", tmp_path / "in", verbose=0)) == FILES


def test_an_empty_folder_may_be_there_also_as_a_link(tmp_path, unpack):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").symlink_to(tmp_path / "disk")
    path = make_zip(tmp_path / "x.zip", FILES.items())
    assert unpack(path) == tmp_path / "disk" and content(tmp_path / "out" / "x") == FILES
    assert (tmp_path / "out" / "x").is_symlink()


@pytest.mark.parametrize("name", KINDS)
def test_members_are_chosen_by_name_or_folder(tmp_path, unpack, name):
    path = KINDS[name](tmp_path / name, FILES.items())
    folder = unpack(path, members=["a/b/", "three"])
    assert content(folder) == {key: FILES[key] for key in ("a/b/two.hdf5", "three")}
    with pytest.raises(ValueError, match="it has no member `a/won.tsv`; it has `a/one.tsv`"):
        extract(path, tmp_path / "other", members=["three", "a/won.tsv"], verbose=0)
    assert not (tmp_path / "other").exists()
    with pytest.raises(ValueError, match="the folder holds another selection of its members. It is left as it is"):
        unpack(path)
    with pytest.raises(ValueError, match="members should be a list of names"):
        unpack(path, members="three")
    with pytest.raises(ValueError, match="one is empty; leave out `members`"):
        unpack(path, members=["/"])


# === done already ===


def test_what_is_done_is_not_done_again(tmp_path, unpack, monkeypatch):
    path = make_zip(tmp_path / "x.zip", FILES.items())
    folder = unpack(path)
    os.utime(path, (1, 1))  # a copy of the archive is as good
    monkeypatch.setattr(zipfile, "ZipFile", None)
    assert unpack(path) == folder
    path.unlink()
    assert unpack(path) == folder
    with pytest.raises(FileNotFoundError, match="archive `.*x.zip` does not exist"):
        unpack(path, members=["three"])
    with pytest.raises(FileNotFoundError, match="archive `.*y.zip` does not exist"):
        unpack(tmp_path / "y.zip")


def test_what_is_renamed_is_on_the_disk(tmp_path, unpack, synced, monkeypatch):
    renamed = []
    monkeypatch.setattr(os, "rename", lambda *_: renamed.append(len(synced)))
    unpack(make_zip(tmp_path / "x.zip", FILES.items()))
    assert renamed == [1]


def test_another_archive_or_other_files_are_never_mixed(tmp_path, unpack):
    folder = unpack(make_zip(tmp_path / "x.zip", FILES.items()))
    other = make_zip(tmp_path / "y.zip", [*FILES.items(), ("more", b"")])
    with pytest.raises(ValueError, match=r"unpacked from another archive, `x.zip` of \d+ bytes. It is left as it is"):
        unpack(other)
    assert content(folder) == FILES
    large = ("0", bytes(3 << 20))  # what differs is far from the beginning
    extract(make_zip(other, [large, ("1", b"1")], zipfile.ZIP_STORED), tmp_path / "large", verbose=0)
    with pytest.raises(ValueError, match="unpacked from another archive"):
        extract(make_zip(other, [large, ("1", b"2")], zipfile.ZIP_STORED), tmp_path / "large", verbose=0)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match="the folder holds files of another origin. It is left as it is: move or rem"):
        extract(other, tmp_path / "own", verbose=0)
    with pytest.raises(ValueError, match="it is there and no folder; give another one"):
        extract(other, tmp_path / "x.zip", verbose=0)


def test_leftovers_of_killed_processes_go(tmp_path, unpack):
    for name in ("x.part-123", "x.part-mine", "y.part-123"):
        (tmp_path / "out" / name).mkdir(parents=True)
        (tmp_path / "out" / name / "file").write_text("")
    unpack(make_zip(tmp_path / "x.zip", FILES.items()))
    assert sorted(os.listdir(tmp_path / "out")) == ["x", "x.part-mine", "y.part-123"]


def test_processes_at_the_same_time_agree(tmp_path):
    path = make_tgz(tmp_path / "x.tgz", [(f"{i}", FILES["a/b/two.hdf5"][i:]) for i in range(60)])
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=extract, args=(path, tmp_path / "out" / "x"), kwargs={"verbose": 0})
                 for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(20)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert os.listdir(tmp_path / "out") == ["x"] and len(content(tmp_path / "out" / "x")) == 60


# === what is refused ===


NAMES = [
    ("../evil", "leads out of the archive"),
    ("a/../../evil", "leads out of the archive"),
    ("a\\..\\..\\evil", "leads out of the archive"),
    ("/evil", "is an absolute path"),
    ("\\\\host\\share", "is an absolute path"),
    ("C:evil", "is an absolute path"),
    ("c:/evil", "is an absolute path"),
    ("a\nb", "control characters"),
    ("a\\b", "its name holds a backslash"),
    ("a/NUL", "`NUL` is the name of a device on Windows"),
    ("aux.txt", "`aux.txt` is the name of a device on Windows"),
    ("Com1 /x", "`Com1 ` is the name of a device on Windows"),
    ("./.", "its name is that of the folder itself"),
]


@pytest.mark.parametrize("kind", ["x.zip", "x.tar", "x.tgz"])
@pytest.mark.parametrize("name, reason", NAMES)
def test_names_that_lead_elsewhere_are_refused(tmp_path, unpack, kind, name, reason):
    """The message names the member; what came before it is not kept; a selection does not let it through."""
    member = zip_member(name) if kind == "x.zip" else name
    path = KINDS[kind](tmp_path / kind, [("good", b"1"), (member, b"2"), ("more", b"3")])
    for members in (None, ["good"]):
        with pytest.raises(ValueError, match=f"cannot unpack `.*{kind}`: member .* is refused: .*{reason}.*Allowed ar"):
            unpack(path, members=members)
    assert_nothing_left(tmp_path)
    assert not list(tmp_path.parent.rglob("*evil*"))


def test_a_zip_name_with_nul_is_not_cut_at_it(tmp_path, unpack):
    path = make_zip(tmp_path / "x.zip", [("good.txtQ.exe", b"1")])
    path.write_bytes(path.read_bytes().replace(b"good.txtQ.exe", b"good.txt\0.exe"))
    with pytest.raises(ValueError, match=r"member 'good.txt\\x00.exe' is refused: its name holds control characters"):
        unpack(path)


@pytest.mark.parametrize("type, reason", [
    (tarfile.SYMTYPE, "it is a symbolic link"), (tarfile.LNKTYPE, "it is a hard link"),
    (tarfile.CHRTYPE, "it is a device"), (tarfile.BLKTYPE, "it is a device"), (tarfile.FIFOTYPE, "it is a FIFO"),
    (tarfile.GNUTYPE_SPARSE, "it is a sparse file"), (b"Z", "it is of unknown type b'Z'"),
])
def test_tar_members_that_are_no_files_are_refused(tmp_path, unpack, type, reason):
    path = make_tar(tmp_path / "x.tar", [("good", b"1"), (tar_member("x", type, linkname="/etc"), b""), ("x/y", b"2")])
    with pytest.raises(ValueError, match=f"member 'x' is refused: {reason}"):
        unpack(path)
    assert_nothing_left(tmp_path)


def test_a_sparse_file_by_pax_headers_is_refused(tmp_path, unpack):
    info = tar_member("x", pax_headers={"GNU.sparse.major": "1"})
    with pytest.raises(ValueError, match="member 'x' is refused: it is a sparse file"):
        unpack(make_tar(tmp_path / "x.tar", [(info, b"1")], format=tarfile.PAX_FORMAT))


@pytest.mark.parametrize("mode, reason", [
    (0o120777, "it is a symbolic link"), (0o020644, "neither a file nor a folder"), (0o010644, "neither a file nor")])
def test_zip_members_that_are_no_files_are_refused(tmp_path, unpack, mode, reason):
    with pytest.raises(ValueError, match=f"member 'x' is refused: .*{reason}"):
        unpack(make_zip(tmp_path / "x.zip", [("good", b"1"), (zip_member("x", mode), b"/etc")]))
    assert_nothing_left(tmp_path)


def test_an_encrypted_zip_is_refused(tmp_path, unpack):
    path = make_zip(tmp_path / "x.zip", [("secret", b"12345")])
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="member 'secret' is refused: it is encrypted; unpack it by hand"):
        unpack(path)


def test_methods_without_a_bound_on_memory_are_refused(tmp_path, unpack):
    for method, name in ((zipfile.ZIP_BZIP2, "bzip2"), (zipfile.ZIP_LZMA, "lzma")):
        with pytest.raises(ValueError, match=rf"its method of compression is {method} \({name}\), read are deflate"):
            unpack(make_zip(tmp_path / "x.zip", FILES.items(), method))


@pytest.mark.parametrize("kind", ["x.zip", "x.tar"])
@pytest.mark.parametrize("second", ["a/b", "./a//b", "a", "a/b/c"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_no_place_is_written_twice(tmp_path, unpack, kind, second):
    with pytest.raises(ValueError, match=f"two members come to the same place, `{os.path.normpath(second)[:3]}"):
        unpack(KINDS[kind](tmp_path / kind, [("a/b", b"1"), (second, b"2")]))
    assert_nothing_left(tmp_path)


def test_case_alone_is_a_difference_where_the_file_system_makes_it(tmp_path, unpack):
    """Chains A and a of an entry are two structures."""
    (tmp_path / "probe").touch()
    members = {"1abc-A.pdb": b"1", "1abc-a.pdb": b"2"}
    path = make_zip(tmp_path / "x.zip", members.items())
    if (tmp_path / "PROBE").exists():
        with pytest.raises(ValueError, match="they differ only by upper and lower case"):
            unpack(path)
    else:
        assert content(unpack(path)) == members


# === bombs ===


@pytest.mark.parametrize("kind", ["x.zip", "x.tgz", "x.gz"])
def test_bombs_are_refused(tmp_path, unpack, kind):
    zeros = b"\0" * (40 << 20)
    path = tmp_path / kind
    if kind == "x.gz":
        path.write_bytes(gzip.compress(b"x" + zeros))
    else:
        KINDS[kind](path, [("x", zeros)])
    with pytest.raises(ValueError, match="it unpacks to more than 200 times as many bytes, as no archive of struct"):
        unpack(path)
    assert_nothing_left(tmp_path)


def test_a_bomb_of_padding_is_seen(tmp_path, unpack):
    make_tar(tmp_path / "x.tar", [("x", b"1")])
    path = tmp_path / "x.tgz"
    path.write_bytes(gzip.compress((tmp_path / "x.tar").read_bytes() + b"\0" * (40 << 20)))
    with pytest.raises(ValueError, match="it unpacks to more than 200 times as many bytes"):
        unpack(path)


@pytest.mark.parametrize("kind", ["x.zip", "x.tar", "x.tgz", "x.gz"])
def test_the_total_is_limited(tmp_path, unpack, kind):
    path = tmp_path / kind
    if kind == "x.gz":
        path.write_bytes(gzip.compress(FILES["a/b/two.hdf5"]))
    else:
        KINDS[kind](path, FILES.items())
    with pytest.raises(ValueError, match=r"more than 50,000 bytes \(48.8 KiB\); if that is right, allow more by `max"):
        unpack(path, max_bytes=50_000)
    assert_nothing_left(tmp_path)
    unpack(path, max_bytes=100_000)


def test_a_zip_that_declares_too_little_is_damaged(tmp_path, unpack):
    """Sizes in the directory are not believed: neither more nor less than they say is taken."""
    for declared in (100, 70_001):
        path = make_zip(tmp_path / "x.zip", [("x", FILES["a/b/two.hdf5"])])
        data = bytearray(path.read_bytes())
        struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, declared)
        path.write_bytes(data)
        with pytest.raises(ValueError, match="it is damaged.*fetch it again"):
            unpack(path)
        assert_nothing_left(tmp_path)


def test_what_a_zip_declares_is_believed_if_it_is_too_much(tmp_path, unpack):
    path = make_zip(tmp_path / "x.zip", [("x", b"1")])
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, 1 << 31)
    path.write_bytes(data)
    with pytest.raises(ValueError, match="it unpacks to more than 200 times as many bytes"):
        unpack(path)


def test_members_that_share_their_bytes_are_refused(tmp_path, unpack):
    """Many names for one member unpack to many times its size."""
    path = make_zip(tmp_path / "x.zip", [("a", FILES["a/b/two.hdf5"]), ("b", FILES["a/b/two.hdf5"])])
    data = bytearray(path.read_bytes())
    second = data.rindex(b"PK\x01\x02")
    struct.pack_into("<I", data, second + 42, 0)
    path.write_bytes(data)
    with pytest.raises(ValueError, match="its members 'a' and 'b' overlap, as in archives made to do harm"):
        unpack(path)


def test_a_long_header_is_not_read_into_memory(tmp_path, unpack):
    path = make_tar(tmp_path / "x.tar", [(tar_member("x", tarfile.GNUTYPE_LONGNAME), b"n" * (1 << 21)), ("y", b"1")])
    with pytest.raises(ValueError, match="it is damaged: a header has 2097152 bytes, more than 1048576"):
        unpack(path)


# === damage ===


@pytest.mark.parametrize("kind", [*KINDS, "x.gz"])
def test_truncated_archives_leave_nothing(tmp_path, unpack, kind):
    whole = tmp_path / "whole"
    if kind == "x.gz":
        whole.write_bytes(gzip.compress(FILES["a/b/two.hdf5"]))
    else:
        KINDS[kind](whole, FILES.items())
    data = whole.read_bytes()
    if kind == "x.tar":
        data = data.rstrip(b"\0")
    for length in (1, 30, 600, len(data) // 2, len(data) - 1):
        (tmp_path / kind).write_bytes(data[:length])
        with pytest.raises(ValueError, match=f"cannot unpack `.*{kind}`: it is (cut off|damaged|of an unknown kind)"):
            unpack(tmp_path / kind)
        assert_nothing_left(tmp_path)


@pytest.mark.parametrize("kind", [*KINDS, "x.gz"])
def test_damage_is_told_or_without_effect(tmp_path, kind):
    """A flipped byte leads to the files as they were, or to an error that names the archive and leaves nothing."""
    draw = random.Random(kind)
    files = {**FILES, "a/b/two.hdf5": FILES["a/b/two.hdf5"][:3000]}
    whole, path, out = tmp_path / "whole", tmp_path / kind, tmp_path / "out"
    if kind == "x.gz":
        files = {"x": files["a/b/two.hdf5"]}
        whole.write_bytes(gzip.compress(files["x"]))
    else:
        KINDS[kind](whole, files.items())
    told = 0
    for _ in range(120):
        data = bytearray(whole.read_bytes())
        for _ in range(draw.choice((1, 1, 4))):
            data[draw.randrange(len(data))] = draw.choice((0, 1, 0x7F, 0xFF, draw.randrange(256)))
        path.write_bytes(data)
        message = ""
        try:
            folder = extract(path, out / "x", verbose=0)
        except ValueError as error:
            message = str(error)
        if message:
            told += 1
            # the message names a member by its repr, so that it stays one line whatever the name
            assert message.startswith(f"cannot unpack `{path}`: ") and "\n" not in message
            assert os.listdir(out) == []
            continue
        if kind in ("x.tgz", "x.tar.gz", "x.gz"):  # a plain tar has no checksum of its content
            assert content(folder) == files
        shutil.rmtree(folder)
    assert told > 10


def test_a_tar_that_goes_on_after_its_end_is_told(tmp_path, unpack):
    first, second = (make_tar(tmp_path / name, [(name, b"1")]).read_bytes() for name in "ab")
    (tmp_path / "x.tar").write_bytes(first + second)
    with pytest.raises(ValueError, match="it holds more after its end mark, as archives written one after another do"):
        unpack(tmp_path / "x.tar")


@pytest.mark.parametrize("data, message", [
    (b"", "it is empty"),
    (b"<html><body>Please log in", "it is of an unknown kind and begins with b'<html><body>Plea'; allowed are zip, "),
    (b"PK\x05\x06" + bytes(18), "it holds no file"),
    (bytes(10240), "it holds no file"),
    (gzip.compress(bytes(10240)), "it holds no file"),
    (gzip.compress(b"no tar"), "its name is that of a tar archive, but what it packs is none"),
])
def test_what_is_no_archive_is_told(tmp_path, unpack, data, message):
    (tmp_path / "x.tgz").write_bytes(data)
    with pytest.raises(ValueError, match=f"cannot unpack `.*x.tgz`: {message}"):
        unpack(tmp_path / "x.tgz")
    assert_nothing_left(tmp_path)
    with pytest.raises(ValueError, match="it is no regular file; give a file"):
        unpack(tmp_path)


def test_a_name_too_long_and_a_reserved_one_are_told(tmp_path, unpack):
    with pytest.raises(ValueError, match="has a name that the file system does not take"):
        unpack(make_zip(tmp_path / "x.zip", [("n" * 300, b"1")]))
    with pytest.raises(ValueError, match=f"a member is called `{STAMP}`, a name that is kept"):
        unpack(make_zip(tmp_path / "x.zip", [(STAMP, b"{}")]))
    assert_nothing_left(tmp_path)


# === no room ===


@pytest.mark.parametrize("kind", ["x.zip", "x.tar"])
def test_a_full_disk_is_told_before_the_first_file(tmp_path, unpack, kind, monkeypatch):
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 5000))
    path = KINDS[kind](tmp_path / kind, FILES.items())
    with pytest.raises(OSError, match=r"no room for the content of `.*` in `.*out`: it needs [\d,]+ bytes .*5,000 byt"):
        unpack(path)
    assert_nothing_left(tmp_path)


def test_a_disk_that_fills_up_leaves_nothing(tmp_path, unpack, monkeypatch):
    path = make_tgz(tmp_path / "x.tgz", FILES.items())
    monkeypatch.setattr(unpacking, "open", lambda path, mode: (FullFile if mode == "xb" else open)(path, mode),
                        raising=False)
    with pytest.raises(OSError, match="no room left for the content of `.*x.tgz` in `.*out`.*give the same command"):
        unpack(path)
    assert_nothing_left(tmp_path)


class FullFile(io.FileIO):
    def write(self, _):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
