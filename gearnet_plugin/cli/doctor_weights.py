"""What is in a file of weights, in words."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Iterator
from typing import Any

import click

from .doctor_fitting import config_folder, fitting_configs
from .doctor_recipe import RECIPE

#: Most configurations that are named.
SHOWN = 6
Tensors = dict[str, Any]


def examine(path: str) -> int:
    """Tell what is in a file of weights; the exit code: 1 if it is of no use."""
    from gearnet_plugin.engine.checkpoint import read_state

    state, file = read_state(path, "")
    if {"names", "lengths", "info"} <= set(state):
        from .doctor_embeddings import examine as examine_embeddings

        return examine_embeddings(path)
    model = state["model"] if isinstance(state.get("model"), dict) else state
    tensors = {name: value for name, value in model.items() if isinstance(name, str) and hasattr(value, "isfinite")}
    click.echo(f"{file}: {os.path.getsize(file) / 1e6:,.2f} MB, read without running anything in it")
    if not tensors:
        click.echo(f"  no weights in it; its keys are {', '.join(map(str, list(state)[:8])) or 'none'}", err=True)
        return 1
    for line in describe(tensors):
        click.echo(f"  {line}")
    for line in _training(state):
        click.echo(f"  {line}")
    for line in _origin(file, tensors):
        click.echo(f"  {line}")
    broken = [name for name, value in tensors.items() if not bool(value.isfinite().all())]
    if broken:
        click.echo(f"  {len(broken)} of {len(tensors)} tensors hold NaN or infinity, first `{broken[0]}`: the training "
                   f"has diverged; take an earlier checkpoint", err=True)  # fmt: skip
        return 1
    click.echo("  every value is a finite number")
    return 0


# === weights ===


def describe(tensors: Tensors) -> Iterator[str]:
    """
    What weights belong to, as lines of text.

    Parameters:
        tensors (dict): {name: tensor} of an encoder or of a task around it
    """
    prefix = encoder_prefix(tensors)
    if prefix is None:
        yield f"no encoder of GearNet's: {len(tensors):,} tensors such as {', '.join(list(tensors)[:4])}"
        return
    inside = {name: value for name, value in tensors.items() if name.startswith(prefix)}
    head = {name: value for name, value in tensors.items() if name not in inside}
    yield f"encoder: {variant(inside)}"
    yield f"  {_numbers(inside)} in {len(inside)} tensors"
    if any(".sequence_model." in f".{name}" for name in inside):
        yield "  with a sequence model: its residue features go into the encoder (SequenceStructureFusion)"
    if not head and not prefix:
        yield "the encoder alone, as `model_checkpoint` and load_encoder take it"
        return
    beside = _numbers(head) if head else "nothing"
    yield f"a whole task: the encoder is under `{prefix.rstrip('.')}`, beside it {beside}"
    yield from _heads(head)


def encoder_prefix(tensors: Tensors) -> str | None:
    """What stands before the encoder's own names; None if there is no encoder of GearNet's."""
    for name in tensors:
        found = re.fullmatch(r"((?:.*\.)?)layers\.0\.(?:self_loop|linear)\.weight", name)
        if found:
            return re.sub(r"(^|\.)structure_model\.$", r"\1", found.group(1))
    return None


def variant(tensors: Tensors) -> str:
    """An encoder in words, by the shapes of its weights."""
    from gearnet_plugin.engine.mismatch import describe as arguments

    known = {name.split(" (")[0]: value for name, value in arguments(tensors).items()}
    if "hidden_dims" not in known:
        return "of names like GearNet's, but of other shapes"
    widths, bins = known["hidden_dims"], known.get("num_angle_bin")
    ieconv = any(re.search(r"(?:^|\.)ieconvs\.\d+\.", name) for name in tensors)
    name = "GearNet" + ("-Edge" if bins else "") + ("-IEConv" if ieconv else "")
    same = len(set(widths)) == 1
    parts = [f"{len(widths)} layers of {widths[0]}" if same else f"layers of {', '.join(map(str, widths))}"]
    if known.get("input_dim"):
        parts.append(f"{known['input_dim']} features a residue")
    if known.get("num_relation"):
        parts.append(f"{known['num_relation']} kinds of edges")
    if bins:
        parts.append(f"edge messages by {bins} angle bins from {known.get('edge_input_dim')} features an edge")
    else:
        parts.append("no edge messages")
    parts.append("batch norm" if known.get("batch_norm") else "no batch norm")
    return f"{name}: {', '.join(parts)}"


def _heads(head: Tensors) -> Iterator[str]:
    """What a task predicts, as far as the names tell."""
    last: dict[str, tuple[int, Any]] = {}
    for name, value in head.items():
        found = re.fullmatch(r"(.*mlp.*)\.layers\.(\d+)\.weight", name)
        if found and value.dim() == 2 and int(found.group(2)) >= last.get(found.group(1), (-1, None))[0]:
            last[found.group(1)] = int(found.group(2)), value
    for name, (_, value) in last.items():
        yield f"  `{name}` gives {value.shape[0]:,} numbers"
    indices = head.get("task_indices")
    if indices is not None:
        yield f"  multi-label: {indices.numel():,} labels"


def _training(state: Tensors) -> Iterator[str]:
    """What a checkpoint holds beside weights."""
    progress = [f"{name} {state[name]}" for name in ("epoch", "step") if isinstance(state.get(name), int)]
    if progress:
        yield f"saved in training: {', '.join(progress)}"
    if isinstance(state.get("optimizer"), dict):
        yield "with the state of the optimizer, so that training can go on from it"


def _origin(file: str, tensors: Tensors) -> Iterator[str]:
    """Which published weights these are, which configurations they fit, and the recipe beside them."""
    yield from _published(file)
    if encoder_prefix(tensors) is not None:
        fitting = fitting_configs(tensors)
        if fitting:
            more = f" and {len(fitting) - SHOWN} more" if len(fitting) > SHOWN else ""
            yield f"fits the encoder of {', '.join(fitting[:SHOWN])}{more}"
        elif config_folder():
            yield "fits the encoder of none of the configurations in config/"
    recipe = os.path.join(os.path.dirname(os.path.abspath(file)), RECIPE)
    if os.path.isfile(recipe):
        yield f"{RECIPE} beside it: load_encoder can build it"
    else:
        yield f"no {RECIPE} beside it, which tells the graph it expects"


def _published(file: str) -> Iterator[str]:
    """Which published file this is, by its checksum, else by its name."""
    from gearnet_plugin.embedding.published import find, published

    digest = _md5(file)
    row = next((row for row in published() if row.md5 == digest), None)
    if row is not None:
        yield f"published as {row.name}: {row.variant}, {row.trained_on}, arXiv {row.paper} (the checksum is equal)"
        return
    named = find(os.path.basename(file))
    if named is None:
        yield "no published file that is known here"
    elif named.md5 is None:
        yield f"named like the published {named.name} ({named.trained_on}), of which no checksum is known"
    else:
        yield f"named like the published {named.name}, but its checksum is another: saved anew, or other weights"


def _md5(file: str) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with open(file, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _numbers(tensors: Tensors) -> str:
    """How many numbers weights are, running statistics apart."""
    learned = sum(math.prod(v.shape) for k, v in tensors.items() if ".running_" not in k and "num_batches" not in k)
    return f"{learned:,} parameters"
