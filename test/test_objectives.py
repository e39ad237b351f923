"""The four self-prediction objectives: TorchDrug's numbers by default, and geometry."""

import copy
import math

import pytest
import torch

from gearnet_plugin import geometry
from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.graphs.draws import StructureDraws
from gearnet_plugin.tasks.picking import pick
from objectives import ALL, batch, encoder, seeded, stock_task, task, usable
from proteins import (
    as_stock,
    bundled,
    chain,
    construction,
    double_precision,
    double_weights,
    stock_in_our_order,
)

# === the same as TorchDrug ===


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("seed", [0, 1])
def test_same_draws_same_numbers(name, seed):
    """
    Seeded alike, TorchDrug's task and ours give the same predictions, targets, loss and gradients, to 1e-10 in float64.
    """
    packed = ResidueProtein.pack(usable())
    with double_precision():
        ours, stock = task(name, draws="global").double(), stock_task(name).double()
        stock.load_state_dict(ours.state_dict())
        pred, target = seeded(seed, ours.predict_and_target, {"graph": packed})
        ours.load_state_dict(stock.state_dict())
        loss, metric = seeded(seed, ours, {"graph": packed})
        with stock_in_our_order(), double_weights():
            expected, stock_target = seeded(seed, stock.predict_and_target, {"graph": as_stock(packed)})
            stock.load_state_dict(ours.state_dict())
            stock_loss, stock_metric = seeded(seed, stock, {"graph": as_stock(packed)})
    largest = expected.abs().max()
    assert (pred - expected).abs().max() <= 1e-10 * largest
    assert torch.equal(target, stock_target)
    for key, value in stock_metric.items():
        assert torch.allclose(metric[key].double(), value.double(), rtol=1e-10), key
    loss.backward(), stock_loss.backward()
    largest = max(float(p.grad.abs().max()) for p in stock.parameters() if p.grad is not None)
    for (key, a), (_, b) in zip(ours.named_parameters(), stock.named_parameters()):
        assert (a.grad is None) == (b.grad is None), key
        if a.grad is not None:
            assert (a.grad - b.grad).abs().max() <= 1e-10 * largest, key


@pytest.mark.parametrize("name", ALL)
def test_checkpoints_go_both_ways(name):
    """Keys and shapes are TorchDrug's; the same seed gives the same weights."""
    ours, stock = task(name), stock_task(name)
    assert list(ours.state_dict()) == list(stock.state_dict())
    stock.load_state_dict(ours.state_dict(), strict=True)
    ours.load_state_dict(stock.state_dict(), strict=True)
    if name != "residue":
        fresh = stock_task(name)
        assert all(torch.equal(a, b) for a, b in zip(task(name).state_dict().values(), fresh.state_dict().values()))


@pytest.mark.parametrize("name", ALL)
def test_stock_proteins_too(name):
    """TorchDrug's own proteins with its own graph construction and encoder can be used, with keyed draws."""
    stock = stock_task(name)
    ours = task(name, stock.model, graph_construction_model=stock.graph_construction_model).eval()
    packed = ResidueProtein.pack(usable())
    with stock_in_our_order():
        pred, target = ours.predict_and_target({"graph": as_stock(packed)})
    ours.graph_construction_model = construction()
    expected, same = ours.predict_and_target({"graph": packed})
    assert torch.equal(target, same)
    assert torch.allclose(pred, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["angle", "dihedral"])
def test_where_stock_takes_the_edges_of_a_neighbour(name):
    """
    A single residue has no walk. TorchDrug takes the first one of the next protein for it, as often as it should have
    drawn: all 256 targets are one. Here the protein is left out and counted.
    """
    packed = ResidueProtein.pack([chain(1), chain(30, 2)])
    metric = {}
    ours, stock = task(name), stock_task(name)
    with stock_in_our_order():
        pred, target = stock.predict_and_target({"graph": as_stock(packed)})
    assert len(target) == 512 and len(pred[:256].unique(dim=0)) == 1
    pred, target = ours.predict_and_target({"graph": packed}, None, metric)
    assert len(pred) == len(target) == 256
    assert metric["skipped proteins"] == 1


@pytest.mark.parametrize("name", ["angle", "dihedral"])
def test_bins_are_as_many_as_classes(name):
    """For 61 classes TorchDrug makes 62 bins, and an angle of pi can fall into one that nothing can predict."""
    assert len(stock_task(name, num_class=61).boundary) == 62
    for number in (2, 8, 61, 122, 500):
        bins = task(name, num_class=number).boundary
        assert torch.allclose(bins, torch.arange(number) * math.pi / number, atol=1e-6)
    ours = task(name, num_class=61)
    # a bin has its lower end
    assert ours.classes(ours.boundary).tolist() == list(range(61))
    assert ours.classes(torch.tensor([0.0, 1e-3, math.pi - 1e-3, math.pi])).tolist() == [0, 0, 60, 60]


# === geometry ===


