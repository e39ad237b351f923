"""
From any pile of structure files to a store: in parallel, and so that it can be killed at any moment and run again.

A store in the making is a folder with the folder ``plan`` in it (:mod:`.plan`). Each part of the plan is read by one
call of :func:`make_shard`, in whichever process, and leaves a shard and a line about it; what is there is not made
again. When all parts are, the index, the report of what was left out and, last of all, the manifest are written, and
``plan`` goes.
"""

from __future__ import annotations

import csv
import errno
import glob
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass

from tqdm import tqdm

from .manifest import (
    DROPS,
    INDEX,
    MANIFEST,
    PLAN,
    SCHEMA,
    SHARDS,
    Manifest,
    ShardInfo,
    StoreBusy,
    StoreError,
    shard_name,
    write_atomically,
)
from .parallel import count_workers, spread
from .plan import Plan, load_plan, make_plan, read_part
from .shard import Shard, fits_compact
from .sources import try_read
from .store import StructureStore, write_index
from .structure import Structure

PER = ("chain", "entry")
CONFIDENCE = ("uint8", "float")
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Recipe:
    """
    The options that decide what is in a store.

    Parameters:
        per (str): ``chain`` makes a structure of each protein chain, ``entry`` of all chains of a file
        min_confidence (float, optional): leave out predicted structures with a lower mean pLDDT, from 0 to 100.
            Structures without pLDDT stay.
        max_length (int, optional): leave out what has more residues
        compact (bool): coordinates as int16 in steps of 0.01 Å
        confidence (str): ``uint8`` rounds B-factors and pLDDT to whole numbers from 0 to 255, ``float`` keeps float32

    Raises:
        ValueError: a value is not allowed
    """

    per: str = "chain"
    min_confidence: float | None = None
    max_length: int | None = None
    compact: bool = False
    confidence: str = "uint8"

    def __post_init__(self):
        for name, allowed in (("per", PER), ("confidence", CONFIDENCE)):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} should be {' or '.join(f'`{word}`' for word in allowed)}, "
                    f"but found `{getattr(self, name)}`"
                )
        if self.min_confidence is not None and not 0 <= self.min_confidence <= 100:
            raise ValueError(f"min_confidence is a pLDDT from 0 to 100, but found {self.min_confidence}")
        if self.max_length is not None and self.max_length < 1:
            raise ValueError(f"max_length should be at least 1 residue, but found {self.max_length}")


@dataclass(frozen=True)
class Summary:
    """What :func:`prepare` did. ``drops`` counts the files, or chains of files, that were left out."""

    store: StructureStore
    made: int  # files read in this call; 0 if all was there
    drops: int
    done_before: int  # files read by earlier calls that were interrupted


def prepare(
    sources: Iterable,
    out: str | os.PathLike,
    recipe: Recipe | None = None,
    workers: int | None = None,
    backend: str = "loky",
    scheduler: str | None = None,
    overwrite: bool = False,
    verbose: int = 1,
) -> Summary:
    """
    Make a store of structure files.

    Killed at any moment and called again with the same arguments, it goes on, and ends with the same bytes as if it
    had not been killed, whatever the number of workers.

    Parameters:
        sources (list): folders, files, archives, ... as :func:`~.sources.find_entries` takes them
        out (str or Path): folder of the store; it must not exist, be empty, or be the same store in the making
        recipe (Recipe, optional): what to put in
        workers (int, optional): number of processes; by default one a core
        backend (str, optional): ``loky`` or ``dask``, see :func:`~.parallel.spread`. The machines of a cluster must
            see ``sources`` and ``out`` under the same paths.
        scheduler (str, optional): address of a Dask scheduler
        overwrite (bool, optional): remove a store that is there first; never removes anything else
        verbose (int, optional): 0 for no progress bar

    Raises:
        FileNotFoundError: a source does not exist
        StoreError: ``out`` is something else, made with other options, of other files, or another process is at work
            on it
        ValueError: a wrong argument, no structure at all, or a package is missing that a file needs
        OSError: the disk is full, among others; what was done stays
    """
    sources, out, recipe = [os.fspath(source) for source in sources], os.path.normpath(out), recipe or Recipe()
    workers = count_workers(workers)
    for source in sources:
        if not os.path.lexists(os.path.expanduser(source)) and not glob.has_magic(source):
            raise FileNotFoundError(f"no such file or folder: `{source}`, looked from `{os.getcwd()}`")
    if overwrite and os.path.lexists(out):
        _remove(out)
    if os.path.exists(os.path.join(out, MANIFEST)):
        return _already(sources, out, recipe)
    with _making(sources, out, recipe), _explained(out):
        plan = _planned(sources, out, verbose)
        todo = [part for part in range(len(plan)) if not _is_done(plan, part)]
        todo_files = sum(map(plan.part_files, todo))
        calls = ((out, part, plan.starts[part], plan.starts[part + 1], asdict(recipe)) for part in todo)
        with (
            closing(spread(make_shard, calls, min(workers, max(len(todo), 1)), backend, scheduler)) as results,
            tqdm(
                desc="Preparing",
                total=plan.files,
                initial=plan.files - todo_files,
                unit="file",
                smoothing=0.05,
                disable=not verbose,
            ) as bar,
        ):
            for files in results:
                bar.update(files)
        _finish(plan, sources, recipe)
    store = StructureStore(out)
    return Summary(store, todo_files, store.manifest.counts["drops"], plan.files - todo_files)


