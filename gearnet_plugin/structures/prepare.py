"""
From any pile of structure files to a store: in parallel, and so that it can be killed at any moment and run again.

A store in the making is a folder with the folder ``plan`` in it (:mod:`.building`, :mod:`.plan`). Each part of the
plan is read by one call of :func:`make_shard`, in whichever process, and leaves a shard and a report about it; what
is there is not made again. When all parts are, the index, the list of what was left out and, last of all, the
manifest are written, and ``plan`` goes.
"""

from __future__ import annotations

import csv
import glob
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass

from tqdm import tqdm

from .building import alone, begin, check_removable, explained, finish, is_current, other, remove, replace
from .manifest import (
    BEGUN,
    DROPS,
    MANIFEST,
    PLAN,
    SCHEMA,
    SHARDS,
    Manifest,
    ShardInfo,
    StoreError,
    is_store,
    read_json,
    shard_name,
    write_atomically,
)
from .parallel import check_backend, count_workers, spread
from .plan import Plan, fingerprint, load_plan, make_plan, read_part
from .shard import STEP, Shard, fits_compact
from .sources import try_read
from .store import RESIDUES_LEFT_OUT, StructureStore, write_index
from .structure import Structure

PER = ("chain", "entry")
CONFIDENCE = ("uint8", "float")


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
        if self.min_confidence is not None:
            if not _is_number(self.min_confidence) or not 0 <= self.min_confidence <= 100:
                raise ValueError(f"min_confidence is a pLDDT from 0 to 100, but found {self.min_confidence!r}")
            # 70 and 70.0 are one recipe
            object.__setattr__(self, "min_confidence", float(self.min_confidence))
        if self.max_length is not None and (not _is_number(self.max_length, int) or self.max_length < 1):
            raise ValueError(f"max_length should be at least 1 residue, a whole number, but found {self.max_length!r}")


@dataclass(frozen=True)
class Summary:
    """What :func:`prepare` did. ``drops`` counts the files, or chains of files, that were left out."""

    store: StructureStore
    made: int  # files read in this call; 0 if all was there
    drops: int
    done_before: int  # files read by earlier calls that were interrupted


def prepare(
    sources: str | os.PathLike | Iterable | Callable[[], Iterable],
    out: str | os.PathLike,
    recipe: Recipe | None = None,
    workers: int | None = None,
    backend: str = "loky",
    scheduler: str | None = None,
    overwrite: bool = False,
    verbose: int = 1,
    waiting: Callable[[], None] | None = None,
) -> Summary:
    """
    Make a store of structure files.

    Killed at any moment and called again with the same arguments, it goes on, and ends with the same bytes as if it
    had not been killed, whatever the number of workers. A part of at least 128 files goes to one worker.

    Parameters:
        sources (str, list or Callable): folders, files, archives, ... as :func:`~.sources.find_entries` takes them; or
            what gives them, called only if there is no whole store yet, whose sources are then not looked at again
        out (str or Path): folder of the store; it must not exist, be empty, or be the same store in the making
        recipe (Recipe, optional): what to put in
        workers (int, optional): number of processes; by default one a core
        backend (str, optional): ``loky`` or ``dask``, see :func:`~.parallel.spread`. The machines of a cluster must
            see ``sources`` and ``out`` under the same paths.
        scheduler (str, optional): address of a Dask scheduler
        overwrite (bool, optional): replace a store that is there, when the new one is whole; never touches anything
            else
        verbose (int, optional): 0 for no progress bar
        waiting (Callable, optional): called before waiting for another process that makes the same store; by default
            that is an error

    Raises:
        FileNotFoundError: a source does not exist
        StoreError: ``out`` is something else, made with other options or of other files, or another process is at
            work on it
        ValueError: a wrong argument, no structure at all, or a package is missing that a file needs
        OSError: the disk is full, among others; what was done stays
    """
    recipe, shown = recipe or Recipe(), os.fspath(out)
    # where links lead, so that a store is replaced and not a link to it
    place = os.path.realpath(os.path.expanduser(shown))
    workers = count_workers(workers)
    check_backend(backend, scheduler)
    if not callable(sources):
        sources = _checked(sources)
    with alone(place, waiting):
        if overwrite and os.path.lexists(place):
            check_removable(place, shown)
            new = place + ".new"
            with alone(new):
                if is_store(new) and not _can_go_on(new, recipe):
                    remove(new, new)
                summary = _make(sources, new, shown, recipe, workers, backend, scheduler, verbose)
                replace(place, new, shown)
            return Summary(StructureStore(shown), summary.made, summary.drops, summary.done_before)
        if os.path.exists(os.path.join(place, MANIFEST)):
            return _already(sources, shown, recipe)
        return _make(sources, place, shown, recipe, workers, backend, scheduler, verbose)


