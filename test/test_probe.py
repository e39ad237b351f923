"""freeze_encoder of tasks.ProteinPropertyPrediction: the encoder stays as it is, its embeddings are computed once."""

import copy
import logging
import math

import pytest
import torch

from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.models import GearNetEncoder, GearNetIEConvEncoder, SequenceStructureFusion
from gearnet_plugin.tasks import ProteinPropertyPrediction
from gearnet_plugin.tasks.probe import EmbeddingCache, batch_dependence, protein_keys
from proteins import as_stock, awkward, bundled, chain, construction
from torchdrug import core, data, layers, models, transforms
from torchdrug.layers import geometry

SIZES = dict(edge_input_dim=59, num_angle_bin=8, batch_norm=True)


def gearnet(**kwargs):
    return GearNetEncoder(21, [8, 8], 7, **{**SIZES, "concat_hidden": True, **kwargs})


def ieconv(frames):
    return GearNetIEConvEncoder(21, 8, [8], 7, edge_input_dim=59, use_ieconv=True, frames=frames)


def fusion():
    sequence = models.ProteinBERT(21, 8, 1, num_heads=2, max_position=512)
    return SequenceStructureFusion(sequence, GearNetEncoder(8, [8], 7, **SIZES))


ENCODERS = {"gearnet": gearnet, "ieconv": lambda: ieconv("chain"), "fusion": fusion}


class CountedConstruction(torch.nn.Module):
    """Our graph construction that counts its proteins."""

    def __init__(self):
        super().__init__()
        self.construct = construction()
        self.number = 0

    def forward(self, graph):
        self.number += graph.batch_size
        return self.construct(graph)


@pytest.fixture(scope="module")
def proteins():
    return [*bundled(4, longest=130), *awkward()]


def probe(encoder="gearnet", task=("a",), criterion="ce", **kwargs):
    torch.manual_seed(0)
    model = ENCODERS[encoder]() if isinstance(encoder, str) else encoder
    kwargs = {"graph_construction_model": CountedConstruction(), "num_class": 3, **kwargs}
    return ProteinPropertyPrediction(model, task, criterion, freeze_encoder=True, **kwargs)


def batch(proteins, order):
    return {"graph": ResidueProtein.pack([proteins[i] for i in order]), "a": torch.tensor([i % 3 for i in order])}


def live(task):
    """The same task whose embeddings are computed each time."""
    other = copy.deepcopy(task)
    other._embeddings.is_on = False
    return other


# === cached = live ===


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_cached_probe_learns_what_a_live_one_learns(encoder, proteins):
    """Over epochs, in batches of other proteins each time: losses and weights agree to rounding, which batches differ
    in; and every protein is constructed and encoded once."""
    cached = probe(encoder, num_mlp_layer=2)
    tasks = {"cached": cached, "live": live(cached)}
    losses = {}
    for name, task in tasks.items():
        optimizer = torch.optim.SGD(task.parameters(), lr=0.05)
        shuffled = torch.Generator().manual_seed(4)
        losses[name] = []
        task.train()
        for _ in range(3):
            for order in torch.randperm(len(proteins), generator=shuffled).split(4):
                loss, _ = task(batch(proteins, order.tolist()))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses[name].append(float(loss.detach()))
    assert losses["cached"] == pytest.approx(losses["live"], rel=1e-4, abs=1e-5)
    for one, two in zip(*(task.mlp.parameters() for task in tasks.values())):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
    # one protein was encoded once more, alone, to see that the batch does not matter
    assert cached.graph_construction_model.number == len(proteins) + 1
    assert tasks["live"].graph_construction_model.number == 3 * len(proteins)
    assert len(cached._embeddings) == len(proteins)


def test_in_the_same_batch_it_is_the_same_to_the_bit(proteins):
    """Going to CPU memory and back changes nothing."""
    cached = probe()
    first = cached.predict(batch(proteins, range(6)))
    assert torch.equal(first, cached.predict(batch(proteins, range(6))))
    assert torch.equal(first, live(cached).predict(batch(proteins, range(6))))


def test_only_missing_proteins_are_computed_and_order_is_kept(proteins):
    """A protein that is twice in a batch is computed once."""
    cached = probe()
    cached.predict(batch(proteins, [0, 1]))
    before = cached.graph_construction_model.number
    order = [3, 1, 0, 2, 3, 1]
    found = cached.predict(batch(proteins, order))
    assert cached.graph_construction_model.number == before + 2
    torch.testing.assert_close(found, live(cached).predict(batch(proteins, order)), rtol=1e-5, atol=1e-5)
    assert cached.predict(batch(proteins, [2, 3])).shape == (2, 3)


