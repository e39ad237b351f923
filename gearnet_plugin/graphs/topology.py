"""
What message passing needs to know of a graph: made once a batch, shared by all layers and by backward.

N nodes, E edges, R relations, A angle bins.
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
