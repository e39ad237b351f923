"""The fused operation of edge message passing equals its definition, and saves little."""
import pytest
import torch

from gearnet_plugin.graphs import ResidueProtein, topology
from gearnet_plugin.ops import angular, angular_linear, gather_sum, reference
from proteins import awkward, chain, construction, far_apart

PROTEINS = {
    "awkward": awkward, "one residue": lambda: [chain(1)], "no spatial edges": lambda: [far_apart()],
    "dense": lambda: [chain(63, seed=3)],
}


def pairs(proteins, num_bin=8, mask=None):
    """The graph of proteins and its pair topology."""
    graph = construction()(ResidueProtein.pack(proteins))
    if mask is not None:
        graph = graph.edge_mask(torch.rand(int(graph.num_edge), generator=torch.Generator().manual_seed(0)) < mask)
    return graph, topology.PairTopology(graph.edge_list, graph.node_position, num_bin)


@pytest.mark.parametrize("block", [1, 700, 1 << 22])
@pytest.mark.parametrize("proteins", PROTEINS)
def test_equals_definition(proteins, block, monkeypatch):
    """Output and both gradients equal the definition's, whatever the size of the blocks."""
    monkeypatch.setattr(angular, "BLOCK_ELEMENTS", block)
    _, known = pairs(PROTEINS[proteins](), mask=None if proteins == "one residue" else 0.85)
    generator = torch.Generator().manual_seed(1)
    results = []
    for function in (angular_linear, reference.angular_linear):
        generator.manual_seed(1)
        input = torch.randn(known.num_pair, 5, dtype=torch.double, generator=generator, requires_grad=True)
        weight = torch.randn(3, 40, dtype=torch.double, generator=generator, requires_grad=True)
        output = function(input, weight, known)
        output.backward(torch.randn(output.shape, dtype=torch.double, generator=generator))
        results.append((output, input.grad, weight.grad))
    for fast, plain in zip(*results):
        assert torch.allclose(fast, plain, rtol=1e-12, atol=1e-12)


def test_gradient_by_finite_differences():
    """Both gradients agree with finite differences."""
    _, known = pairs([chain(7)], num_bin=3)
    input = torch.randn(known.num_pair, 2, dtype=torch.double, requires_grad=True)
    weight = torch.randn(2, 6, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w: angular_linear(x, w, known), (input, weight))


def test_no_edges():
    """A graph without edges gives empty results and zero gradients."""
    known = topology.PairTopology(torch.zeros(0, 3, dtype=torch.long), torch.zeros(2, 3), 8)
    input, weight = torch.zeros(0, 4, requires_grad=True), torch.randn(3, 32, requires_grad=True)
    output = angular_linear(input, weight, known)
    output.sum().backward()
    assert output.shape == (0, 3) and not weight.grad.any()


def test_pairs_merge_parallel_edges():
    """Parallel edges are merged, and every edge gets back what its pair has."""
    graph, known = pairs([chain(60, seed=2)])
    unique = {tuple(e) for e in graph.edge_list[:, :2].tolist()}
    assert known.num_pair == len(unique) < int(graph.num_edge)
    count = gather_sum(torch.ones(int(graph.num_edge), 1), known.merge)
    assert int(count.sum()) == int(graph.num_edge) and count.max() == 2
    spread = gather_sum(count, known.spread).flatten()
    for edge, expected in zip(graph.edge_list[:, :2].tolist(), spread.tolist()):
        assert (graph.edge_list[:, :2] == torch.tensor(edge)).all(dim=1).sum() == expected


def test_sums_are_not_saved():
    """The concatenated sums, eight times the input, are not kept for backward."""
    _, known = pairs([chain(100, seed=1)])
    input, weight = torch.randn(known.num_pair, 16, requires_grad=True), torch.randn(16, 128, requires_grad=True)
    saved = []

    def pack(tensor):
        saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        angular_linear(input, weight, known)
    assert sum(saved) == input.numel() + weight.numel()
    saved.clear()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        reference.angular_linear(input, weight, known)
    assert max(saved) >= 8 * input.numel(), "the plain form does keep them"


def test_wrong_shape():
    """Edges in place of pairs are refused."""
    graph, known = pairs([chain(60, seed=2)])
    with pytest.raises(ValueError, match=r"input should have shape \(\d+, 4\), pairs and width of one bin"):
        angular_linear(torch.zeros(int(graph.num_edge), 4), torch.zeros(3, 32), known)
