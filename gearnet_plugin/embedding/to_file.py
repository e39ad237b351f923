"""Embeddings of any number of structures written to a file, in memory that does not grow with them."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import torch

from gearnet_plugin.engine.checkpoint import whole_file
from gearnet_plugin.structures.disk import check_room, explain_full
from gearnet_plugin.structures.locks import locked
from torchdrug import core

from . import staging
from .embedded import nothing_embedded
from .encoder import LEVELS, PER, LoadedEncoder, check_choice
from .items import Items, find_items, without_file
from .layout import check_ending, files_of, write_table
from .opening import Position
from .progress import Tally
from .staging import Staging

#: Version of what is in the folder of embeddings in the making.
SCHEMA = 1


@dataclass(frozen=True)
class Written:
    """
    What :func:`embed_to_file` did.

    Parameters:
        files (list of str): files written
        report (str, optional): the list of what gave nothing, file and reason
        tally (Tally): numbers
        done_before (int): files and structures done by earlier calls that were interrupted
    """

    files: list[str]
    report: str | None
    tally: Tally
    done_before: int


class EmbeddingInterrupted(KeyboardInterrupt):
    """Ctrl-C; the message says what is done and how to go on."""


def embed_to_file(
    model: LoadedEncoder,
    structures,
    out: str | os.PathLike,
    level: str = "protein",
    per: str = "chain",
    chains: Sequence[str] = (),
    batch_residues: int | None = None,
    device=None,
    workers: int | None = 1,
    force: bool = False,
    verbose: int = 1,
) -> Written:
    """
    Embed structures and write a file of the layout in :mod:`.layout`.

    What is done is kept in the folder ``<out>.part`` until all is, and then takes its room a second time while the file
    is written. Interrupted or killed, the same call goes on from there, and ends with the same file as if it had not
    been. What gives nothing is listed in ``<out>.drops.tsv``.

    Parameters:
        model (LoadedEncoder): encoder
        structures: see :meth:`LoadedEncoder.embed`
        out (str or Path): file ending in ``.npz``, ``.h5``, ``.parquet`` or ``.pt``
        level, per, chains, batch_residues, device, verbose: see :meth:`LoadedEncoder.embed`
        workers (int, optional): see :meth:`LoadedEncoder.stream`
        force (bool, optional): replace a file that is there, and begin anew where the folder of an interrupted call is
            of other options or structures

    Raises:
        FileExistsError: the output exists
        FileNotFoundError: a single source does not exist, or the folder of the output
        ValueError: a wrong argument, no structure at all, or an interrupted call had other options or structures
        OSError: the output cannot be written, found before computing; or the disk is full, then what is done stays
        EmbeddingInterrupted: Ctrl-C
    """
    check_choice("per", per, PER)
    out = check_output(out, level, force)
    items = without_file(find_items(structures, per), out)
    if device is not None:
        model.to(device)
    settings = {"schema": SCHEMA, "model": fingerprint(model), "level": level, "per": per, "chains": list(chains)}
    stage = Staging(f"{out}.part", settings, (model.output_dim, model.residue_dim), level)
    with staged(model, stage, items, batch_residues, per, chains, workers, force, verbose) as before:
        return finish(model, stage, out, per, chains, before)


@contextmanager
def staged(
    model: LoadedEncoder, stage: Staging, items: Items, batch_residues, per, chains, workers, force, verbose
) -> Iterator[int]:
    """
    Embed all items into a folder, and keep it for the block. Arguments as of :func:`embed_to_file`.

    Yields:
        int: files and structures done by earlier calls
    """
    out = stage.folder.removesuffix(".part")
    with locked(f"{stage.folder}.lock", lambda: _busy(out)):
        _begin(stage, items, force)
        before = stage.state.position.item
        try:
            _compute(model, stage, items, batch_residues, per, chains, workers, verbose)
            yield before
        except KeyboardInterrupt:
            raise EmbeddingInterrupted(_so_far(stage, len(items))) from None
        except OSError as error:
            raise explain_full(error, f"embeddings; {stage.state.position.item:,} structures are done") from None
        finally:
            stage.close()
            if stage.state.position == Position():
                staging.remove(stage.folder)


def _so_far(stage: Staging, total: int) -> str:
    done = stage.state.position
    if done == Position():
        return "interrupted before anything was done"
    return (
        f"interrupted: {done.item:,} of {total:,} structures are done and kept in `{stage.folder}`; the same command "
        f"goes on from there, or remove that folder"
    )


def check_output(out: str | os.PathLike, level: str, force: bool = False) -> str:
    """
    Whether embeddings can be written, before anything is computed.

    Returns:
        str: the path from the root

    Raises:
        ValueError, FileExistsError, FileNotFoundError, OSError: as :func:`embed_to_file`
    """
    check_choice("level", level, LEVELS)
    shown, out = os.fspath(out), os.path.abspath(os.path.expanduser(os.fspath(out)))
    check_ending(shown)
    check_place(out, files_of(out, level), force)
    return out


def check_place(out: str, files: Sequence[str], force: bool) -> None:
    """
    Whether files can be written to the folder of one of them, before anything is computed.

    Raises:
        FileExistsError, FileNotFoundError, OSError: as :func:`embed_to_file`
    """
    folder = os.path.dirname(out)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"there is no folder `{folder}` for `{os.path.basename(out)}`; make it first")
    for file in (*files, f"{out}.drops.tsv"):
        if os.path.isdir(file):
            raise FileExistsError(f"`{file}` is a folder; choose another output")
        if file in files and os.path.lexists(file) and not force:
            raise FileExistsError(f"`{file}` exists; --force (force=True) replaces it, or choose another output")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(
            error.errno, f"nothing can be written to the folder `{folder}` ({error.strerror}); choose another output"
        ) from None


def fingerprint(model: LoadedEncoder) -> str:
    """What tells a model from others: its weights, and the arguments of encoder and graph construction."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (model.encoder, model.graph_construction_model):
        config = part.config_dict() if isinstance(part, core.Configurable) else type(part).__name__
        name_only = json.dumps(config, default=lambda value: getattr(value, "__name__", type(value).__name__))
        digest.update(name_only.encode())
    for name, value in sorted(model.encoder.state_dict().items()):
        digest.update(name.encode())
        if hasattr(value, "detach"):
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _busy(out: str):
    raise ValueError(f"another process is writing `{out}`; wait for it, or choose another output")


