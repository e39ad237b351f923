"""What a validation set tells of a head: thresholds, errors, and how its outputs become probabilities."""

import math

import torch

from gearnet_plugin import metrics
from gearnet_plugin.metrics.calibration import TEMPERATURES

#: With fewer validation proteins no probability is calibrated: at 50 a frequency of one half is known to 7 %.
LEAST_CALIBRATED = 50
CONVENTIONS = {"published": "f1_max", "cafa": "f1_max@cafa"}
#: Group of the columns of ``targets``, which are one; other groups are called as their label.
ALL = "all"


def split_labels(kind, names, outputs, pred, target):
    """
    Outputs and targets of each group, of the items that have one.

    Parameters:
        kind (str): kind of the prediction
        names (list of str): labels
        outputs (list of int): numbers of outputs of the groups
        pred (Tensor): outputs of shape :math:`(B, C)`
        target (Tensor): targets of shape :math:`(B, T)`, NaN for not known

    Returns:
        list of (str, Tensor, Tensor): name, :data:`ALL` for the columns of ``targets``; predictions :math:`(b, L)`,
        :math:`(b, C)` or :math:`(b,)`; targets
    """
    if kind == "multilabel":
        there = ~target.isnan().all(dim=-1)
        return [(ALL, pred[there], target[there])]
    found = []
    for name, own, values in zip(names, pred.split(list(outputs), dim=-1), target.unbind(dim=-1)):
        there = ~values.isnan()
        own, values = own[there], values[there]
        found.append((name, own, values.long()) if kind == "class" else (name, own.squeeze(-1), values))
    return found


def validated(kind, groups, num_proteins, reasons):
    """Thresholds, accuracy, errors and calibration of groups; all null where there are none."""
    parts = {"thresholds": None, "accuracy": None, "error": None, "calibration": None}
    if groups is None:
        return parts
    with_targets = [(name, pred, target) for name, pred, target in groups if len(pred)]
    if not with_targets:
        reasons["validation"] = "nothing in the validation set has a label"
        return parts
    if kind == "multilabel":
        ((_, pred, target),) = with_targets
        parts["thresholds"] = {name: _fmax(pred, target, name) for name in CONVENTIONS}
    elif kind == "binary":
        parts["thresholds"] = {name: f1_threshold(pred, target) for name, pred, target in with_targets}
    elif kind == "class":
        parts["accuracy"] = {name: _scores(["acc"], kind, pred, target)[0] for name, pred, target in with_targets}
    else:
        parts["error"] = {
            name: dict(zip(("mae", "rmse"), _scores(["mae", "rmse"], kind, pred, target)))
            for name, pred, target in with_targets
        }
    if kind != "number":
        parts["calibration"] = calibrations(kind, with_targets, num_proteins, reasons)
    return parts


def calibrations(kind, groups, num_proteins, reasons):
    """
    Fit how logits become probabilities, for each group that allows it.

    Parameters:
        kind (str): kind of the prediction
        groups (list): of :func:`split_labels`
        num_proteins (int): number of proteins, of whose residues the items may be
        reasons (dict): gets the reason where there is none

    Returns:
        dict or None: ``{name: {temperature, bias, error_before, error_after, kind, num_items}}``
    """
    found = {}
    for name, pred, target in groups:
        count, what = min(len(pred), num_proteins), "labels" if kind == "multilabel" else "`%s`" % name
        if count < LEAST_CALIBRATED:
            reasons["calibration of " + name] = (
                "probabilities of %s are not calibrated: there are %d validation proteins to calibrate on, and %d are "
                "needed" % (what, count, LEAST_CALIBRATED)
            )
            continue
        known = ~target.isnan() if target.is_floating_point() else None
        if kind == "multilabel" and not known.all():
            pred, target, fitted_as = pred[known], target[known], "binary"
        else:
            fitted_as = kind
        try:
            made = metrics.fit_temperature(fitted_as, pred, target).to_dict()
            if made["temperature"] in TEMPERATURES:
                raise ValueError("on the validation set the scores separate them, or say nothing of them, so that no "
                                 "temperature is the best")  # fmt: skip
        except ValueError as error:
            reasons["calibration of " + name] = "probabilities of %s are not calibrated: %s" % (what, error)
            continue
        values = {key: value if isinstance(value, str) else number(value) for key, value in made.items()}
        found[name] = dict(values, kind=kind, num_items=count)
    return found or None


def _scores(names, kind, pred, target):
    return [number(value) for value in metrics.compute(names, kind, pred, target).values()]


def _fmax(pred, target, convention):
    """Fmax and a threshold that gives it; values that are not known count as no annotation and no prediction."""
    known = ~target.isnan()
    pred, target = pred.masked_fill(~known, -math.inf), target.masked_fill(~known, 0)
    value, threshold = (float(x) for x in metrics.fmax(pred, target, convention))
    return {"f1": number(value), "threshold": None if math.isnan(threshold) else _between(threshold, pred)}


def f1_threshold(pred, target):
    """The highest F1 of a label of 0 and 1 over all thresholds, and a threshold that gives it."""
    order = pred.argsort(descending=True)
    pred, target = pred[order], target[order].double()
    if not target.any():
        return {"f1": None, "threshold": None}
    f1 = 2 * target.cumsum(0) / (torch.arange(1, len(pred) + 1) + target.sum())
    # equal scores are predicted together
    last = torch.cat([pred[1:] < pred[:-1], torch.ones(1, dtype=torch.bool)])
    best = int(f1.masked_fill(~last, -1).argmax())
    return {"f1": number(f1[best]), "threshold": _between(float(pred[best]), pred)}


def _between(threshold, pred):
    """Midway between a score and the next lower one, so that rounding does not decide."""
    lower = pred[(pred < threshold) & pred.isfinite()]
    return (threshold + float(lower.max())) / 2 if len(lower) else threshold - 1e-3 * max(1.0, abs(threshold))


def number(value):
    """A number for YAML, None for what is not finite."""
    value = float(value)
    return value if math.isfinite(value) else None
