"""translate(): the predecessors' classes become ours where they mean the same, and nothing else changes."""

import copy
import os
import subprocess
import sys

import pytest
import yaml
from easydict import EasyDict

import gearnet_plugin
from conftest import ROOT
from gearnet_plugin.engine.build import check
from gearnet_plugin.translate import RESIDUE_DATASETS, RULES, translate
from proteins import bundled
from torchdrug import core, layers, models

# of the shape of the GearNet repository's files
IECONV = """
output_dir: ~/scratch/protein_output
dataset:
  class: AlphaFoldDB
  path: ~/scratch/protein-datasets/alphafold
  species_start: 0
  species_end: 22
  atom_feature: null
  bond_feature: null
  transform:
    class: Compose
    transforms:
      - class: ProteinView
        view: residue
      - class: TruncateProtein
        max_length: 100
        random: True
task:
  class: DihedralPrediction
  num_sample: 512
  num_class: 8
  num_mlp_layer: 2
  model:
    class: GearNet
    input_dim: 21
    embedding_dim: 16
    hidden_dims: [16, 16]
    batch_norm: True
    concat_hidden: True
    short_cut: True
    readout: 'sum'
    num_relation: 7
    edge_input_dim: 59
    num_angle_bin: 8
    layer_norm: True
    dropout: 0.2
    use_ieconv: True
  graph_construction_model:
    class: GraphConstruction
    node_layers:
      - class: AlphaCarbonNode
    edge_layers:
      - class: SequentialEdge
        max_distance: 2
      - class: SpatialEdge
        radius: 10.0
        min_distance: 5
      - class: KNNEdge
        k: 10
        min_distance: 5
    edge_feature: gearnet
optimizer: {class: Adam, lr: 1.0e-3}
engine: {gpus: null, batch_size: 32}
save_interval: 5
train: {num_epoch: 100}
"""
FUSION = """
dataset: {class: EnzymeCommission, path: x, transform: {class: ProteinView, view: residue}}
task:
  class: MultipleBinaryClassification
  model:
    class: FusionNetwork
    sequence_model: {class: ProteinLSTM, input_dim: 21, hidden_dim: 8, num_layers: 1}
    structure_model: {class: GearNet, input_dim: 16, hidden_dims: [8], num_relation: 7}
"""


def config(text):
    return yaml.safe_load(text)


def test_the_faulty_file_becomes_the_ieconv_encoder():
    """GearNet with IEConv arguments, a TypeError where it was released, builds; each replacement is a line."""
    given = config(IECONV)
    result, replacements = translate(given)
    assert given == config(IECONV)
    assert replacements == [
        "task.model: GearNet -> GearNetIEConvEncoder (GearNet takes no `embedding_dim`, `layer_norm`, `dropout`, "
        "`use_ieconv`)",
        "task.graph_construction_model: GraphConstruction -> ResidueGraphConstruction",
    ]
    expected = config(IECONV)
    expected["task"]["model"]["class"] = "GearNetIEConvEncoder"
    expected["task"]["graph_construction_model"]["class"] = "ResidueGraphConstruction"
    assert result == expected
    with pytest.raises(TypeError):
        core.Configurable.load_config_dict(given["task"]["model"])
    check(result["task"]["model"], "task.model")
    encoder = core.Configurable.load_config_dict(result["task"]["model"])
    graph = core.Configurable.load_config_dict(result["task"]["graph_construction_model"])(
        gearnet_plugin.ResidueProtein.pack(bundled(1, 100))
    )
    assert encoder(graph, graph.node_feature.float())["graph_feature"].shape == (1, 32)


@pytest.mark.parametrize("name", ["embedding_dim", "layer_norm", "dropout", "use_ieconv"])
def test_one_argument_of_ieconv_is_enough(name):
    result, (line,) = translate({"class": "GearNet", "input_dim": 21, name: 1})
    assert result["class"] == "GearNetIEConvEncoder" and f"takes no `{name}`" in line and line.startswith("(top)")


