"""What a run says about its test: results.json, classes.tsv, predictions.npz; and evaluation without training."""

import csv
import json
import os

import numpy as np
import pytest
import torch

from conftest import ROOT
from gearnet_plugin import metrics
from gearnet_plugin.engine import ConfigError, RunOptions, TrainingStopped, checkpoint, labels, results, run, sampling
from gearnet_plugin.engine.command import main
from gearnet_plugin.engine.config import parse, read_text, render
from gearnet_plugin.report.runs import read_results
from test_own_configs import COLUMNS, write_table

OWN = os.path.join(ROOT, "config", "downstream", "own")
SMALL = {"hidden_dims": [8], "edge_input_dim": None, "num_angle_bin": None}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("table") / "table.csv", count=16)


def config(kind, table, **top):
    """A configuration for one's own table, small."""
    values = {"table": table, "target": COLUMNS[kind], "gpus": None}
    made = parse(render(read_text(os.path.join(OWN, kind + ".yaml")), values))
    made["task"]["model"].update(SMALL)
    made["task"]["num_mlp_layer"] = 2
    made["train"]["num_epoch"] = 2
    return dict(made, **top)


@pytest.fixture(scope="module")
def finished(table, tmp_path_factory):
    """A finished run of each kind."""
    return {
        kind: run(config(kind, table, seed=1), RunOptions(out=str(tmp_path_factory.mktemp("run") / kind)))
        for kind in COLUMNS
    }


def read(result, name):
    with open(os.path.join(result.folder, name), newline="") as file:
        return json.load(file) if name.endswith("json") else list(csv.DictReader(file, delimiter="\t"))


# === files ===


@pytest.mark.parametrize("kind", COLUMNS)
def test_results_are_those_of_the_run(finished, kind):
    result = finished[kind]
    found = read_results(result.folder)
    assert (found["seed"], found["best_epoch"], found["metric"]) == (1, result.best_epoch, result.metric)
    assert found["test"] == result.test and found["valid"] == result.valid
    assert found["num_items"]["test"] == 4 and found["task"] == "ProteinPropertyPrediction"
    assert found["kind"] == {"classification": "class", "multilabel": "multilabel", "regression": "number"}[kind]
    assert list(found["intervals"]) == [name for name in result.test if "loss" not in name]
    assert {name: tuple(bounds) for name, bounds in found["intervals"].items()} == result.intervals


def test_predictions_that_are_no_numbers_stop_the_run_and_are_told(table, tmp_path, monkeypatch):
    """Finite weights may overflow; what was learned so far is kept."""
    predict = sampling.predict

    def overflowing(solver, split):
        pred, target = predict(solver, split)
        return (pred * float("nan") if solver.epoch == 2 else pred), target

    monkeypatch.setattr(sampling, "predict", overflowing)
    message = r"valid predictions of epoch 2 have no metrics: .* are NaN.* best epoch \(1\) in checkpoint-best.pth"
    with pytest.raises(TrainingStopped, match=message):
        run(config("multilabel", table, eval_interval=1), RunOptions(out=str(tmp_path / "out")))
    assert os.path.exists(tmp_path / "out" / "checkpoint-best.pth")


def test_intervals_are_those_of_the_metrics_package(finished):
    """Drawn from the saved predictions in the order of the data set, whatever the order of evaluation."""
    result = finished["multilabel"]
    saved = np.load(os.path.join(result.folder, "predictions.npz"), allow_pickle=False)
    logits, targets = torch.from_numpy(saved["logits"]), torch.from_numpy(saved["targets"])
    drawn = metrics.bootstrap(["auprc@micro", "f1_max"], "multilabel", logits, targets, seed=1)
    assert result.intervals == drawn
    for name in drawn:
        value = metrics.compute([name], "multilabel", logits, targets)[name]
        assert value == pytest.approx(result.test[name], abs=1e-6)


def test_predictions_stand_beside_their_proteins(finished, table):
    """Names and targets of a row are those of the table."""
    result = finished["regression"]
    saved = np.load(os.path.join(result.folder, "predictions.npz"), allow_pickle=False)
    with open(table, newline="") as file:
        rows = {
            os.path.splitext(os.path.basename(row["structure"]))[0].split(".")[0] + "_" + row["chain"]: row
            for row in csv.DictReader(file)
            if row["split"] == "test"
        }
    assert saved["logits"].dtype == np.float32 and saved["logits"].shape == saved["targets"].shape == (4, 1)
    assert {name: float(rows[name]["melting"]) for name in saved["names"]} == pytest.approx(
        dict(zip(saved["names"].tolist(), saved["targets"][:, 0].tolist()))
    )
    errors = np.abs(saved["logits"] - saved["targets"])
    assert errors.mean() == pytest.approx(result.test["mean absolute error [melting]"], rel=1e-5)


