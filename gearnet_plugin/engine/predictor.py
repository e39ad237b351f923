"""
What a run that was trained on labels leaves so that it can predict them: ``predictor.pth`` and ``predictor.yaml``,
beside ``encoder.pth`` and ``encoder.yaml`` and of the same weights. :mod:`gearnet_plugin.embedding.predictor` reads
them.

``predictor.yaml`` (what no validation set tells is null, and ``reasons`` say why)::

    format, version, gearnet_plugin
    encoder       digest of the encoder's weights, to which the head belongs
    kind          multilabel, class, number or binary
    criterion     bce, ce or mse
    level         protein or residue
    labels        names of the labels: of columns of `targets`, or of the items' labels
    classes       for each label of classes their names
    outputs       numbers of outputs of the head, of all columns together or for each label
    descriptions  what the table of the data set calls each label, or null
    vocabulary    ec where labels are EC numbers, else null
    thresholds    multilabel: of `published` and `cafa` Fmax on validation, and the threshold there; binary: for each
                  label the highest F1 and its threshold. Thresholds are logits, midway to the next lower score, so
                  that rounding does not decide
    accuracy      class: for each label on validation
    error         number: for each label, `mae` and `rmse` on validation in its unit
    calibration   for each group of outputs what :class:`gearnet_plugin.metrics.Calibration` holds, fitted on
                  validation, and `num_items`. That set has chosen the epoch too, so new proteins may fare worse
    validation    number of proteins
    training      number of proteins, their shortest, median and longest length, where these are from (`all` or a
                  `sample`), and whether they are experimental or predicted
    reference     number of training proteins in it, and quantiles of the distance from validation proteins to it, see
                  :mod:`gearnet_plugin.engine.reference`

``predictor.pth`` holds ``mlp.*`` under TorchDrug's names, ``mean`` and ``std`` where outputs are numbers in units of
the deviation, and ``reference.*``.
"""

import hashlib
import logging
import os
import re

import torch
import yaml
from torch.utils import data as torch_data

from gearnet_plugin.engine import checkpoint, labels, sampling
from gearnet_plugin.engine.reference import Reference, choose
from gearnet_plugin.engine.validated import number, split_labels, validated
from torchdrug import data, utils

logger = logging.getLogger(__name__)

WEIGHTS, RECIPE = "predictor.pth", "predictor.yaml"
FORMAT, VERSION = "gearnet-plugin predictor", 1
#: With fewer the distances of validation proteins have no quantile worth the name.
LEAST_DISTANCES = 20
QUANTILES = (0.5, 0.9, 0.95, 0.99)
KINDS = {"bce": "binary", "ce": "class", "mse": "number"}
# data sets whose labels are EC numbers, and columns of one's own that say so by their name
EC_DATASETS = ("EnzymeCommission", "EnzymeCommissionStructures", "ReactionStructures")
EC_COLUMN = re.compile(r"(?i)(^|[^a-z])ec([^a-z]|$)|enzyme")


def leave(solver, config, names, folder, writes=True):
    """
    Write the predictor of a task with its best weights. On several processes all call it, and rank 0 writes.

    Parameters:
        solver (core.Engine): engine with the trained task
        config (dict): configuration
        names (dict): of :func:`gearnet_plugin.engine.labels.of_dataset`
        folder (str): folder of the run
        writes (bool, optional): whether this process is the one that writes

    Returns:
        bool: whether there is a predictor
    """
    task = solver.model
    if not labels.kind(config)[1] or getattr(task, "mlp", None) is None:
        return False
    # all processes take part in this
    found = sampling.predict(solver, "valid", _batch_size(solver)) if solver.valid_set else None
    if not writes:
        return True
    try:
        recipe, state = describe(solver, config, names, found)
    except Exception as error:  # the run itself is over and well; its results should not be lost
        logger.debug("no predictor", exc_info=True)
        logger.warning("`gearnet predict` will not work with this run: %s: %s", type(error).__name__, error)
        return False
    checkpoint.save(state, os.path.join(folder, WEIGHTS))
    with checkpoint.whole_file(os.path.join(folder, RECIPE)) as file:
        file.write(yaml.safe_dump(recipe, sort_keys=False, default_flow_style=None, width=110).encode())
    for reason in recipe["reasons"].values():
        logger.info("predictor: %s", reason)
    return True


