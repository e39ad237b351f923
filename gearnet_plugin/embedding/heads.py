"""Where a head comes from: what a fine-tuning run left beside its encoder, or a checkpoint of a whole task."""

from __future__ import annotations

import os
import re
import reprlib
from typing import Any

import torch
import yaml

from gearnet_plugin.engine.checkpoint import read_state
from gearnet_plugin.engine.errors import ConfigError
from gearnet_plugin.engine.labels import TARGETS
from gearnet_plugin.engine.mismatch import explain
from gearnet_plugin.engine.predictor import FORMAT, RECIPE, VERSION, WEIGHTS, digest
from gearnet_plugin.engine.reference import Reference
from torchdrug import layers

from .predictor import NoHead, Predictor
from .predictor_recipe import checked

LAYER = re.compile(r"mlp\.layers\.(\d+)\.weight")
# tasks whose runs leave a head
LABELLED = ("PropertyPrediction", "MultipleBinaryClassification", "ProteinPropertyPrediction")


def find(weights: str, state: dict, labels: dict | None, encoder) -> Predictor:
    """
    The head that belongs to an encoder.

    It comes from ``predictor.yaml`` beside the weights if that was written with them, else from the file of weights
    itself if that is a checkpoint of a whole task, which tells neither thresholds nor calibration.

    Parameters:
        weights (str): file of the encoder's weights
        state (dict): its tensors beside the encoder's, if it is of a whole task
        labels (dict, optional): labels that the file tells
        encoder (nn.Module): encoder with these weights

    Raises:
        NoHead: there is none
        ValueError: it is damaged or does not fit
    """
    recipe = os.path.join(os.path.dirname(weights), RECIPE)
    other = ""
    if os.path.isfile(recipe):
        content = _read_recipe(recipe)
        if content["encoder"] == digest(encoder.state_dict()):
            return read(recipe, content, encoder)
        other = recipe
    if any(LAYER.fullmatch(name) for name in state):
        return from_task(weights, state, labels, encoder)
    raise NoHead(f"`{weights}` is an encoder without a head, so it predicts nothing. {_advice(weights, other)}")


def _advice(weights: str, other: str = "") -> str:
    """What to do for a head; ``other`` is a recipe of one that belongs to other weights."""
    folder = os.path.dirname(weights) or "."
    try:
        with open(os.path.join(folder, "config.yaml"), encoding="utf-8") as file:
            name = str(yaml.safe_load(file)["task"]["class"]).rpartition(".")[2]
    except (OSError, yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError):
        name = ""
    if name in LABELLED and os.path.isfile(os.path.join(folder, "checkpoint-best.pth")):
        why = "The run was finished by a version that kept none"
        if other:
            why = f"`{other}` belongs to other weights: one of the two was replaced or changed since. Put it back, or"
        return (
            f"{why}{'' if other else ';'} this writes one, in a new folder: python script/run.py "
            f"-c {folder}/config.yaml --set checkpoint={folder} --set train.num_epoch=0"
        )
    if other:
        return f"`{other}` belongs to other weights: one of the two was replaced or changed since. Put it back"
    return (
        f"Fine-tune it on labels, and give the folder of that run: python script/run.py -c "
        f"config/downstream/own/multilabel.yaml --table TABLE --target COLUMN --ckpt {weights}"
    )


def _read_recipe(path: str) -> dict:
    try:
        with open(path, encoding="utf-8") as file:
            content = yaml.safe_load(file)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"`{path}` is no valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ValueError(f"`{path}` is nested too deeply for a file of this package") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"`{path}` is no file of this package: it should begin with `format: {FORMAT}`")
    version = content.get("version")
    if type(version) is not int or version < 1:
        raise ValueError(f"`{path}`: version should be a whole number from 1, but found {reprlib.repr(version)[:100]}")
    if version > VERSION:
        raise ValueError(
            f"`{path}` is of version {version}, made by gearnet-plugin {content.get('gearnet_plugin')}; this one reads "
            f"up to {VERSION}. Install that version"
        )
    if not isinstance(content.get("encoder"), str):
        raise ValueError(f"`{path}`: encoder should be a text, but found {reprlib.repr(content.get('encoder'))[:100]}")
    return content


def read(recipe: str, content: dict, encoder) -> Predictor:
    """
    The predictor of a run.

    Parameters:
        recipe (str): ``predictor.yaml``
        content (dict): what it holds
        encoder (nn.Module): encoder that it belongs to

    Raises:
        FileNotFoundError, ValueError: ``predictor.pth`` is missing, or something does not fit
    """
    weights = os.path.join(os.path.dirname(recipe), WEIGHTS)
    if not os.path.isfile(weights):
        raise FileNotFoundError(f"`{recipe}` has no `{WEIGHTS}` beside it, the weights of the head")
    facts = checked(recipe, content)
    try:
        state, _ = read_state(weights, "predictor")
    except ConfigError as error:
        raise ValueError(error.message) from None
    state = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    mlp = _head(state, weights, sum(facts["outputs"]), _width(encoder, facts["level"]))
    moments = _moments(state, weights, sum(facts["outputs"]))
    reference = _reference(state, weights, int(encoder.output_dim))
    quantiles = (content.get("reference") or {}).get("quantiles")
    return Predictor(recipe, mlp, **facts, quantiles=quantiles, moments=moments, reference=reference)


