"""Self-prediction in training: what cannot be used, scores, draws, learning."""

import copy
import logging

import pytest
import torch

from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.tasks.prediction import score_classes, score_numbers
from objectives import ALL, batch, task, unknown, usable
from proteins import bundled, chain, construction
from torchdrug import core, data

# === what cannot be used ===


def useless(name):
    """An objective, and two proteins of which it can use none."""
    proteins = [unknown(9, slice(None)), unknown(4, slice(None))] if name == "residue" else [chain(1), chain(1, 3)]
    return task(name, **({} if name == "residue" else {"self_loops": False})), proteins


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("mode", [True, False])
def test_a_batch_without_use_ends_no_run(name, mode, caplog):
    """Its loss is 0, connected to every parameter, its metrics are 0; evaluation of nothing is an error."""
    ours, proteins = useless(name)
    ours.train(mode)
    with caplog.at_level(logging.WARNING):
        loss, metric = ours(batch(*proteins))
        ours(batch(*proteins))
    assert loss == 0 and metric["skipped proteins"] == 2
    assert len([r for r in caplog.records if "nothing is learned from a batch: no protein has" in r.message]) == 1
    loss.backward()
    assert all((p.grad == 0).all() for p in ours.parameters())
    assert set(metric) == set(ours(batch(chain(30)))[1])
    with pytest.raises(ValueError, match="nothing to evaluate: no protein has"):
        ours.evaluate(*ours.predict_and_target(batch(*proteins)))


@pytest.mark.parametrize("name", ALL)
def test_a_set_without_use_is_refused_before_training(name):
    """It is named; one usable protein is enough, and then no further item is read."""
    ours, proteins = useless(name)
    bad = [{"graph": protein} for protein in proteins]
    good = {"graph": chain(30)}
    with pytest.raises(ValueError, match="needs proteins with .*, but in the training set none of 2 has it"):
        ours.preprocess(bad, None, None)
    with pytest.raises(ValueError, match="in the validation set none of 32 taken from all over its 40"):
        ours.preprocess([good], bad * 20, [])
    ours.preprocess(bad + [good], bad + [good], None)

    class Endless(list):
        def __getitem__(self, index):
            assert index == 0, "one usable item is enough"
            return super().__getitem__(index)

    ours.preprocess(Endless([good] * 100), None, None)


def test_a_single_row_cannot_be_normalised():
    """One residue alone, whose distance to itself is a target, would end training inside BatchNorm."""
    ours = task("distance")
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        ours.model(construction()(ResidueProtein.pack([chain(1)])), torch.zeros(1, 21))
    loss, metric = ours(batch(chain(1)))
    assert loss == 0 and metric["skipped proteins"] == 1
    loss, _ = ours(batch(chain(2)))
    assert loss > 0


# === scores, draws, training ===


def test_scores_of_who_looks_at_nothing():
    """The trivial predictors get what they say: the majority class, the frequencies, the mean."""
    target = torch.tensor([2, 2, 2, 0, 1])
    always = torch.zeros(5, 4)
    always[:, 2] = 1
    metric = score_classes(always, target)
    assert metric["accuracy"] == metric["majority accuracy"] == pytest.approx(0.6)
    frequency = torch.tensor([0.2, 0.2, 0.6, 1e-30])
    metric = score_classes(frequency.log().expand(5, 4), target)
    assert metric["cross entropy"] == pytest.approx(float(metric["frequency cross entropy"]))
    metric = score_numbers(torch.full((4,), 2.5), torch.tensor([1.0, 2, 3, 4]))
    assert metric["mean squared error"] == metric["mean predictor error"] == pytest.approx(1.25)


@pytest.mark.parametrize("name", ALL)
def test_mates_and_epochs(name):
    """In eval mode a protein has the same samples and predictions in any company; in training other epochs, others."""
    ours = task(name).eval()
    proteins = usable()
    together, target = ours.predict_and_target(batch(*proteins))
    start = 0
    for protein in proteins:
        alone, own = ours.predict_and_target(batch(protein))
        assert torch.equal(own, target[start : start + len(own)])
        assert torch.allclose(alone, together[start : start + len(own)], atol=1e-4)
        start += len(own)
    assert start == len(together)
    assert torch.equal(ours.predict_and_target(batch(*proteins))[0], together)
    ours.train()
    targets = []
    for epoch in (0, 1, 0):
        ours.set_epoch(epoch)
        targets.append(ours.predict_and_target(batch(*proteins))[1].tolist())
    assert targets[0] == targets[2] != targets[1]


def learn(name, steps, **kwargs):
    """Mean of each metric over the last ten steps on six bundled structures, all by seeded draws."""
    ours = task(name, **kwargs)
    optimizer = torch.optim.Adam(ours.parameters(), lr=1e-2)
    graph = batch(*bundled(6, longest=90))
    metrics = []
    for step in range(steps):
        ours.set_epoch(step)
        loss, metric = ours(graph)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        metrics.append(metric)
    return {key: sum(float(m[key]) for m in metrics[-10:]) / 10 for key in metrics[0]}


# without what TorchDrug leaves to read: the edges beside those that were removed, the zeros of self-loops
HONEST = {"remove": "pair", "self_loops": False}


@pytest.mark.parametrize(
    "name, steps, margin, kwargs",
    [
        ("residue", 30, 0.2, {"mask": "token"}),
        ("angle", 50, 0.03, {"num_sample": 64, **HONEST}),
        ("dihedral", 50, 0.005, {"num_sample": 64, **HONEST}),
        pytest.param("dihedral", 200, 0.02, {"num_sample": 128, **HONEST}, marks=pytest.mark.slow),
    ],
)
def test_classes_are_learned_on_real_structures(name, steps, margin, kwargs):
    """In some tens of steps each knows more than the frequencies of its classes; dihedrals take more to be guessed."""
    metric = learn(name, steps, **kwargs)
    assert metric["cross entropy"] < metric["frequency cross entropy"] - margin, metric
    if margin > 0.01:
        assert metric["accuracy"] > metric["majority accuracy"], metric


def test_distances_are_learned_on_real_structures():
    """In 60 steps the error is well below that of the mean, though no edge between the two residues is left."""
    metric = learn("distance", 60, num_sample=32, **HONEST)
    assert metric["mean squared error"] < 0.85 * metric["mean predictor error"], metric


@pytest.mark.parametrize("name", ALL)
def test_two_steps_of_the_engine(name):
    """TorchDrug's engine trains and evaluates each; the metrics of a whole split come from all its batches."""
    items = [{"graph": protein} for protein in [*bundled(4, longest=80), chain(1)]]
    ours = task(name)
    before = copy.deepcopy(ours.state_dict())
    optimizer = torch.optim.Adam(ours.parameters(), lr=1e-3)
    solver = core.Engine(ours, items, items, items, optimizer, batch_size=2, log_interval=1)
    solver.train(num_epoch=1, batch_per_epoch=2)
    for part in ("model.", "mlp."):
        assert any(
            not torch.equal(before[key], value) for key, value in ours.state_dict().items() if key.startswith(part)
        )
    metric = solver.evaluate("valid")
    pairs = [ours.predict_and_target(data.graph_collate(items[i : i + 1])) for i in range(5)]
    expected = ours.evaluate(torch.cat([p for p, _ in pairs]), torch.cat([t for _, t in pairs]))
    assert set(metric) == set(expected)
    assert all(float(metric[key]) == pytest.approx(float(expected[key]), rel=1e-4) for key in metric)
