"""tasks.ProteinPropertyPrediction: what is wrong with arguments, labels and weights is said before training."""

import logging
import math

import pytest
import torch
from torch.utils.data import Subset

from gearnet_plugin.datasets import StructureFolder
from gearnet_plugin.models import GearNetEncoder
from gearnet_plugin.structures.bundled import bundled_path, bundled_table
from gearnet_plugin.tasks import ProteinPropertyPrediction, targets
from proteins import chain

NAN = math.nan


def task(task=("a",), criterion="ce", **kwargs):
    return ProteinPropertyPrediction(GearNetEncoder(21, [8], 7), task, criterion, **kwargs)


def items(values, name="a"):
    return [{"graph": None, name: value} for value in values]


def rows(*vectors):
    return [{"graph": None, "targets": torch.tensor(vector, dtype=torch.float)} for vector in vectors]


# === arguments ===


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(task=()), "task should say which labels to predict.*it is empty"),
        (dict(task=[0, "a"], criterion="bce"), "columns .whole numbers. or of names of labels, but found .0, a."),
        (dict(task=[True], criterion="bce"), "whole numbers"),
        (dict(task=[3, 3], criterion="bce"), r"names a label twice: \[3, 3\]"),
        (dict(task=[-1], criterion="bce"), "counted from 0, but task holds -1"),
        (dict(task={"a": -1}), "the weight of label `a` should be a number of at least 0, but found -1"),
        (dict(task=[0, 1], criterion="ce"), "which only `bce` fits, but criterion is `ce`"),
        (dict(task=[0, 1], criterion="bce", level="residue"), "labels of proteins, but level is `residue`"),
        (dict(level="atom"), "level should be `protein` or `residue`, but found `atom`"),
        (dict(criterion="crossentropy"), "one of `bce`, `ce`, `mse`, but found `crossentropy`"),
        (dict(criterion=["ce", "bce"]), r"one of .*, but found \[ce, bce\]"),
        (dict(metric="accuracy"), "no metric of class targets is called `accuracy`.*Did you mean `acc`"),
        (dict(metric=["auprc@micro"]), "It is for targets of kind `multilabel`"),
        (dict(num_class=1), "num_class should be a whole number of at least 2, but found 1"),
        (dict(num_class=[3, 4]), "a number for each of 1 labels, but found 2"),
        (dict(criterion="mse", num_class=3), "num_class is for criterion `ce`, but found 3 for numbers"),
        (dict(num_mlp_layer=0), "num_mlp_layer should be a whole number of at least 1"),
        (dict(mlp_dropout=1), "mlp_dropout should be at least 0 and below 1, but found 1"),
        (dict(mlp_batch_norm="false"), "mlp_batch_norm should be true or false"),
        (dict(freeze_encoder="no"), "freeze_encoder should be true or false"),
        (dict(criterion="mse", class_weight="balanced"), "with `mse` there are no classes"),
        (dict(class_weight="balance"), "None, `balanced`, `reweight` or a list of numbers, but found `balance`"),
        (dict(class_weight="reweight"), "`reweight` is for `bce`; with `ce` take `balanced`"),
        (dict(class_weight=[1.0, 0.0]), "numbers above 0, but found `1.0`, `0.0`"),
        (dict(class_weight=[1.0, 2.0], num_class=3), "for each of 3 classes, but found 2"),
        (dict(task=[0, 1, 2], criterion="bce", class_weight=[1.0]), "for each of 3 labels, but found 1"),
    ],
)
def test_a_wrong_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        task(**arguments)


def test_an_encoder_without_width_is_refused():
    with pytest.raises(ValueError, match="should have an `output_dim`.*`Linear` has none"):
        ProteinPropertyPrediction(torch.nn.Linear(2, 2), "a", "ce")


def test_a_head_of_one_layer_has_nothing_between_its_layers(caplog):
    with caplog.at_level(logging.WARNING):
        task(mlp_dropout=0.5)
    assert "do nothing with num_mlp_layer 1" in caplog.text


# === labels ===


