"""Configurations of the benchmarks: the released numbers, the same blocks in all, and a word where they differ."""

import glob
import os

import pytest
import yaml

import gearnet_plugin  # noqa: F401
from gearnet_plugin.engine.config import parse, render
from gearnet_plugin.engine.stock import to_stock

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDER = os.path.join(ROOT, "config", "downstream")
FILES = {
    os.path.relpath(path, FOLDER)[: -len(".yaml")]: path
    for path in sorted(glob.glob(os.path.join(FOLDER, "*", "*.yaml")))
    if not path.startswith(os.path.join(FOLDER, "own"))
}
FUNCTIONS = ("EC", "GO-BP", "GO-MF", "GO-CC")
CLASSES = ("Fold", "Reaction")
FUNCTION_FILES = ("gearnet", "gearnet_edge", "gearnet_edge_1gpu", "CNN", "ResNet", "LSTM", "BERT", "ESM", "ESM_gearnet")
CLASS_FILES = ("gearnet", "gearnet_edge", "gearnet_ieconv", "gearnet_edge_ieconv")
# optimizer, learning rate, batch, layers of the head; as the authors released them
RELEASED = {
    "gearnet": ("AdamW", 1e-4, 2, 3),
    "gearnet_edge": ("AdamW", 1e-4, 2, 3),
    "gearnet_edge_1gpu": ("AdamW", 1e-4, 8, 3),
    "ESM_gearnet": ("AdamW", 1e-4, 2, 3),
    "ESM": ("Adam", 1e-4, 2, 2),
    "BERT": ("Adam", 5e-5, 8, 2),
    "LSTM": ("Adam", 5e-5, 8, 2),
    "CNN": ("Adam", 1e-4, 32, 2),
    "ResNet": ("Adam", 2e-4, 8, 2),
}
DERIVED = [f"GO-{branch}/{name}" for branch in ("BP", "MF", "CC") for name in ("gearnet_edge_1gpu", "ESM_gearnet")]
DERIVED += [f"Reaction/{name}" for name in CLASS_FILES]


def load(name):
    with open(FILES[name], encoding="utf-8") as file:
        return parse(render(file.read(), {"gpus": None}))


def text(name):
    with open(FILES[name], encoding="utf-8") as file:
        return file.read()


def test_every_experiment_of_the_paper_has_its_file():
    """Nine encoders on four annotations, four on folds and reactions."""
    expected = {f"{task}/{name}" for task in FUNCTIONS for name in FUNCTION_FILES}
    expected |= {f"{task}/{name}" for task in CLASSES for name in CLASS_FILES}
    assert set(FILES) == expected


@pytest.mark.parametrize("task", FUNCTIONS)
@pytest.mark.parametrize("name", FUNCTION_FILES)
def test_released_numbers_of_annotations(task, name):
    """What was released: optimizer, rate, batch, head, epochs; ESM at a tenth of the rate, cut to 550 residues."""
    config, (optimizer, rate, batch, layers) = load(f"{task}/{name}"), RELEASED[name]
    assert (config["optimizer"]["class"], config["optimizer"]["lr"]) == (optimizer, rate)
    assert (config["engine"]["batch_size"], config["task"]["num_mlp_layer"]) == (batch, layers)
    few = name == "ESM_gearnet" or (task == "EC" and name.startswith("gearnet_edge"))
    assert config["train"]["num_epoch"] == (50 if few else 200)
    assert (config["task"]["criterion"], config["task"]["metric"]) == ("bce", ["auprc@micro", "f1_max"])
    assert (config["metric"], config["dataset"]["test_cutoff"]) == ("f1_max", 0.95)
    assert config["dataset"].get("branch", "") == task.partition("-")[2]
    ratios = {"ESM": {"lr_ratio": 0.1}, "ESM_gearnet": {"sequence_model_lr_ratio": 0.1}}.get(name, {})
    assert {key: config[key] for key in ("lr_ratio", "sequence_model_lr_ratio") if key in config} == ratios
    transform = config["dataset"]["transform"]
    view, cut = {"class": "ProteinView", "view": "residue"}, {"class": "TruncateProtein", "max_length": 550}
    assert transform == ({"class": "Compose", "transforms": [view, cut]} if "ESM" in name else view)


