"""An encoder with its graph construction, and how structures go through it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from gearnet_plugin.datasets.loading import residues_left_out
from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.structures import (
    Entry,
    Structure,
    StructureStore,
    find_structures,
    read_structures,
    unique_names,
)
from gearnet_plugin.structures.manifest import StoreError, is_store

from .result import RESIDUE_KEYS, Embeddings

logger = logging.getLogger(__name__)

LEVELS = ("protein", "residue", "both")
PER = ("chain", "entry")
BATCH_RESIDUES = {"cpu": 1000, "cuda": 10000}


class LoadedEncoder:
    """
    An encoder in eval mode and the graph it expects; made by :func:`load_encoder`.

    Parameters:
        encoder (nn.Module): encoder with ``output_dim``
        graph_construction_model (nn.Module, optional): what makes its graphs from proteins
        info (dict, optional): where it comes from
    """

    def __init__(self, encoder, graph_construction_model=None, info=None):
        self.encoder = encoder.eval()
        self.graph_construction_model = graph_construction_model
        self.info = info or {}

    def __repr__(self):
        return "LoadedEncoder(%s)" % ", ".join(f"{key}={value!r}" for key, value in self.info.items())

    @property
    def output_dim(self) -> int:
        """Number of dimensions of an embedding."""
        return int(self.encoder.output_dim)

    @property
    def device(self) -> torch.device:
        """Where the encoder computes."""
        return next(self.encoder.parameters()).device

    def to(self, device) -> LoadedEncoder:
        """Move the encoder to a device."""
        try:
            self.encoder.to(device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"the encoder cannot go to device `{device}`: {reason}") from None
        return self

    def embed(
        self,
        structures,
        level: str = "protein",
        batch_residues: int | None = None,
        device=None,
        per: str = "chain",
        verbose: int = 1,
    ) -> Embeddings:
        """
        Embed structures. Files that cannot be read are skipped and reported in ``drops``.

        Each protein is embedded for itself: what else is in the batch changes nothing beyond rounding.

        Parameters:
            structures (str, Path, Structure, StructureStore or list): files, folders or glob patterns, as
                :func:`gearnet_plugin.structures.find_entries` takes them; a store or its path; structures
                already read; a list of these
            level (str, optional): ``protein``, ``residue`` or ``both``
            batch_residues (int, optional): residues that are computed at once, which bounds the memory: one takes
                about 0.4 MB with six layers of 512. By default 1,000 on a CPU, which larger batches make slower
                for want of cache, and 10,000 elsewhere
            device (str or torch.device, optional): where to compute, by default where the encoder is
            per (str, optional): ``chain`` embeds each protein chain for itself; ``entry`` all chains of a
                file in one graph
            verbose (int, optional): 0 for no progress bar; otherwise there is one after two seconds

        Raises:
            FileNotFoundError: a folder or pattern stands for nothing
            ValueError: not one structure can be read, or an argument is wrong
        """
        for name, value, allowed in [("level", level, LEVELS), ("per", per, PER)]:
            if value not in allowed:
                raise ValueError(f"{name} should be one of {', '.join(allowed)}, but found `{value}`")
        if device is not None:
            self.to(device)
        if batch_residues is None:
            batch_residues = BATCH_RESIDUES.get(self.device.type, BATCH_RESIDUES["cuda"])
        if isinstance(batch_residues, bool) or not isinstance(batch_residues, int) or batch_residues < 1:
            raise ValueError(f"batch_residues should be a whole number from 1, but found `{batch_residues}`")
        drops, kept, proteins, residues, keys = [], [], [], [], []
        missing, suffixes = {}, []
        for batch in _batches(_open(structures, per, drops, missing, suffixes, verbose), batch_residues):
            protein, residue = self.encode(batch)
            kept += [(s.name, s.source, len(s)) for s in batch]
            if level != "residue":
                proteins.append(protein)
            if level != "protein":
                residues += np.split(residue, np.cumsum([len(s) for s in batch])[:-1])
                keys += [{key: getattr(s, name) for key, name in RESIDUE_KEYS.items()} for s in batch]
        if not kept:
            reasons = "".join(f"\n  {file}: {reason}" for file, reason in drops[:5])
            raise ValueError(f"none of {len(drops)} structures can be read:{reasons}")
        if drops:
            logger.warning("left out %d structures, the first: %s: %s", len(drops), *drops[0])
        if missing:
            logger.warning("residues left out: %s", residues_left_out(missing))
        names, sources, lengths = zip(*kept)
        return Embeddings(
            _names(names, sources, suffixes),
            list(sources),
            np.array(lengths),
            np.concatenate(proteins) if proteins else None,
            residues or None,
            keys or None,
            drops,
            dict(self.info, per=per, residues_left_out=missing),
        )

    @torch.inference_mode()
    def encode(self, structures: list[Structure]) -> tuple[np.ndarray, np.ndarray]:
        """
        Embed structures as one batch.

        Returns:
            (np.ndarray, np.ndarray): features of the proteins and of all their residues, float32 of shape
            :math:`(B, D)` and :math:`(N, D)`
        """
        graph = ResidueProtein.pack([ResidueProtein.from_structure(s) for s in structures])
        graph = graph.to(self.device)
        if self.graph_construction_model is not None:
            graph = self.graph_construction_model(graph)
        self.encoder.eval()
        output = self.encoder(graph, graph.node_feature.float())
        # sequence models call it the residue's
        residue = output["node_feature"] if "node_feature" in output else output["residue_feature"]
        return output["graph_feature"].float().cpu().numpy(), residue.float().cpu().numpy()


class _Stored(NamedTuple):
    """A structure of a store, not read yet."""

    store: StructureStore
    number: int


def _open(
    structures, per: str, drops: list, missing: dict, suffixes: list, verbose: int
) -> Iterator[Structure]:
    """
    Structures one by one, in order, as they are to be embedded; adds to ``drops`` what cannot be, to ``missing``
    how many residues the files had to leave out, and to ``suffixes`` what the name of each has after that of its
    file, ``None`` for structures already read.
    """
    items = _items(structures, per, drops)
    readings = read_structures([item for item in items if isinstance(item, Entry)], verbose=0)
    for item in tqdm(items, "Embedding", unit="structure", delay=2, disable=not verbose):
        if isinstance(item, _Stored):
            try:
                item = item.store[item.number]
            except StoreError as error:
                drops.append((f"{item.store.path}, structure {item.number}", str(error)))
                continue
            if item.dropped:
                missing[item.source] = item.dropped
        if isinstance(item, Structure):
            if len(item) == 0:
                drops.append((item.source or item.name, "it holds no residue"))
                continue
            # one chain already keeps its name
            several = per == "chain" and len(set(item.chain_ids.tolist())) > 1
            for structure in item.chains() if several else [item]:
                suffixes.append(None)
                yield structure
        else:
            structure, reason = next(readings)
            if structure is None:
                drops.append((item.source, reason))
                continue
            if structure.dropped:
                missing[item.source] = structure.dropped
            for part in structure.chains() if per == "chain" else [structure]:
                suffixes.append(part.name[len(structure.name) :])
                yield part


def _names(names, sources, suffixes) -> list[str]:
    """Names of all, unique among what was read; structures given as such keep theirs."""
    read = [(source, suffix) for source, suffix in zip(sources, suffixes, strict=True) if suffix is not None]
    unique = iter(unique_names(read))
    return [name if suffix is None else next(unique) for name, suffix in zip(names, suffixes, strict=True)]


def _items(structures, per: str, drops: list) -> list:
    """
    Files and structures that the argument of ``embed`` stands for. Of several sources, one that holds nothing is
    added to ``drops``, not fatal.
    """
    one = isinstance(structures, (str, os.PathLike, Structure, StructureStore))
    if not (one or isinstance(structures, Iterable)):
        found = type(structures).__name__
        raise ValueError(f"structures should be paths, Structures or a list of them, but found `{found}`")
    sources = [structures] if one else list(structures)
    for source in sources:
        if not isinstance(source, (str, os.PathLike, Structure, StructureStore)):
            found = type(source).__name__
            raise ValueError(f"a list of structures should hold paths or Structures, but found `{found}`")
    if not sources:
        raise ValueError("there is nothing to embed: the list of structures is empty")
    sources = [StructureStore(source) if is_store(source) else source for source in sources]
    if len(sources) == 1 and not isinstance(sources[0], (Structure, StructureStore)):
        return find_structures(sources[0])
    items, known = [], set()
    for source in sources:
        if isinstance(source, Structure):
            items.append(source)
            continue
        if isinstance(source, StructureStore):
            made = source.manifest.recipe["per"]
            if per == "entry" and made == "chain":
                raise ValueError(f"per is `entry`, but the store `{source.path}` holds chains; make another one with "
                                 f"`gearnet prepare --per entry`")
            items += [_Stored(source, number) for number in range(len(source))]
            continue
        try:
            files = find_structures(source if os.path.isdir(source) else [source])
        except (FileNotFoundError, ValueError) as error:
            drops.append((os.fspath(source), str(error)))
            continue
        # one file under two spellings counts once
        items += [file for file in files if os.path.abspath(file.source) not in known]
        known.update(os.path.abspath(file.source) for file in files)
    return items


def _batches(structures: Iterable[Structure], most: int) -> Iterator[list[Structure]]:
    """Runs of structures with at most ``most`` residues, or a single longer one."""
    batch, size = [], 0
    for structure in structures:
        if batch and size + len(structure) > most:
            yield batch
            batch, size = [], 0
        batch.append(structure)
        size += len(structure)
    if batch:
        yield batch
