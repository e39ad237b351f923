"""
Average precision, area under the ROC and best F1 from one sort, with whole-number weights of the items.

Shapes: G lists of n scores; K groups of tied scores that hold a positive; B items (proteins).
"""

from __future__ import annotations

import torch

from .exact import bits_for, fixed, floating, sum_by


class Ranking:
    """
    Lists of scores from the highest to the lowest, and the groups of tied scores with a positive among them.

    A threshold separates no two tied scores. Only thresholds at a positive matter: between them true positives stay
    and only false ones are added.

    A weight [B] tells how often each item is in the sample: once, or as often as a bootstrap drew it. Nothing is
    sorted again for that.

    Parameters:
        score (Tensor): scores of shape [G, n], without NaN
        positive (BoolTensor): what is positive, of shape [G, n]
        width (int): scores per item that follow one another in a list: score ``j`` is of item ``j // width``
    """

    def __init__(self, score: torch.Tensor, positive: torch.Tensor, width: int = 1):
        self.num_lists, self.length = score.shape
        value, order = score.sort(dim=1, descending=True)
        ends = _group_ends(value)
        place = positive.gather(1, order).flatten().nonzero().squeeze(1)
        # what a bootstrap reads for every sample is kept small
        self.order = order.flatten().int() if score.numel() < 2**31 else order.flatten()
        self.item = self.order.div(width, rounding_mode="floor") if width > 1 else self.order
        self.positive_item = self.item[place]

        group, count = torch.searchsorted(ends, place).unique_consecutive(return_counts=True)
        self.end = ends[group]  # [K] last place of each group
        self.before = ends[(group - 1).clamp(min=0)].masked_fill(group == 0, -1)  # [K] last place before it
        self.last_positive = count.cumsum(0) - 1  # [K] index of the last positive of each group
        self.list = self.end.div(self.length, rounding_mode="floor")
        self.value = value.flatten()[self.end]

    def average_precision(self, weight: torch.Tensor) -> torch.Tensor:
        """Precision at each positive, averaged: float64 of shape [G]; NaN for a list without positives."""
        passed, _, hits, new = self._counts(weight)
        total = self.positives(weight)
        bits = bits_for(int(total.sum()))
        # a group without any weight adds nothing, wherever it stands
        precision = fixed(hits.double() / passed.clamp(min=1), bits)
        return floating(sum_by(self.list, precision * new, self.num_lists), bits) / _or_nan(total)

    def auroc(self, weight: torch.Tensor) -> torch.Tensor:
        """
        Probability that a positive is above a negative, with half for a tie: float64 of shape [G].

        NaN for a list without positives or without negatives.
        """
        passed, passed_before, hits, new = self._counts(weight)
        total = self.positives(weight)
        negative = weight.sum() * (self.length // len(weight)) - total
        above = passed - hits + passed_before - (hits - new)  # twice the mean rank among negatives
        twice = sum_by(self.list, new * (2 * negative[self.list] - above), self.num_lists)
        return twice.double() / 2 / _or_nan(total) / _or_nan(negative)

    def best_f1(self, weight: torch.Tensor) -> torch.Tensor:
        """F1 at the best threshold of each list: float64 of shape [G]; NaN for a list without positives."""
        passed, _, hits, _ = self._counts(weight)
        total = self.positives(weight)
        f1 = 2 * hits.double() / (passed + total[self.list]).clamp(min=1)
        best = torch.zeros(self.num_lists, dtype=torch.float64, device=f1.device)
        best = best.scatter_reduce_(0, self.list, f1, "amax")
        return best + 0 * _or_nan(total)

    def positives(self, weight: torch.Tensor) -> torch.Tensor:
        """Positives in each list: int64 of shape [G]."""
        return sum_by(self.list, self._steps(weight[self.positive_item].cumsum(0)), self.num_lists)

    def at_groups(self, cumulative: torch.Tensor) -> torch.Tensor:
        """Of sums over positives from the highest on, those at the end of each group [K]."""
        return cumulative[self.last_positive]

    def _counts(self, weight: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """
        What has passed each group's threshold, what has passed all higher ones, and the positives in the former and
        in the group alone: int64 of shape [K].
        """
        cumulative = weight.index_select(0, self.item).cumsum_(0)
        # every list holds the same items, so the same weight
        offset = self.list * (weight.sum() * (self.length // len(weight)))
        passed = cumulative[self.end] - offset
        before = torch.where(self.before < 0, 0, cumulative[self.before.clamp(min=0)]) - offset
        cumulative = weight[self.positive_item].cumsum(0)
        new = self._steps(cumulative)
        total = sum_by(self.list, new, self.num_lists)
        hits = self.at_groups(cumulative) - (total.cumsum(0) - total)[self.list]
        return passed, before, hits, new

    def _steps(self, cumulative: torch.Tensor) -> torch.Tensor:
        """What each group [K] adds to sums over positives."""
        at = self.at_groups(cumulative)
        return at.diff(prepend=at.new_zeros(1))


def mean_of_defined(values: torch.Tensor) -> float:
    """Mean of what is not NaN; NaN where all is."""
    defined = values[~values.isnan()]
    return float(defined.mean()) if len(defined) else float("nan")


def _group_ends(value: torch.Tensor) -> torch.Tensor:
    """Places in sorted lists [G, n], flattened, that are the last of tied ones."""
    last = torch.ones_like(value, dtype=torch.bool)
    torch.ne(value[:, 1:], value[:, :-1], out=last[:, :-1])
    return last.flatten().nonzero().squeeze(1)


def _or_nan(count: torch.Tensor) -> torch.Tensor:
    """Counts as float64, with NaN for 0."""
    return count.double().masked_fill(count == 0, float("nan"))
