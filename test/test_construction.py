"""Residue graphs: the rules against TorchDrug and against brute force, crops, gaps, wrong input."""
import math

import pytest
import torch

from gearnet_plugin.graphs import ResidueProtein, crops, edges, topology
from gearnet_plugin.layers import ResidueGraphConstruction
from laws import moved
from proteins import (
    as_stock,
    awkward,
    bundled,
    chain,
    construction,
    edge_layers,
    far_apart,
    stock_construction,
    stock_in_our_order,
)
from torchdrug import core, layers
from torchdrug.layers import geometry


@pytest.mark.parametrize("feature", ["gearnet", "residue_type", None])
def test_equals_stock(feature):
    """Same edges in the same order and same features as TorchDrug, for a batch of awkward proteins."""
    packed = ResidueProtein.pack(awkward())
    ours = construction(feature)(packed)
    with stock_in_our_order():
        stock = stock_construction(feature)(as_stock(packed))
    assert torch.equal(ours.edge_list, stock.edge_list)
    assert ours.num_edges.tolist() == stock.num_edges.tolist()
    assert int(ours.num_relation) == int(stock.num_relation) == 7
    if feature:
        assert torch.equal(ours.edge_feature, stock.edge_feature)


def test_equals_stock_on_real_structures():
    """The same on the bundled structures."""
    packed = ResidueProtein.pack(bundled(8))
    ours = construction()(packed)
    with stock_in_our_order():
        stock = stock_construction()(as_stock(packed))
    assert torch.equal(ours.edge_list, stock.edge_list)
    assert torch.equal(ours.edge_feature, stock.edge_feature)


def test_equals_stock_on_the_compiled_packages():
    """With the compiled torch-cluster TorchDrug has the same edges, in another order, where the cap is not met."""
    pytest.importorskip("torch_cluster", reason="torch_cluster is not installed")
    packed = ResidueProtein.pack(awkward() + bundled(8))
    ours, stock = construction()(packed), stock_construction()(as_stock(packed))
    # a ball that holds more than the cap: its neighbours are chosen by another rule on CPU
    ball = edges.radius_edges(packed, 10.0, min_distance=0, max_num_neighbors=1000)[:, 1].bincount(
        minlength=int(packed.num_node))
    full = ball > 32
    assert full.float().mean() < 0.1
    found, expected = ({tuple(e) for e in graph.edge_list[~(full[graph.edge_list[:, 1]])].tolist()}
                       for graph in (ours, stock))
    assert found == expected and len(found) > 1000


def test_radius_by_brute_force():
    """Radius edges are the pairs nearer than the radius, found one by one."""
    protein = chain(40, seed=3)
    found = {tuple(e) for e in edges.radius_edges(ResidueProtein.pack([protein]), 9.0, 3).tolist()}
    position = protein.node_position.tolist()
    expected = {(i, j) for i in range(40) for j in range(40)
                if abs(i - j) >= 3 and math.dist(position[i], position[j]) < 9.0}
    assert found == expected and len(found) > 50


def test_knn_by_brute_force():
    """The k nearest are chosen first and filtered by sequence distance after."""
    protein = chain(40, seed=4)
    found = {tuple(e) for e in edges.knn_edges(ResidueProtein.pack([protein]), 6, 4).tolist()}
    position = protein.node_position.tolist()
    expected = set()
    for i in range(40):
        nearest = sorted((j for j in range(40) if j != i), key=lambda j: math.dist(position[i], position[j]))[:6]
        expected |= {(j, i) for j in nearest if abs(i - j) >= 4}
    assert found == expected and len(found) > 20


def test_radius_cap_keeps_lowest_index():
    """Where the cap bites, the first 33 of the ball by index are taken, then the residue itself is dropped."""
    position = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    packed = ResidueProtein.pack([ResidueProtein.from_arrays(position, [0] * 50)])
    found = edges.radius_edges(packed, 100.0, min_distance=0, max_num_neighbors=32)
    assert found[found[:, 1] == 40, 0].tolist() == list(range(33))
    assert found[found[:, 1] == 10, 0].tolist() == [i for i in range(33) if i != 10]


def test_blocks_change_nothing(monkeypatch):
    """The size of the distance blocks is a matter of memory only."""
    packed = ResidueProtein.pack(awkward())
    whole = construction()(packed).edge_list
    monkeypatch.setattr(edges, "BLOCK_ELEMENTS", 300)
    assert torch.equal(construction()(packed).edge_list, whole)


