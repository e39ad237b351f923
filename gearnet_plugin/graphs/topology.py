"""
What message passing needs to know of a graph: made once a batch, shared by all layers and by backward.

N nodes, E edges, P unique (source, target) pairs of edges, R relations, A angle bins, L pairs that hear another.
"""

import math

import torch

from gearnet_plugin import geometry
from gearnet_plugin.ops import AngleSegments, Segments, row_offsets

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
        hears (AngleSegments): for each pair and each bin but the first the pairs that it hears
    """

    def __init__(self, edge_list, position, num_angle_bin):
        num_edge, num_node, device = len(edge_list), len(position), edge_list.device
        self.num_bin = num_angle_bin
        source, target = edge_list[:, 0], edge_list[:, 1]
        key, order = (source * num_node + target).sort(stable=True)
        self.out_of = Segments.sorted(order, row_offsets(source, num_node), num_edge)
        self.into = Segments(target.int(), torch.arange(num_edge, device=device), num_node, num_edge)

        # pairs, first numbered by source and target
        first = torch.ones_like(key, dtype=torch.bool)
        first[1:] = key[1:] != key[:-1]
        pair = torch.empty_like(order)
        pair[order] = first.cumsum(0) - 1
        key = key[first]
        self.num_pair = len(key)
        source, target = key.div(max(num_node, 1), rounding_mode="floor"), key % max(num_node, 1)
        self._first = pair, target, _angle_terms(source, target, position, num_angle_bin)

        hearing, heard, angle_bin = self._first[2]
        self.hears, self._place = AngleSegments.ordered(hearing, heard, angle_bin, self.num_pair, num_angle_bin)
        # from here on by the bins that they need
        self.hears.index = self._place.index_select(0, self.hears.index)
        self.pair = self._place.index_select(0, pair)
        self.source = _placed(source, self._place)
        self.merge = self._merge(self.pair)
        self._heard_by = None

    @property
    def terms(self):
        """Pairs that hear, those that they hear, and the bin: three tensors of shape :math:`(L,)`."""
        hearing, heard, angle_bin = self._first[2]
        return self._place.index_select(0, hearing), self._place.index_select(0, heard), angle_bin

    def heard_by(self):
        """
        The transpose of ``hears``, for backward; made once.

        Returns:
            (AngleSegments, LongTensor, LongTensor, Segments): for each pair and bin the pairs that hear it, in an order
            of its own; ``pair``, the target node of each pair and ``merge`` in that order
        """
        if self._heard_by is None:
            pair, target, (hearing, heard, angle_bin) = self._first
            heard_by, place = AngleSegments.ordered(heard, hearing, angle_bin, self.num_pair, self.num_bin)
            heard_by.index = self._place.index_select(0, heard_by.index)
            pair = place.index_select(0, pair)
            self._heard_by = heard_by, pair, _placed(target, place), self._merge(pair)
        return self._heard_by

    def _merge(self, pair):
        return Segments(pair, torch.arange(len(pair), device=pair.device), self.num_pair, len(pair))


def _placed(values, place):
    """``values`` in the order in which ``place`` puts them."""
    result = torch.empty_like(values)
    result[place] = values
    return result


def _angle_terms(source, target, position, num_angle_bin):
    """Every (hearing pair, heard pair, angle bin): three tensors of shape [L], the first one increasing."""
    num_pair, num_node, device = len(source), len(position), source.device
    # pairs by target: the incoming ones of node j stand together
    incoming = target.sort(stable=True).indices.int()
    degree = target.bincount(minlength=num_node)
    count = degree[source]
    first = (degree.cumsum(0) - degree)[source] - (count.cumsum(0) - count)
    total = int(count.sum())
    # numbers of pairs in 4 bytes: there are many terms
    hearing = torch.arange(num_pair, dtype=torch.int32, device=device).repeat_interleave(count, output_size=total)
    heard = first.int().index_select(0, hearing) + torch.arange(total, dtype=torch.int32, device=device)
    heard = incoming.index_select(0, heard)

    # rows of coordinates: arithmetic on them is several times as fast as on columns of three
    towards = (position[target] - position[source]).t().contiguous()
    back = -towards
    angle_bin = torch.empty(total, dtype=torch.uint8, device=device)
    for start in range(0, total, BLOCK_TERMS):
        block = slice(start, start + BLOCK_TERMS)
        angle = geometry.angle_of_rows(towards.index_select(1, hearing[block]), back.index_select(1, heard[block]))
        angle_bin[block] = (angle / math.pi * num_angle_bin).clamp_(max=num_angle_bin - 1)
    return hearing, heard, angle_bin
