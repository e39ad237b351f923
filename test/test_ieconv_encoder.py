"""GearNetIEConvEncoder against a plain re-derivation: outputs, gradients, statistics; and its laws."""

import pytest
import torch
from torch import nn

import laws
from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.models import GearNetIEConvEncoder
from plain_ieconv import Plain
from proteins import awkward, bundled, chain, construction, far_apart
from test_gearnet import compare, outputs_and_gradients, two_segments

FULL = dict(
    input_dim=21,
    embedding_dim=16,
    hidden_dims=[16, 16, 12],
    num_relation=7,
    edge_input_dim=59,
    num_angle_bin=8,
    batch_norm=True,
    concat_hidden=True,
    layer_norm=True,
    use_ieconv=True,
)
VARIANTS = {
    "edge, kernel": {},
    "edge, kernel, chain": dict(frames="chain"),
    "edge, film": dict(use_ieconv=None, ieconv="film"),
    "kernel": dict(edge_input_dim=None, num_angle_bin=None),
    "film, chain": dict(edge_input_dim=None, num_angle_bin=None, use_ieconv=None, ieconv="film", frames="chain"),
    "edge": dict(use_ieconv=False),
    "plain": dict(edge_input_dim=None, num_angle_bin=None, use_ieconv=False),
    "no embedding, no norm, last, mean": dict(
        embedding_dim=0, batch_norm=False, layer_norm=False, short_cut=False, concat_hidden=False, readout="mean"
    ),
    "one layer, tanh": dict(hidden_dims=[8], activation="tanh"),
    "dropout": dict(dropout=0.3),
    "dropout, film": dict(dropout=0.3, use_ieconv=None, ieconv="film"),
}


@pytest.fixture(autouse=True)
def poisoned():
    """What is allocated without being filled holds NaN, and an operation that does not repeat bit for bit raises."""
    torch.use_deterministic_algorithms(True)
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


def few():
    """Two chains, a single residue, no spatial edges, an unknown residue, the smallest frame."""
    unknown = chain(12, seed=5)
    unknown = ResidueProtein.from_arrays(
        unknown.node_position, torch.where(torch.arange(12) == 7, 20, unknown.residue_type)
    )
    return [chain(23, 1), chain(1, 2), chain(21, 3, num_chain=2), far_apart(), unknown, chain(3, 4)]


def encoder(seed=0, dtype=torch.double, **changes):
    """A random encoder, its vectors and statistics not trivial."""
    torch.manual_seed(seed)
    model = GearNetIEConvEncoder(**{**FULL, **changes})
    for parameter in model.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter, mean=0.5, std=0.3)
    for buffer in model.buffers():
        if buffer.is_floating_point():
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    return model.to(dtype)


def residue_graph(proteins, dtype=torch.double, mask=True, **kwargs):
    """Graph of proteins with positions in this precision; some edges are masked."""
    graph = construction(**kwargs)(ResidueProtein.pack(proteins))
    if mask:
        graph = graph.edge_mask(torch.rand(int(graph.num_edge), generator=torch.Generator().manual_seed(2)) > 0.15)
    graph._setattr("node_position", graph.node_position.to(dtype))
    return graph


