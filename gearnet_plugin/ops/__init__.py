"""Sums over segments: the one operation that every relational convolution is made of."""
from .segments import Segments, gather_sum

__all__ = ["Segments", "gather_sum"]
