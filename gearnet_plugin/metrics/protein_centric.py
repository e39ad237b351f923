"""
Protein-centric Fmax, in the convention of the published tables and in CAFA's.

At a threshold t, a protein's predictions are its labels of score >= t. Precision is averaged over the proteins with a
prediction, recall over all proteins; F is their harmonic mean, and Fmax its maximum over t. The conventions differ in
what the proteins are:

- ``published`` (TorchDrug's ``f1_max``, so the tables of GearNet and its successors): all of them. One without any
  annotation has precision and recall 0.
- ``cafa``: the annotated ones. The others are in no benchmark set, so neither their predictions nor they count.

Thresholds are exact: every distinct score is one (CAFA's own program takes 0.01, 0.02 and so on to 1, so it may give
less, never more). Scores may be logits or probabilities, but of one scale for all labels.
"""

from __future__ import annotations

import torch

from .curves import Ranking
from .exact import bits_for, fixed, floating

CONVENTIONS = ("published", "cafa")
BLOCK = 2**20  # scores at a time while the steps of precision are made


class ProteinCentric:
    """
    Precision and recall of proteins at all thresholds, for whole-number weights of the proteins.

    Parameters:
        pred (Tensor): scores of shape [B, L], without NaN
        target (BoolTensor): annotations of shape [B, L]
        ranking (Ranking): all scores as one list, of width L
    """

    def __init__(self, pred: torch.Tensor, target: torch.Tensor, ranking: Ranking):
        self.ranking = ranking
        # also enough for a bootstrap, whose weights have the sum B
        self.bits = bits_for(len(pred))
        step = torch.empty(pred.shape, dtype=torch.long, device=pred.device)
        rows = max(1, BLOCK // pred.shape[1])
        for block, part, hit in zip(step.split(rows), pred.split(rows), target.split(rows)):
            _precision_steps(part, hit, self.bits, out=block)
        self.step = step.flatten().index_select(0, ranking.order)  # [B L], from the highest score on

        annotations = target.sum(1)
        self.annotated = annotations > 0
        self.recall_step = _recall_steps(ranking.positive_item, annotations, self.bits)
        # a protein has a prediction from its highest score on
        highest, self.by_highest = pred.amax(1).sort(descending=True)
        self.covered = torch.searchsorted(-highest, -ranking.value, right=True) - 1  # [K]

    def fmax(self, weight: torch.Tensor, convention: str) -> tuple[float, float]:
        """
        Fmax and the highest threshold that reaches it.

        Where nothing is annotated, ``published`` gives 0 and ``cafa``, which has no proteins then, NaN; the threshold
        is NaN in both.

        Parameters:
            weight (LongTensor): how often each protein counts, of shape [B]
            convention (str): ``published`` or ``cafa``
        """
        ranking = self.ranking
        counted = weight if convention == "published" else weight * self.annotated
        number = int(counted.sum())
        if not number:
            return float("nan"), float("nan")
        if not int((weight * self.annotated).sum()):
            return 0.0, float("nan")
        precision = weight.index_select(0, ranking.item).mul_(self.step).cumsum_(0)[ranking.end]
        recall = ranking.at_groups((weight[ranking.positive_item] * self.recall_step).cumsum(0))
        covered = counted[self.by_highest].cumsum(0)[self.covered]
        precision = floating(precision, self.bits) / covered.clamp(min=1)
        recall = floating(recall, self.bits) / number
        f1 = 2 * precision * recall / (precision + recall).clamp(min=1e-300)
        best = int((f1 == f1.max()).nonzero()[0])
        return float(f1[best]), float(ranking.value[best])


def _precision_steps(pred: torch.Tensor, hit: torch.Tensor, bits: int, out: torch.Tensor) -> None:
    """
    By how much each score, once passed by the threshold, changes its protein's precision.

    Of tied scores, which a threshold passes together, only the sum has a meaning.

    Parameters:
        pred (Tensor): scores of shape [b, L]
        hit (BoolTensor): annotations of shape [b, L]
        bits (int): bits of a fraction
        out (LongTensor): changes of shape [b, L], written
    """
    order = pred.argsort(dim=1, descending=True)
    number = torch.arange(1, pred.shape[1] + 1, device=pred.device)
    precision = fixed(hit.gather(1, order).cumsum(1) / number.double(), bits)
    out.scatter_(1, order, precision.diff(dim=1, prepend=precision.new_zeros(len(pred), 1)))


def _recall_steps(item: torch.Tensor, annotations: torch.Tensor, bits: int) -> torch.Tensor:
    """
    By how much each positive, from the highest on, raises the recall of its protein; they add up to exactly 1.

    Parameters:
        item (IntTensor): protein of each positive
        annotations (LongTensor): number of positives of each protein, of shape [B]
        bits (int): bits of a fraction
    """
    item, order = item.long().sort(stable=True)
    number = torch.arange(len(item), device=item.device) - (annotations.cumsum(0) - annotations)[item]
    total = annotations[item].double()
    step = torch.empty_like(order)
    step[order] = fixed((number + 1) / total, bits) - fixed(number / total, bits)
    return step
