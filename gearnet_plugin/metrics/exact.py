"""
Sums that have no order: fractions as whole numbers.

A sum of floating-point numbers depends on the order of its terms, so the same proteins in another order, on several
processes or on a GPU would give other last digits, and a best epoch might change with them. Fractions between 0 and 1
are therefore rounded once, to multiples of ``1 / 2^bits``, and summed as 64-bit integers. The rounding is below
``1e-12`` for up to a million terms.
"""

from __future__ import annotations

import torch


def bits_for(total: int) -> int:
    """How many bits a fraction may have so that ``total`` of them have a sum below ``2^62``; at most 50."""
    return max(0, min(50, 62 - int(total).bit_length()))


def fixed(fraction: torch.Tensor, bits: int) -> torch.Tensor:
    """Fractions in [0, 1] (float64) as multiples of ``1 / 2^bits`` (int64), rounded to the nearest."""
    return (fraction * 2.0**bits).round_().long()


def floating(number: torch.Tensor, bits: int) -> torch.Tensor:
    """What sums of :func:`fixed` stand for, in float64."""
    return number.double() / 2.0**bits


def sum_by(index: torch.Tensor, values: torch.Tensor, size: int) -> torch.Tensor:
    """Sums of integers [n] with the same ``index`` [n]: int64 of shape [size]."""
    return torch.zeros(size, dtype=torch.long, device=values.device).index_add_(0, index, values)
