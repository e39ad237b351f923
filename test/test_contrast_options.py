"""Multiview contrast beyond TorchDrug's: views of a protein's own, functions drawn per protein, both directions."""

import logging
import math

import pytest
import torch
from torch import nn

from gearnet_plugin.engine import RunOptions, run
from gearnet_plugin.engine.config import override, parse, render
from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.graphs.draws import GlobalDraws
from gearnet_plugin.layers import ResidueGraphConstruction
from gearnet_plugin.models import GearNetEncoder
from gearnet_plugin.tasks import MultiviewContrastive
from proteins import as_stock, awkward, bundled, chain, construction, double_precision, stock_construction
from tiny_run import CONFIG
from torchdrug import data
from torchdrug.layers import geometry

NAME = "multiview mutual information"


def task(crops=None, noises=None, construct=construction, **kwargs):
    """Our task on a small GearNet-Edge."""
    torch.manual_seed(0)
    encoder = GearNetEncoder(
        21, [16] * 2, 7, edge_input_dim=59, num_angle_bin=8, short_cut=True, batch_norm=True, concat_hidden=True
    )
    crops = crops or [geometry.SubsequenceNode(20), geometry.SubspaceNode("residue", 8.0, 8), geometry.IdentityNode()]
    noises = noises or [geometry.IdentityNode(), geometry.RandomEdgeMask(0.15)]
    model = kwargs.pop("model", encoder)
    return MultiviewContrastive(model, crops, noises, graph_construction_model=construct(), **kwargs)


def view_of(ours, graph, number=1):
    """The view of each protein, as plain tensors."""
    ours.begin_draws()
    view = ours.draw_view(graph, number)
    start = (view.num_cum_nodes - view.num_nodes)[view.edge2graph]
    edge = torch.cat([view.edge_list[:, :2] - start[:, None], view.edge_list[:, 2:]], dim=1)
    return list(
        zip(
            view.node_position.split(view.num_residues.tolist()),
            edge.split(view.num_edges.tolist()),
            view.edge_feature.split(view.num_edges.tolist()),
        )
    )


def same(first, second):
    return all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(first, second))


# === views by structure ===


@pytest.mark.parametrize("draw", ["batch", "protein"])
def test_views_are_a_proteins_own(draw):
    """
    Bit for bit the same view of a protein alone, among others, in another order, whatever the global seeds; another
    view number, epoch or seed gives another. Of functions drawn for a batch there is one here.
    """
    chosen = (
        {}
        if draw == "protein"
        else {"crops": [geometry.SubsequenceNode(20)], "noises": [geometry.RandomEdgeMask(0.15)]}
    )
    ours, proteins = task(draw=draw, seed=3, **chosen), awkward() + [chain(90, 11)]
    graph = ResidueProtein.pack(proteins)
    ours.set_epoch(2)
    torch.manual_seed(0)
    together = view_of(ours, graph)
    torch.manual_seed(1)
    assert all(map(same, together, view_of(ours, ResidueProtein.pack(proteins[::-1]))[::-1]))
    for protein, view in zip(proteins, together):
        assert same(view_of(ours, ResidueProtein.pack([protein]))[0], view)
    # those that are long enough to differ
    large = [i for i, protein in enumerate(proteins) if int(protein.num_residue) >= 60]
    others = [view_of(ours, graph, number=2)]
    ours.set_epoch(3)
    others.append(view_of(ours, graph))
    others.append(view_of(task(draw=draw, seed=4, **chosen), graph))
    for other in others:
        assert not any(same(other[i], together[i]) for i in large)


def test_other_classes_and_constructions_get_the_same_views():
    """TorchDrug's proteins and graph construction, and none at all, give the same residues by structure."""
    graph = ResidueProtein.pack(awkward())
    for draw in ("batch", "protein"):
        expected = view_of(task(draw=draw), graph)
        built = construction()(graph)
        for ours, input in [
            (task(draw=draw), as_stock(graph)),
            (task(draw=draw, construct=stock_construction), graph),
            (task(draw=draw, construct=lambda: None), built),
        ]:
            found = view_of(ours, input)
            assert [len(view[0]) for view in found] == [len(view[0]) for view in expected]
            assert all(torch.equal(a[0], b[0]) for a, b in zip(found, expected))


