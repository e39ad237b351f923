"""Where the messages of a run go: terminal and log.txt."""
import contextlib
import logging
import os
import sys
import warnings

from tqdm import tqdm

logger = logging.getLogger(__name__)

# whose messages belong to a run
LOGGERS = ("gearnet_plugin", "torchdrug")
# TorchDrug announces every epoch and evaluation over several lines; the recorder says it in one
NOISY = ("torchdrug.core.engine", "torchdrug.core.meter")


class _ConsoleHandler(logging.Handler):
    """Write to the terminal without tearing a progress bar."""

    def emit(self, record):
        try:
            tqdm.write(self.format(record), file=sys.stderr)
            sys.stderr.flush()
        except Exception:  # noqa: BLE001  logging must not end a run
            self.handleError(record)


@contextlib.contextmanager
def logging_to(folder, rank=0):
    """
    Send the messages of a run to the terminal and to ``log.txt``; afterwards logging is what it was.

    Parameters:
        folder (str): folder of the run
        rank (int, optional): other ranks than 0 write errors only, to the terminal
    """
    console = _ConsoleHandler(logging.INFO if rank == 0 else logging.ERROR)
    who = "" if rank == 0 else "rank %d: " % rank
    console.setFormatter(logging.Formatter("%(asctime)s " + who + "%(message)s", "%H:%M:%S"))
    console.addFilter(lambda record: record.name not in NOISY)
    handlers = [console]
    if rank == 0:
        file = logging.FileHandler(os.path.join(folder, "log.txt"), encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        file.addFilter(lambda record: record.name not in NOISY or ">>>>" not in str(record.msg))
        handlers.append(file)
    before = {}
    for name in LOGGERS:
        log = logging.getLogger(name)
        before[name] = log.level, log.propagate
        log.setLevel(logging.DEBUG if name == "gearnet_plugin" else logging.INFO)
        log.propagate = False
        for handler in handlers:
            log.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _log_warning
            yield
    finally:
        for name, (level, propagate) in before.items():
            log = logging.getLogger(name)
            log.setLevel(level)
            log.propagate = propagate
            for handler in handlers:
                log.removeHandler(handler)
        for handler in handlers:
            handler.close()


def _log_warning(message, category, filename, lineno, file=None, line=None):
    logger.warning("%s (%s:%d): %s", category.__name__, os.path.basename(filename), lineno, message)
