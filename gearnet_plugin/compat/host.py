"""
Import all of TorchDrug inside one context that puts everything it touches back, then repair it.
"""
import importlib
import sys
import warnings

from . import missing, surroundings

VERSION = "0.2.1"
INSTALL_HINT = "pip install --no-deps --ignore-requires-python torchdrug==%s" % VERSION

# What TorchDrug's modules import. It is loaded before TorchDrug patches torch, so that no class in it derives
# from the patch; the value is what pip calls a package, None for what comes with torch and Python.
_IMPORT_FIRST = {
    "torch.distributed": None, "torch.nn.parallel": None, "torch.optim.lr_scheduler": None,
    "torch.utils.checkpoint": None, "torch.utils.cpp_extension": None, "torch.utils.data": None,
    "decorator": "decorator", "esm": "fair-esm", "jinja2": "jinja2", "lmdb": "lmdb",
    "matplotlib.pyplot": "matplotlib", "networkx": "networkx", "rdkit.Chem.AllChem": "rdkit",
    "rdkit.Chem.Draw": "rdkit", "tqdm": "tqdm",
}
_SUBPACKAGES = ("core", "data", "datasets", "layers", "layers.geometry", "metrics", "models", "tasks",
                "transforms", "utils")


def activate():
    """
    Import TorchDrug, repaired; a second call does nothing.

    Raises:
        ImportError: TorchDrug, or a package it needs, is not installed; the message holds the command that
        installs it
    """
    from . import fixes

    if getattr(sys.modules.get("torchdrug"), "_repaired_by_gearnet_plugin", False):
        return
    if not missing.installed("torchdrug"):
        raise ImportError("TorchDrug is not installed. Its own requirements do not resolve on a current "
                          "Python, so install it without them:\n    %s" % INSTALL_HINT)
    if "torchdrug" in sys.modules:
        # the user's own import: it works here without us, and torch is as TorchDrug wants it, so leave torch alone
        _import_torchdrug()
    else:
        _import_requirements()
        try:
            with surroundings.restored(), missing.present():
                _import_torchdrug()
        except BaseException:
            # half an import would make the next attempt fail for another reason
            missing.forget("torchdrug")
            raise
    import torchdrug

    if torchdrug.__version__ != VERSION:
        warnings.warn("gearnet-plugin repairs TorchDrug %s, but found TorchDrug %s"
                      % (VERSION, torchdrug.__version__), stacklevel=2)
    fixes.apply_all()
    torchdrug._repaired_by_gearnet_plugin = True


def _import_requirements():
    for name, requirement in _IMPORT_FIRST.items():
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if requirement is None:
                raise
            raise ImportError("TorchDrug needs `%s`, which cannot be imported (%s):\n    pip install %s"
                              % (name, error, requirement)) from error


def _import_torchdrug():
    importlib.import_module("torchdrug")
    for name in _SUBPACKAGES:
        importlib.import_module("torchdrug." + name)
