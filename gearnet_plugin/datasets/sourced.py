"""The store of a dataset whose structures are one's own files, or a store already."""
from __future__ import annotations

import logging
import os
from collections.abc import Callable

from gearnet_plugin.structures import StructureStore
from gearnet_plugin.structures.extract import extract
from gearnet_plugin.structures.manifest import is_store
from gearnet_plugin.structures.plan import fingerprint
from gearnet_plugin.structures.prepare import Recipe

from .prepared import prepared_store

logger = logging.getLogger(__name__)


def source_store(path, name: str, source, recipe: Recipe, num_worker: int | None, verbose: int) -> StructureStore:
    """
    Open the store that ``source`` is, or ``<path>/<name>.store`` that is made of it.

    Parameters:
        path (str): folder of the dataset
        name (str): name of the dataset's class
        source (str, Path or list): files, as :func:`~gearnet_plugin.structures.find_entries` takes them, or a store
        recipe (Recipe): what to put in
        num_worker (int, optional): number of processes; by default one a core
        verbose (int): 0 for no progress bar

    Raises:
        ValueError: the store that is there was made of other files, or with other options
    """
    if is_store(source):
        return StructureStore(source)
    sources = absolute(source)
    store = prepared_store(path, name, sources, recipe, num_worker, verbose)
    if store.manifest.sources["paths"] != sources:
        raise _other_sources(store, f"source is {_shown(sources)}")
    # where they are gone, the store stands for them
    if all(map(os.path.exists, sources)) and fingerprint(sources) != store.manifest.sources["fingerprint"]:
        logger.warning(
            "the files of %s have changed since the store `%s` was made of them, which is taken as it is; remove it, "
            "and it is made anew", _shown(sources), store.path)
    return store


def open_structures(path: str, name: str, structures, released: Callable[[], list[str]], recipe: Recipe,
                    num_worker: int | None, verbose: int) -> StructureStore:
    """
    The store of a data set: the one given, the one that is there, or one made now.

    Parameters:
        path (str): folder of the data set
        name (str): name of the class
        structures (str or list, optional): one's own structure files, archives of them, zips too, or a store; None
            for the release
        released (Callable): gives the files of the release, where none of one's own are given
        recipe (Recipe): what to put in
        num_worker (int, optional): number of processes
        verbose (int): 0 for no progress bar

    Raises:
        ValueError: the store that is there was made of other files, or with other options
    """
    if structures is None:
        store = prepared_store(path, name, released, recipe, num_worker, verbose)
        if not all(is_below(made, path) for made in store.manifest.sources["paths"]):
            raise _other_sources(store, "no structures of one's own are given")
        return store
    if is_store(structures):
        return StructureStore(structures)
    sources = []
    for source in absolute(structures):
        if source.lower().endswith(".zip") and not os.path.isdir(source):
            folder = os.path.realpath(os.path.join(path, os.path.basename(source)[: -len(".zip")] + ".unpacked"))
            # where only the store is left, that will do
            if os.path.exists(source):
                extract(source, folder, verbose=verbose)
            source = folder
        sources.append(source)
    return source_store(path, name, sources, recipe, num_worker, verbose)


def is_below(file: str, folder: str) -> bool:
    """Whether a file lies in a folder or one of its subfolders, or is it; as named, or where links lead."""
    folder = os.path.expanduser(folder)
    spellings = ((place(file), place(folder)) for place in (os.path.abspath, os.path.realpath))
    return any(os.path.commonpath([inner, outer]) == outer for inner, outer in spellings)


def _other_sources(store: StructureStore, now: str) -> ValueError:
    return ValueError(
        f"the store `{store.path}` was made of {_shown(store.manifest.sources['paths'])}, but {now}; give another path "
        f"for it, or remove the store, and it is made anew. To read a store whatever it was made of, give "
        f"the store itself.")


def absolute(source) -> list[str]:
    """One or several paths as absolute ones."""
    sources = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    return [os.path.abspath(os.path.expanduser(file)) for file in sources]


def _shown(paths: list[str]) -> str:
    return f"`{paths[0]}`" + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")
