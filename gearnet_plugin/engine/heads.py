"""Whether the head in a checkpoint predicts the labels of this run, said in labels rather than in shapes."""

import re

from gearnet_plugin.engine import labels
from gearnet_plugin.engine.errors import ConfigError

#: key of a checkpoint under which :func:`gearnet_plugin.engine.labels.of_dataset` is kept
LABELS = "labels"
SHOWN = 3


def size(state):
    """Return the number of outputs of the head in a state dict, None where it has none."""
    layers = {}
    for name, value in state.items():
        found = re.fullmatch(r"mlp\.(?:.*\.)?layers\.(\d+)\.bias", name)
        if found:
            layers[int(found.group(1))] = len(value)
    return layers[max(layers)] if layers else None


def expected_size(config, published=True):
    """
    Return the number of outputs that a configuration asks for, None where only the data know it.

    Parameters:
        config (dict): configuration
        published (bool, optional): take the labels of a benchmark to be the published ones; one's own tables may have
            others
    """
    if not labels.kind(config)[1] or labels.per_residue(config) or not (published or config["task"].get("task")):
        return None
    wanted = labels.names(config)
    if wanted is None:
        return None
    if labels.numbered(config) or "ce" not in labels.criteria(config["task"]):
        return len(wanted)
    if not published and config["task"].get("num_class") is None:
        return None
    counts = [labels.num_classes(config, label) for label in wanted]
    return sum(counts) if all(counts) else None


def compare(state, file, here):
    """
    Compare the labels of a checkpoint with those of this run.

    Parameters:
        state (dict): what the file holds
        file (str): the file, for messages
        here (dict): labels of this run, as :func:`gearnet_plugin.engine.labels.of_dataset` gives them
    """
    there = state.get(LABELS)
    if not isinstance(there, dict) or not here or there == here:
        return
    if list(there) != list(here):
        _fail(file, "it predicts %s, this run %s" % (_names(there), _names(here)))
    for label, known in here.items():
        before = there[label]
        if not known or not before or before == known:
            continue
        what = "labels" if label == labels.TARGETS else "classes of `%s`" % label
        if sorted(before) == sorted(known):
            _fail(
                file,
                "its %d %s are those of this run in another order, from `%s` on (here `%s`)"
                % (len(known), what, *next(pair for pair in zip(before, known) if pair[0] != pair[1])),
            )
        _fail(
            file,
            "it has %d %s (%s), this run %d (%s); %d are in both"
            % (len(before), what, _names(before), len(known), _names(known), len({*before} & {*known})),
        )


def compare_sizes(expected, state, file):
    """
    Compare the numbers of outputs.

    Parameters:
        expected (int or None): of this run
        state (dict): weights in the file
        file (str): the file, for messages
    """
    found = size(state)
    if expected is None or found == expected:
        return
    if found is None:
        raise ConfigError(
            "checkpoint",
            "`%s` holds no head: it is an encoder or comes from pretraining. Give it as `model_checkpoint`" % file,
        )
    _fail(file, "its head has %d outputs, this run %d" % (found, expected))


def compare_kinds(task, state, file):
    """
    Let a task say what is different in weights, where it can: labels of another kind, other columns.

    Parameters:
        task (nn.Module): task
        state (dict): weights in the file
        file (str): the file, for messages
    """
    explain = getattr(task, "explain_mismatch", None)
    reason = explain(state) if callable(explain) else ""
    if reason:
        _fail(file, reason)


def _fail(file, what):
    raise ConfigError(
        "checkpoint",
        "the head in `%s` is for another task: %s. To take the encoder alone, give the "
        "file as `model_checkpoint`" % (file, what),
    )


def _names(known):
    known = list(known)
    more = len(known) - SHOWN
    return ", ".join("`%s`" % name for name in known[:SHOWN]) + (", ..." if more > 0 else "")
