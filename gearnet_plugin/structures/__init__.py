"""Protein structure files as plain numpy arrays; needs neither torch nor TorchDrug."""

from .content import ENDINGS, split_ending
from .reader import read_structure
from .residues import ONE_LETTER, RESIDUE_NAMES, UNKNOWN_TYPE
from .structure import Structure

__all__ = [
    "ENDINGS",
    "ONE_LETTER",
    "RESIDUE_NAMES",
    "UNKNOWN_TYPE",
    "Structure",
    "read_structure",
    "split_ending",
]
