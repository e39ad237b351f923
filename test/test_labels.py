"""Labels by configuration alone: how many, of which kind, for which of TorchDrug's tasks; heads in checkpoints."""

import re

import pytest
import torch

from gearnet_plugin import metrics
from gearnet_plugin.engine import ConfigError, heads, labels, smoke, stock
from gearnet_plugin.engine.build import check_all
from gearnet_plugin.engine.command import main
from gearnet_plugin.engine.config import override, parse, render
from gearnet_plugin.engine.schema import complete
from tiny_run import CONFIG
from torchdrug import datasets, tasks

OURS = (
    "task={class: ProteinPropertyPrediction, %s model: {class: GearNetEncoder, input_dim: 21, hidden_dims: [8], "
    "num_relation: 5}, graph_construction_model: {class: ResidueGraphConstruction, node_layers: [{class: "
    "AlphaCarbonNode}], edge_layers: [{class: SequentialEdge, max_distance: 2}]}}"
)
BENCHMARKS = {
    "EnzymeCommissionStructures": ("", {"targets": 538}),
    "GeneOntologyStructures": ("", {"targets": 489}),
    "GeneOntologyStructures, branch: BP": ("", {"targets": 1943}),
    "GeneOntologyStructures, branch: CC": ("", {"targets": 320}),
    "FoldStructures": ("criterion: ce,", {"fold_label": 1195}),
    "ReactionStructures": ("criterion: ce,", {"reaction_label": 384}),
}


def config(*assignments, task="", data=None):
    made = override(parse(render(CONFIG, {"gpus": None})), [OURS % task, "metric=null"])
    if data:
        made["dataset"] = parse("dataset: {class: %s, path: /data}" % data)["dataset"]
    made = complete(override(made, list(assignments)))
    check_all(made)
    return made


# === how many ===


@pytest.mark.parametrize("data", BENCHMARKS)
def test_benchmarks_know_their_labels_without_data(data):
    task, expected = BENCHMARKS[data]
    made = config(task=task, data=data)
    assert labels.counts(made) == expected
    ((label, count),) = expected.items()
    assert labels.numbered(made) == (label == "targets")
    assert labels.names(made) == (list(range(count)) if label == "targets" else [label])
    assert heads.expected_size(made) == count and heads.expected_size(made, published=False) is None


def test_counts_are_those_of_torchdrug():
    """The GO branches that TorchDrug has are ours."""
    from gearnet_plugin.datasets import GeneOntologyStructures

    assert set(GeneOntologyStructures.num_functions) == set(datasets.GeneOntology.branches)
    assert labels.counts(config(data="GeneOntologyStructures, branch: XX")) == {}


@pytest.mark.parametrize(
    "task, data, columns",
    [
        ("", None, True),
        ("task: [0, 2],", None, True),
        ("task: [class],", None, False),
        ("task: class,", None, False),
        ("", "StructureFolder, target: y", False),
        ("", "StructureFolder, target: y, kind: multilabel", True),
        ("criterion: mse,", "EnzymeCommissionStructures", False),
        ("", "EnzymeCommissionStructures", True),
    ],
)
def test_numbered_labels_are_told_from_names(task, data, columns):
    assert labels.numbered(config(task=task, data=data)) == columns


@pytest.mark.parametrize("items, columns", [([{"targets": 1}], True), ([{"class": 1}], False)])
def test_open_data_say_which_labels_they_have(items, columns):
    class Data(list):
        tasks = ["a", "b"]

    made = config()
    assert labels.numbered(made, Data(items)) == columns
    labels.fill_in(made, Data(items))
    assert made.task.task == ([0, 1] if columns else ["a", "b"])


@pytest.mark.parametrize(
    "data, words",
    [
        ("GeneOntologyStructures, branch: BP", ["labels     all 1943 of the dataset", "task       Protein"]),
        ("FoldStructures", ["classes    1195", "labels     fold_label"]),
    ],
)
def test_a_dry_run_counts_the_true_head(tmp_path, capsys, data, words):
    task = BENCHMARKS[data][0]
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG)
    sets = ["--set", OURS % task, "metric=null", "dataset={class: %s, path: /data}" % data]
    assert main(["-c", str(path), "--dry-run", *sets]) == 0
    table = capsys.readouterr().out
    assert all(word in table for word in words), table
    # the encoder alone, and with a head of one layer of 8 inputs
    counts = re.findall(r"^(task|encoder) .* ([\d,]+) parameters", table, re.MULTILINE)
    found = {what: int(number.replace(",", "")) for what, number in counts}
    count = next(iter(BENCHMARKS[data][1].values()))
    assert found["task"] == found["encoder"] + 9 * count


# === smoke ===


@pytest.mark.parametrize(
    "task, data",
    [
        ("", "GeneOntologyStructures, branch: BP"),
        ("criterion: ce,", "FoldStructures"),
        ("task: [a, b], criterion: bce, metric: [auroc],", None),
    ],
)
def test_random_labels_leave_no_split_with_one_class(task, data):
    made = smoke.shrink(config(task=task, data=data))
    parts = smoke.SmokeDataset([{"graph": None}] * 3, made, seed=0).split()
    for part in parts:
        rows = [{key: value for key, value in item.items() if key != "graph"} for item in part]
        if "targets" in rows[0]:
            targets = torch.stack([row["targets"] for row in rows])
            assert targets.shape[1] == 1943
            assert (targets.sum(dim=0) > 0).all() and (targets.sum(dim=0) < len(rows)).all()
        else:
            assert all(len({row[name] for row in rows}) > 1 for name in rows[0])