@pytest.mark.parametrize("kind", ["classification", "multilabel"])
def test_classes_have_their_names_and_training_counts(finished, table, kind):
    rows = read(finished[kind], "classes.tsv")
    with open(table, newline="") as file:
        training = [row[COLUMNS[kind]].split(";") for row in csv.DictReader(file) if row["split"] == "train"]
    assert len(rows) >= 2
    for row in rows:
        assert int(row["training"]) == sum(row["label"] in cell for cell in training)
    assert not os.path.exists(os.path.join(finished["regression"].folder, "classes.tsv"))


def test_numbers_that_are_none_become_null(tmp_path):
    results.write_results(tmp_path / "results.json", {"a": {"b": [float("nan"), 1.5]}})
    assert read_results(tmp_path) == {"a": {"b": [None, 1.5]}} and read_results(tmp_path / "nowhere") is None


def test_rows_go_back_to_the_order_of_the_set():
    """An evaluation takes items in an order of its own, which for seven is not its own inverse."""
    order = torch.tensor(sampling.part(7, 0, 1))
    assert (order[order] != torch.arange(7)).any()
    rows = order.float().unsqueeze(-1)
    made = results.Predictions(None, [None] * 7, rows, -rows, {"value": None})
    assert made.pred[:, 0].tolist() == list(range(7)) and made.target[:, 0].tolist() == [-i for i in range(7)]
    assert made.items == list("0123456")


def test_several_named_labels_are_told_apart():
    """Classes of two labels stand side by side in the predictions; a label that is not known is left out."""

    class Task:
        kind, num_class = "class", [2, 3]

    pred, target = torch.arange(15.0).view(3, 5), torch.tensor([[0, 2], [float("nan"), 1], [1, 0]])
    made = results.Predictions(Task(), [None] * 3, pred, target, {"a": ["x", "y"], "b": None})
    made.pred, made.target = pred, target
    (_, first, one, names), (_, second, other, _) = made.by_label()
    assert first.shape == (2, 2) and one.tolist() == [0, 1] and names == ["x", "y"]
    assert second.shape == (3, 3) and other.tolist() == [2, 1, 0]


# === evaluation without training ===


@pytest.mark.parametrize("kind", COLUMNS)
def test_no_epoch_evaluates_a_checkpoint(finished, table, tmp_path, kind):
    """Validation and test of the weights as they are, as the run itself found them."""
    made = config(kind, table, checkpoint=finished[kind].folder, seed=1)
    made["train"]["num_epoch"] = 0
    again = run(made, RunOptions(out=str(tmp_path / "out")))
    assert again.test == finished[kind].test and again.valid == finished[kind].valid
    assert (again.best_epoch, again.num_epoch, again.metric) == (None, 0, finished[kind].metric)
    assert read(again, "results.json")["intervals"].keys() == finished[kind].intervals.keys()


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_checkpoint_trained_by_stock_evaluates_alike(table, tmp_path, kind):
    """TorchDrug's task and encoder, trained by --stock: its weights give ours the same metrics."""
    path = os.path.join(OWN, kind + ".yaml")
    common = [
        "-c",
        path,
        "--table",
        table,
        "--target",
        COLUMNS[kind],
        "--set",
        "task.model.hidden_dims=[8]",
        "task.num_mlp_layer=2",
    ]
    assert main([*common, "train.num_epoch=2", "--stock", "--out", str(tmp_path / "stock")]) == 0
    assert (
        main([*common, "train.num_epoch=0", "checkpoint=%s" % (tmp_path / "stock"), "--out", str(tmp_path / "ours")])
        == 0
    )
    stock, ours = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("stock", "ours"))
    assert stock["task"] in ("MultipleBinaryClassification", "PropertyPrediction")
    assert ours["task"] == "ProteinPropertyPrediction"
    assert ours["test"] == pytest.approx(stock["test"], rel=1e-5, abs=1e-6) and stock["test"]
    assert ours["valid"] == pytest.approx(stock["valid"], rel=1e-5, abs=1e-6)


# === labels of a checkpoint ===


def test_a_checkpoint_knows_its_labels(finished):
    state, _ = checkpoint.read_state(finished["multilabel"].folder)
    assert list(state["labels"]) == ["targets"] and "helical" in state["labels"]["targets"]
    assert state["labels"] == read(finished["multilabel"], "results.json")["labels"]
    assert checkpoint.read_state(finished["regression"].folder)[0]["labels"] == {"melting": None}


