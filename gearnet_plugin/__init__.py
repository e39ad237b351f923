"""
gearnet-plugin: geometric structure pretraining of proteins (GearNet, arXiv 2203.06125) for TorchDrug.

Importing this package makes TorchDrug importable and registers our components in its ``core.Registry``. With
``GEARNET_PLUGIN_LIGHT=1`` in the environment it imports neither torch nor TorchDrug and registers nothing until
:func:`register` is called: enough to read structure files and stores, in a tenth of the time and memory.
"""
import os
import sys
from typing import TYPE_CHECKING

from gearnet_plugin.structures import Structure, StructureStore, read_structure
from gearnet_plugin.translate import translate

if TYPE_CHECKING:  # what register() puts here, for those who check types
    from gearnet_plugin import datasets, layers, models, tasks, transforms
    from gearnet_plugin.embedding import LoadedEncoder, load_encoder
    from gearnet_plugin.graphs import ResidueProtein

__version__ = "0.1.0"

__all__ = [
    "datasets", "layers", "models", "tasks", "transforms",
    "LoadedEncoder", "ResidueProtein", "Structure", "StructureStore", "load_encoder", "read_structure", "register",
    "translate",
]


def register() -> None:
    """Make TorchDrug importable and register our components; done by the import of this package unless it is light."""
    # processes started from here on need TorchDrug too
    os.environ.pop("GEARNET_PLUGIN_LIGHT", None)
    from gearnet_plugin import compat

    compat.activate()

    # what follows imports TorchDrug
    from gearnet_plugin import datasets, layers, models, tasks, transforms
    from gearnet_plugin.embedding import LoadedEncoder, load_encoder
    from gearnet_plugin.graphs import ResidueProtein

    globals().update(datasets=datasets, layers=layers, models=models, tasks=tasks,
                     transforms=transforms, LoadedEncoder=LoadedEncoder,
                     load_encoder=load_encoder, ResidueProtein=ResidueProtein)


if not TYPE_CHECKING:  # with it every name would be there for a checker of types

    def __getattr__(name):
        # reached only for what is not there, which after a light import is all that needs TorchDrug
        if name in __all__ and os.environ.get("GEARNET_PLUGIN_LIGHT") == "1":
            raise AttributeError(f"`gearnet_plugin.{name}` needs torch and TorchDrug, but GEARNET_PLUGIN_LIGHT=1 keeps "
                                 f"them out; unset it, or call gearnet_plugin.register() first")
        raise AttributeError(f"module `gearnet_plugin` has no attribute `{name}`")


if sys.argv[:1] == ["-m"] and "gearnet_plugin" in sys.orig_argv[1:4]:
    # `python -m gearnet_plugin` is the command `gearnet`: what of it needs TorchDrug calls register() itself
    os.environ.setdefault("GEARNET_PLUGIN_LIGHT", "1")
if os.environ.get("GEARNET_PLUGIN_LIGHT") != "1":
    register()
