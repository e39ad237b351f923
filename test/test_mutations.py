"""
Damaged files never do more than be refused: the reader gives a sound Structure or raises a ValueError.

The files are made from seeds and read in another process, so that a crash or a hang, in C code as well, is told with
its seed. ``python test/read_mutants.py SEED 1 FOLDER`` repeats one.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import mutants
import read_mutants
from gearnet_plugin.structures import read_structure
from hard_files import CRAFTED
from structure_text import atom, cif_text, write

PROGRAM = Path(read_mutants.__file__)


def outcomes(first, count, folder):
    """How reading went for each of the seeds ``first`` to ``first + count - 1``, what ended the process included."""
    rows, end = [], first + count
    while first < end:
        command = [sys.executable, str(PROGRAM), str(first), str(end - first), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        begun, ended = lines[::2], lines[1::2]
        if len(begun) > len(ended):
            stack = " ".join(done.stderr.split())
            ended.append({"result": "wrong", "reason": f"exit code {done.returncode}: {stack}", "seconds": None})
        elif done.returncode != 0 or not begun:
            raise RuntimeError(f"exit code {done.returncode}\n{done.stderr}")
        rows += [{**a, **b} for a, b in zip(begun, ended, strict=True)]
        first = rows[-1]["seed"] + 1
    assert len(rows) == count
    return rows


def wrong(rows):
    return {row["seed"]: (row["done"], row["reason"]) for row in rows if row["result"] == "wrong"}


def share(rows, result):
    return sum(row["result"] == result for row in rows) / len(rows)


def test_a_process_that_dies_is_told_with_its_seed(tmp_path, monkeypatch):
    program = """
import json, os, sys
for seed in range(int(sys.argv[1]), int(sys.argv[1]) + int(sys.argv[2])):
    print(json.dumps({"seed": seed, "done": []}), flush=True)
    seed == 3 and os.abort()
    print(json.dumps({"result": "read", "reason": ""}), flush=True)
"""
    monkeypatch.setattr("test_mutations.PROGRAM", write(tmp_path / "program.py", program))
    rows = outcomes(1, 4, tmp_path)
    assert [row["seed"] for row in rows] == [1, 2, 3, 4] and list(wrong(rows)) == [3]


def test_200_mutants(tmp_path):
    rows = outcomes(0, 200, tmp_path)
    assert wrong(rows) == {}
    assert min(share(rows, "read"), share(rows, "refused")) > 0.1, "both outcomes occur, so the test says something"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_5000_mutants(tmp_path):
    rows = outcomes(0, 5000, tmp_path)
    assert wrong(rows) == {}
    assert min(share(rows, "read"), share(rows, "refused")) > 0.2
    # Damage after which nothing is ever read would hide what the reader does with the rest.
    readable = {kind for row in rows if row["result"] == "read" for kind in row["done"]}
    unreadable = {"nothing", "gzip_of_gzip", "gzip_truncated", "other_compression"}
    assert {change.__name__ for change in mutants.MUTATIONS} - readable <= unreadable


needs_formats = pytest.mark.skipif(
    None in map(find_spec, ("biotite", "foldcomp", "h5py")), reason="what reads the binary formats is not installed"
)


@needs_formats
def test_200_binary_mutants(tmp_path):
    rows = outcomes(read_mutants.BINARY, 200, tmp_path)
    assert wrong(rows) == {}
    assert min(share(rows, "read"), share(rows, "refused")) > 0.1


@pytest.mark.slow
@needs_formats
def test_5000_binary_mutants(tmp_path):
    rows = outcomes(read_mutants.BINARY, 5000, tmp_path)
    assert wrong(rows) == {}
    assert min(share(rows, "read"), share(rows, "refused")) > 0.1


@pytest.fixture(scope="module")
def crafted_rows(tmp_path_factory):
    names = list(CRAFTED)
    rows = outcomes(-len(names), len(names), tmp_path_factory.mktemp("crafted"))
    return dict(zip(names, rows, strict=True))


@pytest.mark.parametrize("name", CRAFTED)
def test_time_and_memory_follow_the_size(crafted_rows, name):
    """Files of a few megabytes at most, each read or refused within 5 s and 2 GB."""
    assert crafted_rows[name]["result"] in ("read", "refused"), crafted_rows[name]["reason"]


def test_rescaled_confidence_is_finite(tmp_path):
    atoms = [atom("CA", number=1, b=0.5), atom("CA", number=2, b=-1e38)]
    file = write(tmp_path / "x.cif", cif_text(atoms, "_struct.title 'ALPHAFOLD MODEL'"))
    assert np.isfinite(read_structure(file).confidence).all()