@pytest.mark.parametrize("task, label, count", [("Fold", "fold_label", 1195), ("Reaction", "reaction_label", 384)])
@pytest.mark.parametrize("name", CLASS_FILES)
def test_released_numbers_of_classes(task, label, count, name):
    """SGD with momentum, halved every 50 of 300 epochs, and a head with BatchNorm and dropout."""
    config = load(f"{task}/{name}")
    assert config["optimizer"] == {"class": "SGD", "lr": 1e-3, "momentum": 0.98, "weight_decay": 5e-4}
    assert config["scheduler"] == {"class": "StepLR", "step_size": 50, "gamma": 0.5}
    assert (config["engine"]["batch_size"], config["train"]["num_epoch"]) == (2, 300)
    head = ("criterion", "metric", "num_class", "num_mlp_layer", "mlp_batch_norm", "mlp_dropout")
    assert [config["task"][key] for key in head] == ["ce", ["acc"], count, 3, True, 0.5]
    assert config["metric"] == f"accuracy [{label}]"
    model = config["task"]["model"]
    assert ("num_angle_bin" in model) == ("edge" in name)
    assert model.get("use_ieconv", False) == ("ieconv" in name)
    assert (model["class"] == "GearNetEncoder") == (task == "Reaction" and "ieconv" not in name)


@pytest.mark.parametrize("name", FILES)
def test_files_run_as_their_comment_says(name):
    """Each names its own command, says whether its numbers were released, and writes a scheduler's mode out."""
    head = text(name).partition("\noutput_dir")[0]
    assert f"-c config/downstream/{name}.yaml " in head
    assert ("was released" in head) == (name in DERIVED) and ("the released hyper-parameters" in head) != (
        name in DERIVED
    )
    scheduler = load(name).get("scheduler", {})
    if scheduler.get("class") == "ReduceLROnPlateau":
        assert scheduler["mode"] == "min" and "As released" in text(name)
    structural = "gearnet" in name.lower()
    assert ("model_checkpoint" in text(name)) == structural


def test_shared_blocks_agree():
    """One graph, one encoder of each kind and one schedule in all files; the pretraining files' encoders among them."""
    graphs, encoders, schedules = set(), {}, {}
    for name in FILES:
        config = load(name)
        task = config["task"]
        if "graph_construction_model" in task:
            graphs.add(yaml.dump(task["graph_construction_model"]))
        kind = (name.partition("/")[2].removesuffix("_1gpu"), task["model"]["class"])
        encoders.setdefault(kind, set()).add(yaml.dump(task["model"]))
        schedules.setdefault(kind[0] if name.startswith(FUNCTIONS) else "classes", set()).add(
            yaml.dump(config.get("scheduler"))
        )
    assert len(graphs) == 1
    assert all(len(same) == 1 for same in [*encoders.values(), *schedules.values()])
    for pretrain, kind in [
        ("mc_gearnet_edge", ("gearnet_edge", "GearNetEncoder")),
        ("mc_gearnet_edge_ieconv", ("gearnet_edge_ieconv", "GearNetIEConvEncoder")),
    ]:
        with open(os.path.join(ROOT, "config", "pretrain", pretrain + ".yaml"), encoding="utf-8") as file:
            assert encoders[kind] == {yaml.dump(parse(render(file.read(), {"gpus": None}))["task"]["model"])}


@pytest.mark.parametrize("name", [name for name in FILES if "ieconv" not in name and not name.startswith("Fold")])
def test_stock_runs_the_same(name):
    """TorchDrug has what every file without IEConv and fusion asks for, so `--stock` compares like with like."""
    if name.endswith("ESM_gearnet"):
        pytest.skip("TorchDrug has no fusion of a sequence model with an encoder")
    task = to_stock(load(name))[0]["task"]
    assert task["class"] == ("PropertyPrediction" if name.startswith("Reaction") else "MultipleBinaryClassification")
