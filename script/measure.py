"""Measuring for script/benchmark.py: two ways of doing one thing, turn by turn, and the memory of a process."""

import ctypes
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np

MIB = 1 << 20


@dataclass(frozen=True)
class Ratio:
    """How many times as long the first way takes: median over pairs, 95 % bootstrap interval; medians in seconds."""

    median: float
    low: float
    high: float
    first: float
    second: float
    pairs: int

    def __str__(self):
        return "%.3g (%.3g to %.3g)" % (self.median, self.low, self.high)


def compare(first, second, pairs=11, warm_up=1):
    """
    Time two calls turn by turn, so that a busy neighbour slows both.

    Parameters:
        first, second (Callable): the calls, or lists of as many calls as there shall be pairs
        pairs (int, optional): number of pairs
        warm_up (int, optional): calls of each that do not count
    """
    firsts, seconds = ([call] * pairs if callable(call) else list(call) for call in (first, second))
    for call in firsts[:warm_up] + seconds[:warm_up]:
        call()
    times = [(_time(a), _time(b)) for a, b in zip(firsts, seconds, strict=True)]
    return ratio(times)


def compare_ways(ways, budget, least=5, most=31):
    """
    Time several ways of doing one thing turn by turn, the first being what the others are compared with.

    Parameters:
        ways (dict): name -> call
        budget (float): seconds that all rounds together should take
        least, most (int, optional): bounds on the number of rounds

    Returns:
        dict: name -> :class:`Ratio` of the first way to this one
    """
    # what does not count, warms up and tells how many rounds the budget allows
    once = sum(_time(call) for call in ways.values())
    rounds = max(least, min(most, int(budget / once)))
    times = [{name: _time(call) for name, call in ways.items()} for _ in range(rounds)]
    base, *others = ways
    return {name: ratio([(turn[base], turn[name]) for turn in times]) for name in others}


def median_time(call, turns=5):
    """The median time in seconds of a call; only ever to be related to what is measured beside it."""
    call()
    return statistics.median(_time(call) for _ in range(turns))


def fastest(call, turns=7):
    """The least time in seconds of a call, for the rate a machine can reach; never for comparing two ways."""
    call()
    return min(_time(call) for _ in range(turns))


def ratio(times):
    """The Ratio of pairs of times in seconds."""
    ratios = np.array([a / b for a, b in times])
    draws = np.random.default_rng(0).integers(len(ratios), size=(2000, len(ratios)))
    low, high = np.quantile(np.median(ratios[draws], axis=1), [0.025, 0.975])
    return Ratio(
        float(np.median(ratios)),
        float(low),
        float(high),
        statistics.median(a for a, _ in times),
        statistics.median(b for _, b in times),
        len(times),
    )


def _time(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def memory():
    """
    Memory of this process in MiB: ``uss``, what would be free if it ended alone; ``anonymous``, the part of it that
    is not pages of files, which the system can drop at any time.
    """
    sizes = {}
    with open("/proc/self/smaps_rollup") as file:
        for line in file:
            words = line.split()
            if words[-1] == "kB":
                sizes[words[0].rstrip(":")] = int(words[1]) * 1024 / MIB
    return {"uss": sizes["Private_Clean"] + sizes["Private_Dirty"], "anonymous": sizes["Anonymous"]}


def resident():
    """Memory of this process that is in use, in MiB: what it holds now, and the most since :func:`forget_peak`."""
    sizes = {}
    with open("/proc/self/status") as file:
        for line in file:
            name, _, rest = line.partition(":")
            if name in ("VmRSS", "VmHWM"):
                sizes[name] = int(rest.split()[0]) * 1024 / MIB
    return sizes["VmRSS"], sizes["VmHWM"]


def forget_peak():
    """Give freed memory back to the system, so that it counts again when it is taken, and start a new peak."""
    # glibc keeps what was freed; another C library has no such call, and then less is given back
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def has_bfloat16():
    """Whether this processor multiplies bfloat16 itself."""
    try:
        with open("/proc/cpuinfo") as file:
            flags = next((line.split() for line in file if line.startswith("flags")), [])
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def program(code, *arguments):
    """The command line of Python code that finds this package, ``memory`` and its arguments."""
    folder = os.path.dirname(os.path.abspath(__file__))
    start = "import json, os, sys, time\nsys.path[:0] = [%r, %r]\nfrom measure import memory\n"
    return [sys.executable, "-c", start % (os.path.dirname(folder), folder) + code, *map(str, arguments)]


def in_process(code, *arguments, **environment):
    """
    Run Python code in a process of its own, which prints JSON on its last line.

    The code finds ``memory`` defined and its arguments in ``sys.argv[1:]``.
    """
    done = subprocess.run(
        program(code, *arguments),
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def machine():
    """What the numbers of a report depend on."""
    from importlib import metadata

    def version(package):
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            return None

    def git(*arguments):
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, cwd=os.path.dirname(os.path.abspath(__file__))
        )
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        with open("/proc/cpuinfo") as file:
            cpu = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor()
    packages = ("torch", "torchdrug", "torch-scatter", "torch-cluster", "torch-geometric", "numpy", "gemmi", "pyarrow")
    packages += ("rdkit",)
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {package: version(package) for package in packages},
        "commit": git("rev-parse", "--short", "HEAD"),
        "changed": bool(git("status", "--porcelain")),
    }
