"""Residue graphs: the rules against TorchDrug and against brute force, crops, gaps, wrong input."""
import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import plain_edges
from gearnet_plugin.graphs import ResidueProtein, crops, edges, neighbours
from gearnet_plugin.graphs.draws import GlobalDraws
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
from torchdrug import core, data, layers
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


def test_knn_takes_the_lowest_index_of_equally_near_ones():
    """On a line of equal steps every residue has two neighbours at each distance; on a cube many."""
    packed = ResidueProtein.pack([far_apart(9)])
    found = edges.knn_edges(packed, 3, min_distance=0)
    assert found[found[:, 1] == 4, 0].tolist() == [3, 5, 2]
    assert found[found[:, 1] == 0, 0].tolist() == [1, 2, 3]
    cube = torch.cartesian_prod(*[torch.arange(4.0)] * 3) * 3
    packed = ResidueProtein.pack([ResidueProtein.from_arrays(cube, [0] * 64)])
    for limit in (1.0, 4.0, 20.0):
        # in balls that hold too few, just enough or all of the neighbours
        parts = edges.spatial_parts(packed, [edges.Ball(limit, 32, 0, None), edges.Nearest(7, 0, None)])
        assert torch.equal(torch.stack(parts[1][:2], dim=-1), plain_edges.knn_edges(packed, 7, 0))


def on_one_place():
    """Ten residues of which six are at one place."""
    position = torch.zeros(10, 3)
    position[6:, 0] = torch.tensor([3.0, 3.0, 20.0, 50.0])
    return ResidueProtein.from_arrays(position, [0] * 10)


BATCHES = {
    "awkward": awkward,
    "real": lambda: bundled(8),
    "lengths": lambda: [chain(n, n) for n in (5, 200, 7, 90, 91, 33, 1, 2)],
    "same place": lambda: [chain(20), on_one_place(), chain(1)],
}


@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize("gaps", ["index", "number"])
def test_equals_plain_code(name, gaps):
    """Edges, their order and features are bit for bit those of the plain code, whole and cropped."""
    packed = ResidueProtein.pack(BATCHES[name]())
    generator = torch.Generator().manual_seed(0)
    some = torch.rand(int(packed.num_residue), generator=generator) < 0.4
    for keep in (None, some, torch.zeros_like(some)):
        edge_list, feature = plain_edges.paper_graph(packed, gaps, keep)
        if keep is not None:
            number = keep.cumsum(0) - 1
            edge_list = torch.cat([number[edge_list[:, :2]], edge_list[:, 2:]], dim=-1)
        graph = construction(gaps=gaps)(packed, keep=keep)
        assert torch.equal(graph.edge_list, edge_list)
        assert torch.equal(graph.edge_feature, feature)
        assert graph.num_edges.sum() == len(edge_list)


RULES = [(30.0, 0, None, 32), (30.0, 3, None, 5), (4.0, 0, 20, 32), (0.0, 0, None, 32), (10.0, 5, None, 32)]
NEAREST = [(3, 0, None), (50, 5, None), (10, 5, 20), (0, 0, None)]


@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize("limit, padding", [(1 << 17, 1 << 14), (300, 0), (1 << 22, 1 << 22)])
def test_every_rule_equals_plain_code(name, limit, padding, monkeypatch):
    """
    Caps that bite, no cap, k above the length: alone and together, in blocks of any size, which are a matter of speed
    and memory only.
    """
    packed = ResidueProtein.pack(BATCHES[name]())
    monkeypatch.setitem(neighbours.BLOCK_ELEMENTS, "cpu", limit)
    monkeypatch.setitem(neighbours.PADDING_ELEMENTS, "cpu", padding)
    monkeypatch.setitem(neighbours.PENDING_PAIRS, "cpu", limit * 5)
    keep = torch.rand(int(packed.num_residue), generator=torch.Generator().manual_seed(0)) < 0.7
    expected = [plain_edges.radius_edges(packed, *rule, keep=keep) for rule in RULES]
    expected += [plain_edges.knn_edges(packed, *rule, keep=keep) for rule in NEAREST]
    alone = [edges.radius_edges(packed, *rule, keep=keep) for rule in RULES]
    alone += [edges.knn_edges(packed, *rule, keep=keep) for rule in NEAREST]
    rules = [edges.Ball(radius, cap, low, high) for radius, low, high, cap in RULES]
    rules += [edges.Nearest(*rule) for rule in NEAREST]
    together = [edges.sort_by_protein(packed, [part])[0][:, :2]
                for part in edges.spatial_parts(packed, rules, keep=keep)]
    for a, b, c in zip(expected, alone, together):
        assert torch.equal(a, b) and torch.equal(a, c)
    for gaps in ("index", "number"):
        positions = None if gaps == "index" else edges.sequence_positions(packed, gaps)
        for a, b in zip(plain_edges.sequential_edges(packed, 3, positions, keep),
                        edges.sequential_edges(packed, 3, positions, keep)):
            assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", [torch.float, torch.double])
