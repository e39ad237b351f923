"""Which structure files are meant by a path; reading many of them; names that tell them apart."""
from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator

from joblib import Parallel, delayed
from tqdm import tqdm

from gearnet_plugin.structures import ENDINGS, Structure, read_structure, split_ending

LIST_ENDINGS = (".txt", ".lst")


def find_structures(path: str | os.PathLike | Iterable) -> list[str]:
    """
    The structure files that a path stands for.

    Of folders and glob patterns only files with a readable ending count, and hidden files never do (macOS
    leaves ``._*`` beside each file). Files named one by one are taken as they are: reading says what is
    wrong with them.

    Parameters:
        path (str, Path or list): a folder (searched with its subfolders, sorted), a glob pattern, a structure
            file, a text file ``.txt`` or ``.lst`` with one path a line (relative to that file; ``#`` starts a
            comment), or a list of these

    Returns:
        list of str: each file once

    Raises:
        FileNotFoundError: there is no such file or folder, or nothing matches the pattern
        ValueError: there is no structure in it
    """
    if isinstance(path, (str, os.PathLike)):
        files = _find(path, listed=False)
        name = f"`{os.fspath(path)}`"
    else:
        sources = list(path)
        files = [file for source in sources for file in _find(source, listed=True)]
        name = f"the list of {len(sources)} paths"
    if not files:
        raise ValueError(f"no structure in {name}; expected files ending in {', '.join(ENDINGS)}, "
                         f"each also with .gz")
    # one file under two spellings counts once, under the first
    once = {}
    for file in files:
        once.setdefault(os.path.abspath(file), os.path.normpath(file))
    return list(once.values())


def read_structures(files: Iterable[str], num_worker: int | None = 0,
                    verbose: int = 1) -> Iterator[tuple[Structure | None, str]]:
    """
    Read structure files in order; one that cannot be read gives ``None`` and the reason.

    Parameters:
        files (list of str): structure files
        num_worker (int, optional): number of processes as joblib counts them (-1 for one a core); with 0, 1
            and ``None`` this process does the work
        verbose (int, optional): 0 for no progress bar; else there is one if reading takes more than two
            seconds
    """
    files = list(files)
    if num_worker in (None, 0, 1):
        results = map(_read, files)
    else:
        results = Parallel(n_jobs=num_worker, return_as="generator")(delayed(_read)(file) for file in files)
    return iter(tqdm(results, "Reading structures", len(files), unit="file", delay=2, disable=not verbose))


def unique_names(names: dict[str, str]) -> dict[str, str]:
    """
    Names by file, unique.

    Files of one name get their folder too, and the ending where the folder does not tell them apart.
    """
    files = {}
    for file, name in names.items():
        files.setdefault(name, []).append(file)
    unique = {}
    for name, group in files.items():
        if len(group) == 1:
            unique[group[0]] = name
            continue
        root = os.path.commonpath([os.path.dirname(os.path.abspath(file)) for file in group])
        paths = {file: os.path.relpath(file, root) for file in group}
        short = {file: os.path.join(os.path.dirname(path), name) for file, path in paths.items()}
        unique.update(short if len(set(short.values())) == len(group) else paths)
    return unique


def _read(file: str) -> tuple[Structure | None, str]:
    try:
        return read_structure(file), ""
    except FileNotFoundError:
        reason = "no such file"
    except (ValueError, OSError) as error:
        reason = str(error).removeprefix(f"cannot read structure {file!r}: ")
    except Exception as error:  # noqa: BLE001  one strange file must not end the reading of a hundred thousand
        reason = f"unexpected {type(error).__name__}: {error}"
    return None, " ".join(reason.split())


def _find(source, listed: bool) -> list[str]:
    if not isinstance(source, (str, os.PathLike)):
        raise ValueError(f"a list of structures should hold paths, but found `{source!r}`")
    path = os.path.expanduser(os.fspath(source))
    if os.path.isdir(path):
        return _walk(path)
    if os.path.isfile(path):
        return _read_list(path) if path.lower().endswith(LIST_ENDINGS) else [path]
    if glob.has_magic(path):
        return _match(path)
    if listed:
        return [path]
    raise FileNotFoundError(f"no such file or folder: `{path}`, looked from `{os.getcwd()}`")


def _match(pattern: str) -> list[str]:
    matches = sorted(glob.glob(pattern, recursive=True))
    if not matches:
        raise FileNotFoundError(f"nothing matches `{pattern}`, looked from `{os.getcwd()}`")
    files = []
    for match in matches:
        if os.path.isdir(match):
            files += _walk(match)
        elif split_ending(match)[1]:
            files.append(match)
    return files


def _walk(folder: str) -> list[str]:
    """Structure files of a folder and its subfolders, through links, each folder once."""
    files, seen = [], set()
    for root, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names = [name for name in names if split_ending(name)[1] and not name.startswith(".")]
        files += [os.path.join(root, name) for name in names]
    return sorted(files)


def _read_list(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = [line.split("#")[0].strip() for line in file]
    except UnicodeDecodeError:
        raise ValueError(f"`{path}` should list one path a line, but it is no UTF-8 text") from None
    return [os.path.join(os.path.dirname(path), os.path.expanduser(line)) for line in lines if line]
