"""tasks.ProteinPropertyPrediction on several processes: they score, and learn, what one process does."""

import logging
import math

import pytest
import torch

import ranks
from gearnet_plugin.engine import sampling
from property_runs import ARGUMENTS, solver_of, task
from proteins import chain
from torchdrug import core
from torchdrug.utils import comm


def scores(kind, freeze_encoder):
    """Metrics of validation set (11 items) and test set (2 items) at several batch sizes."""
    found = {}
    for batch_size in (1, 3):
        solver = solver_of(kind, batch_size, freeze_encoder=freeze_encoder)
        for split in ("valid", "test"):
            values = sampling.evaluate(solver, split)
            found["%s, %d" % (split, batch_size)] = {name: float(value) for name, value in values.items()}
    return found


def weights(freeze_encoder):
    """Weights after two epochs in steps of 8 items, over all processes."""
    solver = solver_of("class", 8 // comm.get_world_size(), freeze_encoder=freeze_encoder)
    solver.train(2)
    return {name: value.detach() for name, value in solver.model.state_dict().items()}


def few_rows():
    """
    Weights after two epochs on labels of residues, with BatchNorm in the head and a protein a process and batch: two
    proteins have labels, one of them that of a single residue, so that most batches have none on any process.
    """
    graphs = [chain(12 + i % 5, seed=i) for i in range(8)]
    for i, graph in enumerate(graphs):
        values = torch.full((int(graph.num_residue),), math.nan)
        labels = [[0, 1, 1, 0, 1, 0], [0]][i] if i < 2 else []
        values[: len(labels)] = torch.tensor(labels, dtype=torch.float)
        with graph.residue():
            graph.site = values
    samples = [{"graph": graph} for graph in graphs]
    ours = task("site", "bce", level="residue", num_mlp_layer=2, mlp_batch_norm=True)
    optimizer = torch.optim.SGD(ours.parameters(), lr=0.01)
    solver = core.Engine(ours, samples, samples[:1], None, optimizer, batch_size=1)
    solver.train(2)
    return {name: value.detach() for name, value in solver.model.state_dict().items() if value.is_floating_point()}


def everything(rank):
    logging.disable(logging.WARNING)
    try:
        return {
            "scores": {kind: scores(kind, kind == "multilabel") for kind in ARGUMENTS},
            "weights": {str(freeze): weights(freeze) for freeze in (False, True)},
            "few rows": few_rows(),
        }
    finally:
        logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What one process finds, and what each of two does."""
    return everything(0), ranks.run(everything, 2, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("kind", ARGUMENTS)
def test_evaluation_over_ranks_equals_one_process(found, kind):
    """No item counts twice; batches of other sizes differ in rounding alone. A frozen, cached encoder is among them."""
    one, several = found
    for own in several:
        assert own["scores"][kind].keys() == one["scores"][kind].keys()
        for name, values in one["scores"][kind].items():
            assert own["scores"][kind][name] == pytest.approx(values, rel=1e-5, nan_ok=True), name
    assert any(value == value for value in one["scores"][kind]["valid, 3"].values())


@pytest.mark.parametrize("freeze_encoder", ["False", "True"])
def test_two_processes_learn_what_one_learns(found, freeze_encoder):
    """Batches of both together are the batch of one; a frozen encoder is no obstacle for the engine's reducer."""
    one, several = found
    first, second = (own["weights"][freeze_encoder] for own in several)
    for name, value in one["weights"][freeze_encoder].items():
        torch.testing.assert_close(first[name], second[name])
        torch.testing.assert_close(first[name], value, rtol=1e-3, atol=1e-4)


def test_batches_without_a_labeled_residue_end_no_training(found):
    """BatchNorm has nothing to take statistics of then, on no process; all of them take the running ones."""
    one, several = found
    for own in (one, *several):
        assert all(value.isfinite().all() for value in own["few rows"].values())
    first, second = (own["few rows"] for own in several)
    for name, value in first.items():
        torch.testing.assert_close(second[name], value)