def test_short_cuts_on_cpu(dtype):
    """What numpy does on CPU is what torch does elsewhere, with values that are equal, infinite or no numbers."""
    table = torch.randint(0, 9, (50, 30), generator=torch.Generator().manual_seed(0)).to(dtype)
    table[table == 8] = float("inf")
    for k in (1, 5, 30):
        values, place = neighbours._smallest(table, k)
        expected = table.sort(dim=1, stable=True)
        assert torch.equal(values, expected.values[:, :k]) and torch.equal(place, expected.indices[:, :k])
    key = torch.randperm(1500, generator=torch.Generator().manual_seed(0)).view(50, 30)
    assert torch.equal(neighbours._smallest_on_cpu(key, 7), key.topk(7, dim=1, largest=False).values)
    table[table == 7] = float("nan")
    for bound in (3.0, torch.arange(50).to(dtype)[:, None] / 5):
        flat, row = neighbours._smaller_on_cpu(table, bound)
        expected = (table < bound).nonzero()
        assert torch.equal(row, expected[:, 0]) and torch.equal(flat - row * 30, expected[:, 1])


class Counted(TorchDispatchMode):
    """Counts the calls of operators, and those that read a number from the device."""

    def __init__(self):
        super().__init__()
        self.calls = self.reads = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls += 1
        self.reads += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("crop", [False, True])
def test_many_proteins_cost_no_more_calls(crop):
    """A batch is built at once: twenty times as many proteins take not even twice the calls, and no more reads."""
    counts = []
    for number in (5, 100):
        packed = ResidueProtein.pack([chain(20 + i % 5, i) for i in range(number)])
        keep = torch.arange(int(packed.num_residue)) % 3 > 0 if crop else None
        with Counted() as counted:
            construction()(packed, keep=keep)
        counts.append(counted)
    few, many = counts
    assert many.calls < 2 * few.calls and many.reads == few.reads < 20, (few.calls, many.calls, few.reads, many.reads)


def test_a_long_protein_needs_a_block():
    """No tensor of distances is larger than a block, whatever the length, and none of proteins that share one."""
    sizes = []

    class Seen(neighbours._Blocks):
        def __iter__(self):
            for block in super().__iter__():
                sizes.append(block.squared.numel())
                yield block

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "_Blocks", Seen)
        for lengths in ([3000], [10] * 300, [60] * 150, [900, 40, 30]):
            sizes.clear()
            construction()(ResidueProtein.pack([chain(n, n) for n in lengths]))
            assert 0 < max(sizes) <= neighbours.BLOCK_ELEMENTS["cpu"]
            assert sum(sizes) < 1.5 * sum(n * n for n in lengths)
            assert len(sizes) < 80


