"""A batch of embeddings, and what is made of all of them together: names, residues left out, the error of none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from gearnet_plugin.structures import Structure, unique_names

from .opening import Position


@dataclass
class Embedded:
    """
    A batch of what :meth:`LoadedEncoder.stream` gives, with :math:`B` proteins of :math:`N` residues, maybe none.

    Parameters:
        structures (list of Structure): what was embedded
        suffixes (list of str): what the name of each has after that of its file, None if it is named already
        protein (np.ndarray): float32 of shape :math:`(B, D)`
        residue (np.ndarray): float32 of shape :math:`(N, D)`, all proteins after each other
        position (Position): where the batch after this one begins
        drops (list of (str, str)): what gave nothing since the batch before: file, reason
        left_out (dict): residues that files had to leave out, since the batch before: {file: {reason: number}}
        held (list of tuple): for each file without the chains asked for those it has
    """

    structures: list[Structure]
    suffixes: list[str | None]
    protein: np.ndarray
    residue: np.ndarray
    position: Position
    drops: list[tuple[str, str]] = field(default_factory=list)
    left_out: dict[str, dict[str, int]] = field(default_factory=dict)
    held: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def residues(self) -> list[np.ndarray]:
        """The residue embeddings of each protein."""
        return np.split(self.residue, np.cumsum([len(s) for s in self.structures])[:-1]) if self.structures else []


def chains_of(structure: Structure) -> str:
    """Author's ids of the chains of a structure, separated by ``;``."""
    return ";".join(dict.fromkeys(structure.chain_ids.tolist()))


def make_names(names: Sequence[str], sources: Sequence[str], suffixes: Sequence[str | None]) -> list[str]:
    """Names of all, unique among what was read; structures given as such (without a suffix) keep theirs."""
    read = [(source, suffix) for source, suffix in zip(sources, suffixes, strict=True) if suffix is not None]
    unique = iter(unique_names(read))
    return [name if suffix is None else next(unique) for name, suffix in zip(names, suffixes, strict=True)]


def nothing_embedded(drops, held: Sequence[tuple[str, ...]], chains: Sequence[str]) -> ValueError:
    """The error where there is not one embedding: the first reasons, and the chains there would have been."""
    if chains and held:
        asked = " or ".join(f"`{chain}`" for chain in chains)
        seen = Counter(chain for each in dict.fromkeys(held) for chain in each)
        common = ", ".join(f"`{chain}`" for chain, _ in seen.most_common(20)) + (", ..." if len(seen) > 20 else "")
        return ValueError(f"none of the structures has a chain {asked}; the chains seen are {common}")
    reasons = "".join(f"\n  {file}: {reason}" for file, reason in drops[:5])
    return ValueError(f"none of {len(drops)} structures can be read:{reasons}")


def add_left_out(total: dict[str, dict[str, int]], more: Mapping[str, Mapping[str, int]]) -> None:
    """Add numbers of residues left out, {file: {reason: number}}; a file may come chain by chain."""
    for file, counts in more.items():
        total[file] = dict(Counter(total.get(file, {})) + Counter(counts))
