"""Room on the disk, and sizes in words."""

from __future__ import annotations

import errno
import os
import shutil

#: What a write reports when there is no room, or no more of it for this user.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def check_room(folder: str | os.PathLike, needed: int, purpose: str) -> None:
    """
    Whether a folder has room for a number of bytes.

    Parameters:
        folder (str or Path): folder that exists
        needed (int): number of bytes
        purpose (str): what for, as in "no room for …"

    Raises:
        OSError: it has not
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"no room for {purpose} in `{folder}`: it needs {amount(needed)}, but "
                                    f"{amount(free)} are free; free some, or choose another folder")


def explain_full(error: OSError, purpose: str) -> OSError:
    """The error of a write, with what to do if the disk is full."""
    if error.errno not in DISK_FULL:
        return error
    return OSError(error.errno, f"no room left for {purpose} ({error.strerror}); free some, or choose another folder, "
                                f"and give the same command again")


def amount(size: int) -> str:
    """A size in words, exact and readable, e.g. ``2,500,000 bytes (2.4 MiB)``."""
    if size < 1024:
        return f"{size} bytes"
    value, unit = size / 1024, "KiB"
    for larger in ("MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{size:,} bytes ({value:.1f} {unit})"
