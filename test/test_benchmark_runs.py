"""Pretrain, fine-tune and test by commands, for every benchmark: on bundled structures in the released layout."""

import json
import os

import pytest

from conftest import ROOT
from deepfri_files import write_release
from gearnet_plugin.engine.command import main
from ieconv_files import SHORT, bundled, domain, stem, write_lists

SMALL = ["task.model.hidden_dims=[16,16]", "engine.batch_size=2", "engine.log_interval=1"]
CHAINS, OTHERS = SHORT[:12], SHORT[12:14]
SPLITS = {"train": CHAINS[:6], "valid": CHAINS[6:9], "test": CHAINS[9:]}


def config(*path):
    return os.path.join(ROOT, "config", *path) + ".yaml"


def reaction_name(file):
    return "%s.%s" % tuple(stem(file).split("_"))


def write_fold(folder):
    """Lists of SCOP domains in three folds, and their structures."""
    folds = {file: "a.%d" % (i % 3) for i, file in enumerate(CHAINS + OTHERS)}
    lists = {"class_map": ["a.0\t0", "a.1\t1", "a.2\t2"]}
    parts = {"train": SPLITS["train"], "valid": SPLITS["valid"], "test_fold": SPLITS["test"]}
    for name, files in {**parts, "test_family": OTHERS[:1], "test_superfamily": OTHERS[1:]}.items():
        lists[name] = [f"{domain(file)}\tx\t{folds[file]}" for file in files]
    write_lists(folder, lists)


def write_reaction(folder):
    """Lists of chains with three reactions."""
    names = {"train": "training", "valid": "validation", "test": "testing"}
    write_lists(folder, {
        "unique_functions": ["1.1.1.1", "2.2.2.2", "3.3.3.3"],
        "chain_functions": [f"{reaction_name(file)},{i % 3}" for i, file in enumerate(CHAINS)],
        **{names[split]: [reaction_name(file) for file in files] for split, files in SPLITS.items()},
    })  # fmt: skip


@pytest.fixture(scope="module")
def structures(tmp_path_factory):
    """The bundled chains that the lists name, as a folder."""
    folder = tmp_path_factory.mktemp("chains")
    for file in CHAINS + OTHERS:
        os.symlink(bundled(file), folder / file)
    return str(folder)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory, structures):
    """Runs of multiview contrast by encoder."""
    folder, runs = tmp_path_factory.mktemp("pretrained"), {}
    for name, more in (("mc_gearnet_edge", []), ("mc_gearnet_edge_ieconv", ["task.model.embedding_dim=16"])):
        runs[name] = str(folder / name)
        arguments = ["--set", f"dataset.path={structures}", *SMALL, *more, "train.num_epoch=1", "engine.batch_size=4"]
        assert main(["-c", config("pretrain", name), "--out", runs[name], *arguments]) == 0
    return runs


@pytest.mark.parametrize(
    "task, name, weights",
    [
        ("EC", "gearnet_edge", "mc_gearnet_edge"),
        ("GO-MF", "gearnet_edge_1gpu", "mc_gearnet_edge"),
        ("Fold", "gearnet_edge_ieconv", "mc_gearnet_edge_ieconv"),
        ("Reaction", "gearnet_edge", "mc_gearnet_edge"),
    ],
)
def test_pretrain_fine_tune_test(task, name, weights, structures, pretrained, tmp_path, capfd):
    """The configuration of each benchmark takes the pretrained weights, learns, and its test is in results.json."""
    data = str(tmp_path / "data")
    more = [f"dataset.structures={structures}"]
    if task in ("EC", "GO-MF"):
        release = {"EC": "EnzymeCommission", "GO-MF": "GeneOntology"}[task]
        write_release(os.path.join(data, release), task[:2])
        more = []
    else:
        {"Fold": write_fold, "Reaction": write_reaction}[task](data)
        more += ["task.num_class=3"]
    if "ieconv" in name:
        more += ["task.model.embedding_dim=16"]
    arguments = ["--ckpt", pretrained[weights], "--out", str(tmp_path / "run"), "--set", f"dataset.path={data}"]
    arguments += [*SMALL, *more, "train.num_epoch=2"]
    code = main(["-c", config("downstream", task, name), *arguments])
    shown = capfd.readouterr()
    assert code == 0, shown.err
    with open(tmp_path / "run" / "results.json") as file:
        results = json.load(file)
    titles = {"EC": {"auprc@micro", "f1_max"}, "GO-MF": {"auprc@micro", "f1_max"}}.get(task)
    titles = titles or {f"accuracy [{task.lower()}_label]"}
    assert set(results["test"]) == set(results["intervals"]) == titles
    assert results["num_items"] == ({"train": 4, "valid": 2, "test": 3} if titles == {"auprc@micro", "f1_max"}
                                    else {"train": 6, "valid": 3, "test": 3})  # fmt: skip
    assert all(
        low <= value <= high for value, (low, high) in zip(results["test"].values(), results["intervals"].values())
    )
    # evaluating what was kept gives the same again
    again = ["--out", str(tmp_path / "again"), "--set", f"dataset.path={data}", *SMALL, *more, "train.num_epoch=0"]
    assert main(["-c", config("downstream", task, name), *again, f"checkpoint={tmp_path / 'run'}"]) == 0
    with open(tmp_path / "again" / "results.json") as file:
        repeated = json.load(file)
    assert repeated["test"] == results["test"] and repeated["intervals"] == results["intervals"]
