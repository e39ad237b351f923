"""
Encoders at the edges of what they take: odd options, graphs that somebody changed, other people's hooks, precision
contexts and replaced modules. Nothing is ignored in silence.
"""

import copy
import io

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import ranks
from gearnet_plugin.compat.batchnorm import SyncBatchNorm
from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.layers import ResidueGraphConstruction
from gearnet_plugin.models import GearNetEncoder, GearNetIEConvEncoder
from proteins import as_stock, chain, construction, double_precision, double_weights
from test_gearnet import FULL, compare, graphs, outputs_and_gradients, pair
from torchdrug import data
from torchdrug.layers import geometry

PROTEINS = [chain(40), chain(25, 1)]


@pytest.fixture(scope="module")
def graph():
    """The residue graph of two proteins."""
    return construction()(ResidueProtein.pack(PROTEINS))


def encoder(**changes):
    torch.manual_seed(0)
    return GearNetEncoder(**{**FULL, **changes})


def ieconv(**changes):
    torch.manual_seed(0)
    small = dict(input_dim=21, embedding_dim=8, hidden_dims=[8, 8], num_relation=7, edge_input_dim=59, num_angle_bin=8)
    return GearNetIEConvEncoder(**{**small, "batch_norm": True, "ieconv": "film", **changes}).eval()


# === options ===


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("activation", [nn.ReLU(inplace=True), "relu_", F.relu], ids=["module", "name", "function"])
def test_activations_in_place(activation, batch_norm):
    """An activation that changes its input, or is a function, gives what TorchDrug gives with ``relu``."""
    with double_precision():
        ours_graph, stock_graph = graphs(PROTEINS)
        _, stock = pair(dtype=torch.double, batch_norm=batch_norm)
        ours, _ = pair(dtype=torch.double, batch_norm=batch_norm, activation=activation)
        results = [outputs_and_gradients(*known, torch.double) for known in ((ours, ours_graph), (stock, stock_graph))]
    compare(*results, 1e-10)


def test_no_activation(graph):
    """Without an activation a layer is the linear map that the identity makes."""
    none, identity = (encoder(activation=f).double() for f in (None, nn.Identity()))
    none, identity = (outputs_and_gradients(model, graph, torch.double) for model in (none, identity))
    compare(none, identity, 0)


@pytest.mark.parametrize("make", [encoder, ieconv])
@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(activation="rleu"), "activation should be a function, None, or the name .* but found `rleu`"),
        (dict(hidden_dims=[]), r"hidden_dims should be the width of each layer.* found \[\]"),
        (dict(hidden_dims=[8, 0]), r"hidden_dims should be .* found \[8, 0\]"),
        (dict(hidden_dims="8"), "hidden_dims should be .* found"),
        (dict(input_dim=None), "input_dim should be a positive whole number, but found None"),
        (dict(num_relation="7"), "num_relation should be a positive whole number, but found '7'"),
        (dict(edge_input_dim="59"), "edge_input_dim should be a positive whole number or None, but found '59'"),
        (dict(num_angle_bin=257), "num_angle_bin should be a whole number from 1 to 256.* found 257"),
        (dict(num_angle_bin=-1), "num_angle_bin should be .* found -1"),
    ],
)
def test_options_that_make_no_encoder(make, changes, message):
    """Sizes and names are refused where they are given, with what is allowed."""
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_256_bins_equal_the_plain_definition(graph):
    """The largest number of bins fits into what holds them."""
    fast, plain = (encoder(num_angle_bin=256, backend=name).double() for name in ("cpu", "reference"))
    compare(*(outputs_and_gradients(model, graph, torch.double) for model in (fast, plain)), 1e-10)


# === graphs and inputs that do not fit ===


@pytest.mark.parametrize("make", [encoder, ieconv])
def test_positions_that_broke_after_construction(make, graph):
    """NaN or infinite coordinates have no angles; they are named and not put into some bin."""
    for value in (float("nan"), float("inf")):
        broken = graph.clone()
        broken.node_position[3, 1] = value
        with pytest.raises(ValueError, match="node_position should be finite, but 1 of 65 nodes are not.* node 3"):
            make()(broken, graph.node_feature)


