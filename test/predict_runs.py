"""What the tests of predictions share: finished runs of every kind on bundled structures, their tables and files."""

import csv
import os
from unittest import mock

from conftest import ROOT
from gearnet_plugin.engine import RunOptions, predictor, run, validated
from gearnet_plugin.engine.config import parse, read_text, render
from gearnet_plugin.structures import read_structure
from gearnet_plugin.structures.bundled import bundled_path
from test_own_configs import COLUMNS, write_table

OWN = os.path.join(ROOT, "config", "downstream", "own")
SMALL = {"hidden_dims": [8], "edge_input_dim": None, "num_angle_bin": None}
CONFIGS = {"multilabel": "multilabel", "class": "classification", "number": "regression"}


KINDS = (*CONFIGS, "residue", "binary")


def make(folder, kinds=KINDS):
    """
    Finished runs.

    Returns:
        (dict, str): folder by kind, and the table of their structures: twelve for training, six each to validate and
        test
    """
    table = write_table(folder / "table.csv")
    configs = {kind: lambda kind=kind: config(kind, table) for kind in CONFIGS}
    configs["residue"] = lambda: residue_config(table, sites(folder / "sites.csv", table))
    configs["binary"] = lambda: binary_config(folder / "binary.csv", table)
    # six validation proteins stand for sixty
    with mock.patch.object(validated, "LEAST_CALIBRATED", 4), mock.patch.object(predictor, "LEAST_DISTANCES", 4):
        return {kind: _go(configs[kind](), folder / kind) for kind in kinds}, table


def config(kind, table):
    """A configuration for one's own table, small."""
    values = {"table": table, "target": COLUMNS[CONFIGS[kind]], "gpus": None}
    made = parse(render(read_text(os.path.join(OWN, CONFIGS[kind] + ".yaml")), values))
    made["task"]["model"].update(SMALL)
    made["task"]["num_mlp_layer"] = 2
    made["train"]["num_epoch"] = 2
    made["optimizer"]["lr"] = 0.01
    return dict(made, seed=1)


def residue_config(table, labels):
    """Two labels of residues, of a class each."""
    made = config("multilabel", table)
    made["dataset"].update(target=None, kind=None, residue_labels=labels, residue_target=["burial"])
    made["task"].update(criterion="ce", level="residue", task=["burial"], metric=["acc"])
    made["metric"] = "accuracy"
    return made


def binary_config(path, table):
    """Yes or no."""
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["structure", "chain", "split", "helical"])
        for row in rows:
            writer.writerow([row["structure"], row["chain"], row["split"], int("helical" in row["terms"])])
    made = config("class", os.fspath(path))
    made["dataset"].update(target="helical")
    made["task"].update(criterion="bce", task=["helical"], metric=["auroc"])
    return dict(made, metric="auroc", scheduler=None)


def sites(path, table):
    """A table of residues: whether they are hydrophobic, of every second one."""
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["structure", "chain", "residue", "burial"])
        for row in rows:
            structure = read_structure(os.path.join(bundled_path(), row["structure"]))
            for i in range(0, len(structure), 2):
                number = f"{structure.residue_numbers[i]}{structure.insertion_codes[i]}"
                inside = "in" if structure.residue_names[i] in ("ILE", "LEU", "VAL", "PHE") else "out"
                writer.writerow([row["structure"], structure.chain_ids[i], number, inside])
    return os.fspath(path)


def _go(config, out):
    return run(config, RunOptions(out=str(out))).folder


def structures(table, split):
    """Files of a split of a table."""
    with open(table, newline="") as file:
        return [row["structure"] for row in csv.DictReader(file) if row["split"] == split]
