"""
Start several processes on this machine for one run: the same command again, once a rank, by torch's elastic
launcher, which ends all when one fails.
"""
import contextlib
import json
import logging
import os
import signal
import sys
import tempfile
import time
import uuid

import click
import torch

from gearnet_plugin.engine.errors import ConfigError
from gearnet_plugin.engine.world import inside_job

# set in the workers that run.py starts; they report errors to it instead of printing them
WORKER = "GEARNET_PLUGIN_WORKER"
ERROR_FILE = "TORCHELASTIC_ERROR_FILE"
INTERRUPTED = 130


def workers_wanted(gpus, nproc=None):
    """
    Return how many processes the options ask for, after checking that the GPUs exist.

    Parameters:
        gpus (list of int, optional): GPU ids, or None for CPU
        nproc (int, optional): ``--nproc``
    """
    if gpus is not None:
        present = torch.cuda.device_count()
        if present == 0:
            raise ConfigError("engine.gpus", "GPUs %s were asked for, but PyTorch sees none on this machine. "
                              "Use `--gpus null` for CPU, or install a CUDA build of PyTorch" % gpus)
        if max(gpus) >= present:
            raise ConfigError("engine.gpus", "GPUs %s were asked for, but this machine has %d: give ids of 0 "
                              "to %d" % (gpus, present, present - 1))
        if len(set(gpus)) < len(gpus) and not inside_job():
            raise ConfigError("engine.gpus", "each GPU id may stand once, but found %s" % gpus)
    if nproc is not None and inside_job() and not os.environ.get(WORKER):
        size = int(os.environ["WORLD_SIZE"])
        if nproc != size:
            raise ConfigError("", "--nproc %d does not fit the %d processes that torchrun or Slurm started; leave "
                              "--nproc out" % (nproc, size))
    if nproc is not None and nproc < 1:
        raise ConfigError("", "--nproc should be at least 1, but found %d" % nproc)
    count = len(gpus) if gpus is not None else nproc or 1
    if nproc is not None and nproc != count:
        raise ConfigError("", "--nproc %d does not fit the %d GPUs %s: each has one process, so leave "
                          "--nproc out" % (nproc, count, gpus))
    return count


def start(count):
    """
    Run this command in ``count`` workers and wait for them.

    Returns:
        int: exit code; 1 when a rank failed, after the others were ended
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    variables = {
        # each process would otherwise start a thread for every core
        "OMP_NUM_THREADS": str(max(1, _cores() // count)),
        # the engine looks for unused parameters on purpose; torch warns of that on every rank and epoch
        "TORCH_CPP_LOG_LEVEL": "ERROR",
        **os.environ,
        WORKER: "1",
    }
    with _environment(variables), tempfile.TemporaryDirectory(prefix="gearnet-launch-") as folder, _quiet_launcher():
        config = LaunchConfig(
            min_nodes=1, max_nodes=1, nproc_per_node=count, run_id=uuid.uuid4().hex, max_restarts=0,
            rdzv_backend="c10d", rdzv_endpoint="127.0.0.1:0", local_addr="127.0.0.1", monitor_interval=0.2,
            logs_specs=DefaultLogsSpecs(log_dir=folder))
        try:
            elastic_launch(config, sys.executable)("-u", *_this_command())
        except ChildFailedError as error:
            click.echo(_failures(error.failures, count), err=True)
            return INTERRUPTED if all(f.exitcode in (INTERRUPTED, -signal.SIGINT)
                                      for f in error.failures.values()) else 1
        except SignalException as error:
            if error.sigval == signal.SIGINT:
                click.echo("interrupted; all %d workers have ended" % count, err=True)
            else:
                click.echo("error: ended by %s, with all %d workers" % (error.sigval.name, count), err=True)
            return 128 + int(error.sigval)
    return 0


@contextlib.contextmanager
def _environment(variables):
    """Set the variables that the workers inherit; afterwards the environment is what it was."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _this_command():
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None:
        name = spec.name[:-len(".__main__")] if spec.name.endswith(".__main__") else spec.name
        return ["-m", name, *sys.argv[1:]]
    return [os.path.abspath(sys.argv[0]), *sys.argv[1:]]


def _cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _quiet_launcher():
    """Keep torch's launcher from reporting in its own way what is reported here."""
    names = [name for name in list(logging.root.manager.loggerDict) if name.startswith("torch.distributed.")]
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def _failures(failures, count):
    """Say which ranks failed and why: those that died without a word first, since the others died of it."""
    reasons = {}
    for rank, failure in sorted(failures.items()):
        if isinstance(failure.message, dict):
            order, reason = 1, failure.message["message"]
        elif failure.exitcode == -signal.SIGTERM:
            order, reason = 2, "ended with the others"
        else:
            how = failure.signal_name() if failure.exitcode < 0 else "exit code %d" % failure.exitcode
            order, reason = 0, "ended by %s and left no message" % how
        reasons.setdefault((order, reason), []).append(rank)
    told = [(ranks, reason) for (order, reason), ranks in sorted(reasons.items()) if order < 2 or len(reasons) == 1]
    if len(told) == 1 and len(told[0][0]) == len(failures) and (1, told[0][1]) in reasons:
        return "error: %s" % told[0][1]
    return "\n".join(["error: a worker failed, so all %d were ended" % count,
                      *("rank %s: %s" % (", ".join(map(str, ranks)), reason) for ranks, reason in told)])


def report_failure(message):
    """
    Pass a message on to the run.py that started this worker.

    Returns:
        bool: whether there is one; if not, the message is still to be printed
    """
    path = os.environ.get(ERROR_FILE)
    if not os.environ.get(WORKER) or not path:
        return False
    # the form that torch's launcher reads
    extra = {"timestamp": int(time.time()), "py_callstack": message}
    reply = {"message": {"message": message, "extraInfo": extra}}
    with contextlib.suppress(OSError), open(path, "w", encoding="utf-8") as file:
        json.dump(reply, file)
        return True
    return False
