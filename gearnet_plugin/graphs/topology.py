"""
What message passing needs to know of a graph: made once a batch, shared by all layers and by backward.

N nodes, E edges, P unique (source, target) pairs of edges, R relations, A angle bins.
"""
import math

import torch

from gearnet_plugin import geometry
from gearnet_plugin.ops import Segments


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
        row = target * num_relation + relation
        edge = torch.arange(len(edge_list), device=edge_list.device)
        self.nodes = Segments(row, source, num_node * num_relation, num_node)
        self.edges = Segments(row, edge, num_node * num_relation, len(edge_list))


def angle_segments(edge_list, position, num_angle_bin):
    """
    Sums over (edge, angle bin) for message passing between edges (paper, section 3.2).

    Edge (j -> i) hears every edge (k -> j), its own reverse and the self-loop of j included; the bin is that of the
    angle i-j-k, ``floor(angle / pi * A)``, the angle pi in the last bin. A self-loop has no direction: angle 0.

    Parameters:
        edge_list (LongTensor): source, target, ... of shape :math:`(E, 2+)`
        position (Tensor): node positions in Å of shape :math:`(N, 3)`
        num_angle_bin (int): A

    Returns:
        Segments: E rows -> E·A rows
    """
    source, target = edge_list[:, 0], edge_list[:, 1]
    num_edge, num_node = len(edge_list), len(position)
    # edges sorted by their target: the incoming ones of node j stand together
    incoming = target.argsort(stable=True)
    degree = target.bincount(minlength=num_node)
    first = degree.cumsum(0) - degree

    count = degree[source]
    edge = torch.arange(num_edge, device=edge_list.device).repeat_interleave(count)
    rank = torch.arange(len(edge), device=edge_list.device) - (count.cumsum(0) - count).repeat_interleave(count)
    heard = incoming[first[source[edge]] + rank]

    node_j = position[source[edge]]
    angle = geometry.angle(position[target[edge]] - node_j, position[source[heard]] - node_j)
    angle_bin = (angle / math.pi * num_angle_bin).long().clamp(max=num_angle_bin - 1)
    return Segments(edge * num_angle_bin + angle_bin, heard, num_edge * num_angle_bin, num_edge)


class PairTopology:
    """
    Which edge hears which, on unique (source, target) pairs: parallel edges of other relations say and hear the same,
    and every fifth edge is parallel to another (a kNN edge is nearly always a radius edge too).

    Parameters:
        edge_list (LongTensor): source, target, ... of shape :math:`(E, 2+)`
        position (Tensor): node positions in Å of shape :math:`(N, 3)`
        num_angle_bin (int): A

    Attributes:
        merge (Segments): E rows -> P rows, the sum of parallel edges
        spread (Segments): P rows -> E rows, every edge that of its pair
        hears (Segments): P rows -> P·A rows, see :func:`angle_segments`
        heard_by (Segments): the transpose, P rows -> P·A rows
    """

    def __init__(self, edge_list, position, num_angle_bin):
        num_edge, num_node = len(edge_list), len(position)
        key, pair = (edge_list[:, 0] * num_node + edge_list[:, 1]).unique(return_inverse=True)
        pairs = torch.stack([key.div(num_node, rounding_mode="floor"), key % num_node], dim=-1)
        edge = torch.arange(num_edge, device=edge_list.device)
        self.num_pair, self.num_bin = len(key), num_angle_bin
        self.merge = Segments(pair, edge, self.num_pair, num_edge)
        self.spread = Segments(edge, pair, num_edge, self.num_pair)
        self.hears = angle_segments(pairs, position, num_angle_bin)
        hearing = self.hears.row.div(num_angle_bin, rounding_mode="floor")
        angle_bin = self.hears.row % num_angle_bin
        self.heard_by = Segments(self.hears.index * num_angle_bin + angle_bin, hearing,
                                 self.num_pair * num_angle_bin, self.num_pair)