def describe(solver, config, names, found):
    """
    What a predictor is.

    Parameters:
        solver (core.Engine), config (dict), names (dict): see :func:`leave`
        found (tuple, optional): predictions and targets of the validation set

    Returns:
        (dict, dict): content of ``predictor.yaml`` and of ``predictor.pth``
    """
    from gearnet_plugin import __version__

    task, train, valid = solver.model, solver.train_set, solver.valid_set
    recipe = {
        "format": FORMAT,
        "version": VERSION,
        "gearnet_plugin": __version__,
        "encoder": digest(checkpoint.find_encoder(task).state_dict()),
        **_labels(task, config, names, train),
    }
    reasons = recipe["reasons"] = {}
    if found is None:
        groups = None
        reasons["validation"] = (
            "there was no validation set, so there are no thresholds, errors, calibration or distances"
        )
    else:
        pred, target = (x.detach().cpu().float() for x in found)
        groups = split_labels(recipe["kind"], recipe["labels"], recipe["outputs"], pred, target)
    if sampling.pads(task):
        reasons["padding"] = (
            "its sequence model computes with what fills up shorter proteins of a batch; here each protein is "
            "predicted for itself, so the metrics of the run, which are of batches, may differ"
        )
    recipe.update(validated(recipe["kind"], groups, len(valid or ()), reasons))
    recipe["validation"] = {"num_proteins": len(valid or ())}

    chosen, lengths = _embed(solver, train, choose(len(train)))
    recipe["training"] = _training(train, lengths)
    if getattr(labels.base(train)[0], "unknown", None) == "zero":
        reasons["unknown"] = (
            "the data had `unknown: zero`, but predictions take unknown residues for glycine in edge features"
        )
    reference = Reference.fit(chosen)
    recipe["reference"] = {"num_proteins": len(chosen), "quantiles": None}
    if found is not None and len(valid) < LEAST_DISTANCES:
        reasons["reference"] = "%d validation proteins are too few (%d) to say what is far from the training set" % (
            len(valid),
            LEAST_DISTANCES,
        )
    elif found is not None:
        own = reference.distances(_embed(solver, valid, choose(len(valid)))[0])
        recipe["reference"]["quantiles"] = {q: number(own.quantile(q)) for q in QUANTILES}
    state = {"mlp.%s" % name: value for name, value in task.mlp.state_dict().items()}
    if recipe["kind"] == "number" and getattr(task, "normalization", False):
        state.update(mean=task.mean, std=task.std)
    state.update(("reference.%s" % name, value) for name, value in reference.state_dict().items())
    return recipe, state


def digest(state):
    """What tells weights from others: a hash of names and values of a state dict."""
    found = hashlib.blake2b(digest_size=16)
    for name, value in sorted(state.items()):
        if isinstance(value, torch.Tensor):
            found.update(name.encode())
            found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()


# === labels ===


def _labels(task, config, names, train):
    """Kind, names and numbers of what is predicted."""
    (criterion,) = list(task.criterion)[:1]
    numbered = not isinstance(task.task, dict)
    kind = getattr(task, "kind", None) or ("multilabel" if numbered else KINDS[criterion])
    level = getattr(task, "level", "protein")
    if kind == "multilabel":
        known = names.get(labels.TARGETS) or [str(column) for column in task.task]
        found, classes, outputs = list(known), None, [len(known)]
        descriptions = _descriptions(train, task.task)
    else:
        found, classes, descriptions = list(task.task), None, None
        outputs = [int(n) for n in task.num_class]
        if kind == "class":
            known = getattr(labels.base(train)[0], "classes", None) or {}
            classes = {
                name: _padded(names.get(name) or known.get(name) or (), size) for name, size in zip(found, outputs)
            }
    return {
        "kind": kind,
        "criterion": criterion,
        "level": level,
        "labels": found,
        "classes": classes,
        "outputs": outputs,
        "descriptions": descriptions,
        "vocabulary": _vocabulary(config, kind, found, classes),
    }


