"""How GearNetEncoder computes: backends, precision, what is kept for backward, large proteins, published weights."""

import json
import os

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.layers import recompute
from gearnet_plugin.models import GearNetEncoder
from proteins import as_stock, bundled, chain, construction, stock_construction
from test_gearnet import FULL, compare, outputs_and_gradients, pair
from torchdrug import core, models

PUBLISHED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden", "published_keys.json")


def encoder(seed=0, **changes):
    """An encoder whose statistics are not trivial."""
    torch.manual_seed(seed)
    made = GearNetEncoder(**{**FULL, **changes})
    for buffer in made.buffers():
        if buffer.is_floating_point():
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    return made


def real_graph(count=3):
    return construction()(ResidueProtein.pack(bundled(count)))


# === backends ===


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_backends_agree(training):
    """The plain and the fast operations give one result, and one state dict."""
    graph = real_graph()
    results, states = [], []
    for backend in ("reference", "cpu", "auto"):
        made = encoder(backend=backend).double().train(training)
        results.append(outputs_and_gradients(made, graph, torch.double))
        states.append(made.state_dict())
        assert made.config_dict()["backend"] == backend
        assert core.Configurable.load_config_dict(made.config_dict()).backend == backend
    for result, state in zip(results[1:], states[1:]):
        compare(result, results[0], 1e-10)
        compare(state, states[0], 1e-12)
    assert all(torch.equal(results[1][name], results[2][name]) for name in results[1])


# === precision ===


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_bf16(training):
    """
    In bfloat16 representations are within 1e-2 of the exact ones, and gradients as near as bfloat16 with the plain
    operations comes: after ReLU some numbers fall on the other side of zero, in either.
    """
    graph = real_graph()
    changes = dict(hidden_dims=[64] * 4)
    exact = outputs_and_gradients(encoder(backend="reference", **changes).double().train(training), graph, torch.double)
    errors = []
    for backend in ("cpu", "reference"):
        made = encoder(backend=backend, precision="bf16", **changes).train(training)
        low = outputs_and_gradients(made, graph, torch.float)
        assert all(value.dtype == torch.float for value in low.values() if value is not None)
        for name in ("graph_feature", "node_feature"):
            assert (low[name].double() - exact[name]).norm() <= 1e-2 * exact[name].norm(), name
        names = [name for name in exact if exact[name] is not None and not name.endswith("_feature")]
        apart, whole = (
            torch.cat([x[name].double().flatten() - y * exact[name].flatten() for name in names]).norm()
            for x, y in ((low, 1), (exact, 0))
        )
        errors.append(float(apart / whole))
    assert errors[0] <= max(1.5 * errors[1], 0.02), errors


def test_fp32_is_the_default():
    """``fp32`` is what None means on float32 input, bit for bit."""
    graph = real_graph(1)
    one, two = (encoder(precision=precision)(graph, graph.node_feature) for precision in (None, "fp32"))
    assert torch.equal(one["graph_feature"], two["graph_feature"])


# === what is kept ===


def kept(model, graph):
    """Bytes that a forward pass keeps for backward, each storage once, parameters left out."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    sizes = {}

    def pack(tensor):
        if tensor.is_sparse:
            tensor = tensor._values()
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model(graph, graph.node_feature)["graph_feature"]
    del output
    return sum(size for size, _ in sizes.values())


def test_a_sixth_is_kept_for_backward():
    """Of what TorchDrug keeps for backward, at most a sixth is: no sums over bins, no activations of edges."""
    packed = ResidueProtein.pack(bundled(2))
    changes = dict(hidden_dims=[128] * 6)
    ours, stock = pair(**changes)
    # the encoder's own hooks see what it keeps: count inside them
    original, counted = recompute.Recomputed._pack, {}

    def pack(self, tensor):
        result = original(self, tensor)
        storage = (result.input if isinstance(result, recompute._Made) else result).untyped_storage()
        counted[storage.data_ptr()] = (storage.nbytes(), result)
        return result

    recompute.Recomputed._pack = pack
    try:
        graph = construction()(packed)
        output = ours(graph, graph.node_feature)
    finally:
        recompute.Recomputed._pack = original
    parameters = {p.untyped_storage().data_ptr() for p in ours.parameters()}
    mine = sum(size for address, (size, _) in counted.items() if address not in parameters)
    del output
    assert mine <= kept(stock, stock_construction()(as_stock(packed))) / 6


def test_recomputed_activations_change_nothing(monkeypatch):
    """With activations kept instead of made again, and torch's own backward of normalization, results are the same."""
    graph = real_graph()
    one = outputs_and_gradients(encoder().double(), graph, torch.double)
    monkeypatch.setattr(recompute.Recomputed, "can_normalize", lambda self, norm, activation: False)
    two = outputs_and_gradients(encoder().double(), graph, torch.double)
    compare(one, two, 1e-10)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float, 1e-5), (torch.bfloat16, 1e-2)])
