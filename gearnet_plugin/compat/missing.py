"""
Stand-ins for what TorchDrug imports and a current Python lacks: made only for what is missing, present only
while TorchDrug is imported, so that no other library takes them for the real packages.
"""
import contextlib
import importlib
import importlib.util
import sys
import types
import warnings
from importlib.machinery import ModuleSpec

_made = {}


def stand_ins():
    """Return the names of the compiled packages whose place our own code takes in this process."""
    return sorted(name for name in _made if "." not in name)


def stands_in(name):
    """Whether a stand-in was made for the module ``name``."""
    return name in _made


def installed(name):
    """Whether the package ``name`` can be found; it is not imported."""
    try:
        return name in sys.modules or importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def forget(name):
    """Drop the module ``name`` and its submodules, as after an import that failed half-way."""
    for loaded in [key for key in sys.modules if key == name or key.startswith(name + ".")]:
        del sys.modules[loaded]


def loads(name):
    """Whether the package ``name`` can be imported. One that is installed but broken is warned of."""
    if not installed(name):
        return False
    try:
        importlib.import_module(name)
    except Exception as error:  # noqa: BLE001  a wheel built for another torch fails with OSError and others
        forget(name)
        warnings.warn("`%s` is installed but cannot be loaded, so functions of gearnet-plugin take its "
                      "place. Install one that was built for this torch, or uninstall it. The error was: %s"
                      % (name, error), stacklevel=2)
        return False
    return True


def make():
    """Return {module name: module} for the packages TorchDrug imports that are missing here."""
    from . import cluster, scatter

    modules = {}
    if not loads("torch_scatter"):
        composite = {name: vars(scatter)[name] for name in ("scatter_softmax", "scatter_log_softmax")}
        functions = {name: value for name, value in vars(scatter).items() if name.startswith("scatter_")}
        modules["torch_scatter.composite"] = _module("torch_scatter.composite", scatter, composite)
        modules["torch_scatter"] = _module("torch_scatter", scatter, functions, is_package=True)
        modules["torch_scatter"].composite = modules["torch_scatter.composite"]
    if not loads("torch_cluster"):
        functions = {"knn_graph": cluster.knn_graph, "radius_graph": cluster.radius_graph}
        modules["torch_cluster"] = _module("torch_cluster", cluster, functions)
    if not installed("rdkit.Chem.Draw.mplCanvas"):
        # gone from RDKit; TorchDrug derives a class of drawings from it
        modules["rdkit.Chem.Draw.mplCanvas"] = _module(
            "rdkit.Chem.Draw.mplCanvas", scatter, {"Canvas": type("Canvas", (), {})})
    return modules


def _module(name, source, functions, is_package=False):
    module = types.ModuleType(name, source.__doc__)
    # other libraries look for packages by `find_spec`, which fails on a loaded module without one
    module.__spec__ = ModuleSpec(name, loader=None, origin=__package__, is_package=is_package)
    if is_package:
        module.__path__ = []
    vars(module).update(functions)

    def explain(attribute):
        raise AttributeError("The stand-in for `%s` holds only what TorchDrug uses, without `%s`. "
                             "For that install the real package: pip install %s"
                             % (name, attribute, name.split(".")[0].replace("_", "-")))

    module.__getattr__ = explain
    return module


@contextlib.contextmanager
def present():
    """Put the stand-ins into ``sys.modules`` for the time of an import."""
    _made.update(make())
    put()
    try:
        yield
    finally:
        for name in _made:
            sys.modules.pop(name, None)
        if "rdkit.Chem.Draw.mplCanvas" in _made:
            del sys.modules["rdkit.Chem.Draw"].mplCanvas


def put():
    """Put the stand-ins that were made into ``sys.modules``, to stay."""
    sys.modules.update(_made)
    if "rdkit.Chem.Draw.mplCanvas" in _made:
        sys.modules["rdkit.Chem.Draw"].mplCanvas = _made["rdkit.Chem.Draw.mplCanvas"]
