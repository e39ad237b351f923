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
    def num_drop(self) -> int:
        """How much was left out when the store was made."""
        return self.store.manifest.counts["drops"]

    def protein(self, index, unknown) -> ResidueProtein:
        """A structure as a protein with tensors of its own."""
        return ResidueProtein.from_residues(self.store.residues(self._number(index)), unknown)

    def _number(self, index):
        if self.numbers is None:
            return index
        return int(self.numbers[index])


def find_rows(store: StructureStore, rows: list[Row]) -> tuple[list[list[int]], list[tuple[str, str]]]:
    """
    Find the structures that rows of a table name in a store: by name, with or without folder and ending.

    Parameters:
        store (StructureStore): store
        rows (list of Row): files and chains. A row without a chain means all chains of its file.

    Returns:
        numbers of the structures of each row; what is not there: (name, reason)
    """
    stems = [split_ending(row.file)[0] for row in rows]
    per_chain = store.manifest.recipe["per"] == "chain"
    chains = {stem: [] for stem, row in zip(stems, rows, strict=True) if not row.chain}
    if chains:
        for number, name in enumerate(store.names):
            # the name of a chain is <file>_<chain>, that of an entry or of a chain without id is <file>
            for stem in {
                name,
                os.path.basename(name),
                name.rpartition("_")[0],
                os.path.basename(name).rpartition("_")[0],
            }:
                if stem in chains and (per_chain or stem in (name, os.path.basename(name))):
                    chains[stem].append(number)
    found, drops = [], []
    for stem, row in zip(stems, rows, strict=True):
        numbers = chains[stem] if not row.chain else store.numbers(f"{stem}_{row.chain}")
        found.append(numbers)
        if not numbers:
            what = f"structure `{stem}`" + (f", chain `{row.chain}`" if row.chain else "")
            drops.append((row.file, f"row {row.number}: {what} is not in the store `{store.path}`"))
    return found, drops


def _codes(structure):
    """Chain ids and insertion codes as the numbers a protein has for them, in as few bytes as they need."""
    graph = ResidueProtein.from_structure(structure)
    codes = graph.chain_id.numpy(), graph.insertion_code.numpy()
    return [code.astype(np.uint8 if code.max() < 256 else np.int32) for code in codes]
