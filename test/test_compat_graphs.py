"""TorchDrug's graphs, through compat, against definitions written out."""
import pytest
import torch

from torchdrug import data

EDGES = [[0, 1], [1, 0], [1, 2], [2, 3], [3, 1]]
SMALL = [[0, 1], [1, 2], [2, 0]]


def make_graph(edges=EDGES, num_node=5):
    graph = data.Graph(edges, num_node=num_node, edge_weight=torch.arange(1.0, len(edges) + 1))
    with graph.node():
        graph.colour = torch.arange(num_node) * 10
    with graph.edge():
        graph.length = torch.arange(len(edges)) * 0.5
    with graph.graph():
        graph.name = torch.tensor(num_node)
    return graph


def edges_of(graph):
    return [tuple(edge) for edge in graph.edge_list.tolist()]


@pytest.fixture
def packed():
    return data.Graph.pack([make_graph(), make_graph(SMALL, 3), make_graph(SMALL[:1], 2)])


def test_pack_shifts_nodes(packed):
    assert packed.batch_size == 3
    assert packed.num_nodes.tolist() == [5, 3, 2] and packed.num_edges.tolist() == [5, 3, 1]
    shifted = EDGES + [[a + 5, b + 5] for a, b in SMALL] + [[8, 9]]
    assert packed.edge_list.tolist() == shifted
    assert packed.node2graph.tolist() == [0] * 5 + [1] * 3 + [2] * 2
    assert packed.edge2graph.tolist() == [0] * 5 + [1] * 3 + [2]
    assert packed.colour.tolist() == [0, 10, 20, 30, 40, 0, 10, 20, 0, 10]
    assert packed.name.tolist() == [5, 3, 2]


def test_unpack_gives_the_graphs_back(packed):
    for one, (edges, n) in zip(packed.unpack(), [(EDGES, 5), (SMALL, 3), (SMALL[:1], 2)]):
        expected = make_graph(edges, n)
        assert torch.equal(one.edge_list, expected.edge_list)
        assert torch.equal(one.edge_weight, expected.edge_weight)
        assert torch.equal(one.colour, expected.colour) and torch.equal(one.length, expected.length)
        assert one.name == expected.name and one.num_node == n
    assert torch.equal(packed[1].edge_list, torch.tensor(SMALL))
    assert packed[[2, 0]].num_nodes.tolist() == [2, 5]


def test_subgraph_renumbers_and_node_mask_does_not():
    graph = make_graph()
    sub = graph.subgraph([1, 3, 2])
    # kept nodes take the order that was asked for: 1, 3, 2 -> 0, 1, 2
    assert edges_of(sub) == [(0, 2), (2, 1), (1, 0)]
    assert sub.colour.tolist() == [10, 30, 20]
    assert sub.length.tolist() == [1.0, 1.5, 2.0]
    masked = graph.node_mask([1, 3, 2])
    assert masked.num_node == 5 and edges_of(masked) == [(1, 2), (2, 3), (3, 1)]


def test_subgraph_of_a_batch(packed):
    keep = torch.tensor([0, 1, 6, 7, 8])
    sub = packed.subgraph(keep)
    assert sub.num_nodes.tolist() == [2, 2, 1]
    assert edges_of(sub) == [(0, 1), (1, 0), (2, 3)]
    assert sub.colour.tolist() == [0, 10, 10, 20, 0]


def test_edge_mask(packed):
    masked = packed.edge_mask([0, 3, 6])
    assert masked.num_edges.tolist() == [2, 1, 0]
    assert edges_of(masked) == [(0, 1), (2, 3), (6, 7)]
    assert masked.edge_weight.tolist() == [1, 4, 2]
    assert masked.num_node == packed.num_node


def test_graph_mask(packed):
    kept = packed.graph_mask([0, 2], compact=True)
    assert kept.num_nodes.tolist() == [5, 2]
    assert edges_of(kept)[-1] == (5, 6)


@pytest.mark.parametrize("make", [make_graph, lambda: data.Graph.pack([make_graph(), make_graph(SMALL, 3)])])
def test_line_graph_joins_edges_head_to_tail(make):
    graph = make()
    line = graph.line_graph()
    edges = graph.edge_list.tolist()
    expected = {(i, j) for i, (_, head) in enumerate(edges) for j, (tail, _) in enumerate(edges) if head == tail}
    assert line.num_node == graph.num_edge
    assert set(edges_of(line)) == expected and line.num_edge == len(expected)


def test_degrees_and_adjacency():
    graph = make_graph()
    # weights of the edges that have the node as output, and as input
    assert graph.degree_out.tolist() == [2, 1 + 5, 3, 4, 0]
    assert graph.degree_in.tolist() == [1, 2 + 3, 4, 5, 0]
    dense = torch.zeros(5, 5)
    for (a, b), w in zip(EDGES, graph.edge_weight):
        dense[a, b] += w
    assert torch.equal(graph.adjacency.to_dense(), dense)
    back = data.Graph.from_dense(dense)
    assert torch.equal(back.adjacency.to_dense(), dense)


def test_components_and_undirected():
    component, number = make_graph().connected_components()
    assert component.num_nodes.tolist() == [4, 1] and number.tolist() == [2]
    undirected = make_graph(SMALL, 3).undirected()
    assert set(edges_of(undirected)) == {(a, b) for a in range(3) for b in range(3) if a != b}


def test_relations():
    graph = data.Graph([[0, 1, 0], [1, 2, 1], [0, 1, 1]], num_node=3, num_relation=2)
    assert graph.match([[0, 1, -1]])[0].tolist() == [0, 2]
    adjacency = graph.adjacency.to_dense()
    assert adjacency.shape == (3, 3, 2)
    assert adjacency.sum() == 3 and adjacency[0, 1].tolist() == [1, 1]


def test_repeat_merge_and_split(packed):
    twice = packed.repeat(2)
    assert twice.num_nodes.tolist() == [5, 3, 2] * 2
    assert packed.repeat_interleave(2).num_nodes.tolist() == [5, 5, 3, 3, 2, 2]
    merged = packed.merge([0, 0, 1])
    assert merged.num_nodes.tolist() == [8, 2]
    parts = make_graph().split([0, 0, 1, 1, 1])
    assert parts.num_nodes.tolist() == [2, 3]
    assert edges_of(parts) == [(0, 1), (1, 0), (2, 3)]


def test_attributes_are_checked_and_cloned():
    graph = make_graph()
    with pytest.raises(ValueError, match="Expect node attribute `wrong` to have shape"), graph.node():
        graph.wrong = torch.zeros(4)
    copy = graph.clone()
    copy.colour[0] = 99
    assert graph.colour[0] == 0
    assert graph.to("cpu").device == torch.device("cpu")


def test_loader_packs():
    loader = data.DataLoader([make_graph(), make_graph(SMALL, 3), make_graph()], batch_size=2)
    assert [batch.num_nodes.tolist() for batch in loader] == [[5, 3], [5]]
