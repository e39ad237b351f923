"""A layer of edge message passing by PyTorch Geometric: its ``RGCNConv`` on the line graph, with weights of ours."""

import torch

from encoder_checks import differences
from encoder_inputs import (
    graphs_of,
    protein_of,
)
from encoder_plan import rated, unmeasured
from gearnet_plugin import ops
from gearnet_plugin.graphs import ResidueProtein, topology
from gearnet_plugin.layers import RelationalGeometricConv
from torchdrug import layers


def missing():
    """Why the peer cannot be measured, or None if it can."""
    try:
        import torch_geometric.nn  # noqa: F401
    except ImportError as error:
        return f"PyTorch Geometric cannot be imported ({error})"
    return None


def edge_layer(layer):
    """
    An ``RGCNConv`` with the weights of a ``RelationalGeometricConv``.

    Ours maps the sums over all relations side by side by one matrix and has two biases; there each relation has its
    matrix, the other way up, and there is one bias.
    """
    from torch_geometric.nn import RGCNConv

    p, q, count = layer.input_dim, layer.output_dim, layer.num_relation
    peer = RGCNConv(p, q, count, aggr="add")
    with torch.no_grad():
        peer.weight.copy_(layer.linear.weight.view(q, count, p).permute(1, 2, 0))
        peer.root.copy_(layer.self_loop.weight.t())
        peer.bias.copy_(layer.linear.bias + layer.self_loop.bias)
    return peer


def line_graph(graph, num_bin):
    """Edges between the edges of stock's graph and their relations, as ``RGCNConv`` takes them."""

    edge_list = layers.SpatialLineGraph(num_bin)(graph).edge_list
    return edge_list[:, :2].t().contiguous(), edge_list[:, 2].contiguous()


def measure_peer(plan):
    """One edge layer against PyTorch Geometric's RGCNConv on the line graph, topology given to both."""
    width = plan.widths[-1]
    protein, name = protein_of(46 if plan.tiny else 100 if plan.quick else 350, plan.folder)
    name = f"one edge layer {width} to {width}, {name}: RGCNConv of PyTorch Geometric against ours"
    why = missing()
    if why:
        yield unmeasured(name, why)
        return
    stock_graph, graph = graphs_of(ResidueProtein.pack([protein]))
    pairs = topology.PairTopology(graph.edge_list, graph.node_position, 8)
    torch.manual_seed(0)
    ours = RelationalGeometricConv(width, width, 8, None, False, None)
    peer = edge_layer(ours)
    fast = ops.choose("auto", "cpu")
    edge_index, relation = line_graph(stock_graph, 8)
    hidden = torch.randn(len(graph.edge_list), width, requires_grad=True)
    calls = {"peer": lambda: peer(hidden, edge_index, relation), "ours": lambda: ours.edges(hidden, pairs, fast)}
    _check_peer(calls, hidden, peer, ours)

    def train(call, layer):
        def step():
            layer.zero_grad()
            hidden.grad = None
            call().square().mean().backward()

        return step

    shown = {"group": "one edge layer, PyTorch Geometric against ours"}
    with torch.no_grad():
        ratios = plan.compare(calls)
    yield rated(f"{name}, forward", ratios["ours"], **shown, label=f"d={width}, forward")
    ratios = plan.compare({"peer": train(calls["peer"], peer), "ours": train(calls["ours"], ours)})
    yield rated(f"{name}, forward and backward", ratios["ours"], **shown, label=f"d={width}, forward and backward")


def _check_peer(calls, hidden, peer, ours):
    """Equal outputs and gradients of what both are given: the weights are copied right."""
    found = {}
    weight = torch.randn(len(hidden), ours.output_dim, generator=torch.Generator().manual_seed(1))
    for name, call in calls.items():
        hidden.grad = None
        output = call()
        (output * weight).sum().backward()
        found[name] = {"output": output.detach(), "gradient of the input": hidden.grad.clone()}
    red = {name: error for name, error in differences(found["ours"], found["peer"]).items() if error > 1e-5}
    if red:
        raise SystemExit(f"RGCNConv and our edge layer differ: {red}; nothing is reported")
    peer.zero_grad(), ours.zero_grad()
