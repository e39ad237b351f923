"""The fast operations equal their definitions, forward and backward, and save little."""

import pytest
import torch

from gearnet_plugin import ops
from gearnet_plugin.graphs import ResidueProtein, topology
from gearnet_plugin.ops import Segments, cpu, reference
from proteins import awkward, chain, construction, far_apart

FUNCTIONS = [reference, cpu]


@pytest.fixture(autouse=True)
def poisoned():
    """What is allocated without being filled holds NaN, and an operation that does not repeat bit for bit raises."""
    torch.use_deterministic_algorithms(True)
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


def random_segments(num_term, num_row, num_source, seed=0):
    generator = torch.Generator().manual_seed(seed)
    row = torch.randint(max(num_row, 1), (num_term,), generator=generator)
    index = torch.randint(max(num_source, 1), (num_term,), generator=generator)
    return Segments(row, index, num_row, num_source)


def results(function, sizes, dtype, *known, weights=None):
    """Output and gradients of all inputs, which are seeded; ``weights`` is the type of all but the first."""
    generator = torch.Generator().manual_seed(1)
    types = [dtype] + [weights or dtype] * (len(sizes) - 1)
    inputs = [torch.randn(size, generator=generator, dtype=torch.double).to(t) for size, t in zip(sizes, types)]
    inputs = [input.requires_grad_() for input in inputs]
    output = function(*inputs, *known)
    output.backward(torch.randn(output.shape, generator=generator, dtype=torch.double).to(dtype))
    return [output, *(input.grad for input in inputs)]


def assert_equal(fast, plain, tolerance):
    """Largest difference at most ``tolerance`` of the largest value, and none is NaN."""
    for a, b in zip(fast, plain, strict=True):
        assert a.shape == b.shape and a.isfinite().all()
        if b.numel():
            error = (a.double() - b.double()).abs().max()
            assert error <= tolerance * max(1.0, float(b.abs().max())), float(error)


SIZES = [
    (0, 5, 3, 4),
    (1, 1, 1, 1),
    (63, 7, 100, 5),
    (2000, 50, 30, 63),
    (500, 1, 40, 16),
    (10, 1000, 8, 3),
    (0, 0, 4, 2),
]


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-6), (torch.float64, 1e-14), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("num_term, num_row, num_source, width", SIZES)
def test_gather_sum_equals_definition(num_term, num_row, num_source, width, dtype, tolerance):
    """Output and gradient of the fast sum equal those of the plain one, in bfloat16 with sums in float32."""
    segments = random_segments(num_term, num_row, num_source)
    fast = results(cpu.gather_sum, [(num_source, width)], dtype, segments)
    exact = torch.double if dtype == torch.bfloat16 else dtype
    assert_equal(fast, results(reference.gather_sum, [(num_source, width)], exact, segments), tolerance)


@pytest.mark.parametrize(
    "num_term, num_node, num_source, width", [(0, 2, 3, 4), (1, 1, 1, 1), (63, 7, 100, 5), (2000, 20, 30, 63)]
)
def test_segment_linear_equals_definition(num_term, num_node, num_source, width):
    """Output and all gradients, in float64 and bfloat16; weights may be float32 where rows are bfloat16."""
    segments = random_segments(num_term, num_node * 3, num_source)
    sizes = [(num_source, width), (4, 3 * width), (4,)]
    exact = results(reference.segment_linear, sizes, torch.double, segments)
    assert_equal(results(cpu.segment_linear, sizes, torch.double, segments), exact, 1e-13)
    mixed = results(cpu.segment_linear, sizes, torch.bfloat16, segments, weights=torch.float)
    assert mixed[1].dtype == torch.bfloat16 and mixed[2].dtype == torch.float
    assert_equal(mixed, exact, 2e-2)


