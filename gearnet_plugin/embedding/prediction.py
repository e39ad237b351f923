"""Predictions of one's own structures: labels or numbers, and what speaks against each."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .caution import Caution, Facts
from .choice import Choice
from .encoder import LoadedEncoder, chains_of, make_names, nothing_embedded
from .layout import RESIDUE_KEYS
from .predictor import Predictor

logger = logging.getLogger(__name__)

PROTEIN_COLUMNS = ["name", "source", "chain", "length"]


@dataclass(frozen=True)
class ProteinPrediction:
    """
    What is predicted of a protein.

    Parameters:
        name (str): ``<file>_<chain>``
        source (str): file
        chain (str): author's chain id, of several separated by ``;``
        length (int): residues
        rows (list of dict): a row a label, see :data:`~.choice.COLUMNS`; at level ``residue`` for each residue, with
            ``chain_id``, ``residue_number``, ``insertion_code`` and ``residue_name`` before
        warnings (list of (str, str)): code and words
        distance (float, optional): from the training proteins
    """

    name: str
    source: str
    chain: str
    length: int
    rows: list[dict]
    warnings: list[tuple[str, str]]
    distance: float | None = None


@dataclass
class Predictions:
    """
    Predictions of proteins.

    Parameters:
        proteins (list of ProteinPrediction): in the order of the input
        columns (list of str): columns of :meth:`rows`
        drops (list of (str, str)): files that gave nothing, and the reason
        info (dict): which model made them, and with what options
    """

    proteins: list[ProteinPrediction]
    columns: list[str]
    drops: list[tuple[str, str]] = field(default_factory=list)
    info: dict = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.proteins)

    def rows(self) -> Iterator[dict]:
        """A row a protein and label, or residue and label."""
        for protein in self.proteins:
            yield from flat(protein)

    def to_table(self) -> dict[str, list]:
        """Columns by name, as ``pandas.DataFrame`` and ``pyarrow.table`` take them."""
        rows = list(self.rows())
        return {name: [row[name] for row in rows] for name in self.columns}

    def save(self, path: str | os.PathLike) -> str:
        """Write a ``.csv``, ``.json`` or ``.parquet`` file, see :mod:`.prediction_files`; returns the path."""
        from .prediction_files import check_ending, write

        path = os.path.abspath(os.path.expanduser(os.fspath(path)))
        check_ending(path)
        if not os.path.isdir(os.path.dirname(path)):
            raise FileNotFoundError(f"there is no folder `{os.path.dirname(path)}`; make it first")
        write(path, self.proteins, self.columns, self.info)
        return path


def columns_of(choice: Choice) -> list[str]:
    """Columns of the rows of a choice."""
    keys = list(RESIDUE_KEYS) if choice.predictor.level == "residue" else []
    return [*PROTEIN_COLUMNS, *keys, *choice.columns, "warnings"]


def flat(protein: ProteinPrediction) -> Iterator[dict]:
    """The rows of a protein with the columns that all of them share."""
    shared = {name: getattr(protein, name) for name in PROTEIN_COLUMNS}
    warnings = "; ".join(f"{code}: {words}" for code, words in protein.warnings)
    for row in protein.rows:
        yield {**shared, **row, "warnings": warnings}


def predict(
    model: LoadedEncoder,
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
    """
    Predict with the head of a fine-tuned encoder. What cannot be read is skipped and told in ``drops``.

    Probabilities are calibrated on the validation set of the training where that was large enough; ``calibrated`` of
    each row says so, and ``uncalibrated`` is what the task itself gives.

    Parameters:
        model (LoadedEncoder): with ``heads``
        structures, batch_residues, device, per, chains, verbose: see :meth:`LoadedEncoder.embed`
        top, threshold, labels: see :class:`~.choice.Choice`

    Raises:
        NoHead: the model predicts nothing
        FileNotFoundError, ValueError: as :meth:`LoadedEncoder.embed`, or an unknown label or no such threshold
    """
    predictor = model.need_heads()
    choice, caution = Choice(predictor, top, threshold, labels), caution_of(predictor)
    found: list[ProteinPrediction] = []
    named, drops, held, missing = [], [], [], {}
    for batch in model.stream(structures, batch_residues, device, per, chains, verbose):
        drops += batch.drops
        held += batch.held
        missing.update(batch.left_out)
        facts = [Facts.of(structure) for structure in batch.structures]
        keys = [{key: getattr(s, name) for key, name in RESIDUE_KEYS.items()} for s in batch.structures]
        own = [(s.name, s.source, chains_of(s)) for s in batch.structures]
        found += judge(choice, caution, own, facts, batch.protein, batch.residues, keys)
        named += [(s.name, s.source, suffix) for s, suffix in zip(batch.structures, batch.suffixes)]
    if not found:
        raise nothing_embedded(drops, held, chains)
    if drops:
        logger.warning("left out %d structures, the first: %s: %s", len(drops), *drops[0])
    names = make_names(*(list(column) for column in zip(*named)))
    proteins = [replace(protein, name=name) for protein, name in zip(found, names, strict=True)]
    info = about(model, choice, model.about(per, chains, missing))
    return Predictions(proteins, columns_of(choice), drops, info)


def caution_of(predictor: Predictor) -> Caution:
    """What is told of structures with a predictor."""
    return Caution((predictor.training or {}).get("length"), predictor.quantiles)


def judge(choice: Choice, caution: Caution, named, facts, protein, residues, keys) -> Iterator[ProteinPrediction]:
    """
    Predict what has been embedded.

    Parameters:
        choice (Choice), caution (Caution): what is told
        named (list of tuple): name, source and chains of each protein
        facts (list of Facts): of each
        protein (np.ndarray): float32 of shape :math:`(B, D)`
        residues (list of np.ndarray): float32 of shape :math:`(n, D)` of each
        keys (list of dict): names of their residues
    """
    predictor = choice.predictor
    known = predictor.distances(protein)
    distances = [None] * len(facts) if known is None else known.tolist()
    if predictor.level == "protein":
        rows: Iterable[list[dict]] = choice.rows(predictor.predict(protein))
    else:
        rows = (_residue_rows(choice, own, key) for own, key in zip(residues, keys, strict=True))
    for (name, source, chain), fact, distance, own in zip(named, facts, distances, rows, strict=True):
        warnings = caution.warnings(fact, distance)
        yield ProteinPrediction(name, source, chain, fact.length, own, warnings, distance)


def _residue_rows(choice: Choice, residues: np.ndarray, keys: dict) -> list[dict]:
    columns = [column.tolist() for column in keys.values()]
    named = [dict(zip(keys, values)) for values in zip(*columns, strict=True)]
    return [{**key, **row} for key, rows in zip(named, choice.rows(choice.predictor.predict(residues)), strict=True)
            for row in rows]  # fmt: skip


def about(model: LoadedEncoder, choice: Choice, info: dict) -> dict:
    """What is told with predictions: model, options, thresholds and calibration."""
    predictor = choice.predictor
    return info | {
        "predictor": predictor.origin,
        "kind": predictor.kind,
        "level": predictor.level,
        "threshold": choice.threshold_probability,
        "calibration": predictor.calibration,
        "reasons": predictor.reasons,
    }
