"""Whether stock's encoder and ours give the same results, before either is timed."""

import contextlib
import copy
from unittest import mock

import torch

from gearnet_plugin import ops
from gearnet_plugin.graphs import topology

# relative to the largest value: all results in float64; outputs and statistics in float32; one edge layer in bfloat16
DOUBLE, SINGLE, HALF = 1e-9, 1e-5, 1e-2
# more edges would take too much time and memory in float64
EXACT_EDGES = 12_000
# all gradients together in float32, root of the sum of squares: rounding turns a unit of ReLU on or off in one of two
# equal computations, which moves one row of a gradient by a hundredth
TURNED = 3e-3
# gradients of its matrices in bfloat16: that of the first bin is a difference of sums over many edges
WEIGHTS = 3e-2
# six layers in bfloat16: root of the sum of squares of the difference of outputs, relative to that of the outputs, and
# cosine between the gradients. Rounding alone, which also turns a few units on or off, makes 0.016 and 0.993.
OUTPUTS, COSINE = 3e-2, 0.98
# of the largest of all gradients: smaller ones are judged by this share of it
FLOOR = 1e-4
# gradients below this share are zero but for rounding, as that of a bias before BatchNorm, and judged by the largest
ZERO = 1e-6


def results(encoder, graph, training, dtype=torch.float):
    """Outputs of an encoder; in training also the gradients of all parameters and of the input, and statistics."""
    encoder.train(training)
    state = {name: value.clone() for name, value in encoder.state_dict().items()}
    input = graph.node_feature.to(dtype).clone().requires_grad_(training)
    with torch.set_grad_enabled(training):
        output = encoder(graph, input)
    found = {name: output[name].detach() for name in ("graph_feature", "node_feature")}
    if training:
        generator = torch.Generator().manual_seed(1)
        weights = {name: torch.randn(value.shape, generator=generator) for name, value in found.items()}
        sum((output[name] * weight.to(dtype)).sum() for name, weight in weights.items()).backward()
        found.update({f"gradient of {name}": p.grad for name, p in encoder.named_parameters() if p.grad is not None})
        found["gradient of the input"] = input.grad
        found.update({name: b.clone() for name, b in encoder.named_buffers() if b.is_floating_point()})
        encoder.zero_grad()
        encoder.load_state_dict(state)
    return found


def differences(actual, expected):
    """Largest difference of each tensor, relative to the largest value; both hold the same names."""
    if actual.keys() != expected.keys():
        raise SystemExit(f"only one has {sorted(actual.keys() ^ expected.keys())}; nothing is reported")
    gradients = [float(value.abs().max()) for name, value in expected.items() if name.startswith("gradient")]
    largest = max(gradients, default=0.0)
    found = {}
    for name, value in expected.items():
        scale = float(value.abs().max())
        if name.startswith("gradient"):
            scale = largest if scale <= ZERO * largest else max(scale, FLOOR * largest)
        error = float((actual[name].double() - value.double()).abs().max())
        # NaN is not equal to anything, and has to be seen
        found[name] = error / max(scale, 1e-30) if error == error else float("inf")
    return found


@contextlib.contextmanager
def double_precision():
    """TorchDrug in float64: it calls ``.float()`` inside and makes edge weights of the default type."""
    with mock.patch.object(torch.Tensor, "float", torch.Tensor.double):
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(torch.float32)


def require_equal(what, encoders, graphs):
    """
    Raise SystemExit with what differs unless the encoders agree on these graphs, in eval mode and in training.

    On graphs that are not too large everything agrees to 1e-9 in float64. In float32 outputs and statistics agree to
    1e-5, or are as near to our float64 result as stock's are; gradients agree but for units that rounding turns on or
    off.

    Parameters:
        what (str): the case in words
        encoders (tuple): stock's encoder and ours
        graphs (tuple): stock's graph and ours
    """
    if len(graphs[1].edge_list) <= EXACT_EDGES:
        expected, actual = exact_results(encoders, graphs)
        _require(what, True, differences(actual, expected), DOUBLE, "stock and ours differ in float64")
    for training in (False, True):
        expected, actual = (results(encoder, graph, training) for encoder, graph in zip(encoders, graphs))
        if training:
            require_same_gradient(what, actual, expected)
        expected, actual = _without_gradients(expected), _without_gradients(actual)
        found = differences(actual, expected)
        if any(not error <= SINGLE for error in found.values()):
            exact = _without_gradients(results(copy.deepcopy(encoders[1]).double(), graphs[1], training, torch.double))
            theirs, found = differences(expected, exact), differences(actual, exact)
            # twice, as the two roundings are independent; that of stock is small, or it computes something else
            _require(what, training, theirs, 10 * SINGLE, "stock is not near the result in float64")
            limits = {name: max(SINGLE, 2 * error) for name, error in theirs.items()}
            found = {name: SINGLE * error / limits[name] for name, error in found.items()}
        _require(what, training, found, SINGLE, "stock and ours differ")


