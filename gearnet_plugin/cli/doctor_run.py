"""What is in the folder of a run or in a configuration, in words."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import click
import yaml

from .doctor_recipe import RECIPE, describe_recipe

#: Files by which a folder is known for that of a run.
MARKS = ("versions.json", "metrics.jsonl", "log.txt", "encoder.pth", RECIPE)
SHOWN = 10


def is_run(path: str) -> bool:
    """Whether a folder is that of a run, whole or begun."""
    there = [name for name in MARKS if os.path.isfile(os.path.join(path, name))]
    return bool(there) and (os.path.isfile(os.path.join(path, "config.yaml")) or RECIPE in there)


def runs_below(path: str, depth: int = 3) -> list[str]:
    """Folders of runs below a folder, the newest last."""
    found, level = [], [path]
    for _ in range(depth):
        inner = []
        for folder in level:
            try:
                with os.scandir(folder) as entries:
                    inner += sorted(entry.path for entry in entries if entry.is_dir() and entry.name[0] != ".")
            except OSError:
                continue
        found += [folder for folder in inner if is_run(folder)]
        level = [folder for folder in inner if folder not in found]
    return sorted(found, key=os.path.getmtime)


def examine(path: str, quick: bool = False) -> int:
    """Tell what a run did and what it left; the exit code: 1 if its weights are of no use."""
    for line in describe(path):
        click.echo(line)
    weights = [name for name in ("encoder.pth", "checkpoint-best.pth") if os.path.isfile(os.path.join(path, name))]
    if quick or not weights:
        return 0
    from gearnet_plugin import register

    register()
    from .doctor_weights import examine as examine_weights

    return max(examine_weights(os.path.join(path, name)) for name in weights)


def describe(path: str) -> Iterator[str]:
    """A run in words, from the text files of its folder."""
    config, versions = _yaml(path, "config.yaml"), _json(path, "versions.json")
    yield f"{path}: folder of a run"
    if config:
        task, dataset = config.get("task") or {}, config.get("dataset") or {}
        place = f" at {dataset['path']}" if dataset.get("path") else ""
        yield f"  task {task.get('class')}, data set {dataset.get('class')}{place}"
    if versions:
        parts = [f"{name} {versions[name]}" for name in ("gearnet_plugin", "torch", "python") if versions.get(name)]
        yield f"  started {versions.get('started', 'at an unknown time')} with {', '.join(parts)}"
        command = versions.get("command")
        if command:
            yield f"  command: {' '.join(map(str, command)) if isinstance(command, list) else command}"
    records = read_records(path)
    wanted = ((config or {}).get("train") or {}).get("num_epoch")
    yield from _progress(path, records, wanted)
    recipe = _yaml(path, RECIPE)
    if isinstance(recipe, dict) and isinstance(recipe.get("encoder"), dict):
        yield from (f"  {line}" for line in describe_recipe(recipe))
    yield "  files: " + ", ".join(
        f"{name} ({_size(os.path.join(path, name))})" for name in sorted(os.listdir(path)) if name[0] != "."
    )


def read_records(path: str) -> list[dict]:
    """Lines of ``metrics.jsonl``; one that was cut off, as a killed run leaves it, is left out."""
    records = []
    try:
        with open(os.path.join(path, "metrics.jsonl"), encoding="utf-8") as file:
            for line in file:
                try:
                    records.append(json.loads(line))
                except ValueError:
                    continue
    except FileNotFoundError:
        return []
    return [record for record in records if isinstance(record, dict) and isinstance(record.get("values"), dict)]


def _progress(path: str, records: list[dict], wanted: int | None) -> Iterator[str]:
    """Epochs, the best of them, results on the test set."""
    epochs = [record for record in records if (record.get("kind"), record.get("scope")) == ("train", "epoch")]
    done = epochs[-1]["epoch"] if epochs else 0
    step = f", {records[-1]['step']} updates" if records else ""
    yield f"  {done} of {wanted if wanted is not None else '?'} epochs{step}"
    if len(epochs) > 1:
        yield f"  training loss {_number(epochs[0])} in the first epoch, {_number(epochs[-1])} in the last"
    best = _best(path)
    valid = [record for record in records if (record.get("kind"), record.get("scope")) == ("valid", "epoch")]
    if best:
        yield f"  best epoch {best[0]}: {best[1]} {best[2]}"
    elif valid:
        yield f"  last validation, epoch {valid[-1]['epoch']}: {_values(valid[-1]['values'])}"
    else:
        yield "  never validated"
    results = _json(path, "results.json")
    test = [record for record in records if record.get("kind") == "test"]
    # `{}` where there is no test set
    if isinstance(results, dict) and results.get("test"):
        yield f"  on the test set: {_values(results['test'], results.get('intervals') or {})}"
    elif test:
        yield f"  on the test set: {_values(test[-1]['values'])}"
    else:
        yield "  no test result: the run has not finished, or has no test set"


def _best(path: str) -> tuple[str, str, str] | None:
    """Epoch, metric and value that the log names as the best."""
    try:
        with open(os.path.join(path, "log.txt"), encoding="utf-8", errors="replace") as file:
            found = re.findall(r"best epoch is (\d+) with (.+) (\S+)$", file.read(), re.MULTILINE)
    except FileNotFoundError:
        return None
    return found[-1] if found else None


def _number(record: dict) -> str:
    value = record["values"].get("loss")
    return "not finite" if value is None else f"{value:.4g}"


def _values(values: dict, intervals: dict | None = None) -> str:
    """Metrics as text, with their intervals of confidence where there are any."""
    shown = []
    for name, value in values.items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            interval = (intervals or {}).get(name)
            within = f" ({interval[0]:.4g} to {interval[1]:.4g})" if interval else ""
            shown.append(f"{name} {value:.4g}{within}")
    return ", ".join(shown[:SHOWN]) or "see the file"


def _yaml(path: str, name: str) -> Any:
    try:
        with open(os.path.join(path, name), encoding="utf-8") as file:
            return yaml.safe_load(file)
    except (FileNotFoundError, yaml.YAMLError):
        return None


def _json(path: str, name: str) -> Any:
    try:
        with open(os.path.join(path, name), encoding="utf-8") as file:
            return json.load(file)
    except (FileNotFoundError, ValueError):
        return None


def _size(path: str) -> str:
    if os.path.isdir(path):
        return "folder"
    size = os.path.getsize(path)
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


# === configurations ===


def examine_config(path: str) -> int:
    """Show what a configuration would train and what it lacks, as ``run.py --dry-run`` does; the exit code."""
    from gearnet_plugin.engine.command import main

    return main(["-c", path, "--dry-run"])
