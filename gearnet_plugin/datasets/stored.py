"""Where a dataset has its structures: in memory, read from files, or in a store on disk."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.structures import Structure, StructureStore, split_ending

from .table import Row


class LoadedStructures(list):
    """
    Structures in memory.

    Parameters:
        structures (list of Structure): structures
    """

    def __init__(self, structures: list[Structure]):
        super().__init__(structures)
        self._codes = [_codes(structure) for structure in structures]

    @property
    def names(self) -> list[str]:
        """Name of each structure."""
        return [structure.name for structure in self]

    @property
    def num_file(self) -> int:
        """Number of files they come from."""
        return len({structure.source for structure in self})

    def protein(self, index, unknown) -> ResidueProtein:
        """A structure as a protein with tensors of its own."""
        structure = self[index]
        chain_id, insertion_code = self._codes[index]
        return ResidueProtein.from_arrays(
            structure.positions.copy(),
            structure.residue_types,
            chain_id=chain_id,
            residue_number=structure.residue_numbers,
            insertion_code=insertion_code,
            b_factor=structure.confidence.copy(),
            unknown=unknown,
        )


class StoredStructures(Sequence):
    """
    Structures of a store, all of them or some; nothing is held in memory.

    Parameters:
        store (StructureStore): store
        numbers (np.ndarray, optional): which structures, in this order
    """

    def __init__(self, store: StructureStore, numbers: np.ndarray | None = None):
        self.store = store
        self.numbers = numbers

    def __len__(self):
        return len(self.store if self.numbers is None else self.numbers)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self.store[self._number(index)]

    @property
    def names(self) -> list[str]:
        """Name of each structure."""
        if self.numbers is None:
            return list(self.store.names)
        return [self.store.name(number) for number in self.numbers]

    @property
    def num_file(self) -> int:
        """Number of files the store was made from."""
        return self.store.manifest.counts["files"]

    @property
    def stores(self) -> list[StructureStore]:
        """The stores they lie in."""
        return [self.store]

    def protein(self, index, unknown) -> ResidueProtein:
        """A structure as a protein with tensors of its own."""
        return ResidueProtein.from_residues(self.store.residues(self._number(index)), unknown)

    def _number(self, index):
        if self.numbers is None:
            return index
        return int(self.numbers[index])


def find_rows(store: StructureStore, rows: list[Row]) -> tuple[list[list[int]], list[tuple[str, str]]]:
    """
    Find the structures that rows of a table name in a store.

    A row means the file of its name, whatever its ending; of several such files in different folders that whose path
    has most in common with the row's, from its end. A row may also give the name that a structure has in the store.

    Parameters:
        store (StructureStore): store
        rows (list of Row): files and chains. A row without a chain means all chains of its file.

    Returns:
        numbers of the structures of each row; what is not there, or not one thing: (name, reason)
    """
    wanted = {split_ending(row.file)[0] for row in rows}
    by_stem, by_name = {}, {}
    for number, (name, source) in enumerate(zip(store.names, store.sources, strict=True)):
        stem = split_ending(source)[0]
        if stem in wanted:
            by_stem.setdefault(stem, {}).setdefault(source, []).append(number)
        if name in wanted:
            by_name.setdefault(name, []).append(number)
    found, drops = [], []
    for row in rows:
        stem = split_ending(row.file)[0]
        numbers, reason = _find_row(store, row, by_stem.get(stem, {}), by_name.get(stem, []))
        found.append(numbers)
        if reason:
            drops.append((row.file, f"row {row.number}: {reason}"))
    return found, drops


def _find_row(store, row, sources, named) -> tuple[list[int], str]:
    """Numbers of the structures that a row means, or the reason why there are none."""
    stem = split_ending(row.file)[0]
    if not sources:
        if row.chain or not named:
            return [], f"structure `{stem}` is not in the store `{store.path}`"
        return (named, "") if len(named) == 1 else ([], f"{len(named)} structures of the store are called `{stem}`")
    if len(sources) > 1:
        common = {source: common_tail(source, row.file) for source in sources}
        best = [source for source, length in common.items() if length == max(common.values())]
        if len(best) > 1:
            return (
                [],
                f"`{stem}` is in several places: {', '.join(f'`{source}`' for source in best[:3])}; name its folder",
            )
        sources = {best[0]: sources[best[0]]}
    ((_, numbers),) = sources.items()
    if not row.chain:
        return numbers, ""
    chains = {store.residues(number).run_chains[0]: number for number in numbers}
    if row.chain in chains:
        return [chains[row.chain]], ""
    held = ", ".join(f"`{chain}`" for chain in chains)
    return [], f"no protein chain `{row.chain}` of `{stem}` in the store `{store.path}`; there are {held}"


def common_tail(source: str, file: str) -> int:
    """Number of folders, from the file upwards, that two paths share."""
    folders = [os.path.dirname(os.path.normpath(path)).split(os.sep)[::-1] for path in (source, file)]
    return next((i for i, (a, b) in enumerate(zip(*folders)) if a != b), min(map(len, folders)))


def _codes(structure):
    """Chain ids and insertion codes as the numbers a protein has for them, in as few bytes as they need."""
    graph = ResidueProtein.from_structure(structure)
    codes = graph.chain_id.numpy(), graph.insertion_code.numpy()
    return [code.astype(np.uint8 if code.max() < 256 else np.int32) for code in codes]
