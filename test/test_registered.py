"""What holds for every class that this package registers."""
import inspect
import os
import tempfile

import pytest

import gearnet_plugin  # noqa: F401
from deepfri_files import write_release
from gearnet_plugin.structures import bundled
from ieconv_files import SHORT, domain, stem, write_lists
from proteins import construction
from torchdrug import core, models
from torchdrug.layers import geometry

OURS = {key: cls for key, cls in core.Registry.table.flatten().items()
        if cls.__module__.startswith("gearnet_plugin") and "compat" not in cls.__module__}
# arguments that differ from the defaults, so that a lost one shows
ARGUMENTS = {
    "models.GearNetEncoder": lambda: dict(
        input_dim=21, hidden_dims=[8, 4], num_relation=7, edge_input_dim=59, num_angle_bin=6, short_cut=True,
        batch_norm=True, activation="tanh", concat_hidden=True, readout="mean", backend="reference", precision="bf16"),
    "models.GearNetIEConvEncoder": lambda: dict(
        input_dim=21, embedding_dim=12, hidden_dims=[8, 4], num_relation=7, edge_input_dim=59, batch_norm=True,
        activation="tanh", concat_hidden=True, short_cut=False, readout="mean", dropout=0.3, num_angle_bin=6,
        layer_norm=True, ieconv="film", frames="chain", backend="reference", precision="bf16"),
    "models.SequenceStructureFusion": lambda: dict(
        sequence_model=models.ProteinLSTM(21, 4, 1), structure_model=small(), fusion="parallel", freeze_sequence=True,
        features=cached()),
    "layers.RelationalGeometricConv": lambda: dict(
        input_dim=3, output_dim=4, num_relation=5, edge_input_dim=6, batch_norm=True, activation="tanh"),
    "layers.ResidueGraphConstruction": lambda: dict(
        node_layers=[geometry.AlphaCarbonNode()], edge_layers=[geometry.SequentialEdge(1)], edge_feature="gearnet",
        gaps="number", max_residues=1000, max_edges=20000),
    "transforms.ConstructResidueGraph": lambda: dict(
        graph_construction_model=construction(gaps="number"), keys=["graph", "other"]),
    "tasks.MultiviewContrastive": lambda: dict(
        model=core.Registry.get("models.GearNetEncoder")(21, [8], 7), crop_funcs=[geometry.SubsequenceNode(30)],
        noise_funcs=[geometry.RandomEdgeMask(0.3)], num_mlp_layer=3, activation="tanh", tau=0.2,
        graph_construction_model=construction(gaps="number"), draw="protein", directions=2, gather_negatives=True,
        draws="global", seed=3),
    "tasks.MaskedResiduePrediction": lambda: dict(
        model=small(), mask_rate=0.3, num_mlp_layer=3, graph_construction_model=construction("gearnet", gaps="number"),
        mask="token", replacement=False, draws="global", seed=3, max_length=50),
    "tasks.EdgeDistancePrediction": lambda: dict(
        model=small(), num_sample=7, num_mlp_layer=3, graph_construction_model=construction(gaps="number"),
        remove="pair", self_loops=False, replacement=False, draws="global", seed=3, max_length=50),
    "tasks.EdgeAnglePrediction": lambda: dict(
        model=small(), num_sample=7, num_class=5, num_mlp_layer=3, graph_construction_model=construction(gaps="number"),
        remove="pair", self_loops=False, replacement=False, draws="global", seed=3, max_length=50),
    "tasks.EdgeDihedralPrediction": lambda: dict(
        model=small(), num_sample=7, num_class=5, num_mlp_layer=3, graph_construction_model=construction(gaps="number"),
        remove="pair", self_loops=False, replacement=False, signed=True, order="path", draws="global", seed=3,
        max_length=50),
    "tasks.CombinedPretraining": lambda: dict(
        model=small(), objectives=[{"class": "EdgeDistancePrediction", "num_sample": 7, "weight": 0.5}],
        graph_construction_model=construction(gaps="number")),
    "tasks.ProteinPropertyPrediction": lambda: dict(
        model=small(), task=["site"], criterion="ce", metric=["acc", "top_2"], level="residue", num_mlp_layer=2,
        num_class=3, normalization=False, mlp_batch_norm=True, mlp_dropout=0.1, class_weight="balanced",
        freeze_encoder=True, graph_construction_model=construction(gaps="number"), verbose=1),
    "datasets.StructureFolder": lambda: dict(
        path=[str(path) for path in bundled.bundled_structures()[:2]], per="entry", verbose=0),
    "datasets.AlphaFoldStructures": lambda: dict(
        path=tempfile.mkdtemp(), source=few(), max_length=300, verbose=0, num_worker=1),
    "datasets.PDBStructures": lambda: dict(
        path=tempfile.mkdtemp(), source=few(), per="entry", max_resolution=2.5, without_resolution="keep", verbose=0,
        num_worker=1),
    "datasets.EnzymeCommissionStructures": lambda: dict(
        path=write_release(os.path.join(tempfile.mkdtemp(), "EnzymeCommission")), test_cutoff=0.5, num_worker=1,
        verbose=0, download=False),
    "datasets.GeneOntologyStructures": lambda: dict(
        path=write_release(os.path.join(tempfile.mkdtemp(), "GeneOntology"), "GO"), branch="BP", num_worker=1,
        verbose=0, download=False),
    "datasets.FoldStructures": lambda: dict(
        path=write_lists(tempfile.mkdtemp(), {
            "class_map": ["a.1\t0"], **{name: [f"{domain(file)}\tx.9\ta.1"] for name, file in zip(
                ("train", "valid", "test_family", "test_fold", "test_superfamily"), SHORT)}}),
        structures=[str(bundled.bundled_path() / file) for file in SHORT[:5]], test_split="test_family",
        num_worker=1, verbose=0),
    "datasets.ReactionStructures": lambda: dict(
        path=write_lists(tempfile.mkdtemp(), {
            "unique_functions": ["1.1.1.1"], "chain_functions": [f"{chain(file)},0" for file in SHORT[:3]],
            **{name: [chain(file)] for name, file in zip(("training", "validation", "testing"), SHORT)}}),
        structures=[str(bundled.bundled_path() / file) for file in SHORT[:3]], num_worker=1, verbose=0),
}


def small():
    """A small encoder."""
    return core.Registry.get("models.GearNetEncoder")(21, [8], 7)


def cached():
    """A folder of cached features of the LSTM above, as far as the constructor looks at it."""
    from gearnet_plugin.datasets.features import cache_features
    from proteins import chain as random_chain

    path = os.path.join(tempfile.mkdtemp(), "features")
    cache_features(models.ProteinLSTM(21, 4, 1), [random_chain(5)], path, verbose=0)
    return path


def few():
    """Three structure files."""
    return [str(path) for path in bundled.bundled_structures()[:3]]


def chain(file):
    """Name of a bundled file as the lists of reactions write it."""
    return stem(file).replace("_", ".")


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
