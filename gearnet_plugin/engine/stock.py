"""``--stock``: the same configuration with TorchDrug's own classes, the honest baseline of a comparison."""
from gearnet_plugin.engine import labels
from gearnet_plugin.engine.build import arguments, find_class
from gearnet_plugin.engine.config import join, plain
from gearnet_plugin.engine.errors import ConfigError, listing
from torchdrug import core

# ours -> TorchDrug's, with the arguments of the same names
SAME_ARGUMENTS = {
    "models.GearNetEncoder": "GearNet",
    "layers.RelationalGeometricConv": "GeometricRelationalGraphConv",
    "layers.ResidueGraphConstruction": "GraphConstruction",
    "tasks.MaskedResiduePrediction": "AttributeMasking",
    "tasks.EdgeDistancePrediction": "DistancePrediction",
    "tasks.EdgeAnglePrediction": "AnglePrediction",
    "tasks.EdgeDihedralPrediction": "DihedralPrediction",
}
CONTRAST = "tasks.MultiviewContrastive"
PROPERTY = "tasks.ProteinPropertyPrediction"
# metrics of TorchDrug's tasks, which know no list of them themselves; `auroc@macro` and `auprc@macro` raise a TypeError
STOCK_METRICS = {
    "MultipleBinaryClassification": ("auroc@micro", "auprc@micro", "f1_max"),
    "PropertyPrediction": ("mae", "rmse", "acc", "mcc", "auroc", "auprc", "r2", "spearmanr", "pearsonr"),
}
# how something is computed or drawn, not what
MEANS = ("backend", "draws", "max_edges", "max_residues", "seed")
# where classes of ours would change what is computed; data may be read by ours
COMPUTING = ("models", "layers", "tasks")


def to_stock(config):
    """
    Replace our classes by TorchDrug's.

    Parameters:
        config (dict): configuration, checked

    Returns:
        (dict, list of str): new configuration, and a line for each replacement
    """
    replaced = []
    config = plain(config)
    if find_class(config["task"]["class"], "task")._registry_key == PROPERTY:
        config["task"] = _property_task(config, replaced)
    return {key: _convert(value, key, replaced) for key, value in config.items()}, replaced


def _convert(value, key, replaced):
    if isinstance(value, list):
        return [_convert(child, join(key, i), replaced) for i, child in enumerate(value)]
    if not isinstance(value, dict):
        return value
    value = {name: _convert(child, join(key, name), replaced) for name, child in value.items()}
    if "class" not in value:
        return value
    cls = find_class(value["class"], key)
    full = cls._registry_key
    if full in SAME_ARGUMENTS:
        stock = SAME_ARGUMENTS[full]
        replaced.append("%s: %s -> %s" % (key, value["class"], stock))
        return {"class": stock, **_shared(value, cls, _class_of(stock), stock, key)}
    if full == CONTRAST:
        replaced.append("%s: %s -> Unsupervised around MultiviewContrast" % (key, value["class"]))
        model = {name: child for name, child in value.items() if name != "graph_construction_model"}
        model = {"class": "MultiviewContrast", **_shared(model, cls, _class_of("MultiviewContrast"),
                                                         "MultiviewContrast", key)}
        return {"class": "Unsupervised", "model": model,
                "graph_construction_model": value.get("graph_construction_model")}
    if cls.__module__.startswith("gearnet_plugin.") and full.partition(".")[0] in COMPUTING:
        raise ConfigError(join(key, "class"), "`%s` has no counterpart in TorchDrug, so --stock cannot run it"
                          % value["class"])
    return value


def _property_task(config, replaced):
    """The task of ours that is either of two of TorchDrug's, which depends on the labels."""
    task = config["task"]
    columns = labels.numbered(config)
    stock = "MultipleBinaryClassification" if columns else "PropertyPrediction"
    replaced.append("task: %s -> %s" % (task["class"], stock))
    cls = find_class(task["class"], "task")
    criterion = labels.criteria(task)[0] if labels.criteria(task) else "bce"
    value = {name: child for name, child in task.items() if child is not None}
    value.setdefault("criterion", criterion)
    value.setdefault("metric", _default_metrics(columns, criterion))
    metrics = [value["metric"]] if isinstance(value["metric"], str) else value["metric"]
    for metric in metrics:
        if metric not in STOCK_METRICS[stock]:
            raise ConfigError("task.metric", "`%s` has no metric `%s`; for --stock take some of %s"
                              % (stock, metric, listing(STOCK_METRICS[stock])))
    if columns:
        if value.get("class_weight") == "reweight":
            del value["class_weight"]
            value["reweight"] = True
        if value.get("normalization") is False:
            # without meaning for either
            del value["normalization"]
    reweight = {"reweight": value.pop("reweight")} if "reweight" in value else {}
    return {"class": stock, **_shared(value, cls, _class_of(stock), stock, "task"), **reweight}


def _default_metrics(columns, criterion):
    from gearnet_plugin.tasks.property import METRICS

    return METRICS["multilabel" if columns else {"bce": "binary", "ce": "class"}.get(criterion, "number")]


def _class_of(name):
    try:
        return core.Registry.search(name)
    except KeyError:  # a layer that TorchDrug keeps out of its registry
        from torchdrug import layers

        return getattr(layers, name)


def _shared(value, ours, stock, name, key):
    """Return the arguments that stock has; those it lacks must be at our default, which is its behaviour."""
    known, own = arguments(stock)[0], arguments(ours)[0]
    result = {}
    for argument, child in value.items():
        if argument in known:
            result[argument] = child
        elif argument not in ("class", *MEANS) and child != own[argument].default:
            raise ConfigError(join(key, argument), "`%s` lacks this argument and behaves like `%s`, but here "
                              "it is `%s`; leave it out for --stock" % (name, own[argument].default, child))
    return result