def test_random_crops_are_proteins_of_their_own(proteins):
    """With TruncateProtein drawing other crops each epoch no embedding of another crop is used."""
    truncate = transforms.TruncateProtein(30, random=True, keys="graph")
    cached = probe()
    for seed in range(3):
        torch.manual_seed(seed)
        crops = [truncate({"graph": protein})["graph"] for protein in proteins]
        found = cached.predict(batch(crops, range(len(crops))))
        torch.testing.assert_close(found, live(cached).predict(batch(crops, range(len(crops)))), rtol=1e-5, atol=1e-5)
    short = sum(int(protein.num_residue) <= 30 for protein in proteins)
    assert short < len(proteins) and len(cached._embeddings) > len(proteins)


def test_residues_have_cached_embeddings_too(proteins):
    proteins = [protein.clone() for protein in proteins]
    for protein in proteins:
        with protein.residue():
            protein.site = (torch.arange(int(protein.num_residue)) % 3).float()
    cached = probe(task="site", level="residue")
    for order in ([0, 1, 2], [2, 5, 0], [5, 1]):
        found = cached.predict_and_target(batch(proteins, order))
        expected = live(cached).predict_and_target(batch(proteins, order))
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert len(cached._embeddings) == 4


def test_stock_proteins_are_cached_too(proteins):
    stock = as_stock(ResidueProtein.pack(proteins[:3]))
    edges = layers.GraphConstruction(
        [geometry.AlphaCarbonNode()],
        [geometry.SequentialEdge(2), geometry.SpatialEdge(), geometry.KNNEdge(10)],
        "gearnet",
    )
    cached = probe(graph_construction_model=edges)
    first = cached.predict({"graph": stock})
    torch.testing.assert_close(cached.predict({"graph": stock[[2, 0]]}), first[[2, 0]])
    assert len(cached._embeddings) == 3


# === the encoder stays as it is ===


def test_training_leaves_the_encoder_alone(proteins):
    """No gradients, eval mode through train(), running statistics as they were; its parameters stay in the optimizer
    with weight decay, and unchanged."""
    samples = [{"graph": protein, "a": i % 3} for i, protein in enumerate(proteins)]
    task = probe()
    before = copy.deepcopy(task.model.state_dict())
    solver = core.Engine(
        task, samples, samples, samples, torch.optim.AdamW(task.parameters(), lr=0.1, weight_decay=0.1), batch_size=4
    )
    head = copy.deepcopy(task.mlp.state_dict())
    solver.train(2)
    assert task.training and not any(module.training for module in task.model.modules())
    assert all(p.grad is None and not p.requires_grad for p in task.model.parameters())
    for name, value in task.model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not torch.equal(task.mlp.state_dict()["layers.0.weight"], head["layers.0.weight"])
    first = solver.evaluate("valid")
    assert first == solver.evaluate("valid")
    assert task.graph_construction_model.number == len(samples) + 1


def test_the_cache_is_no_part_of_the_state_dict(proteins):
    task = probe()
    names = set(task.state_dict())
    task.predict(batch(proteins, range(4)))
    plain = ProteinPropertyPrediction(gearnet(), ["a"], "ce", num_class=3)
    assert set(task.state_dict()) == names == set(plain.state_dict())


@pytest.mark.parametrize("part", ["task", "encoder", "layer"])
def test_loading_weights_forgets(part, proteins):
    """Of the task, of its encoder alone as `model_checkpoint` does, of a layer."""
    task = probe()
    other = ProteinPropertyPrediction(gearnet(), ["a"], "ce", num_class=3)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    before = task.predict(batch(proteins, range(4)))
    if part == "task":
        task.load_state_dict(other.state_dict())
    elif part == "encoder":
        task.model.load_state_dict(other.model.state_dict())
    else:
        task.model.layers[0].load_state_dict(other.model.layers[0].state_dict())
    assert len(task._embeddings) == 0
    after = task.predict(batch(proteins, range(4)))
    assert not torch.allclose(before, after)
    assert torch.equal(after, live(task).predict(batch(proteins, range(4))))


def test_another_type_of_the_encoder_forgets(proteins):
    task = probe("gearnet")
    task.predict(batch(proteins, range(4)))
    number = task.graph_construction_model.number
    with torch.autocast("cpu", torch.bfloat16):
        task.predict(batch(proteins, range(4)))
    assert task.graph_construction_model.number > number


# === limits ===


def test_a_full_cache_keeps_no_more_and_says_so_once(proteins, monkeypatch, caplog):
    monkeypatch.setattr(ProteinPropertyPrediction, "cache_limit", 3 * 16 * 4)
    task = probe()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            for order in ([0, 1], [2, 3], [4, 5]):
                found = task.predict(batch(proteins, order))
                torch.testing.assert_close(found, live(task).predict(batch(proteins, order)), rtol=1e-5, atol=1e-5)
    assert len(task._embeddings) == 3 and task._embeddings.bytes == 3 * 16 * 4
    assert len([r for r in caplog.records if "the embeddings of 3 proteins fill the cache" in r.getMessage()]) == 1


