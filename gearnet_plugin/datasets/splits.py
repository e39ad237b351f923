"""Splits of structures that come without: at random, or by clusters of similar sequences."""
from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .labels import quoted
from .similarity import Groups, similar_groups
from .stored import StoredStructures
from .table import SPLITS

logger = logging.getLogger(__name__)

HOW = ("random", "cluster")
FRACTIONS = (0.8, 0.1, 0.1)
IDENTITY = 0.3


@dataclass(frozen=True)
class SplitRule:
    """
    How to split structures into train, valid and test.

    ``random`` draws the split of a structure from its name and the seed alone: more structures, fewer or another order
    leave that of the others as it is, and the fractions are met as well as by dice. Chains of one file stay together,
    nothing else does.

    ``cluster`` keeps similar sequences together, so that nothing in one split is similar to anything in another. What
    similar means stands at the top of :mod:`.similarity`: ``identity`` is the number of identical residues in a local
    alignment over the length of the shorter sequence. Sequences are those of the residues held, not of SEQRES. Each
    chain counts on its own: structures of several chains go together if any chain of one is similar to any of the
    other. Clusters are not cut, and go, largest first, where most is missing; each split misses its fraction by less
    than the size of the largest cluster. The seed chooses among clusters of one size.

    Parameters:
        how (str): ``random`` or ``cluster``
        fractions (list of float): of train, valid and test; 0 for a split that there shall not be
        seed (int): seed
        identity (float): for ``cluster``, from which identity on sequences are similar

    Raises:
        ValueError: says what is wrong and what is allowed
    """

    how: str
    fractions: Sequence[float] = FRACTIONS
    seed: int = 0
    identity: float = IDENTITY

    def __post_init__(self):
        if self.how not in HOW:
            raise ValueError(f"split should be {quoted(HOW)}, or null to take the splits of the table, but found "
                             f"`{self.how}`")
        numbers = list(self.fractions) if isinstance(self.fractions, (list, tuple)) else []
        if len(numbers) != len(SPLITS) or not all(_is_number(x) and x >= 0 for x in numbers) or not numbers[0]:
            raise ValueError(f"split_fractions should be three numbers, the fractions of train (more than 0), valid "
                             f"and test, such as {list(FRACTIONS)}, but found `{self.fractions}`")
        if abs(sum(numbers) - 1) > 1e-6:
            raise ValueError(f"split_fractions should sum to 1, but {numbers} sum to {sum(numbers):g}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise ValueError(f"split_seed should be a whole number, but found `{self.seed}`")
        if not _is_number(self.identity) or not 0 < self.identity <= 1:
            raise ValueError(f"identity should be over 0 and at most 1, such as 0.3 for 30 %, but found "
                             f"`{self.identity}`")

    def assign(self, structures, per: str = "chain", verbose: int = 1) -> dict[str, list[int]]:
        """
        Split structures.

        Parameters:
            structures (LoadedStructures or StoredStructures): structures
            per (str, optional): ``chain`` if each is a chain of a file, ``entry`` if it is all of a file
            verbose (int, optional): 0 for no progress bar and no log

        Returns:
            numbers of the structures of each split that has a fraction, in the order train, valid, test

        Raises:
            ValueError: a split that has a fraction gets nothing
        """
        names, chains = structures.names, list(_chains(structures))
        if self.how == "random":
            files = [_file(name, ids) if per == "chain" else name for name, (ids, _) in zip(names, chains, strict=True)]
            places, told = [self._draw(file) for file in files], f"{len(names)} structures"
        else:
            clusters = item_clusters([sequences for _, sequences in chains], self.identity, verbose)
            places = self._fill(names, clusters)
            sizes = np.bincount(clusters)
            told = (f"{len(names)} structures in {len(sizes)} clusters at {self.identity:.0%} sequence identity, the "
                    f"largest of {sizes.max()}")
        splits = {name: [i for i, place in enumerate(places) if place == number]
                  for number, name in enumerate(SPLITS) if self.fractions[number]}
        empty = [name for name, items in splits.items() if not items]
        if empty:
            more = ", a higher identity" if self.how == "cluster" else ""
            raise ValueError(f"split is `{self.how}`, but nothing falls into {quoted(empty)}: {told}. Give other "
                             f"split_fractions, another split_seed{more}, or a table with a column of splits")
        if verbose:
            logger.info("split `%s`, seed %d: %s; %s", self.how, self.seed, told,
                        ", ".join(f"{name} {len(items)}" for name, items in splits.items()))
        return splits

    def _hash(self, name) -> int:
        """64 bits of a name and the seed, the same on every machine."""
        text = f"{self.seed}:{name}".encode(errors="surrogateescape")
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")

    def _draw(self, name) -> int:
        drawn = self._hash(name) / 2 ** 64
        bounds = np.cumsum(self.fractions)[:-1]
        place = int(np.searchsorted(bounds, drawn, side="right"))
        # rounding must not reach a split of fraction 0
        return place if self.fractions[place] else max(i for i in range(len(SPLITS)) if self.fractions[i])

    def _fill(self, names, clusters) -> list[int]:
        """Place of each structure, cluster by cluster."""
        members = {}
        for i, cluster in enumerate(clusters.tolist()):
            members.setdefault(cluster, []).append(i)
        keys = {cluster: min(names[i] for i in items) for cluster, items in members.items()}
        order = sorted(members, key=lambda cluster: (-len(members[cluster]), self._hash(keys[cluster]), keys[cluster]))
        missing = [fraction * len(names) for fraction in self.fractions]
        places = [0] * len(names)
        for cluster in order:
            place = max((i for i in range(len(SPLITS)) if self.fractions[i]), key=missing.__getitem__)
            missing[place] -= len(members[cluster])
            for i in members[cluster]:
                places[i] = place
        return places


def item_clusters(items: Sequence[list[np.ndarray]], identity: float, verbose: int = 0) -> np.ndarray:
    """
    Clusters of structures, such that no chain of one is similar to a chain of another cluster.

    Parameters:
        items (list): for each structure the residue types of its chains, uint8 of shape :math:`(L,)` each
        identity (float): threshold, see :mod:`.similarity`
        verbose (int, optional): 0 for no progress bar

    Returns:
        np.ndarray: number of the cluster of each structure
    """
    owners = [i for i, chains in enumerate(items) for _ in chains]
    alike = similar_groups([chain for chains in items for chain in chains], identity, verbose)
    groups, first = Groups(len(items)), {}
    for owner, group in zip(owners, alike.tolist(), strict=True):
        groups.join(owner, first.setdefault(group, owner))
    return np.unique([groups.find(i) for i in range(len(items))], return_inverse=True)[1]


def _chains(structures):
    """For each structure the ids of its chains, and of each chain the residue types."""
    if isinstance(structures, StoredStructures):
        numbers = range(len(structures.store)) if structures.numbers is None else structures.numbers
        for number in numbers:
            residues = structures.store.residues(int(number))
            yield _cut(residues.run_chains, residues.run_lengths, residues.residue_types)
    else:
        for structure in structures:
            yield _cut(structure.chain_ids.tolist(), np.ones(len(structure), dtype=int), structure.residue_types)


def _cut(ids, lengths, types):
    """Runs of residues, joined to chains. The residues of a chain stand together."""
    starts = [i for i, chain in enumerate(ids) if not i or chain != ids[i - 1]]
    ends = np.cumsum(lengths)[[start - 1 for start in starts[1:]]]
    return [ids[start] for start in starts], np.split(types, ends)


def _file(name, ids) -> str:
    """The name of a chain without the chain: chains of one file, and copies of a protein in it, stay together."""
    return name.removesuffix(f"_{ids[0]}") if ids[0] else name


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
