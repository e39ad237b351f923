"""Which form of the operations computes: decided here and nowhere else."""

from types import ModuleType

import torch

from . import cpu, reference

BACKENDS = ("auto", "reference", "cpu", "triton")


def check(backend):
    """Raise ValueError for a backend that does not exist."""
    if backend not in BACKENDS:
        raise ValueError(
            "backend should be one of %s, but found `%s`" % (", ".join("`%s`" % name for name in BACKENDS), backend)
        )
    if backend == "triton":
        raise ValueError("backend `triton` is not there yet; on a GPU, `auto` computes in plain PyTorch")


def choose(backend, device) -> ModuleType:
    """
    Return the module with ``gather_sum``, ``segment_linear`` and ``edge_linear``.

    Parameters:
        backend (str): ``reference`` (plain PyTorch, on any device), ``cpu``, or ``auto``: that of the device, which is
            ``reference`` where there is no other
        device (torch.device): where the graph is
    """
    check(backend)
    kind = torch.device(device).type
    if backend == "cpu" and kind != "cpu":
        raise ValueError("backend `cpu` computes on the CPU, but the graph is on `%s`; take `auto`" % device)
    return cpu if backend == "cpu" or (backend == "auto" and kind == "cpu") else reference
