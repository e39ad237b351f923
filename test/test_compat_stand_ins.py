"""The stand-ins for torch-scatter and torch-cluster against the compiled packages: golden arrays and live."""
import importlib
import json
import os

import numpy as np
import pytest
import torch

from conftest import TOLERANCE
from gearnet_plugin.compat import cluster, missing, scatter, stand_ins

GOLDEN = os.path.join(os.path.dirname(__file__), "golden", "stand_ins.npz")


def read_golden():
    cases = {}
    with np.load(GOLDEN) as arrays:
        for key in arrays.files:
            case, _, name = key.rpartition("/")
            array = arrays[key]
            cases.setdefault(case, {})[name] = json.loads(str(array)) if name == "call" else array
    cases.pop("")
    for case in cases.values():
        case.update({name: torch.tensor(array) for name, array in case.items() if name != "call"})
        case["function"] = case["call"].pop("function")
    return cases


CASES = read_golden()
SCATTER = [name for name in CASES if name.startswith("scatter")]
CLUSTER = [name for name in CASES if name.startswith("cluster")]
# where the compiled CPU version depends on the order of its k-d tree
CAPPED = [name for name in CLUSTER if "capped" in name]
TIED = ["cluster/knn_duplicates"]
UNIQUE = [name for name in CLUSTER if name not in CAPPED + TIED]


def same(actual, expected):
    torch.testing.assert_close(actual, expected, equal_nan=True, **TOLERANCE[expected.dtype])


def scatter_and_gradient(module, case):
    src = case["src"].clone().requires_grad_("grad" in case)
    out = getattr(module, case["function"])(src, case["index"], **case["call"])
    result = dict(zip(("out", "arg"), out if isinstance(out, tuple) else (out,)))
    if "grad" in case:
        result["grad"], = torch.autograd.grad(result["out"], src, case["cotangent"])
    return result


def neighbours(edges, call):
    """The set of neighbours of every centre."""
    neighbour, centre = edges.flip(0) if call.get("flow") == "target_to_source" else edges
    found = {}
    for i, j in zip(centre.tolist(), neighbour.tolist()):
        assert j not in found.setdefault(i, set()), "edge %d -> %d twice" % (j, i)
        found[i].add(j)
    return found


def graph(module, case):
    edges = getattr(module, case["function"])(case["x"], batch=case.get("batch"), **case["call"])
    assert edges.dtype == torch.long
    return neighbours(edges, case["call"])


@pytest.mark.parametrize("name", SCATTER)
def test_scatter_equals_golden(name):
    case = CASES[name]
    for key, value in scatter_and_gradient(scatter, case).items():
        same(value, case[key])


@pytest.mark.parametrize("name", UNIQUE)
def test_graph_equals_golden(name):
    case = CASES[name]
    assert graph(cluster, case) == neighbours(case["out"], case["call"])


@pytest.mark.parametrize("name", CAPPED)
def test_cap_keeps_lowest_indices(name):
    """Where the cap bites the compiled CPU version keeps as many, but others: the first of its k-d tree."""
    case = CASES[name]
    radius = case["call"]["r"]
    ball = neighbours(cluster.radius_graph(case["x"], radius, case["batch"], True, 10**6), {})
    ours, golden = graph(cluster, case), neighbours(case["out"], case["call"])
    cap, loop = case["call"]["max_num_neighbors"], case["call"].get("loop", False)
    bitten = 0
    for centre, near in ball.items():
        # with loop=False the compiled package takes one more, and drops the centre if it is among them
        lowest = set(sorted(near)[:cap + (not loop)])
        kept = lowest if loop else lowest - {centre}
        assert ours.get(centre, set()) == kept
        assert golden.get(centre, set()) <= near
        assert len(golden.get(centre, set())) in ((cap,) if loop else (cap, cap + 1)) or len(near) <= cap
        bitten += len(near) > cap + 1
    assert bitten > 5


def test_ties_go_to_the_lowest_index():
    """Among five points in one place the compiled CPU version takes others, or one more."""
    case = CASES["cluster/knn_duplicates"]
    x, k = case["x"], case["call"]["k"]
    ours, golden = graph(cluster, case), neighbours(case["out"], case["call"])
    place = {16, 20, 21, 22, 23}
    for centre in ours.keys() | golden.keys():
        taken = sorted((x[list(ours[centre])] - x[centre]).norm(dim=-1).tolist())
        others = sorted((x[list(golden[centre])] - x[centre]).norm(dim=-1).tolist())
        assert taken[:k] == pytest.approx(others[:k])
        if centre in place:
            assert ours[centre] == set(sorted(place)[:k + 1]) - {centre}