def _moments(state: dict, weights: str, size: int):
    """Mean and standard deviation that numbers are in units of, None where they are not."""
    if "mean" not in state:
        return None
    found = tuple(state[name].float() for name in ("mean", "std") if name in state)
    if [tuple(value.shape) for value in found] != [(size,)] * 2 or not all(value.isfinite().all() for value in found):
        raise ValueError(f"`{weights}`: mean and std should be {size} finite numbers each")
    return found


def _reference(state: dict, weights: str, width: int) -> Reference | None:
    """The training proteins that a file holds, None for none."""
    own = {name: state[f"reference.{name}"] for name in Reference.names if f"reference.{name}" in state}
    if not own:
        return None
    fits = set(own) == set(Reference.names) and own["rows"].dim() == 2 and len(own["rows"]) > 0
    fits = fits and own["rows"].shape[1] == width and own["centre"].shape == own["scale"].shape == (width,)
    fits = fits and all(bool(value.isfinite().all()) for value in own.values()) and bool((own["scale"] > 0).all())
    if not fits:
        raise ValueError(f"`{weights}`: reference should be embeddings of {width} finite numbers, with their scale")
    return Reference(**own)


def from_task(weights: str, state: dict, labels: dict | None, encoder) -> Predictor:
    """
    The predictor of a checkpoint of a whole task; its labels are numbers where the file does not name them.

    Raises:
        NoHead: the file does not tell what its outputs mean
    """
    size = max((int(m.group(1)), len(state[m.string])) for m in map(LAYER.fullmatch, state) if m)[1]
    labels = labels if isinstance(labels, dict) else {}
    why = f"`{weights}` is a checkpoint, which tells no more than weights and labels; the folder of a run has more"
    facts: dict[str, Any] = {"reasons": {"checkpoint": why}, "outputs": [size]}
    if "task_indices" in state:
        names = labels.get(TARGETS) or state["task_indices"].tolist()
        facts.update(kind="multilabel", labels=[str(name) for name in names])
    elif len(state.get("weight", ())) == 1 and size > 1:
        name, classes = next(iter(labels.items()), ("class", None))
        classes = [str(label) for label in classes or ()]
        classes += [str(i) for i in range(len(classes), size)]
        facts.update(kind="class", labels=[str(name)], classes={str(name): classes})
    else:
        raise NoHead(
            f"`{weights}` is a checkpoint that does not tell what its {size} outputs are, numbers or probabilities. "
            f"Give the folder of its run, with `{RECIPE}`. {_advice(weights)}"
        )
    known = facts["labels"] if facts["kind"] == "multilabel" else facts["classes"][facts["labels"][0]]
    if len(known) != size:
        raise ValueError(f"`{weights}`: its head has {size} outputs, but it names {len(known)} labels")
    return Predictor(weights, _head(state, weights, size, _width(encoder, "protein")), **facts)


def _width(encoder, level: str) -> int:
    width = getattr(encoder, "node_output_dim", None) if level == "residue" else None
    return int(width or encoder.output_dim)


def _head(state: dict, weights: str, num_output: int, width: int):
    """The head whose weights a state dict holds, as TorchDrug's tasks make it."""
    found = {int(m.group(1)): state[m.string] for m in map(LAYER.fullmatch, state) if m}
    own = {name.removeprefix("mlp."): value for name, value in state.items() if name.startswith("mlp.")}
    if sorted(found) != list(range(len(found))) or not found or any(value.dim() != 2 for value in found.values()):
        raise ValueError(f"`{weights}` holds no head: there should be `mlp.layers.0.weight` and so on")
    dims = [found[i].shape[0] for i in range(len(found))]
    if found[0].shape[1] != width or dims[-1] != num_output:
        raise ValueError(
            f"the head in `{weights}` does not fit: it takes {found[0].shape[1]} numbers and gives {dims[-1]}, but the "
            f"encoder gives {width} and there are {num_output} labels or classes"
        )
    mlp = layers.MLP(width, dims, batch_norm=any(name.startswith("batch_norms.") for name in own))
    message = explain(mlp.state_dict(), own)
    if message:
        raise ValueError(f"the head in `{weights}` does not fit. {message}")
    broken = [name for name, value in own.items() if not bool(value.isfinite().all())]
    if broken:
        raise ValueError(f"`{weights}` holds values that are no finite numbers, first in `mlp.{broken[0]}`")
    mlp.load_state_dict(own)
    return mlp.eval().requires_grad_(False)
