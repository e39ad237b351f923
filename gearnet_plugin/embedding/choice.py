"""Which labels of a protein or residue are told, and what is told of each."""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Sequence

import numpy as np
import torch

from .predictor import Predictor

#: Words for a threshold, and the convention of Fmax that is meant.
THRESHOLDS = {"fmax": "published", "fmax@cafa": "cafa"}
COLUMNS = {
    "multilabel": ["label", "label_name", "probability", "uncalibrated", "calibrated", "above_threshold"],
    "number": ["label", "value", "validation_mae", "validation_rmse"],
}
COLUMNS["class"] = ["target", *COLUMNS["multilabel"]]
COLUMNS["binary"] = COLUMNS["multilabel"]


class Choice:
    """
    What is told of the outputs of a head.

    ``multilabel``: the labels above the threshold, and of what has none the most probable one. ``class``: the most
    probable class of each label. ``binary``, ``number``: all labels. With ``top`` the most probable ones, whatever the
    threshold, which is then told only. With ``labels`` these alone, whatever the threshold.

    Parameters:
        predictor (Predictor): head
        top (int, optional): number of labels, for ``class`` of classes a label
        threshold (str or float, optional): ``fmax``, that of the validation set, also ``fmax@cafa``; or a probability.
            By default ``fmax`` for ``multilabel``, and for ``binary`` where the validation set tells it
        labels (list of str, optional): labels or classes, or a label for all of its classes

    Raises:
        ValueError: an unknown label, or a threshold that there is not
    """

    def __init__(self, predictor: Predictor, top=None, threshold=None, labels: Sequence[str] = ()):
        self.predictor = predictor
        self.columns = COLUMNS[predictor.kind]
        self.top = _check_top(top)
        self.wanted = _find(predictor, labels)
        if predictor.kind == "number" and not (top is None and threshold is None):
            raise ValueError("this model predicts numbers, which have neither a threshold nor an order: leave out top "
                             "and threshold")  # fmt: skip
        self.limit = self._limit(threshold)
        self.is_calibrated = [name in predictor.calibrations for name in predictor.groups]

    def _limit(self, threshold):
        """Thresholds of all outputs and whether they are logits; None for none."""
        predictor = self.predictor
        if threshold is not None and threshold not in THRESHOLDS:
            return np.full(len(predictor.leaves), _check_threshold(threshold)), False
        if predictor.kind in ("number", "class"):
            if threshold is not None:
                raise ValueError(
                    f"threshold `{threshold}` is for labels that are there or not, but this model predicts classes, of "
                    f"which one is true; give a probability, or leave it out for the most probable class"
                )
            return None
        convention = THRESHOLDS[threshold or "fmax"]
        found = predictor.thresholds or {}
        if predictor.kind == "multilabel":
            value = (found.get(convention) or {}).get("threshold")
            values = None if value is None else [value] * len(predictor.leaves)
        else:
            values = [(found.get(name) or {}).get("threshold") for name in predictor.labels]
            # a label without a positive in the validation set has none
            values = None if all(value is None for value in values) else values
        if values is not None:
            return np.array([math.nan if value is None else value for value in values]), True
        if threshold is None and (predictor.kind == "binary" or self.top or self.wanted is not None):
            return None
        reasons = "; ".join(map(str, predictor.reasons.values())) or "its validation set has no positive label"
        raise ValueError(
            f"this model has no threshold of highest F1, as no validation set tells one ({reasons}): give a "
            f"probability, `--threshold 0.5` (threshold=0.5), or ask for the most probable labels, `--top 5` (top=5)"
        )

    @property
    def threshold_probability(self) -> float | None:
        """The one threshold of all labels as a probability of those told; None if there is none, or several."""
        if self.limit is None or len(set(self.limit[0].tolist())) != 1:
            return None
        values, are_logits = self.limit
        if not are_logits:
            return float(values[0])
        return float(self.predictor.probabilities(torch.from_numpy(values).float().unsqueeze(0))[0, 0])

    def rows(self, logits: torch.Tensor) -> list[list[dict]]:
        """
        What is told of items.

        Parameters:
            logits (Tensor): of :meth:`Predictor.predict`, shape :math:`(B, C)`

        Returns:
            list of list of dict: for each item its rows, by column
        """
        predictor = self.predictor
        if predictor.kind == "number":
            return [[self._number(place, value) for place, value in self._all(values)] for values in logits.tolist()]
        told = predictor.probabilities(logits).numpy()
        plain = predictor.probabilities(logits, calibrated=False).numpy()
        # of one group logits have the order of probabilities, also where those are all 1; labels of yes and no are
        # calibrated each for itself
        ranked = told if predictor.kind == "binary" else logits.numpy()
        above = None
        if self.limit is not None:
            scores = logits.numpy() if self.limit[1] else told
            above = np.where(np.isnan(self.limit[0]), np.nan, scores >= self.limit[0])
        return [
            [self._row(place, told[i], plain[i], None if above is None else above[i]) for place in self._places(
                ranked[i], None if above is None else above[i])]
            for i in range(len(logits))
        ]  # fmt: skip

    def _all(self, values):
        return [(i, value) for i, value in enumerate(values) if self.wanted is None or i in self.wanted]

    def _places(self, scores, above):
        """The outputs that are told of one item, of each group the most probable first."""
        kind, found = self.predictor.kind, []
        groups = [slice(0, len(scores))] if kind == "binary" else self.predictor.slices
        for part in groups:
            order = part.start + np.argsort(-scores[part], kind="stable")
            if self.wanted is not None:
                order = order[np.isin(order, list(self.wanted))]
            if self.top:
                order = order[: self.top]
            elif self.wanted is None and kind in ("multilabel", "class"):
                many = 0 if above is None else int(np.nansum(above[order]))
                # in the order of probabilities those above the threshold come first
                order = order[: max(1, many)]
            elif kind == "binary":
                order = np.sort(order)
            found += order.tolist()
        return found

    def _row(self, place, told, plain, above):
        leaf = self.predictor.leaves[place]
        row = {"target": leaf.target} if self.predictor.kind == "class" else {}
        return row | {
            "label": leaf.label,
            "label_name": leaf.name,
            "probability": float(told[place]),
            "uncalibrated": float(plain[place]),
            "calibrated": self.is_calibrated[leaf.group],
            "above_threshold": None if above is None or math.isnan(above[place]) else bool(above[place]),
        }

    def _number(self, place, value):
        label = self.predictor.leaves[place].label
        error = (self.predictor.error or {}).get(label) or {}
        return {"label": label, "value": value, "validation_mae": error.get("mae"),
                "validation_rmse": error.get("rmse")}  # fmt: skip


