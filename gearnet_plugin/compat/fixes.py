"""What is broken in TorchDrug 0.2.1 on current libraries, one small function a fault. :func:`apply_all` runs all."""
import pickle
import types


def apply_all():
    """Repair the imported TorchDrug."""
    from . import configs, modules, torch_classes

    sparse_tensors_without_compiler()
    functions_without_extensions()
    collate_without_deprecated_storage()
    engine_on_cpu_ranks()
    checkpoints_without_code()
    esm_weights_without_code()
    meter_logs_numbers()
    molecules_drawn()
    modules.configurable_modules()
    torch_classes.register_schedulers()
    torch_classes.make_importable()
    configs.engine_configs()


def sparse_tensors_without_compiler():
    """
    Every version: ``utils.sparse_coo_tensor`` builds a C++ extension at its first call to skip the index
    check. torch >= 2.0 skips it by itself.
    """
    import torch

    from torchdrug import utils

    def sparse_coo_tensor(indices, values, size):
        """
        Construct a sparse COO tensor without index check.

        Parameters:
            indices (Tensor): indices of shape :math:`(d, n)`
            values (Tensor): values of shape :math:`(n,)`
            size (list): size of the tensor
        """
        return torch.sparse_coo_tensor(indices, values, [int(n) for n in size], check_invariants=False)

    utils.sparse_coo_tensor = sparse_coo_tensor
    # the package `torchdrug.utils` has an attribute `torch` that is its submodule
    utils.torch.sparse_coo_tensor = sparse_coo_tensor


def functions_without_extensions():
    """
    torch >= 2.0: two C++ extensions no longer compile. Plain PyTorch takes the place of the generalised
    sparse products (SchNet, knowledge graphs); the scores of knowledge graph embeddings have a native form of
    their own.
    """
    from torchdrug.layers import functional
    from torchdrug.utils import torch as torch_utils

    from . import spmm

    for name in ("generalized_spmm", "generalized_rspmm"):
        setattr(functional, name, getattr(spmm, name))
        setattr(functional.spmm, name, getattr(spmm, name))
    functional.embedding.backend = "native"

    def module(self):
        raise NotImplementedError("TorchDrug's C++ extension `%s` does not compile on torch >= 2.0. Its functions in "
                                  "`torchdrug.layers.functional` work without it." % self.name)

    torch_utils.LazyExtensionLoader.module = property(module)


def collate_without_deprecated_storage():
    """
    torch >= 2.0: in a loader's worker ``data.graph_collate`` stacks tensors into shared memory by way of the
    deprecated ``TypedStorage`` and of an output of the wrong shape: two warnings a worker. Told that it is in
    no worker, it stacks plainly; the queue of the loader moves the result to shared memory.
    """
    import torch

    from torchdrug.data import dataloader

    no_worker = _with(torch.utils.data, get_worker_info=lambda: None)
    dataloader.torch = _with(torch, utils=_with(torch.utils, data=no_worker))


def engine_on_cpu_ranks():
    """
    Every version: ``core.Engine`` converts BatchNorm to torch's SyncBatchNorm, which refuses CPU tensors,
    although the engine offers several CPU processes. Its module gets a ``torch.nn`` with one that takes them.
    """
    import torch

    from torchdrug.core import engine

    from .batchnorm import SyncBatchNorm

    engine.nn = _with(torch.nn, SyncBatchNorm=SyncBatchNorm)


def checkpoints_without_code():
    """
    torch < 2.6: ``Engine.load`` runs whatever code a checkpoint holds; later versions refuse it and advise to allow it.
    Tensors and plain values are all it needs.
    """
    import torch

    from torchdrug.core import engine

    def load(file, map_location=None):
        try:
            return torch.load(file, map_location=map_location, weights_only=True)
        except pickle.UnpicklingError as error:
            raise ValueError("Checkpoint `%s` is refused: it is damaged, or holds objects besides tensors and plain "
                             "values, which can run code when loaded. Save `state_dict()`s alone, like `Engine.save`."
                             % file) from error

    engine.torch = _with(torch, load=load)


def esm_weights_without_code():
    """
    torch >= 2.6 refuses ESM's files, whose settings are an ``argparse.Namespace``, and earlier versions run whatever
    code they hold. A namespace, tensors and plain values are all that ``models.ESM`` needs.
    """
    import argparse

    import torch

    from torchdrug.models import esm

    def load(file, map_location=None):
        torch.serialization.add_safe_globals([argparse.Namespace])
        return torch.load(file, map_location=map_location, weights_only=True)

    esm.torch = _with(torch, load=load)


def meter_logs_numbers():
    """torch > 2.4 warns where a tensor with gradient becomes a number, as losses do in ``Meter.log``."""
    import torch

    from torchdrug import core

    stock = core.Meter.log

    def log(self, record, category="train/batch"):
        detached = {key: value.detach() if isinstance(value, torch.Tensor) else value
                    for key, value in record.items()}
        return stock(self, detached, category)

    log.__doc__ = stock.__doc__
    core.Meter.log = log


def molecules_drawn():
    """Current RDKit: ``mplCanvas``, by which ``Molecule.visualize`` drew, is gone; its stand-in here is empty."""
    from torchdrug.data.rdkit import draw

    from . import missing
    from .drawing import draw_molecule

    if missing.stands_in("rdkit.Chem.Draw.mplCanvas"):
        draw.MolToMPL = draw_molecule


def _with(module, **replacements):
    """Return a module that is ``module`` but for some names."""
    view = types.ModuleType(module.__name__)
    view.__getattr__ = lambda name: getattr(module, name)
    vars(view).update(replacements)
    return view
