"""Modules in TorchDrug's style that are defined after the import, beside plain ones that stay plain."""
import pytest
import torch
from torch import nn

from torchdrug import core, data, layers


class Mine(nn.Module, core.Configurable):
    def __init__(self, dim=2):
        super().__init__()
        self.linear = nn.Linear(dim, dim)


class MineToo(Mine):
    pass


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(1, 1)


def line():
    return data.Graph([[0, 1], [1, 2]], num_node=3)


@pytest.mark.parametrize("cls", [Mine, MineToo])
def test_device_of_parameters(cls):
    assert cls().device == torch.device("cpu")
    assert cls().to("meta").device == torch.device("meta")


def test_device_of_buffers_and_of_nothing():
    class Buffered(nn.Module, core.Configurable):
        pass

    module = Buffered()
    with pytest.raises(AttributeError, match="device"):
        module.device  # noqa: B018
    module.register_buffer("table", torch.zeros(2, device="meta"))
    assert module.device == torch.device("meta")


def test_device_may_be_assigned():
    class Assigning(nn.Module, core.Configurable):
        def __init__(self):
            super().__init__()
            self.device = "somewhere"

    assert Assigning().device == "somewhere"


def test_own_device_is_kept():
    class Own(nn.Module, core.Configurable):
        device = property(lambda self: "mine")

    assert Own().device == "mine"


@pytest.mark.parametrize("cls", [Mine, MineToo])
def test_graph_as_buffer(cls):
    module = cls()
    module.register_buffer("graph", line())
    module.register_buffer("table", torch.ones(2), persistent=False)
    assert module.graph.num_node == 3
    assert "graph" in dict(module.named_buffers())
    assert "table" not in module.state_dict()
    with pytest.raises(KeyError, match="already exists"):
        module.register_buffer("linear", line())
    with pytest.raises(TypeError, match="cannot assign"):
        module.register_buffer("list", [1, 2])


def test_subclass_of_a_layer_of_torchdrug():
    class Sum(layers.MessagePassingBase):
        def message(self, graph, input):
            return input[graph.edge_list[:, 0]]

    layer = Sum()
    layer.register_buffer("graph", line())
    assert layer.device == torch.device("cpu")


def test_plain_module_is_untouched():
    assert Plain.register_buffer is nn.Module.register_buffer
    assert not hasattr(Plain(), "device")
    assert type(Plain) is type


def test_arguments_are_recorded():
    assert Mine(dim=4).config_dict() == {"class": "Mine", "dim": 4}


def test_data_set_in_torchdrugs_style():
    class Numbers(torch.utils.data.Dataset, core.Configurable):
        def __init__(self, n):
            self.n = n

        def __len__(self):
            return self.n

    assert Numbers(3).config_dict() == {"class": "Numbers", "n": 3}