@pytest.mark.parametrize(
    "kind, source, message",
    [
        ("classification", "multilabel", "is for another task: it predicts `targets`, this run `fold`"),
        ("multilabel", "regression", "is for another task: it predicts `melting`, this run `targets`"),
    ],
)
def test_a_checkpoint_for_another_task_is_told(finished, table, tmp_path, kind, source, message):
    with pytest.raises(ConfigError, match="the head in `.*%s.*give the file as `model_checkpoint`" % message):
        run(config(kind, table, checkpoint=finished[source].folder), RunOptions(out=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "rename, message",
    [
        (
            lambda text: text.replace("helical", "other"),
            r"it has (\d) labels \(.*\), this run \1 \(.*\); \d are in both",
        ),
        (lambda text: text.replace("helical", "helical;more"), r"it has \d labels \(.*\), this run \d"),
    ],
)
def test_labels_of_another_data_set_are_told(finished, table, tmp_path, rename, message):
    with open(table) as file:
        (tmp_path / "other.csv").write_text(rename(file.read()))
    with pytest.raises(ConfigError, match="checkpoint: the head in .* is for another task: %s" % message):
        run(
            config("multilabel", str(tmp_path / "other.csv"), checkpoint=finished["multilabel"].folder),
            RunOptions(out=str(tmp_path / "out")),
        )


def test_labels_in_another_order_are_told(finished, tmp_path):
    from gearnet_plugin.engine import heads

    state, file = checkpoint.read_state(finished["multilabel"].folder)
    turned = {"targets": state["labels"]["targets"][::-1]}
    with pytest.raises(ConfigError, match="are those of this run in another order, from `"):
        heads.compare(state, file, turned)


def test_numbers_of_outputs_are_compared_where_names_are_not_known(finished, table, tmp_path):
    """A checkpoint of a predecessor has weights alone."""
    state, _ = checkpoint.read_state(finished["classification"].folder)
    del state["labels"]
    state["model"] = {
        name: value[:2] if name.startswith("mlp.layers.1") else value for name, value in state["model"].items()
    }
    torch.save(state, tmp_path / "old.pth")
    with pytest.raises(ConfigError, match="its head has 2 outputs, this run 3"):
        run(config("classification", table, checkpoint=str(tmp_path / "old.pth")), RunOptions(out=str(tmp_path / "a")))
    with pytest.raises(ConfigError, match="holds no head: .*Give it as `model_checkpoint`"):
        run(
            config("classification", table, checkpoint=os.path.join(finished["regression"].folder, "encoder.pth")),
            RunOptions(out=str(tmp_path / "b")),
        )


# === data that cannot be learned from ===


@pytest.mark.parametrize(
    "kind, change, message",
    [
        (
            "regression",
            {"task": {"task": ["meltin"]}},
            "task.task: `meltin` is no label of StructureFolder. Did you mean",
        ),
        ("multilabel", {"task": {"task": [0, 9]}}, "task.task: `9` is no label of StructureFolder, which has 3"),
        ("classification", {"task": {"num_class": 2}}, "task.num_class: is 2, but `fold` has 3 classes in the data"),
    ],
)
def test_labels_that_the_data_lack_are_told(table, tmp_path, kind, change, message):
    made = config(kind, table)
    made["task"].update(change["task"])
    with pytest.raises(ConfigError, match=message):
        run(made, RunOptions(out=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_a_label_never_positive_and_a_split_with_one_class_are_told_before_training(table, tmp_path, caplog, capsys):
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["fold"] = "same" if row["split"] == "train" else row["fold"]
    path = tmp_path / "one.csv"
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    code = main(
        [
            "-c",
            os.path.join(OWN, "classification.yaml"),
            "--table",
            str(path),
            "--target",
            "fold",
            "--out",
            str(tmp_path / "out"),
        ]
    )
    message = capsys.readouterr().err.splitlines()[-1]
    assert code == 1 and "task: ProteinPropertyPrediction cannot be prepared from the training set: " in message
    assert "Traceback" not in message and not (tmp_path / "out").exists()


def test_the_rows_of_a_subset_of_a_subset_are_found():
    class Data(torch.utils.data.Dataset):
        names = list("abcde")

        def __len__(self):
            return 5

        def labels(self, index):
            return {"targets": torch.tensor([1.0, float(index > 2)]), "kind": float("nan") if index == 4 else index % 2}

    part = torch.utils.data.Subset(torch.utils.data.Subset(Data(), [4, 3, 0]), [0, 2])
    assert labels.item_names(part) == ["e", "a"]
    assert labels.occurrences(part, "targets", 2) == [2, 1]
    assert labels.occurrences(part, "kind", 2) == [1, 0]
