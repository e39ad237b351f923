"""
Archives unpacked into a folder of their own, whole or not at all: zip, tar, tar.gz and gz, told by their content.

The folder is made beside its place, under the name ``<folder>.part-<process>``, and renamed when it is whole. A
small file in it, ``.extracted.json``, says from what it was made, so that the same call later has nothing to do.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from .locks import locked
from .unpacking import ALLOWED, ArchiveError, Unpacking

MAX_BYTES = 200 << 30
STAMP = ".extracted.json"
STEP = 1 << 20


def extract(
    archive: str | os.PathLike, folder: str | os.PathLike, max_bytes: int = MAX_BYTES,
    members: Iterable[str] | None = None, *, verbose: int = 1,
) -> Path:
    """
    Unpack an archive into a folder, unless that has been done.

    Archives within the archive stay packed.

    Parameters:
        archive (str or Path): zip, tar, tar.gz or gz file; a gz file is unpacked to its name without ``.gz``
        folder (str or Path): folder to make; it may be there if it is empty
        max_bytes (int, optional): most bytes to unpack
        members (iterable of str, optional): files of the archive, or folders with all that is in them, to unpack; the
            rest is checked all the same
        verbose (int, optional): 0 for no progress bar; else there is one if unpacking takes more than two seconds

    Returns:
        Path: the folder, absolute and without links

    Raises:
        FileNotFoundError: there is no such archive, and the folder has not been made from it
        ValueError: the archive is damaged, cut off, hostile, too large or of another kind, or the folder holds
            something else; then nothing is left behind
        OSError: no room, or no permission to write
    """
    archive = Path(os.path.abspath(os.path.expanduser(archive)))
    # where the folder is a link, its place is beside what it leads to, on the same disk
    folder = Path(os.path.realpath(os.path.expanduser(folder)))
    members = _checked_members(members)
    if not archive.exists():
        found = _read_stamp(folder) or {}
        if found.get("archive") == archive.name and found.get("members") == members:
            return folder  # unpacked, then removed
        raise FileNotFoundError(f"archive `{archive}` does not exist")
    if not archive.is_file():
        raise ArchiveError(f"cannot unpack `{archive}`: it is no regular file; give a file, {ALLOWED}")
    stamp = {"size": archive.stat().st_size, "ends": _digest_of_ends(archive), "members": members}
    if _is_done(folder, archive, stamp):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)

    def waiting():
        if verbose:
            tqdm.write(f"Another process is unpacking {archive}; waiting for it", file=sys.stderr)

    with locked(f"{folder}.lock", waiting) as alone:
        if _is_done(folder, archive, stamp):
            return folder
        if alone:
            _remove_leftovers(folder)
        partial = Path(f"{folder}.part-{os.getpid()}")
        partial.mkdir()
        try:
            with tqdm(desc=f"Unpacking {archive.name}", unit="B", unit_scale=True, unit_divisor=1024, delay=2,
                      disable=not verbose) as bar:
                work = Unpacking(archive, partial, max_bytes, members, bar)
                work.run()
            _write_stamp(partial, {**stamp, "archive": archive.name, "files": work.files, "bytes": work.written})
            if hasattr(os, "sync"):
                os.sync()  # once, where a call for each of many files would take longer than unpacking
            _rename(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


# === what is there ===


def _checked_members(members) -> list[str] | None:
    if members is None:
        return None
    if isinstance(members, (str, bytes)):
        raise ValueError(f"members should be a list of names in the archive, but found {members!r}; give [{members!r}]")
    members = sorted({str(name).strip("/") for name in members})
    if not all(members):
        raise ValueError("members should be names in the archive, but one is empty; leave out `members` to unpack all")
    return members


def _digest_of_ends(path: Path) -> str:
    """SHA-256 of the first and last MiB: of a zip or gz file the checksums of its content are among the last."""
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read(STEP))
        file.seek(max(0, os.fstat(file.fileno()).st_size - STEP))
        digest.update(file.read(STEP))
    return digest.hexdigest()


def _read_stamp(folder: Path) -> dict | None:
    try:
        stamp = json.loads((folder / STAMP).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return stamp if isinstance(stamp, dict) else None


def _write_stamp(folder: Path, stamp: dict) -> None:
    try:
        with open(folder / STAMP, "x", encoding="utf-8") as file:
            json.dump(stamp, file)
    except FileExistsError:
        raise ArchiveError(f"cannot unpack `{stamp['archive']}`: a member is called `{STAMP}`, a name that is kept for "
                           f"the mark of a finished extraction; unpack it by hand") from None


def _is_done(folder: Path, archive: Path, stamp: dict) -> bool:
    """Whether the folder has been made from this archive; one that holds anything else is an error."""
    if not os.path.lexists(folder):
        return False
    if not folder.is_dir():
        raise ArchiveError(f"cannot unpack `{archive}` into `{folder}`: it is there and no folder; give another one")
    found = _read_stamp(folder)
    if found is not None and all(found.get(key) == value for key, value in stamp.items()):
        return True
    if found is None and not any(folder.iterdir()):
        return False
    what = "files of another origin"
    if found is not None:
        same = all(found.get(key) == stamp[key] for key in ("size", "ends"))
        what = ("another selection of its members" if same
                else f"what was unpacked from another archive, `{found.get('archive')}` of {found.get('size')} bytes")
    raise ArchiveError(f"cannot unpack `{archive}` into `{folder}`: the folder holds {what}. It is left as it is: move "
                       f"or remove it, or give another folder, and give the same command again")


def _remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left; the lock is held, so no other process is at work."""
    pattern = re.compile(re.escape(folder.name) + r"\.part-\d+")
    for path in folder.parent.iterdir():
        if pattern.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)


def _rename(partial: Path, folder: Path) -> None:
    if folder.exists():
        folder.rmdir()  # empty, as was seen; else this fails, and nothing is lost
    os.rename(partial, folder)
