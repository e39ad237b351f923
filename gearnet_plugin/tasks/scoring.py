"""
Metrics of predictions where some labels are not known.

B items, L labels, C classes.
"""

import math

import torch

from gearnet_plugin import metrics


def score(names, kind, pred, target):
    """
    Metrics by their titles, of what is labeled.

    A value of ``targets`` that is not known is no pair of ``@micro``, no item of its label in ``@macro``, and in
    Fmax a label that its protein neither has nor is predicted to have.

    Parameters:
        names (list of str): metrics
        kind (str): one of :data:`gearnet_plugin.metrics.KINDS`
        pred (Tensor): predictions of shape :math:`(B, L)`, :math:`(B, C)` or :math:`(B,)`
        target (Tensor): targets of shape :math:`(B, L)` or :math:`(B,)`, NaN for not known

    Returns:
        dict: 0-d tensors; NaN where nothing is labeled
    """
    known = ~target.isnan()
    items = known.any(dim=-1) if kind == "multilabel" else known
    if not items.any():
        return {metrics.title(name): torch.tensor(math.nan, device=pred.device) for name in names}
    pred, target, known = pred[items], target[items], known[items]
    if kind == "multilabel" and not known.all():
        return {metrics.title(name): _partly(name, pred, target, known) for name in names}
    return metrics.compute(names, kind, pred, target)


def _partly(name, pred, target, known):
    """A metric of several labels some of which are not known."""
    base, _, average = name.partition("@")
    if average == "micro":
        return _binary(base, pred[known], target[known])
    if average == "macro":
        columns = zip(pred.t(), target.t(), known.t())
        return torch.stack([_binary(base, p[k], t[k]) for p, t, k in columns if k.any()]).nanmean()
    # below every threshold that counts, which are those of positives
    pred, target = pred.masked_fill(~known, -math.inf), target.masked_fill(~known, 0)
    return metrics.compute(name, "multilabel", pred, target)[metrics.title(name)]


def _binary(name, pred, target):
    return metrics.compute(name, "binary", pred, target)[metrics.title(name)]
