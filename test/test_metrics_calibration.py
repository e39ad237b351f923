"""Probabilities from logits by a fitted temperature and bias."""
import logging
import math

import pytest
import torch
import yaml
from torch.nn import functional as F

from gearnet_plugin import metrics
from test_metrics import example


def sampled(kind, temperature, bias=0.0, rows=4000, seed=0):
    """Logits that are ``temperature`` times as large as what their targets were drawn from, less ``bias``."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randn(rows, 5, generator=generator, dtype=torch.float64) * 1.5
    if kind == "class":
        return truth * temperature, truth.softmax(1).multinomial(1, generator=generator).squeeze(1)
    truth = truth[:, 0] if kind == "binary" else truth
    target = (torch.rand(truth.shape, generator=generator) < truth.sigmoid()).long()
    return (truth - bias) * temperature, target


def loss(kind, calibration, pred, target):
    pred = pred.double() / calibration.temperature
    if kind == "class":
        return float(F.cross_entropy(pred, target))
    return float(F.binary_cross_entropy_with_logits(pred + calibration.bias, target.double()))


probable = pytest.mark.parametrize("kind", ["multilabel", "class", "binary"])


@probable
@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_of_the_data_is_found(kind, temperature):
    pred, target = sampled(kind, temperature, bias=0.7)
    fitted = metrics.fit_temperature(kind, pred.float(), target)
    assert fitted.temperature == pytest.approx(temperature, rel=0.1)
    assert fitted.bias == pytest.approx(0 if kind == "class" else 0.7, abs=0.12)
    assert fitted.error_after < 0.025
    if temperature > 1:
        assert fitted.error_before > 0.05


@probable
def test_the_fit_is_the_minimum(kind):
    """A step to any side raises the negative log-likelihood."""
    pred, target = sampled(kind, 2.0, bias=0.3, rows=300)
    fitted = metrics.fit_temperature(kind, pred, target)
    least = loss(kind, fitted, pred, target)
    for scale, shift in ((1.02, 0), (0.98, 0), (1, 0.02), (1, -0.02), (1.02, 0.02), (0.98, -0.02)):
        if kind == "class" and shift:
            continue
        other = metrics.Calibration(fitted.temperature * scale, fitted.bias + shift, 0, 0, kind)
        assert loss(kind, other, pred, target) > least


def test_the_fit_is_the_regression_of_scikit_learn():
    """A sigmoid of one logit with scale and bias is a logistic regression without penalty."""
    linear = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    pred, target = sampled("binary", 2.5, bias=0.4, rows=500)
    model = linear.LogisticRegression(C=1e12, tol=1e-10, max_iter=1000).fit(pred.unsqueeze(1).numpy(), target.numpy())
    fitted = metrics.fit_temperature("binary", pred, target)
    assert 1 / fitted.temperature == pytest.approx(float(model.coef_[0, 0]), rel=1e-4)
    assert fitted.bias == pytest.approx(float(model.intercept_[0]), abs=1e-4)


@pytest.mark.parametrize("kind, names", [
    ("multilabel", ("auprc@macro", "f1_max")), ("binary", ("auroc",)), ("class", ("acc", "top_2"))])
def test_calibration_moves_no_rank(kind, names):
    pred, target = sampled(kind, 3.0, bias=1.0, rows=100)
    fitted = metrics.fit_temperature(kind, pred, target)
    assert metrics.compute(names, kind, fitted.apply(pred), target) == metrics.compute(names, kind, pred, target)


def test_the_error_is_that_of_bins():
    """By hand: probabilities 0.9 with 3 of 4 right, 0.6 with 2 of 2: off by 0.15 and -0.4."""
    probability = torch.tensor([0.9, 0.9, 0.9, 0.9, 0.6, 0.6], dtype=torch.float64)
    target = torch.tensor([1, 1, 1, 0, 1, 1])
    expected = (4 * 0.15 + 2 * 0.4) / 6
    assert metrics.fit_temperature("binary", probability.logit(), target).error_before == pytest.approx(expected)
    pred = torch.stack([probability, 1 - probability], dim=1).log()
    assert metrics.fit_temperature("class", pred, 1 - target).error_before == pytest.approx(expected)


@probable
def test_probabilities(kind):
    """In [0, 1], of classes with the sum 1, in the dtype of the logits or float32."""
    pred, target = sampled(kind, 2.0, rows=50)
    fitted = metrics.fit_temperature(kind, pred, target)
    for dtype in (torch.bfloat16, torch.float16, torch.float32, torch.float64):
        probability = fitted.apply(pred.to(dtype))
        assert probability.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert probability.shape == pred.shape and probability.min() >= 0 and probability.max() <= 1
        if kind == "class":
            torch.testing.assert_close(probability.sum(1), torch.ones(50).to(probability))


def test_through_a_file():
    fitted = metrics.fit_temperature("multilabel", *sampled("multilabel", 2.0, rows=50))
    assert metrics.Calibration.from_dict(yaml.safe_load(yaml.safe_dump(fitted.to_dict()))) == fitted
    with pytest.raises(ValueError, match="a calibration has temperature, bias, .* but temperature, colour came"):
        metrics.Calibration.from_dict({"temperature": 1, "colour": 2})
    with pytest.raises(ValueError, match="a temperature is a positive number, not -1"):
        metrics.Calibration(-1, 0, 0, 0, "class")
    with pytest.raises(ValueError, match="`number` targets have no probabilities"):
        metrics.Calibration(1, 0, 0, 0, "number")


@probable
def test_logits_that_separate_the_targets_end_at_the_bound(kind, caplog):
    pred, target = example(kind, rows=30, ties=False)
    if kind == "class":
        pred = F.one_hot(target, 7) * 8.0 - 4 + pred.clamp(-1, 1)
    else:
        pred = target * 8.0 - 4 + pred.clamp(-1, 1)
    with caplog.at_level(logging.WARNING):
        fitted = metrics.fit_temperature(kind, pred, target)
    assert fitted.temperature == 0.05 and "separate the targets" in caplog.text
    assert fitted.error_after < fitted.error_before


def test_between_separated_targets_lies_one_half():
    """A logit in the middle of the gap favours neither; at a gap of no width the bias is fitted."""
    fitted = metrics.fit_temperature("binary", torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0, 0, 1]))
    assert float(fitted.apply(torch.tensor(3.0))) == pytest.approx(0.5)
    fitted = metrics.fit_temperature("binary", torch.tensor([1.0, 2.0, 2.0, 2.0, 4.0]), torch.tensor([0, 0, 0, 1, 1]))
    assert float(fitted.apply(torch.tensor(2.0))) == pytest.approx(1 / 3, rel=1e-6)


@probable
def test_logits_that_point_the_wrong_way_end_at_the_other_bound(kind, caplog):
    pred, target = sampled(kind, -2.0, rows=400)
    with caplog.at_level(logging.WARNING):
        fitted = metrics.fit_temperature(kind, pred, target)
    assert fitted.temperature == 20 and "say nothing of the targets" in caplog.text
    assert math.isfinite(fitted.bias) and fitted.error_after < fitted.error_before


@probable
def test_equal_logits_are_fitted_by_the_bias_alone(kind):
    """Three of ten positives at the same logit: the probability is their share."""
    pred = torch.full((10, 3), 0.5) if kind != "binary" else torch.full((10,), 0.5)
    target = torch.zeros(10, dtype=torch.long) if kind != "multilabel" else torch.zeros(10, 3)
    target[:3] = 1
    fitted = metrics.fit_temperature(kind, pred, target)
    expected = 1 / 3 if kind == "class" else 0.3
    assert fitted.temperature == 1
    torch.testing.assert_close(fitted.apply(pred), torch.full_like(pred, expected), rtol=1e-4, atol=0)


def test_what_has_no_probability_is_refused():
    with pytest.raises(ValueError, match="a number has no probability"):
        metrics.fit_temperature("number", *example("number"))
    with pytest.raises(ValueError, match="all targets are 0, so no bias fits"):
        metrics.fit_temperature("binary", torch.rand(5), torch.zeros(5))
    with pytest.raises(ValueError, match="1 of 5 logits are infinite"):
        metrics.fit_temperature("binary", torch.tensor([0, 1, 2, 3, math.inf]), torch.tensor([0, 1, 0, 1, 1]))
