"""
translate(): the predecessors' classes become ours where they mean the same, and nothing else changes. Whole files of
theirs are in test_translate_files.py.
"""

import copy
import inspect
import os
import re
import subprocess
import sys

import pytest
import torch
import yaml
from easydict import EasyDict

import gearnet_plugin
from conftest import ROOT
from gearnet_plugin.engine.build import check
from gearnet_plugin.predecessors import RESIDUE_DATASETS, RULES
from gearnet_plugin.translate import translate
from proteins import bundled
from torchdrug import core, layers

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
    assert [line.partition(" (")[0] for line in replacements[:2]] == [
        "dataset: AlphaFoldDB -> AlphaFoldStructures",
        "task: DihedralPrediction -> EdgeDihedralPrediction",
    ]
    assert replacements[2:] == [
        "task.model: GearNet -> GearNetIEConvEncoder (GearNet takes no `embedding_dim`, `layer_norm`, `dropout`, "
        "`use_ieconv`)",
        "task.graph_construction_model: GraphConstruction -> ResidueGraphConstruction",
    ]
    expected = config(IECONV)
    expected["dataset"]["class"] = "AlphaFoldStructures"
    del expected["dataset"]["species_start"], expected["dataset"]["species_end"]
    expected["dataset"]["species"] = list(range(22))
    expected["task"]["class"] = "EdgeDihedralPrediction"
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
        "dataset: EnzymeCommission -> EnzymeCommissionStructures",
        "task: MultipleBinaryClassification -> ProteinPropertyPrediction",
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
        {"class": "EnzymeCommission", "path": "x", "transform": {"class": "ProteinView", "view": "bond"}},
        {"class": "Fold3D", "path": "x"},
        {"class": "ClinTox", "path": "x"},
    ],
)
@pytest.mark.parametrize(
    "task",
    [
        {"class": "AttributeMasking"},
        {"class": "DistancePrediction"},
        {"class": "MultipleBinaryClassification"},
        {"class": "PropertyPrediction", "criterion": "ce", "metric": "acc"},
        {"class": "Unsupervised", "model": {"class": "MultiviewContrast", "crop_funcs": [], "noise_funcs": []}},
    ],
)
def test_other_graphs_stay_with_torchdrug(dataset, task):
    """Atoms and bonds of proteins and molecules; what is not TorchDrug's is translated all the same."""
    given = {
        "dataset": dataset,
        "task": {**task, "head": {"class": "GearNet"}, "graph_construction_model": {"class": "GraphConstruction"}},
    }
    assert translate(given) == (given, [])
    given["task"]["head"] = {"class": "FusionNetwork", "structure_model": {"class": "GearNetIEConv"}}
    assert len(translate(given)[1]) == 2


def in_residues(dataset="EnzymeCommission", cls="MultipleBinaryClassification", data=None, **arguments):
    view = {"class": "ProteinView", "view": "residue"}
    return {
        "dataset": {"class": dataset, "path": "x", "transform": view, **(data or {})},
        "task": {"class": cls, **arguments},
    }


@pytest.mark.parametrize(
    "given",
    [
        in_residues("BetaLactamase", "PropertyPrediction", criterion="mse", metric=["mae"]),
        in_residues("AlphaFoldDB", "AttributeMasking", data={"residue_feature": "symbol"}, new=1),
        in_residues("AlphaFoldDB", "AttributeMasking", data={"species_start": 3, "species_end": 3}, new=1),
        in_residues("AlphaFoldDB", "AttributeMasking", data={"species_end": "x"}, new=1),
        in_residues("EnzymeCommission", cls="Unsupervised", data={"mol_feature": "default"}),
        in_residues("StructureFolder", "MultipleBinaryClassification", task=[0, 1]),
        in_residues("NewData", "AnglePrediction", order="path"),
        in_residues("NewData", "Unsupervised", model={"class": "MultiviewContrast", "temperature": 1}),
        in_residues("NewData", "Unsupervised", model={"class": "InfoGraph"}),
        in_residues("NewData", "tasks.Unsupervised", model={"class": "layers.MultiviewContrast"}),
        {"class": "GearNet", "dropuot": 0.1},
        {"class": "GearNet", "dropout": 0.2, "ieconv": True},
        {"class": "FusionNetwork", "heads": 8},
        {"class": "GraphConstruction", "edge_features": "gearnet"},
        {"class": "ReduceLROnPlateau", "verbose": True},
        {"class": "ReduceLROnPlateau", "mode": "max"},
    ],
)
def test_what_does_not_mean_the_same_stays(given):
    """Unknown data, arguments that are not known or mean something else, and what names our data on purpose."""
    assert translate(given) == (given, [])


