"""The metrics by the names that configurations use, and by the titles that results carry."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

# What a target may be: 0/1 for several labels, one of several classes, a number, 0/1 for one label.
KINDS = ("multilabel", "class", "number", "binary")

_NAMES = {
    "multilabel": ("f1_max", "f1_max@cafa", "auprc@micro", "auprc@macro", "auroc@micro", "auroc@macro"),
    "class": ("acc", "top_5", "mcc", "f1@macro"),
    "number": ("mae", "rmse", "pearsonr", "spearmanr", "r2"),
    "binary": ("auroc", "auprc", "acc", "mcc"),
}

# As in TorchDrug, so that results of either are read by the same name. The other metrics have their name as title.
_TITLES = {
    "acc": "accuracy",
    "mae": "mean absolute error",
    "mcc": "matthews correlation coefficient",
    "rmse": "root mean squared error",
}

# what a task with several labels adds to a title
_LABEL = re.compile(r" \[.*\]$")
_TOP = re.compile(r"top_([1-9][0-9]*)")


def names(kind: str) -> tuple[str, ...]:
    """
    The names of the metrics of a kind of target.

    Of ``top_K``, which exists for every K from 1 on, ``top_5`` is named.
    """
    if kind not in _NAMES:
        raise ValueError("`%s` is no kind of target. Allowed: %s" % (kind, _listing(KINDS)))
    return _NAMES[kind]


def title(name: str) -> str:
    """The title of a metric in results, such as ``accuracy`` for ``acc``."""
    return _TITLES.get(name, name)


def check(wanted: str | Iterable[str], kind: str) -> tuple[str, ...]:
    """
    The names of metrics, once each, after a check that the kind of target has them.

    Parameters:
        wanted (str or iterable of str): one name or several
        kind (str): one of :data:`KINDS`
    """
    known = names(kind)
    wanted = tuple(dict.fromkeys([wanted] if isinstance(wanted, str) else wanted))
    for name in wanted:
        if name in known or (kind == "class" and top(name)):
            continue
        near = difflib.get_close_matches(str(name).lower(), known, n=1, cutoff=0.5)
        others = [other for other in KINDS if name in _NAMES[other]]
        raise ValueError(
            "no metric of %s targets is called `%s`.%s%s Allowed: %s%s"
            % (
                kind,
                name,
                " Did you mean `%s`?" % near[0] if near else "",
                " It is for targets of kind %s." % _listing(others) if others else "",
                _listing(known),
                ", and `top_K` for any other K" if kind == "class" else "",
            )
        )
    return wanted


def higher_is_better(name: str) -> bool:
    """Whether higher values of a metric are better, given by name or title, as ``accuracy`` or ``accuracy [fold]``."""
    name = _LABEL.sub("", str(name))
    known = {spelt for kind in KINDS for known in _NAMES[kind] for spelt in (known, title(known))}
    if name not in known and not top(name):
        near = difflib.get_close_matches(str(name).lower(), sorted(known), n=1, cutoff=0.5)
        raise ValueError(
            "no metric is called `%s`.%s Allowed: %s"
            % (name, " Did you mean `%s`?" % near[0] if near else "", _listing(sorted(known)))
        )
    return not name.endswith(("mae", "rmse", "error"))


def top(name: str) -> int | None:
    """The K of ``top_K``, or None for another name."""
    match = _TOP.fullmatch(str(name))
    return int(match[1]) if match else None


def _listing(items: Iterable[str]) -> str:
    return ", ".join("`%s`" % item for item in items)