def walks_of(name, **kwargs):
    """Nodes, from the end of each walk to its start, and targets of the drawn samples on two real structures."""
    ours = task(name, **kwargs)
    graph = ours.build(ResidueProtein.pack(bundled(2, longest=150)))
    pool = ours.pool(graph)
    index = pick(StructureDraws(), graph, pool.sizes, 300, ours.stream)
    ours.columns = range(ours.length + 1)
    hidden = ours.hide(graph, pool, index)
    return graph.node_position.double(), hidden.nodes, hidden.target


def test_distances_are_those_of_biotite():
    """Lengths of edges in Å."""
    biotite = pytest.importorskip("biotite.structure")
    position, nodes, target = walks_of("distance")
    i, j = (position[nodes[:, k]].numpy() for k in range(2))
    assert torch.allclose(target.double(), torch.as_tensor(biotite.distance(i, j)).double(), atol=1e-4)


def test_angles_are_those_of_biotite():
    """The bin that biotite's angle falls into, of every pair of edges without a self-loop."""
    biotite = pytest.importorskip("biotite.structure")
    position, nodes, target = walks_of("angle", num_class=90, self_loops=False)
    i, j, k = (position[nodes[:, n]].numpy() for n in range(3))
    angle = torch.as_tensor(biotite.angle(i, j, k)) / math.pi * 90
    assert ((angle - target - 0.5).abs() <= 0.5 + 1e-3).all()


@pytest.mark.parametrize("signed", [False, True])
def test_dihedrals_are_those_of_biotite(signed):
    """The bin that biotite's dihedral falls into, its sign that of IUPAC; mirrored, the sign is the other one."""
    biotite = pytest.importorskip("biotite.structure")
    position, nodes, target = walks_of("dihedral", num_class=90, self_loops=False, signed=signed)
    points = [position[nodes[:, n]] for n in range(4)]
    expected = torch.as_tensor(biotite.dihedral(*(point.numpy() for point in points))).double()
    ours = geometry.signed_dihedral(*points)
    # three residues on a line have no dihedral, here 0
    straight = ours.abs() < 1e-6
    assert straight.float().mean() < 0.2 and (expected[~straight] < 0).any() and (expected[~straight] > 0).any()
    assert torch.allclose(ours[~straight], expected[~straight], atol=1e-6)
    assert torch.allclose(geometry.dihedral(*points), ours.abs(), atol=1e-6)
    mirror = [point * torch.tensor([1.0, 1.0, -1.0], dtype=torch.double) for point in points]
    assert torch.allclose(geometry.signed_dihedral(*mirror)[~straight], -ours[~straight], atol=1e-6)
    place = (expected / math.pi + 1) / 2 * 90 if signed else expected.abs() / math.pi * 90
    assert ((place - target - 0.5).abs()[~straight] <= 0.5 + 1e-3).all()


def test_signs_by_hand():
    """Seen along the axis from the second point, the last bond a quarter turn clockwise: +90 degrees."""
    points = torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 0, 1], [0, 1, 1]], dtype=torch.double)
    # looking along +z, x to the right, y points down: from x to y is clockwise
    assert geometry.signed_dihedral(*points) == pytest.approx(math.pi / 2)
    points[3, 1] = -1
    assert geometry.signed_dihedral(*points) == pytest.approx(-math.pi / 2)
    assert geometry.dihedral(*points) == pytest.approx(math.pi / 2)
    # trans, cis, and three on a line
    assert geometry.signed_dihedral(
        *torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 0, 1], [-1, 0, 1]])
    ).abs() == pytest.approx(math.pi)
    assert geometry.signed_dihedral(*torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 0, 1], [1, 0, 1]])) == 0
    assert geometry.signed_dihedral(*torch.tensor([[0.0, 0, -1], [0, 0, 0], [0, 0, 1], [1, 0, 1]])) == 0


@pytest.mark.parametrize("name", ALL)
def test_gradients_are_those_of_finite_differences(name):
    """On a tiny protein in float64: along random directions of all parameters at once, in train mode."""
    with double_precision():
        few = {} if name == "residue" else {"num_sample": 6}
        ours = task(name, model=encoder(activation="softplus"), num_mlp_layer=1, seed=0, **few).double()
        ours.set_epoch(0)
        graph = batch(chain(9, 6), chain(7, 2))
        loss, metric = ours(graph)
        assert loss > 0 and metric["skipped proteins"] == 0
        loss.backward()
        grads = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in ours.parameters()]
        for seed in range(3):
            generator = torch.Generator().manual_seed(seed)
            direction = [torch.randn(p.shape, generator=generator, dtype=torch.double) for p in ours.parameters()]
            values = []
            for step in (1e-5, -1e-5):
                moved = copy.deepcopy(ours)
                with torch.no_grad():
                    for p, d in zip(moved.parameters(), direction):
                        p += step * d
                    values.append(float(moved(graph)[0]))
            expected = (values[0] - values[1]) / 2e-5
            found = float(sum((g * d).sum() for g, d in zip(grads, direction)))
            assert found == pytest.approx(expected, rel=1e-5, abs=1e-7)
