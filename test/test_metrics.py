"""Metrics by name: what a kind of target has, what it is called, what is refused, and what never changes a value."""
import math

import pytest
import torch

from gearnet_plugin import metrics
from gearnet_plugin.metrics.evaluation import Evaluation
from torchdrug import tasks


def example(kind, seed=0, rows=40, ties=True):
    """Predictions and targets of a kind, with many tied scores; some proteins and one label are never positive."""
    generator = torch.Generator().manual_seed(seed)
    draw = torch.randn(rows, 7, generator=generator)
    if ties:
        draw = (draw * 2).round() / 2
    positive = torch.rand(rows, 7, generator=generator) < 0.2
    positive[:, 3] = False
    positive[::4] = False
    if kind == "multilabel":
        return draw + positive, positive.long()
    if kind == "class":
        return draw, torch.randint(7, (rows,), generator=generator)
    if kind == "binary":
        return draw[:, 0], torch.randint(2, (rows,), generator=generator)
    return draw[:, 0], draw[:, 0] + draw[:, 1]


kinds = pytest.mark.parametrize("kind", metrics.KINDS)


@kinds
def test_every_name_has_a_value(kind):
    """Every name gives a finite float32 scalar under its title, in the order of the names."""
    found = metrics.compute(metrics.names(kind), kind, *example(kind))
    assert list(found) == [metrics.title(name) for name in metrics.names(kind)]
    for value in found.values():
        assert value.shape == () and value.dtype == torch.float32 and value.isfinite()


def test_titles_are_those_of_torchdrug():
    for kind in metrics.KINDS:
        for name in metrics.names(kind):
            assert metrics.title(name) == tasks._get_metric_name(name)


def test_what_is_better():
    """Errors are better when lower, everything else when higher; by name and by title."""
    lower = {name for kind in metrics.KINDS for name in metrics.names(kind) if not metrics.higher_is_better(name)}
    assert lower == {"mae", "rmse"}
    assert not metrics.higher_is_better("root mean squared error") and metrics.higher_is_better("accuracy")
    assert metrics.higher_is_better("top_17") and metrics.higher_is_better("accuracy [fold]")
    assert not metrics.higher_is_better("mean absolute error [length]")
    with pytest.raises(ValueError, match="no metric is called `f1max`. Did you mean `f1_max`"):
        metrics.higher_is_better("f1max")


def test_unknown_names_are_refused():
    assert metrics.check("acc", "class") == ("acc",)
    assert metrics.check({"acc": 1, "top_12": 1}, "class") == ("acc", "top_12")
    with pytest.raises(ValueError, match="`f1_mx`. Did you mean `f1_max`.*Allowed: `f1_max`, `f1_max@cafa`"):
        metrics.check(["f1_mx"], "multilabel")
    with pytest.raises(ValueError, match="`rmse`.* It is for targets of kind `number`"):
        metrics.check(["rmse"], "class")
    with pytest.raises(ValueError, match="`top_0`.* Did you mean `top_5`.*any other K"):
        metrics.check(["top_0"], "class")
    with pytest.raises(ValueError, match="`regression` is no kind of target. Allowed: `multilabel`"):
        metrics.compute(["mae"], "regression", *example("number"))


@kinds
def test_order_of_rows_changes_nothing(kind):
    """Not even the last digit of double precision, with ties and without."""
    def values(pred, target):
        evaluation = Evaluation(kind, pred, target)
        return [evaluation.value(name, evaluation.every) for name in metrics.names(kind)]

    for ties in (True, False):
        pred, target = example(kind, ties=ties)
        before = values(pred, target)
        for seed in range(5):
            order = torch.randperm(len(pred), generator=torch.Generator().manual_seed(seed))
            assert values(pred[order], target[order]) == before