def test_graph_without_positions(graph):
    """Edges without coordinates have no angles."""
    bare = data.PackedGraph(
        graph.edge_list[:587], num_nodes=[40], num_edges=[587], num_relation=7, edge_feature=torch.zeros(587, 59)
    )
    with pytest.raises(ValueError, match="need `node_position`"):
        encoder()(bare, torch.zeros(40, 21))


@pytest.mark.parametrize("make", [encoder, ieconv])
def test_inputs_of_another_type(make, graph):
    """Features that are no floats, or other ones than the parameters, are named."""
    with pytest.raises(ValueError, match=r"should be of floats, but found torch.int64. Convert it: `input.float\(\)`"):
        make()(graph, graph.node_feature.long())
    with pytest.raises(ValueError, match="parameters, torch.float32, but found torch.float64"):
        make()(graph, graph.node_feature.double())
    with pytest.raises(ValueError, match=r"shape \(65, 21\).*found .*NoneType"):
        make()(graph, None)


class Edges(nn.Module):
    """An edge layer that returns what it was given."""

    def __init__(self, edge_list, num_relation):
        super().__init__()
        self.edge_list, self.num_relation = torch.tensor(edge_list), num_relation

    def forward(self, graph):
        return self.edge_list, self.num_relation


@pytest.mark.parametrize(
    "edge_list, num_relation, message",
    [
        ([[0, 1, 2]], 2, r"`Edges` returned 2 as the number of its relations.* 0..1, but found 2..2"),
        ([[0, 1, -1]], 2, "but found -1..-1"),
        ([[0, 65, 0]], 1, r"node numbers in 0..64, but found 0..65"),
        ([[0, 50, 0], [0, 1, 0]], 1, "returned 1 edges between different proteins"),
        ([[0, 1]], 1, r"shape \(E, 3\), source, target and relation, but found \(1, 2\)"),
    ],
)
def test_custom_edge_layers_are_checked(edge_list, num_relation, message):
    """What an edge layer of one's own returns is checked: summed all the same, it would be to the wrong node."""
    construct = ResidueGraphConstruction([], [Edges(edge_list, num_relation)], None)
    with pytest.raises(ValueError, match=message):
        construct(ResidueProtein.pack(PROTEINS))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(edge_feature="layers"), "Unknown edge feature `layers`. Known are `gearnet`, `residue_type` and None"),
        (dict(edge_layers=geometry.KNNEdge(5)), "edge_layers should be a list of layers, but found a single `KNNEdge`"),
    ],
)
def test_constructions_that_are_none(arguments, message):
    """A name that is no edge feature, and a layer that is no list, are refused at once."""
    with pytest.raises(ValueError, match=message):
        ResidueGraphConstruction(**arguments)


def test_residues_to_keep_are_a_mask():
    """Numbers of residues are no mask of them."""
    packed = ResidueProtein.pack(PROTEINS)
    for keep in (torch.arange(65), torch.ones(9, dtype=torch.bool)):
        with pytest.raises(ValueError, match=r"keep should be a mask of residues of shape \(65,\), but found"):
            construction()(packed, keep)


def test_relations_beyond_their_number(graph):
    """A graph made by hand whose relations are too large is refused: its sums would go to the next node."""
    edge_list = graph.edge_list.clone()
    edge_list[5, 2] = 9
    wrong = graph.with_edges(edge_list, 7, graph.edge_feature)
    with pytest.raises(ValueError, match=r"relations of edges should be in 0..6, but found 0..9"):
        encoder()(wrong, graph.node_feature)


def test_packed_relations_agree():
    """Proteins of two constructions do not become one batch, whether or not they have edge features."""
    made = [
        ResidueGraphConstruction([], [geometry.SequentialEdge(distance)], None)(ResidueProtein.pack([protein]))[0]
        for distance, protein in zip((2, 3), PROTEINS)
    ]
    with pytest.raises(ValueError, match="numbers of relations differ: 5, 7"):
        ResidueProtein.pack(made)
    for mixed in ([made[0], PROTEINS[1]], [PROTEINS[1], made[0]]):
        with pytest.raises(ValueError, match="differ: 5, none. Construct the graph of all of them, or of none"):
            ResidueProtein.pack(mixed)


