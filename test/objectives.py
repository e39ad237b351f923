"""What several tests of the four self-prediction objectives use: the tasks, small encoders, proteins."""

import torch

from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.models import GearNetEncoder
from gearnet_plugin.tasks import (
    EdgeAnglePrediction,
    EdgeDihedralPrediction,
    EdgeDistancePrediction,
    MaskedResiduePrediction,
)
from proteins import bundled, chain, construction, far_apart, stock_construction
from torchdrug import models, tasks

OURS = {
    "residue": MaskedResiduePrediction,
    "distance": EdgeDistancePrediction,
    "angle": EdgeAnglePrediction,
    "dihedral": EdgeDihedralPrediction,
}
STOCK = {
    "residue": tasks.AttributeMasking,
    "distance": tasks.DistancePrediction,
    "angle": tasks.AnglePrediction,
    "dihedral": tasks.DihedralPrediction,
}
ALL = sorted(OURS)
EDGES = ["angle", "dihedral", "distance"]


def encoder(kind=GearNetEncoder, width=16, **kwargs):
    """A small GearNet-Edge."""
    torch.manual_seed(0)
    arguments = dict(edge_input_dim=59, num_angle_bin=8, short_cut=True, batch_norm=True, concat_hidden=True)
    return kind(21, [width] * 2, 7, **{**arguments, **kwargs})


def task(name, model=None, **kwargs):
    """Our task on a small encoder."""
    kwargs.setdefault("graph_construction_model", construction())
    model = model or encoder()
    torch.manual_seed(1)
    return OURS[name](model, **kwargs)


def stock_task(name, **kwargs):
    """TorchDrug's task on a small encoder, its head made."""
    model = encoder(models.GearNet)
    torch.manual_seed(1)
    stock = STOCK[name](model, graph_construction_model=stock_construction(), **kwargs)
    stock.preprocess([{"graph": chain(5)}], None, None)
    return stock


def seeded(seed, function, *args):
    """Call ``function`` with the generator that TorchDrug draws from seeded."""
    torch.manual_seed(seed)
    return function(*args)


def batch(*proteins):
    return {"graph": ResidueProtein.pack(list(proteins))}


def usable():
    """Awkward proteins that every objective of TorchDrug can use: two chains, few edges, real ones."""
    return [chain(80, 1), chain(61, 3, num_chain=2), far_apart(), chain(4, 4), *bundled(2, longest=60)]


def unknown(length, which, seed=0):
    """A chain with unknown residues."""
    known = chain(length, seed)
    types = known.residue_type.clone()
    types[which] = 20
    return ResidueProtein.from_arrays(known.node_position, types)