@pytest.mark.parametrize("kind", ["multilabel", "class"])
def test_order_of_labels_changes_nothing(kind):
    pred, target = example(kind)
    before = metrics.compute(metrics.names(kind), kind, pred, target)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1))
    target = target[:, order] if kind == "multilabel" else order.argsort()[target]
    after = metrics.compute(metrics.names(kind), kind, pred[:, order], target)
    torch.testing.assert_close(after, before, rtol=1e-7, atol=0)


@pytest.mark.parametrize("kind, names", [
    ("multilabel", metrics.names("multilabel")), ("class", metrics.names("class")),
    ("binary", ("auroc", "auprc")), ("number", ("spearmanr",))])
def test_monotone_maps_change_nothing(kind, names):
    """Logits and probabilities have the same values, as long as no two scores fall together."""
    pred, target = example(kind, ties=False)
    before = metrics.compute(names, kind, pred.double(), target)
    assert metrics.compute(names, kind, pred.double().sigmoid(), target) == before
    assert metrics.compute(names, kind, 3 * pred.double() - 5, target) == before


@kinds
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes_of_predictions(kind, dtype):
    """The same as of double precision, for scores that all hold exactly; gradients are no hindrance."""
    pred, target = example(kind)
    expected = metrics.compute(metrics.names(kind), kind, pred.double(), target)
    found = metrics.compute(metrics.names(kind), kind, pred.to(dtype).requires_grad_(), target.float())
    assert found == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@kinds
def test_a_gpu_gives_the_same(kind):
    pred, target = example(kind)
    found = metrics.compute(metrics.names(kind), kind, pred.cuda(), target)
    assert all(value.is_cuda for value in found.values())
    expected = metrics.compute(metrics.names(kind), kind, pred, target)
    torch.testing.assert_close({name: value.cpu() for name, value in found.items()}, expected, rtol=1e-6, atol=0)
    assert metrics.per_class(kind, pred.cuda(), target.cuda()).keys() == metrics.per_class(kind, pred, target).keys()


@kinds
def test_nan_is_refused_and_counted(kind):
    pred, target = example(kind)
    pred[3], pred[5] = math.nan, math.nan
    wrong, total = int(pred.isnan().sum()), pred.numel()
    with pytest.raises(ValueError, match=r"%d of %d predictions are NaN.*the first at \[3" % (wrong, total)):
        metrics.compute(metrics.names(kind)[:1], kind, pred, target)


@kinds
def test_nothing_is_refused(kind):
    pred, target = example(kind)
    with pytest.raises(ValueError, match="nothing is predicted"):
        metrics.compute(metrics.names(kind)[:1], kind, pred[:0], target[:0])


@kinds
def test_shapes_that_do_not_fit_are_refused(kind):
    pred, target = example(kind)
    with pytest.raises(ValueError, match=r"%s targets need predictions \[.*they are \[40.* and \[39" % kind):
        metrics.compute(metrics.names(kind)[:1], kind, pred, target[1:])
    with pytest.raises(ValueError, match="targets need"):
        metrics.compute(metrics.names(kind)[:1], kind, pred.unsqueeze(-1), target)


@pytest.mark.parametrize("kind, value, message", [
    ("multilabel", 2, r"1 of 280 targets are neither 0 nor 1 \(the first at \[2, 0\]: 2"),
    ("multilabel", math.nan, "targets are neither 0 nor 1"), ("binary", -1, "1 of 40 targets are neither"),
    ("class", 7, "1 of 40 targets are no class of 0 to 6"), ("class", -1, "are no class of 0 to 6"),
    ("class", 1.5, "whole numbers"), ("class", math.nan, "whole numbers"), ("number", math.nan, "1 of 40 targets are"),
])
def test_wrong_targets_are_refused(kind, value, message):
    pred, target = example(kind)
    target = target.double()
    target[(2, 0) if kind == "multilabel" else 2] = value
    with pytest.raises(ValueError, match=message):
        metrics.compute(metrics.names(kind)[:1], kind, pred, target)
