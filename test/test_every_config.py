"""Every file of config/: what it would train, and two steps of it."""

import glob
import json
import os

import pytest
import torch

from conftest import ROOT
from gearnet_plugin.engine import heads
from gearnet_plugin.engine.command import main
from gearnet_plugin.engine.config import parse, read_text, render, variables

CONFIGS = sorted(glob.glob(os.path.join(ROOT, "config", "**", "*.yaml"), recursive=True))


def name(path):
    return os.path.relpath(path, ROOT)


def what(path):
    """What makes a file run through other code than another: its task, models and criterion."""
    text = read_text(path)
    config = parse(render(text, dict.fromkeys(variables(text))))
    task, found = config["task"], []

    def classes(value, key=None):
        if isinstance(value, dict):
            found.append((key, value.get("class")) if key in ("model", "sequence_model", "task") else None)
            for child, inner in value.items():
                classes(inner, child)

    classes(task, "task")
    return tuple(sorted(filter(None, found), key=str)), task.get("criterion")


def one_of_each():
    """The files with a mark: the first of each kind is run always, the others by ``-m slow``."""
    seen, found = set(), []
    for path in CONFIGS:
        kind = what(path)
        found.append(pytest.param(path, id=name(path), marks=[pytest.mark.slow] if kind in seen else []))
        seen.add(kind)
    return found


def test_there_are_configurations():
    """Pretraining, each benchmark, one's own labels, the quickstart."""
    folders = {os.path.relpath(os.path.dirname(path), os.path.join(ROOT, "config")) for path in CONFIGS}
    assert {"pretrain", "quickstart", "downstream/own", "downstream/EC", "downstream/Fold"} <= folders


@pytest.mark.parametrize("path", CONFIGS, ids=name)
def test_every_configuration_dry_runs(path, capsys):
    """Nothing of it is unknown; what it needs is named, and its encoder counted but where that is ESM's."""
    assert main(["-c", path, "--dry-run"]) == 0
    table = capsys.readouterr().out
    assert ("encoder " in table and "parameters" in table) != ("weights of the model -> ESM-1b needs " in table)
    assert "missing " in table


@pytest.mark.parametrize("path", one_of_each())
def test_every_configuration_smokes(path, tmp_path, capsys):
    """Two steps, evaluated where it has labels, with files as of a run; heads keep their size."""
    out = tmp_path / "out"
    assert main(["-c", path, "--smoke", "--out", str(out)]) == 0, capsys.readouterr().err
    with open(out / "metrics.jsonl") as file:
        lines = [json.loads(line) for line in file]
    assert len([line for line in lines if (line["kind"], line["scope"]) == ("train", "batch")]) == 2
    assert (out / "encoder.pth").exists() and (out / "results.json").exists()
    if "downstream" in path:
        assert [line["kind"] for line in lines][-1] == "test"
    outputs = {"EC": 538, "GO-MF": 489, "GO-BP": 1943, "GO-CC": 320, "Fold": 1195, "Reaction": 384}
    expected = outputs.get(os.path.basename(os.path.dirname(path)))
    if expected:
        assert heads.size(torch.load(out / "checkpoint-best.pth", weights_only=True)["model"]) == expected