# === one shard ===


def make_shard(store: str, part: int, start: int, stop: int, recipe: dict) -> int:
    """
    Read a part of a plan into a shard.

    Parameters:
        store (str): folder of the store
        part (int): number of the part
        start, stop (int): where it stands in the list of files
        recipe (dict): fields of a Recipe

    Returns:
        number of files read
    """
    from .arrow import write_shard

    recipe = Recipe(**recipe)
    structures, drops, residues, files, without_plddt, clipped = [], [], [], 0, 0, 0
    for name, entry in read_part(store, start, stop):
        files += 1
        structure, reason = try_read(entry)
        if structure is None:
            drops.append((entry.source, reason))
            continue
        if structure.dropped:
            residues.append((entry.source, structure.dropped))
        for item in _items(structure, name, recipe.per):
            reason = _unfit(item, recipe)
            if reason:
                drops.append(
                    (entry.source, f"chain {item.chain_ids[0]}: {reason}" if recipe.per == "chain" else reason)
                )
                continue
            without_plddt += recipe.min_confidence is not None and item.confidence_kind != "plddt"
            if recipe.confidence == "uint8":
                clipped += int(((item.confidence < -0.5) | (item.confidence > 255.5)).sum())
            structures.append(item)
    shard = Shard.build(structures, recipe.compact, recipe.confidence)
    temporary = os.path.join(store, PLAN, f"{shard_name(part)}.{os.getpid()}.tmp")
    try:
        frame = write_shard(shard, temporary, {"gearnet_plugin.schema": str(SCHEMA)})
        os.replace(temporary, os.path.join(store, SHARDS, shard_name(part)))
        info = ShardInfo(len(structures), int(shard.arrays["residues.starts"][-1]), *frame)
        write_atomically(
            _report_path(store, part),
            json.dumps(
                {
                    "info": list(vars(info).values()),
                    "drops": drops,
                    "residues": residues,
                    "without_plddt": without_plddt,
                    "clipped": clipped,
                }
            ),
        )
    except BaseException:
        if os.path.exists(temporary):
            os.remove(temporary)
        raise
    return files


def _items(structure: Structure, name: str, per: str) -> list[Structure]:
    """What a file becomes, under the name that is its own in the store."""
    # names of files that are no UTF-8 text
    structure.name, structure.source = (
        text.encode("utf-8", "backslashreplace").decode() for text in (name, structure.source)
    )
    return structure.chains() if per == "chain" else [structure]


def _unfit(structure: Structure, recipe: Recipe) -> str:
    """Why a structure is left out, an empty text if it is not."""
    if recipe.max_length is not None and len(structure) > recipe.max_length:
        return f"{len(structure)} residues, more than max_length {recipe.max_length}"
    if recipe.min_confidence is not None and structure.confidence_kind == "plddt":
        mean = structure.confidence.mean(dtype=float)
        if mean < recipe.min_confidence:
            return f"mean pLDDT {mean:.1f}, less than min_confidence {recipe.min_confidence:g}"
    if recipe.compact and not fits_compact(structure):
        return "it extends over more than 655 Å, which a compact store cannot hold; prepare it without compact"
    return ""