def _check_top(top):
    if top is not None and (not isinstance(top, numbers.Integral) or isinstance(top, bool) or top < 1):
        raise ValueError(f"top should be a whole number from 1, but found `{top}`")
    return top


def _check_threshold(threshold) -> float:
    try:
        value = float(threshold)
    except (TypeError, ValueError):
        value = math.nan
    if isinstance(threshold, bool) or not 0 <= value <= 1:
        allowed = ", ".join(f"`{name}`" for name in THRESHOLDS)
        raise ValueError(f"threshold should be a probability from 0 to 1, or {allowed}, but found `{threshold}`")
    return value


def _find(predictor: Predictor, labels: Sequence[str]) -> set[int] | None:
    """Places of the outputs that labels mean, None for all."""
    if isinstance(labels, str):
        raise ValueError(f"labels should be a list of labels, but found the text `{labels}`")
    if not labels:
        return None
    places: dict[str, set[int]] = {}
    for place, leaf in enumerate(predictor.leaves):
        for name in {leaf.label, leaf.target} - {""}:
            places.setdefault(name, set()).add(place)
    for label in labels:
        if label not in places:
            near = difflib.get_close_matches(str(label), places, n=5, cutoff=0.3) or list(places)[:5]
            more = ", ..." if len(places) > len(near) else ""
            shown = ", ".join(f"`{name}`" for name in near)
            raise ValueError(
                f"this model does not predict `{label}`. Of its {len(predictor.leaves):,} labels the nearest are "
                f"{shown}{more}"
            )
    return set().union(*(places[label] for label in labels))
