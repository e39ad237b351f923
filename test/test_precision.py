"""``engine.precision`` reaches the encoder, and says where it cannot."""

import json
import os

import pytest
import torch
import yaml

from gearnet_plugin.engine import ConfigError, RunOptions, precision, run
from gearnet_plugin.engine.command import main
from gearnet_plugin.engine.config import override, parse, render
from tiny_run import CONFIG

EDGES = [
    "task.model.edge_input_dim=59",
    "task.model.num_angle_bin=8",
    "task.graph_construction_model.edge_feature=gearnet",
]


def go(folder, *assignments):
    """The training losses of a run, and its encoder as recorded."""
    config = override(parse(render(CONFIG, {"gpus": None})), assignments)
    run(config, RunOptions(out=str(folder)))
    with open(folder / "encoder.yaml") as file:
        encoder = yaml.safe_load(file)
    with open(folder / "metrics.jsonl") as file:
        lines = [json.loads(line) for line in file]
    return [line["values"]["loss"] for line in lines if (line["kind"], line["scope"]) == ("train", "batch")], str(
        encoder
    )


def test_bf16_of_the_engine_is_that_of_the_encoder(tmp_path):
    """The setting is the encoder's argument of that name: same losses, and recorded; unlike float32's, but close."""
    single, _ = go(tmp_path / "fp32", *EDGES)
    engine, recorded = go(tmp_path / "engine", *EDGES, "engine.precision=bf16")
    own, _ = go(tmp_path / "own", *EDGES, "task.model.precision=bf16")
    assert engine == own != single and "'precision': 'bf16'" in recorded
    assert engine[0] == pytest.approx(single[0], rel=0.02), "later losses go their own ways"


def test_own_argument_goes_before_the_setting(tmp_path):
    """A precision that the encoder was given is not changed."""
    _, recorded = go(tmp_path / "out", *EDGES, "engine.precision=bf16", "task.model.precision=fp32")
    assert "'precision': 'fp32'" in recorded


def test_tf32_does_not_outlive_its_run():
    """The switch belongs to the process: a run that names another precision turns it off, one that names none asks
    nothing."""
    flags = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [flag.allow_tf32 for flag in flags]
    try:
        for name, expected in [("tf32", True), (None, True), ("fp32", False), ("tf32", True), ("bf16", False)]:
            precision.apply({"engine": {"precision": name}}, torch.device("cuda"))
            assert [flag.allow_tf32 for flag in flags] == [expected, expected]
    finally:
        for flag, value in zip(flags, before):
            flag.allow_tf32 = value


def test_tf32_on_a_cpu_is_told(tmp_path):
    """On a CPU it changes nothing, and the run says so."""
    single, _ = go(tmp_path / "fp32")
    rounded, _ = go(tmp_path / "tf32", "engine.precision=tf32")
    assert rounded == single and "this run computes in float32" in (tmp_path / "tf32" / "log.txt").read_text()


@pytest.mark.parametrize(
    "assignments, message",
    [
        (["engine.precision=fp16"], "engine.precision: expected `fp32`, `tf32`, `bf16` or null, but found `fp16`"),
        (["task.model.precision=fp16"], "precision should be `fp32`, `bf16` or None, but found `fp16`"),
        (["task.model.backend=triton"], "backend `triton` is not there yet"),
    ],
)
def test_wrong_values(tmp_path, assignments, message):
    """Wrong values are named with what is allowed, before training."""
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        go(tmp_path / "out", *assignments)


def test_bf16_that_nobody_takes(tmp_path):
    """TorchDrug's own encoder computes in float32 only: said before training, in a dry run too."""
    stock = ["task.model={class: GearNet, input_dim: 21, hidden_dims: [8], num_relation: 7}", "engine.precision=bf16"]
    with pytest.raises(ConfigError, match="engine.precision: no class of the task computes in bf16"):
        go(tmp_path / "out", *stock)
    path = tmp_path / "tiny.yaml"
    path.write_text(CONFIG)
    assert not os.path.exists(tmp_path / "runs")
    arguments = [part for assignment in stock for part in ("--set", assignment)]
    assert main(["-c", str(path), "--gpus", "null", "--dry-run", *arguments]) == 1