@pytest.mark.parametrize(
    "arguments, train, others, message",
    [
        (dict(), items([0, 1], "fold"), (), "no label is called `a` in item 0 of the training set.* There are `fold`"),
        (dict(task="fold_label"), items([0, 1], "fold_labels"), (), "Did you mean `fold_labels`"),
        (dict(), items([0, 1]), (None, items([0, 1], "b")), "no label is called `a` in item 0 of the test set"),
        (dict(), items([torch.zeros(3)] * 2), (), r"one number a protein.*item 0 of the training set has shape \(3,\)"),
        (dict(), items([0, 1, 0.5]), (), "whole numbers, but `a` is 0.5 in item 2 of the training set.*`mse`"),
        (dict(), items([0, 1]), (items([0, -1]),), "counted from 0, but `a` is -1 in item 1 of the validation set"),
        (
            dict(num_class=3),
            items([0, 1, 2]),
            (None, items([0, 3])),
            r"num_class is 3, so classes are 0 to 2, but `a` has class 3 \(item 1 of the test set\). Give at least 4",
        ),
        (dict(), items([2, 2, NAN, 2]), (), "all labeled items of the training set have one class of `a`, 2"),
        (dict(), items([NAN, NAN]), (), "no item of the training set has the label `a`"),
        (dict(), [], (), "nothing to train on"),
        (dict(criterion="bce"), items([0, 1, 2]), (), "labels 0 and 1, but `a` is 2 in item 2 of the training set"),
        (dict(criterion="bce"), items([0, 0]), (), "`a` is never 1 in the training set"),
        (dict(criterion="bce"), items([1, 1]), (), "all labeled items of the training set have one value of `a`, 1"),
        (dict(criterion="mse"), items([3.5, 3.5, NAN]), (), "nothing can be learned of `a`: it is always 3.5"),
        (dict(criterion="mse"), items([3.5, NAN]), (), "one item has it"),
        (
            dict(criterion="mse"),
            items([1.0, 2.0]),
            (items([math.inf]),),
            "`a` is infinite in item 0 of the validation set",
        ),
        (dict(class_weight=[1.0, 2.0]), items([0, 1, 2]), (), "for each of 3 classes, but found 2"),
        (dict(task=[0, 2], criterion="bce"), rows([0, 1]), (), "lists column 2 .* but the training set has 2"),
        (dict(task=[0], criterion="bce"), items([0, 1], "fold"), (), "no `targets`. The labels it has: `fold`"),
        (
            dict(task=[0, 1], criterion="bce"),
            rows([0, 0, 1], [0, 0, 1]),
            (),
            "none of the 2 labels ever occurs in the training set of 2 items.*another data set",
        ),
        (dict(task=[0], criterion="bce"), rows([1, 0], [1, 0]), (), "is there for every item of the training set"),
        (
            dict(task=[0, 1], criterion="bce"),
            rows([0, 3]),
            (),
            "0, 1, or NaN for no label, but item 0 of the training set",
        ),
        (dict(level="residue"), [{"graph": chain(5)}], (), "of the training set have no residue attribute `a`"),
    ],
)
def test_faulty_labels_are_named_before_training(arguments, train, others, message):
    with pytest.raises(ValueError, match=message):
        task(**arguments).preprocess(train, *(*others, None, None)[:2])


@pytest.mark.parametrize(
    "arguments, train, others, message",
    [
        (dict(), items([0, 1]), (items([1, 1]),), "all labeled items of the validation set have one class of `a`, 1"),
        (dict(), items([0, 1]), (None, items([NAN])), "no item of the test set has the label `a`"),
        (
            dict(),
            items([0, 1, 1]),
            (items([0, 4]), items([5, 0])),
            "2 classes of `a` occur in validation or test but never in the training set, and cannot be learned: `4`",
        ),
        (
            dict(task=[0, 1, 2], criterion="bce"),
            rows([0, 1, 0], [0, 0, 0]),
            (),
            "2 of 3 labels never occur in the training set and cannot be learned: `0`, `2`",
        ),
    ],
)
def test_labels_that_are_odd_but_usable_are_told(arguments, train, others, message, caplog):
    """As the official splits have them; such a task trains."""
    with caplog.at_level(logging.WARNING):
        task(**arguments).preprocess(train, *(*others, None, None)[:2])
    assert message in caplog.text


def test_classes_are_counted_in_all_sets():
    """A class may be in validation or test alone."""
    found = task()
    found.preprocess(items([0, 1, NAN]), items([2, 0]), items([5, 1]))
    assert found.num_class == [6] and found.mlp.layers[-1].weight.shape[0] == 6


# === labels of data sets ===