def test_each_protein_its_own_functions_in_one_construction(monkeypatch):
    """All functions occur in one batch, with one construction and one call of the encoder a view."""
    ours, graph = task(draw="protein"), ResidueProtein.pack([chain(60, s) for s in range(24)])
    calls = []
    built, encoded = ResidueGraphConstruction.apply_edge_layer, GearNetEncoder.forward
    monkeypatch.setattr(
        ResidueGraphConstruction,
        "apply_edge_layer",
        lambda self, *a, **k: calls.append("build") or built(self, *a, **k),
    )
    monkeypatch.setattr(
        GearNetEncoder, "forward", lambda self, *a, **k: calls.append("encode") or encoded(self, *a, **k)
    )
    ours({"graph": graph})
    assert calls == ["build", "encode"] * 2
    full = construction()(graph)
    ours.draws.epoch = 0
    view = ours.draw_view(graph)
    lengths = view.num_residues.tolist()
    whole, sequence = lengths.count(60), lengths.count(20)
    assert 2 <= whole <= 14 and 2 <= sequence <= 14 and 2 <= 24 - whole - sequence
    untouched = (view.num_residues == 60) & (view.num_edges == full.num_edges)
    masked = (view.num_residues == 60) & (view.num_edges < full.num_edges)
    assert untouched.any() and masked.any()


def test_draws_per_protein_from_the_global_generators():
    """draw=`protein` takes global draws too, and repeats under torch's seed."""
    ours, graph = task(draw="protein", draws="global"), ResidueProtein.pack([chain(60, s) for s in range(8)])
    assert isinstance(ours.draws, GlobalDraws)
    views = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        views.append(view_of(ours, graph))
    assert all(map(same, views[0], views[1])) and not all(map(same, views[0], views[2]))


def test_evaluation_repeats_and_training_does_not():
    """In eval mode the same numbers every time; in training every pass has other views."""
    ours, batch = task(), {"graph": ResidueProtein.pack([chain(60, s) for s in range(4)])}
    ours.eval()
    first, second = (ours.predict_and_target(batch)[0] for _ in range(2))
    assert torch.equal(first, second)
    ours.train()
    assert float(ours(batch)[0]) != float(ours(batch)[0])


@pytest.mark.parametrize("own", [None, 8])
def test_a_run_tells_seed_and_epoch(own, tmp_path, monkeypatch):
    """``script/run.py`` draws by the configuration's seed, or the task's own, and by its epochs, from 0."""
    config = parse(render(CONFIG, {"gpus": None}))
    config = override(config, ["seed=5", "metric=multiview", "eval_interval=1"])
    config["task"] = {
        "class": "MultiviewContrastive",
        "model": config["task"]["model"],
        "seed": own,
        "crop_funcs": [{"class": "SubsequenceNode", "max_length": 8}],
        "noise_funcs": [{"class": "IdentityNode"}],
        "graph_construction_model": config["task"]["graph_construction_model"],
    }
    seen = []
    begin = MultiviewContrastive.begin_draws

    def watched(self):
        draws = begin(self)
        seen.append((draws.seed, draws.epoch, self.training))
        return draws

    monkeypatch.setattr(MultiviewContrastive, "begin_draws", watched)
    run(config, RunOptions(out=str(tmp_path / "out")))
    seed = 5 if own is None else own
    assert [each for each in seen if each[2]] == [(seed, 0, True)] * 2 + [(seed, 1, True)] * 2
    assert {each for each in seen if not each[2]} == {(seed, -1, False)}


# === the loss ===


