"""Registered datasets: protein structures with labels and splits."""
from .folder import StructureFolder
from .loading import StructuresDropped
from .table import read_table

__all__ = ["StructureFolder", "StructuresDropped", "read_table"]
