"""Registered layers: the residue graph and the relational convolution."""
from .construction import ResidueGraphConstruction
from .conv import RelationalGeometricConv

__all__ = ["ResidueGraphConstruction", "RelationalGeometricConv"]