@pytest.mark.parametrize(
    "given",
    [
        {"cls": "MultipleBinaryClassification", "criterion": {"bce": 2}},
        {"cls": "MultipleBinaryClassification", "metric": ["f1_max", "accuracy"]},
        {"cls": "MultipleBinaryClassification", "reweight": "some"},
        {"cls": "PropertyPrediction", "criterion": "ce"},
        {"cls": "PropertyPrediction", "criterion": "mse", "num_class": 3},
        {"cls": "PropertyPrediction", "criterion": ["mse", "ce"], "metric": ["acc"]},
        {"cls": "PropertyPrediction", "criterion": "bce", "metric": ["acc"]},
        {"cls": "PropertyPrediction", "criterion": "hinge", "metric": ["acc"]},
        {"cls": "PropertyPrediction", "metric": {"mae": 1}},
    ],
)
def test_tasks_that_do_something_else_stay(given):
    """The data are replaced, the task is TorchDrug's."""
    given = in_residues(**given)
    result, lines = translate(given)
    assert lines == ["dataset: EnzymeCommission -> EnzymeCommissionStructures"] and result["task"] == given["task"]


@pytest.mark.parametrize(
    "given, expected",
    [
        ({"cls": "MultipleBinaryClassification"}, {}),
        ({"cls": "MultipleBinaryClassification", "reweight": False, "verbose": 1}, {"verbose": 1}),
        ({"cls": "MultipleBinaryClassification", "reweight": True}, {"class_weight": "reweight"}),
        (
            {"cls": "MultipleBinaryClassification", "metric": "auroc@macro", "normalization": False},
            {"metric": "auroc@macro", "normalization": False},
        ),
        ({"cls": "PropertyPrediction"}, {"criterion": "mse", "metric": ["mae", "rmse"]}),
        (
            {"cls": "PropertyPrediction", "metric": ["spearmanr", "r2"], "num_class": 1},
            {"criterion": "mse", "metric": ["spearmanr", "r2"], "num_class": 1},
        ),
        (
            {"cls": "PropertyPrediction", "criterion": "ce", "metric": ["acc", "mcc"], "num_class": [7]},
            {"criterion": "ce", "metric": ["acc", "mcc"], "num_class": [7]},
        ),
        (
            {"cls": "PropertyPrediction", "criterion": "bce", "metric": "auroc", "mlp_dropout": 0.5},
            {"criterion": "bce", "metric": "auroc", "mlp_dropout": 0.5},
        ),
    ],
)
def test_fine_tuning(given, expected):
    """Defaults that differ from ours are written out; the result is a task that our schema takes."""
    result, lines = translate(
        in_residues(**given, model={"class": "ProteinLSTM", "input_dim": 21, "hidden_dim": 8, "num_layers": 1})
    )
    task = result["task"]
    line, _, reason = lines[1].partition(" (")
    assert line == f"task: {given['cls']} -> ProteinPropertyPrediction" and task.pop("class") == line.split()[-1]
    assert bool(reason) == ("@macro" in str(given.get("metric")))
    check({"class": "ProteinPropertyPrediction", **task}, "task")
    task.pop("model")
    assert task == expected


@pytest.mark.parametrize(
    "metric, said",
    [
        (["auroc@macro", "f1_max"], "`auroc@macro` leaves out labels that never occur, where TorchDrug takes 0"),
        (["auroc@macro", "auprc@macro"], "`auroc@macro` and `auprc@macro` leave out labels"),
    ],
)
def test_a_metric_of_another_value_is_told(metric, said):
    """The mean over labels is over other labels; the released files do not ask for it."""
    _, lines = translate(in_residues(metric=metric))
    assert said in lines[1]


