"""
The folder of published weights: the one that ``GEARNET_PLUGIN_WEIGHTS`` names, else ``gearnet_plugin/weights`` of the
user's cache. Files are looked for and downloaded there.
"""

from __future__ import annotations

import os
from pathlib import Path

from gearnet_plugin.structures.download import fetch

from . import published

FOLDER = "GEARNET_PLUGIN_WEIGHTS"


def folder() -> Path:
    """Where files of weights are looked for and downloaded to."""
    if os.environ.get(FOLDER):
        return Path(os.path.abspath(os.path.expanduser(os.environ[FOLDER])))
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    return Path(os.path.abspath(os.path.expanduser(cache))) / "gearnet_plugin" / "weights"


def weights_file(row: published.PublishedEncoder, download: bool = True, verbose: int = 1) -> Path:
    """
    The file of a published encoder, downloaded if it is not there.

    A file that is there is taken as it is: it may be a copy that somebody saved anew. A download is verified where a
    checksum is known.

    Parameters:
        row (PublishedEncoder): from :func:`published.find`
        download (bool, optional): False to use no network
        verbose (int, optional): 0 for no progress bar

    Raises:
        FileNotFoundError: it is neither there nor to be had; the message says what to put where
        ValueError: what came is not the file
        OSError: no room, or no permission to write
    """
    target = folder() / row.file
    if target.is_file() and target.stat().st_size:
        return target
    what = f"the published weights `{row.name}` ({row.about}) are not here"
    if row.url is None:
        raise FileNotFoundError(
            f"{what}, and the name of their file is not known: look for it at {row.page}, and put it at `{target}` "
            f"({FOLDER} names another folder), or give its path"
        )
    try:
        return fetch(row.url, target, row.size, md5=row.md5, verbose=verbose, download=download)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{what} ({FOLDER} names another folder). {_upper(str(error))}") from None


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def resolve(path: str, download: bool = True) -> str:
    """
    Return the file of weights that a published name stands for; a path, or what is no such name, as it is.

    What exists under a path wins over a name.
    """
    row = None if os.path.lexists(os.path.expanduser(path)) else published.find(path)
    return path if row is None else os.fspath(weights_file(row, download))
