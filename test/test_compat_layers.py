"""TorchDrug's layers and models, through compat."""
import inspect

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from torchdrug import data, layers, models

# all take node features of width 6; RGCN's relations are the bond types
CONVOLUTIONS = {
    "GraphConv": lambda: layers.GraphConv(6, 4),
    "GraphConv with edges": lambda: layers.GraphConv(6, 4, edge_input_dim=3, batch_norm=True),
    "GraphIsomorphismConv": lambda: layers.GraphIsomorphismConv(6, 4, edge_input_dim=3, eps=0.3),
    "RelationalGraphConv": lambda: layers.RelationalGraphConv(6, 4, 3, edge_input_dim=3),
    "GeometricRelationalGraphConv": lambda: layers.GeometricRelationalGraphConv(6, 4, 3, edge_input_dim=3),
    "NeuralFingerprintConv": lambda: layers.NeuralFingerprintConv(6, 4, edge_input_dim=3),
    "ContinuousFilterConv": lambda: layers.ContinuousFilterConv(6, 4, edge_input_dim=3),
    "ChebyshevConv": lambda: layers.ChebyshevConv(6, 4, edge_input_dim=3, k=3),
}
MODELS = {
    "GCN": lambda: models.GCN(6, [8, 4], concat_hidden=True), "GIN": lambda: models.GIN(6, [8, 4], edge_input_dim=3),
    "GAT": lambda: models.GAT(6, [8, 4], num_head=2), "RGCN": lambda: models.RGCN(6, [8, 4], num_relation=3),
    "MPNN": lambda: models.MPNN(6, 8, 3), "SchNet": lambda: models.SchNet(6, [8, 4], edge_input_dim=3),
    "ChebNet": lambda: models.ChebNet(6, [8, 4]), "NFP": lambda: models.NFP(6, 8, [8, 4]),
    "GearNet": lambda: models.GearNet(6, [8, 4], num_relation=3, batch_norm=True),
}


def random_graph(seed=0, num_node=7, num_edge=20):
    torch.manual_seed(seed)
    edges = torch.stack([torch.randint(num_node, (num_edge,)), torch.randint(num_node, (num_edge,)),
                         torch.randint(3, (num_edge,))], dim=-1)
    graph = data.Graph(edges, torch.rand(num_edge) + 0.5, num_node, num_relation=3)
    with graph.node():
        graph.node_feature = torch.randn(num_node, 6)
        graph.node_position = torch.randn(num_node, 3)
    with graph.edge():
        graph.edge_feature = torch.randn(num_edge, 3)
    return graph


@pytest.fixture
def packed():
    return data.Graph.pack([random_graph(0), random_graph(1, 4, 6), random_graph(2, 5, 1)])


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_fused_equals_message_and_aggregate(packed, name):
    """
    Each convolution's fused path by sparse products, against its definition, gradients included, in float64.

    Not to the last digit: the two add their epsilons at different places.
    """
    torch.manual_seed(0)
    layer = CONVOLUTIONS[name]().double()
    input = packed.node_feature.double().requires_grad_()
    for attribute in ("edge_feature", "_edge_weight", "node_position"):
        packed._setattr(attribute, getattr(packed, attribute).double())
    with pytest.MonkeyPatch.context() as patch:
        # stock casts edge features down to float32
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        plain = layer.aggregate(packed, layer.message(packed, input))
        fused = layer.message_and_aggregate(packed, input)
    torch.testing.assert_close(fused, plain, rtol=1e-8, atol=1e-9)
    weight = torch.randn_like(plain)
    parameters = [p for p in (input, *layer.parameters()) if p.requires_grad]
    for a, b in zip(torch.autograd.grad(fused, parameters, weight, allow_unused=True),
                    torch.autograd.grad(plain, parameters, weight, allow_unused=True)):
        if a is not None or b is not None:
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)


def test_graph_convolution_by_hand(packed):
    layer = layers.GraphConv(6, 4, activation=None)
    out = layer(packed, packed.node_feature)
    # both ends weigh by their own degree, a self loop included
    degree_in, degree_out = packed.degree_in + 1, packed.degree_out + 1
    summed = packed.node_feature / (degree_in * degree_out).sqrt().unsqueeze(-1)
    for (i, j, _), w in zip(packed.edge_list.tolist(), packed.edge_weight):
        summed[j] += w * packed.node_feature[i] / (degree_in[i] * degree_out[j]).sqrt()
    torch.testing.assert_close(out, layer.linear(summed), rtol=1e-4, atol=1e-5)


def test_relational_convolution_by_hand(packed):
    layer = layers.RelationalGraphConv(6, 4, 3, activation=None)
    out = layer(packed, packed.node_feature)
    total = torch.zeros(packed.num_node, 3, 6)
    count = torch.zeros(packed.num_node, 3, 1)
    for (i, j, r), w in zip(packed.edge_list.tolist(), packed.edge_weight):
        total[j, r] += w * packed.node_feature[i]
        count[j, r] += w
    mean = (total / (count + layer.eps)).flatten(1)
    torch.testing.assert_close(out, layer.linear(mean) + layer.self_loop(packed.node_feature), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_model_alone_equals_model_in_a_batch(packed, name):
    torch.manual_seed(0)
    model = MODELS[name]()
    # all parameters take part
    output = model(packed, packed.node_feature)
    assert output["graph_feature"].shape == (3, model.output_dim)
    (output["graph_feature"].sum() + output.get("node_feature", output["graph_feature"]).sum()).backward()
    assert all(p.grad is not None for p in model.parameters())
    model.eval()
    together = model(packed, packed.node_feature)["graph_feature"]
    alone = [model(data.Graph.pack([g]), g.node_feature)["graph_feature"] for g in packed.unpack()]
    torch.testing.assert_close(torch.cat(alone), together, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("readout, reduce", [
    (layers.SumReadout, lambda x: x.sum(0)), (layers.MeanReadout, lambda x: x.mean(0)),
    (layers.MaxReadout, lambda x: x.amax(0)),
])
def test_readouts(packed, readout, reduce):
    expected = torch.stack([reduce(x) for x in packed.node_feature.split(packed.num_nodes.tolist())])
    torch.testing.assert_close(readout()(packed, packed.node_feature), expected)


def test_weighted_readouts(packed):
    attention = layers.AttentionReadout(6)
    rows = [(attention.linear(x).softmax(0) * x).sum(0) for x in packed.node_feature.split(packed.num_nodes.tolist())]
    torch.testing.assert_close(attention(packed, packed.node_feature), torch.stack(rows))
    assert layers.Set2Set(6)(packed, packed.node_feature).shape == (3, 12)


def test_mlp_is_linears_and_activations():
    torch.manual_seed(0)
    mlp = layers.MLP(5, [4, 3], activation="relu")
    x = torch.randn(7, 5)
    torch.testing.assert_close(mlp(x), mlp.layers[1](F.relu(mlp.layers[0](x))))
    normed = layers.MLP(5, [4, 4, 2], short_cut=True, batch_norm=True, dropout=0.2)
    assert normed(x).shape == (7, 2)
    assert len([m for m in normed.modules() if isinstance(m, nn.BatchNorm1d)]) == 2


def test_every_layer_finds_its_device():
    assert layers.MLP(2, [2]).device == torch.device("cpu")
    assert all(hasattr(cls, "device") for _, cls in inspect.getmembers(models, inspect.isclass))
