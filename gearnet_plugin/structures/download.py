"""
Files from the network: resumed where they stopped, verified, never over another file.

A file is either whole and right or not there under its name: it grows as ``<target>.part`` and is renamed at the
end. A file that is there and right is taken without any network, one that is wrong is an error: it may be the
user's own. Processes that want the same file wait for the one that fetches it.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from .disk import amount
from .locks import locked
from .transfer import SCHEMES, Broken, Part, Refused, Stale, transfer

#: Further attempts at a server that never answered: a machine without a network should say so soon.
UNANSWERED = 2
#: Longest pause between two attempts, in seconds.
MAX_PAUSE = 60
STEP = 1 << 20


def fetch(
    urls: str | Iterable[str], target: str | os.PathLike, size: int | None = None, sha256: str | None = None,
    md5: str | None = None, timeout: float = 30, retries: int = 5, verbose: int = 1, download: bool = True, *,
    pause: Callable[[float], None] = time.sleep,
) -> Path:
    """
    Have a file here, from the first of its addresses that gives it.

    A broken connection is taken up where it stopped, by this call or a later one, if the server tells that its file
    is still the same. Where neither size nor checksum is known and the server does not tell the length either, a
    file that ends too early cannot be noticed.

    Parameters:
        urls (str or iterable of str): address, or several of the same file in the order to try them;
            ``https``, ``http``, ``file`` or ``ftp``
        target (str or Path): where to have the file
        size (int, optional): its size in bytes
        sha256 (str, optional): its SHA-256, 64 hexadecimal digits
        md5 (str, optional): its MD5, 32 hexadecimal digits
        timeout (float, optional): seconds without data after which a connection counts as broken
        retries (int, optional): further attempts at an address without any gain
        verbose (int, optional): 0 for no progress bar and no messages
        download (bool, optional): False to use no network: what is missing is an error that says what to fetch
        pause (Callable, optional): waits for a number of seconds between attempts

    Returns:
        Path: the absolute target

    Raises:
        FileNotFoundError: the file is not here and was not to be had
        ValueError: the file that is here, or that the addresses give, is not the expected one, or a wrong argument
        OSError: no room, or no permission to write
    """
    target = Path(os.path.abspath(os.path.expanduser(target)))
    wanted = _wanted(urls, size, sha256, md5)
    if _is_present(target, wanted, verbose):
        return target
    if not download:
        raise FileNotFoundError(f"`{target}` is not there, and downloads are switched off. {_by_hand(target, wanted)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise OSError(error.errno, f"cannot make the folder `{target.parent}` for the download: "
                                   f"{error.strerror}") from None

    def waiting():
        _tell(verbose, f"Another process is fetching {target}; waiting for it")

    with locked(f"{target}.lock", waiting):
        if not _is_present(target, wanted, verbose):
            part = Part(target, provable=bool(wanted.sums))
            if size is not None and not part.is_whole(size):
                part.check_room(size)  # before any request
            with tqdm(desc=f"Fetching {target.name}", unit="B", unit_scale=True, unit_divisor=1024, smoothing=0.1,
                      delay=1, disable=not verbose) as bar:
                _from_any(wanted, target, part, _Effort(timeout, retries, pause, verbose, bar))
    return target


class _Wanted(NamedTuple):
    """What to fetch: addresses, and what is known of the file."""

    urls: list[str]
    size: int | None
    sums: dict[str, str]


class _Effort(NamedTuple):
    timeout: float
    retries: int
    pause: Callable[[float], None]
    verbose: int
    bar: tqdm


def _wanted(urls, size, sha256, md5) -> _Wanted:
    urls = list(dict.fromkeys([urls] if isinstance(urls, str) else urls))
    if not urls:
        raise ValueError("no address to download from; give at least one URL")
    for url in urls:
        try:
            parts = urllib.parse.urlsplit(url)
            known = parts.scheme in SCHEMES and (parts.path if parts.scheme == "file" else parts.hostname)
        except (ValueError, TypeError, AttributeError):
            known = False
        if not known:
            allowed = ", ".join(f"{scheme}://" for scheme in SCHEMES)
            raise ValueError(f"cannot download from {url!r}; give a whole address, which begins with one of {allowed}")
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        raise ValueError(f"the size of a download should be a positive number of bytes, but found {size!r}")
    sums = {name: value for name, value in (("sha256", sha256), ("md5", md5)) if value is not None}
    for name, digits in (("sha256", 64), ("md5", 32)):
        if name in sums:
            if not re.fullmatch(rf"[0-9a-fA-F]{{{digits}}}", str(sums[name])):
                raise ValueError(f"{name} should be {digits} hexadecimal digits, but found {sums[name]!r}")
            sums[name] = sums[name].lower()
    return _Wanted(urls, size, sums)


# === what is here ===


def _is_present(target: Path, wanted: _Wanted, verbose: int) -> bool:
    """Whether the file is here and right; one that is here and wrong is an error."""
    if not os.path.lexists(target):
        return False
    if not target.exists():
        raise ValueError(f"`{target}` is a link to `{os.path.realpath(target)}`, which does not exist; make that "
                         f"available, or remove the link, and the same command downloads the file")
    if not target.is_file():
        raise ValueError(f"`{target}` is no regular file; move it, or give another place for the download")
    if fault := _fault(target, wanted, verbose):
        raise ValueError(f"`{target}` is there, but {fault}. It is left as it is: move or remove it, and the same "
                         f"command downloads it anew")
    return True


def _fault(path: str | os.PathLike, wanted: _Wanted, verbose: int) -> str:
    """What is wrong with a file, "" if nothing is."""
    size = os.path.getsize(path)
    if wanted.size is not None and size != wanted.size:
        return f"it has {amount(size)}, where {amount(wanted.size)} are expected"
    if not size:
        return "it is empty"
    if not wanted.sums:
        return ""
    found = {name: hashlib.new(name, usedforsecurity=False) for name in wanted.sums}
    bar = tqdm(desc=f"Checking {os.path.basename(path)}", total=size, unit="B", unit_scale=True, unit_divisor=1024,
               delay=2, disable=not verbose)
    with bar, open(path, "rb") as file:
        while chunk := file.read(STEP):
            for digest in found.values():
                digest.update(chunk)
            bar.update(len(chunk))
    for name, digest in found.items():
        if digest.hexdigest() != wanted.sums[name]:
            return f"its {name} is {digest.hexdigest()}, where {wanted.sums[name]} is expected"
    return ""


# === addresses in turn ===


def _from_any(wanted: _Wanted, target: Path, part: Part, effort: _Effort) -> None:
    """Fetch from the first address that gives the right file."""
    reasons, wrong = [], False
    for url in wanted.urls:
        try:
            _from_one(url, wanted, part, effort)
        except Refused as error:
            reasons.append(f"  {url}: {error}")
            wrong |= error.wrong
            _tell(effort.verbose, f"{url}: {error}")
            continue
        _land(part, target, wanted, effort.verbose)
        return
    kept = f"\n{amount(part.size)} of it are kept in `{part.path}`." if part.size else ""
    raise (ValueError if wrong else FileNotFoundError)(
        f"could not download `{target}`:\n" + "\n".join(reasons) + f"{kept}\nGive the same command again later. "
        f"Or, by hand: {_by_hand(target, wanted)}")


def _from_one(url: str, wanted: _Wanted, part: Part, effort: _Effort) -> None:
    """Fetch the whole from an address and verify it; a wrong file from more than one answer gets one more chance."""
    for _ in range(2):
        if not part.is_whole(wanted.size):
            _complete(url, wanted, part, effort)
        fault = _fault(part.path, wanted, effort.verbose)
        if not fault:
            return
        joined = part.joined
        part.remove()
        if not joined:
            break
        _tell(effort.verbose, f"{url}: {fault}, after a download in several pieces; starting anew")
    raise Refused(f"{fault}; what came is removed", wrong=True)


def _complete(url: str, wanted: _Wanted, part: Part, effort: _Effort) -> None:
    """Ask an address again and again until the part is whole, as long as it gives more."""
    failures, reached, answered, ranges = 0, part.size, False, True
    while True:
        try:
            transfer(url, part, wanted.size, effort.timeout, effort.bar, ranges)
            return
        except Stale as error:
            _tell(effort.verbose and part.size, f"{url}: {error}; starting anew")
            ranges &= error.ranges
            part.remove()
        except Broken as error:
            answered |= error.answered
            if part.size > reached:
                failures, reached = 0, part.size
            failures += 1
            if failures > (effort.retries if answered else min(effort.retries, UNANSWERED)):
                tries = f", in {failures} attempts" if failures > 1 else ""
                raise Refused(f"{error}{tries}") from None
            seconds = max(error.wait, min(2 ** (failures - 1), MAX_PAUSE))
            _tell(effort.verbose, f"{url}: {error}; trying again in {seconds:g} s")
            effort.pause(seconds)


def _land(part: Part, target: Path, wanted: _Wanted, verbose: int) -> None:
    """Give the whole file its name, unless somebody else put one there meanwhile."""
    if not _is_present(target, wanted, verbose):
        os.replace(part.path, target)
        with suppress(OSError):  # a folder cannot be synchronised on every file system
            descriptor = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    part.remove()


# === words ===


def _by_hand(target: Path, wanted: _Wanted) -> str:
    known = [amount(wanted.size)] if wanted.size is not None else []
    known += [f"{name} {value}" for name, value in wanted.sums.items()]
    about = f" ({', '.join(known)})" if known else ""
    return (f"Fetch {' or '.join(wanted.urls)}{about} where there is a network, put it at `{target}`, and give the "
            f"same command again: it goes on from there")


def _tell(verbose: int, message: str) -> None:
    if verbose:
        tqdm.write(message, file=sys.stderr)
