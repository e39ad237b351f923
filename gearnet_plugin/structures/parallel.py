"""Calls spread over processes, on one machine or on many."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager

#: Set in the environment, ``import gearnet_plugin`` imports neither torch nor TorchDrug: enough to read files, in a
#: tenth of the time and memory.
LIGHT = "GEARNET_PLUGIN_LIGHT"
BACKENDS = ("loky", "dask")


def count_workers(workers: int | None) -> int:
    """
    The number of processes meant by a number: None or -1 is one for each core this process may use.

    Raises:
        ValueError: it is neither -1 nor positive
    """
    if workers in (None, -1):
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ValueError(f"the number of workers should be at least 1, or -1 for one a core, but found {workers!r}")
    return workers


def check_backend(backend: str, scheduler: str | None = None) -> None:
    """
    Whether :func:`spread` can use a backend.

    Raises:
        ValueError: unknown backend, a scheduler without dask, or dask not installed
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend should be {' or '.join(f'`{name}`' for name in BACKENDS)}, but found `{backend}`")
    if scheduler is not None and backend != "dask":
        raise ValueError(f"a scheduler belongs to the backend `dask`, but the backend is `{backend}`")
    if backend == "dask" and importlib.util.find_spec("distributed") is None:
        raise ValueError(
            'the backend `dask` needs the packages dask and distributed: pip install "gearnet-plugin[cluster]"'
        )


def spread(
    function: Callable,
    calls: Iterable[tuple],
    workers: int,
    backend: str = "loky",
    scheduler: str | None = None,
    ordered: bool = False,
) -> Generator:
    """
    Call a function with each tuple of arguments in worker processes.

    Parameters:
        function (Callable): a function of a module of this package
        calls (iterable of tuple): its arguments
        workers (int): number of processes; with 1 and ``loky`` this process does the work
        backend (str, optional): ``loky`` for processes of this machine, ``dask`` for those of a Dask cluster
        scheduler (str, optional): address of the cluster's scheduler, such as ``tcp://host:8786``; by default a
            cluster of ``workers`` processes is started on this machine
        ordered (bool, optional): results in the order of the calls, of which several travel together. By default
            they come as they are ready, each call by itself: for calls that take seconds.

    Raises:
        ValueError: unknown backend, a scheduler without dask, dask not installed, or no cluster at the address
    """
    check_backend(backend, scheduler)
    if backend == "dask":
        yield from _on_dask(function, calls, workers, scheduler)
    elif workers == 1:
        for arguments in calls:
            yield function(*arguments)
    else:
        yield from _on_loky(function, calls, workers, ordered)


def _on_loky(function, calls, workers, ordered) -> Iterator:
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    with _light():
        return_as, batch_size = ("generator", "auto") if ordered else ("generator_unordered", 1)
        parallel = Parallel(n_jobs=workers, return_as=return_as, batch_size=batch_size)
        try:
            yield from parallel(delayed(function)(*arguments) for arguments in calls)
        finally:
            # joblib keeps its processes for later calls, which may need all of this package
            get_reusable_executor().shutdown(wait=False, kill_workers=True)


def _on_dask(function, calls, workers, scheduler) -> Iterator:
    from distributed import Client, LocalCluster
    from joblib import Parallel, delayed, parallel_config

    with _light():
        cluster = None if scheduler else LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
        try:
            client = Client(scheduler or cluster, timeout=10)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"no Dask scheduler answers at `{scheduler}` ({error or type(error).__name__}); start one with "
                f"`dask scheduler`, and workers with `dask worker ADDRESS`"
            ) from None
        try:
            with parallel_config(backend="dask", client=client):
                parallel = Parallel(return_as="generator_unordered", batch_size=1)
                yield from parallel(delayed(function)(*arguments) for arguments in calls)
        finally:
            client.close()
            if cluster is not None:
                cluster.close()


@contextmanager
def _light():
    """Processes started within import this package without torch and TorchDrug."""
    before = os.environ.get(LIGHT)
    os.environ[LIGHT] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[LIGHT]
        else:
            os.environ[LIGHT] = before