def test_contrast_loses_its_wrapper():
    """Arguments of the wrapped model become the task's; paths are those of the file."""
    model = {"class": "models.MultiviewContrast", "model": {"class": "GearNet"}, "crop_funcs": [1], "noise_funcs": [2]}
    given = in_residues("AlphaFoldDB", "tasks.Unsupervised", model={**model, "tau": 0.1, "num_mlp_layer": 3})
    given["task"]["graph_construction_model"] = {"class": "GraphConstruction"}
    result, lines = translate(given)
    assert result["task"] == {
        "class": "tasks.MultiviewContrastive",
        "model": {"class": "GearNetEncoder"},
        "crop_funcs": [1],
        "noise_funcs": [2],
        "tau": 0.1,
        "num_mlp_layer": 3,
        "graph_construction_model": {"class": "ResidueGraphConstruction"},
    }
    assert lines[1:] == [
        "task: Unsupervised around MultiviewContrast -> MultiviewContrastive",
        "task.model.model: GearNet -> GearNetEncoder",
        "task.graph_construction_model: GraphConstruction -> ResidueGraphConstruction",
    ]


@pytest.mark.parametrize(
    "given, species, words",
    [
        ({"species_start": 0, "species_end": 22}, range(22), "species 0 to 21: .* of Swiss-Prot, species 21, all that"),
        (
            {"species_start": 0, "species_end": 21},
            range(21),
            "species 0 to 20: .* Swiss-Prot, species 21, is not among",
        ),
        (
            {"species_end": 3, "species_id": 9, "split_id": 1},
            range(3),
            "species_start 0, species_end 3 -> species 0 to 2",
        ),
        ({"species_start": 4, "species_end": 6}, range(4, 6), r"species 4 to 5: all their structures .*shuffled\)$"),
    ],
)
def test_the_loop_over_species_becomes_one_dataset(given, species, words):
    """`species_end` is not part of it, and what the released script puts into its place is left out."""
    result, (line, *_) = translate(in_residues("AlphaFoldDB", data={**given, "atom_feature": None}))
    assert result["dataset"]["species"] == list(species)
    assert not {"species_start", "species_end", "species_id", "split_id"} & set(result["dataset"])
    assert re.search(words, line), line
    check(result["dataset"], "dataset")


def test_one_split_of_a_species_stays_one():
    data = {"species_id": 3, "split_id": 1}
    result, (line, *_) = translate(in_residues("AlphaFoldDB", data=data))
    assert line == "dataset: AlphaFoldDB -> AlphaFoldStructures"
    assert {name: result["dataset"].get(name) for name in (*data, "species")} == {**data, "species": None}


def fusion(sequence="ESM", cls="FusionNetwork", **more):
    model = {"class": cls, "sequence_model": {"class": sequence}, "structure_model": {"class": "GearNet"}}
    return {"task": {"class": "Unsupervised", "model": {"class": "MultiviewContrast", "model": model}}, **more}


@pytest.mark.parametrize("cls", ["FusionNetwork", "SequenceStructureFusion"])
def test_a_frozen_sequence_model_is_the_fusions(cls):
    """At whatever depth, and for whoever names ours already."""
    result, lines = translate(fusion(cls=cls, fix_sequence_model=True))
    assert result["task"]["model"]["freeze_sequence"] is True and "fix_sequence_model" not in result
    assert lines[-1] == "fix_sequence_model: true -> `freeze_sequence: true` of the fusion"
    result, lines = translate(fusion(cls=cls, fix_sequence_model=False))
    assert "freeze_sequence" not in result["task"]["model"] and "fix_sequence_model" not in result
    assert lines[-1].startswith("fix_sequence_model: false -> left out: nothing is frozen, where the released script")


def test_a_learning_rate_of_nothing_freezes_esm():
    """Which has no dropout; other models keep the setting, and the schema says what it takes."""
    result, lines = translate(fusion(sequence_model_lr_ratio=0))
    assert result["task"]["model"]["freeze_sequence"] is True and "sequence_model_lr_ratio" not in result
    assert lines[-1].startswith("sequence_model_lr_ratio: 0 -> `freeze_sequence: true` of the fusion")
    for given in (fusion("ProteinBERT", sequence_model_lr_ratio=0), fusion(sequence_model_lr_ratio=0.1)):
        result, lines = translate(given)
        assert result["sequence_model_lr_ratio"] == given["sequence_model_lr_ratio"]
        assert "freeze_sequence" not in result["task"]["model"]


@pytest.mark.parametrize(
    "given", [{"fix_sequence_model": True}, {"sequence_model_lr_ratio": 0}, {"fix_sequence_model": "x"}]
)
def test_settings_without_a_fusion_stay(given):
    """The schema names them."""
    given = {"task": {"class": "DistancePrediction", "order": 1, "model": {"class": "ESM"}}, **given}
    assert translate(given) == (given, [])


