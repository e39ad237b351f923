"""The text of a structure file: which endings are read, gzip or not, PDB or mmCIF.

The ending decides whether a file is tried at all; what it then holds is decided by its content, because
endings lie (mmCIF saved as ``.pdb``, gzip without ``.gz``, plain text with it).
"""

from __future__ import annotations

import os
import re
import stat
import zlib

#: Endings of the formats read here, each also with ``.gz``.
ENDINGS = (".pdb", ".ent", ".cif", ".mmcif")
#: Largest text accepted, unpacked. The largest PDB entries stay below; a gzip bomb does not.
MAX_BYTES = 2 << 30

BOM = b"\xef\xbb\xbf"
GZIP_MAGIC = b"\x1f\x8b"
# A byte outside ASCII (a name in a title) becomes one "?", so that columns of PDB records keep their place.
ASCII_TABLE = bytes(range(128)) + b"?" * 128
MMCIF_START = re.compile(rb"(?:\s+|#[^\n]*\n)*(?:data_|loop_|_)", re.IGNORECASE)
PDB_ATOMS = (b"ATOM", b"HETATM")


def split_ending(path: str | os.PathLike) -> tuple[str, str]:
    """
    Split a file name into the name of the structure and its ending.

    Parameters:
        path (str or Path): file name; the file need not exist

    Returns:
        stem and ending (lower case, ``.gz`` included), e.g. ``("1a8o", ".cif.gz")``; the ending is ``""`` if
        the file is not one that :func:`read_structure` reads
    """
    name = os.path.basename(os.fspath(path))
    lower = name.lower()
    for ending in ENDINGS:
        for full in (ending, ending + ".gz"):
            if lower.endswith(full) and len(lower) > len(full):
                return name[: -len(full)], full
    return name, ""


def read_content(path: str | os.PathLike) -> bytes:
    """
    Read a structure file into ASCII text, unpacked.

    Parameters:
        path (str or Path): file

    Raises:
        FileNotFoundError: there is no such file
        ValueError: it is no regular file, its ending is not allowed, or its content is empty, cut off
            or no text
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"structure file {str(path)!r} does not exist") from None
    except OSError as error:
        raise unreadable(path, error.strerror) from None
    if stat.S_ISDIR(status.st_mode):
        raise unreadable(path, "it is a directory; give a file")
    if not stat.S_ISREG(status.st_mode):
        raise unreadable(path, "it is not a regular file")
    if not split_ending(path)[1]:
        raise unreadable(path, f"its ending is not one of {', '.join(ENDINGS)} (each also with .gz)")
    if status.st_size > MAX_BYTES:
        raise unreadable(path, f"it is larger than {MAX_BYTES} bytes")
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise unreadable(path, error.strerror) from None

    if data.startswith(GZIP_MAGIC):
        data = _unzip(path, data)
    data = data.removeprefix(BOM)
    if not data or data.isspace():
        raise unreadable(path, "the file is empty")
    if b"\0" in data:
        raise unreadable(path, "it holds binary data, not the text of a PDB or mmCIF file")
    return data if data.isascii() else data.translate(ASCII_TABLE)


def is_mmcif(path: str | os.PathLike, data: bytes) -> bool:
    """
    Tell mmCIF from PDB by the content.

    Parameters:
        path (str or Path): file, for the message
        data (bytes): its text

    Raises:
        ValueError: the text is neither
    """
    if MMCIF_START.match(data):
        return True
    if data.startswith(PDB_ATOMS) or any(b"\n" + record in data for record in PDB_ATOMS):
        return False
    raise unreadable(path, "it is not a structure: neither an mmCIF data block nor a PDB atom record in it")


def unreadable(path: str | os.PathLike, reason: str) -> ValueError:
    """The error for a file that cannot be read, naming the file and the reason."""
    return ValueError(f"cannot read structure {str(path)!r}: {reason}")


def _unzip(path: str | os.PathLike, data: bytes) -> bytes:
    """Unpack all members of a gzip file (bgzip writes many); zlib alone is faster than the gzip module."""
    parts = []
    room = MAX_BYTES
    while data.startswith(GZIP_MAGIC):
        member = zlib.decompressobj(wbits=31)
        try:
            parts.append(member.decompress(data, room + 1))
        except zlib.error as error:
            raise unreadable(path, f"its gzip data is damaged ({error})") from None
        room -= len(parts[-1])
        if room < 0:
            raise unreadable(path, f"it is larger than {MAX_BYTES} bytes when unpacked")
        if not member.eof:
            raise unreadable(path, "it is truncated: its gzip data ends too early")
        data = member.unused_data
    return b"".join(parts)
