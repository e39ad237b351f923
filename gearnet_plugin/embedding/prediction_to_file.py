"""Predictions of any number of structures written to a file, in memory that does not grow with them."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from .caution import Facts
from .choice import Choice
from .embedded import Embedded
from .encoder import PER, LoadedEncoder, check_choice
from .items import find_items, without_file
from .layout import Table
from .prediction import ProteinPrediction, about, caution_of, columns_of, judge
from .prediction_files import check_ending, write
from .staging import FACTS, Staging
from .to_file import SCHEMA, Written, check_place, fingerprint, finish, staged

BLOCK = 256  # proteins, or 1 at level `residue`, that go through the head at once


@dataclass
class Summary:
    """
    What :func:`predict_to_file` did.

    Parameters:
        written (Written): files, drops, numbers
        info (dict): model and options
        warnings (dict): number of proteins by code of warning
        above (int): labels above the threshold, or 0
        none_above (int): proteins of which no label is
    """

    written: Written | None = None
    info: dict = field(default_factory=dict)
    warnings: Counter = field(default_factory=Counter)
    above: int = 0
    none_above: int = 0

    def count(self, proteins) -> Iterator[ProteinPrediction]:
        """The same proteins, counted."""
        for protein in proteins:
            self.warnings.update({code for code, _ in protein.warnings})
            above = sum(bool(row.get("above_threshold")) for row in protein.rows)
            self.above += above
            self.none_above += not above
            yield protein


class PredictionStaging(Staging):
    """Embeddings in the making, and what warnings are made of."""

    def __init__(self, folder: str, settings: dict, widths: tuple[int, int], level: str):
        super().__init__(folder, settings, widths, level)
        self.state.sizes[FACTS] = 0

    def _parts(self, batch: Embedded):
        parts, texts = super()._parts(batch)
        parts[FACTS] = "".join(json.dumps(Facts.of(s)) + "\n" for s in batch.structures).encode()
        return parts, texts

    def facts(self) -> Iterator[Facts]:
        """What was noted of each structure."""
        return (Facts(*line) for line in self._lines(FACTS))


def predict_to_file(
    model: LoadedEncoder,
    structures,
    out: str | os.PathLike,
    top: int | None = None,
    threshold: str | float | None = None,
    labels: Sequence[str] = (),
    per: str = "chain",
    chains: Sequence[str] = (),
    batch_residues: int | None = None,
    device=None,
    workers: int | None = 1,
    force: bool = False,
    verbose: int = 1,
) -> Summary:
    """
    Predict and write a file, see :mod:`.prediction_files`.

    The embeddings are kept in ``<out>.part`` until all are computed, so that the same call goes on after an
    interruption, also with another ``top``, ``threshold`` or ``labels``. What gives nothing is listed in
    ``<out>.drops.tsv``.

    Parameters:
        model (LoadedEncoder): with ``heads``
        out (str or Path): file ending in ``.csv``, ``.json`` or ``.parquet``
        structures, top, threshold, labels: see :func:`~.prediction.predict`
        per, chains, batch_residues, device, workers, force, verbose: see :func:`~.to_file.embed_to_file`

    Raises:
        NoHead: the model predicts nothing
        FileExistsError, FileNotFoundError, ValueError, OSError, EmbeddingInterrupted: as
            :func:`~.to_file.embed_to_file`
    """
    check_choice("per", per, PER)
    out = check_output(out, force)
    predictor = model.need_heads()
    choice = Choice(predictor, top, threshold, labels)
    items = without_file(find_items(structures, per), out)
    if device is not None:
        model.to(device)
    level = "both" if predictor.level == "residue" else "protein"
    settings = {"schema": SCHEMA, "for": "predict", "model": fingerprint(model), "level": level, "per": per,
                "chains": list(chains)}  # fmt: skip
    stage = PredictionStaging(f"{out}.part", settings, (model.output_dim, model.residue_dim), level)
    summary = Summary(info=about(model, choice, model.about(per, chains, {})))

    def write_predictions(path: str, table: Table) -> list[str]:
        proteins = summary.count(_judged(choice, table, stage.facts()))
        write(path, proteins, columns_of(choice), summary.info)
        return [path]

    with staged(model, stage, items, batch_residues, per, chains, workers, force, verbose) as before:
        summary.written = finish(model, stage, out, per, chains, before, write_predictions)
    return summary


def check_output(out: str | os.PathLike, force: bool = False) -> str:
    """
    Whether predictions can be written, before anything is computed.

    Returns:
        str: the path from the root

    Raises:
        ValueError, FileExistsError, FileNotFoundError, OSError: as :func:`predict_to_file`
    """
    check_ending(out)
    path = os.path.abspath(os.path.expanduser(os.fspath(out)))
    check_place(path, [path], force)
    return path


def _judged(choice: Choice, table: Table, facts: Iterator[Facts]) -> Iterator[ProteinPrediction]:
    """Predict what a table holds, block by block."""
    predictor, caution = choice.predictor, caution_of(choice.predictor)
    block = 1 if predictor.level == "residue" else BLOCK
    offsets = table.offsets.tolist()
    assert table.protein is not None
    named = list(zip(table.names, table.sources, table.chains, strict=True))
    for start in range(0, len(named), block):
        stop = min(start + block, len(named))
        residues: list[np.ndarray] = []
        keys: list[dict] = []
        if predictor.level == "residue":
            assert table.residue is not None
            rows = slice(offsets[start], offsets[stop])
            residues, keys = [table.residue[rows]], [{key: column[rows] for key, column in table.keys.items()}]
        own = [fact for _, fact in zip(range(stop - start), facts)]
        yield from judge(choice, caution, named[start:stop], own, table.protein[start:stop], residues, keys)