def by_definition(first, second, tau, directions):
    """Loss, accuracy and chance by loops over views."""

    def cosine(a, b):
        return float(a @ b / (a.norm() * b.norm()))

    count = len(first)
    queries = first if directions == 1 else torch.cat([first, second])
    losses, hits = [], []
    for i, query in enumerate(queries):
        if directions == 1:
            scores = {j: cosine(query, second[j]) / tau for j in range(count)}
            partner = i
        else:
            scores = {j: cosine(query, queries[j]) / tau for j in range(2 * count) if j != i}
            partner = (i + count) % (2 * count)
        losses.append(math.log(sum(math.exp(score) for score in scores.values())) - scores[partner])
        hits.append(max(scores, key=scores.get) == partner)
    return sum(losses) / len(losses), sum(hits) / len(hits), 1 / len(scores)


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("tau", [0.07, 0.5])
def test_loss_is_the_definition(directions, tau):
    """Loss, accuracy and chance are those of loops over views and candidates."""
    ours, graph = task(directions=directions, tau=tau), ResidueProtein.pack([chain(40, s) for s in range(7)])
    ours.set_epoch(0)
    with double_precision():
        ours.double()
        loss, metric = ours({"graph": graph})
        heads = []
        for number in (1, 2):
            view = ours.draw_view(graph, number)
            heads.append(ours.model.mlp(ours.encoder(view, view.node_feature.float())["graph_feature"]).detach())
        expected = by_definition(*heads, tau, directions)
    found = [loss.item(), metric["retrieval accuracy"].item(), metric["chance accuracy"].item()]
    assert found == pytest.approx(expected, rel=1e-10)
    assert metric[NAME].item() == pytest.approx(-loss.item())


@pytest.mark.parametrize("directions", [1, 2])
def test_gradient_against_finite_differences(directions):
    """In float64 the loss moves along the gradient of the parameters as finite differences say."""
    with double_precision():
        ours = task(directions=directions, draw="protein").double()
        ours.set_epoch(1)
        batch = {"graph": ResidueProtein.pack([chain(9 + s, s) for s in range(4)])}
        loss, _ = ours(batch)
        loss.backward()
        generator = torch.Generator().manual_seed(0)
        parameters = [p for p in ours.parameters() if p.grad is not None]
        norm = torch.cat([p.grad.flatten() for p in parameters]).norm()
        for _ in range(3):
            # of length one beside the gradient's own, which keeps the slope well above rounding
            direction = [torch.randn(p.shape, generator=generator, dtype=torch.double) for p in parameters]
            length = torch.cat([d.flatten() for d in direction]).norm()
            direction = [d / length + p.grad / norm for d, p in zip(direction, parameters)]
            slope = sum(float((p.grad * d).sum()) for p, d in zip(parameters, direction))
            values, step = [], 1e-6
            with torch.no_grad():
                for sign in (1, -2):
                    for p, d in zip(parameters, direction):
                        p += sign * step * d
                    values.append(float(ours(batch)[0]))
                for p, d in zip(parameters, direction):
                    p += step * d
            assert (values[0] - values[1]) / (2 * step) == pytest.approx(slope, rel=1e-6)


def test_a_batch_of_one_is_said_once(caplog):
    """A protein alone has nothing to be told from: loss 0, said once in training and never in evaluation."""
    batch = {"graph": ResidueProtein.pack([chain(40)])}
    for directions in (1, 2):
        ours = task(directions=directions).eval()
        with caplog.at_level(logging.WARNING, "gearnet_plugin"):
            ours.predict_and_target(batch)
            assert not caplog.records
            ours.train()
            assert [float(ours(batch)[0].detach()) for _ in range(2)] == [0, 0]
        assert [record.getMessage() for record in caplog.records] == [
            "a batch of one protein has no negatives: its contrast loss is 0 and teaches nothing. Raise "
            "`batch_size`, or on several processes set `gather_negatives: true`"
        ]
        caplog.clear()


