"""The head of a prediction task: its arguments, its size, and what is said when weights of another do not fit."""

import contextlib
import difflib
import logging
import math
import numbers
import re
from collections.abc import Mapping, Sequence

import torch
from torch import distributed as dist
from torch import nn

from gearnet_plugin.datasets.labels import quoted
from gearnet_plugin.tasks.prediction import check_count, check_flag
from torchdrug import layers

logger = logging.getLogger(__name__)

CRITERIA = ("bce", "ce", "mse")
LEVELS = ("protein", "residue")
# what a criterion predicts for labels that have names; columns of `targets` are always several labels a protein
KINDS = {"bce": "binary", "ce": "class", "mse": "number"}


def read_task(task):
    """
    Read which labels are predicted.

    Parameters:
        task (int, str, list or dict): columns of ``targets``, or names of labels; a dict gives names their weights

    Returns:
        list or dict: list of int, or {name: weight}
    """
    if isinstance(task, Mapping):
        wanted = dict(task)
    elif isinstance(task, str) or _is_whole(task):
        wanted = [task]
    else:
        wanted = list(task)
    if not wanted:
        raise ValueError(
            "task should say which labels to predict: columns of `targets` such as [0, 1, 2], or names of labels, but "
            "it is empty"
        )
    columns = [entry for entry in wanted if _is_whole(entry)]
    names = [entry for entry in wanted if isinstance(entry, str)]
    if len(columns) + len(names) < len(wanted) or columns and names:
        raise ValueError(
            "task should be a list of columns (whole numbers) or of names of labels, but found %s" % _short(wanted)
        )
    if len(set(wanted)) < len(wanted):
        raise ValueError("task names a label twice: %s" % _short(wanted))
    if columns:
        if isinstance(task, Mapping):
            raise ValueError("columns of `targets` have no weights; give task as a list")
        if min(columns) < 0:
            raise ValueError("columns of `targets` are counted from 0, but task holds %d" % min(columns))
        return [int(column) for column in columns]
    weights = wanted if isinstance(wanted, dict) else dict.fromkeys(names, 1)
    for name, weight in weights.items():
        if not is_number(weight) or weight < 0:
            raise ValueError("the weight of label `%s` should be a number of at least 0, but found %r" % (name, weight))
    if not sum(weights.values()):
        raise ValueError("the weights of all labels are 0, so that nothing would be learned")
    return weights


def read_criterion(criterion):
    """
    Read the loss: its name, alone or in a list, or {name: weight} as in TorchDrug.

    Returns:
        dict: {name: weight}, of one entry
    """
    if isinstance(criterion, str):
        criterion = [criterion]
    found = dict(criterion) if isinstance(criterion, Mapping) else dict.fromkeys(criterion or (), 1)
    if len(found) != 1:
        raise ValueError("criterion should be one of %s, but found %s" % (quoted(CRITERIA), _short(list(found))))
    ((name, weight),) = found.items()
    if name not in CRITERIA:
        raise ValueError(
            "criterion should be one of %s, but found `%s`: `bce` is for yes or no, `ce` for one of several classes, "
            "`mse` for numbers" % (quoted(CRITERIA), name)
        )
    if not is_number(weight) or weight <= 0:
        raise ValueError("the weight of `%s` should be a number above 0, but found %r" % (name, weight))
    return {name: weight}


def find_kind(task, criterion, level):
    """The kind of a prediction: ``multilabel``, ``class``, ``number`` or ``binary``."""
    if level not in LEVELS:
        raise ValueError("level should be `protein` or `residue`, but found `%s`" % (level,))
    if isinstance(task, list):
        if criterion != "bce":
            raise ValueError(
                "task lists columns of `targets`, several labels a protein, which only `bce` fits, but criterion is "
                "`%s`. For `%s`, name labels of the items" % (criterion, criterion)
            )
        if level == "residue":
            raise ValueError(
                "columns of `targets` are labels of proteins, but level is `residue`. Name residue attributes of the "
                "graph, with `bce` one for each label"
            )
        return "multilabel"
    return KINDS[criterion]


def read_num_class(num_class, names, kind):
    """
    Read the number of classes.

    Parameters:
        num_class (int or list of int, optional): for all labels, or for each
        names (list of str): labels
        kind (str): kind of the prediction

    Returns:
        list of int or None: for each label; None where the data say it
    """
    if kind != "class":
        given = [num_class] if num_class is None or _is_whole(num_class) else list(num_class)
        if any(number not in (None, 1) for number in given):
            raise ValueError("num_class is for criterion `ce`, but found %s for %s" % (num_class, _one(kind)))
        return [1] * len(names)
    if num_class is None:
        return None
    given = [num_class] * len(names) if _is_whole(num_class) else list(num_class)
    if len(given) != len(names):
        raise ValueError("num_class should be a number for each of %d labels, but found %d" % (len(names), len(given)))
    for number in given:
        check_count("num_class", number, 2)
    return [int(number) for number in given]