@pytest.mark.parametrize("keep", ["subsequence", "subspace", "random", "none"])
def test_crop_first_equals_crop_last(keep):
    """Building only what is kept gives the graph of building all and keeping it."""
    packed = ResidueProtein.pack(awkward() + [chain(200, seed=9)])
    torch.manual_seed(0)
    n = int(packed.num_residue)
    mask = {"subsequence": lambda: crops.subsequence_mask(packed, 50, GlobalDraws()),
            "subspace": lambda: crops.subspace_mask(packed, 12.0, 15, GlobalDraws()),
            "random": lambda: torch.rand(n) < 0.5,
            "none": lambda: torch.zeros(n, dtype=torch.bool)}[keep]()
    first = construction()(packed, keep=mask)
    last = construction()(packed).subresidue(mask)
    for name in ["edge_list", "edge_feature", "num_edges", "num_residues", "residue_type", "node_position", "_offsets"]:
        assert torch.equal(getattr(first, name), getattr(last, name)), name


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


class OwnFeature(ResidueGraphConstruction, core.Configurable):
    """A subclass that adds to the features of the host."""

    def edge_gearnet(self, graph, edge_list, num_relation):
        feature = super().edge_gearnet(graph, edge_list, num_relation)
        return torch.cat([feature, feature[:, -1:] ** 2], dim=-1)


class LongerSequence(ResidueGraphConstruction, core.Configurable):
    """A subclass with another table of sequence distances."""

    max_seq_dist = 30


def test_features_of_subclasses():
    """A subclass that builds upon our features gets tensors; the table of sequence distances may be longer."""
    packed = ResidueProtein.pack([chain(40, 1), chain(9, 2)])
    usual = construction()(packed)
    own = OwnFeature(edge_layers=edge_layers(), edge_feature="gearnet")(packed)
    assert own.edge_codes is None and torch.equal(own.edge_feature[:, :59], usual.edge_feature)
    longer = LongerSequence(edge_layers=edge_layers(), edge_feature="gearnet")(packed)
    assert longer.edge_codes is None and longer.edge_feature.shape[1] == 79
    source, target, _ = longer.edge_list.t()
    assert torch.equal(longer.edge_feature[:, 47:78].argmax(dim=-1), (source - target).abs().clamp(max=30))


def test_gradients_of_positions_reach_the_features():
    """The distance in the edge features has a gradient, as in TorchDrug."""
    protein = chain(30)
    protein._setattr("node_position", protein.node_position.clone().requires_grad_())
    graph = construction()(ResidueProtein.pack([protein]))
    graph.edge_feature[:, -1].sum().backward()
    assert protein.node_position.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", ["ours", "stock"])
def test_limits(kind):
    """A batch beyond the limits is refused with its size, its largest protein and what to lower."""
    packed = ResidueProtein.pack([chain(30, 1), chain(70, 2), chain(20, 3)])
    graph = packed if kind == "ours" else as_stock(packed)
    with stock_in_our_order():
        built = construction(max_residues=120, max_edges=5000)(graph)
        with pytest.raises(ValueError, match=r"the batch has 120 residues, more than max_residues=119; the largest of "
                                             r"its 3 proteins, number 1 from 0, has 70. Lower batch_size, or .*"
                                             r"max_length of the transform `TruncateProtein` or by a crop"):
            construction(max_residues=119)(graph)
        with pytest.raises(ValueError, match=r"max_residues=69; .* batch_size \(for this protein it is not enough\)"):
            construction(max_residues=69)(graph)
        most = int(built.num_edge)
        assert construction(max_edges=most)(graph).num_edge == most
        with pytest.raises(ValueError, match="the batch has %d edges, more than max_edges=%d; .* number 1 from 0, has "
                                             "%d." % (most, most - 1, built.num_edges[1])):
            construction(max_edges=most - 1)(graph)
        # what counts is what is kept
        assert construction(max_residues=60)(graph, keep=torch.arange(120) % 2 == 0).num_residue == 60


def test_refused_before_the_work(monkeypatch):
    """Too many residues are refused before a distance is made."""
    def fail(*args):
        raise AssertionError("looked for edges")

    monkeypatch.setattr(edges, "search", fail)
    with pytest.raises(ValueError, match="max_residues=10"):
        construction(max_residues=10)(ResidueProtein.pack([chain(11)]))


@pytest.mark.parametrize("limits", [{"max_residues": 0}, {"max_edges": -1}, {"max_edges": 1.5}, {"max_residues": True}])
def test_wrong_limits(limits):
    """Limits are positive whole numbers."""
    with pytest.raises(ValueError, match="%s should be a positive whole number or None" % next(iter(limits))):
        construction(**limits)


