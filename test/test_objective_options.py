"""Options of the self-prediction objectives, and what masking leaves to see."""

import logging

import pytest
import torch

from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.graphs.draws import StructureDraws
from gearnet_plugin.tasks.picking import pick
from objectives import ALL, EDGES, batch, stock_task, task, unknown, usable
from proteins import as_stock, bundled, chain, construction

# === options ===


def distances_to_read(remove):
    """
    Of the hidden distances, the part that one rule reads off what the encoder sees: the last edge feature of any edge
    between the two residues.
    """
    ours = task("distance", remove=remove, self_loops=False)
    graph = ours.build(ResidueProtein.pack(bundled(3, longest=150)))
    pool = ours.pool(graph)
    hidden = ours.hide(graph, pool, pick(StructureDraws(), graph, pool.sizes, 256, ours.stream))
    told = {
        tuple(sorted(pair)): float(feature[-1])
        for pair, feature in zip(hidden.graph.edge_list[:, :2].tolist(), hidden.graph.edge_feature)
    }
    right = [
        abs(told.get(tuple(sorted(pair)), -1.0) - float(target)) < 1e-3
        for pair, target in zip(hidden.nodes.tolist(), hidden.target)
    ]
    return sum(right) / len(right)


def test_the_leak_and_its_end():
    """What TorchDrug hides stands in the graph once more, four times of five; ``remove=pair`` ends it."""
    assert distances_to_read("sampled") > 0.8
    assert distances_to_read("pair") == 0


@pytest.mark.parametrize("name", EDGES)
def test_a_removed_pair_has_no_edge(name):
    """No edge is left between consecutive residues of a walk, and no other edge is gone."""
    ours = task(name, remove="pair", num_sample=20)
    graph = ours.build(batch(*usable())["graph"])
    pool = ours.pool(graph)
    index = pick(StructureDraws(), graph, pool.sizes, 20, ours.stream)
    ours.columns = range(ours.length + 1)
    hidden = ours.hide(graph, pool, index)
    gone = {frozenset(pair) for walk in hidden.nodes.tolist() for pair in zip(walk, walk[1:])}
    expected = [edge for edge in graph.edge_list.tolist() if frozenset(edge[:2]) not in gone]
    assert hidden.graph.edge_list.tolist() == expected
    ours.remove = "sampled"
    assert int(ours.hide(graph, pool, index).graph.num_edge) > len(expected)


def test_self_loops_as_targets():
    """TorchDrug's default asks for distances of residues to themselves, one of ten or twenty; the option does not."""
    _, target = task("distance").predict_and_target(batch(*bundled(2, longest=100)))
    assert 0.02 < (target == 0).float().mean() < 0.15
    _, target = task("distance", self_loops=False).predict_and_target(batch(*bundled(2, longest=100)))
    assert (target > 0).all()


class Repeating:
    """Draws that come five times each."""

    def uniform(self, graph, stream, counts):
        return torch.arange(int(counts.sum())).div(5, rounding_mode="floor") / 1000


def test_without_replacement():
    """No item comes twice, few items come all, large pools are drawn from evenly, mates make no difference."""
    proteins = [chain(5, 1), chain(40, 2), chain(40, 3), chain(6, 4)]
    graph = ResidueProtein.pack(proteins)
    sizes = torch.tensor([3, 5000, 0, 20])
    items = pick(StructureDraws(7), graph, sizes, 10, "test", replacement=False)
    owner = torch.searchsorted(sizes.cumsum(0), items, right=True)
    assert len(items.unique()) == len(items) and owner.bincount(minlength=4).tolist() == [3, 10, 0, 10]
    alone = pick(StructureDraws(7), ResidueProtein.pack(proteins[1:2]), sizes[1:2], 10, "test", replacement=False)
    assert torch.equal(items[owner == 1] - 3, alone)
    # a pool just large enough to be drawn from with repeats left out
    count = torch.zeros(41)
    for seed in range(600):
        count[pick(StructureDraws(seed), graph[:1], torch.tensor([41]), 10, "test", replacement=False)] += 1
    assert abs(count / 600 - 10 / 41).max() < 0.08
    assert len(pick(Repeating(), graph[:1], torch.tensor([1000]), 10, "test", replacement=False)) == 10
    assert len(pick(StructureDraws(7), graph, sizes * 0, 10, "test", replacement=False)) == 0


@pytest.mark.parametrize("name", ALL)
def test_replacement_option(name):
    """Without, a protein gives each of its items at most once."""
    short = batch(chain(4, 3))
    option = {"mask_rate": 1.0} if name == "residue" else {"num_sample": 10000}
    ours = task(name, replacement=False, **option)
    size = int(ours.pool(ours.build(short["graph"])).sizes)
    pred, target = ours.predict_and_target(short)
    assert len(pred) == len(target) == size
    again = task(name, **option).predict_and_target(short)[0]
    assert len(again) == (4 if name == "residue" else 10000)


