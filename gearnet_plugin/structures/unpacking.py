"""
What archives hold, written into a folder with care: zip, tar, tar.gz and gz, told by their content.

An archive is material of strangers. Nothing is written out of the folder, no link or device is made, no file is
written twice, modes and owners are not taken over, and what it unpacks to is limited, both in what it declares and
in what comes. One strange member is reason enough to refuse all: such an archive is not what it seems.
"""

from __future__ import annotations

import difflib
import errno
import gzip
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from . import archives, content
from .disk import amount, check_room, explain_full

ALLOWED = "allowed are zip, tar, tar.gz and gz"
#: Names that Windows keeps for devices, whatever their ending.
DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
# zipfile unpacks other methods without a bound on memory
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
LOCAL_HEADER = 30
STEP = 1 << 20


class ArchiveError(ValueError):
    """An archive that cannot be unpacked. The message says why and what to do."""


class Unpacking:
    """
    One archive on its way into a folder; counts what comes and holds it to the limits.

    Parameters:
        archive (Path): zip, tar, tar.gz or gz file
        folder (Path): empty folder that is nobody else's
        max_bytes (int): most bytes to unpack
        members (list of str, optional): files, or folders with all that is in them, to unpack
        bar (tqdm): progress, in bytes
    """

    def __init__(self, archive: Path, folder: Path, max_bytes: int, members: list[str] | None, bar):
        self.archive, self.folder, self.max_bytes, self.bar = archive, folder, max_bytes, bar
        self.wanted = None if members is None else frozenset(members)
        self.missing = set(members or ())
        self.seen: list[str] = []
        self.size = archive.stat().st_size
        self.files = self.written = self.unpacked = 0

    def run(self) -> None:
        """Unpack, or raise a ValueError that names the archive."""
        try:
            with open(self.archive, "rb") as file:
                self._by_kind(file)
        except ArchiveError:
            raise
        # the modules of Python let through what their parts raise on damaged data
        except (EOFError, gzip.BadGzipFile, zlib.error, zipfile.BadZipFile, NotImplementedError, struct.error,
                OverflowError, ValueError) as error:
            raise self.fail(f"it is damaged or cut off ({str(error) or type(error).__name__}); remove it and fetch it "
                            f"again") from None
        if self.missing and self.seen:
            name = min(self.missing)
            near = difflib.get_close_matches(name, self.seen, 3, 0.5) or self.seen[:3]
            raise self.fail(f"it has no member `{name}`; it has " + ", ".join(f"`{other}`" for other in near) + ", …")
        if not self.files:
            raise self.fail("it holds no file")

    def _by_kind(self, file) -> None:
        start = file.read(archives.BLOCK)
        file.seek(0)
        if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
            self._zip(file)
        elif start[:2] == content.GZIP_MAGIC:
            with gzip.GzipFile(fileobj=file) as stream:
                inner = stream.read(archives.BLOCK)
                stream.rewind()
                if _is_tar(inner):
                    self._tar(stream)
                elif self.archive.name.lower().endswith((".tar.gz", ".tgz")):
                    raise self.fail("its name is that of a tar archive, but what it packs is none; remove it and fetch "
                                    "it again")
                else:
                    self._gzip(stream)
        elif _is_tar(start):
            if self.wanted is None:
                check_room(self.folder.parent, self.size, f"the content of `{self.archive}`")
            self._tar(file)
        elif start:
            raise self.fail(f"it is of an unknown kind and begins with {start[:16]!r}; {ALLOWED}. A web page in its "
                            f"place means that the download went wrong")
        else:
            raise self.fail("it is empty")

    def _zip(self, file) -> None:
        with zipfile.ZipFile(file) as opened:
            infos = opened.infolist()
            chosen = [(info, path) for info in infos if (path := self._check_zip_member(info)) is not None]
            self._check_overlap(infos)
            self._check_limits(sum(info.file_size for info in infos))
            self.bar.total = sum(info.file_size for info, _ in chosen)
            check_room(self.folder.parent, self.bar.total, f"the content of `{self.archive}`")
            for info, path in chosen:
                if info.orig_filename.endswith("/"):
                    self._make_folder(path)
                    continue
                with opened.open(info) as stream:
                    size = self._write(path, self._counted(stream))
                if size != info.file_size:
                    raise self.fail(f"it is damaged: member {path!r} should have {info.file_size} bytes, but {size} "
                                    f"came; remove it and fetch it again")

    def _check_zip_member(self, info: zipfile.ZipInfo) -> str | None:
        name = info.orig_filename  # as it is written; the other one is cut at NUL
        kind = stat.S_IFMT(info.external_attr >> 16)
        refusal = ""
        if info.flag_bits & 0x41:
            refusal = "it is encrypted; unpack it by hand, with its password"
        elif kind == stat.S_IFLNK:
            refusal = "it is a symbolic link"
        elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            refusal = "it is neither a file nor a folder"
        elif info.compress_type not in METHODS:
            method = getattr(zipfile, "compressor_names", {}).get(info.compress_type, "unknown")
            refusal = f"its method of compression is {info.compress_type} ({method}), read are deflate (8) and none (0)"
        return self._place(name, name.endswith("/"), refusal)

    def _check_overlap(self, infos: list[zipfile.ZipInfo]) -> None:
        end, before = 0, ""
        for info in sorted(infos, key=lambda info: info.header_offset):
            if info.header_offset < end:
                raise self.fail(f"its members {before!r} and {info.filename!r} overlap, as in archives made to do harm")
            end, before = info.header_offset + LOCAL_HEADER + info.compress_size, info.filename

    def _gzip(self, stream) -> None:
        name = self._place(re.sub(r"\.gz$", "", self.archive.name, flags=re.IGNORECASE))
        chunks = self._counted(stream)
        if name is not None:
            self._write(name, chunks)

    def _tar(self, stream) -> None:
        """Walk through a tar stream; the tarfile module ends without a word where an archive is damaged."""
        stream = _Stream(self, stream)
        extension: dict[str, Any] = {}
        common: dict[str, Any] = {}
        while any(block := stream.take(archives.BLOCK)):
            try:
                info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
                size = int(extension.get("size", common.get("size", info.size)))
            except (tarfile.HeaderError, ValueError) as error:
                raise self.fail(f"it is damaged at unpacked byte {stream.place - archives.BLOCK} ({error})") from None
            if size < 0:
                raise self.fail(f"it is damaged: a member has the size {size}")
            if info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE, *archives.LOCAL_PAX):
                if size > archives.MAX_EXTENSION:
                    raise self.fail(f"it is damaged: a header has {size} bytes, more than {archives.MAX_EXTENSION}")
                records = archives._extension(info.type, stream.take(size))
                stream.skip(-size % archives.BLOCK)
                (common if info.type == tarfile.XGLTYPE else extension).update(records)
                continue
            fields = {**common, **extension}
            extension = {}
            is_folder = info.type == tarfile.DIRTYPE
            refusal = archives.REFUSED_TYPES.get(info.type, "")
            if "sparse" in fields:
                refusal = archives.REFUSED_TYPES[tarfile.GNUTYPE_SPARSE]
            elif not refusal and not is_folder and info.type not in archives.PLAIN_TYPES:
                refusal = f"it is of unknown type {info.type!r}"
            path = self._place(archives.printable(fields.get("path", info.name)), is_folder, refusal)
            if is_folder:
                size = 0
                if path:
                    self._make_folder(path)
            elif path is None:
                stream.skip(size)
            else:
                self._write(path, stream.chunks(size))
            stream.skip(-size % archives.BLOCK)
        stream.finish()

    # --- members ---

    def _place(self, name: str, is_folder: bool = False, refusal: str = "") -> str | None:
        """Where in the folder a member belongs, None if it is not among the wanted ones."""
        parts = [part for part in name.split("/") if part not in ("", ".")]
        refusal = refusal or archives._name_refusal(name)
        if not refusal and "\\" in name:
            refusal = "its name holds a backslash, which is a separator on some systems"
        if not refusal and (device := next((part for part in parts if DEVICES.fullmatch(part.rstrip(". "))), "")):
            refusal = f"`{device}` is the name of a device on Windows"
        if not refusal and not parts and not is_folder:
            refusal = "its name is that of the folder itself"
        if refusal:
            raise self.fail(f"member {name!r} is refused: {refusal}. Allowed are plain files and folders below the "
                            f"folder that is made")
        path = "/".join(parts)
        if self.wanted is None:
            return path
        if len(self.seen) < 1000 and not is_folder:
            self.seen.append(path)
        above = {"/".join(parts[: depth + 1]) for depth in range(len(parts))} & self.wanted
        if not is_folder:
            self.missing -= above
        return path if above else None

    def _make_folder(self, path: str) -> None:
        try:
            os.makedirs(self.folder / path, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise self._twice(path) from None
        except OSError as error:
            raise self._unwritable(path, error) from None

    def _write(self, path: str, chunks: Iterable[bytes]) -> int:
        """Write a new file; returns its number of bytes."""
        if "/" in path:
            self._make_folder(path.rpartition("/")[0])
        try:
            file = open(self.folder / path, "xb")
        except (FileExistsError, NotADirectoryError):
            raise self._twice(path) from None
        except OSError as error:
            raise self._unwritable(path, error) from None
        size = 0
        try:
            with file:
                for chunk in chunks:
                    file.write(chunk)
                    size += len(chunk)
                    self.bar.update(len(chunk))
        except OSError as error:
            raise self._unwritable(path, error) from None
        self.files += 1
        self.written += size
        return size

    def _twice(self, path: str) -> ArchiveError:
        return self.fail(f"two members come to the same place, `{path}`, perhaps because they differ only by upper and "
                         f"lower case, which the file system does not tell apart; then unpack it into another one")

    def _unwritable(self, path: str, error: OSError) -> Exception:
        if error.errno in (errno.ENAMETOOLONG, errno.EILSEQ):
            return self.fail(f"member {path!r} has a name that the file system does not take ({error.strerror})")
        return explain_full(error, f"the content of `{self.archive}` in `{self.folder.parent}`")

    # --- limits ---

    def count(self, number: int) -> None:
        """Take note of unpacked bytes, whether written or not."""
        self.unpacked += number
        self._check_limits(self.unpacked)

    def _counted(self, stream) -> Iterator[bytes]:
        while chunk := stream.read(STEP):
            self.count(len(chunk))
            yield chunk

    def _check_limits(self, number: int) -> None:
        if number > self.max_bytes:
            raise self.fail(f"it unpacks to more than {amount(self.max_bytes)}; if that is right, allow more by "
                            f"`max_bytes`")
        if number > max(content.FREE_BYTES, content.MAX_RATIO * self.size):
            raise self.fail(f"it unpacks to more than {content.MAX_RATIO} times as many bytes, as no archive of "
                            f"structures or tables does")

    def fail(self, reason: str) -> ArchiveError:
        """The error to raise about this archive."""
        return ArchiveError(f"cannot unpack `{self.archive}`: {reason}")


class _Stream:
    """Bytes of a tar archive in their order, none more than it has."""

    def __init__(self, work: Unpacking, file):
        self.work, self.file, self.place = work, file, 0

    def take(self, number: int) -> bytes:
        """The next bytes, all of them."""
        data = self.file.read(number)
        self.place += len(data)
        self.work.count(len(data))
        if len(data) < number:
            raise self.work.fail(f"it is cut off at unpacked byte {self.place}: its end mark is missing; remove it and "
                                 f"fetch it again")
        return data

    def chunks(self, number: int) -> Iterator[bytes]:
        """The next bytes, in pieces."""
        while number:
            data = self.take(min(number, STEP))
            number -= len(data)
            yield data

    def skip(self, number: int) -> None:
        """Pass over bytes."""
        for _ in self.chunks(number):
            pass

    def finish(self) -> None:
        """Read to the end, where gzip has its checksum; only padding may come."""
        while data := self.file.read(STEP):
            self.work.count(len(data))
            if data.count(0) < len(data):
                raise self.work.fail("it holds more after its end mark, as archives written one after another do; "
                                     "unpack it by hand")


def _is_tar(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        # all zeros: an archive without members
        return len(block) == archives.BLOCK and not any(block)
    return True
