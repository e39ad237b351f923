"""
Probabilities that mean what they say: a temperature, and for sigmoid outputs a bias, fitted on a validation set.

Neither changes the order of scores of one protein or of one label, so no metric of ranks or of the highest class
moves. A bias is fitted for sigmoid outputs always: class weights and rare labels shift all their logits, which a
temperature alone cannot undo, and with two parameters for all labels there is little to overfit. Softmax outputs do
not feel a common bias and get none.
"""

from __future__ import annotations

import dataclasses
import logging
import math

import torch
from torch.nn import functional as F

from .classes import Classes
from .exact import floating
from .inputs import checked

logger = logging.getLogger(__name__)

TEMPERATURES = (0.05, 20.0)  # beyond them scores separate the classes, or say nothing
BINS = 15


@dataclasses.dataclass(frozen=True)
class Calibration:
    """
    How logits become probabilities: ``softmax(logit / temperature)`` or ``sigmoid(logit / temperature + bias)``.

    Parameters:
        temperature (float): what logits are divided by
        bias (float): what is added then; 0 for classes
        error_before (float): expected calibration error on the data of the fit without it, see
            :func:`fit_temperature`
        error_after (float): the same with it
        kind (str): ``class`` for a softmax, ``multilabel`` or ``binary`` for a sigmoid
    """

    temperature: float
    bias: float
    error_before: float
    error_after: float
    kind: str

    def __post_init__(self):
        if self.kind not in ("multilabel", "class", "binary"):
            raise ValueError("`%s` targets have no probabilities. Allowed: multilabel, class, binary" % self.kind)
        if not 0 < self.temperature < math.inf:
            raise ValueError("a temperature is a positive number, not %s" % self.temperature)

    def apply(self, pred: torch.Tensor) -> torch.Tensor:
        """Probabilities of logits [..., L], [..., C] or [B]; of at least single precision."""
        if not pred.is_floating_point() or pred.dtype in (torch.float16, torch.bfloat16):
            pred = pred.float()
        pred = pred / self.temperature
        return pred.softmax(dim=-1) if self.kind == "class" else (pred + self.bias).sigmoid()

    def to_dict(self) -> dict:
        """Plain numbers and strings, for a YAML file."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> Calibration:
        """What :meth:`to_dict` has written."""
        needed = [field.name for field in dataclasses.fields(cls)]
        if set(values) != set(needed):
            raise ValueError("a calibration has %s, but %s came" % (", ".join(needed), ", ".join(map(str, values))))
        return cls(**values)


def fit_temperature(kind: str, pred: torch.Tensor, target: torch.Tensor) -> Calibration:
    """
    The temperature, and bias, of least negative log-likelihood; the fit is convex, so it is the only minimum.

    The expected calibration error is that of 15 bins of equal width: of the probability of the highest class for
    ``class``, and of the probabilities of all labels of all proteins for ``multilabel`` and ``binary`` (where most
    are rare, it is small before the fit already). It need not fall where the likelihood rises, so look at both.

    Parameters:
        kind (str): ``multilabel``, ``class`` or ``binary``
        pred (Tensor): logits of shape [B, L], [B, C] or [B], of proteins that were not trained on
        target (Tensor): targets of shape [B, L] or [B]
    """
    if kind == "number":
        raise ValueError(
            "a number has no probability, so nothing can be calibrated; use `class`, `multilabel`, `binary`"
        )
    pred, target = checked(kind, pred, target)
    pred = pred.double()
    if not pred.isfinite().all():
        raise ValueError("%d of %d logits are infinite" % (int((~pred.isfinite()).sum()), pred.numel()))
    temperature, bias = _fit_softmax(pred, target) if kind == "class" else _fit_sigmoid(pred, target)
    if temperature in TEMPERATURES:
        logger.warning(
            "the fit of the temperature ends at its bound %g: the logits %s. Probabilities from them mean little",
            temperature,
            "separate the targets, or nearly so" if temperature == TEMPERATURES[0] else "say nothing of the targets",
        )
    fitted = Calibration(temperature, bias, math.nan, math.nan, kind)
    plain = Calibration(1.0, 0.0, math.nan, math.nan, kind)
    before, after = (_error(kind, pred, calibration.apply(pred), target) for calibration in (plain, fitted))
    return dataclasses.replace(fitted, error_before=before, error_after=after)


def _fit_softmax(pred: torch.Tensor, target: torch.Tensor) -> tuple[float, float]:
    """The loss is convex in 1 / temperature, and its slope is what the mean score is above the true class's."""
    own = pred.gather(1, target.unsqueeze(1)).squeeze(1)
    low, high = (math.log(bound) for bound in TEMPERATURES)
    if float(pred.amax(1).sub(pred.amin(1)).max()) == 0:
        return 1.0, 0.0  # equal scores stay so at any temperature

    def too_cold(log):
        expected = ((pred / math.exp(log)).softmax(1) * pred).sum(1)
        return float((expected - own).mean()) > 0

    if too_cold(high):
        return TEMPERATURES[1], 0.0
    if not too_cold(low):
        return TEMPERATURES[0], 0.0
    for _ in range(45):
        middle = (low + high) / 2
        low, high = (middle, high) if too_cold(middle) else (low, middle)
    return math.exp((low + high) / 2), 0.0