def table(path, columns, count=12):
    rows = sorted(bundled_table(), key=lambda row: row["length"])[:count]
    lines = ["structure,chain,split," + ",".join(columns)]
    for i, row in enumerate(rows):
        cells = [str(values[i % len(values)]) for values in columns.values()]
        lines.append(
            ",".join(
                [
                    f"{bundled_path()}/{row['structure']}",
                    row["chain"],
                    ["train", "train", "valid", "test"][i % 4],
                    *cells,
                ]
            )
        )
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_labels_are_read_without_proteins(tmp_path, monkeypatch):
    """Of subsets of subsets too."""
    path = table(tmp_path / "t.csv", {"fold": ["x", "y", ""], "t": [1.5, 2.5], "go": ["u;v", "v", ""]})
    named = StructureFolder(path, ["fold", "t"], verbose=0)
    many = StructureFolder(path, "go", verbose=0)
    for dataset in (named, many):
        monkeypatch.setattr(dataset, "graph", lambda index: pytest.fail("a protein was made"))
    train, valid, test = named.split()
    found = targets.read_labels({"training": Subset(train, [3, 0]), "test": test}, ["fold", "t"])
    first = found["fold"][0].values
    assert math.isnan(first[0]) == math.isnan(named.labels(train.indices[3])["fold"])
    assert found["t"][0].values.tolist() == [named.labels(train.indices[i])["t"] for i in (3, 0)]
    assert len(found["t"][1].values) == len(test)
    other = task("fold", num_class=None)
    other.preprocess(train, valid, test)
    assert other.num_class == [2]
    counts = targets.read_counts(many, [0, 1], "training")
    expected = sum(many.labels(i)["targets"] for i in range(len(many)))
    assert counts.positive.tolist() == expected.tolist() and counts.items == len(many)


def test_what_a_data_set_knows_of_a_label_is_compared(tmp_path):
    path = table(tmp_path / "t.csv", {"fold": ["x", "y"], "t": [1.5, 2.5], "n": [0, 1]})
    dataset = StructureFolder(path, ["fold", "t", "n"], verbose=0)
    with pytest.raises(ValueError, match="`mse` is for numbers, but `fold` holds names of classes .`x`"):
        task("fold", "mse").preprocess(*dataset.split())
    with pytest.raises(ValueError, match="`ce` is for classes, but `t` holds numbers. Set criterion `mse`"):
        task("t", "ce").preprocess(*dataset.split())
    # classes that are whole numbers may be meant as numbers
    task("n", "mse").preprocess(*dataset.split())
    names = task(["go"], "ce")
    with pytest.raises(ValueError, match="no label is called `go`.*There are `fold`, `t`, `n`"):
        names.preprocess(*dataset.split())


def test_names_of_labels_that_never_occur(tmp_path, caplog):
    path = table(tmp_path / "t.csv", {"go": ["u;v", "v", "rare", "v"]})
    dataset = StructureFolder(path, "go", kind="multilabel", verbose=0)
    found = task([0, 1, 2], "bce")
    with caplog.at_level(logging.WARNING):
        found.preprocess(*dataset.split())
    assert dataset.tasks == ["rare", "u", "v"]
    assert "1 of 3 labels never occur in the training set and cannot be learned: `rare`" in caplog.text
    assert "occurs in the validation set" not in caplog.text


# === weights ===


@pytest.mark.parametrize(
    "ours, theirs, message",
    [
        (
            dict(task=[0, 1, 2], criterion="bce"),
            dict(task=[0, 1], criterion="bce"),
            "they are for 2 labels, this task has 3: the labels of another data set",
        ),
        (
            dict(task=[0, 1], criterion="bce"),
            dict(task=[0, 5], criterion="bce"),
            r"other columns of `targets` \(\[0, 5\]\) than this task \(\[0, 1\]\)",
        ),
        (dict(num_class=3), dict(num_class=7), "they tell 7 classes apart, this task has 3.*another num_class"),
        (dict(task=[0, 1], criterion="bce"), dict(num_class=2), "another task: they predict labels by name"),
        (dict(num_class=2), dict(task=[0, 1], criterion="bce"), "columns of `targets`, this one labels by name"),
    ],
)
def test_weights_of_another_task_are_explained(ours, theirs, message):
    ours, theirs = task(**ours), task(**theirs)
    assert not ours.explain_mismatch(ours.state_dict())
    with pytest.raises(ValueError, match="these weights do not fit: .*" + message):
        ours.load_state_dict(theirs.state_dict())
    # inside something larger, as an engine or a wrapper has it
    with pytest.raises(ValueError, match=message):
        torch.nn.ModuleDict({"task": ours}).load_state_dict(torch.nn.ModuleDict({"task": theirs}).state_dict())
