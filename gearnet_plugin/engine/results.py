"""What a finished run leaves about its test: ``results.json``, ``classes.tsv`` and ``predictions.npz``."""

import json
import logging
import math

import numpy as np
import torch

from gearnet_plugin import metrics
from gearnet_plugin.engine import labels, sampling
from gearnet_plugin.engine.checkpoint import whole_file

logger = logging.getLogger(__name__)

RESULTS = "results.json"
CLASSES = "classes.tsv"
PREDICTIONS = "predictions.npz"
SAMPLES, LEVEL = 200, 0.95


class Predictions:
    """
    Predictions of a set and what it takes to say how good they are.

    Parameters:
        task (nn.Module): task that made them
        dataset (Dataset): set
        pred, target (Tensor): of :func:`gearnet_plugin.engine.sampling.predict`
        names (dict): labels, of :func:`gearnet_plugin.engine.labels.of_dataset`
    """

    def __init__(self, task, dataset, pred, target, names):
        # back from the order of evaluation to that of the set
        order = torch.tensor(sampling.part(len(dataset), 0, 1)).argsort()
        whole = len(pred) == len(order)
        self.pred, self.target = (
            x.detach().cpu().float()[order] if whole else x.detach().cpu().float() for x in (pred, target)
        )
        self.items = labels.item_names(dataset) if whole else None
        self.task, self.names = task, names

    @staticmethod
    def possible(names, pred, target):
        """Whether there are plain logits and targets, row by row."""
        return bool(names) and all(isinstance(x, torch.Tensor) for x in (pred, target)) and len(pred) == len(target)

    @property
    def known(self):
        """Whether the task says what kind of predictions it makes, as those of TorchDrug do not."""
        return getattr(self.task, "kind", None) in metrics.KINDS

    def save(self, path):
        """Write logits ``[items, outputs]``, targets ``[items, labels]`` and names, without pickles."""
        arrays = {
            "logits": self.pred.numpy(),
            "targets": self.target.numpy(),
            "labels": np.array(list(self.names), dtype=str),
        }
        if self.items is not None:
            arrays["names"] = np.array(self.items, dtype=str)
        with whole_file(path) as file:
            np.savez_compressed(file, **arrays)

    def by_label(self):
        """
        Return what belongs together: (label, logits, targets, names of the classes), rows without a target left out.

        Columns of ``targets`` are one.
        """
        if labels.TARGETS in self.names:
            there = ~self.target.isnan().all(dim=-1)
            return [(labels.TARGETS, self.pred[there], self.target[there], self.names[labels.TARGETS])]
        sizes = getattr(self.task, "num_class", None) or [1] * len(self.names)
        found, begin = [], 0
        for i, (label, size) in enumerate(zip(self.names, sizes)):
            pred, target = self.pred[:, begin : begin + size], self.target[:, i]
            begin += size
            there = ~target.isnan()
            kind = self.task.kind
            pred, target = pred[there], target[there]
            found.append(
                (
                    label,
                    pred if kind == "class" else pred.squeeze(-1),
                    target.long() if kind == "class" else target,
                    self.names[label],
                )
            )
        return found

    def intervals(self, names, seed=0):
        """
        Bootstrap intervals over items of the metrics that the task returns.

        Parameters:
            names (list of str): metrics as the configuration names them
            seed (int, optional): seed of the draws

        Returns:
            dict: ``{title: (low, high)}``, titled as in the task; without metrics that have no value in any sample
        """
        found = {}
        for label, pred, target, _ in self.by_label():
            if len(pred) < 2:
                continue
            drawn = metrics.bootstrap(names, self.task.kind, pred, target, SAMPLES, LEVEL, seed)
            for title, bounds in drawn.items():
                if not any(map(math.isnan, bounds)):
                    found[title if label == labels.TARGETS else "%s [%s]" % (title, label)] = tuple(map(float, bounds))
        return found

    def write_classes(self, path, train_set, columns=None):
        """
        Write a table with a row a class or label: how good it is and how often it is trained on.

        Parameters:
            path (str): TSV file
            train_set (Dataset): training set
            columns (list of int, optional): columns of ``targets`` that are predicted

        Returns:
            bool: whether there are classes
        """
        rows, titles = [], []
        for label, pred, target, known in self.by_label():
            kind = self.task.kind
            if kind == "number" or not len(pred):
                continue
            size = pred.shape[1] if pred.dim() > 1 else 1
            known = list(known or [])[:size] + [str(i) for i in range(len(known or ()), size)]
            if kind == "binary":
                known = [label]
            table = dict(metrics.per_class(kind, pred, target, known))
            table["training"] = self._trained(train_set, label, size, columns)
            titles = titles or ["of", *table]
            rows += list(zip([label] * len(table["training"]), *table.values()))
        if rows:
            with whole_file(path) as file:
                file.write(("\n".join("\t".join(map(_cell, row)) for row in [titles, *rows]) + "\n").encode())
        return bool(rows)

    def _trained(self, train_set, label, size, columns):
        if label == labels.TARGETS:
            columns = list(range(size)) if columns is None else list(columns)
            found = labels.occurrences(train_set, label, max(columns) + 1)
            return [found[column] for column in columns]
        if self.task.kind == "binary":
            return [labels.occurrences(train_set, label, 2)[1]]
        return labels.occurrences(train_set, label, size)


def _cell(value):
    value = value.item() if isinstance(value, torch.Tensor) else value
    if isinstance(value, float):
        return "" if math.isnan(value) else "%.6g" % value
    return " ".join(str(value).split())


def write_results(path, facts):
    """Write ``results.json``; what is no finite number becomes null."""
    with whole_file(path) as file:
        file.write((json.dumps(_finite(facts), indent=1) + "\n").encode())


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(child) for child in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
