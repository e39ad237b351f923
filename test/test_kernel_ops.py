"""The sum of IEConv without the matrices of edges equals its definition, forward and backward, and saves little."""

import pytest
import torch

from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.ops import kernel
from proteins import awkward, chain, construction, far_apart


@pytest.fixture(autouse=True)
def poisoned():
    """What is allocated without being filled holds NaN, and an operation that does not repeat bit for bit raises."""
    torch.use_deterministic_algorithms(True)
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


def known(proteins, rate=0.85):
    """The topology of proteins of which some edges are masked."""
    graph = construction()(ResidueProtein.pack(proteins))
    keep = torch.rand(int(graph.num_edge), generator=torch.Generator().manual_seed(0)) < rate
    return kernel.DegreeTopology(graph.edge_list[keep], int(graph.num_node))


def edges(pairs, num_node):
    return kernel.DegreeTopology(torch.tensor(pairs, dtype=torch.long).view(-1, 2), num_node)


TOPOLOGIES = {
    "awkward": lambda: known(awkward()),
    "one residue": lambda: known([chain(1)], rate=2),
    "two residues": lambda: known([chain(2)], rate=2),
    "no spatial edges": lambda: known([far_apart()]),
    "nodes that hear nothing": lambda: known([chain(30)], rate=0.1),
    "70 edges into a node": lambda: edges([[i % 5, 3] for i in range(70)], 6),
    "no edge": lambda: edges([], 2),
    "no node": lambda: edges([], 0),
}
# C features, H width, q output
C, H, Q = 5, 7, 4


def results(function, topology, dtype, film=False, drop=False, each=False, weights=None, scale=1):
    """Output and gradients of features, rows and weight, all seeded."""
    generator = torch.Generator().manual_seed(1)
    width, features, q = H * scale, C * scale, Q * scale
    told = topology.each if each else None
    sizes = [
        (len(topology.edge), features),
        (len(topology.edge) if each else topology.num_node, width),
        (width, features) if film else (q, width, features),
    ]
    features, rows, weight = (
        torch.randn(size, generator=generator, dtype=torch.double).to(t).requires_grad_()
        for size, t in zip(sizes, (dtype, dtype, weights or dtype))
    )
    keep = torch.rand(len(topology.edge), width, generator=generator) > 0.2 if drop else None
    output = function(features, rows, keep, weight, topology, told)
    output.backward(torch.randn(output.shape, generator=generator, dtype=torch.double).to(dtype))
    return [output, features.grad, rows.grad, weight.grad]


def assert_near(actual, expected, tolerance):
    """In the norm of the whole, relative."""
    for a, b in zip(actual, expected, strict=True):
        assert a.shape == b.shape and a.isfinite().all()
        assert (a.double() - b).norm() <= tolerance * b.norm()


@pytest.mark.parametrize("film", [False, True], ids=["kernel", "film"])
@pytest.mark.parametrize("block", [1, 2000, 1 << 24])
@pytest.mark.parametrize("name", TOPOLOGIES)
def test_equals_definition(name, block, film, monkeypatch):
    """Output and all gradients to 1e-12 in float64, whatever the size of the blocks, with and without dropout."""
    monkeypatch.setattr(kernel, "BLOCK_BYTES", block)
    topology = TOPOLOGIES[name]()
    for drop, each in [(False, False), (True, False), (True, True)]:
        options = torch.double, film, drop, each
        assert_near(
            results(kernel.kernel_sum, topology, *options),
            results(kernel.kernel_sum_definition, topology, *options),
            1e-12,
        )


@pytest.mark.parametrize("film", [False, True], ids=["kernel", "film"])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
def test_lower_precision(dtype, tolerance, film):
    """Within 1e-5 in float32; within 1e-2 in bfloat16 with float32 weights, whose gradient is float32."""
    topology = known(awkward())
    exact = results(kernel.kernel_sum_definition, topology, torch.double, film, True, scale=5)
    low = results(kernel.kernel_sum, topology, dtype, film, True, weights=torch.float, scale=5)
    assert [x.dtype for x in low] == [dtype, dtype, dtype, torch.float]
    assert_near(low, exact, tolerance)


def test_by_hand():
    """Two edges into node 1: what is told times a matrix of one feature and a constant."""
    topology = edges([[0, 1], [2, 1]], 3)
    features = torch.tensor([[2.0, 1.0], [3.0, 1.0]])
    rows = torch.tensor([[1.0, 0.0], [9.0, 9.0], [0.0, 10.0]])
    # the kernel of an edge: its feature f times [[1, 0], [0, 1]], plus [[0, 0], [5, 5]]
    weight = torch.tensor([[[1.0, 0.0], [0.0, 0.0]], [[0.0, 5.0], [1.0, 5.0]]])
    for function in (kernel.kernel_sum, kernel.kernel_sum_definition):
        assert function(features, rows, None, weight, topology).tolist() == [[0, 0], [2, 5 + 30 + 50], [0, 0]]
        diagonal = function(features, rows, None, torch.tensor([[1.0, 0.0], [0.0, 5.0]]), topology)
        assert diagonal.tolist() == [[0, 0], [2, 50], [0, 0]]
        dropped = function(features, rows, torch.tensor([[True, True], [True, False]]), weight, topology)
        assert dropped.tolist() == [[0, 0], [2, 5], [0, 0]]


