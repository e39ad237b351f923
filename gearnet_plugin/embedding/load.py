"""Find, read and check a trained encoder and the recipe of the graph it expects."""

from __future__ import annotations

import contextlib
import difflib
import glob
import logging
import os

import numpy as np
import torch
import yaml

from gearnet_plugin.engine import build
from gearnet_plugin.engine.checkpoint import ENCODER_RECIPE, ENCODER_WEIGHTS, encoder_state, read_state
from gearnet_plugin.engine.errors import ConfigError
from gearnet_plugin.engine.heads import LABELS
from gearnet_plugin.engine.mismatch import describe, explain
from gearnet_plugin.structures import Structure

from . import heads, published, weight_folder
from .encoder import LoadedEncoder
from .without_files import esm_as_in, names_esm

logger = logging.getLogger(__name__)

ACCEPTED = (
    f"Accepted are a run folder with `{ENCODER_WEIGHTS}` and `{ENCODER_RECIPE}`, or a file of weights that "
    f"has its `{ENCODER_RECIPE}` beside it, or the name of published weights"
)
# A recipe comes with weights, maybe from somebody else: it may build these, nothing that reads or downloads.
BUILDABLE = ("models.", "layers.")


def load_encoder(
    name_or_path: str | os.PathLike, device: str | torch.device = "cpu", download: bool = True
) -> LoadedEncoder:
    """
    Load a trained encoder, in eval mode, with the graph construction that belongs to it.

    A file without ``encoder.yaml`` is taken for a published one if it has the name of one, or if its weights fit one
    of their architectures; the graph, which weights do not show, is then assumed to be that of the release, which the
    log says.

    Parameters:
        name_or_path (str or Path): a run folder; a file of weights with ``encoder.yaml`` beside it; a published file
            of weights; or the name of published weights, such as ``mc_gearnet_edge``, see
            :mod:`gearnet_plugin.embedding.published`. A path that exists wins over a name.
        device (str or torch.device, optional): where it computes
        download (bool, optional): fetch published weights that are not here; False to use no network

    Raises:
        FileNotFoundError: there is no such run or file; the message names runs that are near, or what to put where
        ValueError: weights and recipe do not belong together, or one of them is no such file
    """
    weights, row = _find(os.path.expanduser(os.fspath(name_or_path)), download)
    is_named = row is not None
    state, labels = _read(weights)
    path = os.path.join(os.path.dirname(weights), ENCODER_RECIPE)
    if row is None and os.path.isfile(path):
        recipe, origin = _read_recipe(path), path
    else:
        if row is None:
            row, is_named = _recognise(weights, state)
        recipe, origin = row.recipe(), f"{row.name} as published"
    encoder, construction = _build(recipe, origin, state, weights)
    _load(encoder, state, weights, origin)
    info = {
        "weights": os.path.abspath(weights),
        "encoder": getattr(encoder, "_registry_key", type(encoder).__name__),
        "output_dim": int(encoder.output_dim),
        "num_parameter": sum(p.numel() for p in encoder.parameters()),
        "gearnet_plugin": recipe.get("gearnet_plugin"),
    }
    if row is not None:
        # all pretrained alike, and what was made from them, have one architecture
        info.update({"published": row.name} if is_named else {"architecture": row.variant})
    loaded = LoadedEncoder(encoder, construction, info)
    _try_out(loaded, origin)
    loaded.find_heads = _heads(weights, state, labels, encoder)
    return loaded.to(device)


# === weights ===


def _read(weights: str) -> tuple[dict, dict | None]:
    """The tensors of a file of weights, of a checkpoint of a whole task those of its model, and the labels it tells."""
    content, _ = read_state(weights, "encoder")
    state = content["model"] if isinstance(content.get("model"), dict) else content
    return {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}, content.get(LABELS)


def _heads(weights: str, state: dict, labels: dict | None, encoder):
    """What finds the head, looked for when it is asked for: a damaged one is no reason not to embed."""
    # of a task the head alone, since the weights are in the encoder already
    head = {name: value for name, value in state.items() if not name.startswith("model.")}
    is_task = len(head) < len(state)
    return lambda: heads.find(weights, head if is_task else {}, labels, encoder)


def _load(encoder, state: dict, weights: str, origin: str):
    """Load the weights, all of which must fit and be numbers."""
    own = encoder.state_dict()
    # a checkpoint of a whole task holds the encoder's weights under a prefix
    state = encoder_state(state, own)
    message = explain(own, state)
    if message:
        raise ValueError(f"the weights in `{weights}` do not fit the encoder in `{origin}`. {message}")
    broken = [name for name, value in state.items() if not value.isfinite().all()]
    if broken:
        raise ValueError(
            f"`{weights}` holds values that are no finite numbers, first in `{broken[0]}`; the training must "
            f"have diverged"
        )
    encoder.load_state_dict(state)


