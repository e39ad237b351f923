"""The sums that relational convolutions are made of: plain definitions in :mod:`.reference`, fast forms beside it."""
from .angular import angular_linear
from .segments import Segments, gather_sum

__all__ = ["Segments", "angular_linear", "gather_sum"]