def installed(name):
    # a package of that name that does not load is not the reference
    return pytest.importorskip(name, reason="%s is not installed" % name, exc_type=ImportError)


def test_scatter_equals_installed():
    """The golden calls, with other numbers."""
    compiled = installed("torch_scatter")
    composite = importlib.import_module("torch_scatter.composite")
    torch.manual_seed(0)
    for name in SCATTER:
        case = CASES[name]
        if case["src"].is_floating_point() and "infinities" not in name:
            case = dict(case, src=case["src"] + torch.randn(case["src"].shape, dtype=case["src"].dtype))
        expected = scatter_and_gradient(composite if case["function"].endswith("softmax") else compiled, case)
        for key, value in scatter_and_gradient(scatter, case).items():
            same(value, expected[key])


def test_graphs_equal_installed():
    """The golden graphs, with other points."""
    compiled = installed("torch_cluster")
    torch.manual_seed(0)
    for name in UNIQUE:
        case = CASES[name]
        if "exact" not in name and "line" not in name:
            case = dict(case, x=torch.randn(case["x"].shape, dtype=case["x"].dtype))
        assert graph(cluster, case) == graph(compiled, case), name


def test_blocks_do_not_matter(monkeypatch):
    torch.manual_seed(0)
    x, batch = torch.randn(50, 3), torch.tensor([0] * 20 + [1] * 30)
    whole = [cluster.knn_graph(x, 5, batch), cluster.radius_graph(x, 1.2, batch)]
    monkeypatch.setattr(cluster, "BLOCK_ELEMENTS", 70)
    assert torch.equal(cluster.knn_graph(x, 5, batch), whole[0])
    assert torch.equal(cluster.radius_graph(x, 1.2, batch), whole[1])


def test_gradient_of_maximum_goes_to_one_winner():
    src = torch.tensor([2.0, 5, 5, 5], requires_grad=True)
    out, arg = scatter.scatter_max(src, torch.tensor([0, 0, 0, 0]))
    out.sum().backward()
    assert arg.tolist() == [1]
    assert src.grad.tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("function", ["scatter_add", "scatter_mean", "scatter_max", "scatter_log_softmax"])
def test_second_derivative(function):
    torch.manual_seed(0)
    src = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    index = torch.tensor([0, 0, 2, 2, 2, 1])
    assert torch.autograd.gradgradcheck(lambda x: getattr(scatter, function)(x, index, dim=0), src)


X, SLOTS = torch.rand(3, 3), torch.tensor([0, 0, 1])


@pytest.mark.parametrize("call, message", [
    (lambda: cluster.knn_graph(X, 1, flow="up"), "flow should be `source_to_target` or"),
    (lambda: cluster.radius_graph(X, 1, SLOTS.flip(0)), "ascending order"),
    (lambda: scatter.scatter_softmax(torch.arange(3), SLOTS), "floating point.*int64"),
])
def test_wrong_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("call, package", [
    (lambda: cluster.knn_graph(X, 1, cosine=True), "torch-cluster"),
    (lambda: scatter.scatter_add(X, SLOTS, out=X), "torch-scatter"),
    (lambda: scatter.scatter_max(X, SLOTS, out=X), "torch-scatter"),
])
def test_what_is_left_out_names_the_package(call, package):
    with pytest.raises(NotImplementedError, match="pip install %s" % package):
        call()


def test_stand_in_only_where_missing():
    for name in ("torch_scatter", "torch_cluster"):
        assert (name in stand_ins()) == (not missing.loads(name))


def test_stand_in_explains_what_it_lacks():
    module = missing._module("torch_scatter", scatter, {})
    with pytest.raises(AttributeError, match="`segment_csr`.*pip install torch-scatter"):
        module.segment_csr  # noqa: B018


def test_broken_package_is_replaced_with_a_warning(tmp_path, monkeypatch):
    (tmp_path / "torch_broken").mkdir()
    (tmp_path / "torch_broken" / "__init__.py").write_text("raise OSError('undefined symbol: _ZN2at')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.warns(UserWarning, match="`torch_broken` is installed but .*undefined symbol"):
        assert not missing.loads("torch_broken")
