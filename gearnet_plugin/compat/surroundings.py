"""
Contexts for the import of TorchDrug: what its import changes in the process is changed back when they end.
"""
import contextlib
import logging
import os
import tempfile
import types
import warnings


@contextlib.contextmanager
def restored():
    """All of them at once."""
    with restored_torch(), restored_logging(), extension_folders_elsewhere(), quiet_source_warnings():
        yield


@contextlib.contextmanager
def restored_torch():
    """
    Give the namespaces of torch that TorchDrug writes into their content back.

    It replaces ``nn.Module``, the optimisers and the data sets and reloads ``torch.utils.data``; whatever it
    derives from its replacements it keeps.
    """
    import torch
    from torch import optim
    from torch.optim import lr_scheduler
    from torch.utils import cpp_extension

    modules = [torch.nn, optim, lr_scheduler, torch.utils, torch.utils.data, torch.utils.data.dataset,
               cpp_extension]
    snapshots = [(module, dict(vars(module))) for module in modules]
    try:
        yield
    finally:
        for module, snapshot in snapshots:
            for name in set(vars(module)) - set(snapshot):
                # a submodule that was imported meanwhile is no patch
                if not isinstance(vars(module)[name], types.ModuleType):
                    delattr(module, name)
            for name, value in snapshot.items():
                if vars(module).get(name) is not value:
                    setattr(module, name, value)


@contextlib.contextmanager
def restored_logging():
    """Give the root logger, which TorchDrug sets to INFO on stdout, its level and handlers back."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers


class _NoLock:
    """Stands in for torch's lock file."""

    def __init__(self, path):
        self.path = path

    def try_acquire(self):
        return True

    def release(self):
        pass


@contextlib.contextmanager
def extension_folders_elsewhere():
    """
    Keep the import from making build folders in the home directory for C++ extensions that are never built,
    and lock files in the working directory: a stale one would hang it, a read-only directory end it.
    """
    from torch.utils import cpp_extension

    name = "TORCH_EXTENSIONS_DIR"
    before = os.environ.get(name)
    lock, cpp_extension.FileBaton = cpp_extension.FileBaton, _NoLock
    with tempfile.TemporaryDirectory() as folder:
        os.environ[name] = folder
        try:
            yield
        finally:
            cpp_extension.FileBaton = lock
            if before is None:
                del os.environ[name]
            else:
                os.environ[name] = before


@contextlib.contextmanager
def quiet_source_warnings():
    """Python >= 3.12 warns of ``\\*`` and the like in TorchDrug's docstrings whenever it compiles them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
