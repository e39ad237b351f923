"""The head that belongs to an encoder, and what it makes of embeddings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch

from gearnet_plugin.engine.reference import Reference
from gearnet_plugin.engine.validated import ALL
from gearnet_plugin.metrics import Calibration

from .ec_names import ec_name

STEP = 4096  # embeddings that go through the head at once


class NoHead(ValueError):
    """There is nothing that predicts; the message says what to do."""


class Leaf(NamedTuple):
    """
    One output of a head.

    Parameters:
        group (int): group it belongs to: columns of ``targets`` are one, classes of a label are one
        target (str): label whose class it is, empty for other kinds
        label (str): label, or class
        name (str): what it is called, empty if that is not known
    """

    group: int
    target: str
    label: str
    name: str


@dataclass
class Predictor:
    """
    A head and what is known of it; the fields are those of :mod:`gearnet_plugin.engine.predictor`.

    Parameters:
        origin (str): file it comes from
        mlp (nn.Module): head
        moments ((Tensor, Tensor), optional): mean and standard deviation that numbers are in units of
        reference (Reference, optional): training proteins
    """

    origin: str
    mlp: torch.nn.Module
    kind: str
    labels: list[str]
    outputs: list[int]
    level: str = "protein"
    criterion: str | None = None
    classes: dict | None = None
    descriptions: list[str] | None = None
    vocabulary: str | None = None
    thresholds: dict | None = None
    accuracy: dict | None = None
    error: dict | None = None
    calibration: dict | None = None
    validation: dict | None = None
    training: dict | None = None
    quantiles: dict | None = None
    reasons: dict = field(default_factory=dict)
    moments: tuple | None = None
    reference: Reference | None = None

    def __post_init__(self):
        self.calibrations = {
            name: Calibration.from_dict({key: value for key, value in values.items() if key != "num_items"})
            for name, values in (self.calibration or {}).items()
        }
        self.groups = [ALL] if self.kind == "multilabel" else list(self.labels)
        self.leaves = list(self._leaves())

    def __repr__(self):
        shown = ", ".join(self.labels[:5]) + (", ..." if len(self.labels) > 5 else "")
        return f"Predictor(kind={self.kind!r}, level={self.level!r}, labels=[{shown}], outputs={sum(self.outputs)})"

    def _leaves(self):
        for group, name in enumerate(self.groups):
            if self.kind == "multilabel":
                names = self.descriptions or [""] * len(self.labels)
                yield from (Leaf(group, "", label, self._name(label, text)) for label, text in zip(self.labels, names))
            elif self.kind == "class":
                yield from (Leaf(group, name, label, self._name(label)) for label in self.classes[name])
            else:
                yield Leaf(group, "", name, "")

    def _name(self, label: str, description: str = "") -> str:
        is_ec = self.vocabulary == "ec" or label.upper().startswith("EC")
        return description or (ec_name(label) if is_ec else "")

    @property
    def slices(self) -> list[slice]:
        """Which outputs belong to each group."""
        ends = np.cumsum(self.outputs).tolist()
        return [slice(end - size, end) for end, size in zip(ends, self.outputs)]

    @torch.inference_mode()
    def predict(self, embeddings: np.ndarray) -> torch.Tensor:
        """
        What the head makes of embeddings: logits, or numbers in the unit of the labels.

        Parameters:
            embeddings (np.ndarray): float32 of shape :math:`(B, D)`

        Returns:
            Tensor: shape :math:`(B, C)`
        """
        found = []
        for start in range(0, len(embeddings), STEP):
            # a copy: the array may be a file that is mapped
            pred = self.mlp(torch.from_numpy(np.array(embeddings[start : start + STEP], dtype=np.float32)))
            found.append(pred if self.moments is None else pred * self.moments[1] + self.moments[0])
        return torch.cat(found) if found else torch.zeros(0, sum(self.outputs))

    def probabilities(self, logits: torch.Tensor, calibrated: bool = True) -> torch.Tensor:
        """
        Probabilities of logits [B, C], calibrated where there is a calibration; numbers stay as they are.

        Parameters:
            logits (Tensor): from :meth:`predict`
            calibrated (bool, optional): False for the probabilities of the task itself
        """
        if self.kind == "number":
            return logits
        found = []
        for name, part in zip(self.groups, self.slices):
            own, calibration = logits[:, part], self.calibrations.get(name) if calibrated else None
            if calibration is not None:
                found.append(calibration.apply(own))
            else:
                found.append(own.softmax(dim=-1) if self.kind == "class" else own.sigmoid())
        return torch.cat(found, dim=-1)

    def distances(self, embeddings: np.ndarray) -> np.ndarray | None:
        """How far proteins are from those of the training set, None if that is not known."""
        if self.reference is None or self.quantiles is None:
            return None
        return self.reference.distances(torch.from_numpy(np.array(embeddings, dtype=np.float32))).numpy()