def require_same_gradient(what, actual, expected):
    """Raise SystemExit unless two dicts hold the same gradients in float32, their names beginning with `gradient`."""
    error = float((_gradient(actual) - _gradient(expected)).norm() / _gradient(expected).norm())
    _require(what, True, {"the gradient": error}, TURNED, "stock and ours differ")


def exact_results(encoders, graphs):
    """Results of stock's encoder and ours in float64, in training."""
    stock_graph = copy.copy(graphs[0])
    # TorchDrug turns the weights, all 1, into float32 whenever it makes a graph of a graph
    stock_graph._edge_weight = stock_graph.edge_weight.double()
    with double_precision():
        return [
            results(copy.deepcopy(encoder).double(), graph, True, torch.double)
            for encoder, graph in zip(encoders, (stock_graph, graphs[1]))
        ]


def _gradient(found):
    """All gradients as one vector."""
    return torch.cat([found[name].flatten().double() for name in sorted(found) if name.startswith("gradient")])


def _without_gradients(found):
    return {name: value for name, value in found.items() if not name.startswith("gradient")}


def _require(what, training, found, limit, why):
    """Raise SystemExit with the worst of what is not within the limit; NaN is not."""
    red = sorted(((error, name) for name, error in found.items() if not error <= limit), reverse=True)
    if red:
        names = ", ".join(f"{name} by {error:.1e}" for error, name in red[:5])
        more = f" and {len(red) - 5} more" if len(red) > 5 else ""
        mode = "training" if training else "eval"
        raise SystemExit(f"{what}, {mode}: {why}: {names}{more}; nothing is reported")


def require_near(what, single, half, graph):
    """
    Raise SystemExit unless every edge layer gives in bfloat16 what it gives in float32, to 1e-2, and the whole encoder
    as nearly the same as rounding allows.

    Parameters:
        what (str): the case in words
        single, half (nn.Module): our encoder in float32, known to equal stock's, and in bfloat16
        graph (PackedResidueProtein): the graph
    """
    pairs = topology.PairTopology(graph.edge_list, graph.node_position, single.num_angle_bin)
    for number, layer in enumerate(single.edge_layers):
        exact, rounded = (_edge_results(layer, pairs, len(graph.edge_list), t) for t in (torch.float, torch.bfloat16))
        found = differences(rounded, exact)
        weights = {name: found.pop(name) for name in list(found) if "weight" in name}
        for errors, limit in ((found, HALF), (weights, WEIGHTS)):
            _require(what, True, errors, limit, f"edge layer {number} differs in bfloat16")
    for training in (False, True):
        expected, actual = (results(encoder, graph, training) for encoder in (single, half))
        names = ("graph_feature", "node_feature")
        found = {name: float((actual[name] - expected[name]).norm() / expected[name].norm()) for name in names}
        _require(what, training, found, OUTPUTS, "bfloat16 is too far from float32")
        if training:
            cosine = float(torch.cosine_similarity(_gradient(actual), _gradient(expected), dim=0))
            _require(what, training, {"its direction": 1 - cosine}, 1 - COSINE, "the gradient in bfloat16 is off")


def _edge_results(layer, pairs, num_edge, dtype):
    """Output of the linear part of an edge layer and its gradients, on the same random edges in every type."""
    generator = torch.Generator().manual_seed(3)
    input = torch.randn(num_edge, layer.input_dim, generator=generator).relu().to(dtype).requires_grad_()
    weight = torch.randn(num_edge, layer.output_dim, generator=generator).to(dtype)
    matrices = {"weight": layer.linear.weight, "self_loop": layer.self_loop.weight, "bias": layer.linear.bias}
    matrices = {name: value.detach().clone().requires_grad_() for name, value in matrices.items()}
    fast = ops.choose("auto", input.device)
    output = fast.edge_linear(input, matrices["weight"], matrices["self_loop"], matrices["bias"], pairs)
    output.backward(weight)
    found = {f"gradient of {name}": value.grad.float() for name, value in {**matrices, "the edges": input}.items()}
    return {"output": output.detach().float(), **found}
