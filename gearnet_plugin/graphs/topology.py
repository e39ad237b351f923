"""
What message passing needs to know of a graph: made once a batch, shared by all layers and by backward.

N nodes, E edges, P unique (source, target) pairs of edges, R relations, A angle bins, L pairs that hear another.
"""

import math

import torch

from gearnet_plugin import geometry
from gearnet_plugin.ops import AngleSegments, Segments

# terms whose angles are computed at once: bounds the memory, and keeps it in the cache
BLOCK_TERMS = 1 << 18


class RelationTopology:
    """
    Sums over (target node, relation): of source nodes for messages, of edges for what edges tell their target.

    Parameters:
        edge_list (LongTensor): source, target, relation of shape :math:`(E, 3)`
        num_node (int): N
        num_relation (int): R

    Attributes:
        nodes (Segments): N rows -> N·R rows
        edges (Segments): E rows -> N·R rows
    """

    def __init__(self, edge_list, num_node, num_relation):
        source, target, relation = edge_list.unbind(dim=-1)
        edge = torch.arange(len(edge_list), device=edge_list.device)
        self.edges = Segments(target * num_relation + relation, edge, num_node * num_relation, len(edge_list))
        self.nodes = Segments.sorted(source[self.edges.index], self.edges.offsets, num_node)


class PairTopology:
    """
    Which edge hears which (paper, section 3.2), on unique (source, target) pairs: parallel edges of other relations say
    and hear the same, and every fifth edge is parallel to another (a kNN edge is nearly always a radius edge too).

    Edge (j -> i) hears every edge (k -> j), its own reverse and the self-loop of j included; the bin is that of the
    angle i-j-k, ``floor(angle / pi * A)``, the angle pi in the last bin. A self-loop has no direction: angle 0.

    What a pair (j -> i) hears in all bins together does not depend on i: it is what node j receives, and needs one
    product a node. So the first bin is never summed, and the maps of the others are those less the first, see
    :func:`gearnet_plugin.ops.cpu.edge_linear`. Pairs are numbered by the last bin in which they hear something, so that
    blocks of pairs need only some bins; in backward by the last one in which they are heard.

    Parameters:
        edge_list (LongTensor): source, target, ... of shape :math:`(E, 2+)`
        position (Tensor): node positions in Å of shape :math:`(N, 3)`
        num_angle_bin (int): A

    Attributes:
        num_pair (int): P
        num_bin (int): A
        pair (LongTensor): number of the pair of each edge, shape :math:`(E,)`
        source (LongTensor): source node of each pair, shape :math:`(P,)`
        merge (Segments): E rows -> P rows, the sum of parallel edges
        into, out_of (Segments): E rows -> N rows, the edges into and out of each node
        terms ((IntTensor, IntTensor, ByteTensor)): pairs that hear, those that they hear, the bin; each :math:`(L,)`
        hears (AngleSegments): for each pair and each bin but the first the pairs that it hears
    """

    def __init__(self, edge_list, position, num_angle_bin):
        num_node, device = len(position), edge_list.device
        self.num_bin, self._num_edge = num_angle_bin, len(edge_list)
        source, target = edge_list[:, 0], edge_list[:, 1]
        edge = torch.arange(self._num_edge, device=device)
        self.into = Segments(target, edge, num_node, self._num_edge)
        self.out_of = Segments(source, edge, num_node, self._num_edge)

        key, order = (source * num_node + target).sort(stable=True)
        first = torch.ones_like(key, dtype=torch.bool)
        first[1:] = key[1:] != key[:-1]
        pair = torch.empty_like(order)
        pair[order] = first.cumsum(0) - 1
        key = key[first]
        self.num_pair = len(key)
        source, target = key.div(max(num_node, 1), rounding_mode="floor"), key % max(num_node, 1)

        hearing, heard, angle_bin = _angle_terms(source, target, position, num_angle_bin)
        later = angle_bin > 0
        self.hears, place = AngleSegments.ordered(
            hearing[later], heard[later], angle_bin[later] - 1, self.num_pair, num_angle_bin - 1
        )
        # from here on pairs have their new numbers
        number = place.to(hearing.dtype)
        self.hears.index = number[self.hears.index]
        self.terms = number[hearing], number[heard], angle_bin
        self.pair = place[pair]
        self.source, self._target = torch.empty_like(source), torch.empty_like(target)
        self.source[place], self._target[place] = source, target
        self.merge = Segments(self.pair, edge, self.num_pair, self._num_edge)
        self._heard_by = None

    def heard_by(self):
        """
        The transpose of ``hears``, for backward; made once.

        Returns:
            (AngleSegments, LongTensor, LongTensor, Segments): for each pair and bin the pairs that hear it, in an order
            of its own; ``pair``, the target node of each pair and ``merge`` in that order
        """
        if self._heard_by is None:
            hearing, heard, angle_bin = self.terms
            later = angle_bin > 0
            heard_by, place = AngleSegments.ordered(
                heard[later], hearing[later], angle_bin[later] - 1, self.num_pair, self.num_bin - 1
            )
            pair = place[self.pair]
            target = torch.empty_like(self._target)
            target[place] = self._target
            edge = torch.arange(self._num_edge, device=pair.device)
            self._heard_by = heard_by, pair, target, Segments(pair, edge, self.num_pair, self._num_edge)
        return self._heard_by


def _angle_terms(source, target, position, num_angle_bin):
    """Every (hearing pair, heard pair, angle bin): three tensors of shape [L], the first one increasing."""
    num_pair, num_node, device = len(source), len(position), source.device
    # pairs by target: the incoming ones of node j stand together
    incoming = target.sort(stable=True).indices
    degree = target.bincount(minlength=num_node)
    count = degree[source]
    # numbers of pairs in 4 bytes: there are many terms
    hearing = torch.arange(num_pair, device=device, dtype=torch.int32).repeat_interleave(count)
    first = (degree.cumsum(0) - degree)[source] - (count.cumsum(0) - count)
    heard = incoming.int()[first[hearing] + torch.arange(len(hearing), device=device)]

    vector = position[target] - position[source]
    angle_bin = torch.empty(len(hearing), dtype=torch.uint8, device=device)
    for block in range(0, len(hearing), BLOCK_TERMS):
        some = slice(block, block + BLOCK_TERMS)
        angle = geometry.angle(vector[hearing[some]], -vector[heard[some]])
        angle_bin[some] = (angle / math.pi * num_angle_bin).clamp(max=num_angle_bin - 1).to(torch.uint8)
    return hearing, heard, angle_bin
