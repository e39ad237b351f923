"""Which configurations have an encoder that given weights fit."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterator
from typing import Any

#: What a configuration calls the encoders whose weights can be told from their names.
ENCODERS = ("GearNetEncoder", "GearNetIEConvEncoder", "GearNet", "GearNetIEConv")

Tensors = dict[str, Any]


def config_folder() -> str | None:
    """``config/`` of the checkout that this package runs from."""
    folder = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "config")
    return folder if os.path.isdir(folder) else None


def fitting_configs(tensors: Tensors, folder: str | None = None) -> list[str]:
    """
    Names of the configurations whose encoder takes weights as they are.

    Parameters:
        tensors (dict): {name: tensor} of an encoder or of a task around it
        folder (str, optional): folder of configurations, by default that of the checkout
    """
    folder = folder or config_folder()
    if folder is None:
        return []
    known: dict[str, bool] = {}
    fitting = []
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), "**", "*.yaml"), recursive=True)):
        for part in _encoders(_read_config(path)):
            key = json.dumps(part, sort_keys=True, default=str)
            if key not in known:
                known[key] = _fits(part, tensors)
            if known[key]:
                fitting.append(os.path.relpath(path, folder))
                break
    return fitting


def _read_config(path: str) -> Any:
    """A configuration with its variables empty; None if it is none."""
    from gearnet_plugin.engine.config import parse, render, variables

    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        return parse(render(text, dict.fromkeys(variables(text)), path), path).get("task")
    except (ValueError, OSError):
        return None


def _encoders(value: Any) -> Iterator[dict]:
    """Encoders anywhere in a configuration."""
    if isinstance(value, dict):
        if str(value.get("class", "")).removeprefix("models.") in ENCODERS:
            yield dict(value)
        for child in value.values():
            yield from _encoders(child)
    elif isinstance(value, list):
        for child in value:
            yield from _encoders(child)


def _fits(part: dict, tensors: Tensors) -> bool:
    import torch

    from gearnet_plugin.engine.build import build
    from gearnet_plugin.engine.checkpoint import encoder_state
    from gearnet_plugin.engine.mismatch import explain

    try:
        with torch.device("meta"):
            own = build(_translated(part), "encoder").state_dict()
    except (ValueError, KeyError, TypeError):
        return False
    found = encoder_state(tensors, own)
    return not explain(own, found)


def _translated(part: dict) -> dict:
    from gearnet_plugin import translate

    return translate({"model": part})[0]["model"]
