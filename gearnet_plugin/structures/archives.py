"""Members of tar archives and FoldComp databases, listed without unpacking and without remembering them.

Nothing of an archive is ever written by its member's name. A member that is no plain file, or whose name
points out of the archive, is nevertheless refused: such an archive is not what it seems.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import tarfile
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from . import content
from .content import CONTAINER_MAGIC, FOLDCOMP_MAGIC, GZIP_MAGIC, split_ending

TAR_ENDING = ".tar"
PACKED_ENDINGS = (".tar.gz", ".tgz")
#: Largest header extension (long name, pax records) of a tar member that is taken, in bytes.
MAX_EXTENSION = 1 << 20

BLOCK = tarfile.BLOCKSIZE
PLAIN_TYPES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
WITHOUT_DATA = (tarfile.DIRTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
LOCAL_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
REFUSED_TYPES = {
    tarfile.LNKTYPE: "it is a hard link",
    tarfile.SYMTYPE: "it is a symbolic link",
    tarfile.CHRTYPE: "it is a device",
    tarfile.BLKTYPE: "it is a device",
    tarfile.FIFOTYPE: "it is a FIFO",
    tarfile.GNUTYPE_SPARSE: "it is a sparse file",
}
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
STEP = 1 << 20


class Member(NamedTuple):
    """A structure in an archive: its name, where its bytes begin and how many they are, or why not to read it."""

    name: str
    offset: int = 0
    size: int = 0
    refusal: str = ""


def is_archive(path: str) -> bool:
    """Whether a path names a tar archive, compressed or not, by its ending."""
    return path.lower().endswith((TAR_ENDING, *PACKED_ENDINGS))


def is_packed(path: str) -> bool:
    """Whether an archive is compressed, by its content: endings lie."""
    with open(path, "rb") as file:
        return file.read(len(GZIP_MAGIC)) == GZIP_MAGIC


def is_database(path: str) -> bool:
    """Whether a path is the data file of a FoldComp database: its index beside it, an entry at its beginning."""
    if split_ending(path)[1] or not os.path.isfile(path + ".index"):
        return False
    try:
        with open(path, "rb") as file:
            return file.read(4) in (FOLDCOMP_MAGIC, CONTAINER_MAGIC)
    except OSError:
        return False


# === tar ===


def tar_members(path: str) -> Iterator[Member]:
    """
    Structures in a tar archive, in its order.

    Members without a readable ending and hidden ones are passed over, as in folders. Of an archive that is
    damaged or cut off, the members before that place come, then one that says so.

    Parameters:
        path (str): archive, not compressed
    """
    extension: dict[str, Any] = {}
    common: dict[str, Any] = {}
    with open(path, "rb") as file:
        total = os.fstat(file.fileno()).st_size
        place = 0
        while True:
            file.seek(place)
            block = file.read(BLOCK)
            if len(block) < BLOCK:
                yield Member("", refusal=f"the archive is cut off at byte {total}: its end mark is missing")
                return
            if not any(block):
                return
            try:
                info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
                size = int(extension.get("size", info.size))
            except (tarfile.HeaderError, ValueError) as error:
                yield Member("", refusal=f"the archive is damaged at byte {place}, its rest is lost ({error})")
                return
            data = place + BLOCK
            if info.type == tarfile.GNUTYPE_SPARSE:
                data = _after_sparse_map(file, block, data)
            if info.type in WITHOUT_DATA:
                size = 0
            name = printable(extension.get("path", common.get("path", info.name)))
            if not 0 <= size <= total - data:
                known = split_ending(name)[1] and not _name_refusal(name)
                yield Member(name if known else "", refusal=f"the archive is cut off or damaged: a member at byte "
                             f"{place} should have {size} bytes, but the archive holds {max(0, total - data)} more")
                return
            place = data + -(-size // BLOCK) * BLOCK

            if info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE, *LOCAL_PAX):
                if size > MAX_EXTENSION:
                    yield Member("", refusal=f"the archive is damaged: the header at byte {data - BLOCK} has "
                                 f"{size} bytes, more than {MAX_EXTENSION}")
                    return
                records = _extension(info.type, file.read(size))
                (common if info.type == tarfile.XGLTYPE else extension).update(records)
                continue
            if member := _tar_member(info, name, data, size, {**common, **extension}):
                yield member
            extension = {}


def _tar_member(info: tarfile.TarInfo, name: str, data: int, size: int, extension: dict) -> Member | None:
    """What a header stands for, None if for nothing that is read."""
    if info.type == tarfile.DIRTYPE:
        return None
    if name and not content.split_ending(name)[1]:
        if is_archive(name):
            return Member(name, refusal="it is an archive within an archive; unpack the outer one first")
        return None
    if refusal := _name_refusal(name):
        return Member(name or f"(at byte {data - BLOCK})", refusal=refusal)
    if any(part.startswith(".") and part != "." for part in name.split("/")):
        return None
    if "sparse" in extension:
        return Member(name, refusal=REFUSED_TYPES[tarfile.GNUTYPE_SPARSE])
    if info.type not in PLAIN_TYPES:
        return Member(name, refusal=REFUSED_TYPES.get(info.type, f"it is a member of unknown type {info.type!r}"))
    return Member(name, data, size)


def _extension(type: bytes, data: bytes) -> dict[str, str]:
    """Name, size and sparseness that a header extension gives to the members after it."""
    if type == tarfile.GNUTYPE_LONGLINK:
        return {}
    if type == tarfile.GNUTYPE_LONGNAME:
        return {"path": data.partition(b"\0")[0].decode("utf-8", "surrogateescape")}
    found = {}
    while data:
        length = data.partition(b" ")[0]
        if not length.isdigit() or not len(length) < int(length) <= len(data):
            break
        key, _, value = data[len(length) + 1 : int(length) - 1].partition(b"=")
        data = data[int(length) :]
        if key in (b"path", b"size"):
            found[key.decode()] = value.decode("utf-8", "surrogateescape")
        elif key.startswith(b"GNU.sparse"):
            found["sparse"] = ""
    return found


def _after_sparse_map(file, block: bytes, place: int) -> int:
    """Where the data of an old GNU sparse member begin: after the further blocks of its map."""
    more = block[482]
    while more:
        file.seek(place)
        block = file.read(BLOCK)
        place += BLOCK
        more = block[504] if len(block) == BLOCK else 0
    return place


def _name_refusal(name: str) -> str:
    """Why a member of this name must not be read, as Unix and Windows understand names; "" if it may."""
    if not name:
        return "its name is empty"
    if CONTROL.search(name):
        return "its name holds control characters"
    parts = re.split(r"[/\\]", name)
    if not parts[0] or re.match(r"[A-Za-z]:", name):
        return "its name is an absolute path"
    if ".." in parts:
        return "its name leads out of the archive (`..`)"
    return ""


def printable(name: str) -> str:
    """A name that can be written as UTF-8: one in another encoding is taken for Latin-1."""
    try:
        name.encode()
        return name
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogateescape").decode("latin-1")


# === compressed tar ===


def unpack_tar(path: str, folder: str) -> str:
    """
    Unpack a compressed tar archive to a plain one, so that its members can be reached one by one.

    It is written under a temporary name and renamed. What is already there, of the same archive, is taken. Of
    an archive that is cut off, what comes before is unpacked; listing it tells that it ends too early.

    Parameters:
        path (str): archive packed with gzip
        folder (str): where to put the plain archive

    Returns:
        str: path of the plain archive

    Raises:
        ValueError: the archive is damaged, or unpacks to more than any archive of structures does
        OSError: there is no room for it
    """
    status = os.stat(path)
    mark = f"{os.path.abspath(path)}\0{status.st_size}\0{status.st_mtime_ns}"
    digest = hashlib.sha256(mark.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    target = os.path.join(folder, f"{digest}-{os.path.basename(path)}{TAR_ENDING}")
    if os.path.exists(target):
        return target
    partial = f"{target}.{os.getpid()}.partial"
    try:
        os.makedirs(folder, exist_ok=True)
        with open(path, "rb") as packed, open(partial, "wb") as plain:
            _unpack_stream(packed, plain)
        os.replace(partial, target)
    except OSError as error:
        raise OSError(error.errno, f"cannot unpack `{path}` under `{folder}`: {error.strerror}") from None
    finally:
        if os.path.exists(partial):
            os.remove(partial)
    return target


def _unpack_stream(packed, plain) -> None:
    """Copy a gzip file unpacked, in bounded memory, as far as it goes."""
    written = 0
    with gzip.GzipFile(fileobj=packed) as stream:
        while True:
            try:
                # read() would lose what comes before the place where the data end.
                chunk = stream.read1(STEP)
            except EOFError:
                return
            except (gzip.BadGzipFile, zlib.error) as error:
                raise ValueError(f"its gzip data is damaged after {written} unpacked bytes ({error})") from None
            if not chunk:
                return
            plain.write(chunk)
            written += len(chunk)
            if written > max(content.FREE_BYTES, content.MAX_RATIO * packed.tell()):
                raise ValueError(f"its gzip data unpack to more than {content.MAX_RATIO} times as many bytes, "
                                 "as no archive of structures does")


# === FoldComp database ===


def database_members(path: str) -> Iterator[Member]:
    """
    Entries of a FoldComp database, in the order of its index.

    The index has a line ``key, offset, length`` an entry; the lookup, if there is one, ``key, name, file``, in
    ascending order of keys as the index. A lookup in another order is read into memory.

    Parameters:
        path (str): data file
    """
    total = os.path.getsize(path)
    names = _Lookup(path + ".lookup")
    with open(path + ".index", "rb") as index:
        for number, line in enumerate(index, 1):
            fields = line.split()
            if len(fields) < 3 or not all(field.isdigit() for field in fields[:3]):
                yield Member("", refusal=f"line {number} of `{path}.index` is damaged: {line[:80]!r}")
                continue
            key, offset, size = map(int, fields[:3])
            name = names.find(key) or str(key)
            if CONTROL.search(name):
                yield Member(f"(key {key})", refusal="its name holds control characters")
            elif offset + size > total:
                yield Member(name, refusal=f"the database is cut off: the entry should end at byte {offset + size}, "
                             f"but `{path}` has {total} bytes")
            else:
                yield Member(name, offset, size)


class _Lookup:
    """Names by key. While keys are asked for in the order of the file, one line is held at a time."""

    def __init__(self, path: str):
        self.path = path
        self.table: dict[int, str] | None = None if os.path.isfile(path) else {}
        self.lines = self._read() if self.table is None else iter(())
        self.key: int | None
        self.key, self.name = next(self.lines, (None, ""))

    def find(self, key: int) -> str:
        """Name of an entry, empty if it has none."""
        if self.table is None:
            while self.key is not None and self.key < key:
                self.key, self.name = next(self.lines, (None, ""))
            if self.key == key:
                return self.name
            self.table = dict(self._read())
        return self.table.get(key, "")

    def _read(self) -> Iterator[tuple[int, str]]:
        with open(self.path, "rb") as file:
            for line in file:
                key, _, rest = line.rstrip(b"\r\n").partition(b"\t")
                if key.isdigit():
                    yield int(key), printable(rest.partition(b"\t")[0].decode("utf-8", "surrogateescape"))