def _descriptions(train, columns):
    """What the table of a data set calls its columns, None where it does not."""
    whole = labels.base(train)[0]
    known, available = getattr(whole, "descriptions", None), getattr(whole, "tasks", None)
    if not known or not available or len(known) != len(available):
        return None
    named = [(" ".join(str(known[column]).split()), str(available[column])) for column in columns]
    # tables without names repeat the label
    return [name if name != label else "" for name, label in named]


def _padded(known, size):
    known = [str(name) for name in known][:size]
    return known + [str(i) for i in range(len(known), size)]


def _vocabulary(config, kind, found, classes=None):
    """Whether labels are EC numbers: codes of other classifications, such as CATH's, look the same."""
    if kind not in ("multilabel", "class"):
        return None
    dataset = config["dataset"]
    column = dataset.get("target") if kind == "multilabel" else found
    columns = [column] if isinstance(column, str) else list(column or ())
    is_ec = dataset["class"].rpartition(".")[2] in EC_DATASETS
    is_ec = is_ec or bool(columns) and all(EC_COLUMN.search(name) for name in columns)
    told = found if kind == "multilabel" else {name for own in (classes or {}).values() for name in own}
    # a column `enzyme` may say no and yes, and 1 is a class of enzymes too
    return "ec" if is_ec and not set(told) <= {"0", "1"} else None


# === the training set ===


def _batch_size(solver):
    """Items at once: one where others in the batch would change its prediction, which is made for it alone later."""
    return 1 if sampling.pads(solver.model) else solver.batch_size


@torch.no_grad()
def _embed(solver, dataset, indices):
    """Embeddings [B, D] of items on the CPU, and their lengths."""
    task = solver.model
    task.eval()
    found, lengths = [], []
    subset = torch_data.Subset(dataset, indices)
    for batch in data.DataLoader(subset, _batch_size(solver), num_workers=solver.num_worker):
        if solver.device.type == "cuda":
            batch = utils.cuda(batch, device=solver.device)
        graph = batch["graph"]
        lengths += graph.num_residues.tolist()
        if task.graph_construction_model:
            graph = task.graph_construction_model(graph)
        found.append(task.model(graph, graph.node_feature.float())["graph_feature"].float().cpu())
    return torch.cat(found), lengths


def _training(dataset, sampled):
    """Facts of the training set: lengths of all, or of the sample where structures do not tell without being made."""
    lengths, kinds = _facts(*labels.base(dataset))
    source, lengths = ("all", lengths) if lengths else ("sample", sampled)
    lengths = sorted(int(length) for length in lengths)
    kinds = {{"plddt": "predicted", "b_factor": "experimental"}.get(kind, kind) for kind in kinds}
    return {
        "num_proteins": len(dataset),
        "lengths_of": source,
        "length": {"min": lengths[0], "median": lengths[len(lengths) // 2], "max": lengths[-1]},
        "source": kinds.pop() if len(kinds) == 1 else "both" if kinds else None,
    }


def _facts(whole, indices):
    """Lengths and kinds of confidence of items, as far as their structures tell them at once."""
    structures = getattr(whole, "structures", None)
    if isinstance(structures, list):
        own = [structures[i] for i in indices]
        return [len(structure) for structure in own], {structure.confidence_kind for structure in own}
    parts = getattr(structures, "parts", [structures])
    if not all(hasattr(part, "store") for part in parts):
        return [], set()
    lengths, kinds = [], []
    for part in parts:
        numbers = slice(None) if part.numbers is None else part.numbers
        lengths += part.store.lengths[numbers].tolist()
        kinds += part.store.column("confidence_kind")[numbers].tolist()
    return [lengths[i] for i in indices], {kinds[i] for i in indices}