def test_backward_of_normalization_in_blocks(dtype, tolerance, monkeypatch):
    """Equal to torch's in float64 where the mean is far from zero, whatever the blocks."""
    monkeypatch.setattr(recompute, "BLOCK_ELEMENTS", 40)
    generator = torch.Generator().manual_seed(0)
    rows = (torch.randn(63, 8, generator=generator, dtype=torch.double) + 3).to(dtype)
    norm = torch.nn.BatchNorm1d(8)
    torch.nn.init.normal_(norm.weight), torch.nn.init.normal_(norm.bias)
    exact = rows.double().requires_grad_()
    exact_norm = torch.nn.BatchNorm1d(8).double()
    exact_norm.load_state_dict(norm.state_dict())
    some = rows.requires_grad_()
    seed = torch.randn(63, 8, generator=generator).to(dtype)
    with recompute.Recomputed() as recomputed:
        output = recomputed.normalize(some, norm)
    output.backward(seed)
    exact_norm(exact).relu().backward(seed.double())
    for a, b in [
        (some.grad, exact.grad),
        (norm.weight.grad, exact_norm.weight.grad),
        (norm.bias.grad, exact_norm.bias.grad),
    ]:
        assert (a.double() - b).norm() <= tolerance * b.norm()
    assert some.grad.dtype == dtype and norm.weight.grad.dtype == torch.float


def test_weights_changed_before_backward():
    """What was computed cannot be made again after the weights changed: an error, as torch gives for kept tensors."""
    made, graph = encoder(), real_graph(1)
    output = made(graph, graph.node_feature)["graph_feature"].sum()
    with torch.no_grad():
        made.edge_layers[0].batch_norm.weight += 1
    with pytest.raises(RuntimeError, match="changed between forward and backward|modified by an inplace operation"):
        output.backward()


def test_backward_twice():
    """A retained graph gives the same gradients again."""
    made, graph = encoder(), real_graph(1)
    loss = made(graph, graph.node_feature)["graph_feature"].sum()
    loss.backward(retain_graph=True)
    first = {name: p.grad.clone() for name, p in made.named_parameters() if p.grad is not None}
    made.zero_grad()
    loss.backward()
    assert all(torch.equal(p.grad, first[name]) for name, p in made.named_parameters() if p.grad is not None)


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("changes", [{}, {"activation": "tanh"}, {"batch_norm": False}, {"short_cut": False}])
def test_inference_equals_evaluation(changes, small):
    """
    Without gradients, normalization is part of the linear map, or follows in place where the graph is smaller than the
    matrix: the same numbers up to rounding.
    """
    graph = construction()(ResidueProtein.pack([chain(6)])) if small else real_graph(2)
    made = encoder(**changes).double().eval()
    assert (int(graph.num_edge) < 8 * 24) == small
    input = graph.node_feature.double()
    expected = made(graph, input)
    with torch.no_grad():
        compare(made(graph, input), {name: value.detach() for name, value in expected.items()}, 1e-12)


class Largest(TorchDispatchMode):
    """Notes the largest tensor that is made, in bytes."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        for tensor in output if isinstance(output, (tuple, list)) else [output]:
            if isinstance(tensor, torch.Tensor):
                self.bytes = max(self.bytes, tensor.untyped_storage().nbytes())
        return output


def test_a_protein_of_5000_residues_in_bounded_memory():
    """
    Nothing is as large as residues by residues, nor as edges by the width of all bins: nothing above twice the
    edges' representations.
    """
    protein, width = chain(5000, seed=1), 64
    with Largest() as largest, torch.no_grad():
        graph = construction()(ResidueProtein.pack([protein]))
        output = encoder(hidden_dims=[width] * 2).eval()(graph, graph.node_feature)
    assert output["graph_feature"].isfinite().all()
    edges = int(graph.num_edge)
    assert edges > 15 * 5000 and largest.bytes <= 2 * edges * width * 4 < 5000 * 5000 * 4


def test_a_graph_without_edges_trains():
    """All edges masked away: still an output and gradients, of the nodes."""
    made, graph = encoder(), real_graph(1)
    graph = graph.edge_mask(torch.zeros(int(graph.num_edge), dtype=torch.bool))
    made(graph, graph.node_feature)["node_feature"].square().sum().backward()
    assert made.layers[0].self_loop.weight.grad.isfinite().all() and made.layers[0].self_loop.weight.grad.any()


# === published weights ===


def test_published_keys():
    """Names and shapes of the published GearNet-Edge encoders are those of ours at the released sizes."""
    with open(PUBLISHED) as file:
        published = json.load(file)["gearnet_edge"]
    released = {**FULL, "hidden_dims": [512] * 6}
    with torch.device("meta"):
        for kind in (GearNetEncoder, models.GearNet):
            state = kind(**released).state_dict()
            assert {name: list(value.shape) for name, value in state.items()} == published
            assert list(state) == list(published)
