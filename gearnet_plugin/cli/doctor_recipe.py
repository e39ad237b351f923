"""What ``encoder.yaml`` describes, in words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import click
import yaml

RECIPE = "encoder.yaml"


def examine_recipe(path: str) -> int:
    """Tell what ``encoder.yaml`` describes and whether it goes with the weights beside it; the exit code."""
    with open(path, encoding="utf-8") as file:
        recipe = yaml.safe_load(file)
    for line in describe_recipe(recipe):
        click.echo(line if line.startswith(" ") else f"{path}: {line}")
    weights = os.path.join(os.path.dirname(os.path.abspath(path)), "encoder.pth")
    if not os.path.isfile(weights):
        click.echo("  no encoder.pth beside it: load_encoder needs both")
        return 0
    from gearnet_plugin.embedding import load_encoder

    loaded = load_encoder(os.path.dirname(weights))
    click.echo(f"  goes with encoder.pth beside it: {loaded.info['num_parameter']:,} parameters, an embedding has "
               f"{loaded.output_dim} dimensions")  # fmt: skip
    return 0


def describe_recipe(recipe: dict) -> Iterator[str]:
    """An encoder and its graph in words, from ``encoder.yaml``."""
    encoder = recipe["encoder"]
    kind = str(encoder.get("class")).removeprefix("models.")
    yield f"recipe of an encoder, {kind}, written by gearnet-plugin {recipe.get('gearnet_plugin') or '(not told)'}"
    yield "  " + ", ".join(f"{name} {_value(value)}" for name, value in encoder.items() if name != "class")
    graph = recipe.get("graph_construction_model")
    if not graph:
        yield "  no graph construction: it takes proteins without edges"
        return
    for layer in graph.get("edge_layers") or ():
        name = str(layer.get("class")).rpartition(".")[2]
        settings = ", ".join(f"{key} {value}" for key, value in layer.items() if key != "class" and value is not None)
        yield f"  graph: {name}" + (f" ({settings})" if settings else "")
    yield f"  features of edges: {graph.get('edge_feature') or 'none'}; gaps: {graph.get('gaps', 'index')}"


def _value(value: Any) -> Any:
    if isinstance(value, list) and len(value) > 1 and len(set(map(str, value))) == 1:
        return f"{len(value)} x {value[0]}"
    return value.get("class", "...") if isinstance(value, dict) else value