def test_features_kept_hold_no_batch_alive(proteins):
    task = probe()
    task.predict(batch(proteins, range(6)))
    assert all(
        feature.untyped_storage().nbytes() == feature.numel() * 4 for feature in task._embeddings.features.values()
    )


# === what cannot be cached ===


@pytest.mark.parametrize(
    "encoder, message",
    [
        (ieconv("released"), "with frames `released` a protein looks different in another batch. Set `frames: chain`"),
        (models.ProteinLSTM(21, 8, 1), "ProteinLSTM pads sequences to the longest of the batch"),
        (models.ProteinResNet(21, [8, 8]), "ProteinResNet pads"),
        (
            SequenceStructureFusion(
                models.ProteinConvolutionalNetwork(21, [8], 3, padding=1), GearNetEncoder(8, [8], 7)
            ),
            "ProteinConvolutionalNetwork pads",
        ),
    ],
)
def test_an_encoder_that_looks_at_the_batch_is_not_cached(encoder, message, proteins, caplog):
    """It says why, and computes each time: the predictions are those of a task that is not frozen, in eval mode."""
    with caplog.at_level(logging.WARNING):
        task = probe(encoder)
    assert "not cached, which is slow" in caplog.text and message in caplog.text
    plain = ProteinPropertyPrediction(encoder, ["a"], "ce", num_class=3, graph_construction_model=construction())
    plain.load_state_dict(task.state_dict())
    for order in ([0, 3, 1], [1, 2]):
        expected = plain.eval().predict(batch(proteins, order))
        torch.testing.assert_close(task.train().predict(batch(proteins, order)), expected)
    assert len(task._embeddings) == 0


class Centred(torch.nn.Module):
    """An encoder that compares the proteins of a batch, and does not say so."""

    output_dim = 21

    def __init__(self):
        super().__init__()
        self.readout = layers.MeanReadout()

    def forward(self, graph, input, all_loss=None, metric=None):
        feature = self.readout(graph, input)
        return {"graph_feature": feature - feature.mean(dim=0), "node_feature": input}


def test_an_unknown_encoder_that_looks_at_the_batch_is_found_out(proteins, caplog):
    task = probe(Centred())
    with caplog.at_level(logging.WARNING):
        # of one protein, and of two of one length, nothing can be told; what was kept is forgotten
        task.predict(batch(proteins, [0]))
        found = task.predict(batch(proteins, [1, 2, 0]))
    assert "gives a protein other features in another batch" in caplog.text
    assert torch.equal(found, live(task).predict(batch(proteins, [1, 2, 0])))
    assert not task._embeddings.is_on and not len(task._embeddings)


def test_cached_sequence_features_run_no_sequence_model():
    model = SequenceStructureFusion(models.ProteinLSTM(21, 4, 1), GearNetEncoder(8, [8], 7), freeze_sequence=True)
    assert "ProteinLSTM" in batch_dependence(model)
    model.features = "folder"
    assert batch_dependence(model) == ""
    assert EmbeddingCache(model, 1).is_on


# === keys ===


def test_keys_are_of_what_an_encoder_sees(proteins):
    """Types, positions, chains, residue numbers, unknown residues, edges; not the place in the batch."""
    own = chain(30, 1)
    keys = [protein_keys(ResidueProtein.pack([*others, own]))[-1] for others in ([], proteins[:2], proteins[3:])]
    assert len(set(keys)) == 1 and len(set(protein_keys(ResidueProtein.pack(proteins)))) == len(proteins)

    def changed(**kwargs):
        arguments = dict(chain_id=own.chain_id, residue_number=own.residue_number)
        return ResidueProtein.from_arrays(
            own.node_position, kwargs.pop("types", own.residue_type), **{**arguments, **kwargs}
        )

    glycine = torch.where(torch.arange(30) == 7, data.Protein.residue2id["GLY"], own.residue_type)
    unknown = torch.where(torch.arange(30) == 7, 20, own.residue_type)
    others = [
        changed(types=glycine),
        changed(types=unknown),
        changed(chain_id=own.chain_id + 1),
        changed(residue_number=own.residue_number * 2),
    ]
    with_edges = construction()(ResidueProtein.pack([own]))
    fewer = with_edges.edge_mask(torch.arange(int(with_edges.num_edge)) != 5)
    found = [
        keys[0],
        *(protein_keys(ResidueProtein.pack([other]))[0] for other in others),
        protein_keys(with_edges)[0],
        protein_keys(fewer)[0],
    ]
    assert len(set(found)) == len(found)
    two = construction()(ResidueProtein.pack([proteins[0], own]))
    assert protein_keys(two)[1] == protein_keys(with_edges)[0]


def test_keys_do_not_depend_on_unknown_labels(proteins):
    """Labels of residues are not what an encoder sees."""
    own = chain(12)
    key = protein_keys(ResidueProtein.pack([own]))
    with own.residue():
        own.site = torch.full((12,), math.nan)
    assert protein_keys(ResidueProtein.pack([own])) == key
