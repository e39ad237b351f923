"""The compat package without the rest of gearnet_plugin, to see TorchDrug as it is without us."""
import importlib.util
import os
import sys

NAME = "gearnet_plugin_compat_alone"
FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "gearnet_plugin", "compat")


def load():
    """Import the package; it activates nothing."""
    spec = importlib.util.spec_from_file_location(NAME, os.path.join(FOLDER, "__init__.py"),
                                                  submodule_search_locations=[FOLDER])
    module = sys.modules[NAME] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def simulate_installed():
    """Make TorchDrug importable by itself, as it is with the compiled packages and an old RDKit."""
    load()
    host, missing = (sys.modules["%s.%s" % (NAME, name)] for name in ("host", "missing"))
    host._import_requirements()
    missing._made.update(missing.make())
    missing.put()