def changed(protein, **values):
    """A protein with some attributes set."""
    protein = ResidueProtein.pack([protein])
    for name, value in values.items():
        protein._setattr(name, value)
    return protein


def test_wrong_input():
    """Wrong input is refused with the step that is wrong."""
    with pytest.raises(ValueError, match=r"Pack it first: `graph = graph.pack\(\[graph\]\)`"):
        construction()(chain(5))
    with pytest.raises(ValueError, match="a batch needs at least one protein, but found none"):
        ResidueProtein.pack([])
    with pytest.raises(ValueError, match="takes a batch of proteins, but the batch is empty"):
        construction()(ResidueProtein.pack([chain(5)]).subbatch([]))
    with pytest.raises(ValueError, match="Unknown edge feature `gearnett`. Known are `gearnet`, `residue_type`"):
        construction("gearnett")
    with pytest.raises(ValueError, match="gaps should be `index` or `number`, but found `chain`"):
        construction(gaps="chain")
    with pytest.raises(ValueError, match="needs residue proteins"):
        construction(gaps="number")(as_stock(ResidueProtein.pack([chain(5)])))
    with pytest.raises(ValueError, match="found view `atom`.*Give the transform `ProteinView` the view `residue`"):
        construction()(changed(chain(5), view="atom"))
    with pytest.raises(ValueError, match=r"residue_type should be in 0\.\.19, but found 3\.\.20"):
        construction()(changed(chain(2), residue_type=torch.tensor([3, 20])))
    with pytest.raises(ValueError, match="one node a residue, but found 3 nodes and 5 residues.*`subresidue`"):
        construction()(ResidueProtein.pack([chain(5)]).subgraph([0, 2, 3]))


def test_wrong_positions():
    """Coordinates that are missing or not finite are refused, on the way of the contrast task too."""
    bad = chain(5)
    bad.node_position[3, 1] = float("nan")
    packed = ResidueProtein.pack([bad])
    for build in (construction(), construction().apply_edge_layer):
        with pytest.raises(ValueError, match="1 of 5 nodes are not, the first being node 3"):
            build(packed)
    sequence = data.Protein.from_sequence("GAS", atom_feature=None, bond_feature=None)
    with pytest.raises(ValueError, match="Proteins made from a sequence have none"):
        construction()(data.Protein.pack([sequence]))


def test_layers_that_do_not_fit():
    """Edge layers that need bonds and node layers that make none are refused by name; others act as in TorchDrug."""
    packed = ResidueProtein.pack([chain(60, 1), chain(12, 2)])
    with pytest.raises(ValueError, match="edge layer `BondEdge` found no edges.*`SequentialEdge`, `SpatialEdge` and"):
        ResidueGraphConstruction(edge_layers=[geometry.BondEdge()], edge_feature=None)(packed)
    with pytest.raises(ValueError, match="a node layer should return a batch of graphs, but `SequentialEdge` returned "
                                         "`tuple`. What makes edges belongs in edge_layers"):
        ResidueGraphConstruction([geometry.SequentialEdge()], edge_layers())(packed)
    torch.manual_seed(0)
    ours = ResidueGraphConstruction([geometry.SubsequenceNode(20)], edge_layers(), "gearnet")(packed)
    torch.manual_seed(0)
    with stock_in_our_order():
        stock = layers.GraphConstruction([geometry.SubsequenceNode(20)], edge_layers(), "gearnet")(as_stock(packed))
    assert ours.num_residues.tolist() == [20, 12] and torch.equal(ours.edge_feature, stock.edge_feature)
    # edges that are there already stay edges
    again = ResidueGraphConstruction(edge_layers=[geometry.BondEdge()], edge_feature=None)(ours)
    assert torch.equal(again.edge_list, ours.edge_list)


def test_moved_helper_moves():
    """The law helper does turn the coordinates."""
    protein = chain(5)
    turned = moved(protein, torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.double)))
    assert torch.equal(turned.node_position[:, 0], -protein.node_position[:, 0])