def _report_path(store: str, part: int) -> str:
    return os.path.join(store, PLAN, f"{part:06d}.json")


def _read_report(plan: Plan, part: int) -> dict | None:
    try:
        with open(_report_path(plan.store, part), encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return None


def _is_done(plan: Plan, part: int) -> bool:
    """Whether a part has its shard and its report. The report comes last."""
    report = _read_report(plan, part)
    try:
        size = os.path.getsize(os.path.join(plan.store, SHARDS, shard_name(part)))
    except FileNotFoundError:
        return False
    return report is not None and ShardInfo(*report["info"]).size == size


# === before ===


def _already(sources: list[str], out: str, recipe: Recipe) -> Summary:
    """Nothing to do, if the store is what is asked for."""
    store = StructureStore(out)
    if store.manifest.recipe != asdict(recipe):
        raise _other_options(out, store.manifest.recipe, recipe)
    with tempfile.TemporaryDirectory(prefix="gearnet-") as folder:
        os.mkdir(os.path.join(folder, PLAN))
        plan = make_plan(folder, sources)
    if plan.fingerprint != store.manifest.sources["fingerprint"]:
        raise _other_files(out, store.manifest.sources["files"], plan.files)
    # a run killed in its very last step leaves its plan
    shutil.rmtree(os.path.join(out, PLAN), ignore_errors=True)
    _forget(os.path.join(out, "lock"))
    return Summary(store, 0, store.manifest.counts["drops"], plan.files)


def _planned(sources: list[str], out: str, verbose: int) -> Plan:
    """The plan, the same as before if there is one."""
    before = load_plan(out)
    with tqdm(desc="Listing", unit="file", delay=2, disable=not verbose) as bar:
        plan = make_plan(out, sources, report=lambda found: bar.update(found - bar.n))
    if before is None:
        plan.save()
    elif before.fingerprint != plan.fingerprint:
        raise _other_files(out, before.files, plan.files)
    return plan


@contextmanager
def _making(sources: list[str], out: str, recipe: Recipe) -> Iterator[None]:
    """The folder of a store in the making, for this process alone."""
    begun = {"recipe": asdict(recipe), "sources": sources}
    path = os.path.join(out, PLAN, "recipe.json")
    if os.path.lexists(out):
        try:
            with open(path, encoding="utf-8") as file:
                before = json.load(file)
        except (FileNotFoundError, NotADirectoryError):
            before = None
            # killed before it was begun, it holds nothing yet
            shards = os.path.join(out, SHARDS)
            if (
                not os.path.isdir(out)
                or set(os.listdir(out)) - {"lock", PLAN, SHARDS}
                or os.path.isdir(shards)
                and os.listdir(shards)
            ):
                raise StoreError(f"`{out}` exists and is no store; give another folder by --out") from None
        if before is not None and before["recipe"] != begun["recipe"]:
            raise _other_options(out, before["recipe"], recipe)
    os.makedirs(os.path.join(out, PLAN), exist_ok=True)
    os.makedirs(os.path.join(out, SHARDS), exist_ok=True)
    with _locked(out):
        for name in os.listdir(os.path.join(out, PLAN)):
            if name.endswith(".tmp"):
                _forget(os.path.join(out, PLAN, name))
        write_atomically(path, json.dumps(begun))
        yield
        shutil.rmtree(os.path.join(out, PLAN))
        _forget(os.path.join(out, "lock"))


@contextmanager
def _locked(out: str) -> Iterator[None]:
    """Keep other processes from making the same store; the lock of a process that was killed is free."""
    with open(os.path.join(out, "lock"), "w") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass  # not on Windows
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise StoreBusy(
                    f"another process is making the store `{out}`; wait for it, or give another folder by --out"
                ) from None
            # a file system without locks
        yield


@contextmanager
def _explained(out: str) -> Iterator[None]:
    """Say what to do where the disk or a worker gave up."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise OSError(
            error.errno,
            f"no room left for the store `{out}` ({error.strerror}): a store takes about 16 bytes a "
            f"residue, 10 if compact; free some, and run the same command again, which goes on "
            f"where it stopped",
        ) from None
    except Exception as error:
        if type(error).__name__ not in ("TerminatedWorkerError", "BrokenProcessPool", "KilledWorker"):
            raise
        raise StoreError(
            f"a worker died while making the store `{out}`, often because memory ran out; run the same command "
            f"again, with fewer --workers: it goes on where it stopped"
        ) from None


# === after ===


def _finish(plan: Plan, sources: list[str], recipe: Recipe) -> None:
    """Write what stands around the shards, the manifest last."""
    out = plan.store
    shards, residues_left_out, drops, without_plddt, clipped = [], Counter(), 0, 0, 0
    temporary = plan.path(DROPS + ".tmp")
    with open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(("file", "reason"))
        for part in range(len(plan)):
            report = _read_report(plan, part)
            shards.append(ShardInfo(*report["info"]))
            drops += len(report["drops"])
            without_plddt += report["without_plddt"]
            clipped += report["clipped"]
            writer.writerows(report["drops"])
            for source, reasons in report["residues"]:
                residues_left_out.update(reasons)
                counts = ", ".join(f"{number} x {reason}" for reason, number in reasons.items())
                writer.writerow((source, f"residues left out: {counts}"))
    structures = sum(shard.structures for shard in shards)
    if not structures:
        raise _nothing(plan)
    os.replace(temporary, os.path.join(out, DROPS))
    index, shared = write_index(out, _names(out, shards), structures)
    counts = {
        "structures": structures,
        "residues": sum(shard.residues for shard in shards),
        "files": plan.files,
        "drops": drops,
        "residues_left_out": dict(sorted(residues_left_out.items())),
        "other_formats": plan.twins,
        "without_plddt": without_plddt,
        "confidence_clipped": clipped,
        "shared_names": shared,
    }
    origin = {"paths": sources, "files": plan.files, "fingerprint": plan.fingerprint}
    Manifest(asdict(recipe), origin, counts, index, shards).write(out)


def _names(out: str, shards: list[ShardInfo]) -> Iterator[str]:
    from .arrow import Frame, open_shard

    for number, info in enumerate(shards):
        shard = open_shard(os.path.join(out, SHARDS, shard_name(number)), Frame(*info.frame))
        for row in range(len(shard)):
            yield shard.text("name", row)


def _nothing(plan: Plan) -> ValueError:
    drops = [drop for part in range(len(plan)) for drop in _read_report(plan, part)["drops"][:5]][:5]
    return ValueError(
        f"none of {plan.files} files gives a structure for the store, the first:"
        + "".join(f"\n  {file}: {reason}" for file, reason in drops)
    )


def _other_options(out: str, before: dict, recipe: Recipe) -> StoreError:
    now = asdict(recipe)
    differ = ", ".join(
        f"{name} {before.get(name)} instead of {value}" for name, value in now.items() if before.get(name) != value
    )
    return StoreError(
        f"the store `{out}` was begun with other options ({differ}); give these, another folder by --out, or "
        f"--overwrite to make it anew"
    )


def _other_files(out: str, before: int, now: int) -> StoreError:
    return StoreError(
        f"the files have changed since the store `{out}` was begun ({before} then, {now} now, or others of "
        f"the same number); give another folder by --out, or --overwrite to make it anew"
    )


def _remove(out: str) -> None:
    """Remove a store, and nothing that is no store."""
    names = set(os.listdir(out)) if os.path.isdir(out) else {""}
    stray = names - {MANIFEST, INDEX, SHARDS, DROPS, PLAN, "lock"}
    if stray or names and not names & {MANIFEST, PLAN, SHARDS}:
        raise StoreError(
            f"`{out}` is no store, or holds other files too ({', '.join(sorted(stray)[:3])}); nothing was "
            f"removed. Give another folder by --out, or remove it yourself"
        )
    # the manifest goes first: without it the rest is no store
    _forget(os.path.join(out, MANIFEST))
    shutil.rmtree(out)


def _forget(path: str) -> None:
    try:
        os.remove(path)
    except FileNotFoundError:
        pass
