"""Which structures a path stands for, and reading them wherever they lie: in files, archives or databases."""

from __future__ import annotations

import atexit
import glob
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from .archives import Member, database_members, is_archive, is_database, is_packed, tar_members, unpack_tar
from .content import ENDINGS, PASSING, read_bytes, split_ending, unreadable
from .manifest import is_store
from .parallel import count_workers, spread
from .reader import parse_structure, read_structure
from .structure import Structure

LIST_ENDINGS = (".txt", ".lst")


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One structure file, on its own or a member of an archive or database.

    Parameters:
        file (str): file to open
        source (str): what is shown and recorded: the path as given, for a member
            ``<path of the archive>/<name of the member>``
        offset (int, optional): where the bytes of a member begin in ``file``; -1 for the whole file
        size (int, optional): number of bytes of a member
        refusal (str, optional): why it must not be read
    """

    file: str
    source: str
    offset: int = -1
    size: int = -1
    refusal: str = ""

    @property
    def stem(self) -> str:
        """Name of the structure: that of the file or member, without its ending."""
        return split_ending(self.source)[0]

    @property
    def ending(self) -> str:
        """Ending of the file or member as :func:`split_ending` gives it; entries of databases are ``.fcz``."""
        of_database = self.offset >= 0 and not is_archive(self.file)
        return ".fcz" if of_database else split_ending(self.source)[1]

    def __str__(self) -> str:
        return self.source


def find_entries(paths: str | os.PathLike | Iterable, scratch: str | os.PathLike | None = None) -> Iterator[Entry]:
    """
    The structures that paths stand for, one by one, in an order that depends on nothing but them.

    Of folders, glob patterns and archives only files with a readable ending count, and hidden files never do
    (macOS leaves ``._*`` beside each file). Files named one by one are taken as they are: reading says what
    is wrong with them. What is named twice counts once.

    Members of archives are not remembered, whatever their number.

    Parameters:
        paths (str, Path or list): a folder (searched with its subfolders, sorted; the archives and databases in
            it too), a glob pattern, a structure file, a tar archive (``.tar``, ``.tar.gz``, ``.tgz``), the data
            file of a FoldComp database, a text file ``.txt`` or ``.lst`` with one path a line (relative to that
            file; ``#`` starts a comment), or a list of these
        scratch (str or Path, optional): folder for unpacked copies of compressed archives, which stay there
            and are used again; by default a temporary one, removed when this process ends

    Raises:
        FileNotFoundError: there is no such file or folder, or nothing matches the pattern
        ValueError: there is no structure in it, which is known only at the end
    """
    if isinstance(paths, (str, os.PathLike)):
        name, sources = f"`{os.fspath(paths)}`", [_check(paths, listed=False)]
    else:
        sources = [_check(path, listed=True) for path in paths]
        name = f"the list of {len(sources)} paths"
    return _entries(sources, name, None if scratch is None else os.fspath(scratch))


def find_files(paths: str | os.PathLike | Iterable) -> Iterator[str]:
    """The files that paths stand for, archives and databases not opened; see :func:`find_entries`."""
    if isinstance(paths, (str, os.PathLike)):
        return _once([_check(paths, listed=False)])
    return _once([_check(path, listed=True) for path in paths])


def find_structures(path: str | os.PathLike | Iterable) -> list[Entry]:
    """The same as a list, for what fits into memory; see :func:`find_entries`."""
    return list(find_entries(path))


def read_entry(entry: Entry) -> Structure:
    """
    Read one structure, wherever it lies.

    Parameters:
        entry (Entry): from :func:`find_entries`

    Raises:
        FileNotFoundError: there is no such file
        ValueError: as :func:`read_structure`, or the entry must not be read
    """
    if entry.refusal:
        raise unreadable(entry.source, entry.refusal)
    if entry.offset < 0:
        return read_structure(entry.file)
    data = read_bytes(entry.file, entry.offset, entry.size, entry.source)
    return parse_structure(data, entry.stem, entry.source)


def try_read(entry: Entry, lasting: bool = False) -> tuple[Structure | None, str]:
    """
    Read one structure; ``None`` and the reason in one line if that is not possible, whatever goes wrong.

    Parameters:
        entry (Entry): from :func:`find_entries`
        lasting (bool, optional): raise what says nothing about the file and may be gone tomorrow, such as a lack of
            memory or a lost network file system, where a result is kept for good
    """
    try:
        return read_entry(entry), ""
    except FileNotFoundError:
        reason = "no such file"
    except MemoryError:
        if lasting:
            raise
        reason = "out of memory"
    except OSError as error:
        if lasting and error.errno in PASSING:
            raise
        reason = str(error)
    except ValueError as error:
        reason = str(error).removeprefix(f"cannot read structure {entry.source!r}: ")
    except Exception as error:  # noqa: BLE001  one strange file must not end the reading of a hundred thousand
        reason = f"unexpected {type(error).__name__}: {error}"
    return None, " ".join(reason.split())


def read_structures(
    entries: Iterable[Entry], num_worker: int | None = 0, verbose: int = 1
) -> Iterator[tuple[Structure | None, str]]:
    """
    Read structures in order; one that cannot be read gives ``None`` and the reason.

    Parameters:
        entries (list of Entry): from :func:`find_structures`
        num_worker (int, optional): number of processes, -1 for one a core; with 0, 1 and ``None`` this process
            does the work
        verbose (int, optional): 0 for no progress bar; else there is one if reading takes more than two
            seconds
    """
    from tqdm import tqdm

    entries = list(entries)
    workers = 1 if num_worker in (None, 0) else count_workers(num_worker)
    results = spread(try_read, ((entry,) for entry in entries), workers, ordered=True)
    return iter(tqdm(results, "Reading structures", len(entries), unit="file", delay=2, disable=not verbose))


# === from paths to entries ===


def _check(source, listed: bool) -> str:
    """A path as text; one that stands for nothing is an error, unless it is one of several."""
    if not isinstance(source, (str, os.PathLike)):
        raise ValueError(f"a list of structures should hold paths, but found `{source!r}`")
    path = os.path.expanduser(os.fspath(source))
    if not os.path.exists(path):
        if glob.has_magic(path):
            if not any(glob.iglob(path, recursive=True)):
                raise FileNotFoundError(f"nothing matches `{path}`, looked from `{os.getcwd()}`")
        elif not listed:
            raise FileNotFoundError(f"no such file or folder: `{path}`, looked from `{os.getcwd()}`")
    return path


def _entries(sources: list[str], name: str, scratch: str | None) -> Iterator[Entry]:
    empty = True
    for path in _once(sources):
        for entry in _open(path, scratch):
            empty = False
            yield entry
    if empty:
        raise ValueError(f"no structure in {name}; expected files ending in {', '.join(ENDINGS)}, each also with "
                         f".gz, tar archives of these, or FoldComp databases")


def _once(sources: list[str]) -> Iterator[str]:
    """Files of sources. One file under two spellings counts once, under the first."""
    if len(sources) == 1 and os.path.isdir(sources[0]):
        # A folder alone repeats nothing, so that its files need not be remembered.
        yield from _files(sources[0])
        return
    known = set()
    for source in sources:
        for file in _files(source):
            path = os.path.abspath(file)
            if path not in known:
                known.add(path)
                yield file


def _open(path: str, scratch: str | None) -> Iterator[Entry]:
    """The entries of a file: itself, or its members."""
    source = os.path.normpath(path)
    if os.path.isdir(path) and not os.access(path, os.R_OK | os.X_OK):
        yield Entry(source, source, refusal="the folder must not be listed")
    elif is_archive(path) and os.path.isfile(path):
        try:
            file = _plain_archive(source, scratch)
        except ValueError as error:
            yield Entry(source, source, refusal=str(error))
        else:
            yield from _members(file, source, tar_members(file))
    elif is_database(path):
        yield from _members(source, source, database_members(source))
    else:
        yield Entry(source, source)


def _plain_archive(path: str, scratch: str | None) -> str:
    """The archive itself, or its unpacked copy."""
    try:
        packed = is_packed(path)
    except OSError as error:
        if error.errno in PASSING:
            raise
        raise ValueError(error.strerror) from None
    return unpack_tar(path, scratch or _temporary_folder()) if packed else path


def _members(file: str, source: str, members: Iterator[Member]) -> Iterator[Entry]:
    try:
        for name, offset, size, refusal in members:
            full = f"{source}/{name}" if name else source
            yield Entry(file, full, refusal=refusal) if refusal else Entry(file, full, offset, size)
    except OSError as error:
        if error.errno in PASSING:
            raise
        yield Entry(source, source, refusal=f"it cannot be listed further: {error.strerror}")


def _files(path: str) -> Iterator[str]:
    """Files that a path stands for, archives and databases not opened yet."""
    if os.path.isdir(path):
        yield from _walk(path, set())
    elif os.path.isfile(path):
        if path.lower().endswith(LIST_ENDINGS):
            yield from _read_list(path)
        else:
            yield path
    elif glob.has_magic(path):
        for match in sorted(glob.glob(path, recursive=True)):
            if os.path.isdir(match):
                yield from _walk(match, set())
            elif _is_source(match):
                yield match
    else:
        yield path


def _is_source(path: str) -> bool:
    return bool(split_ending(path)[1]) or is_archive(path) or is_database(path)


def _walk(folder: str, seen: set[str]) -> Iterator[str]:
    """Sources in a folder and its subfolders, sorted by path, through links, each folder once."""
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    # a store may lie among the files it is made of, with its unpacked archives
    if is_store(folder):
        return
    try:
        with os.scandir(folder) as entries:
            # With its slash a folder stands where its files stand among all paths in order.
            names = sorted(entry.name + "/" * entry.is_dir() for entry in entries if not entry.name.startswith("."))
    except OSError:
        yield folder
        return
    for name in names:
        path = os.path.join(folder, name.rstrip("/"))
        if name.endswith("/"):
            yield from _walk(path, seen)
        elif _is_source(path):
            yield path


def _read_list(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = [line.split("#")[0].strip() for line in file]
    except UnicodeDecodeError:
        raise ValueError(f"`{path}` should list one path a line, but it is no UTF-8 text") from None
    return [os.path.join(os.path.dirname(path), os.path.expanduser(line)) for line in lines if line]


@cache
def _temporary_folder() -> str:
    """Folder for unpacked archives, removed when this process ends; a forked one leaves it to its parent."""
    folder, owner = tempfile.mkdtemp(prefix="gearnet-"), os.getpid()
    def remove() -> None:
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder
