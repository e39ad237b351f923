"""GearNetEncoder against TorchDrug's GearNet: outputs, gradients, statistics, state dicts; and its laws."""
import pytest
import torch

import laws
from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.layers import RelationalGeometricConv
from gearnet_plugin.models import GearNetEncoder
from proteins import (
    as_stock,
    awkward,
    bundled,
    chain,
    construction,
    double_precision,
    far_apart,
    stock_construction,
    stock_in_our_order,
)
from torchdrug import core, layers, models

FULL = dict(input_dim=21, hidden_dims=[24, 24, 16], num_relation=7, edge_input_dim=59, num_angle_bin=8, short_cut=True,
            batch_norm=True, concat_hidden=True, readout="sum")
VARIANTS = {
    "edge": {},
    "plain": dict(edge_input_dim=None, num_angle_bin=None),
    "last hidden, mean": dict(concat_hidden=False, readout="mean"),
    "no norm": dict(batch_norm=False, short_cut=False),
    "one layer, tanh": dict(hidden_dims=[8], activation="tanh"),
    "five bins": dict(num_angle_bin=5),
}


def pair(seed=0, dtype=torch.float32, **changes):
    """Our encoder and TorchDrug's with the same random weights, BatchNorm parameters included."""
    config = {**FULL, **changes}
    torch.manual_seed(seed)
    ours = GearNetEncoder(**config)
    for parameter in ours.parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, mean=0.5, std=0.3)
    stock = models.GearNet(**config)
    stock.load_state_dict(ours.state_dict())
    return ours.to(dtype), stock.to(dtype)


def graphs(proteins):
    """Our graph and TorchDrug's of the same proteins, with equal edge lists."""
    packed = ResidueProtein.pack(proteins)
    ours = construction()(packed)
    with stock_in_our_order():
        stock = stock_construction()(as_stock(packed))
    assert torch.equal(ours.edge_list, stock.edge_list)
    return ours, stock


def outputs_and_gradients(model, graph, dtype, backward=True):
    """Outputs, and the gradients of all parameters and of the input under a fixed random weighting."""
    input = graph.node_feature.to(dtype).clone().requires_grad_()
    output = model(graph, input)
    result = dict(output)
    if backward:
        generator = torch.Generator().manual_seed(1)
        loss = sum((torch.randn(v.shape, generator=generator, dtype=torch.double).to(dtype) * v).sum()
                   for v in output.values())
        loss.backward()
        result.update({name: p.grad for name, p in model.named_parameters()}, input=input.grad)
    return result


def compare(actual, expected, rtol):
    """
    Every tensor agrees relative to its largest value, gradients to that of all of them: a bias before BatchNorm has
    gradient zero but for rounding.
    """
    assert actual.keys() == expected.keys()
    floor = 1e-4 * max(float(v.abs().max()) for v in expected.values() if v is not None)
    for name in expected:
        if expected[name] is None:
            assert actual[name] is None, name
            continue
        scale = expected[name].abs().max().clamp(min=floor)
        error = float((actual[name] - expected[name]).abs().max() / scale)
        assert error <= rtol, "%s: relative difference %.1e" % (name, error)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_parity_in_float64(variant, training):
    """Outputs, all gradients and running statistics equal TorchDrug's to 1e-10 in float64."""
    with double_precision():
        ours_graph, stock_graph = graphs(awkward())
        ours, stock = pair(dtype=torch.double, **VARIANTS[variant])
        if not training:
            # statistics that are not trivial
            for buffer_ours, buffer_stock in zip(ours.buffers(), stock.buffers()):
                if buffer_ours.is_floating_point():
                    buffer_ours.copy_(torch.rand_like(buffer_ours) + 0.5)
                    buffer_stock.copy_(buffer_ours)
        ours.train(training), stock.train(training)
        compare(outputs_and_gradients(ours, ours_graph, torch.double),
                outputs_and_gradients(stock, stock_graph, torch.double), 1e-10)
        compare(ours.state_dict(), stock.state_dict(), 1e-10)


def real(training, dtype):
    """Results and state dicts of our encoder and TorchDrug's on bundled structures with an edge mask."""
    ours_graph, stock_graph = graphs(bundled(4))
    mask = torch.rand(int(ours_graph.num_edge), generator=torch.Generator().manual_seed(2)) > 0.15
    ours_graph, stock_graph = ours_graph.edge_mask(mask), stock_graph.edge_mask(mask)
    # TorchDrug turns the weights, all 1, into float32
    stock_graph._edge_weight = stock_graph.edge_weight.to(dtype)
    results = []
    for model, graph in zip(pair(dtype=dtype), (ours_graph, stock_graph)):
        model.train(training)
        result = outputs_and_gradients(model, graph, dtype)
        results.append({**result, **{"state " + k: v for k, v in model.state_dict().items()}})
    return results


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_parity_on_real_structures(training):
    """
    On real structures: 1e-10 in float64; in float32 1e-5, or as near to the float64 result as TorchDrug is. A bias
    before BatchNorm has gradient zero but for rounding, in either.
    """
    with double_precision():
        exact, stock = real(training, torch.double)
    compare(exact, stock, 1e-10)
    single, stock = real(training, torch.float)
    for name, truth in exact.items():
        if truth is None:
            continue
        scale = truth.abs().max().clamp(min=1e-12)
        error, stock_error = (float((x[name] - truth).abs().max() / scale) for x in (single, stock))
        assert error <= max(1e-5, 2 * stock_error), "%s: %.1e, TorchDrug %.1e" % (name, error, stock_error)
    for name in ("graph_feature", "node_feature"):
        scale = stock[name].abs().max()
        assert (single[name] - stock[name]).abs().max() <= 1e-5 * scale, name


def test_weighted_edges():
    """Edge weights other than 1 count as in TorchDrug."""
    proteins = [chain(30), chain(12)]
    with double_precision():
        ours_graph, stock_graph = graphs(proteins)
        stock_graph._edge_weight = torch.rand(int(stock_graph.num_edge))
        ours, stock = pair(dtype=torch.double)
        weighted = outputs_and_gradients(ours, stock_graph, torch.double)
        compare(weighted, outputs_and_gradients(stock, stock_graph, torch.double), 1e-10)
        plain = outputs_and_gradients(ours, ours_graph, torch.double, backward=False)
    assert (plain["graph_feature"] - weighted["graph_feature"]).abs().max() > 1e-2


@pytest.mark.parametrize("edge_input_dim", [None, 59])
def test_convolution_alone(edge_input_dim):
    """The convolution as a layer of its own equals TorchDrug's, with and without edge features."""
    ours_graph, stock_graph = graphs([chain(40), chain(9)])
    torch.manual_seed(0)
    ours = RelationalGeometricConv(21, 10, 7, edge_input_dim, batch_norm=True)
    stock = layers.GeometricRelationalGraphConv(21, 10, 7, edge_input_dim, batch_norm=True)
    stock.load_state_dict(ours.state_dict())
    feature = torch.randn(49, 21)
    assert torch.allclose(ours(ours_graph, feature), stock(stock_graph, feature), atol=1e-5)
    assert torch.allclose(ours(stock_graph, feature), stock(stock_graph, feature), atol=1e-5)
    with pytest.raises(ValueError, match="num_relation=5, but the graph has 7"):
        RelationalGeometricConv(21, 10, 5)(ours_graph, feature)


def test_same_seed_same_weights():
    """One seed initialises both encoders alike, and state dicts go both ways without renaming."""
    torch.manual_seed(3)
    ours = GearNetEncoder(**FULL)
    torch.manual_seed(3)
    stock = models.GearNet(**FULL)
    assert list(ours.state_dict()) == list(stock.state_dict())
    compare(ours.state_dict(), stock.state_dict(), 0)
    stock.load_state_dict(ours.state_dict(), strict=True)
    ours.load_state_dict(stock.state_dict(), strict=True)


def test_configuration_round_trip():
    """Config to object to config is the identity."""
    ours = GearNetEncoder(**FULL)
    copy = core.Configurable.load_config_dict(ours.config_dict())
    assert type(copy) is GearNetEncoder and copy.config_dict() == ours.config_dict()
    assert ours.config_dict()["class"] == "models.GearNetEncoder"


def encoder_for(gaps):
    """An encode function over a random encoder with random statistics in eval mode."""
    torch.manual_seed(0)
    encoder = GearNetEncoder(**FULL).double().eval()
    for buffer in encoder.buffers():
        if buffer.is_floating_point():
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    construct = construction(gaps=gaps)

    def encode(proteins):
        graph = construct(ResidueProtein.pack(proteins))
        with torch.no_grad():
            output = encoder(graph, graph.node_feature.double())
        return output["graph_feature"], output["node_feature"]

    return encode


@pytest.mark.parametrize("gaps", ["index", "number"])
def test_laws(gaps):
    """Batch independence, order, motion and reflection, at every setting."""
    encode = encoder_for(gaps)
    proteins = awkward()
    laws.batch_independent(encode, proteins, 1e-12)
    laws.order_irrelevant(encode, proteins, 1e-12)
    # coordinates are float32: a rotation moves them by 1e-6 Å
    laws.motion_invariant(encode, proteins, 1e-4)
    laws.reflection_invariant(encode, proteins, 1e-4)


def test_laws_on_real_structures():
    """The same on bundled structures."""
    encode = encoder_for("number")
    proteins = bundled(4)
    laws.batch_independent(encode, proteins, 1e-12)
    laws.motion_invariant(encode, proteins, 1e-3)
    laws.reflection_invariant(encode, proteins, 1e-3)


def two_segments(first, second):
    """Two segments 300 Å apart whose numbers start at ``first`` and ``second``."""
    a, b = chain(30, seed=1), chain(30, seed=2)
    position = torch.cat([a.node_position, b.node_position + 300])
    number = torch.cat([torch.arange(30) + first, torch.arange(30) + second])
    return ResidueProtein.from_arrays(position, torch.cat([a.residue_type, b.residue_type]), chain_id=[1] * 60,
                                      residue_number=number)


def test_break_separates():
    """A chain break separates with gaps=`number`; with the stock setting, gaps=`index`, it does not."""
    # kNN edges have no radius: each segment must be large enough to hold its own ten neighbours
    laws.break_separates(encoder_for("number"), two_segments, 1e-12)
    with pytest.raises(AssertionError, match="relative difference"):
        laws.break_separates(encoder_for("index"), two_segments, 1e-3)


def test_laws_can_fail():
    """An encoder that looks at coordinates or at the batch breaks the laws."""
    def encode(proteins):
        nodes = torch.cat([p.node_position.double() for p in proteins])
        return torch.stack([p.node_position.double().sum(0) for p in proteins]) + nodes.mean(), nodes

    proteins = [chain(20, 1), chain(30, 2)]
    for law in (laws.batch_independent, laws.motion_invariant, laws.reflection_invariant):
        with pytest.raises(AssertionError, match="relative difference"):
            law(encode, proteins, 1e-6)


def test_repeats_bit_for_bit():
    """Two runs give the same bits, forward and backward."""
    graph, _ = graphs([chain(60)])
    ours, _ = pair()
    first = outputs_and_gradients(ours, graph, torch.float)
    ours.zero_grad()
    first = {k: v.clone() for k, v in first.items()}
    second = outputs_and_gradients(ours.eval().train(), graph, torch.float)
    for name in first:
        assert torch.equal(first[name], second[name]), name


def test_wrong_input():
    """What does not fit is named, with what would."""
    encoder = GearNetEncoder(**FULL)
    packed = ResidueProtein.pack([chain(8), far_apart()])
    graph = construction()(packed)
    with pytest.raises(ValueError, match="Pack it first"):
        encoder(chain(8), chain(8).node_feature)
    with pytest.raises(ValueError, match="graph has no relations. Construct the residue graph first"):
        encoder(packed, packed.node_feature)
    with pytest.raises(ValueError, match=r"input should have shape \(14, 21\).*found \(14, 20\)"):
        encoder(graph, graph.node_feature[:, :20])
    narrow, bare = construction("residue_type")(packed), construction(None)(packed)
    with pytest.raises(ValueError, match=r"edge_input_dim=59, but the graph has features of shape \(40,\)"):
        encoder(narrow, narrow.node_feature)
    with pytest.raises(ValueError, match="edge_input_dim=59, but the graph has none"):
        encoder(bare, bare.node_feature)
    with pytest.raises(ValueError, match="num_relation=5, but the graph has 7 relations"):
        GearNetEncoder(21, [8], 5)(graph, graph.node_feature)
    with pytest.raises(ValueError, match="edge_input_dim is needed when num_angle_bin=8"):
        GearNetEncoder(21, [8], 7, num_angle_bin=8)
    with pytest.raises(ValueError, match="readout should be `sum` or `mean`, but found `max`"):
        GearNetEncoder(21, [8], 7, readout="max")
