"""
What a step of an encoder costs whatever the machine: floating point operations, bytes saved for backward, and the time
that the multiplications alone would take.

N nodes, E edges, P unique (source, target) pairs of edges. A product of rows by a matrix p x q makes 2 p q operations a
row, a term of a sum 2 a column.
"""

from dataclasses import dataclass
from unittest import mock

import torch

from gearnet_plugin.graphs import topology
from gearnet_plugin.layers import recompute
from measure import fastest

MIB = 1 << 20


@dataclass(frozen=True)
class Sizes:
    """
    Sizes of a graph.

    Parameters:
        nodes, edges, pairs (int): N, E, P
        hearings (int): edges of stock's line graph
        terms, terms_back (int): rows of pairs that our sums of an edge layer read, forward and backward
        products, products_back (int): rows that our edge layer multiplies by the matrix of a bin
    """

    nodes: int
    edges: int
    pairs: int
    hearings: int
    terms: int
    terms_back: int
    products: int
    products_back: int


@dataclass(frozen=True)
class Flops:
    """Operations of the matrix products of the edge stream and of the node stream, and of the sums."""

    edge: int
    node: int
    sums: int

    @property
    def total(self):
        """All of them."""
        return self.edge + self.node + self.sums


def sizes(graph, num_bin):
    """Sizes of a graph with edges, ours from the topology that the encoder makes."""
    edge_list, num_node = graph.edge_list, int(graph.num_node)
    into, out = (edge_list[:, side].bincount(minlength=num_node) for side in (1, 0))
    pairs = topology.PairTopology(edge_list, graph.node_position, num_bin)
    heard_by = pairs.heard_by()[0]
    return Sizes(
        nodes=num_node,
        edges=len(edge_list),
        pairs=pairs.num_pair,
        hearings=int((into * out).sum()),
        terms=len(pairs.hears.index),
        terms_back=len(heard_by.index),
        # the first bin takes one product a node, the others one a pair up to the last that is not empty
        products=num_node + sum(bins * count for bins, count in enumerate(pairs.hears.num_reach)),
        products_back=num_node + sum(bins * count for bins, count in enumerate(heard_by.num_reach)),
    )


def stock_flops(encoder, size, backward=False):
    """
    Operations of TorchDrug's arithmetic. Backward multiplies twice more, for the gradients of weights and of what they
    are applied to, and once where that needs none: the features of nodes and edges.
    """
    products = size.edges * (encoder.num_angle_bin or 0)
    return _flops(encoder, size, backward, (products, products), (size.hearings, size.hearings), around=0)


def our_flops(encoder, size, backward=False):
    """Operations of our arithmetic, see :class:`Sizes`."""
    # parallel edges are summed, edges into a node are summed, and every edge gets what its pair has
    products, terms = (size.products, size.products_back), (size.terms, size.terms_back)
    return _flops(encoder, size, backward, products, terms, around=3)


def _flops(encoder, size, backward, products, terms, around):
    """
    Both arithmetics differ in the edge layers only: in ``products`` and ``terms``, forward and backward, and in how
    many sums over edges stand ``around`` them.
    """
    edge = node = sums = 0
    dims, relations = encoder.dims, encoder.num_relation
    for i, (a, b) in enumerate(zip(dims[:-1], dims[1:])):
        # backward: a product for the weights, and a product and a sum for the input unless that is the features
        back = backward * (2 if i else 1)
        sums_back = backward * (1 if i else 0)
        node += (1 + back) * 2 * size.nodes * (relations + 1) * a * b
        sums += (1 + sums_back) * 2 * size.edges * a
        if not encoder.num_angle_bin:
            continue
        p, q = encoder.edge_dims[i : i + 2]
        edge += 2 * p * q * (products[0] + back * products[1] + (1 + back) * size.edges)
        # stock sums rows of the input again or those of its gradient, ours sum the gradient of the output
        sums += 2 * p * (terms[0] + around * size.edges)
        sums += 2 * (q * backward if around else p * sums_back) * (terms[1] + around * size.edges)
        # what edges tell their target goes through the matrix of the node layer, and always has a gradient
        node += (1 + 2 * backward) * 2 * size.nodes * relations * q * b
        sums += (1 + backward) * 2 * size.edges * q
    return Flops(edge, node, sums)


# === memory of backward ===


def saved_bytes(encoder, graph):
    """
    Bytes that forward keeps for backward, each storage once, without what is there anyway: parameters and graph.
    """
    input = graph.node_feature.float()
    there = [input, *encoder.parameters(), *encoder.buffers()]
    there += [value for value in vars(graph).values() if isinstance(value, torch.Tensor)]
    held = {_storage(part) for tensor in there for part in _dense(tensor)}
    saved, alive = {}, []

    def count(kept):
        # an encoder may keep, in place of a tensor, how to make it again
        for tensor in [kept] if isinstance(kept, torch.Tensor) else vars(kept).values():
            for part in _dense(tensor) if isinstance(tensor, torch.Tensor) else ():
                if _storage(part) not in held:
                    saved[_storage(part)] = part.untyped_storage().nbytes()
                    # as long as it lives no other tensor takes its place
                    alive.append(part)
        return kept

    hooks = torch.autograd.graph.saved_tensors_hooks

    class Counting(hooks):
        def __init__(self, pack, unpack):
            super().__init__(lambda tensor: count(pack(tensor)), unpack)

    # of several hooks torch calls the innermost alone, so those that our encoder sets count too; seeing others in place
    # it would set none
    unseen = mock.patch.object(recompute, "_others_hooks", return_value=False)
    with mock.patch.object(torch.autograd.graph, "saved_tensors_hooks", Counting), unseen:
        with Counting(lambda tensor: tensor, lambda tensor: tensor):
            # as long as the output lives, so does what was kept for it
            output = encoder(graph, input)
    del output
    return sum(saved.values())


def _dense(tensor):
    if tensor.layout == torch.sparse_coo:
        return [tensor._indices(), tensor._values()]
    if tensor.layout != torch.strided:
        return [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    return [tensor]


def _storage(tensor):
    return tensor.untyped_storage().data_ptr()


# === the rate of the machine ===


def gemm_rate(dtype, width=512, num_bin=8):
    """The most operations a second that products of the sizes of an edge layer reach in this process."""
    best = 0.0
    for rows in (2048, 8192):
        for inner in (num_bin * width, width):
            a, b = torch.randn(rows, inner).to(dtype), torch.randn(inner, width).to(dtype)
            out = torch.empty(rows, width, dtype=dtype)
            best = max(best, 2 * rows * inner * width / fastest(lambda a=a, b=b, out=out: torch.mm(a, b, out=out)))
    return best
