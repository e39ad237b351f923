"""Registered tasks."""
from .angle import EdgeAnglePrediction
from .combined import CombinedPretraining
from .contrast import MultiviewContrastive
from .dihedral import EdgeDihedralPrediction
from .distance import EdgeDistancePrediction
from .property import ProteinPropertyPrediction
from .residue import MaskedResiduePrediction

__all__ = [
    "CombinedPretraining", "EdgeAnglePrediction", "EdgeDihedralPrediction", "EdgeDistancePrediction",
    "MaskedResiduePrediction", "MultiviewContrastive", "ProteinPropertyPrediction",
]
