"""
``manifest.json`` of a store: what the store holds, how it was made, and what its files must be like.

It is written last and by rename, so a folder with a manifest is a whole store.
"""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import dataclass
from typing import Any

FORMAT = "gearnet-plugin structure store"
#: Version of the layout of files and columns. A reader takes its own and older ones.
SCHEMA = 1

MANIFEST = "manifest.json"
INDEX = "index.arrow"
SHARDS = "shards"
DROPS = "drops.tsv"
#: Folder of a store that is being written, gone when it is whole, and the file in it that says what of.
PLAN = "plan"
BEGUN = "begun.json"


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
        index (dict): what the index must be like
        drops (dict): size and CRC-32 of the report of what was left out
        made_by (dict): versions of this package and of the reader
        shards (list of ShardInfo): by number
    """

    recipe: dict
    sources: dict
    counts: dict
    index: dict
    drops: dict
    made_by: dict
    shards: list[ShardInfo]

    def write(self, store: str | os.PathLike) -> None:
        """Write it into a store, by rename."""
        content: dict[str, Any] = {"format": FORMAT, "schema": SCHEMA}
        content |= {key: value for key, value in vars(self).items() if key != "shards"}
        content["shards"] = [list(vars(shard).values()) for shard in self.shards]
        content["crc"] = _crc(content)
        # one line a shard: indented by json, each number would have a line
        head = json.dumps({key: value for key, value in content.items() if key != "shards"}, indent=1)
        lines = ",\n  ".join(json.dumps(shard) for shard in content["shards"])
        text = f'{head.removesuffix("}").rstrip()},\n "shards": [\n  {lines}\n ]\n}}\n'
        write_atomically(os.path.join(store, MANIFEST), text, os.path.join(store, PLAN))


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
        form, schema = content.pop("format", None), content.pop("schema", None)
    except (ValueError, TypeError, AttributeError):
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
        shards = [ShardInfo(*numbers) for numbers in content.pop("shards")]
        return Manifest(**content, shards=shards)
    except (KeyError, TypeError):
        raise StoreError(damaged) from None


def is_store(path) -> bool:
    """Whether a path is the folder of a store, whole or being written."""
    if not isinstance(path, (str, os.PathLike)):
        return False
    for name in (MANIFEST, os.path.join(PLAN, BEGUN)):
        try:
            with open(os.path.join(path, name), encoding="utf-8") as file:
                # a manifest may be long; its first keys are those of the format
                if f'"format": "{FORMAT}"' in file.read(200):
                    return True
        except (OSError, UnicodeDecodeError):
            continue
    return False


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"{number:06d}.arrow"


def write_atomically(path: str, text: str, folder: str | None = None) -> None:
    """
    Write a text file so that it is there whole or not at all, also after a power cut.

    Parameters:
        path (str): file
        text (str): what to write
        folder (str, optional): where to write it first, by default beside ``path``; on the same file system
    """
    name = f"{os.path.basename(path)}.{os.getpid()}.tmp"
    temporary = os.path.join(folder or os.path.dirname(path), name)
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


def read_json(path: str) -> dict | None:
    """What a JSON file says; None if it is not there or no JSON, as after a crash of the file system."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


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
