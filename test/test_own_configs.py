"""config/downstream/own: one's own table trains by one command, whatever its labels and splits."""
import csv
import json
import os
import re

import pytest
import torch
import yaml

from conftest import ROOT
from gearnet_plugin.engine.command import main
from gearnet_plugin.structures.bundled import bundled_path, bundled_table
from gearnet_plugin.structures.prepare import Recipe, prepare

OWN = os.path.join(ROOT, "config", "downstream", "own")
# a size that two cores finish in a second
SMALL = ["task.model.hidden_dims=[8]", "task.num_mlp_layer=2", "train.num_epoch=1"]
COLUMNS = {"classification": "fold", "multilabel": "terms", "regression": "melting"}
METRICS = {
    "classification": ["accuracy [fold]", "matthews correlation coefficient [fold]"],
    "multilabel": ["auprc@micro", "f1_max"],
    "regression": ["mean absolute error [melting]", "root mean squared error [melting]", "pearsonr [melting]"],
}
BEST = {"classification": "accuracy [fold]", "multilabel": "f1_max", "regression": "mean absolute error [melting]"}


def write_table(path, split=True, count=24):
    """A table of bundled structures with labels of every kind, each with an empty cell."""
    # the shortest, for speed
    rows = sorted(bundled_table(), key=lambda row: row["length"])[:count]
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["structure", "chain", *(["split"] if split else []), *COLUMNS.values()])
        for i, row in enumerate(rows):
            terms = [row["class"]] * (row["class"] != "mixed") + ["helical"] * (row["helix"] > 0.3)
            place = ["train", "train", "valid", "test"][i % 4]
            labels = [row["class"], ";".join(terms), f"{100 * row['helix']:.1f}"]
            writer.writerow([os.path.join(bundled_path(), row["structure"]), row["chain"], *([place] if split else []),
                             *(labels if i else ["", "", ""])])
    return os.fspath(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Tables with and without a column of splits, and a store of their structures."""
    folder = tmp_path_factory.mktemp("own")
    write_table(folder / "split.csv")
    write_table(folder / "plain.csv", split=False)
    prepare([bundled_path()], folder / "my.store", Recipe(), workers=1, verbose=0)
    return folder


def go(kind, table, out, *arguments, sets=()):
    """Train by the command line; returns the exit code."""
    sets = [word for assignment in (*SMALL, *sets) for word in ("--set", assignment)]
    return main(["-c", os.path.join(OWN, kind + ".yaml"), "--table", os.fspath(table), "--target", COLUMNS[kind],
                 "--out", os.fspath(out), *map(str, arguments), *sets])


def lines(out, kind, scope="epoch"):
    with open(os.path.join(out, "metrics.jsonl")) as file:
        found = [json.loads(line) for line in file]
    return [line for line in found if line["kind"] == kind and line["scope"] == scope]


def log(out):
    with open(os.path.join(out, "log.txt")) as file:
        return file.read()


@pytest.mark.parametrize("kind", list(COLUMNS))
def test_a_table_with_splits_trains(kind, folder, tmp_path):
    out = tmp_path / "out"
    assert go(kind, folder / "split.csv", out, sets=["train.num_epoch=2"]) == 0
    valid, (test,) = lines(out, "valid"), lines(out, "test")
    assert [line["epoch"] for line in valid] == [1, 2]
    assert [name for name in test["values"] if "loss" not in name] == METRICS[kind]
    assert re.search(r"best epoch is \d with " + re.escape(BEST[kind]), log(out))
    # lower is better for errors, and the schedule follows the same
    better = min if kind == "regression" else max
    values = [line["values"][BEST[kind]] for line in valid]
    assert test["epoch"] == values.index(better(values)) + 1
    assert "the learning rate would fall while it improves" not in log(out)
    assert "StructureFolder: 12 for training, 6 for validation, 6 for test" in log(out)


@pytest.mark.parametrize("kind, split", [("multilabel", "cluster"), ("regression", "random")])
def test_a_table_without_splits_trains(kind, split, folder, tmp_path):
    out = tmp_path / "out"
    fractions = "dataset.split_fractions=[0.6, 0.2, 0.2]"
    assert go(kind, folder / "plain.csv", out, "--split", split, sets=[fractions]) == 0
    sizes = re.search(rf"split `{split}`, seed 0: 24 structures.*; train (\d+), valid (\d+), test (\d+)", log(out))
    assert sum(map(int, sizes.groups())) == 24 and len(lines(out, "test")) == 1


def test_a_table_without_splits_says_what_to_do(folder, tmp_path, capsys):
    assert go("classification", folder / "plain.csv", tmp_path / "out") == 1
    assert "there is none; give the dataset a validation split" in capsys.readouterr().err


def test_a_store_takes_the_place_of_the_files(folder, tmp_path):
    """The same numbers, though the table names files that are not there."""
    text = (folder / "split.csv").read_text().replace(os.fspath(bundled_path()), "/gone")
    (tmp_path / "gone.csv").write_text(text)
    assert go("classification", folder / "split.csv", tmp_path / "files") == 0
    assert go("classification", tmp_path / "gone.csv", tmp_path / "store", "--store", folder / "my.store") == 0
    files, store = (lines(tmp_path / name, "test")[0]["values"] for name in ("files", "store"))
    assert files == store


def test_a_pretrained_encoder_is_taken(folder, tmp_path):
    """Weights of a run become those of the next; --ckpt null is from scratch."""
    for seed, ckpt in enumerate(("null", tmp_path / "0")):
        assert go("regression", folder / "split.csv", tmp_path / str(seed), "--ckpt", ckpt, "--seed", seed,
                  sets=["optimizer.lr=0"]) == 0
    assert "encoder weights from %s" % (tmp_path / "0") in log(tmp_path / "1")
    first, following = (torch.load(tmp_path / name / "encoder.pth", weights_only=True) for name in "01")
    assert all(torch.equal(first[key], following[key]) for key in first if "running" not in key and "num_b" not in key)


def test_the_kind_of_labels_is_that_of_the_file(folder, tmp_path, capsys):
    """Names in a regression are told with row and column, though they would do as classes."""
    assert main(["-c", os.path.join(OWN, "regression.yaml"), "--table", os.fspath(folder / "split.csv"), "--target",
                 "fold", "--out", os.fspath(tmp_path / "out")]) == 1
    assert re.search(r"split.csv, row 3, column `fold`: `\w+` is not a finite number", capsys.readouterr().err)


@pytest.mark.parametrize("kind", list(COLUMNS))
def test_encoder_and_graph_are_those_of_pretraining(kind):
    """So that what the paper's configuration pretrains fits by --ckpt."""
    texts = []
    for path in (os.path.join(OWN, kind + ".yaml"), os.path.join(ROOT, "config", "pretrain", "mc_gearnet_edge.yaml")):
        with open(path, encoding="utf-8") as file:
            texts.append(yaml.safe_load(re.sub(r"\{\{.*?\}\}", "null", file.read())))
    ours, pretraining = texts
    for key in ("model", "graph_construction_model"):
        assert ours["task"][key] == pretraining["task"][key]
    assert ours["dataset"]["transform"] == pretraining["dataset"]["transform"]
