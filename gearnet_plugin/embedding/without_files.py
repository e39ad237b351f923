"""
ESM built without its own files of weights, for checkpoints that hold ESM's weights themselves.

TorchDrug's ``ESM`` reads them, and downloads gigabytes, to learn the sizes of the network. Here the state dict that is
loaded right afterwards shows the sizes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import types
from unittest import mock

import torch

from torchdrug import models
from torchdrug.models import esm as host


def names_esm(recipe) -> bool:
    """Whether a recipe builds TorchDrug's ``ESM`` anywhere."""
    if isinstance(recipe, dict):
        own = recipe.get("class") in ("ESM", "models.ESM", "EvolutionaryScaleModeling")
        return own or any(names_esm(child) for child in recipe.values())
    return isinstance(recipe, list) and any(names_esm(child) for child in recipe)


@contextlib.contextmanager
def esm_as_in(state: dict, source: str):
    """
    Inside, TorchDrug's ``ESM`` takes its sizes from a state dict and reads, fetches and makes no file. Its weights hold
    anything until that state dict is loaded.

    Parameters:
        state (dict): state dict that has ESM's weights, under any prefix
        source (str): file it comes from, for messages
    """

    def load_weight(self, path, model):
        return _network(state, model, source)

    # ESM makes the folder of its path
    quiet = types.SimpleNamespace(path=os.path, makedirs=lambda path: None)
    with mock.patch.object(models.ESM, "load_weight", load_weight), mock.patch.object(host, "os", quiet):
        yield


def _network(state, model, source):
    """ESM's network, its parameters uninitialised, and its alphabet."""
    if model not in models.ESM.num_layer:
        raise ValueError(f"ESM has no model `{model}`; allowed are {', '.join(models.ESM.num_layer)}")
    import esm

    own = _own(state)
    if own is None:
        raise ValueError(
            f"the recipe names {model}, but `{source}` holds no weights of ESM; it should hold those of the whole "
            f"encoder, ESM included"
        )
    kind = "ESM-2" if "layers.0.self_attn.rot_emb.inv_freq" in own else "ESM-1"
    numbers = [re.match(r"layers\.(\d+)\.", name) for name in own]
    depth = 1 + max(int(number[1]) for number in numbers if number)
    width = own["embed_tokens.weight"].shape[1]
    expected = models.ESM.num_layer[model], models.ESM.output_dim[model]
    if not model.startswith(kind) or (depth, width) != expected:
        raise ValueError(
            f"the recipe names {model}, {expected[0]} layers of width {expected[1]}, but `{source}` holds {kind} with "
            f"{depth} layers of width {width}"
        )
    heads = own["contact_head.regression.weight"].shape[1] // depth
    alphabet = esm.data.Alphabet.from_architecture("ESM-1b")
    device = torch.empty(0).device
    with torch.device("meta"):
        if kind == "ESM-2":
            network = esm.model.esm2.ESM2(depth, width, heads, alphabet)
        else:
            network = esm.model.esm1.ProteinBertModel(_arguments(own, depth, width, heads, alphabet), alphabet)
    if device.type != "meta":
        network.to_empty(device=device)
        network.lm_head.weight = network.embed_tokens.weight  # one parameter, which `to_empty` makes two
    return network, alphabet


def _own(state):
    """The part of a state dict that is a network of ESM, without its prefix, or None."""
    for name in state:
        prefix = name.removesuffix("contact_head.regression.weight")
        if prefix != name and f"{prefix}embed_tokens.weight" in state:
            return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    return None


def _arguments(own, depth, width, heads, alphabet):
    """What the files of ESM-1b and ESM-1v give to the network; of it, ``token_dropout`` alone leaves no trace."""
    return argparse.Namespace(
        arch="roberta_large",
        layers=depth,
        embed_dim=width,
        ffn_embed_dim=own["layers.0.fc1.weight"].shape[0],
        attention_heads=heads,
        max_positions=own["embed_positions.weight"].shape[0] - alphabet.padding_idx - 1,
        emb_layer_norm_before="emb_layer_norm_before.weight" in own,
        token_dropout=True,
    )
