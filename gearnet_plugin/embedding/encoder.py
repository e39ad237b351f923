"""An encoder with its graph construction, and how structures go through it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm import tqdm

from gearnet_plugin.datasets.loading import residues_left_out
from gearnet_plugin.engine import sampling
from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.structures import Structure

from .embedded import Embedded, add_left_out, chains_of, make_names, nothing_embedded
from .items import find_items
from .opening import Opened, Position, make_batches, open_items
from .predictor import NoHead, Predictor
from .result import RESIDUE_KEYS, Embeddings

if TYPE_CHECKING:
    from .prediction import Predictions

logger = logging.getLogger(__name__)

LEVELS = ("protein", "residue", "both")
PER = ("chain", "entry")
BATCH_RESIDUES = {"cpu": 1000, "cuda": 10000}
# what torch says where memory ends: on a GPU, and on a CPU
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


class LoadedEncoder:
    """
    An encoder in eval mode and the graph it expects; made by :func:`load_encoder`.

    Parameters:
        encoder (nn.Module): encoder with ``output_dim``
        graph_construction_model (nn.Module, optional): what makes its graphs from proteins
        info (dict, optional): where it comes from
    """

    def __init__(self, encoder, graph_construction_model=None, info=None) -> None:
        self.encoder = encoder.eval()
        self.graph_construction_model = graph_construction_model
        self.info = info or {}
        #: finds the head that belongs to the encoder, or raises an error that says why there is none
        self.find_heads: Callable[[], Predictor] | None = None
        self._heads: Predictor | None = None

    def __repr__(self):
        return "LoadedEncoder(%s)" % ", ".join(f"{key}={value!r}" for key, value in self.info.items())

    @property
    def output_dim(self) -> int:
        """Number of dimensions of an embedding."""
        return int(self.encoder.output_dim)

    @property
    def residue_dim(self) -> int:
        """Numbers in a residue's embedding; an LSTM of two directions has twice those of a protein's."""
        return int(getattr(self.encoder, "node_output_dim", None) or self.encoder.output_dim)

    @property
    def device(self) -> torch.device:
        """Where the encoder computes."""
        return next(self.encoder.parameters()).device

    def to(self, device) -> LoadedEncoder:
        """Move the encoder to a device; ``auto`` is the GPU if there is one, else the CPU."""
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            self.encoder.to(device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"the encoder cannot go to device `{device}`: {reason}") from None
        return self

    @property
    def heads(self) -> Predictor | None:
        """The head that a fine-tuning run left with the encoder, None if there is none."""
        try:
            return self.need_heads()
        except NoHead:
            return None

    def need_heads(self) -> Predictor:
        """
        The head, looked for at the first call.

        Raises:
            NoHead: there is none; the message says what to do
            ValueError: it is damaged
        """
        if self._heads is None:
            if self.find_heads is None:
                raise NoHead("this encoder has no head, so it predicts nothing; load the folder of a fine-tuning run")
            self._heads = self.find_heads()
        return self._heads

    def predict(
        self,
        structures,
        top: int | None = None,
        threshold: str | float | None = None,
        labels: Sequence[str] = (),
        batch_residues: int | None = None,
        device=None,
        per: str = "chain",
        chains: Sequence[str] = (),
        verbose: int = 1,
    ) -> Predictions:
        """Predict with :attr:`heads`; arguments as of :func:`~.prediction.predict`."""
        from .prediction import predict

        return predict(self, structures, top, threshold, labels, batch_residues, device, per, chains, verbose)

    def embed(
        self,
        structures,
        level: str = "protein",
        batch_residues: int | None = None,
        device=None,
        per: str = "chain",
        verbose: int = 1,
        chains: Sequence[str] = (),
    ) -> Embeddings:
        """
        Embed structures. Files that cannot be read are skipped and reported in ``drops``.

        Each protein is embedded for itself: what else is in the batch changes nothing beyond rounding. All of it is
        held in memory; :func:`~.to_file.embed_to_file` writes a file of any length.

        Parameters:
            structures (str, Path, Structure, StructureStore, data.Protein or list): files, folders or glob patterns,
                as :func:`gearnet_plugin.structures.find_entries` takes them; a store or its path; structures already
                read; TorchDrug's own ``Protein`` and ``PackedProtein`` with coordinates, of which the Cα atoms are
                taken; a list of these
            level (str, optional): ``protein``, ``residue`` or ``both``
            batch_residues (int, optional): residues that are computed at once, which bounds the memory: one takes
                about 0.4 MB with six layers of 512. By default 1,000 on a CPU, which larger batches make slower
                for want of cache, and 10,000 elsewhere
            device (str or torch.device, optional): where to compute, by default where the encoder is; ``auto`` is the
                GPU if there is one
            per (str, optional): ``chain`` embeds each protein chain for itself; ``entry`` all chains of a
                file in one graph
            verbose (int, optional): 0 for no progress bar; otherwise there is one after two seconds
            chains (list of str, optional): author's ids of the chains to embed, by default all; a file without one of
                them is told in ``drops``

        Raises:
            FileNotFoundError: a folder or pattern stands for nothing
            ValueError: not one structure can be read, or an argument is wrong
        """
        check_choice("level", level, LEVELS)
        drops, held, kept, proteins, residues, keys = [], [], [], [], [], []
        missing: dict[str, dict[str, int]] = {}
        for batch in self.stream(structures, batch_residues, device, per, chains, verbose):
            drops += batch.drops
            add_left_out(missing, batch.left_out)
            held += batch.held
            named = zip(batch.structures, batch.suffixes)
            kept += [(s.name, s.source, suffix, chains_of(s), len(s)) for s, suffix in named]
            if level != "residue":
                proteins.append(batch.protein)
            if level != "protein":
                residues += batch.residues
                keys += [{key: getattr(s, name) for key, name in RESIDUE_KEYS.items()} for s in batch.structures]
        if not kept:
            raise nothing_embedded(drops, held, chains)
        if drops:
            logger.warning("left out %d structures, the first: %s: %s", len(drops), *drops[0])
        if missing:
            logger.warning("residues left out: %s", residues_left_out(missing))
        names, sources, suffixes, chain_ids, lengths = zip(*kept)
        return Embeddings(
            make_names(names, sources, suffixes),
            list(sources),
            np.array(lengths),
            np.concatenate(proteins) if proteins else None,
            residues or None,
            keys or None,
            drops,
            self.about(per, chains, missing),
            list(chain_ids),
        )

    def about(self, per: str, chains: Sequence[str], residues_left_out: dict) -> dict:
        """What is told with embeddings: the encoder, the options, and the residues that files had to leave out."""
        options = {"per": per, "chains": list(chains)} if chains else {"per": per}
        return dict(self.info, **options, residues_left_out=residues_left_out)

    def stream(
        self,
        structures,
        batch_residues: int | None = None,
        device=None,
        per: str = "chain",
        chains: Sequence[str] = (),
        verbose: int = 1,
        start: Position = Position(),  # noqa: B008  a tuple
        workers: int | None = 1,
    ) -> Iterator[Embedded]:
        """
        Embed structures batch by batch, of which one is in memory. Arguments as of :meth:`embed`, and:

        Parameters:
            start (Position, optional): ``position`` of a batch of an earlier call with the same structures, ``per``
                and ``chains``, to go on after it
            workers (int, optional): number of processes that read files, -1 for one a core. One, this process, is
                enough for a CPU: with six layers of 512, reading takes 1/300 of the time.

        Raises:
            FileNotFoundError, ValueError: as :meth:`embed`, at once; only that nothing can be read is no error here
        """
        check_choice("per", per, PER)
        if isinstance(chains, str):
            raise ValueError(f"chains should be a list of chain ids, but found the text `{chains}`")
        if device is not None:
            self.to(device)
        if batch_residues is None:
            batch_residues = BATCH_RESIDUES.get(self.device.type, BATCH_RESIDUES["cuda"])
        if isinstance(batch_residues, bool) or not isinstance(batch_residues, int) or batch_residues < 1:
            raise ValueError(f"batch_residues should be a whole number from 1, but found `{batch_residues}`")
        items = find_items(structures, per)
        records = open_items(items, per, tuple(dict.fromkeys(chains)), start, workers)
        return self._stream(make_batches(records, batch_residues), len(items), start, verbose)

    def _stream(self, batches, total: int, start: Position, verbose: int) -> Iterator[Embedded]:
        with tqdm(total=total, initial=start.item, desc="Embedding", unit="structure", delay=2,
                  disable=not verbose) as bar:  # fmt: skip
            for records, position in batches:
                yield self._embed_batch(records, position)
                bar.update(position.item - bar.n)

    def _embed_batch(self, records: Sequence[Opened], position: Position) -> Embedded:
        outputs = iter(self._encode_each([record.structure for record in records if record.structure is not None]))
        structures, suffixes, drops = [], [], []
        left_out: dict[str, dict[str, int]] = {}
        proteins = [np.zeros((0, self.output_dim), dtype=np.float32)]
        residues = [np.zeros((0, self.residue_dim), dtype=np.float32)]
        for record in records:
            reason = record.reason
            if record.structure is not None:
                protein, residue, reason = next(outputs)
                if not reason:
                    structures.append(record.structure)
                    suffixes.append(record.suffix)
                    proteins.append(protein[None])
                    residues.append(residue)
            if reason:
                drops.append((record.source, reason))
            if record.left_out:
                add_left_out(left_out, {record.source: record.left_out})
        held = [record.held for record in records if record.held]
        return Embedded(
            structures, suffixes, np.concatenate(proteins), np.concatenate(residues), position, drops, left_out, held
        )

    def _encode_each(self, structures: list[Structure]) -> list[tuple[np.ndarray, np.ndarray, str]]:
        """For each structure its vector, those of its residues, and why they are none."""
        if not structures:
            return []
        if len(structures) > 1 and sampling.pads(self.encoder):
            # others in the batch would change it
            return [found for structure in structures for found in self._encode_each([structure])]
        try:
            protein, residue = self.encode(structures)
            fits = True
        except (RuntimeError, MemoryError) as error:
            if not (isinstance(error, MemoryError) or any(words in str(error) for words in OUT_OF_MEMORY)):
                raise
            fits = False
        # outside of the block above, which keeps alive what the failed computation holds
        if not fits and len(structures) == 1:
            none = np.zeros(0, dtype=np.float32)
            return [(none, none, f"out of memory at {len(structures[0])} residues on {self.device}")]
        if not fits:
            half = len(structures) // 2
            return self._encode_each(structures[:half]) + self._encode_each(structures[half:])
        residues = np.split(residue, np.cumsum([len(s) for s in structures])[:-1])
        finite = [np.isfinite(vector).all() and np.isfinite(rows).all() for vector, rows in zip(protein, residues)]
        reasons = ["" if fine else "its embedding is not finite" for fine in finite]
        return list(zip(protein, residues, reasons))

    @torch.inference_mode()
    def encode(self, structures: list[Structure]) -> tuple[np.ndarray, np.ndarray]:
        """
        Embed structures as one batch, which the models of :func:`~gearnet_plugin.engine.sampling.pads` feel.

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


def check_choice(name: str, value, allowed: Sequence[str]) -> None:
    """
    Whether an argument is one of those allowed.

    Raises:
        ValueError: it is not
    """
    if value not in allowed:
        raise ValueError(f"{name} should be one of {', '.join(allowed)}, but found `{value}`")
