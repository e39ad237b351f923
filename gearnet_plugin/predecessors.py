"""
What configurations of TorchDrug, the GearNet repository and ESM-GearNet say otherwise: the table of
:func:`gearnet_plugin.translate`, and the small functions that it names. Needs neither torch nor TorchDrug.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

# === arguments of their classes ===

PDB_OPTIONS = ("transform", "lazy", "atom_feature", "bond_feature", "residue_feature", "mol_feature", "kekulize")
GEARNET = (
    *("input_dim", "hidden_dims", "num_relation", "edge_input_dim", "num_angle_bin", "short_cut", "batch_norm"),
    *("activation", "concat_hidden", "readout"),
)
# what GearNet does not take and GearNetIEConv does
IECONV_ARGUMENTS = ("embedding_dim", "layer_norm", "dropout", "use_ieconv")
CONSTRUCTION = ("model", "num_mlp_layer", "graph_construction_model")
CONTRAST = ("model", "crop_funcs", "noise_funcs", "num_mlp_layer", "activation", "tau")
HEAD = ("model", "task", "criterion", "metric", "num_mlp_layer", "normalization", "graph_construction_model", "verbose")

# metrics that mean the same here where no scores are tied, by criterion; see `_what_macro`
NUMBERED_METRICS = ("auroc@macro", "auprc@macro", "auroc@micro", "auprc@micro", "f1_max")
METRICS = {
    "ce": ("acc", "mcc"),
    "mse": ("mae", "rmse", "pearsonr", "spearmanr", "r2"),
    "bce": ("auroc", "auprc"),
}

# our data sets, whose proteins are of view `residue` by themselves
RESIDUE_DATASETS = (
    "AlphaFoldStructures",
    "EnzymeCommissionStructures",
    "FoldStructures",
    "GeneOntologyStructures",
    "PDBStructures",
    "ReactionStructures",
    "StructureFolder",
)
SWISS_PROT = 21


def leaf(config):
    """The name of the class of a mapping without its prefix; None where there is none."""
    name = config.get("class") if isinstance(config, dict) else None
    return name.rpartition(".")[2] if isinstance(name, str) else None


# === what a class means ===


def _ieconv_arguments(config):
    return [name for name in IECONV_ARGUMENTS if name in config]


def _why_ieconv(config, _):
    return "GearNet takes no %s" % ", ".join("`%s`" % name for name in _ieconv_arguments(config))


def _is_edge_in_name_of_none(config, whole):
    """Say what can be known of GO-MF/gearnet.yaml: it is GearNet-Edge from scratch, and another file is that too."""
    dataset = whole.get("dataset")
    edges = config.get("edge_input_dim") or config.get("num_angle_bin")
    molecular = leaf(dataset) == "GeneOntology" and dataset.get("branch", "MF") == "MF"
    if not (edges and molecular and "model_checkpoint" not in whole):
        return ""
    return (
        "GearNet-Edge, as `edge_input_dim` and `num_angle_bin` say and as written; the released GO-MF/gearnet.yaml is "
        "that too, against its name. Without edges: remove the two"
    )


def _is_contrast(config):
    inner = config.get("model")
    return leaf(inner) == "MultiviewContrast" and inner["class"] in ("MultiviewContrast", "models.MultiviewContrast")


def _unwrap(config):
    """The wrapped model's arguments become those of the task."""
    return {**config["model"], **{name: value for name, value in config.items() if name != "model"}}


def _has_known_features(config):
    return config.get("residue_feature") in (None, "default") and config.get("mol_feature") is None


def _without_idle_width(config):
    """Theirs does not look at the width of the attention where there is none; ours refuses it."""
    cross = config.get("fusion") == "cross"
    return {name: value for name, value in config.items() if cross or name != "cross_dim"}


def _what_trains(config, whole):
    if config.get("fusion") != "cross" or "sequence_model_lr_ratio" not in whole:
        return ""
    return (
        "`seq_linear`, `struct_linear` and `attn` are trained; the released script, given `sequence_model_lr_ratio`, "
        "leaves them as drawn"
    )


# === data ===


def _range(config):
    """The species of a loop, or None."""
    start, end = config.get("species_start", 0), config.get("species_end", 0)
    whole = all(isinstance(number, int) and not isinstance(number, bool) for number in (start, end))
    return range(start, end) if whole and 0 <= start < end else None


