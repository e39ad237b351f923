"""Files of PDB entries: found in a local mirror, or downloaded one by one."""
from __future__ import annotations

import csv
import io
import os
import re
from functools import cache

from tqdm import tqdm

from gearnet_plugin.structures.download import fetch
from gearnet_plugin.structures.manifest import write_atomically

#: Addresses of an entry, tried in this order.
URLS = (
    "https://files.rcsb.org/download/{entry}.cif.gz",
    "https://files.wwpdb.org/pub/pdb/data/structures/divided/mmCIF/{middle}/{entry}.cif.gz",
)
# where the entries of a mirror may lie below the folder given: mmCIF first, which holds every entry in full
ROOTS = [os.path.join(*above, kind) for kind in ("mmCIF", "pdb", "") for above in
         (("",), ("divided",), ("structures", "divided"), ("data", "structures", "divided"))]
# of several files of an entry the first is taken
NAMES = [name + packed for name in ("{entry}.cif", "{entry}.mmcif", "{entry}.bcif", "pdb{entry}.ent", "pdb{entry}.pdb",
                                    "{entry}.pdb", "{entry}.ent") for packed in (".gz", "")]
GONE = re.compile(r"the server answers (404|410)\b")


def find_files(mirror: str, entries: list[str]) -> tuple[list[str], dict[str, str]]:
    """
    Look entries up in a mirror.

    Parameters:
        mirror (str): folder with the files ``1abc.cif.gz``, ``pdb1abc.ent.gz``, ... in it, or divided by the middle of
            their ids (``ab/1abc.cif.gz``), as the archive has them, from any level of its folders on
        entries (list of str): ids, in lower case

    Returns:
        the file of each entry that is there; the reason for each that is not
    """
    @cache
    def listing(folder):
        try:
            return {name.lower(): os.path.join(folder, name) for name in os.listdir(folder)}
        except (FileNotFoundError, NotADirectoryError):
            return {}

    roots = [os.path.join(mirror, root).rstrip(os.sep) for root in ROOTS]
    roots = list(dict.fromkeys(filter(os.path.isdir, roots)))
    files, missing = [], {}
    for entry in entries:
        folders = [os.path.join(root, below) for root in roots for below in (middle(entry), "")]
        names = [name.format(entry=known) for known in _spellings(entry) for name in NAMES]
        file = next((listing(folder)[name] for folder in folders for name in names if name in listing(folder)), None)
        if file is None:
            missing[entry] = (f"no file of it in `{mirror}`, such as {middle(entry)}/{entry}.cif.gz, {entry}.cif.gz or "
                              f"pdb{entry}.ent.gz")
        else:
            files.append(file)
    return files, missing


def download_files(folder: str, entries: list[str], verbose: int = 1,
                   download: bool = True) -> tuple[list[str], dict[str, str]]:
    """
    Download entries as mmCIF into ``<folder>/<middle of the id>/<id>.cif.gz``; what is there is taken.

    Parameters:
        folder (str): where to put them
        entries (list of str): ids, in lower case
        verbose (int, optional): 0 for no progress bar
        download (bool, optional): False to use no network

    Returns:
        the file of each entry; the reason for each that no server has

    Raises:
        FileNotFoundError: there is no network, or downloads are switched off; says what to put where
    """
    files, missing = [], {}
    targets = {entry: os.path.join(folder, middle(entry), f"{entry}.cif.gz") for entry in entries}
    absent = [entry for entry in entries if not os.path.exists(targets[entry])]
    for entry in tqdm(entries, "Fetching entries", unit="entry", delay=2, disable=not verbose):
        urls = [url.format(entry=entry, middle=middle(entry)) for url in URLS]
        try:
            files.append(str(fetch(urls, targets[entry], verbose=0, download=download)))
        except FileNotFoundError as error:
            lines = [line for line in str(error).splitlines() if line.startswith("  ")]
            if not lines or not all(map(GONE.search, lines)):
                more = f"\n{len(absent)} of {len(entries)} entries are not there yet." if len(absent) > 1 else ""
                raise FileNotFoundError(f"{error}{more}") from None
            missing[entry] = "no such entry on the servers: " + "; ".join(map(str.strip, lines))
    return files, missing


def middle(entry: str) -> str:
    """The two letters by which the archive divides its entries."""
    return entry[-3:-1]


# === what was not there, kept beside the store: a second look would ask the network again ===


def write_missing(path: str, missing: dict[str, str]) -> None:
    """Write ids and reasons as a TSV file; none if there are none."""
    if not missing:
        if os.path.exists(path):
            os.remove(path)
        return
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(("entry", "reason"))
    writer.writerows(missing.items())
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write_atomically(path, text.getvalue())


def read_missing(path: str) -> dict[str, str]:
    """What :func:`write_missing` wrote."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return dict(list(csv.reader(file, delimiter="\t"))[1:])
    except FileNotFoundError:
        return {}


def _spellings(entry: str) -> list[str]:
    return [entry] if entry.startswith("pdb_") else [entry, f"pdb_0000{entry}"]
