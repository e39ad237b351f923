"""Negatives of all ranks: two ranks together are one process with all the proteins."""

import pytest
import torch
from torch import nn

import ranks
from gearnet_plugin.compat.batchnorm import SyncBatchNorm
from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.models import GearNetEncoder
from gearnet_plugin.tasks import MultiviewContrastive
from gearnet_plugin.tasks.gathering import gather_rows
from proteins import chain, construction, double_precision
from torchdrug.layers import geometry

SIZES = [3, 2]


def step(proteins, parallel, directions):
    """Loss, metrics, views, gradients and running statistics of one step in float64."""
    with double_precision():
        torch.manual_seed(0)
        encoder = GearNetEncoder(21, [16] * 2, 7, edge_input_dim=59, num_angle_bin=8, short_cut=True, batch_norm=True)
        crops = [geometry.SubsequenceNode(20), geometry.SubspaceNode("residue", 8.0, 8), geometry.IdentityNode()]
        ours = MultiviewContrastive(
            encoder,
            crops,
            [geometry.IdentityNode(), geometry.RandomEdgeMask(0.15)],
            draw="protein",
            graph_construction_model=construction(),
            directions=directions,
            gather_negatives=True,
        ).double()
        if parallel:
            ours = SyncBatchNorm.convert_sync_batchnorm(ours)
        ours.set_epoch(5)
        ours.set_seed(6)
        wrapped = nn.parallel.DistributedDataParallel(ours, find_unused_parameters=True) if parallel else ours
        graph = ResidueProtein.pack(proteins)
        loss, metric = wrapped({"graph": graph})
        loss.backward()
        view = ours.draw_view(graph)
        own = ours.eval().predict_and_target({"graph": graph})[0]
        return {
            "loss": loss.detach(),
            "metric": {k: v.detach() for k, v in metric.items()},
            "own": own.detach(),
            "grad": {k: p.grad for k, p in ours.named_parameters() if p.grad is not None},
            "running": {k: b for k, b in ours.named_buffers() if "running" in k},
            "edges": view.edge_feature,
            "lengths": view.num_residues,
        }


def everyone():
    return [chain(30 + 3 * s, s) for s in range(sum(SIZES))]


def on_rank(rank):
    """What this rank's share of the proteins gives, and the plain gathering of rows."""
    start = sum(SIZES[:rank])
    results = [step(everyone()[start : start + SIZES[rank]], True, directions) for directions in (1, 2)]
    rows = torch.full((SIZES[rank], 2), float(rank + 1), requires_grad=True)
    gathered, counts = gather_rows(rows)
    (gathered * torch.arange(5.0)[:, None] * (rank + 1)).sum().backward()
    return {"step": results, "gathered": gathered.detach(), "counts": counts, "grad": rows.grad}


def test_two_ranks_are_one_process_with_all_proteins(tmp_path):
    """
    Three proteins on one rank and two on the other: loss and metrics averaged over ranks, gradients as
    DistributedDataParallel leaves them, BatchNorm's statistics and the views equal those of one process with all five;
    in eval mode each rank looks at its own. Gathered rows keep the order of ranks and get the gradients of both.
    """
    found = ranks.run(on_rank, 2, tmp_path)
    for i, directions in enumerate((1, 2)):
        one, two = step(everyone(), False, directions), [result["step"][i] for result in found]
        mean = (two[0]["loss"] + two[1]["loss"]) / 2
        torch.testing.assert_close(mean, one["loss"], rtol=1e-10, atol=0)
        for name, value in one["metric"].items():
            mean = (two[0]["metric"][name] + two[1]["metric"][name]) / 2
            torch.testing.assert_close(mean, value, rtol=1e-10, atol=0)
        largest = max(float(grad.abs().max()) for grad in one["grad"].values())
        for rank in (0, 1):
            assert two[rank]["grad"].keys() == one["grad"].keys()
            for name, grad in one["grad"].items():
                torch.testing.assert_close(two[rank]["grad"][name], grad, rtol=0, atol=1e-10 * largest)
            torch.testing.assert_close(two[rank]["running"], one["running"], rtol=1e-10, atol=1e-12)
            chance = {1: 1 / SIZES[rank], 2: 1 / (2 * SIZES[rank] - 1)}[directions]
            assert two[rank]["own"].shape == (SIZES[rank], 3)
            assert two[rank]["own"][:, 2].tolist() == pytest.approx([chance] * SIZES[rank])
        for name in ("edges", "lengths"):
            assert torch.equal(torch.cat([result[name] for result in two]), one[name])
    for rank, result in enumerate(found):
        assert result["counts"] == SIZES
        assert result["gathered"].tolist() == [[1, 1]] * 3 + [[2, 2]] * 2
        # both ranks weigh row i by i, the second twice
        rows = range(3) if rank == 0 else range(3, 5)
        assert result["grad"].tolist() == [[3 * i, 3 * i] for i in rows]
