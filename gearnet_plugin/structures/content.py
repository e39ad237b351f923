"""The bytes of a structure file: which endings are read, gzip or not, and which format they are in.

The ending decides whether a file is tried at all; what it then holds is decided by its content, because
endings lie (mmCIF saved as ``.pdb``, gzip without ``.gz``, plain text with it).
"""

from __future__ import annotations

import errno
import importlib.util
import os
import re
import stat
import zlib

#: Endings of the formats read here, each also with ``.gz``. The last four need the extra ``formats``.
ENDINGS = (".pdb", ".ent", ".cif", ".mmcif", ".bcif", ".fcz", ".hdf5", ".h5")
#: Formats by ending, and the library that reads them.
LIBRARIES = {
    "bcif": ("BinaryCIF", "biotite"),
    "fcz": ("FoldComp", "foldcomp"),
    "hdf5": ("HDF5", "h5py"),
    "h5": ("HDF5", "h5py"),
}
#: Largest content accepted, unpacked. The largest PDB entries stay below; a gzip bomb does not.
MAX_BYTES = 2 << 30
#: Beyond FREE_BYTES, gzip data may unpack to this many times its size. Structures reach 10; a bomb 1000.
MAX_RATIO = 200
FREE_BYTES = 16 << 20

#: Errors of the machine, which say nothing about a file and may be gone tomorrow.
PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.ENOSPC, errno.ETIMEDOUT)

BOM = b"\xef\xbb\xbf"
GZIP_MAGIC = b"\x1f\x8b"
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
FOLDCOMP_MAGIC = b"FCMP"
# What later versions of FoldComp write for several chains.
CONTAINER_MAGIC = b"FCZC"
# A map of MessagePack whose keys, among the first bytes, are those of BinaryCIF.
BINARYCIF_START = re.compile(rb"[\x80-\x8f\xde\xdf].{0,4096}?dataBlocks", re.DOTALL)
# A byte outside ASCII (a name in a title) becomes one "?", so that columns of PDB records keep their place.
ASCII_TABLE = bytes(range(128)) + b"?" * 128
MMCIF_START = re.compile(rb"\s*(?:#[^\n]*\n\s*)*(?:data_|loop_|_)", re.IGNORECASE)
PDB_ATOMS = (b"ATOM", b"HETATM")
# Bytes unpacked at a time: what a bomb can take before its ratio is seen.
UNZIP_STEP = 1 << 24


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