def _is_alphafold(config):
    loops = "species_start" in config or "species_end" in config
    return _has_known_features(config) and (not loops or _range(config) is not None)


def _join_species(config):
    species = _range(config)
    if species is None:
        return config
    rest = ("species_start", "species_end", "species_id", "split_id")
    return {**{name: value for name, value in config.items() if name not in rest}, "species": list(species)}


def _which_species(config, _):
    species = _range(config)
    if species is None:
        return ""
    text = "species_start %d, species_end %d -> species %d to %d: all their structures as one data set, shuffled" % (
        (species.start, species.stop, species.start, species.stop - 1)
    )
    if SWISS_PROT in species:
        return text + "; of Swiss-Prot, species 21, all that the archive holds, where TorchDrug takes 440,000"
    return text + ("; Swiss-Prot, species 21, is not among them" if species.stop == SWISS_PROT else "")


# === fine-tuning ===


def _known(value, names):
    """Whether a value is left out, or one or several of the names."""
    values = [value] if isinstance(value, str) else value
    return values is None or isinstance(values, (list, tuple)) and all(value in names for value in values)


def _listed(value, kind):
    """Whether a value is left out, or a list of a kind."""
    return value is None or isinstance(value, (list, tuple)) and all(type(entry) is kind for entry in value)


def _is_numbered(config):
    plain = config.get("criterion", "bce") == "bce" and config.get("reweight") in (None, False, True)
    return plain and _listed(config.get("task"), int) and _known(config.get("metric"), NUMBERED_METRICS)


def _is_named(config):
    criterion, metric = config.get("criterion", "mse"), config.get("metric")
    if not isinstance(criterion, str) or criterion not in METRICS or not _listed(config.get("task"), str):
        return False
    # numbers of outputs and, where none are given, metrics of numbers
    fits = criterion == "ce" or config.get("num_class") in (None, 1, [1])
    return fits and (metric is not None or criterion == "mse") and _known(metric, METRICS[criterion])


def _what_macro(config, _):
    """Say where a metric of the same name has another value."""
    metrics = config.get("metric") or ()
    macro = [name for name in ([metrics] if isinstance(metrics, str) else metrics) if name.endswith("@macro")]
    if not macro:
        return ""
    return "%s leave%s out labels that never occur, where TorchDrug takes 0" % (
        " and ".join("`%s`" % name for name in macro),
        "s" * (len(macro) == 1),
    )


def _with_class_weight(config):
    result = {name: value for name, value in config.items() if name != "reweight"}
    if config.get("reweight"):
        result["class_weight"] = "reweight"
    return result


def _with_defaults(config):
    """Write out the defaults that differ from ours."""
    result = {"criterion": "mse", **config}
    if result.get("metric") is None:
        result["metric"] = ["mae", "rmse"]
    return result


# === schedulers ===


def _with_mode(config):
    return {**config, "mode": "min"}


def _what_mode(config, whole):
    metric = "`%s`" % whole["metric"] if isinstance(whole.get("metric"), str) else "a score such as `f1_max`"
    return (
        "torch's default, written out: lower counts as better, so the learning rate falls while %s rises, as in the "
        "released runs; `mode: max` lets it fall when that no longer rises" % metric
    )


# === the table ===


@dataclass(frozen=True)
class Rule:
    """
    A class that takes the place of another.

    Parameters:
        kind (str): prefix under which both are registered
        theirs, ours (str): names
        arguments (tuple of str): what theirs takes; a mapping with anything else is left as it is
        means (Callable, optional): whether a mapping of that class means ours; by default it does
        data (str, optional): on which data theirs is replaced. ``any``; ``residue``: theirs works on other graphs too,
            and is replaced on proteins of view ``residue`` alone; ``replaced``: where the data set is replaced too
        rewrite (Callable, optional): the new mapping from theirs, whose own parts are translated already
        reason (Callable, optional): of the mapping and the whole configuration: what to add to the line
        words (tuple of str, optional): theirs and ours in the line, by default their names
    """

    kind: str
    theirs: str
    ours: str
    arguments: tuple[str, ...]
    means: Callable[[dict], bool] = lambda config: True
    data: str = "residue"
    rewrite: Callable[[dict], dict] = lambda config: config
    reason: Callable[[dict, dict], str] = lambda config, whole: ""
    words: tuple[str, str] | None = None


