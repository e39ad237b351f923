"""
Make the cache of a frozen sequence model's features, and what identifies proteins and models in it.

    from gearnet_plugin.datasets.features import cache_features

    cache_features(model.sequence_model, dataset, "esm.features", dtype="float16")
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil

import numpy as np
import torch
from tqdm import tqdm

from gearnet_plugin.graphs.protein import UNKNOWN
from gearnet_plugin.structures import StructureStore
from gearnet_plugin.structures.disk import explain_full
from gearnet_plugin.structures.manifest import is_store
from torchdrug import data

from .feature_cache import (
    DTYPES,
    ENTRY,
    PROTEINS,
    RESIDUES,
    SEQUENCES,
    FeatureCache,
    checksum,
    letters,
    sequence_key,
    write_index,
)
from .stored import StoredStructures

# arguments that say where a model lies, not which it is
PLACES = ("path",)


def cache_features(model, proteins, path, dtype="float32", verbose=1) -> FeatureCache:
    """
    Run a sequence model over proteins and write its features to a folder, each sequence once.

    Each protein goes through the model for itself, in eval mode, so its features depend on nothing else. In a batch
    those of TorchDrug's ``ProteinLSTM``, ``ProteinConvolutionalNetwork`` and ``ProteinResNet`` depend on its longest
    protein: the first two read the padding, the third counts positions from the end of the padding.

    Parameters:
        model (nn.Module): sequence model, with its final weights, on the device where it should compute
        proteins (Dataset, StructureStore, str or iterable): items ``{"graph": protein}``, proteins, or a store.
            What the dataset's transform leaves of a protein is what counts as whole.
        path (str or Path): folder to make
        dtype (str, optional): ``float32``, or ``float16``, half as large and precise to 0.1 %
        verbose (int, optional): 0 for no progress bar

    Raises:
        ValueError: ``path`` is taken; the features of a protein are not one a residue, as of a protein too long for
            the model, or no finite numbers
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype should be {' or '.join(f'`{name}`' for name in DTYPES)}, but found `{dtype}`")
    path = os.path.abspath(os.path.expanduser(os.fspath(path)))
    if os.path.lexists(path):
        raise ValueError(
            f"there is something at `{path}` already; remove it, or choose another folder for the features"
        )
    os.makedirs(os.path.dirname(path), exist_ok=True)
    folder = f"{path}.{os.getpid()}.tmp"
    os.mkdir(folder)
    try:
        with _evaluating(model):
            content, entries = _write(model, _named(proteins, verbose), folder, np.dtype(DTYPES[dtype]))
        name = getattr(model, "_registry_key", type(model).__name__)
        write_index(folder, {"model": name, "fingerprint": fingerprint(model), "dtype": dtype, **content}, entries)
        for file in os.scandir(folder):
            _synchronize(file.path)
        os.rename(folder, path)
    except OSError as error:
        raise explain_full(error, f"the features in `{path}`") from error
    finally:
        # gone by now if all went well
        shutil.rmtree(folder, ignore_errors=True)
    return FeatureCache(path)


def residue_codes(graph) -> list[np.ndarray]:
    """
    Residue types of each protein of a batch, 20 for unknown, as sequence models see them.

    Parameters:
        graph (PackedProtein): proteins, ours or TorchDrug's

    Raises:
        ValueError: residue features are other than one-hot types, as of masked residues
    """
    codes = graph.residue_type
    feature = graph.residue_feature if "residue_feature" in graph.meta_dict else None
    unknown = getattr(graph, "unknown_residue", None)
    if unknown is None and feature is not None and feature.shape[1:] == (UNKNOWN + 1,):
        unknown = feature[:, UNKNOWN] == 1
    if unknown is not None:
        codes = codes.masked_fill(unknown, UNKNOWN)
    if feature is not None:
        expected = torch.nn.functional.one_hot(codes, UNKNOWN + 1)
        if feature.shape != expected.shape or not torch.equal(feature.to(expected.dtype), expected):
            raise ValueError(
                "cached features belong to proteins as they came, but residues of this batch were masked or have "
                "other features than their one-hot types. Leave out `features`, so that the sequence model runs"
            )
    codes = codes.to("cpu", torch.uint8).numpy()
    return np.split(codes, graph.num_residues.cumsum(0).tolist()[:-1])


def describe_protein(number: int, codes: np.ndarray) -> str:
    """What to call a protein of a batch, which has no name: its place, length and beginning."""
    return f"protein {number} of the batch ({len(codes)} residues, {letters(codes)})"


