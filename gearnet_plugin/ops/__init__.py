"""
The operations that relational convolutions are made of: plain definitions in :mod:`.reference`, fast forms beside it.

:func:`choose` is the one place that decides which form computes.
"""

from .angular import AngleSegments
from .backend import BACKENDS, check, choose
from .segments import Segments, row_offsets

__all__ = ["BACKENDS", "AngleSegments", "Segments", "check", "choose", "row_offsets"]