def check_head(num_mlp_layer, batch_norm, dropout):
    """Raise ValueError for what makes no head, and tell what has no effect."""
    check_count("num_mlp_layer", num_mlp_layer, 1)
    check_flag("mlp_batch_norm", batch_norm)
    if not is_number(dropout) or not 0 <= dropout < 1:
        raise ValueError("mlp_dropout should be at least 0 and below 1, but found %r" % (dropout,))
    if num_mlp_layer == 1 and (batch_norm or dropout):
        logger.warning(
            "mlp_batch_norm and mlp_dropout act between the layers of the head, and do nothing with num_mlp_layer 1"
        )


def read_width(model, level):
    """Width of the features that a model gives for a protein or a residue."""
    width = getattr(model, "node_output_dim", None) if level == "residue" else None
    width = width or getattr(model, "output_dim", None)
    if width is None:
        raise ValueError(
            "model should have an `output_dim`, the width of its representations, but `%s` has none"
            % type(model).__name__
        )
    return width


def make_head(width, num_output, num_mlp_layer, batch_norm, dropout):
    """The head, as TorchDrug's tasks make it."""
    return layers.MLP(width, [width] * (num_mlp_layer - 1) + [num_output], batch_norm=batch_norm, dropout=dropout)


@contextlib.contextmanager
def statistics_for(head, feature):
    """
    Inside, batch normalization of a head in training takes its running statistics if there are less than two items:
    the last batch of a set of odd size, or residues of which none has a label. Several processes count together.

    Parameters:
        head (nn.Module): head
        feature (Tensor): what it is given, of shape :math:`(B, D)`; on several processes each has its own
    """
    norms = [module for module in head.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    norms = [norm for norm in norms if norm.training]
    if norms and _count(feature, norms[0]) > 1:
        norms = []
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.train()


def _count(feature, norm):
    """Number of items that a batch normalization takes statistics of."""
    number = torch.tensor(len(feature), device=feature.device)
    if not isinstance(norm, nn.BatchNorm1d) and dist.is_available() and dist.is_initialized():
        # synchronised: every process gets here
        dist.all_reduce(number)
    return int(number)


def explain_head(state, prefix, task, num_class):
    """
    Compare the head of a task with that of a state dict of :class:`ProteinPropertyPrediction`,
    ``MultipleBinaryClassification`` or ``PropertyPrediction``.

    Parameters:
        state (dict): state dict
        prefix (str): how names of the task begin in it, mostly empty
        task (list or dict): labels, as :func:`read_task` returns them
        num_class (list of int, optional): outputs for each label; None for not known yet

    Returns:
        str: in what they differ, or an empty text
    """
    numbered = isinstance(task, list)
    here = "columns of `targets`" if numbered else "labels by name (%s)" % quoted(task, 5)
    if numbered and prefix + "mean" in state or not numbered and prefix + "task_indices" in state:
        there = "labels by name" if numbered else "columns of `targets`"
        return "they are of another task: they predict %s, this one %s" % (there, here)
    number, known = len(task), state.get(prefix + "weight")
    outputs = num_output(state, prefix)
    if known is not None and known.dim() == 1 and len(known) != number:
        return "they are for %d labels, this task has %d: the labels of another data set?" % (len(known), number)
    if outputs is not None and num_class is not None and outputs != sum(num_class):
        what = "labels" if numbered else "classes"
        return "they tell %d %s apart, this task has %d: the labels of another data set%s" % (
            outputs,
            what,
            sum(num_class),
            "?" if numbered else ", or another num_class?",
        )
    indices = state.get(prefix + "task_indices")
    if numbered and indices is not None and not indices.is_meta and indices.tolist() != list(task):
        return "they are for other columns of `targets` (%s) than this task (%s)" % (
            _short(indices.tolist()),
            _short(task),
        )
    return ""


def num_output(state, prefix=""):
    """Number of outputs of the head in a state dict, or None if it has none."""
    pattern = re.compile(re.escape(prefix) + r"mlp\.layers\.(\d+)\.weight$")
    found = {int(match.group(1)): name for match, name in ((pattern.match(name), name) for name in state) if match}
    return state[found[max(found)]].shape[0] if found else None


# === words for messages ===


def did_you_mean(name, available):
    """The names there are, the nearest first."""
    close = difflib.get_close_matches(str(name), [str(other) for other in available], n=1)
    return (" Did you mean `%s`?" % close[0] if close else "") + " There are %s" % (quoted(available) or "none")


def _one(kind):
    return {"multilabel": "labels that are there or not", "binary": "labels of 0 and 1", "number": "numbers"}[kind]


def _short(values):
    values = list(values) if isinstance(values, (Sequence, Mapping)) else [values]
    text = ", ".join(map(str, values[:8]))
    return "[%s%s]" % (text, ", ... (%d)" % len(values) if len(values) > 8 else "")


def _is_whole(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_number(value):
    """Whether a value is a finite number, true and false being none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
