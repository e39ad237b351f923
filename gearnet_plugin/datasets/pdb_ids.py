"""Ids of PDB entries and chains: as lists have them, and as the names of files."""
from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import NamedTuple

CLASSIC = r"[0-9][0-9a-z]{3}"
EXTENDED = r"pdb_[0-9a-z]{8}"
# in a list: 1abc, 1abc_A, 1ABC-A, pdb_00001abc_A
LISTED = re.compile(rf"({CLASSIC}|{EXTENDED})(?:[_\-.]([^\s_]+))?", re.IGNORECASE)
# as the name of a structure: 1abc, pdb1abc, 1abc_A, 1abc_A_A of a file 1abc_A; further ones of a name are numbered
NAMED = re.compile(rf"(?:pdb)?({CLASSIC}|{EXTENDED})(?:_([^_#]+)(_\2)?)?(?:#\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Asked:
    """
    What a list asks for.

    Parameters:
        row (int): number of the line or place in the list, from 1
        entry (str): id of the entry, in lower case; a short one if it has one
        chain (str): author's chain id, ``""`` for the whole entry
    """

    row: int
    entry: str
    chain: str

    def __str__(self):
        return f"{self.entry}_{self.chain}" if self.chain else self.entry


class Named(NamedTuple):
    """
    What the name of a structure tells.

    Parameters:
        entry (str): id of the entry, as in :class:`Asked`
        chain (str): chain id, ``""`` if the name has none
        file (str): its file, by name
        alone (bool): whether the file is of one chain, ``1abc_A``
    """

    entry: str
    chain: str
    file: str
    alone: bool


def read_ids(ids) -> list[Asked]:
    """
    Read a list of ids.

    Parameters:
        ids (str, Path or list): ids, or a text file of them, in lines or separated by spaces or commas; ``#`` starts
            a comment. An id is ``1abc``, ``pdb_00001abc``, ``1abc_A`` or ``1ABC-A``; case matters in chains alone.

    Raises:
        FileNotFoundError: there is no such file
        ValueError: a word is no id, or there is none
    """
    if isinstance(ids, (str, os.PathLike)):
        name, lines = _lines(ids)
    else:
        name, lines = "ids", list(ids)
    asked = []
    for row, line in enumerate(lines, 1):
        if not isinstance(line, str):
            raise ValueError(f"{name}, row {row}: an id should be text such as 1abc or 1abc_A, but found {line!r}; in "
                             f"YAML, put it in quotes (1e10 alone is a number)")
        for word in re.split(r"[\s,]+", line.partition("#")[0].strip()):
            if not word:
                continue
            found = LISTED.fullmatch(word)
            if not found:
                raise ValueError(f"{name}, row {row}: `{word}` is no PDB id; expected one such as 1abc, pdb_00001abc, "
                                 f"1abc_A or 1ABC-A")
            asked.append(Asked(row, short_id(found[1]), found[2] or ""))
    if not asked:
        raise ValueError(f"{name}: there is no id in it")
    return asked


def short_id(entry: str) -> str:
    """An id in lower case, in four letters where it has them."""
    return entry.lower().removeprefix("pdb_0000")


def parse_name(name: str) -> Named | None:
    """What the name of a structure tells; ``None`` if it is not named by an id."""
    folder, slash, base = name.rpartition("/")
    found = NAMED.fullmatch(base)
    if not found:
        return None
    end = found.end(2) if found[3] else found.end(1)
    return Named(short_id(found[1]), found[2] or "", folder + slash + base[:end], bool(found[3]))


def _lines(path) -> tuple[str, list[str]]:
    path = os.path.expanduser(os.fspath(path))
    if not os.path.exists(path) and all(map(LISTED.fullmatch, filter(None, re.split(r"[\s,]+", path)))):
        return "ids", [path]
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no such file of ids: `{path}`, looked from `{os.getcwd()}`")
    try:
        with open(path, encoding="utf-8-sig") as file:
            return path, file.read().splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"`{path}` should list ids, but it is no UTF-8 text") from None
