"""Predictions and targets as the metrics need them, or an error that says what is wrong with them."""

from __future__ import annotations

import torch

from .naming import names

# dimensions of predictions and of targets
_RANKS = {"multilabel": (2, 2), "class": (2, 1), "number": (1, 1), "binary": (1, 1)}
_SHAPES = {
    "multilabel": "predictions [proteins, labels] and targets of the same shape",
    "class": "predictions [proteins, classes] and targets [proteins]",
    "number": "predictions [proteins] and targets of the same shape",
    "binary": "predictions [proteins] and targets of the same shape",
}


def checked(kind: str, pred: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Predictions and targets on one device, without gradients, after all checks.

    Predictions of less than single precision become float32, which keeps their ties. Targets become bool for
    ``multilabel`` and ``binary``, int64 for ``class`` and float64 for ``number``.

    Parameters:
        kind (str): one of :data:`gearnet_plugin.metrics.KINDS`
        pred (Tensor): predictions of shape [B, L], [B, C] or [B]
        target (Tensor): targets of shape [B, L] or [B]
    """
    names(kind)
    pred, target = torch.as_tensor(pred).detach(), torch.as_tensor(target).detach()
    _check_shapes(kind, pred, target)
    if pred.device.type not in ("cpu", "cuda"):  # others may lack float64
        pred = pred.cpu()
    if not pred.is_floating_point():
        pred = pred.double()
    elif pred.dtype != torch.float64:
        pred = pred.float()
    _refuse(pred.isnan(), pred, "predictions are NaN: training has diverged, or an input holds NaN")
    return pred, _targets(kind, pred, target.to(pred.device))


def _check_shapes(kind: str, pred: torch.Tensor, target: torch.Tensor) -> None:
    came = "they are %s and %s" % (list(pred.shape), list(target.shape))
    if (pred.ndim, target.ndim) != _RANKS[kind] or pred.shape[: target.ndim] != target.shape:
        raise ValueError("%s targets need %s; %s" % (kind, _SHAPES[kind], came))
    if not pred.numel():
        raise ValueError("nothing is predicted, so no metric has a value: %s" % came)


def _targets(kind: str, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    if kind == "number":
        target = target.double()
        _refuse(target.isnan(), target, "targets are NaN: leave out what has no label")
        return target
    if kind == "class":
        _refuse(target != target.floor(), target, "targets are no classes: they have to be whole numbers")
        wrong = (target < 0) | (target >= pred.shape[1])
        _refuse(wrong, target, "targets are no class of 0 to %d, which are predicted" % (pred.shape[1] - 1))
        return target.long()
    _refuse((target != 0) & (target != 1), target, "targets are neither 0 nor 1")
    return target.bool()


def _refuse(wrong: torch.Tensor, values: torch.Tensor, message: str) -> None:
    """Raise an error that counts what is wrong, where anything is."""
    count = int(wrong.sum())
    if count:
        where = wrong.nonzero()[0].tolist()
        raise ValueError(
            "%d of %d %s (the first at %s: %s)" % (count, wrong.numel(), message, where, values[tuple(where)].item())
        )
