"""
The losses of a prediction task, and the weights that balance its classes.

Items are proteins, or residues at level ``residue``. T labels, C outputs of all of them.
"""

import torch
from torch.nn import functional as F

from gearnet_plugin.datasets.labels import quoted
from gearnet_plugin.tasks.head import is_number

CLASS_WEIGHTS = ("balanced", "reweight")
# factor that a weight may have; TorchDrug keeps those of labels in 1 to 10
MOST = 10.0


def label_losses(criterion, pred, target, num_class, balance=None):
    """
    The loss of every label, the mean over the items that have it; 0 where none has.

    Parameters:
        criterion (str): ``bce``, ``ce`` or ``mse``
        pred (Tensor): logits or numbers of shape :math:`(B, C)`
        target (Tensor): of shape :math:`(B, T)`, NaN where there is no label
        num_class (list of int): outputs of each label
        balance (Tensor, optional): for ``bce`` how much a positive counts, shape :math:`(T,)`; for ``ce`` how much an
            item of each class counts, shape :math:`(C,)`

    Returns:
        Tensor: shape :math:`(T,)`
    """
    labeled = ~torch.isnan(target)
    target = target.masked_fill(~labeled, 0)
    if criterion == "mse":
        loss = F.mse_loss(pred, target, reduction="none")
    elif criterion == "bce":
        loss = F.binary_cross_entropy_with_logits(pred, target.to(pred.dtype), pos_weight=balance, reduction="none")
    else:
        weights = [None] * len(num_class) if balance is None else balance.split(num_class)
        loss = torch.stack(
            [
                F.cross_entropy(logits, classes.long(), weight, reduction="none")
                for logits, classes, weight in zip(pred.split(num_class, dim=-1), target.unbind(dim=-1), weights)
            ],
            dim=-1,
        )
    # not a product: what is masked may be infinite
    loss = torch.where(labeled, loss, torch.zeros_like(loss))
    return loss.sum(dim=0) / labeled.sum(dim=0).clamp(min=1)


def check_class_weight(class_weight, kind, num_class):
    """Raise ValueError for weights that do not fit the kind of a prediction."""
    if class_weight is None:
        return
    if kind == "number":
        raise ValueError("class_weight is for `bce` and `ce`; with `mse` there are no classes")
    if isinstance(class_weight, str):
        if class_weight not in CLASS_WEIGHTS:
            raise ValueError(
                "class_weight should be None, `balanced`, `reweight` or a list of numbers, but found `%s`"
                % class_weight
            )
        if class_weight == "reweight" and kind == "class":
            raise ValueError("class_weight `reweight` is for `bce`; with `ce` take `balanced`")
        return
    weights = list(class_weight)
    if not all(is_number(weight) and weight > 0 for weight in weights):
        raise ValueError("class_weight should hold numbers above 0, but found %s" % quoted(weights))
    if num_class is not None and len(weights) != sum(num_class):
        raise ValueError(
            "class_weight should hold a number for each of %d %s, but found %d"
            % (sum(num_class), "classes" if kind == "class" else "labels", len(weights))
        )


def balanced_classes(counts):
    """
    Weights of classes that give each class the same total: inversely proportional to how often it occurs in the
    training set, with the mean 1 over the items of that. As ``balanced`` of scikit-learn. A class that does not occur
    counts 1.

    Parameters:
        counts (Tensor): items of each class, shape :math:`(C,)`
    """
    present = counts > 0
    weight = counts.sum() / (present.sum() * counts.clamp(min=1))
    return torch.where(present, weight, torch.ones_like(weight))


def balanced_labels(positive, labeled):
    """
    How much a positive of each label counts so that positives and negatives have the same total: the number of
    negatives by that of positives in the training set, kept in 0.1 to 10, since a label of few positives would else
    drown the others. A label without positives counts 1.

    Parameters:
        positive (Tensor): items with each label, shape :math:`(T,)`
        labeled (Tensor): items that have it or are known not to, shape :math:`(T,)`
    """
    ratio = ((labeled - positive) / positive.clamp(min=1)).clamp(1 / MOST, MOST)
    return torch.where(positive > 0, ratio, torch.ones_like(ratio))


def label_weights(positive):
    """
    Weights of labels by how rare they are, ``reweight`` of TorchDrug's ``MultipleBinaryClassification``: the mean
    number of positives by that of the label, kept in 1 to 10.
    """
    return (positive.mean() / positive).clamp(1, MOST)
