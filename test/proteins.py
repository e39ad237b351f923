"""Proteins that several tests use: synthetic ones made to be awkward, and the bundled real ones."""
import contextlib
import functools
from unittest import mock

import numpy as np
import torch

from gearnet_plugin.compat import cluster
from gearnet_plugin.graphs import ResidueProtein
from torchdrug import data, layers
from torchdrug.layers import geometry


def chain(length, seed=0, num_chain=1, first_number=1):
    """A random chain of Cα atoms 3.8 Å apart, compact enough to have spatial edges."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(length, 3))
    steps *= 3.8 / np.linalg.norm(steps, axis=1, keepdims=True)
    position = np.cumsum(steps, axis=0)
    # pulled together to a little more than the radius of gyration of a globular fold, in Å
    position -= position.mean(axis=0)
    position *= min(1.0, 3.4 * length ** 0.38 / max(1e-6, np.sqrt((position ** 2).sum(axis=1).mean())))
    return ResidueProtein.from_arrays(
        position.astype("float32"), rng.integers(0, 20, size=length),
        chain_id=np.arange(length) * num_chain // length + 1, residue_number=np.arange(length) + first_number)


def far_apart(length=6):
    """A stretched chain without any spatial edge."""
    position = np.zeros((length, 3), dtype="float32")
    position[:, 0] = np.arange(length) * 50
    return ResidueProtein.from_arrays(position, np.arange(length), chain_id=[1] * length)


def awkward():
    """Mixed lengths, two chains, a single residue, no spatial edges, an unknown residue."""
    unknown = chain(30, seed=5)
    unknown = ResidueProtein.from_arrays(unknown.node_position, torch.where(torch.arange(30) == 7, 20,
                                                                            unknown.residue_type))
    return [chain(80, 1), chain(1, 2), chain(61, 3, num_chain=2), far_apart(), unknown, chain(3, 4)]


def bundled(count=6, longest=260):
    """The first bundled structures of at most ``longest`` residues."""
    from gearnet_plugin.structures import bundled as files
    from gearnet_plugin.structures import read_structure

    proteins = []
    for path in files.bundled_structures():
        structure = read_structure(path)
        if len(structure) <= longest:
            proteins.append(ResidueProtein.from_structure(structure))
        if len(proteins) == count:
            break
    return proteins


def as_stock(packed):
    """The same proteins as TorchDrug's own class."""
    names = ["atom_type", "residue_type", "atom_name", "atom2residue", "residue_feature", "chain_id", "residue_number",
             "node_position", "num_nodes", "num_residues"]
    return data.PackedProtein(torch.zeros(0, 3, dtype=torch.long), bond_type=[], view="residue", num_relation=4,
                              num_edges=torch.zeros_like(packed.num_nodes),
                              **{name: getattr(packed, name).clone() for name in names})


def edge_layers():
    """The edge layers of the paper."""
    return [geometry.SequentialEdge(max_distance=2), geometry.SpatialEdge(radius=10.0, min_distance=5),
            geometry.KNNEdge(k=10, min_distance=5)]


def stock_construction(edge_feature="gearnet"):
    """TorchDrug's graph construction with the edge layers of the paper."""
    return layers.GraphConstruction([geometry.AlphaCarbonNode()], edge_layers(), edge_feature)


def construction(edge_feature="gearnet", **kwargs):
    """Ours with the edge layers of the paper."""
    from gearnet_plugin.layers import ResidueGraphConstruction

    return ResidueGraphConstruction([geometry.AlphaCarbonNode()], edge_layers(), edge_feature, **kwargs)


@contextlib.contextmanager
def stock_in_our_order():
    """
    TorchDrug orders edges by ``argsort``, whose order among equals is up to the machine, and neighbours as they come
    from torch-cluster: on CPU, where it is installed, in the order of a k-d tree, by which it also chooses where the
    cap bites. Here sorts are stable and neighbours come by index, as from torch-cluster on CUDA: the order is ours, and
    random draws of edges by number mean the same edges.
    """
    stable = functools.partialmethod(torch.Tensor.argsort, stable=True)
    with mock.patch.object(torch.Tensor, "argsort", stable), \
            mock.patch.object(geometry.function, "knn_graph", cluster.knn_graph), \
            mock.patch.object(geometry.function, "radius_graph", cluster.radius_graph):
        yield


@contextlib.contextmanager
def double_precision():
    """
    TorchDrug in float64: it calls ``.float()`` inside and makes edge weights of the default type.
    """
    with mock.patch.object(torch.Tensor, "float", torch.Tensor.double):
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(torch.float32)


@contextlib.contextmanager
def double_weights():
    """TorchDrug turns edge weights into float32 whenever it makes a graph of a graph; here it does not."""
    def weights(graph, edge_weight, edge_list):
        if edge_weight is None:
            return torch.ones(len(edge_list), dtype=torch.double, device=edge_list.device)
        return edge_weight.double()

    with mock.patch.object(data.Graph, "_standarize_edge_weight", weights):
        yield
