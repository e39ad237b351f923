"""How far metrics would move with another sample of proteins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from .evaluation import Evaluation
from .naming import check, title


def bootstrap(
    names: str | Iterable[str],
    kind: str,
    pred: torch.Tensor,
    target: torch.Tensor,
    samples: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """
    Percentile intervals of metrics over samples of the proteins with replacement, by title.

    They tell how sure a test set of this size makes a value, not how much training would differ with another seed.
    Samples in which a metric has no value (no annotated protein was drawn) are left out of its interval; where it has
    a value in none, the interval is NaN.

    A sample holds some proteins twice, and both at the same rank. That favours some metrics: samples of ``f1_max``
    lie a little above its value, and those of ``auprc@macro`` with few positives a label clearly so, up to intervals
    that the value itself is not in. Compare such intervals with one another, not with the value.

    The same seed draws the same rows, so models evaluated on the same proteins in the same order are compared on the
    same samples.

    Parameters:
        names (str or iterable of str): see :func:`gearnet_plugin.metrics.names`
        kind (str): one of :data:`gearnet_plugin.metrics.KINDS`
        pred (Tensor): predictions as for :func:`gearnet_plugin.metrics.compute`
        target (Tensor): targets as for :func:`gearnet_plugin.metrics.compute`
        samples (int, optional): number of samples
        level (float, optional): share of the samples inside the interval
        seed (int, optional): seed of the draws

    Returns:
        dict of tuple: lower and upper end by title
    """
    names = check(names, kind)
    if samples < 2:
        raise ValueError("samples is %s, but an interval needs at least 2" % samples)
    if not 0 < level < 1:
        raise ValueError("level is %s, but it is a share between 0 and 1, such as 0.95" % level)
    evaluation = Evaluation(kind, pred, target)
    number = len(evaluation.pred)
    values = torch.empty(samples, len(names), dtype=torch.float64)
    for row, drawn in zip(values, draws(number, samples, seed)):
        weight = drawn.bincount(minlength=number).to(evaluation.pred.device)
        for i, name in enumerate(names):
            row[i] = evaluation.value(name, weight)
    return {title(name): _interval(column, level) for name, column in zip(names, values.t())}


def draws(number: int, samples: int, seed: int) -> Iterator[torch.Tensor]:
    """Rows that make up each sample: int64 of shape [number]."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(samples):
        yield torch.randint(number, (number,), generator=generator)


def _interval(values: torch.Tensor, level: float) -> tuple[float, float]:
    values = values[~values.isnan()]
    if not len(values):
        return float("nan"), float("nan")
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = values.quantile(ends).tolist()
    return low, high
