"""TorchDrug's own Engine on several CPU processes, and what it does in one."""
import math

import pytest
import torch
from torch import nn
from torch.utils import data as torch_data

import ranks
from torchdrug import core, data, layers, models, tasks

# odd on purpose: two ranks with batches of 3 do not share 10 samples evenly
SMILES = ["C" * (i // 2 + 2) + "O" * (i % 2) for i in range(10)]


class Molecules(torch_data.Dataset):
    """Alkanes and alcohols; the target is the number of atoms."""

    def __len__(self):
        return len(SMILES)

    def __getitem__(self, i):
        graph = data.Molecule.from_smiles(SMILES[i], atom_feature="symbol")
        return {"graph": graph, "atoms": float(graph.num_node), "alcohol": float("O" in SMILES[i])}


def make_engine(batch_size, lr=0.05, optimizer=torch.optim.Adam, **options):
    torch.manual_seed(0)
    dataset = Molecules()
    model = models.RGCN(18, [8, 8], num_relation=4, batch_norm=True, readout="mean")
    task = tasks.PropertyPrediction(model, task=("atoms",), criterion="mse", metric=("mae", "rmse"),
                                    normalization=False)
    optimizer = optimizer(task.parameters(), lr=lr)
    return core.Engine(task, dataset, dataset, dataset, optimizer, batch_size=batch_size, **options)


def make_exact_engine(batch_size):
    """Adam would make steps of full size from the rounding errors of gradients that are 0, as those before a norm."""
    return make_engine(batch_size, lr=0.01, optimizer=torch.optim.SGD)


def worker(rank, folder):
    """Two epochs of one batch each; both ranks together hold all samples."""
    engine = make_exact_engine(batch_size=5)
    engine.train(num_epoch=2)
    metric = engine.evaluate("valid")
    engine.save("%s/engine.pth" % folder)
    norms = [m for m in engine.model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    losses = engine.meter.records["mean squared error"]
    return {"state": engine.model.state_dict(), "metric": metric, "losses": losses,
            "norms": [type(m).__module__ for m in norms]}


@pytest.fixture(scope="module")
def by_rank(tmp_path_factory):
    folder = tmp_path_factory.mktemp("engine")
    (folder / "ranks").mkdir()
    return ranks.run(worker, 2, folder / "ranks", str(folder)), folder


def test_two_ranks_equal_one_process(by_rank):
    """Weights, running statistics and metrics after two steps on the same ten samples."""
    results, _ = by_rank
    alone = make_exact_engine(batch_size=10)
    alone.train(num_epoch=2)
    for result in results:
        assert result["state"].keys() == alone.model.state_dict().keys()
        for name, value in alone.model.state_dict().items():
            torch.testing.assert_close(result["state"][name], value, rtol=1e-4, atol=1e-5)
        for name, value in alone.evaluate("valid").items():
            torch.testing.assert_close(result["metric"][name], value, rtol=1e-4, atol=1e-5)
        assert result["losses"] == pytest.approx(alone.meter.records["mean squared error"], rel=1e-4)


def test_batch_norm_is_synchronised_on_cpu(by_rank):
    results, _ = by_rank
    assert results[0]["norms"] == ["gearnet_plugin.compat.batchnorm"] * 2


def test_checkpoint_of_ranks_loads_in_one_process(by_rank):
    results, folder = by_rank
    engine = make_exact_engine(batch_size=3)
    engine.load(str(folder / "engine.pth"))
    for name, value in engine.model.state_dict().items():
        assert torch.equal(value, results[0]["state"][name])


def test_loss_falls_and_state_is_restored(tmp_path):
    engine = make_engine(batch_size=3)
    engine.train(num_epoch=12)
    losses = engine.meter.records["mean squared error"]
    assert len(losses) == 12 * math.ceil(10 / 3)
    assert sum(losses[-4:]) < 0.3 * sum(losses[:4])
    metric = engine.evaluate("test", log=False)
    engine.save(str(tmp_path / "engine.pth"))

    other = make_engine(batch_size=4, lr=1.0)
    error = "root mean squared error [atoms]"
    assert other.evaluate("test")[error] > metric[error]
    other.load(str(tmp_path / "engine.pth"))
    torch.testing.assert_close(other.evaluate("test"), metric)
    assert other.optimizer.param_groups[0]["lr"] == 0.05

    without = make_engine(batch_size=4, lr=1.0)
    without.load(str(tmp_path / "engine.pth"), load_optimizer=False)
    assert without.optimizer.param_groups[0]["lr"] == 1.0


def test_gradient_interval_is_one_larger_batch():
    """No batch norm here, so that two batches of 5 are one of 10."""
    states = []
    for batch_size, interval in ((10, 1), (5, 2)):
        torch.manual_seed(0)
        dataset = Molecules()
        model = models.GCN(18, [8])
        task = tasks.PropertyPrediction(model, task=("atoms",), criterion="mse", normalization=False)
        optimizer = torch.optim.SGD(task.parameters(), lr=0.01)
        engine = core.Engine(task, dataset, dataset, dataset, optimizer, batch_size=batch_size,
                             gradient_interval=interval)
        engine.train(num_epoch=2)
        states.append(engine.model.state_dict())
    for name in states[0]:
        torch.testing.assert_close(states[0][name], states[1][name], rtol=1e-4, atol=1e-6)


def test_batch_per_epoch_and_workers():
    engine = make_engine(batch_size=3, num_worker=1)
    engine.train(num_epoch=2, batch_per_epoch=2)
    assert engine.epoch == 2 and engine.meter.batch_id == 4


def test_task_that_makes_its_parameters_in_preprocess():
    """The engine adds them to the optimizer."""
    class Late(tasks.PropertyPrediction):
        def preprocess(self, train_set, valid_set, test_set):
            super().preprocess(train_set, valid_set, test_set)
            self.late = layers.MLP(2, [3])

    dataset = Molecules()
    task = Late(models.GCN(18, [8]), task=("atoms",), criterion="mse")
    before = len(list(task.parameters()))
    engine = core.Engine(task, dataset, dataset, dataset, torch.optim.Adam(task.parameters()))
    optimised = sum(len(group["params"]) for group in engine.optimizer.param_groups)
    assert optimised == len(list(engine.model.parameters())) > before