def read_file(path: str | os.PathLike) -> bytes:
    """
    The bytes of a structure file as they are stored.

    Parameters:
        path (str or Path): file

    Raises:
        FileNotFoundError: there is no such file
        ValueError: it is no regular file, its ending is not allowed, or it is too large
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"structure file {str(path)!r} does not exist") from None
    except OSError as error:
        if error.errno in PASSING:
            raise
        raise unreadable(path, str(error.strerror)) from None
    if stat.S_ISDIR(status.st_mode):
        raise unreadable(path, "it is a directory; give a file")
    if not stat.S_ISREG(status.st_mode):
        raise unreadable(path, "it is not a regular file")
    if not split_ending(path)[1]:
        raise unreadable(path, f"its ending is not one of {', '.join(ENDINGS)} (each also with .gz)")
    return read_bytes(path, 0, status.st_size, path)


def read_bytes(path: str | os.PathLike, offset: int, size: int, source: str | os.PathLike) -> bytes:
    """
    A range of bytes of a file.

    Parameters:
        path (str or Path): file
        offset (int): where the range begins
        size (int): its number of bytes
        source (str or Path): what messages name

    Raises:
        FileNotFoundError: there is no such file
        ValueError: the file cannot be read, ends before the range does, or the range is too large
    """
    if size > MAX_BYTES:
        raise unreadable(source, f"it is larger than {MAX_BYTES} bytes")
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            data = file.read(size)
    except FileNotFoundError:
        raise FileNotFoundError(f"`{path}`, which holds structure {str(source)!r}, does not exist") from None
    except OSError as error:
        if error.errno in PASSING:
            raise
        raise unreadable(source, str(error.strerror)) from None
    if len(data) < size:
        raise unreadable(source, f"it is cut off: {len(data)} of its {size} bytes are there")
    return data


def unpack(source: str | os.PathLike, data: bytes) -> bytes:
    """
    Unpack gzip data; anything else is returned as it is.

    All members of a gzip file are unpacked (bgzip writes many); zlib alone is faster than the gzip module.

    Parameters:
        source (str or Path): what messages name
        data (bytes): content of a file

    Raises:
        ValueError: the gzip data is damaged or cut off, or unpacks to too much
    """
    if not data.startswith(GZIP_MAGIC):
        return data
    parts: list[bytes] = []
    total = 0
    rest: bytes | memoryview = memoryview(data)
    limit = min(MAX_BYTES, max(FREE_BYTES, MAX_RATIO * len(data)))
    while rest[:2] == GZIP_MAGIC:
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            try:
                parts.append(member.decompress(rest, min(limit - total + 1, UNZIP_STEP)))
            except zlib.error as error:
                raise unreadable(source, f"its gzip data is damaged ({error})") from None
            rest = member.unconsumed_tail
            total += len(parts[-1])
            if total > limit:
                raise unreadable(source, _too_large(limit, len(data)))
            if not rest and not parts[-1] and not member.eof:
                raise unreadable(source, "it is truncated: its gzip data ends too early")
        rest = memoryview(member.unused_data)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def content_format(source: str | os.PathLike, data: bytes) -> str:
    """
    Tell the format by the content.

    Parameters:
        source (str or Path): what the message names
        data (bytes): unpacked content

    Returns:
        str: ``hdf5``, ``fcz``, ``bcif``, ``mmcif`` or ``pdb``

    Raises:
        ValueError: it is empty or in no format that is known, or what reads it is not installed
    """
    if data.startswith(HDF5_MAGIC):
        format = "hdf5"
    elif data.startswith(FOLDCOMP_MAGIC):
        format = "fcz"
    elif data.startswith(CONTAINER_MAGIC):
        raise unreadable(source, "it is a FoldComp container of several chains; only entries of one chain are read")
    elif BINARYCIF_START.match(data):
        format = "bcif"
    else:
        return _text_format(source, data)
    if missing := missing_formats(format):
        raise unreadable(source, missing)
    return format


def missing_formats(ending: str) -> str | None:
    """
    What has to be installed before files of an ending can be read.

    Parameters:
        ending (str): ending as :func:`split_ending` gives it, or the name of a format

    Returns:
        str: what is missing and how to install it, in one line; None if nothing is
    """
    name, library = LIBRARIES.get(ending.lower().removesuffix(".gz").removeprefix("."), ("", ""))
    if not library or importlib.util.find_spec(library) is not None:
        return None
    return f'{name} files are read by {library}, which is not installed: pip install "gearnet-plugin[formats]"'


def _text_format(source: str | os.PathLike, data: bytes) -> str:
    start = data[len(BOM) :] if data.startswith(BOM) else data
    if not start or start.isspace():
        raise unreadable(source, "the file is empty")
    if b"\0" in data:
        raise unreadable(source, "it holds binary data of an unknown kind, not the text of a PDB or mmCIF file")
    if MMCIF_START.match(start):
        return "mmcif"
    if start.startswith(PDB_ATOMS) or any(b"\n" + record in data for record in PDB_ATOMS):
        return "pdb"
    raise unreadable(source, "it is not a structure: neither an mmCIF data block nor a PDB atom record in it")


def as_text(data: bytes) -> bytes:
    """The content of a text file as ASCII."""
    data = data.removeprefix(BOM)
    return data if data.isascii() else data.translate(ASCII_TABLE)


def unreadable(source: str | os.PathLike, reason: str) -> ValueError:
    """The error for a structure that cannot be read, naming it and the reason."""
    return ValueError(f"cannot read structure {str(source)!r}: {reason}")


def _too_large(limit: int, packed: int) -> str:
    if limit < MAX_BYTES:
        return f"its {packed} bytes of gzip data unpack to more than {MAX_RATIO} times as many, as no structure does"
    return f"it is larger than {MAX_BYTES} bytes when unpacked"
