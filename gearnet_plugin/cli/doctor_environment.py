"""What this machine has, what is missing, and the command that mends each finding."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import click

from . import doctor_machine
from .doctor_process import finish, start

#: What must be there: module, (distribution, least version).
NEEDED = {
    "torch": ("torch", "2.4"),
    "torchdrug": ("torchdrug", ""),
    "numpy": ("numpy", ""),
    "rdkit": ("rdkit", ""),
    "gemmi": ("gemmi", "0.6.5"),
    "pyarrow": ("pyarrow", "14"),
    "joblib": ("joblib", "1.4"),
    "click": ("click", ""),
    "easydict": ("easydict", ""),
    "yaml": ("pyyaml", ""),
}
#: What TorchDrug's modules import besides. One that is missing is only a note: the self-test finds out whether it
#: matters.
OF_TORCHDRUG = {
    "decorator": ("decorator", ""),
    "esm": ("fair-esm", ""),
    "jinja2": ("jinja2", ""),
    "lmdb": ("lmdb", ""),
    "matplotlib": ("matplotlib", ""),
    "networkx": ("networkx", ""),
    "PIL": ("pillow", ""),
    "setuptools": ("setuptools", ""),
    "six": ("six", ""),
    "tqdm": ("tqdm", ""),
}
#: Those whose version is shown even if all is well.
SHOWN = ("torch", "torchdrug", "numpy", "rdkit", "gemmi")
#: Extra of setup.py, its packages, and what they are for.
EXTRAS = {
    "scatter": (("torch_scatter", "torch_cluster"), "stock TorchDrug classes at their full speed"),
    "formats": (("biotite", "msgpack", "foldcomp", "h5py"), "BinaryCIF, FoldComp and HDF5 files"),
    "cluster": (("dask", "distributed"), "`gearnet prepare --backend dask`"),
    "report": (("plotly", "captum", "tensorboard"), "3D pages, attribution, tracking"),
    "fused": (("triton",), "kernels for GPUs"),
}
STEPS = {
    "reading": "read a bundled structure",
    "torch_itself": "import torch",
    "torchdrug": "import TorchDrug",
    "package": "register this package",
    "graph": "build its graph",
    "forward": "run a small encoder",
    "backward": "gradients",
    "reference": "compare with backend `reference`",
    "gpu": "the same on the GPU",
}
NOT_TRIED = {"state": "failed", "text": "not tried, since an import before it ended the process"}
OK, NOTE, BROKEN = "ok", "--", "BROKEN"


@dataclass
class Finding:
    """
    One thing that was looked at.

    Parameters:
        state (str): ``OK``, ``NOTE`` for what can be done without, ``BROKEN`` for what is needed and does not work
        text (str): what was found
        mend (str, optional): the command that mends it
    """

    state: str
    text: str
    mend: str = ""

    def __str__(self) -> str:
        return f"  {self.state:<7}{self.text}" + (f"\n         mend: {self.mend}" if self.mend else "")


def examine() -> int:
    """Tell what this machine has, and test it; the exit code: 1 if something needed does not work."""
    from gearnet_plugin import __version__

    click.echo(f"gearnet-plugin {__version__} in {_root('gearnet_plugin')}")
    probes = {kind: start(kind) for kind in ("self-test", "optional")}
    findings: list[Finding] = []
    for title, section in (
        ("needed", needed()),
        ("machine", doctor_machine.examine()),
        ("self-test", self_test(probes["self-test"])),
        ("optional", optional(probes["optional"])),
    ):
        click.echo(f"{title}:")
        for finding in section:
            click.echo(str(finding))
            findings.append(finding)
    broken = [finding for finding in findings if finding.state == BROKEN]
    if not broken:
        click.echo("everything needed works")
        return 0
    click.echo("not everything that is needed works. Mend it in this order, then run `gearnet doctor` again:")
    for command in dict.fromkeys(finding.mend for finding in broken if finding.mend):
        click.echo(f"  {command}")
    return 1


# === packages ===


def needed() -> Iterator[Finding]:
    """Python and the packages without which nothing works."""
    version = platform.python_version()
    yield Finding(OK, f"Python {version} ({sys.executable})")
    complete = []
    for module, (distribution, least) in {**NEEDED, **OF_TORCHDRUG}.items():
        state = BROKEN if module in NEEDED else NOTE
        found = installed_version(module, distribution)
        if found is None:
            yield Finding(state, f"{distribution} is not installed", pip_line(distribution, least))
        elif least and as_numbers(found) < as_numbers(least):
            yield Finding(BROKEN, f"{distribution} {found}, but at least {least} is needed",
                          pip_line(distribution, least, upgrade=True))  # fmt: skip
        elif module in SHOWN:
            yield Finding(OK, f"{distribution} {found}")
        else:
            complete.append(distribution)
    yield Finding(OK, f"and {', '.join(complete)}")


def pip_line(distribution: str, least: str = "", upgrade: bool = False) -> str:
    """The command that installs a package that is needed."""
    if distribution == "torchdrug":
        from gearnet_plugin.compat import INSTALL_HINT

        return INSTALL_HINT
    name = f'"{distribution}>={least}"' if least else distribution
    return f"pip install {'--upgrade ' if upgrade else ''}{name}"


def extra_line(extra: str) -> str:
    """The command that installs an extra of this package."""
    # without build isolation both are compiled against the torch that is here, which takes about 20 minutes
    options = "--no-build-isolation " if extra == "scatter" else ""
    if installed_version("", "gearnet-plugin") is None:
        return f'pip install {options}-e "{os.path.dirname(_root("gearnet_plugin"))}[{extra}]"'
    return f'pip install {options}"gearnet-plugin[{extra}]"'


def installed_version(module: str, distribution: str) -> str | None:
    """Version of a package that can be found, ``?`` if it does not tell; None if it cannot."""
    try:
        if module and module not in sys.modules and importlib.util.find_spec(module) is None:
            return None
    except (ImportError, ValueError):
        return None
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "?" if module else None


def as_numbers(version: str) -> tuple[int, ...]:
    """Leading numbers of a version, by which it is compared; what tells none is the newest."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, found.group().split("."))) if found else (1 << 30,)


