"""Engines that were given objects of torch's own classes: object -> configuration -> object."""
import copy
import json

import pytest
import torch
from torch import optim
from torch.optim import lr_scheduler
from torch.utils import data as torch_data

from gearnet_plugin.compat import configs
from torchdrug import core, data, models, tasks
from torchdrug.core import Registry as R

PARAMETERS = [torch.nn.Parameter(torch.zeros(2, 2))]


@R.register("datasets.ChainsForConfigTests")
class Chains(torch_data.Dataset, core.Configurable):
    """Alkanes and their number of carbon atoms."""

    def __init__(self, number=6):
        self.number = number
        self.tasks = ["carbons"]

    def __len__(self):
        return self.number

    def __getitem__(self, i):
        return {"graph": data.Molecule.from_smiles("C" * (i + 1), atom_feature="symbol"), "carbons": i + 1.0}


class Unregistered(torch_data.Dataset):
    pass


OPTIMIZERS = [name for name, cls in vars(optim).items()
              if isinstance(cls, type) and issubclass(cls, optim.Optimizer) and cls is not optim.Optimizer]


def by_json(config):
    return json.loads(json.dumps(config))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_plain_optimizer(name):
    optimizer = getattr(optim, name)(PARAMETERS, lr=0.3)
    config = by_json(configs.describe(optimizer))
    assert config["class"] == "optim.%s" % name and config["lr"] == 0.3
    again = core.Configurable.load_config_dict({**config, "params": PARAMETERS})
    assert json.dumps(again.defaults) == json.dumps(optimizer.defaults)


def test_optimizer_equals_registered_one():
    arguments = {"lr": 0.1, "betas": (0.8, 0.9), "weight_decay": 0.1}
    registered = R.get("optim.AdamW")(PARAMETERS, **arguments)
    assert configs.describe(optim.AdamW(PARAMETERS, **arguments)) == by_json(registered.config_dict())


@pytest.mark.parametrize("make", [
    lambda optimizer: lr_scheduler.StepLR(optimizer, 3, gamma=0.5),
    lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 9, eta_min=0.1),
    lambda optimizer: lr_scheduler.ExponentialLR(optimizer, 0.7),
    lambda optimizer: lr_scheduler.LinearLR(optimizer, total_iters=3),
])
def test_plain_scheduler(make):
    scheduler = make(optim.SGD(PARAMETERS, lr=1))
    config = configs.describe(scheduler)
    again = core.Configurable.load_config_dict({**config, "optimizer": optim.SGD(PARAMETERS, lr=1)})
    for _ in range(5):
        for one in (scheduler, again):
            one.optimizer.step()
            one.step()
        assert scheduler.get_last_lr() == again.get_last_lr()


@pytest.mark.parametrize("make", [
    lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 1.0, 10),
    lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [1, 2]),
    lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0),
    lambda optimizer: Unregistered(),
])
def test_what_cannot_be_described_cannot_be_mistaken(make):
    """No configuration of another one: the full name of the class, of which nothing is built."""
    value = make(optim.SGD(PARAMETERS, lr=1))
    config = configs.describe(value)
    assert config == {"class": "%s.%s" % (type(value).__module__, type(value).__name__)}
    with pytest.raises(KeyError, match="Can't find any registered key"):
        core.Configurable.load_config_dict(config)


@pytest.mark.parametrize("indices", [[0, 2], range(0, 4, 2), torch.tensor([0, 2]), (0, 2)])
def test_subset(indices):
    subset = torch_data.Subset(torch_data.Subset(Chains(5), [4, 3, 2]), indices)
    config = by_json(configs.describe(subset))
    again = core.Configurable.load_config_dict(config)
    assert [int(again[i]["carbons"]) for i in range(len(again))] == [5, 3]
    assert config["dataset"]["dataset"] == {"class": "datasets.ChainsForConfigTests", "number": 5}


def test_sets_joined():
    joined = torch_data.ConcatDataset([Chains(1), torch_data.Subset(Chains(3), [2])])
    again = core.Configurable.load_config_dict(by_json(configs.describe(joined)))
    assert [item["carbons"] for item in again] == [1, 3]


def test_other_values_stay():
    for value in (3, None, "text", [1], {"a": 1}, torch.nn.Linear(1, 1)):
        assert configs.describe(value) is value


def make_engine(scheduler=None):
    torch.manual_seed(0)
    dataset = Chains()
    train, valid, test = torch_data.random_split(dataset, [4, 1, 1])
    task = tasks.PropertyPrediction(models.GIN(18, [4]), task=dataset.tasks, criterion="mse", metric=("mae",))
    optimizer = optim.Adam(task.parameters(), lr=0.25)
    if scheduler:
        scheduler = scheduler(optimizer, 2)
    return core.Engine(task, train, valid, test, optimizer, scheduler, batch_size=2, log_interval=7)


@pytest.mark.parametrize("scheduler", [None, lr_scheduler.StepLR, R.get("scheduler.StepLR")])
def test_engine(scheduler):
    engine = make_engine(scheduler)
    config = by_json(engine.config_dict())
    assert config["optimizer"]["class"] == "optim.Adam" and config["optimizer"]["lr"] == 0.25
    assert config["train_set"]["class"] == "dataset.Subset" and len(config["train_set"]["indices"]) == 4
    given = copy.deepcopy(config)
    again = core.Engine.load_config_dict(config)
    assert config == given, "the given configuration has changed"
    config_again = by_json(again.config_dict())
    if scheduler:
        # defaults that only the registered class records
        for name in ("last_epoch", "verbose"):
            config["scheduler"].pop(name, None), config_again["scheduler"].pop(name, None)
    assert config_again == config
    assert (again.batch_size, again.meter.log_interval) == (2, 7)
    if scheduler:
        assert again.scheduler.optimizer is again.optimizer
        assert (again.scheduler.step_size, again.scheduler.gamma) == (2, 0.1)
    else:
        assert again.scheduler is None
    again.train(num_epoch=1)
    # the loaded engine trains its own task
    again.model.load_state_dict(engine.model.state_dict())
    again.optimizer.load_state_dict(engine.optimizer.state_dict())


def test_task_from_configuration():
    engine = make_engine()
    config = by_json(engine.model.config_dict())
    assert by_json(core.Configurable.load_config_dict(config).config_dict()) == config
