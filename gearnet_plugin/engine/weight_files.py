"""
Files that models read when they are built, such as the weights of ESM: where they belong, and having them there.

TorchDrug's models and datasets fetch their files by ``utils.download``, which the context managers here replace.
"""

import contextlib
import os

import torch

from gearnet_plugin.engine.build import arguments, find_class
from gearnet_plugin.engine.config import join
from gearnet_plugin.engine.errors import ConfigError
from gearnet_plugin.structures.download import fetch
from torchdrug import models, utils

ESM = ("ESM", "models.ESM")
# whether this process has checked a file: {(path, size, time of change)}; the checksum of gigabytes takes a minute
_checked = set()


class Unavailable(ConfigError):
    """A constructor wants a file that is not here or is not to be read now."""


@contextlib.contextmanager
def replacing_download(function):
    """Let ``utils.download(url, path, save_file, md5)`` of TorchDrug be another function."""
    before = utils.download
    utils.download = function
    try:
        yield
    finally:
        utils.download = before


def no_downloads():
    """Let no constructor fetch anything, nor read what would be fetched: gigabytes, for a look."""

    def refuse(url, path, save_file=None, md5=None):
        target = _target(url, path, save_file)
        there = "is there and not read" if os.path.exists(target) else "from %s" % url
        raise Unavailable("", "%s (%s)" % (target, there))

    return replacing_download(refuse)


def downloads(allowed=True):
    """Let constructors have their files by :func:`gearnet_plugin.structures.download.fetch`: resumed, never cut short,
    once for several processes; without network where that is not allowed."""
    return replacing_download(
        lambda url, path, save_file=None, md5=None: have(url, _target(url, path, save_file), md5, allowed)
    )


def have(url, target, md5=None, allowed=True):
    """Return the path of a file that is there and right, fetched where it is missing."""
    mark = _mark(target)
    if mark is None or mark not in _checked:
        fetch(url, target, md5=md5, download=allowed)
        _checked.add(_mark(target))
    return target


def _mark(path):
    try:
        status = os.stat(path)
    except OSError:
        return None
    return path, status.st_size, status.st_mtime_ns


def _target(url, path, save_file=None):
    name = save_file or os.path.basename(url).partition("?")[0]
    return os.path.join(os.path.abspath(os.path.expanduser(path)), name)


# === those of a configuration ===


def named(value, key=""):
    """
    Return the files of weights that the sequence models of a configuration read.

    Parameters:
        value (dict): configuration or a part of it
        key (str, optional): its path

    Returns:
        list of (str, str, str, str, str): path of the model in the configuration, its name, file, address, MD5
    """
    if isinstance(value, list):
        return [file for i, child in enumerate(value) for file in named(child, join(key, i))]
    if not isinstance(value, dict):
        return []
    found = []
    name = value.get("model", "ESM-1b") if value.get("class") in ESM else None
    # a wrong name or path is for the constructor to tell
    if isinstance(name, str) and name in models.ESM.num_layer and isinstance(value.get("path"), str):
        parts = [name, name + "-regression"] if name + "-regression" in models.ESM.url else [name]
        found = [
            (key, part, _target(models.ESM.url[part], value["path"]), models.ESM.url[part], models.ESM.md5[part])
            for part in parts
        ]
    return found + [file for child in value for file in named(value[child], join(key, child))]


def absent(config):
    """Return those of :func:`named` that are not there, as pairs of the model's path and a line that says which and
    how to have it."""
    return [
        (key, "%s needs %s; fetch %s (md5 %s) and put it there" % (name, target, url, md5))
        for key, name, target, url, md5 in named(config)
        if not os.path.exists(target)
    ]


def have_all(config, allowed=True):
    """
    Have the files of the sequence models of a configuration, before data are opened.

    Parameters:
        config (dict): complete configuration, checked
        allowed (bool, optional): whether the network may be used
    """
    for key, name, target, url, md5 in named(config["task"], "task"):
        try:
            have(url, target, md5, allowed)
        except (OSError, ValueError) as error:
            raise ConfigError(key, "the weights of %s are missing: %s" % (name, " ".join(str(error).split()))) from None


def without_network(value, key=""):
    """
    Return a configuration whose datasets may not download, where they have an argument ``download``.

    Parameters:
        value (dict): configuration or a part of it, checked
        key (str, optional): its path
    """
    if isinstance(value, list):
        return [without_network(child, join(key, i)) for i, child in enumerate(value)]
    if not isinstance(value, dict):
        return value
    value = {name: without_network(child, join(key, name)) for name, child in value.items()}
    if "class" in value and "download" in arguments(find_class(value["class"], key))[0]:
        value["download"] = False
    return value


def on_meta():
    """Build on the ``meta`` device, without weights or network."""
    stack = contextlib.ExitStack()
    stack.enter_context(no_downloads())
    stack.enter_context(torch.device("meta"))
    return stack
