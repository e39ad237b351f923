"""Read what a run left in its folder: metrics, versions, the command."""

import json
import os

import numpy as np


def read_metrics(folder):
    """
    Read ``metrics.jsonl`` of a run folder.

    Returns:
        list of dict: records with ``kind`` (train, valid, test), ``scope`` (batch, epoch), ``epoch``,
        ``step``, ``time`` and ``values``. A last line cut off, as a killed run leaves it, is left out.
    """
    path = os.path.join(folder, "metrics.jsonl")
    if not os.path.isfile(path):
        raise FileNotFoundError(f"`{folder}` is no run folder: it has no metrics.jsonl")
    with open(path, encoding="utf-8") as file:
        lines = file.read().split("\n")
    records = []
    for i, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            if i < len(lines) - 1:
                raise ValueError(f"{path}, line {i + 1}: no valid JSON") from None
    return records


def curve(records, name, kind="train", scope="epoch"):
    """
    One metric over the epochs.

    Parameters:
        records (list of dict): from :func:`read_metrics`
        name (str): name of the metric, such as ``loss``
        kind (str, optional): ``train``, ``valid`` or ``test``
        scope (str, optional): ``epoch`` or ``batch``

    Returns:
        (list of int, list of float): epochs and values; a value that was no finite number is None
    """
    chosen = [r for r in records if (r["kind"], r["scope"]) == (kind, scope) and name in r["values"]]
    return [r["epoch"] for r in chosen], [r["values"][name] for r in chosen]


def last(records, kind="test"):
    """The last record of a kind, or None."""
    return next((r for r in reversed(records) if r["kind"] == kind and r["scope"] == "epoch"), None)


def mean_curve(curves):
    """
    Average several curves where all of them have a value.

    Parameters:
        curves (list of (list, list)): each x and y

    Returns:
        (list, list): x and mean y
    """
    tables = [dict(zip(x, y)) for x, y in curves]
    shared = [x for x in tables[0] if all(table.get(x) is not None for table in tables)] if tables else []
    return shared, [float(np.mean([table[x] for table in tables])) for x in shared]


def read_results(folder):
    """
    Read ``results.json`` of a run folder: metrics of the best epoch and of the test with their intervals, and what
    the labels are called.

    Returns:
        dict or None: None for a run that has not finished
    """
    path = os.path.join(folder, "results.json")
    if not os.path.isfile(path):
        return None
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def read_versions(folder):
    """Read ``versions.json`` of a run folder: what ran on what, and the command."""
    with open(os.path.join(folder, "versions.json"), encoding="utf-8") as file:
        return json.load(file)
