"""What holds for every class that this package registers."""
import inspect

import pytest

import gearnet_plugin  # noqa: F401
from gearnet_plugin.structures import bundled
from proteins import construction
from torchdrug import core
from torchdrug.layers import geometry

OURS = {key: cls for key, cls in core.Registry.table.flatten().items()
        if cls.__module__.startswith("gearnet_plugin") and "compat" not in cls.__module__}
# arguments that differ from the defaults, so that a lost one shows
ARGUMENTS = {
    "models.GearNetEncoder": lambda: dict(
        input_dim=21, hidden_dims=[8, 4], num_relation=7, edge_input_dim=59, num_angle_bin=6, short_cut=True,
        batch_norm=True, activation="tanh", concat_hidden=True, readout="mean"),
    "layers.RelationalGeometricConv": lambda: dict(
        input_dim=3, output_dim=4, num_relation=5, edge_input_dim=6, batch_norm=True, activation="tanh"),
    "layers.ResidueGraphConstruction": lambda: dict(
        node_layers=[geometry.AlphaCarbonNode()], edge_layers=[geometry.SequentialEdge(1)], edge_feature="gearnet",
        gaps="number"),
    "tasks.MultiviewContrastive": lambda: dict(
        model=core.Registry.get("models.GearNetEncoder")(21, [8], 7), crop_funcs=[geometry.SubsequenceNode(30)],
        noise_funcs=[geometry.RandomEdgeMask(0.3)], num_mlp_layer=3, activation="tanh", tau=0.2,
        graph_construction_model=construction(gaps="number")),
    "datasets.StructureFolder": lambda: dict(
        path=[str(path) for path in bundled.bundled_structures()[:2]], per="entry", verbose=0),
}


def test_all_are_covered():
    """A newly registered class needs a line above."""
    assert set(ARGUMENTS) == set(OURS)


@pytest.mark.parametrize("key", sorted(OURS))
def test_configuration_holds_every_argument(key):
    """
    The recorded configuration has every argument of the constructor with the value given, and an object built from it
    has the same one. A host class as parent can overwrite it with its own arguments.
    """
    arguments = ARGUMENTS[key]()
    config = OURS[key](**arguments).config_dict()
    assert set(config) - {"class"} == set(inspect.signature(OURS[key].__init__).parameters) - {"self"}
    assert config["class"] == key
    for name, value in arguments.items():
        if isinstance(value, (int, float, str)):
            assert config[name] == value, name
    assert core.Configurable.load_config_dict(config).config_dict() == config


@pytest.mark.parametrize("key", sorted(OURS))
def test_found_by_its_name_alone(key):
    """The last part of the name finds the class, and no other."""
    assert core.Registry.search(key.split(".")[-1]) is OURS[key]
