"""Which structures of a store are the entries and chains that are wanted, and pass filters on them."""
from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gearnet_plugin.structures import StructureStore, split_ending

from .pdb_ids import Asked, Named, parse_name
from .selection import Selection


def once_each(store: StructureStore) -> tuple[np.ndarray | None, list[tuple[str, str]]]:
    """
    All structures of a store but those of entries that an earlier file holds.

    Returns:
        their numbers, ``None`` for all; what is left out: (name, reason)
    """
    numbers, drops = [], []
    for number, name, known, before in _entries(store):
        if before:
            drops.append(_repeated(name, known, before))
        else:
            numbers.append(number)
    return np.array(numbers, dtype=np.int64) if drops else None, drops


def find_asked(store: StructureStore, asked: list[Asked], lost: list[tuple[str, str]],
               missing: dict[str, str] | None) -> tuple[np.ndarray, list[tuple[str, str]]]:
    """
    Find the structures that ids ask for.

    Parameters:
        store (StructureStore): store
        asked (list of Asked): ids
        lost (list): files that gave no structure: (file, reason)
        missing (dict, optional): reasons for entries that had no file when the store was made for a list of ids

    Returns:
        numbers of the structures in the order of the ids; what cannot be had, or is repeated: (id, reason)

    Raises:
        ValueError: the store was made for other ids, or has none of these
    """
    wanted, repeated = {one.entry: {} for one in asked}, []
    for number, name, known, before in _entries(store):
        if known is None or known.entry not in wanted:
            continue
        if before:
            repeated.append(_repeated(name, known, before))
        else:
            wanted[known.entry][known.chain] = number
    reasons = dict(missing or {})
    for file, reason in lost:
        if known := parse_name(split_ending(file)[0]):
            before = reasons.get(known.entry)
            reasons[known.entry] = f"{before}; {reason}" if before else reason
    unheard = [entry for entry, rows in wanted.items() if not rows and entry not in reasons]
    if unheard and missing is not None:
        raise ValueError(f"the store `{store.path}` was made for other ids: {len(unheard)} of {len(wanted)} entries "
                         f"are not in it, the first `{unheard[0]}`; give another path, or remove the store, and it is "
                         f"made anew (files that were downloaded are kept)")
    numbers, drops = {}, []
    for one in asked:
        rows = wanted[one.entry]
        found = list(rows.values()) if not one.chain else [rows[one.chain]] if one.chain in rows else []
        if not found and rows:
            reason = f"no protein chain `{one.chain}`; there are {', '.join(f'`{chain}`' for chain in rows)}"
            reason += f" ({reasons[one.entry]})" if one.entry in reasons else ""
        elif not found:
            reason = reasons.get(one.entry) or f"not in `{store.path}`"
        elif all(number in numbers for number in found):
            reason = f"named before, in row {numbers[found[0]]}; it counts once"
        else:
            reason = ""
        if reason:
            drops.append((str(one), f"row {one.row}: {reason}"))
        for number in found:
            numbers.setdefault(number, one.row)
    if not numbers:
        raise ValueError(f"none of {len(asked)} ids is in `{store.path}`, the first, {drops[0][0]}: {drops[0][1]}")
    return np.fromiter(numbers, dtype=np.int64), drops + repeated


def leave_out_by_chain(selection: Selection, chains: list[str]) -> None:
    """Leave out chains with other author's ids."""
    chains, store = set(map(str, chains)), selection.store
    other = np.zeros(len(store), dtype=bool)
    for number, name in enumerate(store.names):
        known = parse_name(name)
        # where the file is not named by an id, the end of the name tells no chain for sure
        chain = known.chain if known and known.chain else store.residues(number).run_chains[0]
        other[number] = chain not in chains
    selection.leave_out(other, "of other chains")


def leave_out_by_method(selection: Selection, methods: list[str]) -> None:
    """Leave out structures whose method has none of these words, in upper case, in its name."""
    column = selection.store.column("method")
    for name in sorted(set(column)):
        if not any(method in name.upper() for method in methods):
            selection.leave_out(column == name, f"by {name}" if name else "by an unknown method")


def leave_out_by_resolution(selection: Selection, max_resolution: float, without_resolution: str) -> None:
    """Leave out structures of worse resolution (Å), and with ``drop`` those without one."""
    column = selection.store.column("resolution")
    selection.leave_out(column > max_resolution, f"above {max_resolution:g} Å")
    if without_resolution == "drop":
        selection.leave_out(np.isnan(column), "without a resolution")


def _repeated(name: str, known: Named, before: str) -> tuple[str, str]:
    return name, f"entry {known.entry} comes from another file already, `{before}`"


def _entries(store: StructureStore) -> Iterator[tuple[int, str, Named | None, str]]:
    """
    Structures by number: number, name, what that tells, and the name of the file that holds the same already, if one
    does: the entry, or of files of one chain each that chain.
    """
    files, chains = {}, {}
    for number, name in enumerate(store.names):
        known, before = parse_name(name), ""
        if known is not None:
            file = files.setdefault(known[:2] if known.alone else known.entry, known.file)
            first, other = chains.setdefault(known[:2], (number, known.file))
            if file != known.file:
                before = file
            elif first != number:
                before = other
        yield number, name, known, before
