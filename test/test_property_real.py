"""tasks.ProteinPropertyPrediction on real enzymes with their 538 labels, most of which no small set has."""

import os

import pytest
import torch

from gearnet_plugin.datasets import EnzymeCommissionStructures
from gearnet_plugin.models import GearNetEncoder
from gearnet_plugin.tasks import ProteinPropertyPrediction
from proteins import construction
from test_enzyme_commission import export, structures_of
from torchdrug import core, models, tasks

SIZES = dict(edge_input_dim=59, num_angle_bin=8, batch_norm=True, concat_hidden=True)


@pytest.fixture(scope="module")
def enzymes(shared_data, tmp_path_factory):
    """Training, validation and test set, some of each."""
    folder = tmp_path_factory.mktemp("enzymes")
    only = structures_of(os.path.join(shared_data, "labels", "ec.tsv"), 8)
    export(shared_data, os.path.join(folder, "EnzymeCommission"), only)
    return EnzymeCommissionStructures(folder, num_worker=1, verbose=0).split()


def solver_of(cls, model, sets, **kwargs):
    torch.manual_seed(0)
    task = cls(
        model(21, [16, 16], 7, **SIZES), range(538), graph_construction_model=construction(), num_mlp_layer=3, **kwargs
    )
    return core.Engine(task, *sets, torch.optim.Adam(task.parameters(), lr=1e-2), batch_size=4)


def test_a_checkpoint_of_torchdrug_scores_the_same(enzymes, tmp_path):
    """Trained and saved by TorchDrug's task and engine: the same metrics to 1e-5."""
    stock = solver_of(tasks.MultipleBinaryClassification, models.GearNet, enzymes)
    stock.train(2)
    stock.save(tmp_path / "stock.pth")
    ours = solver_of(ProteinPropertyPrediction, GearNetEncoder, enzymes)
    ours.load(str(tmp_path / "stock.pth"), load_optimizer=False)
    for split in ("train", "valid", "test"):
        expected, found = (
            {name: float(value) for name, value in solver.evaluate(split).items()} for solver in (stock, ours)
        )
        assert found == pytest.approx(expected, abs=1e-5), split


def test_a_cached_probe_scores_what_a_live_one_does(enzymes):
    """Trained alike over epochs in other batches each time."""
    found = []
    for cached in (True, False):
        solver = solver_of(ProteinPropertyPrediction, GearNetEncoder, enzymes, freeze_encoder=True)
        solver.model._embeddings.is_on = cached
        solver.train(3)
        found.append({name: float(value) for name, value in solver.evaluate("test").items()})
        assert len(solver.model._embeddings) == (len(enzymes[0]) + len(enzymes[2])) * cached
    assert found[0] == pytest.approx(found[1], abs=1e-5)
