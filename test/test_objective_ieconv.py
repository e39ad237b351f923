"""Every objective with GearNet-IEConv on real structures: it learns more than its trivial baseline, and handedness."""

import math

import pytest
import torch
from torch.nn import functional as F

from gearnet_plugin.graphs.draws import StructureDraws
from gearnet_plugin.models import GearNetEncoder, GearNetIEConvEncoder
from gearnet_plugin.tasks import MultiviewContrastive
from objectives import ALL, batch, encoder, task, unknown
from proteins import bundled, chain, construction
from torchdrug.layers import geometry

# without what TorchDrug leaves to read: the edges beside those that were removed, the zeros of self-loops
HONEST = {"remove": "pair", "self_loops": False}


def ieconv(width=32):
    """A small GearNet-IEConv whose frames see handedness."""
    torch.manual_seed(0)
    return GearNetIEConvEncoder(
        21,
        width,
        [width] * 2,
        7,
        edge_input_dim=59,
        num_angle_bin=8,
        short_cut=True,
        batch_norm=True,
        concat_hidden=True,
        frames="chain",
        ieconv="kernel",
    )


def train(ours, graph, steps, lr=1e-2):
    """Metrics of every step of training on one batch, the draws of each step its own."""
    optimizer = torch.optim.Adam(ours.parameters(), lr=lr)
    metrics = []
    for step in range(steps):
        ours.set_epoch(step)
        loss, metric = ours(graph)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        metrics.append({key: float(value) for key, value in metric.items()})
    return metrics


def mean(metrics):
    """Of the last ten steps."""
    return {key: sum(metric[key] for metric in metrics[-10:]) / 10 for key in metrics[0]}


def below_baseline(name, steps, share, **kwargs):
    """The metric of the loss ends below this share of what the trivial predictor gets."""
    metric = mean(train(task(name, ieconv(), **kwargs), batch(*bundled(6, longest=90)), steps))
    loss, trivial = {
        True: ("mean squared error", "mean predictor error"),
        False: ("cross entropy", "frequency cross entropy"),
    }[name == "distance"]
    assert metric[loss] < share * metric[trivial], metric


def test_residue_types_are_learned():
    """The fast one: in 25 steps the types of masked residues are known better than by their frequencies."""
    below_baseline("residue", 25, 0.95, mask="token")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, steps, share, kwargs",
    [
        ("distance", 60, 0.85, {"num_sample": 64}),
        ("angle", 75, 0.98, {"num_sample": 128}),
        ("dihedral", 150, 0.995, {"num_sample": 256}),
        ("dihedral", 150, 0.995, {"num_sample": 256, "signed": True}),
    ],
)
def test_geometry_is_learned(name, steps, share, kwargs):
    """So are distances, angles and dihedrals, unsigned and signed, though no edge between their residues is left."""
    below_baseline(name, steps, share, **HONEST, **kwargs)


@pytest.mark.slow
def test_contrast_is_learned():
    """Of 16 second views each first one finds its own far more often than by chance, and more often than at first."""
    crops = [geometry.SubsequenceNode(30), geometry.SubspaceNode("residue", 10.0, 10)]
    noises = [geometry.IdentityNode(), geometry.RandomEdgeMask(0.15)]
    torch.manual_seed(1)
    ours = MultiviewContrastive(ieconv(), crops, noises, graph_construction_model=construction(), draw="protein")
    metrics = train(ours, batch(*bundled(16, longest=150)), 60, lr=3e-3)
    early, late = mean(metrics[:10]), mean(metrics)
    assert late["chance accuracy"] == pytest.approx(1 / 16)
    assert late["multiview mutual information"] > early["multiview mutual information"] + 0.2, (early, late)
    assert late["retrieval accuracy"] > 4 / 16, late


# === handedness ===


class Twice(StructureDraws):
    """The same numbers for both halves of a batch."""

    def uniform(self, graph, stream, counts=None):
        half = len(graph.num_residues) // 2
        numbers = super().uniform(graph, stream, counts)
        first = numbers[: half if counts is None else int(counts[:half].sum())]
        return torch.cat([first, first])


def mirrored(protein):
    """The mirror image of a protein."""
    image = protein.clone()
    image.node_position[:, 0] = -image.node_position[:, 0]
    return image


@pytest.mark.parametrize("kind", [GearNetEncoder, GearNetIEConvEncoder])
def test_who_can_tell_the_sign_of_a_dihedral(kind):
    """
    Of walks in proteins and the same walks in their mirror images, GearNet-IEConv learns which turn right; GearNet says
    the same of both, and so is never better than guessing.
    """
    model = encoder(width=32) if kind is GearNetEncoder else ieconv()
    ours = task("dihedral", model, num_sample=64, num_class=2, self_loops=False, signed=True)
    ours.draws = Twice()
    proteins = bundled(2, longest=60)
    graph = batch(*proteins, *[mirrored(protein) for protein in proteins])
    optimizer = torch.optim.Adam(ours.parameters(), lr=5e-3)
    for _ in range(30):
        ours.set_epoch(0)
        pred, target = ours.predict_and_target(graph)
        assert (target[: len(target) // 2] + target[len(target) // 2 :] == 1).all()
        loss = F.cross_entropy(pred, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if kind is GearNetEncoder:
        assert loss > math.log(2) - 1e-4
    else:
        assert loss < 0.1


# === small proteins ===


@pytest.mark.parametrize("name", ALL)
def test_small_and_unknown_proteins(name):
    """One, two and three residues, all unknown or not, train and are evaluated, alone and beside a larger one."""
    ours = task(name, ieconv(16))
    for proteins in [[chain(n)] for n in (1, 2, 3)] + [[chain(1), unknown(2, slice(None)), chain(3), chain(30)]]:
        for mode in (True, False):
            loss, metric = ours.train(mode)(batch(*proteins))
            loss.backward()
            assert torch.isfinite(loss) and 0 <= metric["skipped proteins"] <= len(proteins)
    assert all(torch.isfinite(p.grad).all() for p in ours.parameters() if p.grad is not None)
