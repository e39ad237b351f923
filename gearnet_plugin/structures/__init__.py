"""Protein structure files as plain numpy arrays; needs neither torch nor TorchDrug."""

from .content import ENDINGS, missing_formats, split_ending
from .names import unique_names
from .reader import parse_structure, read_structure
from .residues import ONE_LETTER, RESIDUE_NAMES, UNKNOWN_TYPE
from .sources import Entry, find_entries, find_structures, read_entry, read_structures, try_read
from .store import StructureStore
from .structure import Structure

__all__ = [
    "ENDINGS",
    "ONE_LETTER",
    "RESIDUE_NAMES",
    "UNKNOWN_TYPE",
    "Entry",
    "Structure",
    "StructureStore",
    "find_entries",
    "find_structures",
    "missing_formats",
    "parse_structure",
    "read_entry",
    "read_structure",
    "read_structures",
    "split_ending",
    "try_read",
    "unique_names",
]
