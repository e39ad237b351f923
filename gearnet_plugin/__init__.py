"""
gearnet-plugin: geometric structure pretraining of proteins (GearNet, arXiv 2203.06125) for TorchDrug.

Importing this package makes TorchDrug importable and registers our components in its ``core.Registry``.
"""
from gearnet_plugin import compat

compat.activate()

# what follows imports TorchDrug
from gearnet_plugin import datasets, layers, models, tasks  # noqa: E402
from gearnet_plugin.embedding import LoadedEncoder, load_encoder  # noqa: E402
from gearnet_plugin.graphs import ResidueProtein  # noqa: E402
from gearnet_plugin.structures import Structure, read_structure  # noqa: E402

__version__ = "0.1.0"

__all__ = [
    "datasets", "layers", "models", "tasks",
    "LoadedEncoder", "ResidueProtein", "Structure", "load_encoder", "read_structure",
]