def _root(package: str) -> str:
    spec = importlib.util.find_spec(package)
    return os.path.dirname(os.path.abspath(spec.origin)) if spec and spec.origin else "?"


# === probes ===


def self_test(process: subprocess.Popen) -> Iterator[Finding]:
    """What torch says of the machine, then the steps of the self-test."""
    steps = finish(process)
    if "start" in steps:
        yield Finding(BROKEN, f"the self-test did not start: {steps['start']['text']}")
        return
    if steps.get("torch_itself", NOT_TRIED)["state"] == "ok":
        yield from map(_finding, doctor_machine.gpus(steps["torch_itself"]))
    untried = [title for name, title in STEPS.items() if name not in steps and name != "gpu"]
    for name, title in STEPS.items():
        told = steps.get(name)
        if told is None:
            continue
        if told["state"] == "failed":
            yield Finding(BROKEN, f"{title}: failed, {told['text']}", _mend(name, told))
        elif name == "torchdrug" and told["version"] != told["wanted"]:
            yield Finding(NOTE, f"{title}: {told['text']}; version {told['wanted']} is the one that is repaired here",
                          pip_line("torchdrug"))  # fmt: skip
        elif told["text"]:
            yield Finding(OK, f"{title}: {told['text']} ({told['seconds']:.1f} s)")
    if untried:
        yield Finding(NOTE, f"not tried after that: {'; '.join(untried)}")


def _mend(step: str, told: dict) -> str:
    """The command for a step that failed."""
    module = (told.get("module") or "").split(".")[0]
    wanted = {**NEEDED, **OF_TORCHDRUG}
    if module in wanted and installed_version(module, wanted[module][0]) is None:
        return pip_line(*wanted[module])
    hint = re.search(r"pip install .+$", told["text"])
    if hint:
        return hint.group()
    if step == "torch_itself":
        return "pip install --force-reinstall torch"
    if step == "torchdrug":
        return pip_line("torchdrug") + " --force-reinstall"
    if step == "gpu":
        return "compute on the CPU meanwhile: --device cpu, --gpus null"
    return ""


def _finding(told: tuple[str, str, str]) -> Finding:
    return Finding(*told)


def optional(process: subprocess.Popen) -> Iterator[Finding]:
    """The extras: which of their packages are there and can be imported."""
    steps = finish(process)
    for extra, (modules, purpose) in EXTRAS.items():
        missing, broken, there = [], [], []
        for module in modules:
            distribution = module.replace("_", "-")
            version = installed_version(module, distribution)
            told = steps.get(module) or steps.get("start", NOT_TRIED)
            if version is None:
                missing.append(distribution)
            elif told["state"] == "ok":
                there.append(f"{distribution} {version}")
            else:
                broken.append(distribution)
                culprit = told.get("module") or module
                # what is missing for it is told where it belongs
                mend = f"pip install --force-reinstall {distribution}" if culprit.split(".")[0] == module else ""
                yield Finding(NOTE, f"{extra}: {distribution} {version} cannot be imported: {told['text']}", mend)
        if missing:
            instead = "; equal stand-ins in plain PyTorch are used" if extra == "scatter" else ""
            also = f" (there: {', '.join(there)})" if there else ""
            words = f"{extra}: {', '.join(missing)} not installed{also}, for {purpose}{instead}"
            yield Finding(NOTE, words, extra_line(extra))
        elif not broken:
            yield Finding(OK, f"{extra}: {', '.join(there)}")
