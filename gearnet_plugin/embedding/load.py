"""Find, read and check a trained encoder and the recipe of the graph it expects."""

from __future__ import annotations

import difflib
import glob
import os

import numpy as np
import torch
import yaml

from gearnet_plugin.engine import build
from gearnet_plugin.engine.checkpoint import ENCODER_RECIPE, ENCODER_WEIGHTS, encoder_state, read_state
from gearnet_plugin.engine.errors import ConfigError
from gearnet_plugin.engine.mismatch import explain
from gearnet_plugin.structures import Structure

from .encoder import LoadedEncoder

ACCEPTED = (
    f"Accepted are a run folder with `{ENCODER_WEIGHTS}` and `{ENCODER_RECIPE}`, or a file of weights that "
    f"has its `{ENCODER_RECIPE}` beside it"
)
# A recipe comes with weights, maybe from somebody else: it may build these, nothing that reads or downloads.
BUILDABLE = ("models.", "layers.")


def load_encoder(name_or_path: str | os.PathLike, device: str | torch.device = "cpu") -> LoadedEncoder:
    """
    Load a trained encoder, in eval mode, with the graph construction that belongs to it.

    Parameters:
        name_or_path (str or Path): a run folder, or a file of weights with ``encoder.yaml`` beside it
        device (str or torch.device, optional): where it computes

    Raises:
        FileNotFoundError: there is no such run or file; the message names runs that are near
        ValueError: weights and recipe do not belong together, or one of them is no such file
    """
    weights = _find_weights(os.path.expanduser(os.fspath(name_or_path)))
    recipe = os.path.join(os.path.dirname(weights), ENCODER_RECIPE)
    encoder, construction, version = _build(recipe)
    _load(encoder, weights, recipe)
    info = {
        "weights": os.path.abspath(weights),
        "encoder": getattr(encoder, "_registry_key", type(encoder).__name__),
        "output_dim": int(encoder.output_dim),
        "num_parameter": sum(p.numel() for p in encoder.parameters()),
        "gearnet_plugin": version,
    }
    loaded = LoadedEncoder(encoder, construction, info)
    _try_out(loaded, recipe)
    return loaded.to(device)


def _load(encoder, weights: str, recipe: str):
    """Load the weights, all of which must fit and be numbers."""
    own = encoder.state_dict()
    state, _ = read_state(weights, "encoder")
    # a checkpoint of a whole task holds the encoder's weights under a prefix
    state = state["model"] if isinstance(state.get("model"), dict) else state
    state = encoder_state({k: v for k, v in state.items() if isinstance(v, torch.Tensor)}, own)
    message = explain(own, state)
    if message:
        raise ValueError(f"the weights in `{weights}` do not fit the encoder in `{recipe}`. {message}")
    broken = [name for name, value in state.items() if not value.isfinite().all()]
    if broken:
        raise ValueError(
            f"`{weights}` holds values that are no finite numbers, first in `{broken[0]}`; the training must "
            f"have diverged"
        )
    encoder.load_state_dict(state)


def _find_weights(path: str) -> str:
    """The file of weights that a path means."""
    if os.path.isdir(path):
        weights = os.path.join(path, ENCODER_WEIGHTS)
        if not os.path.isfile(weights):
            unfinished = os.path.isfile(os.path.join(path, "config.yaml"))
            state = " The run there has not finished." if unfinished else ""
            inside = _encoders(path)
            hint = f" Below it are {_quoted(inside)}; name one of them." if inside else ""
            raise FileNotFoundError(
                f"the folder `{path}` has no `{ENCODER_WEIGHTS}`.{state}{hint} {ACCEPTED}"
            )
    elif path.lower().endswith((".yaml", ".yml")):
        raise ValueError(f"`{path}` is a recipe, not weights; give the folder it is in. {ACCEPTED}")
    elif os.path.isfile(path):
        weights = path
    else:
        runs = _encoders("runs")
        near = difflib.get_close_matches(path, runs, n=3, cutoff=0.3) or runs[:3]
        hint = f" Under `runs` there are {_quoted(near)}." if near else ""
        raise FileNotFoundError(
            f"there is no encoder `{path}`, looked from `{os.getcwd()}`.{hint} {ACCEPTED}"
        )
    if not os.path.isfile(os.path.join(os.path.dirname(weights), ENCODER_RECIPE)):
        raise FileNotFoundError(
            f"`{weights}` has no `{ENCODER_RECIPE}` beside it, which tells the encoder's arguments and the "
            f"graph it expects. {ACCEPTED}"
        )
    return weights


def _encoders(folder: str, depth: int = 4) -> list[str]:
    """Run folders with an encoder at most ``depth`` levels below a folder, the newest first."""
    patterns = [os.path.join(glob.escape(folder), *["*"] * i, ENCODER_WEIGHTS) for i in range(1, depth + 1)]
    files = [file for pattern in patterns for file in glob.glob(pattern)]
    return [os.path.dirname(file) for file in sorted(files, key=os.path.getmtime, reverse=True)]


def _build(path: str):
    """Encoder, graph construction (or None) and version of this package from ``encoder.yaml``."""
    try:
        with open(path, encoding="utf-8") as file:
            recipe = yaml.safe_load(file)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"`{path}` is no valid YAML: {' '.join(str(error).split())}") from None
    encoder = recipe.get("encoder") if isinstance(recipe, dict) else None
    if not (isinstance(encoder, dict) and "class" in encoder):
        raise ValueError(
            f"`{path}` names no encoder that can be built: it should hold `encoder` with `class` and "
            f"arguments, and `graph_construction_model`"
        )
    parts = []
    for key in ("encoder", "graph_construction_model"):
        part = recipe.get(key)
        try:
            if part is not None:
                _check_classes(part, key)
                build.check(part, key, ())
                part = build.build(part, key)
        except ConfigError as error:
            raise error.located(path) from None
        parts.append(part)
    if not hasattr(parts[0], "output_dim"):
        raise ConfigError("encoder", f"`{encoder['class']}` is no encoder: it has no `output_dim`", path)
    return *parts, recipe.get("gearnet_plugin")


def _check_classes(value, key):
    """Refuse classes that are neither models nor layers, anywhere in a recipe."""
    if isinstance(value, dict):
        if "class" in value:
            name = value["class"]
            if not getattr(build.find_class(name, key), "_registry_key", "").startswith(BUILDABLE):
                raise ConfigError(
                    f"{key}.class", f"`{name}` is neither a model nor a layer, so it is not built"
                )
        for name, child in value.items():
            _check_classes(child, f"{key}.{name}")
    elif isinstance(value, list):
        for i, child in enumerate(value):
            _check_classes(child, f"{key}.{i}")


def _try_out(loaded: LoadedEncoder, path: str):
    """Embed three residues: an encoder that does not take this graph is found now, not at the first file."""
    n = 3
    chain = np.array(["A"] * n)
    positions = np.arange(3 * n).reshape(n, 3)
    toy = Structure("toy", positions, np.arange(n), chain, chain, np.arange(n), [""] * n, chain, np.zeros(n))
    try:
        loaded.encode([toy])
    except Exception as error:
        raise ValueError(
            f"`{path}`: encoder and graph_construction_model do not fit together: {error}"
        ) from error


def _quoted(names) -> str:
    names = list(names)
    return ", ".join(f"`{name}`" for name in names[:5]) + (" and more" if len(names) > 5 else "")
