"""Names that tell structures apart."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence

from .content import split_ending


def name_hash(name: str) -> int:
    """64 bits of BLAKE2 of a name, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=8).digest(), "little")


def unique_names(items: Sequence[tuple[str, str]]) -> list[str]:
    """
    Names of items, unique.

    An item is named by the file it comes from, without folder and ending, and a suffix for its chain. Files of
    one name get their folder too, and the ending where the folder does not tell them apart. The same goes for
    items that have one name only by their suffixes (chain ``B`` of ``a.pdb``, and ``a_B.pdb``). Of items that
    even then have one name (members of an archive may), the later ones are numbered.

    Parameters:
        items (list): source (file, or archive and member) and suffix of each item, e.g. ``("x/1a8o.pdb", "_A")``

    Returns:
        list of str: a name each
    """
    sources = list(dict.fromkeys(source for source, _ in items))
    names = _apart({source: split_ending(source)[0] for source in sources})
    full = [names[source] + suffix for source, suffix in items]
    shared = _repeated(full)
    clash = {source for (source, _), name in zip(items, full, strict=True) if name in shared}
    if len(clash) > 1:
        root = _root(clash)
        names.update({source: os.path.relpath(source, root) for source in clash})
        full = [names[source] + suffix for source, suffix in items]
    return _numbered(full)


def _apart(names: dict[str, str]) -> dict[str, str]:
    """Names by source; sources of one name get their folder too, or their whole path from a common folder."""
    groups: dict[str, list[str]] = {}
    for source, name in names.items():
        groups.setdefault(name, []).append(source)
    unique = {}
    for name, group in groups.items():
        if len(group) == 1:
            unique[group[0]] = name
            continue
        root = _root(group)
        paths = {source: os.path.relpath(source, root) for source in group}
        short = {source: os.path.join(os.path.dirname(path), name) for source, path in paths.items()}
        unique.update(short if len(set(short.values())) == len(group) else paths)
    return unique


def _root(sources) -> str:
    return os.path.commonpath([os.path.dirname(os.path.abspath(source)) for source in sources])


def _repeated(names: list[str]) -> set[str]:
    return {name for name, count in Counter(names).items() if count > 1}


def _numbered(names: list[str]) -> list[str]:
    """Names in which each repetition got a number, ``a``, ``a#2``, ``a#3``."""
    taken, unique = set(), []
    # the last number of each name, below which all are taken: from 1 on it would be quadratic
    last: Counter[str] = Counter()
    for name in names:
        new, number = name, last[name] or 1
        while new in taken:
            number += 1
            new = f"{name}#{number}"
        taken.add(new)
        last[name] = number
        unique.append(new)
    return unique
