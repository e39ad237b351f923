"""
What is wrong with labels, said before training: what would fail hours later or teach nothing is an error, what the
official splits have too is a warning.
"""

import logging
import math

import numpy as np
import torch

from gearnet_plugin.datasets.labels import quoted
from gearnet_plugin.tasks.targets import base_dataset

logger = logging.getLogger(__name__)


def check_kind(name, criterion, dataset):
    """Raise ValueError where a data set knows that a label is of another kind than the criterion is for."""
    base = base_dataset(dataset)
    known = (getattr(base, "kinds", None) or {}).get(name)
    classes = list((getattr(base, "classes", None) or {}).get(name) or ())
    if criterion == "mse" and known == "class" and classes != [str(i) for i in range(len(classes))]:
        raise ValueError(
            "`mse` is for numbers, but `%s` holds names of classes (`%s`, ...). Set criterion `ce`, or take another "
            "label" % (name, classes[0])
        )
    if criterion == "ce" and known == "number":
        raise ValueError(
            "`ce` is for classes, but `%s` holds numbers. Set criterion `mse`, or take another label" % name
        )


def count_classes(labels, given=None):
    """
    Count the classes of a label and check them.

    Parameters:
        labels (list of Labels): of all sets, that for training first
        given (int, optional): number of classes the task was given

    Returns:
        int: number of classes
    """
    check_labeled(labels)
    count = 0
    for own in labels:
        _check_whole(own)
        if not len(own.known):
            continue
        highest = int(own.known.max())
        if given is not None and highest >= given:
            raise ValueError(
                "num_class is %d, so classes are 0 to %d, but `%s` has class %d (%s). Give at least %d, or leave "
                "num_class out" % (given, given - 1, own.name, highest, own.place(own.values == highest), highest + 1)
            )
        count = max(count, highest + 1)
    count = given or max(count, 2)
    _check_variety(labels, "class")
    train = set(labels[0].known.tolist())
    new = sorted({int(value) for own in labels[1:] for value in own.known} - train)
    if new:
        logger.warning(
            "%d classes of `%s` occur in validation or test but never in the training set, and cannot be learned: %s",
            len(new),
            labels[0].name,
            quoted(new, 5),
        )
    return count


def check_binary(labels):
    """Raise ValueError unless a label is 0, 1 or NaN, and both occur in training."""
    check_labeled(labels)
    for own in labels:
        wrong = ~np.isnan(own.values) & (own.values != 0) & (own.values != 1)
        if wrong.any():
            raise ValueError(
                "`bce` is for labels 0 and 1, but `%s` is %g in %s. For classes set criterion `ce`, for numbers `mse`"
                % (own.name, own.values[wrong][0], own.place(wrong))
            )
    if not labels[0].known.any():
        raise ValueError("label `%s` is never 1 in the training set, so that nothing could be learned" % labels[0].name)
    _check_variety(labels, "value")


def check_numbers(labels, normalization):
    """
    Raise ValueError unless a label is a number that varies in training.

    Returns:
        (float, float): mean and standard deviation in the training set, as TorchDrug has them
    """
    check_labeled(labels)
    for own in labels:
        if np.isinf(own.values).any():
            raise ValueError("`%s` is infinite in %s" % (own.name, own.place(np.isinf(own.values))))
    values = torch.from_numpy(labels[0].known)
    if len(values) < 2 or bool((values == values[0]).all()):
        found = "one item has it" if len(values) < 2 else "it is always %g" % float(values[0])
        message = "in the training set nothing can be learned of `%s`: %s" % (labels[0].name, found)
        if normalization:
            raise ValueError(message)
        logger.warning(message)
    return float(values.mean()), float(values.std()) if len(values) > 1 else math.nan


def check_counts(counts, names=None, others=()):
    """
    Raise ValueError if no label ever occurs in training, and tell which do not.

    Parameters:
        counts (Counts): of the training set
        names (list of str, optional): what the labels are called
        others (list of (str, Counts), optional): the other sets
    """
    total = len(counts.positive)
    never = (counts.positive == 0).nonzero().flatten().tolist()
    if len(never) == total:
        raise ValueError(
            "none of the %d labels ever occurs in the training set of %d items, so that nothing could be learned. Are "
            "these the labels of another data set?" % (total, counts.items)
        )
    if never:
        logger.warning(
            "%d of %d labels never occur in the training set and cannot be learned: %s",
            len(never),
            total,
            quoted([names[i] if names else i for i in never], 5),
        )
    always = ((counts.positive == counts.labeled) & (counts.positive > 0)).sum()
    if total == 1 and always:
        raise ValueError("the label is there for every item of the training set, so that nothing could be learned")
    for where, other in others:
        if other.items and not other.positive.any():
            logger.warning("none of the %d labels occurs in the %s set: its metrics will mean nothing", total, where)


def check_labeled(labels):
    """Raise ValueError if no item for training has a label; tell of other sets without."""
    for own in labels:
        if len(own.known):
            continue
        if own is labels[0]:
            raise ValueError("no item of the training set has the label `%s`" % own.name)
        logger.warning("no item of the %s set has the label `%s`: it has no metrics there", own.where, own.name)


def _check_whole(own):
    values, known = own.values, ~np.isnan(own.values)
    broken = known & (values != np.floor(values))
    if broken.any():
        raise ValueError(
            "classes are whole numbers, but `%s` is %g in %s. For numbers set criterion `mse`"
            % (own.name, values[broken][0], own.place(broken))
        )
    negative = known & (values < 0)
    if negative.any():
        raise ValueError(
            "classes are counted from 0, but `%s` is %d in %s; an item without label has NaN"
            % (own.name, values[negative][0], own.place(negative))
        )


def _check_variety(labels, what):
    """One class alone: nothing to learn in training, nothing to measure elsewhere."""
    for own in labels:
        if not len(own.known) or (own.known != own.known[0]).any():
            continue
        message = "all labeled items of the %s set have one %s of `%s`, %d" % (own.where, what, own.name, own.known[0])
        if own is labels[0]:
            raise ValueError("%s, so that nothing could be learned" % message)
        logger.warning("%s: its metrics will mean little", message)