@pytest.mark.parametrize("keep", ["subsequence", "subspace", "random", "none"])
def test_crop_first_equals_crop_last(keep):
    """Building only what is kept gives the graph of building all and keeping it."""
    packed = ResidueProtein.pack(awkward() + [chain(200, seed=9)])
    torch.manual_seed(0)
    n = int(packed.num_residue)
    mask = {"subsequence": lambda: crops.subsequence_mask(packed, 50),
            "subspace": lambda: crops.subspace_mask(packed, 12.0, 15),
            "random": lambda: torch.rand(n) < 0.5,
            "none": lambda: torch.zeros(n, dtype=torch.bool)}[keep]()
    first = construction()(packed, keep=mask)
    last = construction()(packed).subresidue(mask)
    for name in ["edge_list", "edge_feature", "num_edges", "num_residues", "residue_type", "node_position", "_offsets"]:
        assert torch.equal(getattr(first, name), getattr(last, name)), name


@pytest.mark.parametrize("layer, mask", [
    (geometry.SubsequenceNode(50), lambda g: crops.subsequence_mask(g, 50)),
    (geometry.SubspaceNode("residue", 15.0, 15), lambda g: crops.subspace_mask(g, 15.0, 15)),
    (geometry.SubspaceNode("residue", 5.0, 12), lambda g: crops.subspace_mask(g, 5.0, 12)),
])
def test_crops_equal_stock(layer, mask):
    """The same seed keeps the same residues as TorchDrug's crop."""
    packed = ResidueProtein.pack(awkward() + [chain(200, seed=9)])
    stock = as_stock(packed)
    for seed in range(5):
        torch.manual_seed(seed)
        expected = layer(stock)
        torch.manual_seed(seed)
        kept = packed.subresidue(mask(packed))
        assert kept.num_residues.tolist() == expected.num_residues.tolist()
        assert torch.equal(kept.node_position, expected.node_position)