def test_order_of_the_four_residues():
    """``path`` concatenates i, j, t, k, where TorchDrug has i, j, k, t: the last two columns of the head change."""
    stock, path = task("dihedral", num_mlp_layer=1).eval(), task("dihedral", num_mlp_layer=1, order="path").eval()
    path.load_state_dict(stock.state_dict())
    weight = path.mlp.layers[0].weight
    i, j, k, t = weight.data.chunk(4, dim=1)
    weight.data = torch.cat([i, j, t, k], dim=1)
    graph = batch(chain(30, 1))
    assert torch.allclose(stock.predict_and_target(graph)[0], path.predict_and_target(graph)[0], atol=1e-5)


def test_bins_of_another_kind_are_not_loaded():
    """Weights of unsigned dihedrals do not become those of signed ones in silence."""
    with pytest.raises(RuntimeError, match="angle bins of these weights start at 0.000, those of the task at -3.142"):
        task("dihedral", signed=True).load_state_dict(task("dihedral").state_dict())


# === masking ===


def test_the_proteins_of_the_batch_stay_as_they_are():
    """TorchDrug masks them in place where no node layer makes a copy, so that a second pass sees masked proteins."""
    packed = ResidueProtein.pack([chain(40, 1)])
    stock_graph = as_stock(packed)
    task("residue").predict_and_target({"graph": packed})
    stock = stock_task("residue")
    stock.graph_construction_model.node_layers = torch.nn.ModuleList()
    task("residue", stock.model, graph_construction_model=stock.graph_construction_model).predict_and_target(
        {"graph": stock_graph}
    )
    for graph in (packed, stock_graph):
        assert torch.equal(graph.residue_type, chain(40, 1).residue_type)
        assert (graph.residue_feature.sum(dim=-1) == 1).all()
    stock.predict_and_target({"graph": stock_graph})
    assert (stock_graph.residue_feature.sum(dim=-1) == 0).any()


@pytest.mark.parametrize("mask", ["glycine", "token"])
def test_what_the_encoder_sees_of_a_masked_residue(mask):
    """No node feature; in edge features glycine or nothing; everything else as before."""
    ours = task("residue", mask=mask, replacement=False)
    packed = ResidueProtein.pack([chain(40, 1), chain(20, 2)])
    whole = construction()(packed)
    pool = ours.pool(packed)
    hidden = ours.hide(packed, pool, torch.tensor([3, 50]))
    masked = torch.zeros(60, dtype=torch.bool)
    masked[[3, 50]] = True
    assert torch.equal(hidden.target, packed.residue_type[[3, 50]])
    assert (hidden.input[masked] == 0).all() and torch.equal(hidden.input[~masked], packed.residue_feature[~masked])
    source, target = hidden.graph.edge_list[:, :2].t()
    assert torch.equal(hidden.graph.edge_list, whole.edge_list)
    for end, columns in ((source, slice(0, 20)), (target, slice(20, 40))):
        feature = hidden.graph.edge_feature[:, columns]
        assert torch.equal(feature[~masked[end]], whole.edge_feature[:, columns][~masked[end]])
        there = feature[masked[end]]
        assert (there[:, 1:] == 0).all() and (there[:, 0] == (1 if mask == "glycine" else 0)).all()
    assert torch.equal(hidden.graph.edge_feature[:, 40:], whole.edge_feature[:, 40:])


def test_the_encoder_hears_no_type_of_a_masked_residue():
    """Which type was masked makes no difference to its output, neither by nodes nor by edges; glycine does."""
    outputs = []
    for types in (4, 9):
        protein = chain(30, 1)
        protein.residue_type[3] = types
        for mask in ("token", "glycine"):
            ours = task("residue", mask=mask).eval()
            graph = ResidueProtein.pack([protein])
            hidden = ours.hide(graph, ours.pool(graph), torch.tensor([3]))
            outputs.append(ours.model(hidden.graph, hidden.input)["node_feature"])
    assert torch.equal(outputs[0], outputs[2]) and torch.equal(outputs[1], outputs[3])
    assert not torch.allclose(outputs[0], outputs[1], rtol=1e-3)


def test_unknown_residues_are_no_targets():
    """TorchDrug asks for glycine where nothing is known. Here they are passed over, and a protein of such alone too."""
    half = unknown(20, slice(0, 10))
    ours = task("residue", mask_rate=1.0, replacement=False)
    metric = {}
    graph = batch(half, unknown(12, slice(None)), chain(7, 3))
    _, target = ours.predict_and_target(graph, None, metric)
    assert target.tolist() == half.residue_type[10:].tolist() + chain(7, 3).residue_type.tolist()
    assert metric["skipped proteins"] == 1


