"""Files of the predecessors by script/run.py: translated, said once, and trained like ours."""

import json
import logging
import os
import subprocess
import sys

import pytest
import yaml

from conftest import ROOT
from gearnet_plugin.engine import RunOptions, run
from gearnet_plugin.engine.command import main
from gearnet_plugin.engine.config import parse, read_text, render
from test_own_configs import write_table

TEST = os.path.dirname(os.path.abspath(__file__))
# as the GearNet repository writes one: its classes, a literal list of GPUs, a variable of its own
FILE = """
output_dir: {folder}
dataset:
  class: StructureFolder
  path: {table}
  target: fold
  transform:
    class: ProteinView
    view: residue
task:
  class: PropertyPrediction
  model:
    class: GearNet
    input_dim: 21
    hidden_dims: [8, 8]
    batch_norm: True
    num_relation: 7
  criterion: ce
  num_mlp_layer: 2
  metric: ['acc']
  graph_construction_model:
    class: GraphConstruction
    node_layers:
      - class: AlphaCarbonNode
    edge_layers:
      - class: SequentialEdge
        max_distance: 2
      - class: SpatialEdge
        radius: 10.0
        min_distance: 5
      - class: KNNEdge
        k: 10
        min_distance: 5
    edge_feature: gearnet
optimizer:
  class: Adam
  lr: 1.0e-2
engine:
  gpus: {gpus}
  batch_size: 4
  log_interval: 100
train:
  num_epoch: 1
metric: accuracy
lr_ratio: 0.1
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("table") / "table.csv", count=12)


@pytest.fixture
def file(table, tmp_path):
    def write(gpus="{{ gpus }}"):
        path = tmp_path / "theirs.yaml"
        path.write_text(
            FILE.replace("{folder}", str(tmp_path / "runs")).replace("{table}", table).replace("{gpus}", gpus)
        )
        return str(path)

    return write


def test_a_file_of_a_predecessor_trains_and_says_what_is_replaced(file, tmp_path, capsys):
    assert main(["-c", file(), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    for line in (
        "translated: task.model: GearNet -> GearNetEncoder",
        "translated: task.graph_construction_model: GraphConstruction -> ResidueGraphConstruction",
    ):
        assert printed.out.count(line) == 1 and line not in printed.err
        assert line in (tmp_path / "out" / "log.txt").read_text()
    with open(tmp_path / "out" / "config.yaml") as written:
        assert yaml.safe_load(written)["task"]["model"]["class"] == "GearNetEncoder"
    # what was written is translated already
    assert main(["-c", str(tmp_path / "out" / "config.yaml"), "--dry-run"]) == 0
    assert "translated:" not in capsys.readouterr().out


def test_stock_translates_nothing_and_learns_the_same(file, tmp_path, capsys):
    for name, more in (("ours", []), ("stock", ["--stock"])):
        assert main(["-c", file(), "--out", str(tmp_path / name), *more]) == 0
    assert "translated" not in capsys.readouterr().out.partition("outputs are in")[2]
    with open(tmp_path / "stock" / "config.yaml") as written:
        assert yaml.safe_load(written)["task"]["model"]["class"] == "GearNet"
    ours, stock = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("ours", "stock"))
    assert ours["test"] == pytest.approx(stock["test"]) and ours["num_step"] == stock["num_step"]


@pytest.mark.parametrize("more", [["--dry-run"], ["--smoke"]])
def test_keys_of_set_are_those_of_the_file(file, tmp_path, capsys, more):
    """TorchDrug wraps an encoder twice in contrast, ours once: --set finds it where the file has it."""
    view = "{class: IdentityNode}"
    sets = [
        "--set",
        "task={class: Unsupervised, model: {class: MultiviewContrast, crop_funcs: [%s], "
        "noise_funcs: [%s]}, graph_construction_model: {class: GraphConstruction, "
        "node_layers: [{class: AlphaCarbonNode}], "
        "edge_layers: [{class: SequentialEdge, max_distance: 2}]}}" % (view, view),
        "metric=null",
        "task.model.model={class: GearNet, input_dim: 21, hidden_dims: [8, 8], num_relation: 5}",
        "task.model.model.hidden_dims.1=16",
        "dataset.target=null",
    ]
    assert main(["-c", file(), *more, "--out", str(tmp_path / "out"), *sets]) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert "MultiviewContrastive" in printed and "output dim 16" in printed or "--smoke" in more


def test_literal_gpus_are_overridden(file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    path = file("[0, 1, 2, 3]")
    assert main(["-c", path, "--out", str(tmp_path / "a")]) == 1
    assert (
        "GPUs [0, 1, 2, 3] were asked for, but PyTorch sees none on this machine. Use `--gpus null`"
        in capsys.readouterr().err
    )
    assert main(["-c", path, "--out", str(tmp_path / "a"), "--gpus", "null", "--dry-run"]) == 0
    assert "runs on    CPU" in capsys.readouterr().out


def test_python_callers_are_told_by_the_log(file, tmp_path, caplog):
    """`run()` translates as run.py does, unless it is told not to."""
    made = parse(render(read_text(file()), {"gpus": None}))
    made["train"]["num_epoch"] = 0
    log = logging.getLogger("gearnet_plugin")
    for stock, count in ((False, 1), (True, 0)):
        caplog.clear()
        log.addHandler(caplog.handler)
        try:
            run(made, RunOptions(out=str(tmp_path / str(stock)), stock=stock))
        finally:
            log.removeHandler(caplog.handler)
        assert caplog.messages.count("translated: task.model: GearNet -> GearNetEncoder") == count
    assert made["task"]["model"]["class"] == "GearNet"  # the caller's own is left alone


@pytest.mark.slow
def test_workers_leave_the_telling_to_the_first_process(file, tmp_path):
    """Two workers: each replacement stands on the terminal once."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([ROOT, TEST]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [
            sys.executable,
            os.path.join(ROOT, "script", "run.py"),
            "-c",
            file(),
            "--gpus",
            "null",
            "--nproc",
            "2",
            "--out",
            str(tmp_path / "out"),
        ],
        env=environ,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("task.model: GearNet -> GearNetEncoder") == 1
    # the test was predicted by both, and written by one
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert found["num_items"]["test"] == 3 and len(found["test"]) == 1