def _find(path: str, download: bool):
    """The file of weights that a path or name means, and the published encoder if it was a name."""
    row = published.find(path)
    if row is not None and not os.path.lexists(path):
        return os.fspath(weight_folder.weights_file(row, download)), row
    if os.path.isdir(path):
        weights = os.path.join(path, ENCODER_WEIGHTS)
        if not os.path.isfile(weights):
            unfinished = os.path.isfile(os.path.join(path, "config.yaml"))
            said = " The run there has not finished." if unfinished else ""
            inside = _encoders(path)
            hint = f" Below it are {_quoted(inside)}; name one of them." if inside else ""
            if row is not None:
                hint += f" It hides the published weights of that name: give `{row.file}` from another folder."
            raise FileNotFoundError(f"the folder `{path}` has no `{ENCODER_WEIGHTS}`.{said}{hint} {ACCEPTED}")
        return weights, None
    if path.lower().endswith((".yaml", ".yml")):
        raise ValueError(f"`{path}` is a recipe, not weights; give the folder it is in. {ACCEPTED}")
    if os.path.isfile(path):
        return path, None
    raise FileNotFoundError(f"there is no encoder `{path}`, looked from `{os.getcwd()}`.{_near(path)} {ACCEPTED}")


def _near(path: str) -> str:
    """Runs and published weights that somebody may have meant."""
    runs = _encoders("runs")
    near = difflib.get_close_matches(path, runs, n=3, cutoff=0.3) or runs[:3]
    hint = f" Under `runs` there are {_quoted(near)}." if near else ""
    names = [row.name for row in published.published()]
    file = published.find(os.path.basename(path))
    if file is not None:
        return f"{hint} `{file.name}` alone, without a folder, means the published weights."
    near = difflib.get_close_matches(path.lower(), names, n=3, cutoff=0.6)
    return f"{hint} Published are {_quoted(near)}." if near else hint


# === recipes ===


def _recognise(weights: str, state: dict) -> tuple[published.PublishedEncoder, bool]:
    """
    The published encoder that a file without recipe is by its name, or one of its architecture; and whether by name.
    """
    row, why = published.find(os.path.basename(weights)), "name"
    if row is None:
        fitting = {}
        for candidate in published.published():
            if candidate.variant not in fitting:
                fitting[candidate.variant] = candidate if _fits(candidate, state, weights) else None
        rows = [candidate for candidate in fitting.values() if candidate is not None]
        if len(rows) != 1:
            shown = ", ".join(f"{name} {value}" for name, value in describe(state).items())
            raise FileNotFoundError(
                f"`{weights}` has no `{ENCODER_RECIPE}` beside it, which tells the encoder's arguments and the "
                f"graph it expects, and it is none of the published architectures"
                f"{f' (its weights show {shown})' if shown else ''}. {ACCEPTED}"
            )
        row, why = rows[0], "architecture"
    taken = row.variant + (" as published (`%s`)" % row.name if why == "name" else "")
    logger.warning(
        "`%s` has no `%s` beside it. By its %s it is taken for %s, and its graph, which weights do not show, for that "
        "of the release",
        weights, ENCODER_RECIPE, why, taken,
    )
    return row, why == "name"


def _fits(row: published.PublishedEncoder, state: dict, weights: str) -> bool:
    """Whether all weights of a file are those of a published architecture."""
    try:
        with torch.device("meta"):
            encoder, _ = _build({"encoder": row.recipe()["encoder"]}, row.name, state, weights)
    except ValueError:
        return False
    own = encoder.state_dict()
    return not explain(own, encoder_state(state, own))


def _encoders(folder: str, depth: int = 4) -> list[str]:
    """Run folders with an encoder at most ``depth`` levels below a folder, the newest first."""
    patterns = [os.path.join(glob.escape(folder), *["*"] * i, ENCODER_WEIGHTS) for i in range(1, depth + 1)]
    files = [file for pattern in patterns for file in glob.glob(pattern)]
    return [os.path.dirname(file) for file in sorted(files, key=os.path.getmtime, reverse=True)]


def _read_recipe(path: str) -> dict:
    """What ``encoder.yaml`` holds."""
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
    return recipe


def _build(recipe: dict, origin: str, state: dict, weights: str):
    """Encoder and graph construction (or None) of a recipe; ESM in it takes its sizes from the state dict."""
    sizes = esm_as_in(state, weights) if names_esm(recipe["encoder"]) else contextlib.nullcontext()
    parts = []
    for key in ("encoder", "graph_construction_model"):
        part = recipe.get(key)
        try:
            if part is not None:
                _check_classes(part, key)
                build.check(part, key, ())
                with sizes if key == "encoder" else contextlib.nullcontext():
                    part = build.build(part, key)
        except ConfigError as error:
            raise error.located(origin) from None
        parts.append(part)
    if not hasattr(parts[0], "output_dim"):
        raise ConfigError("encoder", f"`{recipe['encoder']['class']}` is no encoder: it has no `output_dim`", origin)
    return parts


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


def _try_out(loaded: LoadedEncoder, origin: str):
    """Embed three residues: an encoder that does not take this graph is found now, not at the first file."""
    n = 3
    chain = np.array(["A"] * n)
    positions = np.arange(3 * n).reshape(n, 3)
    toy = Structure("toy", positions, np.arange(n), chain, chain, np.arange(n), np.array([""] * n), chain, np.zeros(n))
    try:
        loaded.encode([toy])
    except Exception as error:
        raise ValueError(
            f"`{origin}`: encoder and graph_construction_model do not fit together: {error}"
        ) from error


def _quoted(names) -> str:
    names = list(names)
    return ", ".join(f"`{name}`" for name in names[:5]) + (" and more" if len(names) > 5 else "")