def test_atoms_are_refused():
    """Proteins of another view are named with what to do, before training."""
    packed = as_stock(ResidueProtein.pack([chain(5)]))
    packed.view = "atom"
    with pytest.raises(
        ValueError,
        match="view `residue`, but found a `PackedProtein` of view `atom`. Give the data "
        "set the transform `ProteinView`",
    ):
        task("residue").predict_and_target({"graph": packed})
    # TorchDrug's own unpacking forgets the view
    item = packed[0]
    with pytest.raises(ValueError, match="found a .* of view `atom`"):
        task("residue").preprocess([{"graph": item}], None, None)


def test_features_that_tell(caplog):
    """Without graph construction the edge features of the proteins may tell what is masked: said once."""
    ours = task("residue", graph_construction_model=None)
    graph = construction()(ResidueProtein.pack([chain(20)]))
    with caplog.at_level(logging.WARNING):
        ours({"graph": graph})
        ours({"graph": graph})
    assert [("bring edge features along" in r.message) for r in caplog.records].count(True) == 1


# === wrong arguments ===


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"remove": "all"}, "remove should be `sampled` or `pair`, but found `all`"),
        ({"num_sample": 0}, "num_sample should be a whole number of at least 1, but found 0"),
        ({"num_mlp_layer": 0}, "num_mlp_layer should be a whole number of at least 1, but found 0"),
        ({"num_sample": 2.5}, "num_sample should be a whole number of at least 1, but found 2.5"),
        ({"replacement": "false"}, "replacement should be true or false, but found 'false'"),
        ({"self_loops": None}, "self_loops should be true or false, but found None"),
        ({"signed": "false"}, "signed should be true or false, but found 'false'"),
        ({"seed": 1.5}, "seed should be a whole number, or None for that of the run, but found 1.5"),
        ({"num_class": 1}, "num_class should be a whole number of at least 2, but found 1"),
        ({"order": "ijkt"}, "order should be `stock` or `path`, but found `ijkt`"),
        ({"draws": "local"}, "draws should be `structure` or `global`, but found `local`"),
        ({"model": torch.nn.Linear(2, 2)}, "model should have an `output_dim`.* but `Linear` has none"),
    ],
)
def test_wrong_arguments_of_edges(arguments, message):
    own = {"order", "signed"}
    for name in EDGES:
        if ("num_class" in arguments and name == "distance") or (arguments.keys() & own and name != "dihedral"):
            continue
        with pytest.raises(ValueError, match=message):
            task(name, **arguments)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"mask_rate": 0}, "mask_rate should be above 0 and at most 1, but found 0"),
        ({"mask_rate": 1.5}, "mask_rate should be above 0 and at most 1, but found 1.5"),
        ({"mask_rate": "0.15"}, "mask_rate should be above 0 and at most 1, but found '0.15'"),
        ({"mask_rate": None}, "mask_rate should be above 0 and at most 1, but found None"),
        ({"mask": "zero"}, "mask should be `glycine` or `token`, but found `zero`"),
        ({"mask": "token", "graph_construction_model": None}, "mask=`token` needs a `graph_construction.*found none"),
        ({"num_mlp_layer": 0}, "num_mlp_layer should be a whole number of at least 1, but found 0"),
        ({"draws": "local"}, "draws should be `structure` or `global`, but found `local`"),
    ],
)
def test_wrong_arguments_of_masking(arguments, message):
    with pytest.raises(ValueError, match=message):
        task("residue", **arguments)


@pytest.mark.parametrize("name", ALL)
def test_max_length(name):
    """Longer proteins are truncated as if they had come so, each at its own place, the same in every batch."""
    long, short = chain(60, 1), chain(20, 2)
    ours = task(name, max_length=25).eval()
    seen = []

    def note(module, inputs):
        seen.append(inputs[0])

    ours.model.register_forward_pre_hook(note)
    pred, target = ours.predict_and_target({"graph": ResidueProtein.pack([long, short])})
    alone, alone_target = ours.predict_and_target({"graph": ResidueProtein.pack([long])})
    assert seen[0].num_residues.tolist() == [25, 20] and seen[1].num_residues.tolist() == [25]
    assert torch.equal(seen[0].node_position[:25], seen[1].node_position)
    assert torch.equal(target[: len(alone_target)], alone_target)
    assert torch.allclose(pred[: len(alone)], alone, atol=1e-5)
    with pytest.raises(ValueError, match="max_length should be"):
        task(name, max_length=0)
