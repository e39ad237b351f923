"""The machine in words: cores, memory, processor, graphics cards, room on disk and in shared memory."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gearnet_plugin.structures.parallel import count_workers

if TYPE_CHECKING:
    from .doctor_environment import Finding

GIB = 1 << 30
#: Processes that load data hand batches over through shared memory; containers give 64 MB unless told otherwise.
SHARED = 1 * GIB
#: Room for weights and one prepared data set.
ROOM = 5 * GIB
#: CUDA versions for which PyTorch has builds, the newest first.
BUILDS = ((13, 0), (12, 8), (12, 6), (12, 4), (12, 1), (11, 8))


def examine() -> Iterator[Finding]:
    """Everything that can be told without torch."""
    from .doctor_environment import NOTE, OK, Finding

    cores, limit = count_workers(None), cpu_limit()
    less = f", limited to {limit:g} by the container" if limit and limit < cores else ""
    memory = total_memory()
    yield Finding(OK, f"{platform.system()} on {platform.machine()}, {cores} cores{less}"
                  + (f", {memory / GIB:.1f} GiB of memory" if memory else ""))  # fmt: skip
    yield Finding(OK, f"bf16 on the CPU: {bf16(cpu_flags())}")
    cache = cache_folder()
    free = shutil.disk_usage(_existing(cache)).free
    words = f"{free / GIB:.1f} GiB free for weights in {cache}"
    if not os.access(_existing(cache), os.W_OK):
        yield Finding(
            NOTE,
            f"the folder of weights {cache} cannot be written",
            "export GEARNET_PLUGIN_WEIGHTS=<a folder of yours>",
        )
    elif free < ROOM:
        yield Finding(NOTE, f"only {words}", "export GEARNET_PLUGIN_WEIGHTS=<a folder with more room>")
    else:
        yield Finding(OK, words)
    if os.path.isdir("/dev/shm"):
        shared = shutil.disk_usage("/dev/shm")
        words = f"{shared.free / GIB:.2f} of {shared.total / GIB:.2f} GiB of shared memory free"
        if shared.total < SHARED:
            yield Finding(NOTE, f"only {words}: too little for processes that load data",
                          "in a container: docker run --shm-size=8g; or engine.num_worker: 0")  # fmt: skip
        else:
            yield Finding(OK, words)


def cache_folder() -> str:
    """Where published weights are kept: :func:`gearnet_plugin.embedding.weight_folder.folder`, told without torch."""
    if os.environ.get("GEARNET_PLUGIN_WEIGHTS"):
        return os.path.abspath(os.path.expanduser(os.environ["GEARNET_PLUGIN_WEIGHTS"]))
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    return os.path.join(os.path.abspath(os.path.expanduser(base)), "gearnet_plugin", "weights")


def _existing(path: str) -> str:
    """The path, or the nearest folder above it that is there."""
    while not os.path.isdir(path):
        parent = os.path.dirname(path)
        if parent == path:
            return tempfile.gettempdir()
        path = parent
    return path


def cpu_limit() -> float | None:
    """Cores that the container grants, or None without a limit."""
    words = _read("/sys/fs/cgroup/cpu.max").split()
    if len(words) == 2 and words[0].isdigit() and words[1].isdigit():
        return int(words[0]) / int(words[1])
    return None


def total_memory() -> int | None:
    """Bytes of memory of the machine, or of the container where that is less."""
    found = re.search(r"MemTotal:\s+(\d+) kB", _read("/proc/meminfo"))
    sizes = [int(found.group(1)) * 1024] if found else []
    limit = _read("/sys/fs/cgroup/memory.max").strip()
    sizes += [int(limit)] if limit.isdigit() else []
    return min(sizes, default=None)


def cpu_flags() -> set[str]:
    """Abilities of the processor as Linux names them; empty elsewhere."""
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return set(found.group(1).split()) if found else set()


def bf16(flags: set[str]) -> str:
    """Whether `precision: bf16` pays on a processor, in words."""
    if not flags:
        return "not known on this system"
    found = [name for flag, name in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX-512"), ("bf16", "Arm")) if flag in flags]
    if found:
        return f"in hardware ({', '.join(found)}); `precision: bf16` saves time"
    return "not in hardware; `precision: bf16` would cost time, stay with fp32"


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


# === graphics cards ===


def driver() -> dict[str, Any] | None:
    """What NVIDIA's driver says, by ``nvidia-smi``: names of GPUs, its version and newest CUDA; None without it."""
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        rows = subprocess.run(query, capture_output=True, text=True, timeout=20)
        table = subprocess.run(["nvidia-smi"], capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return {"names": [], "version": "?", "cuda": None, "error": "nvidia-smi does not answer"}
    if rows.returncode:
        reason = (rows.stdout + rows.stderr).strip().splitlines() or ["no reason told"]
        return {"names": [], "version": "?", "cuda": None, "error": f"nvidia-smi: {reason[0]}"}
    names, versions = zip(*(line.rsplit(", ", 1) for line in rows.stdout.strip().splitlines()), strict=True)
    found = re.search(r"CUDA Version:\s*(\d+)\.(\d+)", table)
    cuda = (int(found.group(1)), int(found.group(2))) if found else None
    return {"names": list(names), "version": versions[0].strip(), "cuda": cuda, "error": ""}


def gpus(torch: dict[str, Any], smi: dict[str, Any] | None = None) -> Iterator[tuple[str, str, str]]:
    """
    State, text and mend of what is to be said about GPUs.

    Parameters:
        torch (dict): what :func:`gearnet_plugin.cli.doctor_probe.torch_itself` told
        smi (dict, optional): what :func:`driver` told, by default now
    """
    from .doctor_environment import BROKEN, NOTE, OK

    smi = driver() if smi is None else smi
    built = f"CUDA {torch['cuda']}" if torch["cuda"] else f"ROCm {torch['hip']}" if torch["hip"] else "the CPU alone"
    for gpu in torch["gpus"]:
        major, minor = gpu["capability"]
        text = (
            f"GPU {gpu['name']}, {gpu['memory'] / GIB:.1f} GiB, compute capability {major}.{minor}; torch for {built}"
        )
        if torch["cuda"] and not has_kernels(torch["architectures"], major, minor):
            kinds = ", ".join(torch["architectures"])
            yield BROKEN, f"{text}, which has no code for it (it has {kinds})", torch_line(smi["cuda"] if smi else None)
        else:
            yield OK, text, ""
    if torch["gpus"]:
        return
    if smi is None:
        also = "; Apple's MPS is there but not used" if torch["mps"] else ""
        yield OK, f"no NVIDIA driver here; torch, a build for {built}, computes on the CPU{also}", ""
    elif smi["error"]:
        yield NOTE, f"the NVIDIA driver does not work, so torch computes on the CPU: {smi['error']}", \
            "install the driver anew, or restart the machine if it was just updated"  # fmt: skip
    elif not torch["cuda"]:
        yield NOTE, f"GPU {', '.join(smi['names'])} is here, but torch is a build for {built}", torch_line(smi["cuda"])
    else:
        newest = ".".join(map(str, smi["cuda"])) if smi["cuda"] else "?"
        reason = f": {torch['why']}" if torch["why"] else ""
        words = f"GPU {', '.join(smi['names'])} is here, but torch cannot use it{reason}"
        if smi["cuda"] and smi["cuda"] < version(torch["cuda"]):
            words = (f"GPU {', '.join(smi['names'])} is here, but its driver {smi['version']} is older than torch: it "
                     f"goes up to CUDA {newest}, torch was built for {torch['cuda']}")  # fmt: skip
            yield NOTE, words, f"update the driver, or {torch_line(smi['cuda'])}"
        else:
            hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
            yield NOTE, words, f"unset CUDA_VISIBLE_DEVICES (it is `{hidden}`)" if hidden is not None else ""


def has_kernels(architectures: list[str], major: int, minor: int) -> bool:
    """Whether code for some of the architectures runs on a GPU: within a major version upwards, or compiled anew."""
    for name in architectures:
        found = re.fullmatch(r"(sm|compute)_(\d+)(\d)[a-z]?", name)
        if found:
            kind, its_major, its_minor = found.group(1), int(found.group(2)), int(found.group(3))
            same = its_major == major and its_minor <= minor
            if same or kind == "compute" and (its_major, its_minor) <= (major, minor):
                return True
    return False


def torch_line(cuda: tuple[int, int] | None) -> str:
    """The command that installs a torch for a driver."""
    fitting = next((build for build in BUILDS if cuda is not None and build <= cuda), None)
    if fitting is None:
        return "update the NVIDIA driver (to one for CUDA 12.6 or newer), then pip install --force-reinstall torch"
    # where the builds lie may change; the page tells
    index = "<that of cu%d%d at https://pytorch.org/get-started>" % fitting
    return f"pip install --force-reinstall torch --index-url {index}"


def version(text: str) -> tuple[int, int]:
    """First two numbers of a version."""
    numbers = [int(word) for word in re.findall(r"\d+", text)[:2]]
    return numbers[0], numbers[1]