def test_nested_models_and_full_names():
    """Anywhere in mappings and lists; a name in full stays one."""
    result, replacements = translate(config(FUSION))
    model = result["task"]["model"]
    assert model["class"] == "SequenceStructureFusion" and model["structure_model"]["class"] == "GearNetEncoder"
    assert model["sequence_model"] == config(FUSION)["task"]["model"]["sequence_model"]
    assert replacements == [
        "task.model: FusionNetwork -> SequenceStructureFusion",
        "task.model.structure_model: GearNet -> GearNetEncoder",
    ]
    assert core.Configurable.load_config_dict(copy.deepcopy(model)).output_dim == 16
    result, replacements = translate({"a": [[{"class": "models.GearNetIEConv"}], ({"class": "layers.GearNet"},)]})
    assert result == {"a": [[{"class": "models.GearNetIEConvEncoder"}], ({"class": "layers.GearNet"},)]}
    assert replacements == ["a.0.0: models.GearNetIEConv -> models.GearNetIEConvEncoder"]


@pytest.mark.parametrize("text", [IECONV, FUSION])
def test_twice_is_once(text):
    once, _ = translate(config(text))
    assert translate(once) == (once, [])


def test_input_is_never_changed_nor_shared():
    """What is done to the result afterwards does not reach the input; an EasyDict stays one."""
    given = EasyDict(config(IECONV))
    before = copy.deepcopy(given)
    result, _ = translate(given)
    result.task.model.hidden_dims.append(1)
    result.dataset.transform.transforms[0].view = "atom"
    assert given == before and isinstance(result.task.model, EasyDict)


@pytest.mark.parametrize(
    "dataset",
    [
        {"class": "AlphaFoldDB", "path": "x"},
        {"class": "AlphaFoldDB", "transform": {"class": "ProteinView", "view": "atom"}},
        {"class": "ClinTox", "path": "x"},
    ],
)
def test_other_graphs_stay_with_torchdrug(dataset):
    """Atoms of proteins and molecules; what is not TorchDrug's is translated all the same."""
    given = {
        "dataset": dataset,
        "task": {"model": {"class": "GearNet"}, "graph_construction_model": {"class": "GraphConstruction"}},
    }
    assert translate(given) == (given, [])
    given["task"]["model"] = {"class": "FusionNetwork", "structure_model": {"class": "GearNetIEConv"}}
    assert len(translate(given)[1]) == 2


@pytest.mark.parametrize("name", RESIDUE_DATASETS)
def test_our_datasets_have_residues(name):
    """They need no ProteinView, and are the ones that are registered."""
    result, _ = translate({"dataset": {"class": name}, "task": {"model": {"class": "GearNet"}}})
    assert result["task"]["model"]["class"] == "GearNetEncoder"
    assert core.Registry.search(name).__module__.startswith("gearnet_plugin")


def test_all_our_datasets_are_known():
    ours = {key.rpartition(".")[2] for key, value in core.Registry.table.flatten().items()
            if key.startswith("datasets.") and value.__module__.startswith("gearnet_plugin")}  # fmt: skip
    assert ours == set(RESIDUE_DATASETS)


def test_every_rule_has_a_class_with_its_arguments():
    """Ours are registered, and take all that TorchDrug's take, with the same defaults."""
    import inspect

    stock = {"GearNet": models.GearNet, "GraphConstruction": layers.GraphConstruction}
    for rule in RULES:
        ours = core.Registry.get(f"{rule.kind}.{rule.ours}")
        if rule.stock:
            own = inspect.signature(ours).parameters
            for name, parameter in inspect.signature(stock[rule.theirs]).parameters.items():
                assert own[name].default == parameter.default, name


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"class": None},
        {"class": ["GearNet"]},
        {"class": "GearNetEncoder", "dropout": 1},
        {"class": "FusionNetwork", "fusion": "cross"},
        {"name": "GearNet", "path": "GraphConstruction", "list": ["GearNet", 1, None, True]},
    ],
)
def test_nothing_else_is_touched(value):
    assert translate(value) == (value, [])


def test_own_configurations_are_as_they_should_be():
    """None of this package's files needs a translation."""
    count = 0
    for folder, _, names in os.walk(os.path.join(ROOT, "config")):
        for name in names:
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                text = file.read().replace("{{", "'{{").replace("}}", "}}'")
            assert translate(yaml.safe_load(text))[1] == [], name
            count += 1
    assert count >= 5


def test_it_is_there_without_torch():
    """As an attribute of the package, which a light import has too."""
    assert gearnet_plugin.translate is translate
    code = (
        "import sys, gearnet_plugin; print(gearnet_plugin.translate({'class': 'GearNet'})[1], 'torch' in sys.modules)"
    )
    env = {**os.environ, "GEARNET_PLUGIN_LIGHT": "1", "PYTHONPATH": ROOT}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['(top): GearNet -> GearNetEncoder'] False"
