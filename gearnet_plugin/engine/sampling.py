"""Which item goes to which process: the seed decides the order of training, and evaluation takes each item once."""
import contextlib
import importlib
import types

import torch
from torch import distributed as dist
from torch.utils import data as torch_data

from torchdrug import data, models, utils
from torchdrug.utils import comm


@contextlib.contextmanager
def order_by(seed):
    """
    Let ``core.Engine.train`` draw the order of the items from a seed; it always takes 0 by itself.

    Parameters:
        seed (int): the same on all ranks
    """
    def sampler(dataset, num_replicas, rank):
        return torch_data.DistributedSampler(dataset, num_replicas, rank, seed=seed)

    host = importlib.import_module("torchdrug.core.engine")
    before = host.torch_data
    host.torch_data = types.SimpleNamespace(DistributedSampler=sampler)
    try:
        yield
    finally:
        host.torch_data = before


def part(size, rank, world_size):
    """
    Return the items that a rank evaluates: those of all ranks, one after the other, are each item once, in
    the order in which ``core.Engine`` evaluates them on one process.
    """
    order = list(torch_data.DistributedSampler(range(size), 1, 0))
    return order[rank * size // world_size:(rank + 1) * size // world_size]


#: TorchDrug's models that compute with what fills up shorter proteins of a batch as if these were residues.
PADDING = (models.ProteinLSTM, models.ProteinConvolutionalNetwork, models.ProteinResNet)


def pads(model):
    """Whether what a model gives for a protein depends on the longest one of the batch."""
    return any(isinstance(module, PADDING) for module in model.modules())


@torch.no_grad()
def predict(solver, split, batch_size=None):
    """
    Predict a split, each item once, in the order of :func:`part`.

    Parameters:
        solver (core.Engine): engine
        split (str): ``train``, ``valid`` or ``test``
        batch_size (int, optional): items at once, by default as many as the engine takes

    Returns:
        predictions and targets of all items, on every rank, as the task's ``predict_and_target`` gives them
    """
    dataset, model = getattr(solver, "%s_set" % split), solver.model
    indices = part(len(dataset), solver.rank, solver.world_size)
    model.split = split
    model.eval()
    results = []
    size = batch_size or solver.batch_size
    for batch in data.DataLoader(dataset, size, sampler=indices, num_workers=solver.num_worker):
        if solver.device.type == "cuda":
            batch = utils.cuda(batch, device=solver.device)
        results.append(model.predict_and_target(batch))
    if solver.world_size == 1:
        return utils.cat(results)
    # a rank may have no item, and so nothing that says what a prediction looks like
    parts = [None] * solver.world_size
    own = utils.cpu(utils.cat(results)) if results else None
    dist.all_gather_object(parts, own, group=comm.cpu_group)
    pred, target = utils.cat([found for found in parts if found is not None])
    if solver.device.type == "cuda":
        pred, target = utils.cuda((pred, target), device=solver.device)
    return pred, target


@torch.no_grad()
def score(solver, split, pred, target):
    """Return the metrics of what :func:`predict` gave, logged."""
    metric = solver.model.evaluate(pred, target)
    solver.meter.log(metric, category="%s/epoch" % split)
    return metric


def evaluate(solver, split):
    """
    Evaluate a split like ``core.Engine.evaluate``, which takes items twice to give all ranks the same number.

    Parameters:
        solver (core.Engine): engine
        split (str): ``train``, ``valid`` or ``test``

    Returns:
        dict: metrics, logged
    """
    return score(solver, split, *predict(solver, split))