def _make(sources, place, shown, recipe, workers, backend, scheduler, verbose) -> Summary:
    """Begin a store or go on with it, to its end."""
    sources = _checked(sources()) if callable(sources) else sources
    if os.path.exists(os.path.join(place, MANIFEST)):
        # killed after the manifest
        finish(place)
        return _already(sources, place, recipe)
    now = fingerprint(sources)
    made_by = _versions()
    begun = begin(place, asdict(recipe), made_by, shown)
    with explained(shown):
        plan = _planned(sources, place, shown, now, verbose)
        todo = [part for part in range(len(plan)) if not _is_done(plan, part, begun["id"])]
        todo_files = sum(map(plan.part_files, todo))
        parent = os.getpid() if backend == "loky" else None
        calls = (
            (place, part, plan.starts[part], plan.starts[part + 1], asdict(recipe), begun["id"], parent)
            for part in todo
        )
        workers = min(workers, max(len(todo), 1))
        with (
            closing(spread(make_shard, calls, workers, backend, scheduler)) as results,
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
        _finish(plan, sources, recipe, made_by)
    store = StructureStore(shown if os.path.realpath(shown) == place else place)
    return Summary(store, todo_files, store.manifest.counts["drops"], plan.files - todo_files)


# === one shard ===


def make_shard(
    store: str, part: int, start: int, stop: int, recipe: dict, begun_id: str, parent: int | None = None
) -> int:
    """
    Read a part of a plan into a shard.

    Parameters:
        store (str): folder of the store
        part (int): number of the part
        start, stop (int): where it stands in the list of files
        recipe (dict): fields of a Recipe
        begun_id (str): which making of this store it is for
        parent (int, optional): process on whose behalf it is made; without it, nobody wants the shard

    Returns:
        number of files read
    """
    from .arrow import write_shard

    options = Recipe(**recipe)
    structures, drops, residues, files, without_plddt, clipped = [], [], [], 0, 0, 0
    for name, entry in read_part(store, start, stop):
        if parent not in (None, os.getpid(), os.getppid()):
            raise RuntimeError("the process that wanted this shard is gone")
        files += 1
        structure, reason = try_read(entry, lasting=True)
        if structure is None:
            drops.append((entry.source, reason))
            continue
        if structure.dropped:
            residues.append((entry.source, structure.dropped))
        for item in _items(structure, name, options.per):
            reason = _unfit(item, options)
            if reason:
                chain = f"chain {item.chain_ids[0]}: " if options.per == "chain" else ""
                drops.append((entry.source, chain + reason))
                continue
            without_plddt += options.min_confidence is not None and item.confidence_kind != "plddt"
            if options.confidence == "uint8":
                clipped += int(((item.confidence < -0.5) | (item.confidence > 255.5)).sum())
            structures.append(item)
    shard = Shard.build(structures, options.compact, options.confidence)
    metadata = {"gearnet_plugin.schema": str(SCHEMA), "unit": "angstrom"}
    if options.compact:
        metadata["position"] = f"origin + {STEP} * position"
    temporary = os.path.join(store, PLAN, f"{shard_name(part)}.{os.getpid()}.tmp")
    try:
        frame = write_shard(shard, temporary, metadata)
        if not is_current(store, begun_id):
            raise RuntimeError("the store that wanted this shard is gone")
        os.replace(temporary, os.path.join(store, SHARDS, shard_name(part)))
        info = ShardInfo(len(structures), int(shard.arrays["residues.starts"][-1]), *frame)
        report = {
            "id": begun_id,
            "info": list(vars(info).values()),
            "drops": drops,
            "residues": residues,
            "without_plddt": without_plddt,
            "clipped": clipped,
        }
        write_atomically(_report_path(store, part), json.dumps(report))
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


def _read_report(store: str, part: int) -> dict:
    """The report of a part that is done."""
    report = read_json(_report_path(store, part))
    assert report is not None
    return report


def _is_done(plan: Plan, part: int, begun_id: str) -> bool:
    """Whether a part has its shard and its report. The report comes last."""
    report = read_json(_report_path(plan.store, part))
    if report is None or report["id"] != begun_id:
        return False
    try:
        return ShardInfo(*report["info"]).size == os.path.getsize(os.path.join(plan.store, SHARDS, shard_name(part)))
    except FileNotFoundError:
        return False


# === before ===


def _checked(sources: str | os.PathLike | Iterable) -> list[str]:
    """Sources as a list of texts that each stand for something."""
    sources = [sources] if isinstance(sources, (str, os.PathLike)) else list(sources)
    sources = [os.fspath(source) for source in sources]
    for source in sources:
        path = os.path.expanduser(source)
        if not os.path.lexists(path) and not glob.has_magic(source):
            raise FileNotFoundError(f"no such file or folder: `{source}`, looked from `{os.getcwd()}`")
        if is_store(path):
            raise ValueError(f"the source `{source}` is a store; give the files that it was made of")
    return sources


def _is_number(value, kind=(int, float)) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _versions() -> dict:
    """What a structure depends on besides its file."""
    import gemmi

    from gearnet_plugin import __version__

    return {"gearnet_plugin": __version__, "gemmi": gemmi.__version__}  # type: ignore[attr-defined]


def _can_go_on(place: str, recipe: Recipe) -> bool:
    """Whether what an interrupted run has left can be used by this one."""
    begun = read_json(os.path.join(place, PLAN, BEGUN))
    return begun is not None and begun.get("recipe") == asdict(recipe) and begun.get("made_by") == _versions()


def _already(sources, shown: str, recipe: Recipe) -> Summary:
    """Nothing to do, if the store is what is asked for."""
    store = StructureStore(shown)
    made, asked = Recipe(**store.manifest.recipe), recipe
    if made != asked:
        raise other(shown, "options", asdict(made), asdict(asked))
    files = store.manifest.counts["files"]
    if not callable(sources) and fingerprint(sources) != store.manifest.sources["fingerprint"]:
        raise _other_files(shown, files)
    if os.path.isdir(os.path.join(store.root, PLAN)):
        finish(store.root)
    return Summary(store, 0, store.manifest.counts["drops"], files)


def _planned(sources: list[str], place: str, shown: str, now: str, verbose: int) -> Plan:
    """The plan, the same as before if there is one."""
    plan = load_plan(place)
    if plan is not None:
        if plan.fingerprint != now:
            raise _other_files(shown, plan.files)
        return plan
    with tqdm(desc="Listing", unit="file", delay=2, disable=not verbose) as bar:
        plan = make_plan(place, sources, now, report=lambda found: bar.update(found - bar.n))
    plan.save()
    return plan


# === after ===


def _finish(plan: Plan, sources: list[str], recipe: Recipe, made_by: dict) -> None:
    """Write what stands around the shards, the manifest last."""
    from .arrow import file_crc

    out = plan.store
    shards, drops, without_plddt, clipped = [], 0, 0, 0
    residues_left_out: Counter[str] = Counter()
    temporary = plan.path(DROPS + ".tmp")
    with open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(("file", "reason"))
        for part in range(len(plan)):
            report = _read_report(out, part)
            shards.append(ShardInfo(*report["info"]))
            drops += len(report["drops"])
            without_plddt += report["without_plddt"]
            clipped += report["clipped"]
            writer.writerows(report["drops"])
            for source, reasons in report["residues"]:
                residues_left_out.update(reasons)
                words = ", ".join(f"{number} x {reason}" for reason, number in reasons.items())
                writer.writerow((source, RESIDUES_LEFT_OUT + words))
    structures = sum(shard.structures for shard in shards)
    if not structures:
        raise _nothing(plan)
    drops_path = os.path.join(out, DROPS)
    os.replace(temporary, drops_path)
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
    origin: dict = {"paths": sources, "files": plan.files, "fingerprint": plan.fingerprint}
    listed = {"size": os.path.getsize(drops_path), "crc": file_crc(drops_path)}
    Manifest(asdict(recipe), origin, counts, index, listed, made_by, shards).write(out)
    finish(out)


def _names(out: str, shards: list[ShardInfo]) -> Iterator[str]:
    from .arrow import Frame, open_shard

    for number, info in enumerate(shards):
        shard = open_shard(os.path.join(out, SHARDS, shard_name(number)), Frame(*info.frame))
        for row in range(len(shard)):
            yield shard.text("name", row)


def _nothing(plan: Plan) -> ValueError:
    reports = (_read_report(plan.store, part) for part in range(len(plan)))
    drops = [drop for report in reports for drop in report["drops"][:5]][:5]
    return ValueError(
        f"none of {plan.files} files gives a structure for the store, the first:"
        + "".join(f"\n  {file}: {reason}" for file, reason in drops)
    )


def _other_files(shown: str, before: int) -> StoreError:
    return StoreError(
        f"the files are not those that the store `{shown}` was begun with ({before} structure files): some are new, "
        f"gone, changed, or given by another path; give another folder by --out, or --overwrite to make it anew"
    )
