"""What several tests of tasks.ProteinPropertyPrediction use: small tasks of every kind, and engines that train them."""

import math

import torch

from gearnet_plugin.models import GearNetEncoder
from gearnet_plugin.tasks import ProteinPropertyPrediction
from proteins import chain, construction
from torchdrug import core

NAN = math.nan
SIZES = dict(edge_input_dim=59, num_angle_bin=8, batch_norm=True, concat_hidden=True)


def task(task=("a",), criterion="ce", kind=GearNetEncoder, **kwargs):
    torch.manual_seed(0)
    return ProteinPropertyPrediction(
        kind(21, [8, 8], 7, **SIZES), task, criterion, graph_construction_model=construction(), **kwargs
    )


def with_sites(proteins, name="site", classes=2, rate=0.3):
    """Proteins some of whose residues have a label; the second has none."""
    labeled = []
    for i, protein in enumerate(proteins):
        protein = protein.clone()
        rng = torch.Generator().manual_seed(i)
        length = int(protein.num_residue)
        values = torch.randint(classes, (length,), generator=rng).float()
        known = torch.rand(length, generator=rng) < (rate if i != 1 else -1)
        with protein.residue():
            setattr(protein, name, values.masked_fill(~known, NAN))
        labeled.append(protein)
    return labeled


def samples_of(kind, number):
    graphs = [chain(12 + i % 5, seed=i) for i in range(number)]
    rng = torch.Generator().manual_seed(0)
    if kind == "multilabel":
        return [
            {"graph": graph, "targets": row.float()}
            for graph, row in zip(graphs, torch.randint(2, (number, 5), generator=rng))
        ]
    if kind == "residue":
        return [{"graph": graph} for graph in with_sites(graphs, "site", rate=0.5)]
    values = torch.randn(number, generator=rng).tolist()
    return [{"graph": graph, "a": i % 3 if kind == "class" else values[i]} for i, graph in enumerate(graphs)]


ARGUMENTS = {
    "multilabel": dict(task=range(5), criterion="bce", metric=["f1_max", "auprc@micro", "auroc@macro", "f1_max@cafa"]),
    "class": dict(metric=["acc", "mcc", "f1@macro", "top_2"]),
    "number": dict(criterion="mse", metric=["mae", "rmse", "spearmanr", "pearsonr", "r2"]),
    "residue": dict(task="site", criterion="bce", level="residue"),
}


def solver_of(kind, batch_size, **kwargs):
    train, valid = samples_of(kind, 8), samples_of(kind, 11)
    ours = task(**ARGUMENTS[kind], **kwargs)
    solver = core.Engine(
        ours, train, valid, valid[:2], torch.optim.SGD(ours.parameters(), lr=0.01), batch_size=batch_size
    )
    ours.mlp.requires_grad_(True)
    return solver
