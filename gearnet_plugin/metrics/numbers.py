"""Errors and correlations of numbers, with whole-number weights of the items."""

from __future__ import annotations

import torch


class Numbers:
    """
    Predicted and true numbers.

    Parameters:
        pred (Tensor): predictions of shape [B], without NaN
        target (Tensor): float64 targets of shape [B], without NaN
    """

    def __init__(self, pred: torch.Tensor, target: torch.Tensor):
        pred = pred.double()
        # sums depend on the order of their terms; in sorted order that of the rows is forgotten
        order = pred.argsort(stable=True)
        self.order = order[target[order].argsort(stable=True)]
        self.pred, self.target = pred[self.order], target[self.order]
        self.groups = [values.unique(return_inverse=True)[1] for values in (self.pred, self.target)]

    def value(self, name: str, weight: torch.Tensor) -> float:
        """A metric by its name, for weights [B] in the order of the rows."""
        return float(getattr(self, "_" + name)(weight[self.order]))

    def _mae(self, weight: torch.Tensor) -> torch.Tensor:
        return _mean((self.pred - self.target).abs(), weight)

    def _rmse(self, weight: torch.Tensor) -> torch.Tensor:
        return _mean((self.pred - self.target).square(), weight).sqrt()

    def _r2(self, weight: torch.Tensor) -> torch.Tensor:
        """NaN where the target is constant."""
        if _constant(self.target, weight):
            return self.target.new_tensor(float("nan"))
        total = _mean((self.target - _mean(self.target, weight)).square(), weight)
        return 1 - _mean((self.pred - self.target).square(), weight) / total

    def _pearsonr(self, weight: torch.Tensor) -> torch.Tensor:
        return _correlation(self.pred, self.target, weight)

    def _spearmanr(self, weight: torch.Tensor) -> torch.Tensor:
        pred, target = (_ranks(group, weight) for group in self.groups)
        return _correlation(pred, target, weight)


def _mean(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    # what is not in the sample may be infinite
    return (values * weight).masked_fill(weight == 0, 0).sum() / weight.sum()


def _constant(values: torch.Tensor, weight: torch.Tensor) -> bool:
    values = values[weight > 0]
    return bool(values.min() == values.max())


def _correlation(first: torch.Tensor, second: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Pearson correlation; NaN where one side is constant."""
    # asked of the values: rounded deviations from the mean of a constant need not be 0
    if _constant(first, weight) or _constant(second, weight):
        return first.new_tensor(float("nan"))
    first, second = first - _mean(first, weight), second - _mean(second, weight)
    spread = _mean(first.square(), weight).sqrt() * _mean(second.square(), weight).sqrt()
    return (_mean(first * second, weight) / spread).clamp(-1, 1)


def _ranks(group: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Ranks from 1 in the weighted sample, the mean rank for tied values, from the groups [B] of equal values."""
    number = torch.zeros(int(group.max()) + 1, dtype=torch.long, device=group.device).index_add_(0, group, weight)
    return (number.cumsum(0) - number.double() / 2 + 0.5)[group]