def no_message_dropout(model):
    """Without the dropout that IEConv always has."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def plain_results(model, options, graph, seed, without=False):
    """What :func:`outputs_and_gradients` returns, of the plain model with the same parameters."""
    parameters = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    buffers = {name: b.clone() for name, b in model.named_buffers()}
    plain = Plain({**parameters, **buffers}, {**FULL, **options}, model.training, not without)
    dtype = next(model.parameters()).dtype
    input = graph.node_feature.to(dtype).clone().requires_grad_()
    number, chain_id, protein = graph.residue_number, graph.chain_id, graph.node2graph
    segment, current = [], 0
    for i in range(len(input)):
        joined = (
            i
            and protein[i] == protein[i - 1]
            and chain_id[i] == chain_id[i - 1]
            and 0 <= number[i] - number[i - 1] <= 1
        )
        current += not joined
        segment.append(current)
    torch.manual_seed(seed)
    output = plain(
        input,
        graph.node_position.to(dtype),
        graph.edge_list,
        graph.atom2residue,
        protein,
        segment,
        graph.edge_feature.to(dtype),
        graph.edge_weight.to(dtype),
    )
    generator = torch.Generator().manual_seed(1)
    loss = sum(
        (torch.randn(v.shape, generator=generator, dtype=torch.double).to(dtype) * v).sum() for v in output.values()
    )
    loss.backward()
    return {**output, **{name: p.grad for name, p in parameters.items()}, "input": input.grad}, buffers


def both(options, graph, training, dtype=torch.double, without=False, **changes):
    """Results and statistics of the encoder and of the plain model, from one seed of dropout."""
    model = encoder(dtype=dtype, **options, **changes).train(training)
    if without:
        no_message_dropout(model)
    expected = plain_results(model, options, graph, seed=5, without=without)
    torch.manual_seed(5)
    actual = outputs_and_gradients(model, graph, dtype)
    return (actual, dict(model.named_buffers())), expected


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_parity_with_plain_model(variant, training):
    """Outputs, all gradients and running statistics to 1e-10 in float64; dropout from one seed."""
    graph = residue_graph(few(), gaps="number")
    (actual, statistics), (expected, buffers) = both(VARIANTS[variant], graph, training)
    assert actual["graph_feature"].isfinite().all()
    compare(actual, expected, 1e-10)
    compare(statistics, buffers, 1e-10)


def test_parity_without_dropout():
    """The same in training with every dropout at 0; those of IEConv are no options."""
    (actual, statistics), (expected, buffers) = both(VARIANTS["edge, kernel"], residue_graph(few()), True, without=True)
    compare(actual, expected, 1e-10)
    compare(statistics, buffers, 1e-10)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("variant", ["edge, kernel", "edge, film", "edge, kernel, chain"])
def test_parity_on_real_structures(variant, training):
    """
    On real structures: 1e-10 in float64; in float32 outputs within 1e-5 of the exact ones, gradients as well or within
    twice of what the plain model is in float32.
    """
    options = VARIANTS[variant]
    graph = residue_graph(bundled(2, 61), torch.double)
    (exact, statistics), (expected, buffers) = both(options, graph, training)
    compare(exact, expected, 1e-10)
    compare(statistics, buffers, 1e-10)
    # the same numbers as float32 positions
    graph._setattr("node_position", graph.node_position.float())
    (single, _), (plain, _) = both(options, graph, training, torch.float)
    largest = max(v.abs().max() for v in exact.values() if v is not None)
    for name, truth in exact.items():
        if truth is None:
            continue
        # a bias before BatchNorm has gradient zero but for the rounding of what it is the sum of
        scale = truth.abs().max() if truth.abs().max() > 1e-9 * largest else largest
        error, plain_error = (float((x[name] - truth).abs().max() / scale) for x in (single, plain))
        assert error <= max(1e-5, 2 * plain_error), "%s: %.1e, plain %.1e" % (name, error, plain_error)


@pytest.mark.parametrize("variant", ["edge, kernel", "kernel", "edge, film", "plain"])
def test_weighted_edges(variant):
    """Edge weights other than 1 count in both convolutions."""
    graph = residue_graph([chain(25), chain(9)])
    unit = encoder(**VARIANTS[variant])(graph, graph.node_feature.double())["graph_feature"]
    graph._edge_weight = torch.rand(int(graph.num_edge), dtype=torch.double)
    graph._unit_weights = False
    (actual, statistics), (expected, buffers) = both(VARIANTS[variant], graph, True)
    compare(actual, expected, 1e-10)
    compare(statistics, buffers, 1e-10)
    assert (actual["graph_feature"] - unit).abs().max() > 1e-2


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("variant", ["edge, kernel", "edge, film"])
def test_backends_agree(variant, training):
    """With the matrices of all edges made and without: one result."""
    graph, results = residue_graph(few()), []
    for backend in ("reference", "auto"):
        model = encoder(backend=backend, **VARIANTS[variant]).train(training)
        torch.manual_seed(0)
        results.append(outputs_and_gradients(model, graph, torch.double))
    compare(results[1], results[0], 1e-10)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("variant", ["edge, kernel", "edge, film", "kernel"])
def test_bf16(variant, training):
    """
    In bfloat16 representations are within 1e-2 of the exact ones in relative norm, the gradients of everything within
    a tenth; they stay float32.
    """
    # masks of dropout are the same in both
    changes = {**VARIANTS[variant], "embedding_dim": 64, "hidden_dims": [64, 64]}
    graph = residue_graph(bundled(3, 130))
    results = []
    for dtype, precision in [(torch.double, None), (torch.float, "bf16")]:
        model = encoder(dtype=dtype, precision=precision, **changes).train(training)
        torch.manual_seed(0)
        results.append(outputs_and_gradients(model, graph, dtype))
    exact, low = results
    assert all(value.dtype == torch.float for value in low.values() if value is not None)
    for name in ("graph_feature", "node_feature"):
        assert (low[name].double() - exact[name]).norm() <= 1e-2 * exact[name].norm(), name
    names = [name for name in exact if exact[name] is not None and not name.endswith("_feature")]
    apart, whole = (
        torch.cat([(x[name].double() - y * exact[name]).flatten() for name in names]).norm()
        for x, y in ((low, 1), (exact, 0))
    )
    assert apart <= 0.1 * whole, float(apart / whole)


def test_repeats_bit_for_bit():
    """Two runs from one seed give the same bits, forward and backward."""
    graph, results = residue_graph(few()), []
    for _ in range(2):
        model = encoder(dtype=torch.float)
        torch.manual_seed(0)
        results.append(outputs_and_gradients(model, graph, torch.float))
    assert all(torch.equal(value, results[1][name]) for name, value in results[0].items())


# === sizes ===


@pytest.mark.parametrize("variant", ["edge, kernel", "film, chain", "kernel"])
@pytest.mark.parametrize(
    "proteins", [[lambda: chain(1)], [lambda: chain(2)], [far_apart], [lambda: chain(1), lambda: chain(1)]]
)
def test_smallest_graphs(proteins, variant):
    """A single residue, two residues, no spatial edges: as the plain model, and trainable where BatchNorm is."""
    graph = residue_graph([make() for make in proteins], mask=False)
    for training in (False, True):
        if training and graph.num_node == 1:
            with pytest.raises(ValueError, match="Expected more than 1"):
                encoder(**VARIANTS[variant])(graph, graph.node_feature.double())
            continue
        (actual, _), (expected, _) = both(VARIANTS[variant], graph, training)
        compare(actual, expected, 1e-10)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_no_edges(training):
    """A graph whose edges are all masked: finite, and statistics of messages stay as they were."""
    graph = residue_graph([chain(9)])
    graph = graph.edge_mask(torch.zeros(int(graph.num_edge), dtype=torch.bool))
    model = encoder().train(training)
    before = model.ieconvs[0].message_batch_norm.running_var.clone()
    result = outputs_and_gradients(model, graph, torch.double)
    assert all(value.isfinite().all() for value in result.values() if value is not None)
    assert torch.equal(model.ieconvs[0].message_batch_norm.running_var, before)


# === laws ===


def encode_with(frames, gaps="number", **changes):
    """An encode function over a random encoder with random statistics in eval mode."""
    model = encoder(frames=frames, **changes).eval()
    construct = construction(gaps=gaps)

    def encode(proteins):
        graph = construct(ResidueProtein.pack(proteins))
        with torch.no_grad():
            output = model(graph, graph.node_feature.double())
        return output["graph_feature"], output["node_feature"]

    return encode


@pytest.mark.parametrize("variant", ["edge, kernel", "edge, film"])
def test_laws_of_chain_frames(variant):
    """With frames `chain`: batch independence, order and motion, on awkward and real proteins."""
    encode = encode_with(**{**VARIANTS[variant], "frames": "chain"})
    for proteins in (awkward(), bundled(2)):
        laws.batch_independent(encode, proteins, 1e-12)
        laws.order_irrelevant(encode, proteins, 1e-12)
        # coordinates are float32: a rotation moves them by 1e-6 Å
        laws.motion_invariant(encode, proteins, 1e-3)


def test_break_separates():
    """A chain break separates with gaps `number` and frames `chain`; with gaps `index` it does not."""
    laws.break_separates(encode_with("chain"), two_segments, 1e-12)
    with pytest.raises(AssertionError, match="relative difference"):
        laws.break_separates(encode_with("chain", gaps="index"), two_segments, 1e-3)


def test_released_frames_break_laws():
    """With frames `released` a protein is another one inside a batch, in another order, and when it turns."""
    encode, proteins = encode_with("released"), [chain(20, 1), chain(30, 2)]
    for law in (laws.batch_independent, laws.order_irrelevant, laws.motion_invariant):
        with pytest.raises(AssertionError, match="relative difference"):
            law(encode, proteins, 1e-6)


def test_mirror_images_differ():
    """Frames have a handedness; without IEConv there is none."""
    for changes, same in [(dict(frames="chain"), False), (dict(frames="released", use_ieconv=False), True)]:
        encode = encode_with(**changes)
        if same:
            laws.reflection_invariant(encode, bundled(2), 1e-3)
            continue
        with pytest.raises(AssertionError, match="relative difference"):
            laws.reflection_invariant(encode, bundled(2), 1e-3)