@pytest.mark.parametrize("criterion", ["bce", "ce", "mse"])
def test_labels_of_residues_smoke(tmp_path, capsys, criterion):
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG)
    sets = ["--set", OURS % ("level: residue, task: [site], criterion: %s," % criterion), "metric=null"]
    assert main(["-c", str(path), "--smoke", "--out", str(tmp_path / "out"), *sets]) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    "sequence, width",
    [
        ("{class: ProteinLSTM, input_dim: 21, hidden_dim: 640, num_layers: 3}", 64),
        ("{class: ProteinBERT, input_dim: 21, num_heads: 12}", 32),
        ("{class: ProteinResNet, input_dim: 21, hidden_dims: [512, 512]}", 32),
        ("{class: ProteinConvolutionalNetwork, input_dim: 21, hidden_dims: [9], kernel_size: 5}", 32),
        ("{class: ProteinResNet, input_dim: 21, hidden_dims: [9, 9], concat_hidden: true}", 64),
        ("{class: ESM, path: /nowhere}", 1280),
    ],
)
def test_a_narrow_fusion_fits_together(sequence, width):
    """The structure model takes what the narrow sequence model gives; kernels stay, heads divide the width."""
    made = config(
        "task.model={class: SequenceStructureFusion, sequence_model: %s, structure_model: {class: "
        "GearNetEncoder, input_dim: 99, hidden_dims: [512, 512], num_relation: 5}}" % sequence
    )
    model = smoke.shrink(made)["task"]["model"]
    assert model["structure_model"]["input_dim"] == width and model["structure_model"]["hidden_dims"] == [32, 32]
    assert model["sequence_model"].get("kernel_size", 5) in (5, 1)
    assert 32 % model["sequence_model"].get("num_heads", 1) == 0


# === --stock ===


@pytest.mark.parametrize(
    "task, data, expected",
    [
        (
            "",
            "EnzymeCommissionStructures",
            {"class": "MultipleBinaryClassification", "metric": ["auprc@micro", "f1_max"]},
        ),
        ("class_weight: reweight,", "EnzymeCommissionStructures", {"reweight": True}),
        (
            "criterion: ce, mlp_dropout: 0.5,",
            "FoldStructures",
            {"class": "PropertyPrediction", "criterion": "ce", "metric": ["acc"], "mlp_dropout": 0.5},
        ),
        ("task: [class], metric: auroc,", None, {"class": "PropertyPrediction", "criterion": "bce", "metric": "auroc"}),
        (
            "criterion: mse, num_mlp_layer: 2,",
            "StructureFolder, target: y",
            {"class": "PropertyPrediction", "metric": ["mae", "rmse"], "num_mlp_layer": 2},
        ),
    ],
)
def test_stock_takes_the_task_that_the_labels_want(task, data, expected):
    made, lines = stock.to_stock(config(task=task, data=data))
    assert {key: made["task"].get(key) for key in expected} == expected
    assert "task: ProteinPropertyPrediction -> %s" % made["task"]["class"] in lines
    check_all(complete(made))


@pytest.mark.parametrize(
    "task, data, message",
    [
        ("freeze_encoder: true,", "EnzymeCommissionStructures", "task.freeze_encoder: `MultipleBinary.*` lacks"),
        ("class_weight: balanced,", "EnzymeCommissionStructures", "task.class_weight: `MultipleBinary.*` lacks"),
        ("mlp_batch_norm: true,", "EnzymeCommissionStructures", "task.mlp_batch_norm: `Multiple"),
        ("level: residue, task: [site],", None, "task.level: `PropertyPrediction` lacks this argument"),
        (
            "metric: [f1_max@cafa],",
            "EnzymeCommissionStructures",
            "task.metric: `MultipleBinaryClassification` has no metric `f1_max@cafa`; .* `auroc@micro`, .*`f1_max`",
        ),
        (
            "metric: [top_5], criterion: ce,",
            "FoldStructures",
            "`PropertyPrediction` has no metric `top_5`; .*`pearsonr`",
        ),
    ],
)
def test_stock_refuses_what_it_lacks(task, data, message):
    with pytest.raises(ConfigError, match=message):
        stock.to_stock(config(task=task, data=data))


def evaluates(name, metric):
    """Whether a task of TorchDrug computes a metric."""
    task = getattr(tasks, name).__new__(getattr(tasks, name))
    several = name == "MultipleBinaryClassification"
    task.__dict__.update(metric={metric: 1}, task={"y": 1}, num_class=[2 if metric in ("acc", "mcc") else 1])
    target = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])[:, : 2 if several else 1]
    try:
        return len(task.evaluate(torch.randn(4, 2 if several else task.num_class[0]), target)) == 1
    except (TypeError, ValueError):
        return False


@pytest.mark.parametrize("name", stock.STOCK_METRICS)
def test_stock_metrics_are_those_of_its_tasks(name):
    """Every metric that is let through is one that TorchDrug's task computes, and of ours no other is."""
    everything = {metric for kind in metrics.KINDS for metric in metrics.names(kind)} - {"top_K"}
    assert {metric for metric in everything if evaluates(name, metric)} == set(stock.STOCK_METRICS[name])