@pytest.mark.parametrize("needs", [(True, True), (False, True), (True, False)])
def test_a_pair_equals_two(needs):
    """Two inputs with segments of their own, one of them from edges, by one matrix; gradients where they are needed."""
    segments = [random_segments(63, 12, 9), random_segments(40, 12, 30, seed=1)]
    found = []
    for module in FUNCTIONS:
        generator = torch.Generator().manual_seed(1)
        sizes = [(9, 5), (30, 5), (3, 15), (3,)]
        inputs = [torch.randn(size, generator=generator, dtype=torch.double).requires_grad_() for size in sizes]
        for input, wanted in zip(inputs, needs):
            input.requires_grad_(wanted)
        one, two = module.segment_linear_pair(inputs[:2], *inputs[2:], segments)
        (one.square().sum() + two.sum()).backward()
        assert [input.grad is not None for input in inputs] == [*needs, True, True]
        found.append([one.detach(), two.detach(), *(input.grad for input in inputs if input.grad is not None)])
    assert_equal(*found, 1e-13)


def star(degree):
    """A node that hears ``degree`` others, which it tells all about: more than any real residue has."""
    generator = torch.Generator().manual_seed(0)
    into = torch.tensor([[node, 0] for node in range(1, degree + 1)])
    out_of = torch.tensor([[0, node] for node in range(1, degree // 2 + 1)])
    return torch.cat([into, out_of]), torch.randn(degree + 1, 3, generator=generator)


def known(proteins, num_bin=8, rate=0.85):
    """The pair topology of proteins of which some edges are masked."""
    graph = construction()(ResidueProtein.pack(proteins))
    keep = torch.rand(int(graph.num_edge), generator=torch.Generator().manual_seed(0)) < rate
    graph = graph.edge_mask(keep)
    return topology.PairTopology(graph.edge_list, graph.node_position, num_bin)


TOPOLOGIES = {
    "awkward": lambda: known(awkward()),
    "one residue": lambda: known([chain(1)], rate=2),
    "no spatial edges": lambda: known([far_apart()]),
    "dense": lambda: known([chain(63, seed=3)], rate=2),
    "one bin": lambda: known([chain(20, seed=3)], num_bin=1),
    "thirteen bins": lambda: known([chain(40, seed=3)], num_bin=13),
    "60 neighbours": lambda: topology.PairTopology(*star(60), 8),
    "63 edges": lambda: topology.PairTopology(*star(42), 8),
    "one edge": lambda: topology.PairTopology(torch.tensor([[0, 1, 0]]), torch.randn(2, 3), 8),
    "no edge": lambda: topology.PairTopology(torch.zeros(0, 3, dtype=torch.long), torch.zeros(2, 3), 8),
    "no node": lambda: topology.PairTopology(torch.zeros(0, 3, dtype=torch.long), torch.zeros(0, 3), 8),
}


def edge_sizes(pairs, p=5, q=3):
    """Shapes of the inputs of ``edge_linear``."""
    return [(len(pairs.pair), p), (q, pairs.num_bin * p), (q, p), (q,)]


@pytest.mark.parametrize("block", [1, 5000, 1 << 24])
@pytest.mark.parametrize("name", TOPOLOGIES)
def test_edge_linear_equals_definition(name, block, monkeypatch):
    """Output and all gradients equal the definition's to 1e-12 in float64, whatever the size of the blocks."""
    monkeypatch.setattr(cpu, "BLOCK_BYTES", block)
    pairs = TOPOLOGIES[name]()
    plain = results(reference.edge_linear, edge_sizes(pairs), torch.double, pairs)
    assert_equal(results(cpu.edge_linear, edge_sizes(pairs), torch.double, pairs), plain, 1e-12)


def test_edge_linear_without_self_loops():
    """Without W_0 an edge does not hear itself."""
    pairs = known(awkward())
    input_size, weight_size, _, bias_size = edge_sizes(pairs)
    sizes = [input_size, weight_size, bias_size]

    def without(input, weight, bias, edge_linear):
        return edge_linear(input, weight, None, bias, pairs)

    plain, fast = (results(without, sizes, torch.double, module.edge_linear) for module in FUNCTIONS)
    assert_equal(fast, plain, 1e-12)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("name", TOPOLOGIES)
def test_edge_linear_in_lower_precision(name, dtype, tolerance):
    """
    Within 1e-5 in float32, within 1e-2 in bfloat16 with float32 weights, whose gradients are float32; in the norm of
    the whole, as single numbers in bfloat16 are 1e-2 off in the plain form too.
    """
    pairs = TOPOLOGIES[name]()
    sizes = edge_sizes(pairs, 48, 40)
    exact = results(reference.edge_linear, sizes, torch.double, pairs)
    low = results(cpu.edge_linear, sizes, dtype, pairs, weights=torch.float)
    assert [x.dtype for x in low] == [dtype, dtype, torch.float, torch.float, torch.float]
    for a, b in zip(low, exact, strict=True):
        assert a.isfinite().all() and (a.double() - b).norm() <= tolerance * b.norm()


def test_gradients_by_finite_differences():
    """All gradients agree with finite differences, those of sums twice."""
    pairs = known([chain(7)], num_bin=3)
    inputs = [torch.randn(size, dtype=torch.double, requires_grad=True) for size in edge_sizes(pairs, 2, 2)]
    assert torch.autograd.gradcheck(lambda *x: cpu.edge_linear(*x, pairs), inputs)
    segments = random_segments(40, 6, 9)
    source, weight, bias = (
        torch.randn(size, dtype=torch.double, requires_grad=True) for size in [(9, 3), (2, 9), (2,)]
    )
    assert torch.autograd.gradcheck(lambda *x: cpu.segment_linear(*x, segments), (source, weight, bias))
    assert torch.autograd.gradcheck(lambda x: cpu.gather_sum(x, segments).tanh(), (source,))
    assert torch.autograd.gradgradcheck(lambda x: cpu.gather_sum(x, segments).tanh(), (source,))


def test_custom_operations_are_sound():
    """Shapes without computing, autograd and no changes of inputs, as torch checks them for operations of one's own."""
    segments, pairs = random_segments(63, 12, 9), known([chain(9)])
    checks = ("test_schema", "test_faketensor", "test_autograd_registration")
    source, weight, bias = (torch.randn(size, requires_grad=True) for size in [(9, 3), (2, 9), (2,)])
    sums = segments.index, segments.offsets, list(segments.transposed())
    torch.library.opcheck(cpu._gather_sum, (source, *sums), test_utils=checks)
    arguments = [source], weight, bias, [segments.index, segments.offsets], list(segments.transposed())
    torch.library.opcheck(cpu._segment_linear, arguments, test_utils=checks)
    inputs = [torch.randn(size, requires_grad=True) for size in edge_sizes(pairs, 2, 2)]
    arguments = {}

    def note(*args):
        arguments["edge_linear"] = args
        return cpu.torch.zeros(1)

    original, cpu._edge_linear = cpu._edge_linear, note
    try:
        cpu.edge_linear(*inputs, pairs)
    finally:
        cpu._edge_linear = original
    torch.library.opcheck(cpu._edge_linear, arguments["edge_linear"], test_utils=checks)


def test_only_what_needs_a_gradient():
    """An input that needs none gets none, while weights do."""
    segments = random_segments(63, 12, 9)
    source, weight, bias = torch.randn(9, 3), torch.randn(2, 9, requires_grad=True), torch.randn(2, requires_grad=True)
    cpu.segment_linear(source, weight, bias, segments).sum().backward()
    assert source.grad is None and weight.grad.any() and segments._transposed is None


def test_by_hand():
    """A table worked out by hand: row 0 takes sources 1 and 2, row 2 takes source 0 twice, row 1 nothing."""
    segments = Segments(torch.tensor([2, 0, 2, 0]), torch.tensor([0, 2, 0, 1]), 3, 3)
    source = torch.tensor([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]])
    for function in FUNCTIONS:
        assert function.gather_sum(source, segments).tolist() == [[6.0, 60.0], [0.0, 0.0], [2.0, 20.0]]


def test_non_contiguous_and_repeatable():
    """A transposed view gives what its copy gives, and twice the same bits."""
    segments = random_segments(3000, 70, 90)
    view = torch.randn(16, 90).t()
    first = cpu.gather_sum(view, segments)
    assert torch.equal(first, cpu.gather_sum(view.contiguous(), segments))
    assert torch.equal(first, cpu.gather_sum(view, segments))
    pairs = known([chain(100)])
    one, two = (results(cpu.edge_linear, edge_sizes(pairs, 16, 16), torch.float, pairs) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, two))


def test_empty_rows_are_zero_not_garbage():
    """Rows without a term are zero even where the source holds NaN."""
    segments = Segments(torch.tensor([3]), torch.tensor([0]), 5, 2)
    source = torch.tensor([[1.0], [float("nan")]])
    for function in FUNCTIONS:
        assert function.gather_sum(source, segments).flatten().tolist() == [0, 0, 0, 1, 0]


def test_sums_are_not_saved():
    """The concatenated sums, eight times the input, are not kept for backward; nor those over relations."""
    pairs = known([chain(100, seed=1)])
    saved = {}

    def pack(tensor):
        if tensor.is_floating_point():
            saved[tensor.data_ptr()] = tensor.numel()
        return tensor

    for module in FUNCTIONS:
        inputs = [torch.randn(size, requires_grad=True) for size in edge_sizes(pairs, 16, 16)]
        saved.clear()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            module.edge_linear(*inputs, pairs)
        if module is cpu:
            assert sum(saved.values()) == sum(input.numel() for input in inputs[:3])
        else:
            assert max(saved.values()) >= 7 * pairs.num_pair * 16, "the plain form does keep them"


def test_pairs_merge_parallel_edges():
    """Parallel edges are one pair, and every edge knows its own."""
    graph = construction()(ResidueProtein.pack([chain(60, seed=2)]))
    pairs = topology.PairTopology(graph.edge_list, graph.node_position, 8)
    unique = {tuple(edge) for edge in graph.edge_list[:, :2].tolist()}
    assert pairs.num_pair == len(unique) < int(graph.num_edge)
    numbers = {}
    for edge, number in zip(graph.edge_list[:, :2].tolist(), pairs.pair.tolist()):
        assert numbers.setdefault(tuple(edge), number) == number
        assert pairs.source[number] == edge[0]
    assert sorted(numbers.values()) == list(range(pairs.num_pair))


def test_last_bins_are_left_out():
    """Rows are ordered by the bins they need, nearly a third of which are empty without that of the first."""
    pairs = known([chain(150, seed=4)], rate=2)
    reach = pairs.hears.num_reach
    needed = sum(bins * count for bins, count in enumerate(reach))
    assert sum(reach) == pairs.num_pair and needed < 0.9 * 7 * pairs.num_pair
    later = pairs.terms[2] > 0
    assert len(pairs.hears.index) == int(later.sum()) < len(later)
    # no term beyond the reach of its row
    last = torch.arange(8).repeat_interleave(torch.tensor(reach))
    assert (pairs.terms[2].long() <= last[pairs.terms[0].long()]).all()


def test_wrong_shapes():
    """An input for another graph, or of another width, is refused by both forms."""
    pairs, segments = known([chain(60, seed=2)]), random_segments(5, 3, 9)
    weight, self_weight, bias = torch.zeros(3, 32), torch.zeros(3, 4), torch.zeros(3)
    for module in FUNCTIONS:
        with pytest.raises(
            ValueError, match=r"shape \(9, d\), rows that the segments were made for, but found \(8, 2\)"
        ):
            module.gather_sum(torch.zeros(8, 2), segments)
        with pytest.raises(ValueError, match=r"shape \(%d, 4\), edges of the topology" % len(pairs.pair)):
            module.edge_linear(torch.zeros(pairs.num_pair, 4), weight, self_weight, bias, pairs)


def test_one_place_chooses():
    """``auto`` is the fast form on the CPU and the plain one elsewhere; what cannot be says so."""
    assert ops.choose("auto", "cpu") is cpu and ops.choose("cpu", "cpu") is cpu
    assert ops.choose("auto", "cuda") is reference and ops.choose("reference", "cpu") is reference
    with pytest.raises(
        ValueError, match="backend should be one of `auto`, `reference`, `cpu`, `triton`, but found `gpu`"
    ):
        ops.choose("gpu", "cpu")
    with pytest.raises(ValueError, match="backend `triton` is not there yet"):
        ops.check("triton")
    with pytest.raises(ValueError, match="computes on the CPU, but the graph is on `cuda`"):
        ops.choose("cpu", "cuda")