def test_angle_bins_equal_stock_line_graph():
    """The sums over (edge, angle bin) are those of TorchDrug's spatial line graph."""
    packed = ResidueProtein.pack([chain(40, seed=1), far_apart(), chain(1)])
    graph = construction()(packed)
    segments = topology.angle_segments(graph.edge_list, graph.node_position, 8)
    line = layers.SpatialLineGraph(8)(graph)
    ours = {(int(i), int(r) // 8, int(r) % 8) for r, i in zip(segments.row, segments.index)}
    assert len(ours) == len(segments.row) == len(line.edge_list)
    assert ours == {tuple(e) for e in line.edge_list.tolist()}


def test_angle_by_hand():
    """Straight on is the last bin, back is the first, a right angle is in the middle."""
    position = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [1, 1, 0]])
    edge_list = torch.tensor([[0, 1], [1, 2], [1, 0], [1, 3]])
    segments = topology.angle_segments(edge_list, position, 8)
    found = sorted(zip((segments.row // 8).tolist(), segments.index.tolist(), (segments.row % 8).tolist()))
    # edges that leave node 1 hear edge 0 -> 1: onward at angle pi, back at 0, up at pi / 2; edge 0 hears 1 -> 0
    assert found == [(0, 2, 0), (1, 0, 7), (2, 0, 0), (3, 0, 4)]


def numbered(numbers, chains=None):
    """A protein with given residue numbers."""
    protein = chain(len(numbers), seed=2)
    return ResidueProtein.from_arrays(protein.node_position, protein.residue_type,
                                      chain_id=chains or [1] * len(numbers), residue_number=numbers)


def test_gaps_by_number():
    """By number, a break is no bond, one missing residue is a distance of 2, an insertion code a step of 1."""
    protein = numbered([1, 2, 3, 5, 6, 20, 20, 21])
    packed = ResidueProtein.pack([protein])
    found, relation = edges.sequential_edges(packed, 2, edges.sequence_positions(packed, "number"))
    forward = {(int(i), int(j)): int(r) - 2 for (i, j), r in zip(found, relation) if j > i}
    assert forward == {(0, 1): 1, (0, 2): 2, (1, 2): 1, (2, 3): 2, (3, 4): 1, (5, 6): 1, (5, 7): 2, (6, 7): 1}
    found, _ = edges.sequential_edges(packed, 2)
    assert [4, 5] in found.tolist(), "the stock rule runs across the break"


def test_gaps_reach_the_features():
    """By number, residues of two chains are never near in the sequence."""
    protein = numbered(list(range(1, 11)) + list(range(11, 21)), [1] * 10 + [2] * 10)
    packed = ResidueProtein.pack([protein])
    for gaps, expected in [("index", 1.0), ("number", 10.0)]:
        graph = construction(gaps=gaps)(packed)
        source, target, relation = graph.edge_list.t()
        across = (relation >= 5) & (source < 10) & (target >= 10)
        apart = graph.edge_feature[:, 47:58].argmax(dim=-1)[across]
        near = ((source - target).abs() < 5)[across]
        assert near.any() == (gaps == "number")
        assert apart.min() >= (5 if gaps == "index" else expected)


def two_numberings():
    """A protein whose author's numbering has a gap."""
    return numbered(list(range(1, 26)) + list(range(40, 65)))


def test_configuration_round_trip():
    """Config to object to config is the identity, and the copy builds the same graph."""
    model = construction(gaps="number")
    copy = core.Configurable.load_config_dict(model.config_dict())
    assert isinstance(copy, ResidueGraphConstruction) and copy.config_dict() == model.config_dict()
    assert copy.gaps == "number" and model.config_dict()["gaps"] == "number"
    packed = ResidueProtein.pack([two_numberings()])
    assert torch.equal(copy(packed).edge_list, model(packed).edge_list)
    assert not torch.equal(copy(packed).edge_list, construction()(packed).edge_list)


def test_own_edge_feature_and_foreign_edge_layer():
    """A subclass adds a feature, and an unknown edge layer is called as TorchDrug calls it."""
    class Weird(ResidueGraphConstruction, core.Configurable):
        def edge_length(self, graph, edge_list, num_relation):
            return (graph.node_position[edge_list[:, 0]] - graph.node_position[edge_list[:, 1]]).norm(dim=-1)[:, None]

    class ToFirst(torch.nn.Module):
        def forward(self, graph):
            node = torch.arange(int(graph.num_node))
            first = (graph.num_cum_nodes - graph.num_nodes)[graph.node2graph]
            return torch.stack([node, first, node % 2], dim=-1), 2

    packed = ResidueProtein.pack([chain(6), chain(4)])
    graph = Weird(edge_layers=edge_layers()[:1] + [ToFirst()], edge_feature="length")(packed)
    assert int(graph.num_relation) == 7 and graph.edge_feature.shape == (len(graph.edge_list), 1)
    assert [3, 0, 6] in graph.edge_list.tolist() and [9, 6, 6] in graph.edge_list.tolist()
    mask = torch.arange(10) != 6
    assert torch.equal(Weird(edge_layers=[ToFirst()], edge_feature="length")(packed, keep=mask).edge_list,
                       Weird(edge_layers=[ToFirst()], edge_feature="length")(packed).subresidue(mask).edge_list)


def test_takes_stock_proteins():
    """A stock protein gets the stock graph."""
    stock = as_stock(ResidueProtein.pack([chain(30)]))
    with stock_in_our_order():
        assert torch.equal(construction()(stock).edge_list, stock_construction()(stock).edge_list)


def test_wrong_input():
    """Wrong input is refused with the step that is wrong."""
    with pytest.raises(ValueError, match=r"Pack it first: `graph = graph.pack\(\[graph\]\)`"):
        construction()(chain(5))
    with pytest.raises(ValueError, match="Unknown edge feature `gearnett`. Known are `gearnet`, `residue_type`"):
        construction("gearnett")
    with pytest.raises(ValueError, match="gaps should be `index` or `number`, but found `chain`"):
        construction(gaps="chain")
    with pytest.raises(ValueError, match="needs residue proteins"):
        construction(gaps="number")(as_stock(ResidueProtein.pack([chain(5)])))
    bad = chain(5)
    bad.node_position[3, 1] = float("nan")
    with pytest.raises(ValueError, match="1 of 5 nodes are not, the first being node 3"):
        construction()(ResidueProtein.pack([bad]))
    from torchdrug import data
    sequence = data.Protein.from_sequence("GAS", atom_feature=None, bond_feature=None)
    with pytest.raises(ValueError, match="Proteins made from a sequence have none"):
        construction()(data.Protein.pack([sequence]))


def test_moved_helper_moves():
    """The law helper does turn the coordinates."""
    protein = chain(5)
    turned = moved(protein, torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.double)))
    assert torch.equal(turned.node_position[:, 0], -protein.node_position[:, 0])