def fingerprint(model) -> str:
    """Hash of the kind of a model, its arguments and its weights, whatever the device and float32 or float64."""
    config = model.config_dict() if hasattr(model, "config_dict") else {"class": type(model).__qualname__}
    config = {key: value for key, value in config.items() if key not in PLACES}
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps(config, sort_keys=True, default=_plain_name).encode())
    for name, value in sorted(model.state_dict().items()):
        value = value.detach().cpu()
        value = value.float() if value.is_floating_point() else value
        digest.update(f"\n{name} {tuple(value.shape)} ".encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _plain_name(value):
    # the text of an object may hold its address
    return getattr(value, "__qualname__", type(value).__qualname__)


def _write(model, named, folder, dtype):
    """Write features and sequences; return what the index says of them, and the entries."""
    rows, known, widths, start = [], set(), None, 0
    names = (RESIDUES, PROTEINS, SEQUENCES)
    with contextlib.ExitStack() as stack:
        residue_file, protein_file, sequence_file = (
            stack.enter_context(open(os.path.join(folder, name), "wb")) for name in names
        )
        for name, protein in named:
            graph = protein.pack([protein])
            (codes,) = residue_codes(graph)
            key = sequence_key(codes)
            if key in known:
                continue
            known.add(key)
            residues, whole = _features(model, graph, name, dtype)
            if widths is None:
                widths = residues.shape[1], len(whole)
            residue_file.write(residues)
            protein_file.write(whole)
            sequence_file.write(codes)
            rows.append((key, len(rows), start, len(codes), checksum(codes, residues, whole)))
            start += len(codes)
    if not rows:
        raise ValueError("there are no proteins to cache features of")
    return {"width": widths[0], "protein_width": widths[1], "residues": start}, np.array(rows, dtype=ENTRY)


def _features(model, graph, name, dtype):
    """Features of the residues and of the protein in a batch of one, checked."""
    length = int(graph.num_residue)
    most = longest(model)
    if most is not None and length > most:
        raise ValueError(f"{name} {too_long(length, most, model)}")
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    graph = graph.to(device)
    # few sequence models look at it
    feature = getattr(graph, "residue_feature", None)
    output = model(graph, None if feature is None else feature.float())
    found = []
    for value in (residue_feature(output), output["graph_feature"][0]):
        value = value.float().cpu().numpy()
        if not np.isfinite(value).all():
            raise ValueError(f"the sequence model gives values that are no finite numbers for {name}")
        with np.errstate(over="ignore"):
            found.append(np.ascontiguousarray(value.astype(dtype)))
        if not np.isfinite(found[-1]).all():
            raise ValueError(
                f"features of {name} reach {np.abs(value).max():.3g}, beyond float16; take dtype `float32`"
            )
    if len(found[0]) != length:
        raise ValueError(
            f"the sequence model gives {len(found[0])} residue features for {name}, which has {length} residues"
        )
    return found


def residue_feature(output) -> torch.Tensor:
    """Features of residues in the output of a model; encoders of structure call them those of nodes."""
    feature = output.get("node_feature", output.get("residue_feature"))
    if feature is None:
        raise ValueError(
            "a model should return `node_feature` or `residue_feature`, but found %s"
            % ", ".join(f"`{key}`" for key in output)
        )
    return feature


def longest(model) -> int | None:
    """Residues of the longest protein that a sequence model takes, None if it takes any."""
    if hasattr(model, "max_input_length"):  # ESM, which silently drops the rest
        return model.max_input_length
    # ProteinBERT, with one token before and one behind
    return model.max_position - 2 if hasattr(model, "max_position") else None


def too_long(length: int, most: int, model) -> str:
    """The end of a message about a protein that is too long."""
    return (
        f"has {length} residues, but {type(model).__name__} gives features of at most {most}. Shorten proteins with "
        f"the transform `TruncateProtein`, `max_length: {most}`"
    )


def _named(proteins, verbose):
    """Proteins with what to call them."""
    if is_store(proteins):
        proteins = StructureStore(proteins)
    if isinstance(proteins, StructureStore):
        structures = StoredStructures(proteins)
        names = structures.names
        proteins = (structures.protein(i, "glycine") for i in range(len(structures)))
    else:
        names = getattr(proteins, "names", None)
        if isinstance(proteins, (str, os.PathLike)):
            raise ValueError(f"proteins should be a dataset, proteins or a store, but `{proteins}` is no store")
    total = len(names) if names is not None else len(proteins) if hasattr(proteins, "__len__") else None
    for i, item in enumerate(tqdm(_each(proteins), "Features", total=total, delay=2, disable=not verbose)):
        protein = item["graph"] if isinstance(item, dict) else item
        if not isinstance(protein, data.Protein):
            raise ValueError(f"item {i} should be a protein, or hold one as `graph`, but found {type(item).__name__}")
        yield f"protein {i}" + (f" (`{names[i]}`)" if names is not None else ""), protein


def _each(items):
    # datasets have a length and items, but many cannot be iterated over
    return (items[i] for i in range(len(items))) if hasattr(items, "__getitem__") else iter(items)


@contextlib.contextmanager
def _evaluating(model):
    """Eval mode without gradients; afterwards each module is in the mode it was in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def _synchronize(path):
    with open(path, "rb") as file:
        os.fsync(file.fileno())
