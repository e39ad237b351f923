"""Progress of a run, through the stock engine's own meter: metrics.jsonl, lines of the log, a bar."""
import json
import logging
import math
import os
import sys
import time

import torch
from tqdm import tqdm

from gearnet_plugin.engine.errors import TrainingStopped
from torchdrug import core

logger = logging.getLogger(__name__)


class Recorder(core.LoggerBase):
    """
    Log handler for ``core.Engine``: every record becomes a line of ``metrics.jsonl`` and one of the log.

    Parameters:
        folder (str): folder of the run
    """

    def __init__(self, folder):
        self.file = open(os.path.join(folder, "metrics.jsonl"), "a", encoding="utf-8")
        self.epoch = 0
        self.step = 0
        self.quiet_steps = False

    def log(self, record, step_id, category="train/batch"):
        """Write a record; ``category`` is ``train/batch`` or ``<split>/epoch``."""
        kind, scope = category.split("/")
        values = as_numbers(record)
        line = {"kind": kind, "scope": scope, "epoch": self.epoch, "step": self.step,
                "time": round(time.time(), 3),
                # JSON has no NaN
                "values": {name: value if math.isfinite(value) else None for name, value in values.items()}}
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()
        where = "step %d" % self.step if scope == "batch" else {"train": "training"}.get(kind, kind)
        level = logging.DEBUG if scope == "batch" and self.quiet_steps else logging.INFO
        logger.log(level, "epoch %d, %s: %s", self.epoch, where, format_values(values))

    def log_config(self, config):
        """Nothing: the configuration is in ``config.yaml``."""

    def close(self):
        """Close ``metrics.jsonl``."""
        self.file.close()


def as_numbers(record):
    """Return the metrics of a record as Python numbers."""
    return {name: value.item() if isinstance(value, torch.Tensor) else float(value)
            for name, value in record.items()}


def format_values(values):
    """Return metrics as text, the loss first."""
    names = sorted(values, key=lambda name: name != "loss")
    return ", ".join("%s %.4g" % (name, values[name]) for name in names)


class ProgressMeter(core.Meter):
    """
    Meter that feeds recorder and bar, in place of the stock one that ``core.Engine`` makes.

    The loss comes with the record because :func:`watch` adds it to the metrics of the task.

    Parameters:
        recorder (Recorder, optional): on rank 0
        log_interval (int): log every n updates
        total (int): updates of the whole run
        world_size (int): number of processes
    """

    def __init__(self, recorder=None, log_interval=100, total=None, world_size=1):
        super().__init__(log_interval=log_interval, silent=recorder is None, logger=recorder)
        self.recorder = recorder
        self.world_size = world_size
        self.amount = 0
        self.unit = "samples"
        self.rate = None
        self.last = None
        self.bar = None
        self.begin_epoch = None
        if recorder is not None and sys.stderr.isatty():
            recorder.quiet_steps = True
            self.bar = tqdm(total=total, unit="step", file=sys.stderr, dynamic_ncols=True)

    def count(self, graph, samples):
        """Count what goes through the model on this rank, in residues where the graph has them."""
        residues = getattr(graph, "num_residue", None)
        self.unit = "samples" if residues is None else "residues"
        self.amount += samples if residues is None else int(residues)

    def update(self, record):
        """Take the metrics of one optimizer update; every rank gets the average over ranks."""
        values = as_numbers(record)
        first = self.batch_id % self.log_interval == 0
        self.batch_id += 1
        for name, value in values.items():
            self.records[name].append(value)
        self._measure()
        finite = math.isfinite(values.get("loss", 0.0))
        if self.recorder is not None:
            self.recorder.step, self.recorder.epoch = self.batch_id, self.epoch_id + 1
            if first or not finite:
                self.log(values, category="train/batch")
        if self.bar is not None:
            loss = "loss %.4g" % values["loss"] if "loss" in values else ""
            self.bar.set_description("epoch %d" % (self.epoch_id + 1), refresh=False)
            self.bar.set_postfix_str(", ".join(filter(None, [loss, self.speed()])), refresh=False)
            self.bar.update()
        if not finite:
            raise TrainingStopped("the training loss became %s in epoch %d, step %d" % (
                values["loss"], self.epoch_id + 1, self.batch_id))

    def _measure(self):
        now = time.perf_counter()
        if self.last is not None:
            # averaged over about ten updates
            rate = self.amount * self.world_size / max(now - self.last, 1e-9)
            self.rate = rate if self.rate is None else 0.9 * self.rate + 0.1 * rate
        self.last, self.amount = now, 0

    def speed(self):
        """Return the rate over all ranks as text, such as ``21,000 residues/s``; ranks get equal shares."""
        if self.rate is None:
            return ""
        return f"{self.rate:,.0f} {self.unit}/s" if self.rate >= 10 else f"{self.rate:.2g} {self.unit}/s"

    def step(self):
        """End an epoch: log the averages of its updates."""
        self.epoch_id += 1
        self.epoch2batch.append(self.batch_id)
        self.time.append(time.time())
        window = slice(*self.epoch2batch[-2:])
        averages = {name: sum(values[window]) / len(values[window]) for name, values in self.records.items()
                    if values[window]}
        if self.silent or not averages:
            return
        self.recorder.epoch = self.epoch_id
        self.log(averages, category="train/epoch")
        logger.info("epoch %d took %.1f s%s%s", self.epoch_id, self.time[-1] - self.time[-2],
                    ", " + self.speed() if self.rate else "", _gpu_memory())

    def __call__(self, num_epoch):
        self.start_epoch = self.epoch_id
        self.end_epoch = self.start_epoch + num_epoch
        for epoch in range(self.start_epoch, self.end_epoch):
            # what lies between two epochs (evaluation, checkpoints) is no training time
            self.time[-1], self.last, self.amount = time.time(), time.perf_counter(), 0
            if self.begin_epoch is not None:
                self.begin_epoch(epoch)
            yield epoch
            self.step()

    def close(self):
        """End the bar."""
        if self.bar is not None:
            self.bar.close()


def _gpu_memory():
    if not (torch.cuda.is_available() and torch.cuda.is_initialized()):
        return ""
    peak = torch.cuda.max_memory_allocated() / 2 ** 30
    torch.cuda.reset_peak_memory_stats()
    return ", at most %.1f GiB of GPU memory" % peak


def watch(task, meter):
    """
    Let a meter see the batches of a task and its loss, which the engine keeps to itself, and tell the task its epochs,
    where it has ``set_epoch``.

    The loss joins the metrics under the name ``loss``, so that the engine averages it like them.

    Returns:
        handle: ``remove()`` ends it
    """
    def hook(module, inputs, output):
        batch = inputs[0] if inputs else None
        if isinstance(batch, dict):
            sizes = [len(value) for value in batch.values() if hasattr(value, "__len__")]
            meter.count(batch.get("graph"), sizes[0] if sizes else 1)
        if isinstance(output, tuple) and len(output) == 2 and isinstance(output[1], dict):
            loss, metric = output
            return loss, {"loss": loss.detach(), **metric}
        return None

    meter.begin_epoch = getattr(task, "set_epoch", None)
    return task.register_forward_hook(hook)
