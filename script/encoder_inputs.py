"""What script/benchmark_encoder.py measures on: proteins of given lengths, equal graphs and equal encoders of both."""

import contextlib
import functools
import inspect
import os
import random
from unittest import mock

import numpy as np
import torch

import gearnet_plugin  # noqa: F401  TorchDrug can be imported only after it
from gearnet_plugin.compat import cluster
from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.layers import ResidueGraphConstruction
from gearnet_plugin.models import GearNetEncoder
from gearnet_plugin.structures import find_structures, read_structure
from gearnet_plugin.structures.bundled import bundled_structures
from torchdrug import data, layers, models
from torchdrug.layers import geometry

MASKED = 0.15
CROP = 50
CROPS = 16
BATCH, BATCH_LENGTH = 8, 350
# Å between chains that are laid side by side: farther than any edge is long
GAP = 50.0
# how far a single structure may be from the length that is asked for
NEAR = 0.1


# === proteins ===


@functools.cache
def structures(folder=None, most=400):
    """The bundled structures, and of a folder some, by length: a list of (length, structure)."""
    paths = [str(path) for path in bundled_structures()]
    if folder:
        more = sorted(str(path) for path in find_structures(folder))
        paths += random.Random(0).sample(more, min(most, len(more)))
    found = []
    for path in paths:
        try:
            found.append(read_structure(path))
        except ValueError:
            # somebody's folder may hold anything; what is measured is named by its length
            continue
    return sorted(((len(structure), structure) for structure in found), key=lambda pair: pair[0])


def protein_of(length, folder=None):
    """
    A protein of about ``length`` residues, and what it is in words.

    Where no structure has that length, chains of several stand side by side, too far apart for edges between them.
    """
    known = structures(folder)
    nearest = min(known, key=lambda pair: abs(pair[0] - length))
    if abs(nearest[0] - length) <= NEAR * length:
        return ResidueProtein.from_structure(nearest[1]), f"{nearest[0]} residues"
    parts, rest = [], list(known)
    while True:
        fitting = [pair for pair in rest if pair[0] <= length - sum(count for count, _ in parts)]
        if not fitting:
            break
        parts.append(fitting[-1])
        rest.remove(fitting[-1])
    total = sum(count for count, _ in parts)
    return side_by_side([structure for _, structure in parts]), f"{total} residues ({len(parts)} chains side by side)"


def side_by_side(parts):
    """One protein of several structures, their chains kept apart."""
    positions, chains, end, chain = [], [], 0.0, 0
    for part in parts:
        position = np.asarray(part.positions, dtype=np.float64)
        position = position - position.min(axis=0)
        position[:, 0] += end
        end = position[:, 0].max() + GAP
        _, number = np.unique(part.chain_ids, return_inverse=True)
        positions.append(position)
        chains.append(number + chain + 1)
        chain += number.max() + 1
    return ResidueProtein.from_arrays(
        np.concatenate(positions).astype(np.float32),
        np.concatenate([part.residue_types for part in parts]),
        chain_id=np.concatenate(chains),
        residue_number=np.concatenate([part.residue_numbers for part in parts]),
    )


def batch_of(count, length, folder=None):
    """The ``count`` structures nearest to ``length`` residues, packed."""
    nearest = sorted(structures(folder), key=lambda pair: abs(pair[0] - length))[:count]
    return ResidueProtein.pack([ResidueProtein.from_structure(structure) for _, structure in nearest])


# === graphs ===


def edge_layers():
    """The edge layers of the paper."""
    return [geometry.SequentialEdge(2), geometry.SpatialEdge(radius=10.0, min_distance=5), geometry.KNNEdge(10, 5)]


def constructions():
    """Stock's construction and ours, each with the edge layers and edge features of the paper."""
    arguments = [geometry.AlphaCarbonNode()], edge_layers(), "gearnet"
    return layers.GraphConstruction(*arguments), ResidueGraphConstruction(*arguments)


def as_stock(packed):
    """The same proteins as TorchDrug's own class, Cα atoms only: less than stock usually carries along."""
    names = ["atom_type", "residue_type", "atom_name", "atom2residue", "residue_feature", "chain_id", "residue_number"]
    names += ["node_position", "num_nodes", "num_residues"]
    return data.PackedProtein(
        torch.zeros(0, 3, dtype=torch.long),
        bond_type=[],
        view="residue",
        num_relation=4,
        num_edges=torch.zeros_like(packed.num_nodes),
        **{name: getattr(packed, name).clone() for name in names},
    )


