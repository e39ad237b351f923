"""One process at a time: the others wait. The lock of a process that was killed is free."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

TAKEN = (errno.EAGAIN, errno.EACCES)


@contextmanager
def locked(path: str | os.PathLike, waiting: Callable[[], None] | None = None) -> Iterator[bool]:
    """
    Hold the lock of this name while the block runs; threads exclude one another, too.

    Parameters:
        path (str or Path): file that stands for the lock, in a folder that exists; it is gone afterwards
        waiting (Callable, optional): called once if another process holds the lock

    Yields:
        bool: whether others are kept out; False where the system or the file system has no locks
    """
    while True:
        file = open(path, "a")  # closed below, as soon as the lock may go
        try:
            held = _take(file, waiting)
            # one who waited holds a file that its last holder has removed: then the name stands for another lock
            if not held or _stands_for(path, file):
                break
        except BaseException:
            file.close()
            raise
        file.close()
    try:
        yield held
    finally:
        with suppress(OSError):
            os.remove(path)  # before the lock goes, so that nobody takes what is about to vanish
        file.close()


def _take(file, waiting) -> bool:
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in TAKEN:
            return False
        if waiting is not None:
            waiting()
        fcntl.flock(file, fcntl.LOCK_EX)
    return True


def _stands_for(path, file) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
