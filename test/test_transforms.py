"""Residue graphs made item by item: the same graphs, from a configuration, in loader workers, up to training steps."""

import random

import pytest
import torch
import yaml

from gearnet_plugin.datasets import StructureFolder
from gearnet_plugin.graphs import PackedResidueProtein, ResidueProtein
from gearnet_plugin.models import GearNetEncoder
from gearnet_plugin.structures import bundled as files
from gearnet_plugin.tasks import MultiviewContrastive
from gearnet_plugin.transforms import ConstructResidueGraph
from proteins import as_stock, awkward, chain, construction, stock_construction, stock_in_our_order
from torchdrug import core, data, transforms
from torchdrug.layers import geometry

TRANSFORM = """
class: Compose
transforms:
  - class: TruncateProtein
    max_length: 60
  - class: ConstructResidueGraph
    graph_construction_model:
      class: ResidueGraphConstruction
      node_layers: [{class: AlphaCarbonNode}]
      edge_layers:
        - {class: SequentialEdge, max_distance: 2}
        - {class: SpatialEdge, radius: 10.0, min_distance: 5}
        - {class: KNNEdge, k: 10, min_distance: 5}
      edge_feature: gearnet
"""


def few(count=6):
    """Some bundled structures."""
    return [str(path) for path in files.bundled_structures()[:count]]


def from_yaml():
    """The transform as a configuration builds it."""
    return core.Configurable.load_config_dict(yaml.safe_load(TRANSFORM))


@pytest.mark.parametrize("feature", ["gearnet", "residue_type", None])
def test_pack_of_items_is_the_construction_of_the_pack(feature):
    """Bit for bit in every field, whichever way the batch is made."""
    transform = ConstructResidueGraph(construction(feature))
    items = [transform({"graph": protein, "y": i}) for i, protein in enumerate(awkward())]
    assert all(type(item["graph"]) is ResidueProtein and item["graph"].num_edge > 0 for item in items)
    packed = data.graph_collate(items)["graph"]
    expected = construction(feature)(ResidueProtein.pack(awkward()))
    assert packed.meta_dict == expected.meta_dict
    values = {key: value for key, value in expected.__dict__.items() if isinstance(value, torch.Tensor)}
    assert {"_edge_list", "_offsets", "node_position", "num_relation"} <= set(values)
    assert ("edge_code" in values) == (feature is not None), "items carry codes, not features"
    for key, value in values.items():
        assert value.dtype == getattr(packed, key).dtype and torch.equal(value, getattr(packed, key)), key
    assert packed.has_unit_weights
    if feature:
        assert torch.equal(packed.edge_feature, expected.edge_feature)


def test_sample_is_not_changed():
    """The sample and its protein are left alone; other entries are handed on."""
    protein = chain(30)
    item = {"graph": protein, "other": chain(9), "label": 3}
    new = ConstructResidueGraph(construction(), keys=["graph", "other"])(item)
    assert item["graph"] is protein and protein.num_edge == 0 and item["other"].num_edge == 0
    assert new["graph"].num_edge > 0 and new["other"].num_edge > 0 and new["label"] == 3


def test_stock_proteins_and_stock_construction():
    """A stock protein gets the stock graph, by our module or by TorchDrug's own."""
    stock = as_stock(ResidueProtein.pack([chain(40)]))
    with stock_in_our_order():
        expected = stock_construction()(stock)
        for model in (construction(), stock_construction()):
            graph = ConstructResidueGraph(model)({"graph": stock[0]})["graph"]
            assert type(graph) is data.Protein
            assert torch.equal(graph.edge_list, expected.edge_list)
            assert torch.equal(graph.edge_feature, expected.edge_feature)


def test_crops_act_on_the_built_graph():
    """Truncation after the construction keeps the edges between what is left, as in TorchDrug's order."""
    item = {"graph": chain(80)}
    steps = [ConstructResidueGraph(construction()), transforms.TruncateProtein(30)]
    first = transforms.Compose(steps)(item)["graph"]
    last = construction()(ResidueProtein.pack([item["graph"]]), keep=torch.arange(80) < 30)
    assert torch.equal(first.edge_list, last.edge_list) and torch.equal(first.edge_feature, last.edge_feature)


def test_configuration_round_trip():
    """Config to object to config is the identity, in a dataset too."""
    transform = from_yaml()
    config = transform.config_dict()
    copy = core.Configurable.load_config_dict(config)
    assert copy.config_dict() == config
    inner = config["transforms"][1]
    assert inner["class"] == "transforms.ConstructResidueGraph"
    assert inner["graph_construction_model"]["edge_feature"] == "gearnet"
    dataset = StructureFolder(few(2), transform=transform, verbose=0)
    again = core.Configurable.load_config_dict(dataset.config_dict())
    assert again.config_dict() == dataset.config_dict()
    assert torch.equal(again[1]["graph"].edge_list, dataset[1]["graph"].edge_list)
    assert again[0]["graph"].num_residue <= 60


@pytest.mark.parametrize("num_worker", [0, 2])
def test_two_training_steps(num_worker):
    """A task without graph construction of its own learns from items that have edges, made here or by workers."""
    dataset = StructureFolder(few(), transform=from_yaml(), verbose=0)
    torch.manual_seed(0)
    random.seed(0)
    model = GearNetEncoder(21, [8, 8], 7, edge_input_dim=59, num_angle_bin=8, batch_norm=True)
    task = MultiviewContrastive(
        model,
        [geometry.SubsequenceNode(30), geometry.SubspaceNode("residue", 15.0, 15)],
        [geometry.IdentityNode(), geometry.RandomEdgeMask(0.15)],
        graph_construction_model=None,
    )
    seen = []
    draw = task.draw_view
    task.draw_view = lambda graph, *rest: seen.append(graph) or draw(graph, *rest)
    before = model.edge_layers[0].linear.weight.detach().clone()
    optimizer = torch.optim.Adam(task.parameters(), lr=1e-3)
    engine = core.Engine(task, dataset, None, None, optimizer, batch_size=3, num_worker=num_worker, log_interval=1)
    engine.train(1)
    assert all(isinstance(graph, PackedResidueProtein) and graph.num_edge > 500 for graph in seen) and len(seen) >= 2
    assert not torch.equal(before, model.edge_layers[0].linear.weight)
    assert model.edge_layers[0].linear.weight.isfinite().all()


def test_wrong_input():
    """What is no protein, no single one or no construction is refused by name."""
    transform = ConstructResidueGraph(construction())
    with pytest.raises(ValueError, match="takes a single protein, but found `PackedResidueProtein`; a batch goes to"):
        transform({"graph": ResidueProtein.pack([chain(4)])})
    with pytest.raises(ValueError, match="takes a single protein, but found `list`"):
        transform({"graph": [1]})
    with pytest.raises(ValueError, match="no `graph` in the sample, which has `protein`, `label`"):
        transform({"protein": chain(3), "label": 1})
    with pytest.raises(ValueError, match="graph_construction_model should be a graph construction.*found `NoneType`"):
        ConstructResidueGraph(None)
    with pytest.raises(ValueError, match="more than max_residues=20"):
        ConstructResidueGraph(construction(max_residues=20))({"graph": chain(21)})
