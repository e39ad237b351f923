"""Fmax, average precision and AUROC: against loops, scikit-learn and TorchDrug, with ties and without."""
import math

import pytest
import torch

import plain_metrics as plain
from gearnet_plugin import metrics
from test_metrics import example
from torchdrug import metrics as stock

CONVENTIONS = {"published": plain.published_fmax, "cafa": plain.cafa_fmax}


def mean(values):
    values = [value for value in values if value is not None]
    return sum(values) / len(values)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("ties", [True, False])
def test_fmax_is_its_definition(convention, ties):
    """Value and threshold are those of loops over all thresholds; the value also has its name in `compute`."""
    for seed in range(8):
        pred, target = example("multilabel", seed, rows=12, ties=ties)
        value, threshold = CONVENTIONS[convention](pred.tolist(), target.tolist())
        assert metrics.fmax(pred, target, convention) == pytest.approx((value, threshold), abs=1e-12)
        name = "f1_max" if convention == "published" else "f1_max@cafa"
        assert metrics.compute(name, "multilabel", pred, target)[name] == pytest.approx(value, abs=1e-7)


def test_conventions_differ_by_proteins_without_annotation():
    """CAFA's is the published one of the annotated proteins alone, and higher where others are there."""
    pred, target = example("multilabel")
    annotated = target.any(dim=1)
    assert metrics.fmax(pred, target, "cafa") == metrics.fmax(pred[annotated], target[annotated], "published")
    assert metrics.fmax(pred, target, "cafa")[0] > metrics.fmax(pred, target, "published")[0] + 0.02


def test_fmax_by_hand():
    """Two annotated proteins and one without, all tied at 1: precision 1/4, recall 2/3 of all, 1 of annotated."""
    target = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 0, 0]])
    pred = torch.ones(3, 3)
    precision = (1 / 3 + 2 / 3 + 0) / 3
    assert metrics.fmax(pred, target) == pytest.approx((2 * precision * (2 / 3) / (precision + 2 / 3), 1.0))
    assert metrics.fmax(pred, target, "cafa") == pytest.approx((2 * 0.5 * 1 / 1.5, 1.0))
    assert metrics.fmax(target.float(), target, "cafa") == (1.0, 1.0)


def test_of_equal_fmax_the_highest_threshold_is_told():
    """One of one right of two, and two of four, have the same F."""
    assert metrics.fmax(torch.tensor([[4.0, 3, 2, 1]]), torch.tensor([[1, 0, 0, 1]])) == (pytest.approx(2 / 3), 4.0)


def test_fmax_without_annotation():
    """Published: recall and so F are 0 at every threshold. CAFA's has no proteins, so no value."""
    pred, target = torch.rand(3, 2), torch.zeros(3, 2)
    value, threshold = metrics.fmax(pred, target)
    assert value == 0 and math.isnan(threshold)
    assert all(math.isnan(number) for number in metrics.fmax(pred, target, "cafa"))
    with pytest.raises(ValueError, match="`CAFA` is no convention of Fmax. Allowed: `published`, `cafa`"):
        metrics.fmax(pred, target, "CAFA")


def test_fmax_over_blocks_of_proteins(monkeypatch):
    """How many proteins are worked on at a time changes nothing."""
    pred, target = example("multilabel")
    whole = metrics.fmax(pred, target)
    monkeypatch.setattr("gearnet_plugin.metrics.protein_centric.BLOCK", 3 * pred.shape[1])
    assert metrics.fmax(pred, target) == whole


@pytest.mark.parametrize("ties", [True, False])
def test_areas_are_their_definition(ties):
    for seed in range(5):
        pred, target = example("multilabel", seed, rows=15, ties=ties)
        found = metrics.compute(metrics.names("multilabel"), "multilabel", pred, target)
        flat = pred.flatten().tolist(), target.flatten().tolist()
        columns = list(zip(pred.t().tolist(), target.t().tolist()))
        assert found["auprc@micro"] == pytest.approx(plain.average_precision(*flat), abs=1e-7)
        assert found["auroc@micro"] == pytest.approx(plain.auroc(*flat), abs=1e-7)
        assert found["auprc@macro"] == pytest.approx(mean(plain.average_precision(*c) for c in columns), abs=1e-7)
        assert found["auroc@macro"] == pytest.approx(mean(plain.auroc(*c) for c in columns), abs=1e-7)


