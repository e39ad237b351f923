"""Metrics of each label or class."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .curves import Ranking
from .evaluation import Evaluation


def per_class(
    kind: str, pred: torch.Tensor, target: torch.Tensor, labels: Sequence[str] | None = None
) -> dict[str, list]:
    """
    A table of labels or classes as columns of equal length, in their order; empty for numbers.

    - ``multilabel`` and ``binary`` (a table of one row): ``label``, ``support`` (positives), ``ap``, ``auroc`` and
      ``f1`` at the label's own best threshold, so higher than at one threshold for all;
    - ``class``: ``label``, ``support`` (items of the class), ``precision``, ``recall``, ``f1``.

    What has no value is NaN: all metrics of a label that never occurs, the AUROC of one that always does, the
    precision of a class that is never predicted.

    Parameters:
        kind (str): one of :data:`gearnet_plugin.metrics.KINDS`
        pred (Tensor): predictions as for :func:`gearnet_plugin.metrics.compute`
        target (Tensor): targets as for :func:`gearnet_plugin.metrics.compute`
        labels (list of str, optional): names of the labels or classes; their numbers by default
    """
    evaluation = Evaluation(kind, pred, target)
    if kind == "number":
        return {}
    if kind == "class":
        columns = evaluation.classes.table(evaluation.every)
    else:
        columns = _curves(evaluation.macro if kind == "multilabel" else evaluation.micro, evaluation.every)
    columns = {name: column.tolist() for name, column in columns.items()}
    columns["support"] = [int(number) for number in columns["support"]]
    number = len(columns["support"])
    if labels is None:
        labels = range(number)
    elif len(labels) != number:
        raise ValueError("%d labels are named, but %d are predicted" % (len(labels), number))
    return {"label": [str(label) for label in labels], **columns}


def _curves(ranking: Ranking, weight: torch.Tensor) -> dict[str, torch.Tensor]:
    return {
        "support": ranking.positives(weight),
        "ap": ranking.average_precision(weight),
        "auroc": ranking.auroc(weight),
        "f1": ranking.best_f1(weight),
    }
