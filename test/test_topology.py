"""Which edge hears which, and in which angle bin."""

import pytest
import torch

from gearnet_plugin.graphs import ResidueProtein, topology
from proteins import awkward, bundled, chain, construction, far_apart
from torchdrug import layers


def heard_edges(pairs):
    """All (edge that is heard, edge that hears, bin), parallel edges apart."""
    of_pair = {}
    for edge, pair in enumerate(pairs.pair.tolist()):
        of_pair.setdefault(pair, []).append(edge)
    return sorted(
        (heard, hearing, angle_bin)
        for row, source, angle_bin in zip(*(term.tolist() for term in pairs.terms))
        for hearing in of_pair[row]
        for heard in of_pair[source]
    )


@pytest.mark.parametrize("num_bin", [1, 8])
def test_angle_bins_equal_stock_line_graph(num_bin):
    """Who hears whom, and the bins, are those of TorchDrug's spatial line graph."""
    packed = ResidueProtein.pack([chain(40, seed=1), far_apart(), chain(1)])
    graph = construction()(packed)
    pairs = topology.PairTopology(graph.edge_list, graph.node_position, num_bin)
    line = layers.SpatialLineGraph(num_bin)(graph)
    assert heard_edges(pairs) == sorted(map(tuple, line.edge_list.tolist()))


def test_angle_by_hand():
    """Straight on is the last bin, back is the first, a right angle is in the middle."""
    position = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [1, 1, 0]])
    edge_list = torch.tensor([[0, 1], [1, 2], [1, 0], [1, 3]])
    pairs = topology.PairTopology(edge_list, position, 8)
    # edges that leave node 1 hear edge 0 -> 1: onward at angle pi, back at 0, up at pi / 2; edge 0 hears 1 -> 0
    assert heard_edges(pairs) == [(0, 1, 7), (0, 2, 0), (0, 3, 4), (2, 0, 0)]


def test_blocks_of_terms_change_nothing(monkeypatch):
    """The bins do not depend on how many terms are computed at once."""
    graph = construction()(ResidueProtein.pack(awkward()))
    whole = topology.PairTopology(graph.edge_list, graph.node_position, 8)
    monkeypatch.setattr(topology, "BLOCK_TERMS", 7)
    parts = topology.PairTopology(graph.edge_list, graph.node_position, 8)
    assert all(torch.equal(a, b) for a, b in zip(whole.terms, parts.terms))


def test_transpose():
    """Backward knows the same terms the other way round, and every edge by its pair."""
    graph = construction()(ResidueProtein.pack(awkward()))
    graph = graph.edge_mask(torch.rand(int(graph.num_edge), generator=torch.Generator().manual_seed(0)) < 0.85)
    pairs = topology.PairTopology(graph.edge_list, graph.node_position, 8)
    heard_by, pair, target, merge = pairs.heard_by()
    assert pairs.heard_by()[0] is heard_by, "made once"
    forward = torch.zeros(pairs.num_pair, 7, pairs.num_pair, dtype=torch.long)
    backward = torch.zeros_like(forward)
    place = torch.empty(pairs.num_pair, dtype=torch.long)
    place[pairs.pair.long()] = pair.long()
    for count, segments in [(forward, pairs.hears), (backward, heard_by)]:
        row = torch.arange(pairs.num_pair * 7).repeat_interleave(segments.offsets.diff().long())
        count.view(-1, pairs.num_pair).index_put_((row, segments.index.long()), torch.tensor(1), accumulate=True)
    assert forward.sum() == (pairs.terms[2] > 0).sum()
    assert torch.equal(forward, backward[place].permute(2, 1, 0))
    assert torch.equal(target[pair], graph.edge_list[:, 1])
    assert torch.equal(pairs.source[pairs.pair], graph.edge_list[:, 0])
    assert torch.equal(merge.index[merge.offsets[5] : merge.offsets[6]], (pair == 5).nonzero().flatten())


def test_savings_on_real_structures():
    """On real proteins a fifth of all edges is parallel to another, and 7 bins of 8 become less than 6."""
    graph = construction()(ResidueProtein.pack(bundled(4)))
    pairs = topology.PairTopology(graph.edge_list, graph.node_position, 8)
    bins = sum(bins * count for bins, count in enumerate(pairs.hears.num_reach)) / pairs.num_pair
    assert 0.7 < pairs.num_pair / int(graph.num_edge) < 0.85 and 5 < bins < 6.1
