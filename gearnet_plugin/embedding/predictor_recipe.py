"""What ``predictor.yaml`` may hold; it comes with weights, maybe from somebody else."""

from __future__ import annotations

import math
import reprlib
from typing import Any

from gearnet_plugin.engine.validated import ALL, CONVENTIONS
from gearnet_plugin.metrics import Calibration

KINDS = ("multilabel", "class", "number", "binary")
LEVELS = ("protein", "residue")
FIELDS = ("kind", "level", "labels", "outputs", "criterion", "classes", "descriptions", "vocabulary", "thresholds",
          "accuracy", "error", "calibration", "validation", "training")  # fmt: skip


def checked(path: str, content: dict) -> dict:
    """
    The fields of a predictor, after a check of what the rest relies on.

    Parameters:
        path (str): file, for messages
        content (dict): what it holds

    Raises:
        ValueError: says which key is wrong, what came and what is allowed
    """

    def need(fits, key, what):
        if not fits:
            value = content.get(key)
            # a file with aliases of aliases is short, and its text may not be
            shown = value[:100] if isinstance(value, str) else reprlib.repr(value)[:100]
            raise ValueError(f"`{path}`: {key} should be {what}, but found {shown}")

    found: list[Any] = [content.get(key) for key in ("kind", "level", "labels", "outputs")]
    kind, level, labels, outputs = found
    need(kind in KINDS, "kind", "one of " + ", ".join(KINDS))
    need(level in LEVELS, "level", "protein or residue")
    need(_texts(labels) and labels, "labels", "a list of texts")
    need(isinstance(outputs, list) and all(type(n) is int and n > 0 for n in outputs), "outputs", "whole numbers")
    expected = {"multilabel": [len(labels)], "class": outputs}.get(kind, [1] * len(labels))
    need(outputs == expected and (kind == "multilabel" or len(outputs) == len(labels)), "outputs", "as many as labels")
    if kind == "class":
        classes: Any = content.get("classes")
        fits = isinstance(classes, dict) and all(_texts(classes.get(name)) for name in labels)
        fits = fits and [len(classes[name]) for name in labels] == outputs
        need(fits, "classes", "for each label as many texts as outputs")
    descriptions: Any = content.get("descriptions")
    need(descriptions is None or _texts(descriptions) and len(descriptions) == len(labels), "descriptions",
         "a text for each label")  # fmt: skip
    groups = [ALL] if kind == "multilabel" else labels
    need(_mapping(content.get("thresholds"), CONVENTIONS if kind == "multilabel" else labels,
                  lambda v: isinstance(v, dict) and _is_number(v.get("threshold"), True)), "thresholds",
         "for each a number under `threshold`")  # fmt: skip
    need(_mapping(content.get("error"), labels,
                  lambda v: isinstance(v, dict) and all(_is_number(v.get(key), True) for key in ("mae", "rmse"))),
         "error", "for each the numbers `mae` and `rmse`")  # fmt: skip
    need(_mapping(content.get("calibration"), groups, lambda v: isinstance(v, dict) and v.get("kind") == kind
                  and all(_is_number(value) for key, value in v.items() if key != "kind")),
         "calibration", "for each a temperature and so on")  # fmt: skip
    for values in (content.get("calibration") or {}).values():
        need(type(values.get("num_items")) is int, "calibration", "for each with `num_items`")
        try:
            Calibration.from_dict({key: value for key, value in values.items() if key != "num_items"})
        except (ValueError, TypeError) as error:
            raise ValueError(f"`{path}`: calibration: {error}") from None
    for key in ("training", "reference", "validation", "accuracy", "reasons"):
        need(content.get(key) is None or isinstance(content[key], dict), key, "a mapping")
    lengths = (content.get("training") or {}).get("length")
    fits = isinstance(lengths, dict) and all(type(lengths.get(key)) is int for key in ("min", "max"))
    need(lengths is None or fits, "training", "`length` with whole numbers")
    quantiles = (content.get("reference") or {}).get("quantiles")
    fits = quantiles is None or isinstance(quantiles, dict) and all(map(_is_number, [*quantiles, *quantiles.values()]))
    need(fits, "reference", "`quantiles` that are numbers")
    reasons = content.get("reasons") or {}
    need(_texts(list(reasons.values())), "reasons", "texts")
    # they are shown in a terminal, which obeys control characters
    reasons = {key: "".join(c if c.isprintable() else "?" for c in text) for key, text in reasons.items()}
    return {key: content.get(key) for key in FIELDS} | {"reasons": reasons}


def _texts(values) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _mapping(values, allowed, fits) -> bool:
    if values is None:
        return True
    return isinstance(values, dict) and set(values) <= set(allowed) and all(fits(value) for value in values.values())


def _is_number(value, or_none: bool = False) -> bool:
    if value is None:
        return or_none
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