def _fit_sigmoid(pred: torch.Tensor, target: torch.Tensor) -> tuple[float, float]:
    """Newton's method in 1 / temperature and bias, each step halved until the loss falls."""
    pred, target = pred.flatten(), target.flatten().double()
    if target.min() == target.max():
        raise ValueError("all targets are %d, so no bias fits; calibrate on targets with 0 and 1" % int(target[0]))
    lowest, highest = pred[target == 1].min(), pred[target == 0].max()
    if pred.min() == pred.max():
        return 1.0, _fit_bias(pred, target)
    if lowest >= highest:  # separated, so the likelihood rises with the scale for ever
        middle = float(lowest + highest) / 2
        scaled = (pred - middle) / TEMPERATURES[0]
        # between two clouds any bias is as likely, and the middle the fairest
        shift = 0.0 if lowest > highest else _fit_bias(scaled, target)
        return TEMPERATURES[0], shift - middle / TEMPERATURES[0]
    scale, bias = 1.0, 0.0
    loss = _loss(pred, target, scale, bias)
    for _ in range(100):
        slope, step = _newton(pred, target, scale, bias)
        size = 1.0
        while size > 1e-9:
            new = scale - size * step[0], bias - size * step[1]
            new_loss = _loss(pred, target, *new)
            if new_loss < loss:
                break
            size /= 2
        else:
            break
        (scale, bias), fall, loss = new, loss - new_loss, new_loss
        if fall < 1e-15 or slope < 1e-12:
            break
    # the loss is convex, so a minimum outside the bounds lies at the nearer one
    bounded = min(max(scale, 1 / TEMPERATURES[1]), 1 / TEMPERATURES[0])
    if bounded == scale:
        return 1 / scale, bias
    return TEMPERATURES[0 if scale > 1 else 1], _fit_bias(pred * bounded, target)


def _loss(pred: torch.Tensor, target: torch.Tensor, scale: float, bias: float) -> float:
    return float(F.binary_cross_entropy_with_logits(pred * scale + bias, target))


def _newton(pred: torch.Tensor, target: torch.Tensor, scale: float, bias: float) -> tuple[float, tuple[float, float]]:
    """Largest slope of the loss, and the step that a parabola would need."""
    probability = (pred * scale + bias).sigmoid()
    off = probability - target
    curve = probability * (1 - probability)
    slope_scale, slope_bias = float((off * pred).mean()), float(off.mean())
    both, cross, one = float((curve * pred**2).mean()), float((curve * pred).mean()), float(curve.mean())
    # keeps equal logits, whose scale is free, solvable
    both, one = both + 1e-12 * (1 + both), one + 1e-12
    det = both * one - cross**2
    if det <= 0:
        return max(abs(slope_scale), abs(slope_bias)), (slope_scale / both, slope_bias / one)
    step = (one * slope_scale - cross * slope_bias) / det, (both * slope_bias - cross * slope_scale) / det
    return max(abs(slope_scale), abs(slope_bias)), step


def _fit_bias(pred: torch.Tensor, target: torch.Tensor) -> float:
    """The bias at which the mean probability is the share of positives, by bisection."""
    share = float(target.mean())
    odds = math.log(share / (1 - share))
    low, high = odds - float(pred.max()), odds - float(pred.min())
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if float((pred + middle).sigmoid().mean()) > share else (middle, high)
    return (low + high) / 2


def _error(kind: str, pred: torch.Tensor, probability: torch.Tensor, target: torch.Tensor) -> float:
    """Expected calibration error: mean distance of confidence and frequency, over bins of confidence."""
    if kind == "class":
        classes = Classes(pred, target)
        confidence = probability.amax(1)
        correct = floating(classes.share, classes.bits).masked_fill(classes.above > 0, 0)
    else:
        confidence, correct = probability.flatten(), target.flatten().double()
    bins = (confidence * BINS).long().clamp_(max=BINS - 1)
    gap = torch.zeros(BINS, dtype=torch.float64, device=pred.device).index_add_(0, bins, correct - confidence)
    return float(gap.abs().sum() / len(confidence))