@pytest.mark.parametrize("ties", [True, False])
def test_areas_are_those_of_scikit_learn(ties):
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    pred, target = example("multilabel", rows=300, ties=ties)
    found = metrics.compute(metrics.names("multilabel"), "multilabel", pred, target)
    seen = target.any(dim=0)
    for average in ("micro", "macro"):
        ap = sklearn.average_precision_score(target[:, seen], pred[:, seen], average=average)
        auroc = sklearn.roc_auc_score(target[:, seen], pred[:, seen], average=average)
        if average == "micro":  # of all labels, also the one that never occurs
            ap = sklearn.average_precision_score(target.flatten(), pred.flatten())
            auroc = sklearn.roc_auc_score(target.flatten(), pred.flatten())
        assert found["auprc@%s" % average] == pytest.approx(ap, abs=1e-7)
        assert found["auroc@%s" % average] == pytest.approx(auroc, abs=1e-7)
    score, label = example("binary", rows=300, ties=ties)
    found = metrics.compute(["auroc", "auprc"], "binary", score, label)
    assert found["auprc"] == pytest.approx(sklearn.average_precision_score(label, score), abs=1e-7)
    assert found["auroc"] == pytest.approx(sklearn.roc_auc_score(label, score), abs=1e-7)


def test_untied_values_are_those_of_torchdrug():
    pred, target = example("multilabel", rows=200, ties=False)
    found = metrics.compute(metrics.names("multilabel"), "multilabel", pred, target)
    score, label = pred.double(), target.long()
    assert found["f1_max"] == pytest.approx(float(stock.f1_max(score, label)), abs=1e-6)
    assert found["auprc@micro"] == pytest.approx(
        float(stock.area_under_prc(score.flatten(), label.flatten())), abs=1e-6)
    assert found["auroc@micro"] == pytest.approx(
        float(stock.area_under_roc(score.flatten(), label.flatten())), abs=1e-6)
    # its mean counts a label that never occurs as 0
    each = [float(stock.area_under_prc(score[:, i], label[:, i])) for i in range(7)]
    assert each[3] == 0 and found["auprc@macro"] == pytest.approx(sum(each) / 6, abs=1e-6)


def test_torchdrug_goes_wrong_where_scores_are_tied():
    """What these metrics are for: the host's depend on the order of the rows, and Fmax is too high."""
    pred, target = example("multilabel")
    flat, label = pred.flatten(), target.flatten()
    orders = [torch.randperm(len(flat), generator=torch.Generator().manual_seed(seed)) for seed in range(20)]
    assert torch.stack([stock.area_under_prc(flat[order], label[order]) for order in orders]).std() > 0.003
    ours = [metrics.compute("auprc", "binary", flat[order], label[order])["auprc"] for order in orders]
    assert len({float(value) for value in ours}) == 1
    equal, target = torch.zeros(2, 2), torch.tensor([[1, 0], [1, 0]])
    assert metrics.fmax(equal, target)[0] == pytest.approx(2 / 3)
    assert float(stock.f1_max(equal, target)) > 0.8


def test_no_value_without_positives_or_negatives():
    pred = torch.rand(6, 2)
    for target, names in ((torch.zeros(6, 2), ["auprc@micro", "auprc@macro", "auroc@micro", "auroc@macro"]),
                          (torch.ones(6, 2), ["auroc@micro", "auroc@macro"])):
        found = metrics.compute(names, "multilabel", pred, target)
        assert all(value.isnan() for value in found.values())
    assert metrics.compute("auprc", "binary", pred[:, 0], torch.ones(6))["auprc"] == 1


def test_infinite_scores_have_a_rank():
    """A label that is ruled out (-inf) is below all others."""
    pred, target = torch.tensor([[-math.inf, 0.0, math.inf]]), torch.tensor([[0, 1, 1]])
    assert metrics.fmax(pred, target) == (1.0, 0.0)
    assert metrics.compute("auroc@micro", "multilabel", pred, target)["auroc@micro"] == 1


def test_table_of_labels():
    """Support, average precision, AUROC and best F1 of each label are those of the label alone."""
    pred, target = example("multilabel", rows=20)
    table = metrics.per_class("multilabel", pred, target, list("abcdefg"))
    assert list(table) == ["label", "support", "ap", "auroc", "f1"]
    assert table["label"] == list("abcdefg") and table["support"] == target.sum(0).tolist()
    for i, column in enumerate(zip(pred.t().tolist(), target.t().tolist())):
        for name, definition in (("ap", plain.average_precision), ("auroc", plain.auroc), ("f1", plain.best_f1)):
            value = definition(*column)
            assert table[name][i] == pytest.approx(math.nan if value is None else value, nan_ok=True)
    assert math.isnan(table["ap"][3]) and math.isnan(table["f1"][3]) and math.isnan(table["auroc"][3])
    assert metrics.per_class("multilabel", pred, target)["label"] == list("0123456")
    with pytest.raises(ValueError, match="2 labels are named, but 7 are predicted"):
        metrics.per_class("multilabel", pred, target, ["a", "b"])


def test_table_of_one_label_and_of_numbers():
    score, label = example("binary", rows=20)
    table = metrics.per_class("binary", score, label, ["binds"])
    found = metrics.compute(["auroc", "auprc"], "binary", score, label)
    assert table["label"] == ["binds"] and table["support"] == [int(label.sum())]
    assert table["ap"] == pytest.approx([float(found["auprc"])]) and table["auroc"] == pytest.approx(
        [float(found["auroc"])])
    assert metrics.per_class("number", *example("number"), ["y"]) == {}
