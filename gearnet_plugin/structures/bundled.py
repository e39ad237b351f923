"""
Real structures that come with the package: single protein chains of wwPDB entries with their structural
class as label. ``data/README.md`` tells where they come from, ``script/bundle_structures.py`` makes them.
"""

import csv
from importlib import resources
from pathlib import Path


def bundled_path():
    """
    Folder of the bundled structures. It also holds their table, ``chains.tsv``.

    Returns:
        Path
    """
    return Path(str(resources.files(__package__) / "data"))


def bundled_table():
    """
    Rows of ``chains.tsv``, sorted by file name.

    A row tells ``structure`` (file name), ``chain`` (author chain id), ``split``, ``class`` (alpha, beta or
    mixed), ``helix`` and ``strand`` (fractions of the residues), ``entry``, ``length``, ``method``,
    ``resolution`` (in Å) and ``origin``. Numbers are converted; ``method`` is an empty string and
    ``resolution`` None where the source tells none.

    Returns:
        list of dict
    """
    with open(bundled_path() / "chains.tsv", newline="", encoding="utf-8") as fin:
        rows = list(csv.DictReader(fin, delimiter="\t"))
    for row in rows:
        row["length"] = int(row["length"])
        row["helix"], row["strand"] = float(row["helix"]), float(row["strand"])
        row["resolution"] = float(row["resolution"]) if row["resolution"] else None
    return rows


def bundled_structures():
    """
    Files of the bundled structures, one chain each, in the order of :func:`bundled_table`.

    Returns:
        list of Path
    """
    return [bundled_path() / row["structure"] for row in bundled_table()]