@contextlib.contextmanager
def in_our_order():
    """
    Stock with edges in our order, for the checks: stable sorts, and neighbours by index as torch-cluster gives them on
    CUDA. On CPU it goes by a k-d tree, which also decides whom its cap of 32 neighbours leaves out.
    """
    stable = functools.partialmethod(torch.Tensor.argsort, stable=True)
    with (
        mock.patch.object(torch.Tensor, "argsort", stable),
        mock.patch.object(geometry.function, "knn_graph", cluster.knn_graph),
        mock.patch.object(geometry.function, "radius_graph", cluster.radius_graph),
    ):
        yield


def graphs_of(packed, crop=None, masked=MASKED):
    """
    Stock's graph and ours of the same proteins: cropped to ``crop`` consecutive residues and without ``masked`` of the
    edges where these are given; the same edges in the same order.
    """
    stock_construct, construct = constructions()
    ours = construct(packed)
    with in_our_order():
        stock = stock_construct(as_stock(packed))
    if crop:
        function = geometry.SubsequenceNode(crop)
        torch.manual_seed(0)
        stock = function(stock)
        torch.manual_seed(0)
        ours = function(ours)
    if not torch.equal(ours.edge_list, stock.edge_list):
        raise SystemExit("the graphs of stock and ours have different edges; nothing is reported")
    if masked:
        keep = torch.rand(len(ours.edge_list), generator=torch.Generator().manual_seed(0)) >= masked
        ours, stock = ours.edge_mask(keep), stock.edge_mask(keep)
    return stock, ours


def inputs(quick=False, folder=None):
    """Names of what the encoders run on, and how each is made: packed proteins and, for crops, their length."""
    singles = (100, 350) if quick else (100, 350, 800, 2000)

    def single(length):
        protein, name = protein_of(length, folder)
        return name, ResidueProtein.pack([protein]), None

    found = {str(length): functools.partial(single, length) for length in singles}
    if not quick:
        found["batch"] = lambda: (f"{BATCH} of about {BATCH_LENGTH}", batch_of(BATCH, BATCH_LENGTH, folder), None)
        found["crops"] = lambda: (f"{CROPS} crops of {CROP}", batch_of(CROPS, 200, folder), CROP)
    return found


# === encoders ===


def encoder_arguments(width, edges=True):
    """GearNet or GearNet-Edge at the depth of the paper."""
    arguments = dict(
        input_dim=21, hidden_dims=[width] * 6, num_relation=7, short_cut=True, batch_norm=True, concat_hidden=True
    )
    if edges:
        arguments.update(edge_input_dim=59, num_angle_bin=8)
    return arguments


def has_precision():
    """Whether the encoder can run in bfloat16."""
    return "precision" in inspect.signature(GearNetEncoder).parameters


def encoders(graph, width, edges=True, precisions=(None,)):
    """
    Stock's encoder and ours, one for each precision, with the same weights and with BatchNorm statistics of ``graph``,
    so that activations have the sizes they have in use.

    Returns:
        (models.GearNet, dict): stock, precision -> ours
    """
    arguments = encoder_arguments(width, edges)
    torch.manual_seed(0)
    stock, first = models.GearNet(**arguments), GearNetEncoder(**arguments)
    for parameter in first.parameters():
        if parameter.dim() == 1:
            # the bias of BatchNorm is zero at first, and leaves nothing but rounding of the sum over residues
            torch.nn.init.normal_(parameter, mean=0.5, std=0.3)
    for module in first.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            # the statistics of this batch in place of a running mean
            module.momentum = None
    with torch.no_grad():
        first.train()(graph, graph.node_feature.float())
    state = first.state_dict()
    stock.load_state_dict(state)
    ours = {}
    for precision in precisions:
        encoder = GearNetEncoder(**arguments, **({"precision": precision} if precision else {}))
        encoder.load_state_dict(state)
        ours[precision] = encoder
    return stock, ours


def default_threads(threads=None):
    """Set the number of threads of this process, all cores by default, and return it."""
    torch.set_num_threads(threads or os.cpu_count())
    return torch.get_num_threads()
