"""`lr_ratio` and `sequence_model_lr_ratio`: which parameters learn at which rate, from the file to the optimizer."""

import pytest
import torch

from gearnet_plugin.engine import ConfigError, RunOptions, groups, run
from gearnet_plugin.engine.build import build
from gearnet_plugin.engine.config import override, parse, render
from gearnet_plugin.engine.schema import complete
from tiny_run import CONFIG

FUSION = """
class: SequenceStructureFusion
sequence_model: {class: ProteinConvolutionalNetwork, input_dim: 21, hidden_dims: [8], kernel_size: 3, padding: 1}
structure_model: {class: GearNetEncoder, input_dim: 8, hidden_dims: [8, 8], num_relation: 7, batch_norm: true}
"""


def config(*assignments, fusion=False):
    made = parse(render(CONFIG, {"gpus": None}))
    if fusion:
        made["task"]["model"] = parse(FUSION)
    return complete(override(made, list(assignments)))


def go(folder, *assignments, fusion=False):
    return run(config(*assignments, fusion=fusion), RunOptions(out=str(folder)))


def rates(folder, name="checkpoint-best.pth"):
    """{learning rate: number of tensors} of a checkpoint's optimizer."""
    found = torch.load(folder / name, weights_only=True)["optimizer"]["param_groups"]
    result = {}
    for group in found:
        result[group["lr"]] = result.get(group["lr"], 0) + len(group["params"])
    assert len({i for group in found for i in group["params"]}) == sum(len(group["params"]) for group in found)
    return result


def test_the_head_that_a_task_makes_later_learns_at_the_full_rate(tmp_path):
    """PropertyPrediction makes its head in `preprocess`; every parameter is in one group, at the rate of its part."""
    go(tmp_path / "out", "lr_ratio=0.1", "train.num_epoch=1")
    assert sorted(rates(tmp_path / "out").items()) == [(pytest.approx(1e-3), 16), (1e-2, 2)]


@pytest.mark.parametrize(
    "task",
    [
        "{class: MultipleBinaryClassification, task: [0, 1]}",
        "{class: ProteinPropertyPrediction, task: [class], criterion: ce, num_class: 3}",
        "{class: ProteinPropertyPrediction, task: [class], criterion: ce}",
    ],
)
def test_parts_of_a_fusion(task):
    """Sequence model, rest of the encoder, head: each its own rate, whether the head is there or not."""
    made = config(fusion=True)
    made["task"] = dict(parse("task: %s" % task)["task"], model=made["task"]["model"])
    for name, value in (("lr_ratio", 0.5), ("sequence_model_lr_ratio", 0.1)):
        made[name] = value
    built = build(made["task"], "task")
    optimizer = groups.build_optimizer(made, built)
    encoder = built.model
    expected = {
        **dict.fromkeys(built.parameters(), 1e-2),
        **dict.fromkeys(encoder.sequence_model.parameters(), 1e-3),
        **dict.fromkeys(encoder.structure_model.parameters(), 5e-3),
    }
    found = {p: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert found == {p: pytest.approx(lr) for p, lr in expected.items()}


@pytest.mark.parametrize(
    "ratios, expected",
    [
        ({"sequence_model_lr_ratio": 0.1}, {"sequence model": 0.1, "rest": 1}),
        ({"lr_ratio": 0.1}, {"encoder": 0.1}),
        ({"lr_ratio": 2, "sequence_model_lr_ratio": 3}, {"sequence model": 3, "encoder": 2}),
    ],
)
def test_one_ratio_leaves_the_other_part_alone(ratios, expected):
    built = build(config(fusion=True)["task"], "task")  # its head is not made yet
    assert {name: ratio for name, _, ratio in groups.parts(built, **ratios)} == expected


def test_a_sequence_ratio_without_a_fusion_is_told(tmp_path):
    message = r"sequence_model_lr_ratio: is for the sequence model of a fusion .* is GearNetEncoder; .* set `lr_ratio`"
    with pytest.raises(ConfigError, match=message):
        go(tmp_path / "out", "sequence_model_lr_ratio=0.1")


@pytest.mark.parametrize("value", ["0", "-1", "true", "a", ".inf", ".nan", "[1]"])
@pytest.mark.parametrize("key", groups.KEYS)
def test_ratios_are_numbers_above_zero(key, value):
    with pytest.raises(ConfigError, match="%s: expected a number above 0 .*null, but found" % key):
        config("%s=%s" % (key, value))


def test_a_ratio_of_what_is_frozen_is_warned_of(caplog):
    built = build(config(fusion=True)["task"], "task")
    built.model.sequence_model.requires_grad_(False)
    with caplog.at_level("WARNING", "gearnet_plugin"):
        groups.parts(built, sequence_model_lr_ratio=0.1)
    assert "`sequence_model_lr_ratio` is ignored: the sequence model is not trained" in caplog.text


@pytest.mark.parametrize(
    "scheduler, last",
    [
        ("{class: StepLR, step_size: 1, gamma: 0.5}", 0.25),
        ("{class: ReduceLROnPlateau, mode: max, patience: 0, factor: 0.5, threshold: 100}", 0.5),
        ("{class: ExponentialLR, gamma: 0.5}", 0.25),
        ("{class: CosineAnnealingLR, T_max: 2}", 0),
    ],
)
def test_schedulers_scale_every_group(tmp_path, scheduler, last):
    go(tmp_path / "out", "lr_ratio=0.1", "train.num_epoch=2", "scheduler=%s" % scheduler)
    found = rates(tmp_path / "out", "checkpoint-4.pth")
    assert sorted(found) == pytest.approx(sorted({1e-3 * last, 1e-2 * last}), abs=1e-9)


def test_schedulers_that_are_given_a_rate_keep_the_ratio():
    """OneCycleLR sets the rate of every group to `max_lr` alike, unless it gets one for each."""
    made = config("lr_ratio=0.1", "scheduler={class: OneCycleLR, max_lr: 0.5, total_steps: 10}")
    built = build(made["task"], "task")
    built.preprocess([{"class": i, "value": 0.0} for i in range(3)], None, None)
    scheduler = groups.build_scheduler(made, groups.build_optimizer(made, built))
    assert [group["max_lr"] for group in scheduler.optimizer.param_groups] == pytest.approx([0.05, 0.5])


def test_no_ratio_is_the_optimizer_as_ever(tmp_path):
    """One group of all parameters that there are, in their order, and one of those made later, as `core.Engine`."""
    go(tmp_path / "a", "train.num_epoch=1")
    state = torch.load(tmp_path / "a" / "checkpoint-best.pth", weights_only=True)["optimizer"]
    assert [group["params"] for group in state["param_groups"]] == [list(range(16)), [16, 17]]
    go(tmp_path / "b", "train.num_epoch=1", "lr_ratio=1")
    one, other = (torch.load(tmp_path / name / "checkpoint-best.pth", weights_only=True)["model"] for name in "ab")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_optimizer_without_lr_uses_its_own():
    made = config("optimizer={class: AdamW}", "lr_ratio=0.5")
    optimizer = groups.build_optimizer(made, build(made["task"], "task"))
    assert [group["lr"] for group in optimizer.param_groups] == [5e-4]
