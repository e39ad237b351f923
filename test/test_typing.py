"""The types of what others call: checked in the package, and seen by those who call it."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / ".mypy.ini"

# what a user writes; a line that ends in `# wrong: ...` has to be found fault with, and no other
SCRIPT = """
from pathlib import Path

import numpy as np

from gearnet_plugin import Structure, StructureStore, load_encoder, read_structure, translate

structure: Structure = read_structure(Path("1a8o.pdb"))
positions: np.ndarray = structure.positions
name: str = structure.chains()[0].name
store = StructureStore("my.store")
first: Structure = store[0]
some: list[Structure] = store[1:3]
length: int = len(store) + len(store.get("1a8o_A"))
model = load_encoder("runs/pretrain")
width: int = model.output_dim
result = model.embed([structure, "folder/"], level="both")
rows: list[str] = result.names
config, replaced = translate({"task": {}})

read_structure(1)  # wrong: arg-type
number: int = read_structure("1a8o.pdb")  # wrong: assignment
structure.position  # wrong: attr-defined
store["1a8o_A"]  # wrong: call-overload
load_encoder("a", devices="cpu")  # wrong: call-arg
model.embed("folder/", level=2)  # wrong: arg-type
model.embedd("folder/")  # wrong: attr-defined
from gearnet_plugin import load_encoders  # wrong: attr-defined
"""


@pytest.fixture(scope="module")
def mypy(tmp_path_factory):
    """Run mypy with the configuration of the repository: ``mypy(*arguments)``, lines of its output."""
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed: pip install mypy")
    cache = tmp_path_factory.mktemp("cache")

    def run(*arguments):
        command = [sys.executable, "-m", "mypy", "--config-file", CONFIG, "--cache-dir", cache, "--no-error-summary"]
        env = {**os.environ, "MYPYPATH": str(ROOT)}
        done = subprocess.run(
            [*map(str, command), *map(str, arguments)], cwd=ROOT, env=env, capture_output=True, text=True
        )
        assert done.returncode in (0, 1), done.stdout + done.stderr
        return [line for line in done.stdout.splitlines() if ": error: " in line]

    return run


def test_package_is_marked_as_typed():
    assert (ROOT / "gearnet_plugin" / "py.typed").exists()


def test_what_others_call_is_typed_without_fault(mypy):
    """What `files` of .mypy.ini names: reading structures, embedding them, translating, the commands."""
    faults = mypy()
    assert not faults, "\n".join(faults)


def test_types_are_seen_by_users(mypy, tmp_path):
    """Wrong calls are found, right ones are not: nothing of it counts as `Any`."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    expected = {}
    for number, line in enumerate(SCRIPT.splitlines(), 1):
        if "# wrong: " in line:
            expected[number] = line.rpartition("# wrong: ")[2]
    found = {}
    for line in mypy(script):
        place = re.search(r"script\.py:(\d+): .*\[([\w-]+)\]$", line)
        assert place, line
        found[int(place.group(1))] = place.group(2)
    assert found == expected