def test_gradients_by_finite_differences():
    """All gradients agree with finite differences."""
    topology = edges([[0, 1], [2, 1], [1, 0], [1, 1], [2, 3]], 4)
    features, rows = (torch.randn(size, dtype=torch.double, requires_grad=True) for size in [(5, 2), (4, 3)])
    keep = torch.rand(5, 3) > 0.3
    for size in [(2, 3, 2), (3, 2)]:
        weight = torch.randn(size, dtype=torch.double, requires_grad=True)
        assert torch.autograd.gradcheck(
            lambda *x: kernel.kernel_sum(x[0], x[1], keep, x[2], topology), (features, rows, weight)
        )


def test_custom_operations_are_sound():
    """Shapes without computing, autograd and no changes of inputs, as torch checks them for operations of one's own."""
    topology = known([chain(9)])
    checks = ("test_schema", "test_faketensor", "test_autograd_registration")
    features, rows = torch.randn(len(topology.edge), C), torch.randn(topology.num_node, H)
    told = topology.rows
    for size in [(Q, H, C), (H, C)]:
        weight = torch.randn(size, requires_grad=True)
        inputs = (
            features.requires_grad_(),
            rows.requires_grad_(),
            None,
            weight,
            told.index,
            list(told.transposed()),
            topology.node,
            topology.degrees,
            topology.num_node,
        )
        torch.library.opcheck(kernel._kernel_sum, inputs, test_utils=checks)


def test_matrices_are_not_made():
    """For backward inputs are kept, and nothing else; the definition keeps a matrix of every edge."""
    topology = known([chain(100, seed=1)])
    saved = {}

    def pack(tensor):
        if tensor.is_floating_point():
            saved[tensor.data_ptr()] = tensor.numel()
        return tensor

    sizes = [(len(topology.edge), C), (topology.num_node, H), (Q, H, C)]
    for function in (kernel.kernel_sum, kernel.kernel_sum_definition):
        inputs = [torch.randn(size, requires_grad=True) for size in sizes]
        saved.clear()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            function(*inputs[:2], None, inputs[2], topology)
        if function is kernel.kernel_sum:
            assert sum(saved.values()) == sum(input.numel() for input in inputs)
        else:
            assert max(saved.values()) >= len(topology.edge) * Q * H


def test_blocks_are_bounded(monkeypatch):
    """Blocks hold all nodes that hear something, in order, and no more of them than fit."""
    monkeypatch.setattr(kernel, "BLOCK_BYTES", 400)
    blocks = kernel._blocks([2, 3, 0, 5], 100)
    assert [(b.nodes, b.edges) for b in blocks] == [(slice(0, 4), slice(0, 6)), (slice(4, 8), slice(6, 18))]
    assert blocks[0].groups == [(slice(0, 3), slice(0, 3), 1), (slice(3, 4), slice(3, 6), 3)]


def test_rows_that_need_no_gradient():
    """They get none, while features and weight do."""
    topology = known([chain(9)])
    features = torch.randn(len(topology.edge), C, requires_grad=True)
    rows, weight = torch.randn(topology.num_node, H), torch.randn(Q, H, C, requires_grad=True)
    kernel.kernel_sum(features, rows, None, weight, topology).sum().backward()
    assert rows.grad is None and features.grad.any() and weight.grad.any() and topology.rows._transposed is None


def test_repeats_bit_for_bit():
    """Twice the same bits, forward and backward."""
    topology = known([chain(100)])
    one, two = (results(kernel.kernel_sum, topology, torch.float, drop=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, two))


def test_wrong_shapes():
    """What does not fit is named."""
    topology = known([chain(9)])
    features, rows = torch.zeros(len(topology.edge), C), torch.zeros(9, H)
    for function in (kernel.kernel_sum, kernel.kernel_sum_definition):
        with pytest.raises(ValueError, match=r"shape \(%d, 5\), edges of the topology" % len(features)):
            function(features[1:], rows, None, torch.zeros(Q, H, C), topology)
        with pytest.raises(ValueError, match=r"shape \(9, 7\), rows that edges tell of.*found \(8, 7\)"):
            function(features, rows[1:], None, torch.zeros(Q, H, C), topology)
