"""What tests share: the tolerances, where things are, and a fresh Python process."""
import os
import subprocess
import sys

import pytest
import torch

import gearnet_plugin  # noqa: F401  TorchDrug can be imported only after it

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# How close two computations of the same numbers have to be. A miss fails, it never warns.
TOLERANCE = {
    torch.float64: {"rtol": 1e-10, "atol": 1e-12},
    torch.float32: {"rtol": 1e-5, "atol": 1e-6},
    torch.bfloat16: {"rtol": 2e-2, "atol": 1e-2},
    torch.int64: {"rtol": 0, "atol": 0},
}


@pytest.fixture(scope="session")
def tolerance():
    """A dtype -> the keyword arguments ``rtol`` and ``atol`` of ``torch.testing.assert_close``."""
    return TOLERANCE.__getitem__


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real structures beside the repository; what needs it is skipped where it is not there."""
    path = os.path.join(os.path.dirname(ROOT), "shared", "data")
    if not os.path.isdir(path):
        pytest.skip("no real structures in %s" % path)
    return path


@pytest.fixture(scope="session")
def python():
    """
    Run a fresh Python: ``python(*arguments, **environment)``, in ``cwd`` if that is among them.

    A variable that is None is removed. ``failing=True`` expects an exit code other than 0.
    """
    def run(*arguments, cwd=None, failing=False, **environment):
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ROOT, **environment}
        env = {name: str(value) for name, value in env.items() if value is not None}
        done = subprocess.run([sys.executable, *map(str, arguments)], cwd=cwd or ROOT, env=env,
                              capture_output=True, text=True, timeout=300)
        what = "exit code %d\n%s\n%s" % (done.returncode, done.stdout, done.stderr)
        assert (done.returncode != 0) == failing, what
        return done

    return run
