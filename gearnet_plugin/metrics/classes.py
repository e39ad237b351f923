"""
Accuracy, top-k accuracy, Matthews correlation and F1 of classes, with whole-number weights of the items.

Classes that share the highest score share the prediction: with two of them each is predicted by one half. Accuracy
and top-k accuracy are so the expectation when ties are broken at random, and the other metrics those of the expected
table of classes by predictions.
"""

from __future__ import annotations

import torch

from .exact import bits_for, fixed, floating, sum_by


class Classes:
    """
    What is predicted, and at which rank the true class stands.

    Parameters:
        pred (Tensor): scores of shape [B, C], without NaN
        target (LongTensor): classes of shape [B], from 0 to C - 1
    """

    def __init__(self, pred: torch.Tensor, target: torch.Tensor):
        self.target, self.num_class = target, pred.shape[1]
        self.bits = bits_for(len(pred))
        own = pred.gather(1, target.unsqueeze(1))
        self.above = (pred > own).sum(1)
        self.level = (pred == own).sum(1)
        highest = pred == pred.amax(1, keepdim=True)
        self.share = fixed(1 / highest.sum(1).double(), self.bits)
        self.item, self.predicted = highest.nonzero(as_tuple=True)

    def top(self, k: int, weight: torch.Tensor) -> float:
        """
        How often the true class is among the k highest; ``k = 1`` is accuracy.

        Of tied classes at the border each is in with equal probability. With k classes or fewer this is 1.
        """
        inside = ((k - self.above) / self.level.double()).clamp_(0, 1)
        return float(floating((fixed(inside, self.bits) * weight).sum(), self.bits) / weight.sum())

    def counts(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Items of each class, predictions of it, and items that are in both: float64 of shape [C]."""
        share = self.share * weight
        correct = share.masked_fill(self.above > 0, 0)
        return (
            sum_by(self.target, weight, self.num_class).double(),
            floating(sum_by(self.predicted, share[self.item], self.num_class), self.bits),
            floating(sum_by(self.target, correct, self.num_class), self.bits),
        )

    def mcc(self, weight: torch.Tensor) -> float:
        """
        Matthews correlation of several classes.

        0 where all targets or all predictions are of one class, as in scikit-learn and TorchDrug.
        """
        support, predicted, correct = self.counts(weight)
        number = support.sum()
        spread = (number**2 - predicted @ predicted) * (number**2 - support @ support)
        if spread <= 0:
            return 0.0
        return float((correct.sum() * number - support @ predicted) / spread.sqrt())

    def table(self, weight: torch.Tensor) -> dict[str, torch.Tensor]:
        """
        Support, precision, recall and F1 of each class: float64 of shape [C].

        NaN is the precision of a class that is never predicted, the recall of one that never occurs, and the F1 of
        one that is neither.
        """
        support, predicted, correct = self.counts(weight)
        # 0 / 0 is NaN
        return {
            "support": support,
            "precision": correct / predicted,
            "recall": correct / support,
            "f1": 2 * correct / (support + predicted),
        }
