"""Registered transforms of items of a dataset."""

from .construct import ConstructResidueGraph

__all__ = ["ConstructResidueGraph"]
