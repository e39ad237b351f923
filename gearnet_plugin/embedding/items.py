"""What is to be embedded: a list of items, each a file, a structure of a store, or a protein that is there already."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gearnet_plugin.structures import Entry, Structure, StructureStore, find_structures
from gearnet_plugin.structures.manifest import is_store
from torchdrug import data

from .stock import StockProtein, stock_proteins

PATHS = (str, os.PathLike)
READY = (Structure, StructureStore, data.Protein)


class Stored(NamedTuple):
    """A structure of a store, not read yet."""

    store: StructureStore
    number: int


class Nothing(NamedTuple):
    """One of several sources that holds nothing, and why."""

    source: str
    reason: str


Item = Entry | Stored | Structure | StockProtein | Nothing


class Items(list):
    """What :func:`find_items` found, a list of :data:`Item`."""


def find_items(structures, per: str = "chain") -> Items:
    """
    What ``structures`` stands for. Nothing is read yet, so that 100,000 items take 30 MB.

    Of several sources, one that holds nothing becomes a :class:`Nothing`, which ends nothing.

    Parameters:
        structures (str, Path, Structure, StructureStore, data.Protein or list): see :meth:`LoadedEncoder.embed`
        per (str, optional): ``chain`` or ``entry``

    Raises:
        FileNotFoundError: a single source does not exist
        ValueError: a single source holds no structure, something else was given than sources, or ``entry`` is asked of
            a store of chains
    """
    if isinstance(structures, Items):
        return structures
    sources = _sources(structures)
    if len(sources) == 1 and isinstance(sources[0], PATHS):
        return Items(find_structures(sources[0]))
    items, known, num_protein = Items(), set(), 0
    for source in sources:
        if isinstance(source, Structure):
            items.append(source)
        elif isinstance(source, data.Protein):
            proteins = stock_proteins(source, num_protein)
            num_protein += len(proteins)
            items += proteins
        elif isinstance(source, StructureStore):
            _check_per(source, per)
            items += [Stored(source, number) for number in range(len(source))]
        else:
            for item in _entries(source):
                # one file under two spellings counts once
                path = os.path.abspath(item.source)
                if isinstance(item, Nothing) or path not in known:
                    items.append(item)
                    known.add(path)
    if not items:
        raise ValueError("there is nothing to embed: no structure is in what was given")
    return items


def _sources(structures) -> list:
    """The sources as a list, stores opened."""
    one = isinstance(structures, (*PATHS, *READY))
    if not (one or isinstance(structures, Iterable)):
        found = type(structures).__name__
        raise ValueError(f"structures should be paths, Structures or a list of them, but found `{found}`")
    sources = [structures] if one else list(structures)
    for source in sources:
        if not isinstance(source, (*PATHS, *READY)):
            raise ValueError(
                f"a list of structures should hold paths or Structures, but found `{type(source).__name__}`; also a "
                f"StructureStore and TorchDrug's Protein will do"
            )
    if not sources:
        raise ValueError("there is nothing to embed: the list of structures is empty")
    return [StructureStore(source) if is_store(source) else source for source in sources]


def _entries(source) -> Sequence[Entry | Nothing]:
    try:
        return find_structures(source if os.path.isdir(source) else [source])
    except (FileNotFoundError, ValueError) as error:
        return [Nothing(os.fspath(source), str(error))]


def _check_per(store: StructureStore, per: str) -> None:
    if per == "entry" and store.manifest.recipe["per"] == "chain":
        raise ValueError(
            f"per is `entry`, but the store `{store.path}` holds chains; make another one with "
            f"`gearnet prepare --per entry`"
        )


def without_file(items: Items, path: str) -> Items:
    """
    Items without a file: an ``.h5`` file that embeddings are written to has the ending of a structure, too, and may
    lie among them.
    """
    return Items(item for item in items if not (isinstance(item, Entry) and os.path.abspath(item.file) == path))


def token(item: Item) -> str:
    """What tells an item from another one, and from itself after a change."""
    if isinstance(item, Entry):
        try:
            status = os.stat(item.file)
            state = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            state = "gone"
        return f"{os.path.abspath(item.source)}\0{state} {item.offset}"
    if isinstance(item, Stored):
        return f"{item.store.root}\0{item.store.manifest.index['crc']} {item.number}"
    if isinstance(item, Nothing):
        return item.source
    return f"{item.name}\0{len(item)}"
