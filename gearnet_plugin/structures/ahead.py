"""Structure files read in order, by this process or ahead of it by others, of which only so much waits at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice

from .parallel import LIGHT, count_workers
from .sources import Entry, try_read
from .structure import Structure

#: Files that go to a process at once, and how many such parcels each has before it.
PARCEL = 16
AHEAD = 2

Reading = tuple[Structure | None, str]


def read_ahead(entries: Iterable[Entry], workers: int | None = 1) -> Iterator[Reading]:
    """
    Read structures in order; one that cannot be read gives ``None`` and the reason.

    Unlike with joblib's own generators, results that nobody has asked for yet do not pile up.

    Parameters:
        entries (iterable of Entry): files
        workers (int, optional): number of processes, -1 for one a core; with 1 this process reads when asked
    """
    workers = count_workers(workers)
    if workers == 1:
        return (try_read(entry) for entry in entries)
    return _by_others(iter(entries), workers)


def _by_others(entries: Iterator[Entry], workers: int) -> Iterator[Reading]:
    from joblib.externals.loky import ProcessPoolExecutor

    parcels = iter(lambda: list(islice(entries, PARCEL)), [])
    # the processes need neither torch nor TorchDrug
    executor = ProcessPoolExecutor(max_workers=workers, env={LIGHT: "1"})
    try:
        waiting = deque(executor.submit(read_parcel, parcel) for parcel in islice(parcels, AHEAD * workers))
        while waiting:
            done = waiting.popleft().result()
            waiting.extend(executor.submit(read_parcel, parcel) for parcel in islice(parcels, 1))
            yield from done
    finally:
        executor.shutdown(wait=False, kill_workers=True)


def read_parcel(entries: list[Entry]) -> list[Reading]:
    """Read some files; what a process is asked for."""
    return [try_read(entry) for entry in entries]
