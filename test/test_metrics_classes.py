"""Accuracy, top-k, MCC and F1 of classes, and errors and correlations of numbers."""
import math

import pytest
import torch
from torch.nn import functional as F

import plain_metrics as plain
from gearnet_plugin import metrics
from test_metrics import example
from torchdrug import metrics as stock


def one(name, kind, pred, target):
    return float(metrics.compute(name, kind, torch.as_tensor(pred), torch.as_tensor(target))[metrics.title(name)])


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_top_k_is_the_mean_over_all_orders_of_tied_classes(k):
    pred = torch.randint(3, (25, 5), generator=torch.Generator().manual_seed(0)).float()
    target = torch.randint(5, (25,), generator=torch.Generator().manual_seed(1))
    expected = plain.top_k(pred.tolist(), target.tolist(), k)
    assert one("top_%d" % k, "class", pred, target) == pytest.approx(expected, abs=1e-7)
    if k == 1:
        assert one("acc", "class", pred, target) == pytest.approx(expected, abs=1e-7)
    assert one("top_9", "class", pred, target) == 1


def test_untied_classes_are_those_of_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    pred, target = example("class", rows=300, ties=False)
    target[target == 4] = 5
    pred[target == 2, 2] += 2
    best = pred.argmax(1)
    assert one("acc", "class", pred, target) == pytest.approx(sklearn.accuracy_score(target, best), abs=1e-7)
    for k in (2, 5):
        expected = sklearn.top_k_accuracy_score(target, pred, k=k, labels=range(7))
        assert one("top_%d" % k, "class", pred, target) == pytest.approx(expected, abs=1e-7)
    assert one("mcc", "class", pred, target) == pytest.approx(sklearn.matthews_corrcoef(target, best), abs=1e-7)
    expected = sklearn.f1_score(target, best, average="macro")
    assert one("f1@macro", "class", pred, target) == pytest.approx(expected, abs=1e-7)

    table = metrics.per_class("class", pred, target, list("abcdefg"))
    assert list(table) == ["label", "support", "precision", "recall", "f1"]
    precision, recall, f1, support = sklearn.precision_recall_fscore_support(
        target, best, labels=range(7), zero_division=math.nan)
    assert table["support"] == support.tolist()
    for name, column in (("precision", precision), ("recall", recall), ("f1", f1)):
        assert table[name] == pytest.approx(column.tolist(), nan_ok=True)


def test_untied_values_are_those_of_torchdrug():
    pred, target = example("class", rows=300, ties=False)
    assert one("acc", "class", pred, target) == pytest.approx(float(stock.accuracy(pred, target)), abs=1e-6)
    assert one("mcc", "class", pred, target) == pytest.approx(float(stock.matthews_corrcoef(pred, target)), abs=1e-6)
    pred, target = example("number", rows=300, ties=False)
    for name, function in (("pearsonr", stock.pearsonr), ("spearmanr", stock.spearmanr), ("r2", stock.r2),
                           ("mae", F.l1_loss), ("rmse", lambda p, t: F.mse_loss(p, t).sqrt())):
        expected = float(function(pred.double(), target.double()))
        assert one(name, "number", pred, target) == pytest.approx(expected, abs=1e-6)
    pred, target = example("binary", rows=300, ties=False)
    for name, function in (("auroc", stock.area_under_roc), ("auprc", stock.area_under_prc)):
        assert one(name, "binary", pred, target) == pytest.approx(float(function(pred, target)), abs=1e-6)


def test_classes_that_occur_nowhere_have_no_value():
    """Never predicted: no precision. Never there: no recall. Neither: no F1, and no part in its mean."""
    pred, target = torch.eye(4)[[0, 0, 1]], torch.tensor([0, 2, 2])
    table = metrics.per_class("class", pred, target)
    nan = math.nan
    assert table["support"] == [1, 0, 2, 0]
    assert table["precision"] == pytest.approx([0.5, 0, nan, nan], nan_ok=True)
    assert table["recall"] == pytest.approx([1, nan, 0, nan], nan_ok=True)
    assert table["f1"] == pytest.approx([2 / 3, 0, 0, nan], nan_ok=True)
    assert one("f1@macro", "class", pred, target) == pytest.approx(2 / 9)


