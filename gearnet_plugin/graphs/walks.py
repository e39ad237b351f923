"""
Walks of one, two and three edges, numbered as TorchDrug numbers them but never listed.

TorchDrug finds walks of two edges as the edges of the line graph, and walks of three as those of the line graph of
that: 0.2 and 4 million of a protein of 350 residues, of which a task draws 256. Here they are counted edge by edge, and
only the numbers that were drawn are turned into edges.

A walk never turns straight back: of two consecutive edges (k -> j), (j -> i) the ends k and i differ. So an edge is
never followed by itself, its reverse or a parallel of that.

N nodes, E edges, B proteins, S walks.
"""

import torch


class EdgeWalks:
    """
    All walks of a number of edges in every protein of a batch.

    Walks of one protein are numbered consecutively. Those of two edges are ordered by their middle node, then by the
    number of the first edge, then of the second; those of three by the number of the middle edge, then of the first,
    then of the third.

    Parameters:
        graph (PackedGraph): graphs with edges
        length (int): number of edges of a walk: 1, 2 or 3
        self_loops (bool, optional): whether edges from a node to itself take part

    Attributes:
        sizes (LongTensor): number of walks of each protein, shape :math:`(B,)`
    """

    def __init__(self, graph, length, self_loops=True):
        if length not in (1, 2, 3):
            raise ValueError("length should be 1, 2 or 3, but found %s" % (length,))
        self.length = length
        source, target = graph.edge_list[:, 0], graph.edge_list[:, 1]
        takes_part = torch.ones_like(source, dtype=torch.bool) if self_loops else source != target
        self.edge = takes_part.nonzero()[:, 0]
        self.source, self.target = source[self.edge], target[self.edge]
        num_node = int(graph.num_node)
        if length > 1:
            self.leaving = _EdgesOfNode(self.source, self.target, num_node)
        if length > 2:
            self.entering = _EdgesOfNode(self.target, self.source, num_node)
        # the walks are counted at one of their edges, the first of two and the middle one of three
        self.order, count = self._count()
        self.end = count.cumsum(0)
        owner = graph.edge2graph[self.edge][self.order]
        self.sizes = count.new_zeros(graph.batch_size).index_add_(0, owner, count)

    def _count(self):
        """Edges in the order in which their walks are numbered, and the number of walks of each."""
        edge = torch.arange(len(self.edge), device=self.edge.device)
        if self.length == 1:
            return edge, torch.ones_like(edge)
        if self.length == 2:
            order = self.target.argsort(stable=True)
            return order, self.leaving.count(self.target[order], self.source[order])
        return edge, self.entering.count(self.source, self.target) * self.leaving.count(self.target, self.source)

    def edges(self, index):
        """
        Turn numbers of walks into edges.

        Parameters:
            index (LongTensor): numbers of shape :math:`(S,)`, counted through all proteins

        Returns:
            LongTensor: numbers of their edges in the order of the walk, shape :math:`(S, length)`
        """
        place = torch.searchsorted(self.end, index, right=True)
        edge = self.order[place]
        if self.length == 1:
            return self.edge[edge].unsqueeze(-1)
        index = index - torch.where(place > 0, self.end[place - 1], 0)
        source, target = self.source[edge], self.target[edge]
        if self.length == 2:
            walk = [edge, self.leaving.pick(target, source, index)]
        else:
            width = self.leaving.count(target, source)
            before = self.entering.pick(source, target, index.div(width, rounding_mode="floor"))
            walk = [before, edge, self.leaving.pick(target, source, index % width)]
        return self.edge[torch.stack(walk, dim=-1)]


class _EdgesOfNode:
    """
    The edges at every node, in the order of their numbers; asked for less those whose other end is a given node.

    Parameters:
        node (LongTensor): the end by which edges are listed, shape :math:`(E,)`
        other (LongTensor): their other end, shape :math:`(E,)`
        num_node (int): N
    """

    def __init__(self, node, other, num_node):
        self.num_node, num_edge = num_node, len(node)
        self.order = node.argsort(stable=True)
        self.size = node.bincount(minlength=num_node)
        self.first = self.size.cumsum(0) - self.size
        edge = torch.arange(num_edge, device=node.device)
        rank = torch.empty_like(edge)
        rank[self.order] = edge - self.first[node[self.order]]

        # parallel edges: one group a pair of nodes
        self.pair, group = (node * num_node + other).unique(return_inverse=True)
        self.parallel = group.bincount(minlength=len(self.pair))
        self.start = self.parallel.cumsum(0) - self.parallel
        by_group = group.argsort(stable=True)
        group = group[by_group]
        # how many edges of the node stand before each one and are not of its group, increasing in each group
        self.step = num_edge + 1
        self.passed = group * self.step + rank[by_group] - (edge - self.start[group])

    def _group(self, node, without):
        """Group of the edges that are left out, and whether there are any."""
        pair = node * self.num_node + without
        group = torch.searchsorted(self.pair, pair).clamp(max=max(len(self.pair) - 1, 0))
        return group, self.pair[group] == pair

    def count(self, node, without):
        """How many edges each ``node`` has that do not end at ``without``."""
        group, found = self._group(node, without)
        return self.size[node] - torch.where(found, self.parallel[group], 0)

    def pick(self, node, without, place):
        """The edge at that ``place`` among those of ``node`` that do not end at ``without``."""
        group, found = self._group(node, without)
        # those left out that stand before it
        skipped = torch.searchsorted(self.passed, group * self.step + place, right=True) - self.start[group]
        return self.order[self.first[node] + place + torch.where(found, skipped, 0)]


def between_same_nodes(graph, edges):
    """
    Find all edges, of any relation and direction, between the two ends of given edges.

    Parameters:
        graph (PackedGraph): graphs with edges
        edges (LongTensor): numbers of edges

    Returns:
        BoolTensor: shape :math:`(E,)`
    """
    low, high = graph.edge_list[:, :2].sort(dim=-1).values.unbind(dim=-1)
    pair = low * int(graph.num_node) + high
    return torch.isin(pair, pair[edges].unique())
