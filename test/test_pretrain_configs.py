"""config/pretrain: what was released, what is improved and why; test_run.py trains every file."""

import glob
import os

import pytest
import yaml

from gearnet_plugin.engine.config import parse, render
from gearnet_plugin.engine.stock import to_stock

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDER = os.path.join(ROOT, "config", "pretrain")
FILES = {os.path.relpath(path, FOLDER): path for path in sorted(glob.glob(FOLDER + "/**/*.yaml", recursive=True))}
# without weights that are not here
WHOLE = [name for name in FILES if "esm" not in name]
# task, batch a GPU, epochs, as released
RELEASED = {
    "mc_gearnet_edge.yaml": ("MultiviewContrastive", 96, 50),
    "mc_gearnet_edge_ieconv.yaml": ("MultiviewContrastive", 24, 100),
    "attr_gearnet_edge.yaml": ("MaskedResiduePrediction", 96, 50),
    "attr_gearnet_edge_ieconv.yaml": ("MaskedResiduePrediction", 32, 100),
    "dis_gearnet_edge.yaml": ("EdgeDistancePrediction", 128, 50),
    "dis_gearnet_edge_ieconv.yaml": ("EdgeDistancePrediction", 32, 100),
    "angle_gearnet_edge.yaml": ("EdgeAnglePrediction", 96, 50),
    "angle_gearnet_edge_ieconv.yaml": ("EdgeAnglePrediction", 32, 100),
    "dihedral_gearnet_edge.yaml": ("EdgeDihedralPrediction", 96, 50),
    "dihedral_gearnet_edge_ieconv.yaml": ("EdgeDihedralPrediction", 32, 100),
}
SAMPLES = {"dis": {"num_sample": 256}, "angle": {"num_sample": 512, "num_class": 8}, "attr": {"mask_rate": 0.15}}
SAMPLES["dihedral"] = SAMPLES["angle"]


def load(name):
    with open(FILES[name], encoding="utf-8") as file:
        return parse(render(file.read(), {"gpus": None}))


def test_all_objectives_have_their_files():
    """Each objective as released and improved, for both encoders; and on experimental structures."""
    assert set(RELEASED) <= set(FILES)
    assert {"better/" + name for name in RELEASED} <= set(FILES)
    assert any(name.startswith("pdb_") for name in FILES)


@pytest.mark.parametrize("name", RELEASED)
def test_released_numbers(name):
    """What was released: task, batch, epochs, learning rate, samples; all by the defaults, which are TorchDrug's."""
    config, (task, batch, epochs) = load(name), RELEASED[name]
    assert config["task"]["class"] == task
    assert (config["engine"]["batch_size"], config["train"]["num_epoch"]) == (batch, epochs)
    assert config["optimizer"] == {"class": "Adam", "lr": 1e-3}
    own = SAMPLES.get(name.partition("_")[0], {})
    assert {key: config["task"][key] for key in own} == own
    if "mc" not in name:
        assert config["dataset"]["transform"]["transforms"][1] == {
            "class": "TruncateProtein",
            "max_length": 100,
            "random": True,
        }
    if "ieconv" not in name:
        to_stock(config)  # refuses what TorchDrug does not do


def test_shared_blocks_agree():
    """One encoder of each kind and one graph in all files, but for what the improved ones say they change."""
    models, graphs = {}, {}
    for name in WHOLE:
        task = load(name)["task"]
        model, graph = dict(task["model"]), dict(task["graph_construction_model"])
        improved = "/" in name or name.startswith("pdb_")
        frames = model.pop("frames", None)
        assert frames == (None if "ieconv" not in name else "chain" if improved else "released")
        assert graph.pop("gaps", "index") == ("number" if improved else "index")
        models.setdefault("ieconv" in name, []).append(model)
        graphs[name] = graph
    for same in models.values():
        assert all(model == same[0] for model in same)
    assert len({yaml.dump(graph) for graph in graphs.values()}) == 1


@pytest.mark.parametrize("name", FILES)
def test_improved_files_give_reasons(name):
    """Every option that a released file does not have stands beside its reason."""
    if not name.startswith("better/"):
        return
    with open(FILES[name], encoding="utf-8") as file:
        lines = file.read().splitlines()
    released = FILES.get(name.removeprefix("better/"))
    if released is None:
        return
    with open(released, encoding="utf-8") as file:
        known = {line.partition("#")[0].strip().removeprefix("- ") for line in file}
    for line in lines:
        setting = line.partition("#")[0].strip().removeprefix("- ")
        if setting and setting not in known:
            assert "#" in line, line
