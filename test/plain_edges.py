"""Residue graphs in the plainest way: protein by protein, rule by rule, all distances, features side by side."""

import torch
from torch.nn import functional as F

from gearnet_plugin.graphs import edges


def sequential_edges(graph, max_distance=2, positions=None, keep=None):
    """Edges [E, 2] and relations by offset, then by source."""
    node = torch.arange(int(graph.num_residue))
    pairs, relations = [], []
    for offset in range(-max_distance, max_distance + 1):
        source = node[max(0, -offset) : len(node) - max(0, offset)]
        target = source + offset
        valid = graph.node2graph[source] == graph.node2graph[target]
        valid &= graph.chain_id[source] == graph.chain_id[target]
        relation = torch.full_like(source, offset + max_distance)
        if positions is not None:
            relation = positions[target] - positions[source] + max_distance
            valid &= (relation >= 0) & (relation <= 2 * max_distance)
        if keep is not None:
            valid &= keep[source] & keep[target]
        pairs.append(torch.stack([source[valid], target[valid]], dim=-1))
        relations.append(relation[valid])
    return torch.cat(pairs), torch.cat(relations)


def radius_edges(
    graph, radius=10.0, min_distance=5, max_distance=None, max_num_neighbors=32, positions=None, keep=None
):
    """Edges [E, 2] by target, then by source; the first of a ball that is too full."""

    def choose(squared, centre):
        near = squared < radius * radius
        near &= near.cumsum(dim=1) <= max_num_neighbors + 1
        near.scatter_(1, centre[:, None], False)
        return near.nonzero(as_tuple=True)

    return _neighbours(graph, choose, min_distance, max_distance, positions, keep)


def knn_edges(graph, k=10, min_distance=5, max_distance=None, positions=None, keep=None):
    """Edges [E, 2] by target, then by distance, then by source."""

    def choose(squared, centre):
        squared = squared.scatter(1, centre[:, None], float("inf"))
        count = min(k, squared.shape[1] - 1)
        nearest = squared.sort(dim=1, stable=True).indices[:, :count]
        return torch.arange(len(squared)).repeat_interleave(count), nearest.flatten()

    return _neighbours(graph, choose, min_distance, max_distance, positions, keep)


def _neighbours(graph, choose, min_distance, max_distance, positions, keep):
    point = graph.node_position
    pairs = [torch.zeros(0, 2, dtype=torch.long)]
    start = 0
    for n in graph.num_nodes.tolist():
        centre = torch.arange(n)
        if keep is not None:
            centre = centre[keep[start : start + n]]
        here = point[start : start + n]
        diff = here[centre][:, None] - here[None]
        row, neighbour = choose(diff[..., 0] ** 2 + diff[..., 1] ** 2 + diff[..., 2] ** 2, centre)
        pairs.append(torch.stack([neighbour, centre[row]], dim=-1) + start)
        start += n
    source, target = torch.cat(pairs).unbind(dim=-1)
    place = torch.arange(len(point)) if positions is None else positions
    apart = (place[source] - place[target]).abs()
    valid = (point[source] - point[target]).norm(dim=-1) >= 1e-10
    if min_distance:
        valid &= apart >= min_distance
    if max_distance:
        valid &= apart <= max_distance
    if keep is not None:
        valid &= keep[source]
    return torch.stack([source[valid], target[valid]], dim=-1)


def paper_graph(graph, gaps="index", keep=None):
    """Edges [E, 3] and features [E, 59] of the paper's graph."""
    positions = edges.sequence_positions(graph, gaps)
    pairs, relation = sequential_edges(graph, 2, None if gaps == "index" else positions, keep)
    lists = [torch.cat([pairs, relation[:, None]], dim=-1)]
    for number, rule in [(5, radius_edges), (6, knn_edges)]:
        pairs = rule(graph, positions=positions, keep=keep)
        lists.append(F.pad(pairs, (0, 1), value=number))
    edge_list = torch.cat(lists)
    edge_list = edge_list[graph.node2graph[edge_list[:, 0]].argsort(stable=True)]
    source, target, relation = edge_list.unbind(dim=-1)
    types = F.one_hot(graph.residue_type, 20).float()
    feature = [
        types[source],
        types[target],
        F.one_hot(relation, 7).float(),
        F.one_hot((positions[source] - positions[target]).abs().clamp(max=10), 11).float(),
        (graph.node_position[source] - graph.node_position[target]).norm(dim=-1, keepdim=True),
    ]
    return edge_list, torch.cat(feature, dim=-1)