def test_tied_classes_share_the_prediction():
    """Two tied classes count one half each, in the table as in accuracy."""
    pred, target = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]]), torch.tensor([0, 1])
    table = metrics.per_class("class", pred, target)
    assert table["recall"][:2] == [0.5, 1] and table["precision"][:2] == pytest.approx([1, 2 / 3])
    assert one("acc", "class", pred, target) == 0.75
    support, predicted = torch.tensor([1.0, 1, 0]), torch.tensor([0.5, 1.5, 0])
    expected = (1.5 * 2 - support @ predicted) / ((4 - predicted @ predicted) * (4 - support @ support)).sqrt()
    assert one("mcc", "class", pred, target) == pytest.approx(float(expected))


def test_constant_predictions_have_mcc_zero():
    assert one("mcc", "class", torch.eye(3)[[1, 1, 1]], torch.tensor([0, 1, 2])) == 0
    assert one("mcc", "class", torch.eye(3)[[0, 1, 2]], torch.tensor([1, 1, 1])) == 0


def test_one_logit_against_zero():
    """Binary predictions are 1 above 0; at 0 one half is."""
    pred, target = torch.tensor([2.0, -1.0, 0.5, -3.0]), torch.tensor([1, 0, 0, 1])
    assert one("acc", "binary", pred, target) == 0.5 and one("mcc", "binary", pred, target) == 0
    assert one("acc", "binary", torch.zeros(3), torch.tensor([1, 0, 0])) == 0.5
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    pred, target = example("binary", rows=200, ties=False)
    pred = pred + target
    assert one("mcc", "binary", pred, target) == pytest.approx(sklearn.matthews_corrcoef(target, pred > 0), abs=1e-7)
    assert one("acc", "binary", pred, target) == pytest.approx(sklearn.accuracy_score(target, pred > 0), abs=1e-7)


@pytest.mark.parametrize("ties", [True, False])
def test_correlations_are_their_definition(ties):
    pred, target = example("number", rows=60, ties=ties)
    assert one("pearsonr", "number", pred, target) == pytest.approx(
        plain.pearson(pred.tolist(), target.tolist()), abs=1e-7)
    assert one("spearmanr", "number", pred, target) == pytest.approx(
        plain.pearson(plain.ranks(pred.tolist()), plain.ranks(target.tolist())), abs=1e-7)


@pytest.mark.parametrize("ties", [True, False])
def test_spearman_is_that_of_scipy(ties):
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    pred, target = example("number", rows=300, ties=ties)
    expected = stats.spearmanr(pred, target).statistic
    assert one("spearmanr", "number", pred, target) == pytest.approx(expected, abs=1e-7)
    target[:200] = 0  # tied in one alone
    expected = stats.spearmanr(pred, target).statistic
    assert one("spearmanr", "number", pred, target) == pytest.approx(expected, abs=1e-7)


def test_errors_by_hand():
    pred, target = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1, 4, 4])
    assert one("mae", "number", pred, target) == pytest.approx(2 / 3)
    assert one("rmse", "number", pred, target) == pytest.approx(math.sqrt(4 / 3))
    assert one("r2", "number", pred, target) == pytest.approx(1 - 4 / 6)


def test_constants_have_no_correlation():
    """Also of 0.1, whose mean over ten is not 0.1 exactly."""
    for number in range(3, 40):
        constant, other = torch.full((number,), 0.1, dtype=torch.float64), torch.arange(float(number))
        for name in ("pearsonr", "spearmanr"):
            assert math.isnan(one(name, "number", constant, other))
            assert math.isnan(one(name, "number", other, constant))
        assert math.isnan(one("r2", "number", other, constant))
        assert one("r2", "number", constant, other) < 0


def test_correlation_far_from_zero():
    """A common shift of a million costs no digits."""
    pred, target = example("number", rows=50, ties=False)
    expected = one("pearsonr", "number", pred.double(), target)
    assert one("pearsonr", "number", pred.double() + 1e6, target) == pytest.approx(expected, abs=1e-7)