#: The first rule that fits is taken.
RULES = (
    Rule(
        *("datasets", "AlphaFoldDB", "AlphaFoldStructures"),
        ("path", "species_id", "split_id", "species_start", "species_end", "verbose", *PDB_OPTIONS),
        means=_is_alphafold,
        rewrite=_join_species,
        reason=_which_species,
    ),
    Rule(
        *("datasets", "EnzymeCommission", "EnzymeCommissionStructures"),
        ("path", "test_cutoff", "verbose", *PDB_OPTIONS),
        means=_has_known_features,
    ),
    Rule(
        *("datasets", "GeneOntology", "GeneOntologyStructures"),
        ("path", "branch", "test_cutoff", "verbose", *PDB_OPTIONS),
        means=_has_known_features,
    ),
    Rule("datasets", "Fold3D", "FoldStructures", ("path", "test_split", "verbose", "transform", "lazy")),
    Rule(
        *("tasks", "Unsupervised", "MultiviewContrastive", ("model", "graph_construction_model")),
        means=lambda config: _is_contrast(config) and {"class", *CONTRAST} >= set(config["model"]),
        rewrite=_unwrap,
        words=("Unsupervised around MultiviewContrast", "MultiviewContrastive"),
    ),
    Rule("tasks", "AttributeMasking", "MaskedResiduePrediction", (*CONSTRUCTION, "mask_rate")),
    Rule("tasks", "DistancePrediction", "EdgeDistancePrediction", (*CONSTRUCTION, "num_sample")),
    Rule("tasks", "AnglePrediction", "EdgeAnglePrediction", (*CONSTRUCTION, "num_sample", "num_class")),
    Rule("tasks", "DihedralPrediction", "EdgeDihedralPrediction", (*CONSTRUCTION, "num_sample", "num_class")),
    Rule(
        *("tasks", "MultipleBinaryClassification", "ProteinPropertyPrediction", (*HEAD, "reweight")),
        means=_is_numbered,
        data="replaced",
        rewrite=_with_class_weight,
        reason=_what_macro,
    ),
    Rule(
        *("tasks", "PropertyPrediction", "ProteinPropertyPrediction"),
        (*HEAD, "num_class", "mlp_batch_norm", "mlp_dropout"),
        means=_is_named,
        data="replaced",
        rewrite=_with_defaults,
    ),
    Rule("models", "GearNetIEConv", "GearNetIEConvEncoder", (*GEARNET, *IECONV_ARGUMENTS), data="any"),
    # the GearNet repository's dihedral_gearnet_edge_ieconv.yaml, which fails with a TypeError there
    Rule(
        *("models", "GearNet", "GearNetIEConvEncoder", (*GEARNET, *IECONV_ARGUMENTS)),
        means=_ieconv_arguments,
        data="any",
        reason=_why_ieconv,
    ),
    Rule("models", "GearNet", "GearNetEncoder", GEARNET, reason=_is_edge_in_name_of_none),
    Rule(
        *("models", "FusionNetwork", "SequenceStructureFusion"),
        ("sequence_model", "structure_model", "fusion", "cross_dim"),
        data="any",
        rewrite=_without_idle_width,
        reason=_what_trains,
    ),
    Rule(
        *("layers", "GeometricRelationalGraphConv", "RelationalGeometricConv"),
        ("input_dim", "output_dim", "num_relation", "edge_input_dim", "batch_norm", "activation"),
    ),
    Rule("layers", "GraphConstruction", "ResidueGraphConstruction", ("node_layers", "edge_layers", "edge_feature")),
    Rule(
        *("scheduler", "ReduceLROnPlateau", "ReduceLROnPlateau"),
        ("factor", "patience", "threshold", "threshold_mode", "cooldown", "min_lr", "eps"),
        data="any",
        rewrite=_with_mode,
        reason=_what_mode,
        words=("no `mode`", "mode: min"),
    ),
)

#: Classes of ESM-GearNet that have no counterpart here.
ABSENT = (
    *("CDConv", "GVPGNN", "ProtBert", "MSP", "SiamDiff", "ResidueTypePrediction", "MSPDataset", "PSRDataset"),
    *("NoiseTransform", "Orientation", "ResidueGraph", "TruncateProteinPair"),
)
