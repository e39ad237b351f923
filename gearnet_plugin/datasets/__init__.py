"""Registered datasets: protein structures with labels and splits."""
from .alphafold import AlphaFoldStructures
from .enzyme_commission import EnzymeCommissionStructures
from .fold import FoldStructures
from .folder import StructureFolder
from .gene_ontology import GeneOntologyStructures
from .loading import StructuresDropped
from .pdb import PDBStructures
from .reaction import ReactionStructures
from .table import read_table

__all__ = [
    "AlphaFoldStructures", "EnzymeCommissionStructures", "FoldStructures", "GeneOntologyStructures", "PDBStructures",
    "ReactionStructures", "StructureFolder", "StructuresDropped", "read_table",
]
