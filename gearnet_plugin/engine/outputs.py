"""The folder of a run and the files that say what was run."""
import contextlib
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time

import yaml

from gearnet_plugin import compat
from gearnet_plugin.engine.checkpoint import whole_file
from gearnet_plugin.engine.config import plain
from gearnet_plugin.engine.errors import ConfigError

# files by which a folder is known to hold a run
MARKS = ("config.yaml", "versions.json", "metrics.jsonl", "log.txt", "encoder.pth", "results.json")
PACKAGES = {"torch": "torch", "torchdrug": "torchdrug", "numpy": "numpy", "rdkit": "rdkit", "gemmi": "gemmi",
            "torch_scatter": "torch-scatter", "torch_cluster": "torch-cluster"}


def create_folder(output_dir, name, out=None, temporary=False):
    """
    Make the folder of a run.

    Parameters:
        output_dir (str): folder of all runs
        name (str): name of the configuration
        out (str, optional): exactly this folder instead
        temporary (bool, optional): a new folder among the temporary files, unless ``out`` is given

    Returns:
        str: absolute path; ``<output_dir>/<name>/<time>`` without the last two
    """
    if out is not None:
        return _chosen_folder(os.path.abspath(os.path.expanduser(out)))
    if temporary:
        return tempfile.mkdtemp(prefix="gearnet-smoke-")
    parent = os.path.join(os.path.abspath(os.path.expanduser(output_dir)), name)
    stamp = time.strftime("%Y-%m-%d-%H-%M-%S")
    try:
        os.makedirs(parent, exist_ok=True)
        # two runs may start in one second: making the folder decides who has the name
        for i in range(1000):
            folder = os.path.join(parent, stamp + ("-%d" % (i + 1) if i else ""))
            try:
                os.mkdir(folder)
                return folder
            except FileExistsError:
                continue
    except OSError as error:
        raise ConfigError("output_dir", "no folder can be made in `%s`: %s. Choose another by `output_dir` "
                          "or --out" % (parent, error.strerror)) from None
    raise ConfigError("output_dir", "a thousand runs started in one second in `%s`" % parent)


def _chosen_folder(folder):
    try:
        os.makedirs(folder, exist_ok=True)
        names = os.listdir(folder)
    except OSError as error:
        raise ConfigError("", "--out `%s` cannot be used: %s" % (folder, error.strerror)) from None
    held = [name for name in names if name in MARKS or re.fullmatch(r"checkpoint-.*\.pth", name)]
    if held:
        raise ConfigError("", "--out `%s` holds a run already (%s). Give another folder, or remove that one "
                          "first" % (folder, sorted(held)[0]))
    return folder


def discard(folder):
    """
    Remove the files of a run that never started, and the folder if nothing else is in it. ``drops.tsv`` stays, since
    it may say why; the next try replaces it.
    """
    with contextlib.suppress(OSError):
        for name in MARKS:
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                os.remove(path)
        os.rmdir(folder)


def write_config(config, folder, source=None):
    """Write the configuration as it is run, with every default, so that it can be run again."""
    text = yaml.safe_dump(plain(config), sort_keys=False, default_flow_style=None, width=100)
    with whole_file(os.path.join(folder, "config.yaml")) as file:
        file.write(("# rendered from %s\n" % source if source else "").encode() + text.encode())


def write_versions(folder, **facts):
    """Write ``versions.json``: what ran on what."""
    from gearnet_plugin import __version__

    versions = {"python": platform.python_version(), "platform": platform.platform(),
                "gearnet_plugin": __version__}
    for name, package in PACKAGES.items():
        versions[name] = _version(package)
    versions["stand_ins"] = compat.stand_ins()
    versions["git"] = _git_revision()
    versions["started"] = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    versions.update(facts)
    versions.setdefault("command", sys.argv)
    with whole_file(os.path.join(folder, "versions.json")) as file:
        file.write((json.dumps(versions, indent=2) + "\n").encode())


def _version(package):
    if package == "torch":  # with the build, such as +cpu
        import torch

        return str(torch.__version__)
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_revision():
    """Return the commit of the checkout this package runs from, ``-dirty`` when changed; else None."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    # an installed package may lie inside somebody else's checkout
    if not os.path.exists(os.path.join(root, ".git")):
        return None
    try:
        command = ["git", "-C", root, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        git = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return git.stdout.strip() or None