def _begin(stage: Staging, items: Items, force: bool) -> Staging:
    """Begin, or go on after an interrupted call of the same options and structures."""
    progress = staging.read_progress(stage.folder)
    if progress is not None:
        try:
            _check_settings(stage, progress["settings"])
            stage.resume(progress, items)
            return stage
        except ValueError as error:
            if not force:
                raise ValueError(f"{error}; --force (force=True) begins anew, or choose another output") from None
            stage.close()
    staging.remove(stage.folder)
    stage.begin()
    return stage


def _check_settings(stage: Staging, settings: dict) -> None:
    different = [name for name, value in stage.settings.items() if settings.get(name) != value]
    if not different:
        return
    words = [
        "another model" if name == "model" else f"{name} {settings.get(name)} instead of {stage.settings[name]}"
        for name in different
    ]
    raise ValueError(f"`{stage.folder}` holds what an interrupted call has done with {', '.join(words)}")


def _compute(model, stage, items, batch_residues, per, chains, workers, verbose) -> None:
    """Embed what is not done yet."""
    start = stage.state.position
    batches = model.stream(items, batch_residues, None, per, chains, verbose, start, workers)
    clock = time.monotonic()
    try:
        for batch in batches:
            now = time.monotonic()
            stage.append(batch, items, now - clock)
            clock = now
    except BaseException:
        # an error of the disk here must not hide what ended the computation
        with suppress(OSError):
            stage.commit()
        raise
    finally:
        batches.close()
    stage.commit()


def finish(model, stage: Staging, out: str, per: str, chains, before: int, write=None) -> Written:
    """
    Make the output of what was computed, and remove the folder.

    Parameters:
        write (Callable, optional): path, table -> files that were written; by default the embeddings
    """
    tally = stage.state.tally
    drops = stage.drops()
    report = f"{out}.drops.tsv"
    if drops:
        write_drops(report, drops)
    else:
        with suppress(FileNotFoundError):
            os.remove(report)
    if not tally.structures:
        stage.close()
        staging.remove(stage.folder)
        error = nothing_embedded(drops, [tuple(held) for held in tally.held], chains)
        raise ValueError(f"{error}\nAll reasons are in {report}")
    info = model.about(per, chains, {})
    table = stage.table(info)
    if write is None:
        check_room(os.path.dirname(out), table.size, f"`{out}`")
    files = (write or write_table)(out, table)
    stage.close()
    staging.remove(stage.folder)
    return Written(files, report if drops else None, tally, before)


def write_drops(path: str, drops: Sequence[tuple[str, str]]) -> None:
    """Write a report of what was left out: a TSV file with the columns file and reason."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(("file", "reason"))
    writer.writerows(drops)
    with whole_file(path) as file:
        file.write(text.getvalue().encode("utf-8", "surrogateescape"))