@pytest.mark.parametrize("make", [encoder, ieconv])
def test_weights_set_later_count(make, graph):
    """Edge weights that were replaced or changed in place count, in the encoder and after another pack."""
    model, feature = make().eval(), graph.node_feature
    replaced, changed = graph.clone(), graph.clone()
    replaced._edge_weight = torch.full_like(graph.edge_weight, 0.5)
    changed.edge_weight.mul_(0.5)
    unpacked = ResidueProtein.pack([changed[0], changed[1]])
    expected, one = model(replaced, feature)["node_feature"], model(graph, feature)["node_feature"]
    assert (expected - one).abs().max() > 1e-2 * one.abs().max()
    for other in (changed, unpacked):
        assert torch.equal(model(other, feature)["node_feature"], expected)
    replaced._edge_weight = torch.ones_like(graph.edge_weight).requires_grad_()
    model(replaced, feature)["node_feature"].square().sum().backward()
    assert replaced._edge_weight.grad.any(), "weights that are learned begin at 1"


# === modules that somebody replaced ===


class Adapter(nn.Module):
    """A linear map with something added, which pretends to have its matrix."""

    def __init__(self, linear):
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, input):
        return F.linear(input, self.weight, self.bias) + 1


@pytest.mark.parametrize("make", [encoder, ieconv])
@pytest.mark.parametrize("kind", ["layers", "edge_layers"])
def test_adapters_are_not_ignored(make, kind, graph):
    """The matrix of a layer is used without a call: what computes otherwise is refused, a parametrization works."""
    model = make()
    layer = getattr(model, kind)[0]
    nn.utils.parametrizations.weight_norm(layer.linear)
    model(graph, graph.node_feature)["node_feature"].square().sum().backward()
    assert layer.linear.parametrizations.weight.original0.grad.any()
    layer.linear = Adapter(layer.linear)
    with pytest.raises(ValueError, match="what `Adapter` does in its own forward would have no effect"):
        model(graph, graph.node_feature)


def test_no_normalization_of_edges(graph):
    """An encoder whose normalization somebody replaced computes the same with and without gradients."""
    model = encoder().eval()
    model.edge_layers[1].batch_norm = nn.Identity()
    expected = model(graph, graph.node_feature)["graph_feature"]
    with torch.no_grad():
        assert torch.allclose(model(graph, graph.node_feature)["graph_feature"], expected, rtol=1e-5)


# === contexts ===


def gradients(model, graph, call=None):
    """Gradients of the parameters of a model under a loss that batch normalization does not make flat."""
    model.zero_grad()
    feature = graph.node_feature.clone().requires_grad_()
    (model if call is None else call)(graph, feature)["node_feature"].cos().sum().backward()
    return [parameter.grad for parameter in model.parameters()]


def assert_same(actual, expected):
    """Gradients agree but for rounding; that of a bias before batch normalization is nothing else."""
    largest = max(grad.norm() for grad in expected)
    for a, b in zip(actual, expected, strict=True):
        assert (a - b).norm() <= 1e-5 * largest


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing(reentrant, graph):
    """Inside ``torch.utils.checkpoint`` gradients are the same and the encoder keeps nothing of its own."""
    model = encoder()
    expected = [grad.clone() for grad in gradients(model, graph)]
    calls = []

    def again(graph, feature):
        calls.append(torch.is_grad_enabled())
        return model(graph, feature)

    def call(graph, feature):
        # one of the two kinds takes and gives tensors only
        output = checkpoint(lambda x: again(graph, x)["node_feature"], feature, use_reentrant=reentrant)
        return {"node_feature": output}

    assert_same(gradients(model, graph, call), expected)
    assert len(calls) == 2


def test_hooks_of_others_see_what_is_saved(graph):
    """Hooks for saved tensors around the encoder get all of them, as those of ``save_on_cpu`` need."""
    model, seen = encoder(), []
    expected = [grad.clone() for grad in gradients(model, graph)]

    def pack(tensor):
        seen.append(tensor.numel())
        return tensor.clone()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        actual = gradients(model, graph)
    assert_same(actual, expected)
    assert sum(seen) > 5 * int(graph.num_edge) * 24
    with torch.autograd.graph.disable_saved_tensors_hooks("no hooks here"):
        assert_same(gradients(model, graph), expected)


