"""Graphs of residues: the protein that travels (:mod:`.protein`), edges, crops and the angle-binned topology."""
from .protein import PackedResidueProtein, ResidueProtein

__all__ = ["ResidueProtein", "PackedResidueProtein"]