def test_better_options_learn_on_real_structures():
    """In 30 steps on bundled structures all improved options together find the other view far above chance."""
    ours = task(
        [geometry.SubsequenceNode(50), geometry.SubspaceNode("residue", 15.0, 15)],
        draw="protein",
        directions=2,
        gather_negatives=True,
    )
    optimizer = torch.optim.Adam(ours.parameters(), lr=2e-3)
    batch = data.graph_collate([{"graph": p} for p in bundled(16, longest=150)])
    values = []
    for _ in range(30):
        loss, metric = ours(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append([float(v.detach()) for v in (loss, metric["retrieval accuracy"], metric["chance accuracy"])])
    early, late = torch.tensor(values[:8]).mean(0), torch.tensor(values[-8:]).mean(0)
    assert late[2] == pytest.approx(1 / 31)
    assert late[0] < early[0] - 0.5, "the loss should fall from %.2f, got %.2f" % (early[0], late[0])
    assert late[1] > 5 / 31, "retrieval accuracy %.2f" % late[1]


# === wrong input ===


def test_wrong_arguments():
    """What cannot be drawn or compared is refused by name."""

    class Half(nn.Module):
        pass

    for arguments, message in [
        (dict(draw="graph"), "draw should be `batch` or `protein`, but found `graph`"),
        (dict(directions=3), "directions should be 1 or 2, but found 3"),
        (dict(draws="seeded"), "draws should be `structure` or `global`, but found `seeded`"),
        (dict(draw="protein", crops=[Half()]), "draw=`protein` takes `IdentityNode`, `SubsequenceNode`.*found `Half`"),
        (dict(draw="protein", noises=[Half()]), "`RandomEdgeMask` in noise_funcs.*found `Half`"),
        (dict(draw="protein", crops=[geometry.SubspaceNode("node")]), "found `SubspaceNode` on nodes"),
        (dict(crops=[geometry.SubsequenceNode(0)]), "max_length of `SubsequenceNode` should be at least 1"),
        (dict(crops=[geometry.SubspaceNode("residue", 5.0, 0)]), "min_neighbor of `SubspaceNode` should be at least 1"),
        (dict(crops=[geometry.SubspaceNode("residue", 0, 5)]), "min_radius of `SubspaceNode` should be positive"),
        (dict(noises=[geometry.RandomEdgeMask(1.5)]), "mask_rate of `RandomEdgeMask` should be in 0..1, but found 1.5"),
        (dict(crops=["SubsequenceNode"]), "crop_funcs should be a list of functions, .*found 'SubsequenceNode' in it"),
        (dict(crops=geometry.SubsequenceNode(9)), "crop_funcs should be a list .*, but found a single `Subs"),
        (dict(tau=float("nan")), "tau should be a positive number, but found nan"),
        (dict(tau="0.07"), "tau should be a positive number, but found '0.07'"),
        (dict(num_mlp_layer=0), "num_mlp_layer should be a whole number of at least 1, but found 0"),
        (dict(gather_negatives="false"), "gather_negatives should be true or false, but found 'false'"),
        (dict(seed="7"), "seed should be a whole number, or None .*found '7'"),
        (dict(model=Half()), "model should have an `output_dim`.* but `Half` has none"),
    ]:
        with pytest.raises(ValueError, match=message):
            task(**arguments)


def test_views_of_a_single_row_end_no_run(caplog):
    """A batch that is one residue, or one edge, teaches nothing but goes on; its loss reaches every parameter."""
    single = {"graph": ResidueProtein.pack([chain(1)])}
    ours = task(crops=[geometry.SubsequenceNode(20)], noises=[geometry.IdentityNode()])
    ours.train()
    loss, metric = ours(single)
    ours(single)
    loss.backward()
    assert loss == 0 and metric["retrieval accuracy"] == 0
    assert all((p.grad == 0).all() for p in ours.parameters())
    assert len([r for r in caplog.records if "single residue or edge" in r.message]) == 1
    assert set(metric) == set(ours({"graph": ResidueProtein.pack([chain(30), chain(31, 1)])})[1])
    assert torch.isfinite(ours.eval()(single)[0])


def test_atom_graphs_are_refused_for_draws_per_protein():
    """A graph of several nodes a residue is named, and what makes it one of residues."""
    graph = data.Protein.pack([data.Protein.from_sequence("ACDEFGHIKL", atom_feature=None, bond_feature=None)])
    ours = task(draw="protein", construct=lambda: None)
    with pytest.raises(ValueError, match="needs proteins of one node a residue.*AlphaCarbonNode"):
        ours.draw_view(graph)


@pytest.mark.parametrize("draw", ["batch", "protein"])
def test_positions_that_are_no_numbers_are_named(draw):
    """NaN coordinates are an error that names the residue, whatever crop is drawn."""
    graph = ResidueProtein.pack([chain(30, s) for s in range(3)])
    graph.node_position[41, 1] = float("nan")
    for crop in (geometry.SubsequenceNode(20), geometry.SubspaceNode("residue", 8.0, 8)):
        with pytest.raises(ValueError, match="node_position should be finite.*the first being node 41"):
            task([crop], draw=draw)({"graph": graph})