@pytest.mark.parametrize("make", [encoder, ieconv])
def test_autocast_means_bf16(make, graph):
    """Under autocast an encoder without a precision computes as with ``bf16``; one with ``fp32`` does not."""
    expected, exact = make(precision="bf16").eval(), make().eval()
    with torch.no_grad():
        feature = graph.node_feature
        expected, exact = (model(graph, feature)["node_feature"] for model in (expected, exact))
        assert not torch.equal(expected, exact)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(make().eval()(graph, feature.bfloat16())["node_feature"], expected)
            assert torch.equal(make(precision="fp32").eval()(graph, feature)["node_feature"], exact)
    model = make()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(graph, feature)["node_feature"]
    output.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_gradients_of_gradients(graph):
    """The plain backend has them, TorchDrug's up to rounding; the fast one says that it has not."""
    penalties = []
    with double_precision(), double_weights():
        ours_graph, stock_graph = graphs(PROTEINS)
        ours, stock = pair_of_tanh()
        for model, known in ((ours, ours_graph), (stock, stock_graph)):
            feature = known.node_feature.double().requires_grad_()
            (grad,) = torch.autograd.grad(model(known, feature)["node_feature"].cos().sum(), feature, create_graph=True)
            grad.square().sum().backward()
            penalties.append({name: p.grad for name, p in model.named_parameters()})
    compare(*penalties, 1e-9)
    model, feature = encoder(), graph.node_feature.clone().requires_grad_()
    with pytest.raises(RuntimeError, match="create_graph=True.* are computed by backend `reference` only"):
        torch.autograd.grad(model(graph, feature)["node_feature"].sum(), feature, create_graph=True)


def pair_of_tanh():
    """Our encoder in plain PyTorch and TorchDrug's, with a function that has second derivatives."""
    _, stock = pair(dtype=torch.double, activation="tanh")
    ours = encoder(activation="tanh", backend="reference").double()
    ours.load_state_dict(stock.state_dict())
    return ours, stock


@pytest.mark.parametrize("frozen", ["edge_layers", "layers.0", "batch_norm", "linear.weight", "bias"])
def test_partly_frozen(frozen):
    """With some parameters frozen the others have TorchDrug's gradients, and they have none."""
    with double_precision():
        ours_graph, stock_graph = graphs(PROTEINS)
        results = []
        for model, known in zip(pair(dtype=torch.double), (ours_graph, stock_graph)):
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(frozen not in name)
            results.append(outputs_and_gradients(model, known, torch.double))
    compare(*results, 1e-10)
    assert any(value is None for value in results[0].values())


def saved(model):
    """The model after a way through a file."""
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def test_copies(graph):
    """A copy and one from a file, a stock graph of the same proteins and inference mode give the same."""
    model = encoder().eval()
    expected = model(graph, graph.node_feature)["graph_feature"]
    for other in (copy.deepcopy(model), saved(model)):
        assert torch.equal(other(graph, graph.node_feature)["graph_feature"], expected)
        assert other.config_dict() == model.config_dict()
    stock = construction()(as_stock(ResidueProtein.pack(PROTEINS)))
    assert torch.allclose(model(stock, stock.node_feature.float())["graph_feature"], expected, rtol=1e-4, atol=1e-3)
    with torch.inference_mode():
        fresh = construction()(ResidueProtein.pack(PROTEINS))
        assert torch.allclose(model(fresh, fresh.node_feature)["graph_feature"], expected, rtol=1e-4, atol=1e-3)


# === several ranks ===


def step(model, proteins, share=1):
    """Gradients and statistics of a training step."""
    known = construction()(ResidueProtein.pack(proteins))
    feature = known.node_feature.double()
    (model(known, feature)["node_feature"].cos().sum() * share).backward()
    module = getattr(model, "module", model)
    return {**{name: p.grad for name, p in module.named_parameters()}, **dict(module.named_buffers())}


def on_a_rank(rank):
    model = SyncBatchNorm.convert_sync_batchnorm(encoder().double())
    return step(nn.parallel.DistributedDataParallel(model), PROTEINS[rank : rank + 1])


@pytest.mark.slow
def test_two_ranks_are_one_batch(tmp_path):
    """Two gloo ranks with synchronised BatchNorm have the gradients and statistics of one process with both batches."""
    first, second = ranks.run(on_a_rank, 2, tmp_path)
    alone = step(encoder().double(), PROTEINS, share=0.5)
    for found in (first, second):
        assert found.keys() == alone.keys()
        compare({k: v.double() for k, v in found.items()}, {k: v.double() for k, v in alone.items()}, 1e-8)
