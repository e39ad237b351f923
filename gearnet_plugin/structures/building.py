"""
The folder of a store in the making: who may write it, whose it is, and what to do with what is there.

It holds ``plan/begun.json``, which says what the store is made of, so that another run can tell whether to go on.
Nothing is ever removed that is not known to be a store's own.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .disk import DISK_FULL
from .locks import locked
from .manifest import (
    BEGUN,
    DROPS,
    FORMAT,
    INDEX,
    MANIFEST,
    PLAN,
    SHARDS,
    StoreBusy,
    StoreError,
    is_store,
    read_json,
    write_atomically,
)

SHARD = re.compile(r"\d{6}\.arrow")
DIED = ("TerminatedWorkerError", "BrokenProcessPool", "KilledWorker")


@contextmanager
def alone(out: str, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """
    Keep other processes from making the same store; the lock of a process that was killed is free.

    Parameters:
        out (str): folder of the store
        waiting (Callable, optional): called once before waiting for another process; by default there is no waiting

    Raises:
        StoreBusy: another process makes it, and ``waiting`` is not given
    """

    def busy():
        raise StoreBusy(f"another process is making the store `{out}`; wait for it, or give another folder by --out")

    os.makedirs(os.path.dirname(out), exist_ok=True)
    # beside the store, because the store may be removed while the lock is held
    with locked(out + ".lock", waiting or busy):
        yield


def begin(out: str, recipe: dict, made_by: dict, shown: str) -> dict:
    """
    Make the folder of a store, or find it as it was left.

    Parameters:
        out (str): folder
        recipe (dict): options
        made_by (dict): versions of what reads the files
        shown (str): the folder as the user calls it

    Returns:
        what ``begun.json`` says, with an ``id`` of its own for each time that a store is begun

    Raises:
        StoreError: the folder is something else, or was begun with other options or versions
    """
    path = os.path.join(out, PLAN, BEGUN)
    begun = read_json(path)
    if begun is None or begun.get("format") != FORMAT:
        if not _is_empty(out):
            raise StoreError(f"`{shown}` exists and is no store; give another folder by --out")
        begun = {"format": FORMAT, "recipe": recipe, "made_by": made_by, "id": uuid.uuid4().hex}
        os.makedirs(os.path.join(out, PLAN), exist_ok=True)
        write_atomically(path, json.dumps(begun))
    for what, before, now in (("options", begun["recipe"], recipe), ("versions", begun["made_by"], made_by)):
        if before != now:
            raise other(shown, what, before, now)
    os.makedirs(os.path.join(out, SHARDS), exist_ok=True)
    # of runs that were killed
    plan = os.path.join(out, PLAN)
    for folder in (plan, os.path.join(plan, "unpacked")):
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            if name.endswith((".tmp", ".partial")):
                os.remove(os.path.join(folder, name))
    return begun


def other(shown: str, what: str, before: dict, now: dict) -> StoreError:
    """The error for a store that was begun with other options or versions."""
    differ = ", ".join(
        f"{key} {before.get(key)} instead of {value}" for key, value in now.items() if before.get(key) != value
    )
    return StoreError(
        f"the store `{shown}` was begun with other {what} ({differ}); give these, another folder by --out, or "
        f"--overwrite to make it anew"
    )


def is_current(out: str, begun_id: str) -> bool:
    """Whether a store is still the one begun under this id: a worker may outlive the run that it was part of."""
    begun = read_json(os.path.join(out, PLAN, BEGUN))
    return begun is not None and begun.get("id") == begun_id


def finish(out: str) -> None:
    """Leave the whole store alone in its folder."""
    shutil.rmtree(os.path.join(out, PLAN), ignore_errors=True)


def check_removable(out: str, shown: str) -> None:
    """
    Whether a folder is a store, whole or begun, and nothing else.

    Raises:
        StoreError: it is no store, or there is something in it that is not the store's
    """
    if not is_store(out):
        raise StoreError(
            f"`{shown}` is no store, so --overwrite removes nothing; give another folder by --out, or remove it "
            f"yourself"
        )
    shards = os.path.join(out, SHARDS)
    stray = set(os.listdir(out)) - {MANIFEST, INDEX, SHARDS, DROPS, PLAN}
    stray |= {name for name in os.listdir(shards) if not SHARD.fullmatch(name)} if os.path.isdir(shards) else set()
    if PLAN in os.listdir(out) and read_json(os.path.join(out, PLAN, BEGUN)) is None:
        stray.add(PLAN)
    if stray:
        raise StoreError(
            f"`{shown}` holds more than a store ({', '.join(sorted(stray)[:3])}), so --overwrite removes nothing; give "
            f"another folder by --out, or remove it yourself"
        )


def remove(out: str, shown: str) -> None:
    """Remove a store; see :func:`check_removable`."""
    check_removable(out, shown)
    # the manifest goes first: without it the rest is no store
    if os.path.exists(os.path.join(out, MANIFEST)):
        os.remove(os.path.join(out, MANIFEST))
    shutil.rmtree(out)


def replace(old: str, new: str, shown: str) -> None:
    """Put a whole store where another one is, which goes. Readers that have it open keep what they have mapped."""
    aside = old + ".old"
    if os.path.isdir(old):
        # killed between the two renames, the new store is there under its own name and the next run goes on
        os.rename(old, aside)
    os.rename(new, old)
    if os.path.isdir(aside):
        remove(aside, shown)


@contextmanager
def explained(shown: str) -> Iterator[None]:
    """Say what to do where the disk or a worker gave up."""
    try:
        yield
    except OSError as error:
        if error.errno not in (*DISK_FULL, errno.EFBIG):
            raise
        raise OSError(
            error.errno,
            f"no room left for the store `{shown}` ({os.strerror(error.errno)}): a store takes about 16 bytes a "
            f"residue, 10 if compact; free some, and run the same command again, which goes on where it stopped",
        ) from None
    except Exception as error:
        if type(error).__name__ not in DIED:
            raise
        raise StoreError(
            f"a worker died while making the store `{shown}`, often because memory ran out; run the same command "
            f"again, with fewer --workers: it goes on where it stopped"
        ) from None


def _is_empty(out: str) -> bool:
    """Whether a folder is not there, empty, or what is left of a store that was killed before it was begun."""
    if not os.path.lexists(out):
        return True
    if not os.path.isdir(out) or set(os.listdir(out)) - {PLAN}:
        return False
    plan = os.path.join(out, PLAN)
    return not os.path.exists(plan) or all(
        re.fullmatch(rf"{re.escape(BEGUN)}\.\d+\.tmp", name) for name in os.listdir(plan)
    )