def test_the_mode_of_the_plateau_is_written_out():
    given = {"scheduler": {"class": "ReduceLROnPlateau", "factor": 0.6, "patience": 5}, "metric": "f1_max"}
    result, (line,) = translate(given)
    assert result["scheduler"] == {**given["scheduler"], "mode": "min"}
    assert line.startswith("scheduler: no `mode` -> mode: min (torch's default, written out: lower counts as better, ")
    assert "falls while `f1_max` rises" in line and "`mode: max` lets it fall when that no longer rises" in line
    # a class of ours has that default too
    assert torch.optim.lr_scheduler.ReduceLROnPlateau.__init__.__defaults__[0] == "min"


def test_edges_in_the_file_without_are_told():
    """What can be known from the content: GO-MF, edges, no checkpoint."""

    def line(**changes):
        data = {"branch": changes.pop("branch", "MF")}
        model = {"class": "GearNet", "edge_input_dim": changes.pop("edges", 59)}
        return translate({**in_residues("GeneOntology", data=data, model=model), **changes})[1][2]

    assert line().startswith("task.model: GearNet -> GearNetEncoder (GearNet-Edge, as `edge_input_dim` and")
    assert "GO-MF/gearnet.yaml is that too, against its name" in line()
    for other in ({"model_checkpoint": None}, {"branch": "BP"}, {"edges": None}):
        assert line(**other) == "task.model: GearNet -> GearNetEncoder", other


def test_what_is_not_here_is_told():
    """Classes of ESM-GearNet without a counterpart stay, with a line each where anything else is replaced."""
    given = in_residues("MSPDataset", "MSP", model={"class": "FusionNetwork", "structure_model": {"class": "CDConv"}})
    result, lines = translate(given)
    assert lines == [
        "task.model: FusionNetwork -> SequenceStructureFusion",
        "dataset: MSPDataset of ESM-GearNet is not here, and left as it is",
        "task: MSP of ESM-GearNet is not here, and left as it is",
        "task.model.structure_model: CDConv of ESM-GearNet is not here, and left as it is",
    ]
    assert translate(result) == (result, [])


def test_cross_attention_says_what_else_is_trained():
    model = {"class": "FusionNetwork", "fusion": "cross", "cross_dim": 512}
    line = translate({"task": {"model": model}, "sequence_model_lr_ratio": 0.1})[1][0]
    assert "`seq_linear`, `struct_linear` and `attn` are trained; the released script" in line
    assert translate({"task": {"model": model}})[1] == ["task.model: FusionNetwork -> SequenceStructureFusion"]
    assert translate({**model, "fusion": "parallel"})[0] == {"class": "SequenceStructureFusion", "fusion": "parallel"}


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
    """
    Ours are registered. Of what TorchDrug's take nothing is forgotten, and ours takes it, with the same default; where
    not, something rewrites it.
    """
    rewritten = {
        *("species_start", "species_end", "reweight", "cross_dim"),
        *(("PropertyPrediction", name) for name in ("criterion", "metric", "num_class")),
        *(("MultipleBinaryClassification", name) for name in ("metric", "reweight")),
        *(("Unsupervised", "model"), ("AlphaFoldDB", "species_id"), ("AlphaFoldDB", "split_id")),
        ("GeometricRelationalGraphConv", "batch_norm"),
    }
    for rule in RULES:
        own = inspect.signature(core.Registry.get(f"{rule.kind}.{rule.ours}")).parameters
        stock = stock_class(rule)
        theirs = {} if stock is None else inspect.signature(stock).parameters
        for name in rule.arguments:
            assert name in own or name in rewritten, (rule.theirs, name)
            known = theirs.get(name)
            if known is not None and name in own and (rule.theirs, name) not in rewritten:
                assert own[name].default == known.default, (rule.theirs, name)
        assert set(theirs) - {"optimizer", "mode"} <= set(rule.arguments), rule.theirs


def stock_class(rule):
    """TorchDrug's class; None for one of the repositories, or one whose arguments it does not name."""
    cls = getattr(layers, rule.theirs, None) or core.Registry.table.flatten().get(f"{rule.kind}.{rule.theirs}")
    # the faulty file means the GearNet repository's encoder
    return None if rule.kind == "datasets" or rule.ours == "GearNetIEConvEncoder" else cls


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"class": None},
        {"class": ["GearNet"]},
        {"class": "GearNetEncoder", "dropout": 1},
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
