"""
``manifest.json`` of a store: what the store holds, how it was made, and what its files must be like.

It is written last and by rename, so a folder with a manifest is a whole store.
"""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import dataclass

FORMAT = "gearnet-plugin structure store"
#: Version of the layout of files and columns. A reader takes its own and older ones.
SCHEMA = 1

MANIFEST = "manifest.json"
INDEX = "index.arrow"
SHARDS = "shards"
DROPS = "drops.tsv"
#: Folder of a store that is being written; gone when it is whole.
PLAN = "plan"


class StoreError(ValueError):
    """A store that cannot be read, in whole or in part. The message says why and what to do."""


class StoreBusy(StoreError):
    """Another process is making the store."""


@dataclass(frozen=True)
class ShardInfo:
    """A line of the manifest: how much a shard holds and what its file must be like (:class:`~.arrow.Frame`)."""

    structures: int
    residues: int
    size: int
    start: int
    stop: int
    frame_crc: int
    crc: int

    @property
    def frame(self) -> tuple[int, int, int, int, int]:
        """size, start, stop, frame_crc, crc."""
        return self.size, self.start, self.stop, self.frame_crc, self.crc


@dataclass(frozen=True)
class Manifest:
    """
    What ``manifest.json`` says.

    Parameters:
        recipe (dict): the options that decided what is in the store
        sources (dict): paths as given, number of files, their fingerprint
        counts (dict): structures, residues, files dropped, residues left out by reason, ...
        index (dict): size and CRC-32 of the index
        shards (list of ShardInfo): by number
    """

    recipe: dict
    sources: dict
    counts: dict
    index: dict
    shards: list[ShardInfo]

    def write(self, store: str | os.PathLike) -> None:
        """Write it into a store, by rename."""
        content = {
            "format": FORMAT,
            "schema": SCHEMA,
            "recipe": self.recipe,
            "sources": self.sources,
            "counts": self.counts,
            "index": self.index,
        }
        lines = [json.dumps(list(vars(shard).values())) for shard in self.shards]
        content["shards"] = [list(vars(shard).values()) for shard in self.shards]
        content["crc"] = _crc(content)
        # one line a shard: indented by json, each number would have a line
        text = json.dumps({**content, "shards": "?"}, indent=1)
        text = text.replace('"?"', "[\n  " + ",\n  ".join(lines) + "\n ]" if lines else "[]") + "\n"
        write_atomically(os.path.join(store, MANIFEST), text)


def read_manifest(store: str | os.PathLike) -> Manifest:
    """
    Read the manifest of a store.

    Raises:
        FileNotFoundError: there is no such folder
        StoreError: the folder is no store, still being written, written by a newer version, or its manifest is damaged
    """
    store = os.fspath(store)
    path = os.path.join(store, MANIFEST)
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (FileNotFoundError, NotADirectoryError):
        raise _no_manifest(store) from None
    except UnicodeDecodeError:
        text = ""
    damaged = (
        f"store `{store}`: {MANIFEST} is cut off or damaged; bring it back from a copy, or make the store anew with "
        f"`gearnet prepare`"
    )
    try:
        content = json.loads(text)
        form, schema = content.pop("format"), content.pop("schema")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise StoreError(damaged) from None
    if form != FORMAT:
        raise StoreError(f"`{store}` is no store: its {MANIFEST} is of another kind (`{form}`)")
    if isinstance(schema, int) and schema > SCHEMA:
        raise StoreError(
            f"store `{store}` was written by a newer version of gearnet-plugin (schema {schema}; this version "
            f"reads up to {SCHEMA}): update gearnet-plugin, or make the store anew with `gearnet prepare`"
        )
    try:
        crc = content.pop("crc")
        if crc != _crc({"format": form, "schema": schema, **content}):
            raise StoreError(damaged)
        return Manifest(
            content["recipe"],
            content["sources"],
            content["counts"],
            content["index"],
            [ShardInfo(*numbers) for numbers in content["shards"]],
        )
    except (KeyError, TypeError):
        raise StoreError(damaged) from None


def is_store(path) -> bool:
    """Whether a path is the folder of a store, whole or being written."""
    return isinstance(path, (str, os.PathLike)) and (
        os.path.isfile(os.path.join(path, MANIFEST))
        and os.path.isdir(os.path.join(path, SHARDS))
        or os.path.isdir(os.path.join(path, PLAN))
        and os.path.isfile(os.path.join(path, PLAN, "recipe.json"))
    )


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"{number:06d}.arrow"


def write_atomically(path: str, text: str) -> None:
    """Write a text file so that it is there whole or not at all, also after a power cut."""
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.remove(temporary)
        raise


def _no_manifest(store: str) -> Exception:
    if not os.path.isdir(store):
        if os.path.exists(store):
            return StoreError(f"`{store}` is no store: it is a file; a store is a folder that `gearnet prepare` makes")
        return FileNotFoundError(
            f"no store at `{store}`, looked from `{os.getcwd()}`; make one with `gearnet prepare SOURCE --out {store}`"
        )
    if os.path.isdir(os.path.join(store, PLAN)):
        return StoreError(
            f"store `{store}` is being written, or was interrupted: wait for `gearnet prepare`, or run the "
            f"same command again, which goes on where it stopped"
        )
    if os.path.isdir(os.path.join(store, SHARDS)):
        return StoreError(
            f"store `{store}` has lost its {MANIFEST}; bring it back from a copy, or make the store anew with "
            f"`gearnet prepare --overwrite`"
        )
    return StoreError(
        f"`{store}` is no store: it has no {MANIFEST}; a store is made with `gearnet prepare SOURCE --out STORE`"
    )


def _crc(content: dict) -> int:
    """CRC-32 of what a manifest says, whatever its spaces."""
    return zlib.crc32(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())
