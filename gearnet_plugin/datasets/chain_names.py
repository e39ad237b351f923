"""One chain under many names: which structure is the chain that a table calls ``1ABC-A``."""
from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from gearnet_plugin.structures import split_ending

ENTRY = r"(?:pdb_0000|pdb)?([0-9][a-z0-9]{3})"
# 1ABC-A, 1ABC-A_ and whatever follows; 1abc_A, 1abc_A_; 1abcA; 1abc. A chain id is case-sensitive, an entry is not.
SPELLINGS = [re.compile(ENTRY + rest, re.IGNORECASE) for rest in
             (r"-([^-_.]+)(?:_.*)?", r"_([^-_.]+)_?", r"([a-z0-9]{0,4})")]


def split_name(name: str) -> tuple[str, str] | None:
    """
    Entry, in upper case, and chain of a name.

    The chain is ``""`` if the name is that of an entry; ``None`` means that it is neither.

    Parameters:
        name (str): ``1ABC-A``, ``1ABC-A_``, ``1abc_A``, ``1ABC_A``, ``1abcA``, ``1abc``; each may begin with ``pdb``
    """
    for spelling in SPELLINGS:
        if found := spelling.fullmatch(name):
            return found[1].upper(), found[2]
    return None


class ChainNames:
    """
    The chains that a table names, to be found under the names of files.

    Parameters:
        chains (iterable of str): names as in the table
    """

    def __init__(self, chains: Iterable[str]):
        self.chains = {chain: chain for chain in chains}
        self._parts = {parts: chain for chain in self.chains if (parts := split_name(chain))}
        self._entries = {}
        for (entry, _), chain in self._parts.items():
            self._entries.setdefault(entry, []).append(chain)

    def find(self, stem: str, chain: str = "") -> str | None:
        """
        The chain that a structure is, ``None`` if it is none of them.

        Parameters:
            stem (str): name of the file, without its ending
            chain (str, optional): chain id of the structure, which decides where the file is named by its entry alone
        """
        # as TorchDrug takes it, whatever chains are called
        if (name := self.chains.get(stem) or self.chains.get(stem.partition("_")[0])) is not None:
            return name
        parts = split_name(stem)
        return parts and self._parts.get((parts[0], parts[1] or chain))

    def of_file(self, stem: str) -> list[str]:
        """All chains that a file may hold."""
        found = self.find(stem)
        parts = split_name(stem)
        if found is None and parts and not parts[1]:
            return self._entries.get(parts[0], [])
        return [] if found is None else [found]

    def of_structures(self, names: Sequence[str], sources: Sequence[str]) -> list[str | None]:
        """
        The chain that each structure of a store is.

        A file that is named by a chain and holds several gives only the one with that id.

        Parameters:
            names (list of str): names of the structures, ``<file>`` or ``<file>_<chain>``
            sources (list of str): file of each
        """
        stems = [split_ending(source)[0] for source in sources]
        ids = [_chain_id(name, stem) for name, stem in zip(names, stems, strict=True)]
        found = [self.find(stem, chain) for stem, chain in zip(stems, ids, strict=True)]
        times = Counter(zip(sources, found, strict=True))
        if len(times) < len(found):
            for number, (source, chain) in enumerate(zip(sources, found, strict=True)):
                if chain is not None and times[source, chain] > 1 and ids[number] != (split_name(chain) or ("", ""))[1]:
                    found[number] = None
        return found


def _chain_id(name: str, stem: str) -> str:
    """Chain id at the end of the name of a structure, which has a folder or more before it where files share a name."""
    return name.rpartition("/")[2][len(stem):].partition("_")[2]
