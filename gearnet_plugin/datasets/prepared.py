"""The store of a dataset: made from its files at first use, by one of the processes that want it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict

from gearnet_plugin.structures import StructureStore
from gearnet_plugin.structures.manifest import MANIFEST, StoreError, is_store
from gearnet_plugin.structures.prepare import Recipe, prepare

logger = logging.getLogger(__name__)


def prepared_store(
    path,
    name: str,
    sources: Iterable | Callable[[], Iterable],
    recipe: Recipe | None = None,
    num_worker: int | None = None,
    verbose: int = 1,
) -> StructureStore:
    """
    Open the store ``<path>/<name>.store``; make it first if it is not there.

    Of several processes, the ranks of a run for instance, one makes it and the others wait. What is there is taken as
    it is: the files it was made of may be gone.

    Parameters:
        path (str): folder of the dataset
        name (str): name of the dataset's class
        sources (list or Callable): files, as :func:`~gearnet_plugin.structures.find_entries` takes them, or what
            gives them;
            called only if they are needed, so that it may download
        recipe (Recipe, optional): what to put in
        num_worker (int, optional): number of processes; by default one a core
        verbose (int, optional): 0 for no progress bar

    Raises:
        StoreError: the store that is there was made with other options, or is damaged
        ValueError: as :func:`~gearnet_plugin.structures.prepare.prepare`
    """
    recipe, out = recipe or Recipe(), os.path.join(os.path.expanduser(os.fspath(path)), f"{name}.store")
    if not os.path.exists(os.path.join(out, MANIFEST)):
        # the one that holds the lock calls `sources`; one that waited finds all done
        give = sources if callable(sources) else lambda: sources
        try:
            prepare(
                give,
                out,
                recipe,
                num_worker,
                verbose=verbose,
                waiting=lambda: logger.warning("another process is preparing `%s`; waiting for it", out),
            )
        except StoreError as error:
            if not is_store(out):
                raise
            raise StoreError(f"{error} Or remove the folder `{out}`, and it is made anew.") from None
    store = StructureStore(out)
    if Recipe(**store.manifest.recipe) != recipe:
        raise StoreError(
            f"the store `{out}` was made with other options ({store.manifest.recipe}) than the dataset wants "
            f"({asdict(recipe)}); remove it, and it is made anew"
        )
    return store
