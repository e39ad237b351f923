"""
Make TorchDrug 0.2.1 run on current Python, PyTorch, NumPy and RDKit, and leave all of them as they were.

``import gearnet_plugin`` calls :func:`activate` before anything else; the rest of the package simply writes
``from torchdrug import ...``. Where TorchDrug cannot be imported by itself, this package must be imported
first, or the script be started by ``python -m gearnet_plugin.compat script.py``.

- :mod:`.host` imports all of TorchDrug, with :mod:`.missing` standing in for packages that are missing and
  :mod:`.surroundings` putting torch, logging and ``sys.modules`` back;
- :mod:`.fixes` repairs what is broken, one small function a fault, each with its reason and versions, helped
  by :mod:`.modules` (``.device``), :mod:`.torch_classes` (schedulers), :mod:`.configs`
  (``Engine.config_dict``), :mod:`.batchnorm` (a synchronised BatchNorm that also works on CPU),
  :mod:`.spmm` (sparse products), :mod:`.drawing` (molecules);
- :mod:`.scatter` and :mod:`.cluster` stand in for torch-scatter and torch-cluster, only where those are
  missing.
"""
from .host import INSTALL_HINT, activate
from .missing import stand_ins

__all__ = ["activate", "stand_ins", "INSTALL_HINT"]
