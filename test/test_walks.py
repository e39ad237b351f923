"""Walks of edges: counted and looked up as if they had been listed, in TorchDrug's order."""

import pytest
import torch

from gearnet_plugin.graphs import PackedResidueProtein, ResidueProtein
from gearnet_plugin.graphs.walks import EdgeWalks, between_same_nodes
from proteins import awkward, bundled, chain, construction, stock_in_our_order


def listed(edge_list, length):
    """All walks of the definition, by loops: rows of edge numbers in the documented order."""
    ends = [tuple(edge) for edge in edge_list[:, :2].tolist()]
    follow = [
        [b for b, (source, end) in enumerate(ends) if source == target and end != start] for start, target in ends
    ]
    if length == 1:
        return [[a] for a in range(len(ends))]
    if length == 2:
        by_middle = sorted(range(len(ends)), key=lambda a: (ends[a][1], a))
        return [[a, b] for a in by_middle for b in follow[a]]
    return [[a, b, c] for b in range(len(ends)) for a in range(len(ends)) if b in follow[a] for c in follow[b]]


def stock_walks(graph, length):
    """All walks as TorchDrug's nested line graphs have them, turning ones left out: rows of edge numbers, sizes."""
    if length == 1:
        return torch.arange(int(graph.num_edge)).unsqueeze(-1), graph.num_edges
    node_in, node_out = graph.edge_list[:, :2].t()
    line = graph.line_graph()
    edge_in, edge_out = line.edge_list[:, :2].t()
    line = line.edge_mask((edge_in != edge_out) & (node_in[edge_in] != node_out[edge_out]))
    edge_in, edge_out = line.edge_list[:, :2].t()
    if length == 2:
        return line.edge_list[:, :2], line.num_edges
    line2 = line.line_graph()
    first, second = line2.edge_list[:, :2].t()
    line2 = line2.edge_mask((first != second) & (edge_in[first] != edge_out[second]))
    first, second = line2.edge_list[:, :2].t()
    return torch.stack([edge_in[first], edge_out[first], edge_out[second]], dim=-1), line2.num_edges


def random_graph(num_node, num_edge, seed):
    """A multigraph with self-loops and parallel edges, in two proteins."""
    generator = torch.Generator().manual_seed(seed)
    packed = ResidueProtein.pack([chain(num_node), chain(num_node)])
    half = torch.randint(num_node, (num_edge, 2), generator=generator)
    edges = torch.cat([half, torch.randint(num_node, (num_edge, 2), generator=generator) + num_node])
    return packed.with_edges(torch.cat([edges, torch.zeros(2 * num_edge, 1, dtype=torch.long)], dim=-1), 1)


@pytest.mark.parametrize("length", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_as_listed_by_loops(length, seed):
    """On random multigraphs, few nodes with many parallel edges and self-loops, all walks in their order."""
    graph = random_graph(2 + seed, 10 + 7 * seed, seed)
    walks = EdgeWalks(graph, length)
    total = int(walks.sizes.sum())
    assert walks.edges(torch.arange(total)).tolist() == listed(graph.edge_list, length)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_as_the_nested_line_graphs(length):
    """On real and awkward residue graphs the same walks in the same order as TorchDrug's, protein by protein."""
    for proteins in (awkward(), bundled(2, longest=80)):
        graph = construction()(ResidueProtein.pack(proteins))
        with stock_in_our_order():
            expected, sizes = stock_walks(graph, length)
        walks = EdgeWalks(graph, length)
        assert torch.equal(walks.sizes, sizes)
        assert torch.equal(walks.edges(torch.arange(len(expected))), expected)
        some = torch.randint(len(expected), (500,), generator=torch.Generator().manual_seed(0))
        assert torch.equal(walks.edges(some), expected[some])


@pytest.mark.parametrize("length", [1, 2, 3])
def test_without_self_loops(length):
    """They are the walks that use none, in the same order."""
    graph = construction()(ResidueProtein.pack(awkward()[1:]))
    all_walks = EdgeWalks(graph, length)
    edges = all_walks.edges(torch.arange(int(all_walks.sizes.sum())))
    loop = graph.edge_list[:, 0] == graph.edge_list[:, 1]
    expected = edges[~loop[edges].any(dim=-1)]
    assert len(expected) < len(edges)
    walks = EdgeWalks(graph, length, self_loops=False)
    assert torch.equal(walks.edges(torch.arange(int(walks.sizes.sum()))), expected)
    assert torch.equal(walks.sizes, graph.edge2graph[expected[:, 0]].bincount(minlength=graph.batch_size))


def test_none():
    """Residues alone have no walk; an empty choice gives no row."""
    alone = construction()(ResidueProtein.pack([chain(1), chain(1)]))
    assert EdgeWalks(alone, 2).sizes.tolist() == EdgeWalks(alone, 3).sizes.tolist() == [0, 0]
    assert EdgeWalks(alone, 1).sizes.tolist() == [1, 1]
    bare = ResidueProtein.pack([chain(4)]).with_edges(torch.zeros(0, 3, dtype=torch.long), 1)
    for length in (1, 2, 3):
        for graph in (alone, bare):
            nothing = torch.zeros(0, dtype=torch.long)
            assert EdgeWalks(graph, length).edges(nothing).shape == (0, length)
    assert EdgeWalks(bare, 3).sizes.tolist() == [0]
    with pytest.raises(ValueError, match="length should be 1, 2 or 3, but found 4"):
        EdgeWalks(alone, 4)


def test_all_edges_between_two_nodes():
    """Both directions and every parallel edge, and nothing else."""
    graph = random_graph(5, 40, 3)
    assert isinstance(graph, PackedResidueProtein)
    chosen = torch.tensor([0, 7, 50])
    ends = [set(edge) for edge in graph.edge_list[:, :2].tolist()]
    expected = [any(pair == ends[i] for i in chosen.tolist()) for pair in ends]
    assert between_same_nodes(graph, chosen).tolist() == expected
    assert sum(expected) > 5
    assert not between_same_nodes(graph, chosen[:0]).any()
