"""
Items opened one after the other, in order, and brought together in batches.

Everything that happens is a record (:class:`Opened`): a structure, or that there is none and why. Their order depends
on the items alone, so a place among them (:class:`Position`) is enough to go on from there, with the same batches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from gearnet_plugin.structures import Entry, Structure
from gearnet_plugin.structures.ahead import read_ahead
from gearnet_plugin.structures.manifest import StoreError

from .items import Item, Nothing, Stored
from .stock import StockProtein

#: Most records of a batch, so that a run of ten thousand broken files is told as it goes.
MOST_RECORDS = 1000


class Position(NamedTuple):
    """A place among the records: so many items are over, and of the next one so many records."""

    item: int = 0
    part: int = 0


class Opened(NamedTuple):
    """
    A record.

    Parameters:
        item (int): number of the item
        part (int): number of the record among those of the item
        source (str): file, or the name of a structure that came from none
        structure (Structure, optional): what is to be embedded
        reason (str): why there is none; ``""`` where nothing was lost, such as a chain of a store not asked for
        suffix (str, optional): what the name has after that of the file, ``None`` for a structure that has its name
        left_out (dict): number of residues that the file had to leave out, by reason; with its first record
        held (tuple): chains there are, where those asked for are not
    """

    item: int
    part: int
    source: str
    structure: Structure | None = None
    reason: str = ""
    suffix: str | None = None
    left_out: dict | None = None
    held: tuple[str, ...] = ()


def open_items(
    items: Sequence[Item],
    per: str = "chain",
    chains: Sequence[str] = (),
    start: Position = Position(),  # noqa: B008  a tuple
    workers: int | None = 1,
) -> Iterator[Opened]:
    """
    Open items one by one.

    Parameters:
        items (list of Item): from :func:`~.items.find_items`
        per (str, optional): ``chain`` gives each chain for itself, ``entry`` all chains of a file at once
        chains (list of str, optional): author's chain ids; what has none of them is a record with a reason
        start (Position, optional): the first record to give
        workers (int, optional): number of processes that read files
    """
    readings = read_ahead((item for item in items[start.item :] if isinstance(item, Entry)), workers)
    for number in range(start.item, len(items)):
        done = start.part if number == start.item else 0
        for part, record in enumerate(_records(items[number], readings, per, tuple(chains))):
            if part >= done:
                yield record._replace(item=number, part=part)


def _records(item: Item, readings: Iterator, per: str, chains: tuple[str, ...]) -> Iterator[Opened]:
    """Records of one item, not numbered yet."""
    structure, reason = _read(item, readings)
    source = structure.source or structure.name if structure is not None else _source(item)
    if structure is None:
        yield Opened(0, 0, source, reason=reason)
        return
    held = tuple(dict.fromkeys(structure.chain_ids.tolist()))
    missing = [chain for chain in chains if chain not in held]
    asked = [chain for chain in held if chain in chains] if chains else held
    # what else its file holds are other structures of the store
    elsewhere = isinstance(item, Stored) and item.store.manifest.recipe["per"] == "chain"
    left_out: dict | None = _left_out(structure, asked if chains else None)
    for part in _parts(structure, per, asked, keep=not isinstance(item, Entry)):
        suffix = part.name[len(structure.name) :] if isinstance(item, Entry) else None
        yield Opened(0, 0, source, part, suffix=suffix, left_out=left_out)
        left_out = None
    if elsewhere and not asked:
        yield Opened(0, 0, source, held=held)
    elif not elsewhere:
        there = ", ".join(f"`{chain}`" for chain in held)
        for chain in missing:
            yield Opened(0, 0, source, reason=f"no protein chain `{chain}`; there are {there}", held=held)


def _read(item: Item, readings: Iterator) -> tuple[Structure | None, str]:
    """The structure of an item, or None and the reason."""
    if isinstance(item, Entry):
        return next(readings)
    if isinstance(item, Nothing):
        return None, item.reason
    structure: Structure
    try:
        if isinstance(item, Stored):
            structure = item.store[item.number]
        else:
            structure = item.structure() if isinstance(item, StockProtein) else item
    except StoreError as error:
        return None, str(error)
    except ValueError as error:
        return None, " ".join(str(error).split())
    return (structure, "") if len(structure) else (None, "it holds no residue")


def _source(item: Item) -> str:
    if isinstance(item, Stored):
        return f"{item.store.path}, structure {item.number}"
    return getattr(item, "source", "") or getattr(item, "name", "")


def _parts(structure: Structure, per: str, asked: Sequence[str], keep: bool) -> list[Structure]:
    """
    What is embedded of a structure, only chains that are asked for.

    Parameters:
        keep (bool): one chain alone keeps the name of the whole
    """
    several = len(set(structure.chain_ids.tolist())) > 1
    if per == "entry" or (keep and not several):
        if not asked:
            return []
        mask = np.isin(structure.chain_ids, asked)
        return [structure if mask.all() else structure.select(mask)]
    return [chain for chain in structure.chains() if str(chain.chain_ids[0]) in asked]


def _left_out(structure: Structure, chains: Sequence[str] | None) -> dict:
    if chains is None:
        return structure.dropped
    counts = (Counter(structure.dropped_by_chain.get(chain, {})) for chain in chains)
    return dict(sum(counts, Counter()))


def make_batches(records: Iterable[Opened], most: int) -> Iterator[tuple[list[Opened], Position]]:
    """Runs of records with at most ``most`` residues, or a single longer structure, and the place after each."""
    batch: list[Opened] = []
    size = 0
    for record in records:
        length = 0 if record.structure is None else len(record.structure)
        if size and size + length > most or len(batch) == MOST_RECORDS:
            yield batch, Position(record.item, record.part)
            batch, size = [], 0
        batch.append(record)
        size += length
    if batch:
        yield batch, Position(batch[-1].item + 1)
