"""The metrics of predictions by name, each part sorted once and only where it is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import torch

from .classes import Classes
from .curves import Ranking, mean_of_defined
from .inputs import checked
from .naming import check, title, top
from .numbers import Numbers
from .protein_centric import CONVENTIONS, ProteinCentric


class Evaluation:
    """
    Predictions that have been checked, ready for metrics of them and of samples from them.

    Parameters:
        kind (str): one of :data:`gearnet_plugin.metrics.KINDS`
        pred (Tensor): predictions: logits of shape [B, L], [B, C] or [B], or numbers of shape [B]
        target (Tensor): targets of shape [B, L] or [B]
    """

    def __init__(self, kind: str, pred: torch.Tensor, target: torch.Tensor):
        self.kind = kind
        self.pred, self.target = checked(kind, pred, target)

    @property
    def every(self) -> torch.Tensor:
        """The weights [B] that take each item once."""
        return torch.ones(len(self.pred), dtype=torch.long, device=self.pred.device)

    @cached_property
    def micro(self) -> Ranking:
        """All scores as one list."""
        width = self.pred[0].numel()
        return Ranking(self.pred.reshape(1, -1), self.target.reshape(1, -1), width)

    @cached_property
    def macro(self) -> Ranking:
        """The scores of each label as a list."""
        return Ranking(self.pred.t().contiguous(), self.target.t())

    @cached_property
    def proteins(self) -> ProteinCentric:
        """Precision and recall of each protein."""
        return ProteinCentric(self.pred, self.target, self.micro)

    @cached_property
    def classes(self) -> Classes:
        """Predictions of classes; one logit stands against 0."""
        pred = self.pred
        if self.kind == "binary":
            pred = torch.stack([torch.zeros_like(pred), pred], dim=1)
        return Classes(pred, self.target.long())

    @cached_property
    def numbers(self) -> Numbers:
        """Predictions of numbers."""
        return Numbers(self.pred, self.target)

    def value(self, name: str, weight: torch.Tensor) -> float:
        """A metric that :func:`gearnet_plugin.metrics.check` has passed, for weights [B] of the items."""
        if self.kind == "number":
            return self.numbers.value(name, weight)
        if name.startswith("f1_max"):
            return self.proteins.fmax(weight, "cafa" if name == "f1_max@cafa" else "published")[0]
        if name.startswith(("auprc", "auroc")):
            ranking = self.macro if name.endswith("@macro") else self.micro
            area = ranking.auroc if name.startswith("auroc") else ranking.average_precision
            return mean_of_defined(area(weight))
        if name == "mcc":
            return self.classes.mcc(weight)
        if name == "f1@macro":
            return mean_of_defined(self.classes.table(weight)["f1"])
        return self.classes.top(1 if name == "acc" else top(name), weight)


def compute(names: str | Iterable[str], kind: str, pred: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
    """
    Metrics of predictions by their titles, as 0-d float32 tensors on the device of the predictions.

    The order of the rows changes nothing, not even the last digit; nor does that of the labels or classes, up to the
    rounding of a mean over them. What ties, undefined values and means are:

    - ``f1_max``, ``f1_max@cafa``: see :mod:`.protein_centric`.
    - ``auprc``: average precision, as scikit-learn's ``average_precision_score``. NaN without positives.
    - ``auroc``: half for a tie. NaN without positives or without negatives.
    - ``@micro``: of all scores of all labels as one list. ``@macro``: mean over the labels that have a value. A label
      that never occurs has none; TorchDrug would take it for 0.
    - ``acc``, ``top_K``: the expectation when ties are broken at random; ``mcc``, ``f1@macro``: see :mod:`.classes`.
      ``f1@macro`` is the mean over the classes that occur or are predicted, as in scikit-learn. For binary targets a
      logit above 0 predicts 1, and 0 is a tie.
    - ``spearmanr``: tied values have their mean rank. It and ``pearsonr`` are NaN where one side is constant, ``r2``
      where the target is.

    Parameters:
        names (str or iterable of str): see :func:`gearnet_plugin.metrics.names`
        kind (str): one of :data:`gearnet_plugin.metrics.KINDS`
        pred (Tensor): predictions: logits of shape [B, L], [B, C] or [B], or numbers of shape [B]
        target (Tensor): targets of shape [B, L] or [B]; 0 and 1, classes from 0 on, or numbers
    """
    names = check(names, kind)
    evaluation = Evaluation(kind, pred, target)
    every = evaluation.every
    return {
        title(name): torch.tensor(
            evaluation.value(name, every), dtype=torch.float32, device=torch.as_tensor(pred).device
        )
        for name in names
    }


def fmax(pred: torch.Tensor, target: torch.Tensor, convention: str = "published") -> tuple[float, float]:
    """
    Fmax and the highest threshold that reaches it, in the unit of the predictions; see :mod:`.protein_centric`.

    Parameters:
        pred (Tensor): logits or probabilities of shape [B, L]
        target (Tensor): annotations, 0 or 1, of shape [B, L]
        convention (str, optional): ``published`` or ``cafa``
    """
    if convention not in CONVENTIONS:
        raise ValueError("`%s` is no convention of Fmax. Allowed: `%s`" % (convention, "`, `".join(CONVENTIONS)))
    evaluation = Evaluation("multilabel", pred, target)
    return evaluation.proteins.fmax(evaluation.every, convention)
