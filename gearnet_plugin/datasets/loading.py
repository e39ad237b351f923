"""The structures that rows of a table name, and account of what had to be left out."""
from __future__ import annotations

from collections import Counter

from gearnet_plugin.structures import Structure, read_structures, unique_names

from .table import Row


class StructuresDropped(ValueError):
    """Some structures or labels cannot be used, and none may be left out. ``drops`` holds (file, reason) of each."""

    def __init__(self, drops):
        lines = "".join(f"\n  {file}: {reason}" for file, reason in drops)
        super().__init__(f"{len(drops)} structures or labels cannot be used, but strict leaves none out:{lines}")
        self.drops = drops

    def __reduce__(self):
        return type(self), (self.drops,)


def load_structures(rows: list[Row], per: str = "chain", num_worker: int | None = 0,
                    verbose: int = 1) -> tuple[list[list[Structure]], list[tuple[str, str]], dict[str, dict[str, int]]]:
    """
    Read the structures that rows name, each file once.

    Parameters:
        rows (list of Row): files and chains
        per (str, optional): ``chain`` or ``entry``: whether chains of a file stand alone
        num_worker (int, optional): number of processes
        verbose (int, optional): 0 for no progress bar

    Returns:
        the structures of each row, with unique names; what was left out: (file, reason); and how many residues
        the files that were read had to leave out: {file: {reason: number}}

    Raises:
        ValueError: no structure can be used
    """
    places = {}
    for place, row in enumerate(rows):
        places.setdefault(row.entry, []).append(place)
    found, drops, residues = [[] for _ in rows], [], {}
    for entry, (structure, reason) in zip(places, read_structures(places, num_worker, verbose), strict=True):
        if structure is None:
            drops += [_drop(rows[place], reason) for place in places[entry]]
            continue
        if structure.dropped:
            residues[entry.source] = structure.dropped
        chains = {str(chain.chain_ids[0]): chain for chain in structure.chains()} if per == "chain" else {}
        for place in places[entry]:
            chain = rows[place].chain
            if per != "chain":
                found[place] = [structure]
            elif not chain:
                found[place] = list(chains.values())
            elif chain in chains:
                found[place] = [chains[chain]]
            else:
                held = ", ".join(f"`{name}`" for name in chains)
                drops.append(_drop(rows[place], f"no protein chain `{chain}`; there are {held}"))
    if not any(found):
        reasons = "".join(f"\n  {file}: {reason}" for file, reason in drops[:5])
        raise ValueError(f"none of {len(places)} structures can be used, the first:{reasons}")

    # rows that name one chain share it
    items = {id(structure): (structure, entry) for entry, own in places.items()
             for place in own for structure in found[place]}
    named = [(entry.source, structure.name[len(entry.stem):]) for structure, entry in items.values()]
    for (structure, _), name in zip(items.values(), unique_names(named), strict=True):
        structure.name = name
    return found, drops, residues


def residues_left_out(residues: dict[str, dict[str, int]]) -> str:
    """One line on the residues that files had to leave out, such as ``3 x no CA, in 2 files``."""
    total = sum(map(Counter, residues.values()), Counter())
    counts = ", ".join(f"{number} x {reason}" for reason, number in sorted(total.items()))
    return f"{counts}, in {len(residues)} file{'s' if len(residues) > 1 else ''}"


def _drop(row: Row, reason: str) -> tuple[str, str]:
    return row.file, f"row {row.number}: {reason}" if row.number else reason
