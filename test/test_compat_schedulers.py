"""The schedulers of torch are registered, built from a configuration, and saved."""
import inspect
import pickle

import pytest
import torch
from torch.optim import lr_scheduler

from torchdrug import core

# the arguments each needs besides the optimizer
ARGUMENTS = {
    "ConstantLR": {"factor": 0.5},
    "CosineAnnealingLR": {"T_max": 4},
    "CosineAnnealingWarmRestarts": {"T_0": 3},
    "CyclicLR": {"base_lr": 0.1, "max_lr": 1.0},
    "ExponentialLR": {"gamma": 0.9},
    "LambdaLR": {"lr_lambda": lambda epoch: 0.9 ** epoch},
    "LinearLR": {"total_iters": 3},
    "MultiStepLR": {"milestones": [1, 3]},
    "MultiplicativeLR": {"lr_lambda": lambda epoch: 0.9},
    "OneCycleLR": {"max_lr": 1.0, "total_steps": 9},
    "PolynomialLR": {},
    "ReduceLROnPlateau": {"mode": "max", "patience": 0},
    "StepLR": {"step_size": 2},
}
# these are made of other schedulers
OF_OTHERS = {"ChainedScheduler", "SequentialLR"}


def make_optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5, momentum=0.9)


def rates(scheduler, number=5):
    found = []
    for _ in range(number):
        scheduler.optimizer.step()
        scheduler.step(*[0.5] * isinstance(scheduler, lr_scheduler.ReduceLROnPlateau))
        found.append(scheduler.optimizer.param_groups[0]["lr"])
    return found


def test_all_but_the_abstract_ones_are_registered():
    concrete = {name for name, cls in inspect.getmembers(lr_scheduler, inspect.isclass)
                if issubclass(cls, lr_scheduler.LRScheduler)} - {"LRScheduler", "_LRScheduler"}
    # torch's own import of TorchDrug registers the old name of the base
    assert set(core.Registry.table["scheduler"]) - {"_LRScheduler"} == concrete == set(ARGUMENTS) | OF_OTHERS


@pytest.mark.parametrize("name", ARGUMENTS)
def test_built_from_configuration(name):
    optimizer = make_optimizer()
    config = {"class": name, "optimizer": optimizer, **ARGUMENTS[name]}
    scheduler = core.Configurable.load_config_dict(config)
    plain = getattr(lr_scheduler, name)(make_optimizer(), **ARGUMENTS[name])
    assert isinstance(scheduler, getattr(lr_scheduler, name))
    assert rates(scheduler) == rates(plain)
    recorded = scheduler.config_dict()
    assert recorded["class"] == "scheduler.%s" % name
    assert ARGUMENTS[name].items() <= recorded.items()
    assert "optimizer" not in recorded


@pytest.mark.parametrize("name", ARGUMENTS)
def test_state_survives_a_safe_load(name, tmp_path):
    def make():
        return core.Registry.get("scheduler.%s" % name)(make_optimizer(), **ARGUMENTS[name])

    first, second = make(), make()
    rates(first, 3)
    torch.save([first.state_dict(), first.optimizer.state_dict()], tmp_path / "state.pth")
    state, optimizer_state = torch.load(tmp_path / "state.pth", weights_only=True)
    second.load_state_dict(state)
    second.optimizer.load_state_dict(optimizer_state)
    assert rates(first) == rates(second)


def test_state_goes_between_registered_and_plain():
    first = core.Registry.get("scheduler.StepLR")(make_optimizer(), 2)
    second = lr_scheduler.StepLR(make_optimizer(), 7)
    assert first.state_dict().keys() == second.state_dict().keys()


def test_chain_of_registered_schedulers():
    optimizer = make_optimizer()
    parts = [core.Registry.get("scheduler.LinearLR")(optimizer, total_iters=2),
             core.Registry.get("scheduler.ExponentialLR")(optimizer, gamma=0.5)]
    chain = core.Registry.get("scheduler.SequentialLR")(optimizer, parts, [2])
    assert rates(chain, 4)[-1] == pytest.approx(0.125)
    assert all("_config" not in part for part in chain.state_dict()["_schedulers"])


@pytest.mark.parametrize("key", ["optim.Adam", "scheduler.StepLR", "dataset.Subset"])
def test_registered_classes_can_be_pickled(key):
    cls = core.Registry.get(key)
    assert pickle.loads(pickle.dumps(cls)) is cls  # noqa: S301  its own bytes


def test_subset_of_a_configuration_can_be_pickled():
    """As a loader does for workers that it spawns."""
    subset = core.Registry.get("dataset.Subset")(torch.utils.data.TensorDataset(torch.arange(5)), [0, 2, 4])
    copy = pickle.loads(pickle.dumps(subset))  # noqa: S301  its own bytes
    assert [int(x) for x, in copy] == [0, 2, 4]
    assert copy.config_dict()["indices"] == [0, 2, 4]
