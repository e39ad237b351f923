"""The processes that import and compute for doctor: started, waited for, and understood when they end badly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

from .doctor_probe import MARK

#: Seconds until a probe counts as stuck. Imports take five of them, the self-test about one.
PATIENCE = 120


def start(kind: str) -> subprocess.Popen:
    """Start a process that imports and computes, as :func:`gearnet_plugin.cli.doctor_probe.main` says."""
    code = f"import sys; sys.path[:] = {sys.path!r}; from gearnet_plugin.cli.doctor_probe import main; main({kind!r})"
    environment = {**os.environ, "GEARNET_PLUGIN_LIGHT": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, errors="replace",
    )  # fmt: skip


def finish(process: subprocess.Popen, patience: float = PATIENCE) -> dict[str, dict]:
    """
    Wait for a probe; what it told, by step. A step that it did not survive is ``failed``, with the reason in words.

    Parameters:
        process (subprocess.Popen): from :func:`start`
        patience (float, optional): seconds to wait
    """
    try:
        out, err = process.communicate(timeout=patience)
        end = _ending(process.returncode)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        end = f"it did not end within {patience:g} s"
    steps: dict[str, dict] = {}
    for line in out.splitlines():
        _, mark, text = line.partition(MARK)
        if mark:
            told = json.loads(text)
            steps[told["step"]] = told
    last = " ".join((err.strip().splitlines() or [""])[-1].split())
    if not steps:
        steps["start"] = {"state": "failed", "text": ": ".join(filter(None, [end or "nothing was told", last]))}
    for told in steps.values():
        if told["state"] == "begun":
            told.update(state="failed", text=": ".join(filter(None, [end, last])))
    return steps


def _ending(code: int) -> str:
    if code >= 0:
        return f"the process ended with code {code}" if code else ""
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = ", as by code for another processor" if name == "SIGILL" else ""
    return f"the process was ended by {name}{hint}"
