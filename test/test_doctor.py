"""``gearnet doctor`` without a path: what it finds on machines that are well, lack something or are broken."""

import importlib.metadata
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import setuptools

from gearnet_plugin.cli import doctor_environment as environment
from gearnet_plugin.cli import doctor_machine as machine
from gearnet_plugin.cli import main
from gearnet_plugin.cli.doctor_probe import MARK, OPTIONAL
from gearnet_plugin.embedding import weight_folder

ROOT = Path(__file__).resolve().parent.parent
TORCHDRUG = "pip install --no-deps --ignore-requires-python torchdrug==0.2.1"
# what makes a package look as if it had never been installed
BLOCK = """
import os, sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == os.environ.get("BLOCKED"):
            raise ModuleNotFoundError("No module named '%s'" % name, name=name)
sys.meta_path.insert(0, Block())
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Exit code, output and errors of doctor on three machines at once: whole, without TorchDrug, torch broken."""
    without, broken = tmp_path_factory.mktemp("without"), tmp_path_factory.mktemp("broken")
    (without / "sitecustomize.py").write_text(BLOCK)
    (broken / "torch").mkdir()
    (broken / "torch" / "__init__.py").write_text("import os, sys\nsys.stderr.write('no such chip\\n')\nos.abort()\n")
    started = {}
    for name, command, folder in (
        ("whole", ["script/gearnet"], None),
        ("without", ["-m", "gearnet_plugin"], without),
        ("broken", ["script/gearnet"], broken),
    ):
        path = os.pathsep.join(filter(None, [folder and str(folder), str(ROOT)]))
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, "BLOCKED": "torchdrug"}
        env.pop("GEARNET_PLUGIN_LIGHT", None)
        started[name] = subprocess.Popen(
            [sys.executable, *command, "doctor"], cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip
    ended = {name: process.communicate(timeout=300) for name, process in started.items()}
    return {name: (process.returncode, *ended[name]) for name, process in started.items()}


def test_everything_works_here(told):
    code, out, _ = told["whole"]
    assert code == 0, out
    assert "everything needed works" in out and "BROKEN" not in out
    for title in environment.STEPS.values():
        assert title == environment.STEPS["gpu"] or f"ok     {title}: " in out, title
    assert f"torch {importlib.metadata.version('torch')}" in out
    agreement = float(re.search(r"outputs and gradients agree to (\S+) of", out).group(1))
    assert agreement < 1e-4


def test_missing_torchdrug_is_no_crash(told):
    code, out, err = told["without"]
    assert code == 1 and "Traceback" not in err, err
    assert "BROKEN torchdrug is not installed" in out and "BROKEN import TorchDrug: failed" in out
    assert out.rstrip().endswith(f"again:\n  {TORCHDRUG}")
    # what needs no torch is tried all the same
    assert "ok     read a bundled structure" in out and "not tried after that: register this package" in out


def test_torch_that_ends_the_process_is_survived(told):
    code, out, err = told["broken"]
    assert code == 1 and "Traceback" not in err, err
    assert "BROKEN import torch: failed, the process was ended by SIGABRT: no such chip" in out
    assert "mend: pip install --force-reinstall torch" in out


def start(code):
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_probe_that_hangs_or_says_nothing_is_a_finding():
    begun = f'print({MARK!r} + \'{{"step": "a", "state": "begun"}}\', flush=True)'
    hangs = environment.finish(start(f"{begun}; import time; time.sleep(60)"), patience=1)
    assert hangs["a"]["state"] == "failed" and "did not end within 1 s" in hangs["a"]["text"]
    nothing = environment.finish(start("import sys; sys.exit('no room')"))
    assert nothing["start"]["text"] == "the process ended with code 1: no room"
    assert [finding.state for finding in environment.self_test(start("pass"))] == [environment.BROKEN]


def test_lists_are_those_of_setup(monkeypatch):
    calls = []
    monkeypatch.setattr(setuptools, "setup", lambda **arguments: calls.append(arguments))
    runpy.run_path(str(ROOT / "setup.py"))
    needed = {re.match(r"[\w-]+", line).group(): line.partition(">=")[2] for line in calls[0]["install_requires"]}
    known = dict({**environment.NEEDED, **environment.OF_TORCHDRUG}.values())
    assert known == {**needed, "torchdrug": ""}
    for extra, (modules, _) in environment.EXTRAS.items():
        wanted = {re.match(r"[\w-]+", line).group() for line in calls[0]["extras_require"][extra]}
        assert {module.replace("_", "-") for module in modules} == wanted
    assert set(environment.EXTRAS) | {"test"} == set(calls[0]["extras_require"])
    assert {module for modules, _ in environment.EXTRAS.values() for module in modules} == set(OPTIONAL)


def test_old_versions_are_to_be_upgraded(monkeypatch):
    monkeypatch.setattr(environment, "installed_version", lambda module, name: "0.6.4" if name == "gemmi" else "99")
    found = [finding for finding in environment.needed() if finding.state == environment.BROKEN]
    assert [finding.mend for finding in found] == ['pip install --upgrade "gemmi>=0.6.5"']
    assert environment.as_numbers("2.10.1+cu126") > environment.as_numbers("2.9")


def torch_facts(**changes):
    facts = {"cuda": "12.8", "hip": None, "gpus": [], "architectures": ["sm_80", "sm_90"], "why": "", "mps": False}
    return {**facts, **changes}


GPU = {"name": "H200", "memory": 140 << 30, "capability": [9, 0]}
DRIVER = {"names": ["H200"], "version": "550.54", "cuda": (12, 4), "error": ""}
INDEX = "pip install --force-reinstall torch --index-url <that of "


@pytest.mark.parametrize(
    ("facts", "driver", "state", "words", "mend"),
    [
        ({"gpus": [GPU]}, DRIVER, "ok", "H200, 140.0 GiB, compute capability 9.0; torch for CUDA 12.8", ""),
        ({"gpus": [GPU], "architectures": ["sm_70"]}, DRIVER, "BROKEN", "no code for it", INDEX + "cu124"),
        ({"cuda": None}, DRIVER, "--", "but torch is a build for the CPU alone", INDEX + "cu124"),
        ({"cuda": "13.0"}, DRIVER, "--", "it goes up to CUDA 12.4, torch was built for 13.0", INDEX + "cu124"),
        ({"why": "busy"}, {**DRIVER, "cuda": (13, 0)}, "--", "torch cannot use it: busy", ""),
        ({}, {**DRIVER, "error": "nvidia-smi: mismatch"}, "--", "does not work", "install the driver anew"),
        ({"cuda": None}, {**DRIVER, "cuda": (10, 2)}, "--", "a build for the CPU", "update the NVIDIA driver"),
    ],
)
def test_gpu_in_words(monkeypatch, facts, driver, state, words, mend):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    [(found_state, found_words, found_mend)] = machine.gpus(torch_facts(**facts), driver)
    assert found_state == state and words in found_words and mend in found_mend
    assert bool(found_mend) == bool(mend)


def test_no_driver_is_no_fault(monkeypatch):
    monkeypatch.setattr(machine, "driver", lambda: None)
    [(state, words, mend)] = machine.gpus(torch_facts(cuda=None))
    assert state == "ok" and "computes on the CPU" in words and not mend


def test_code_for_a_gpu():
    """CUDA's rule: binary code runs within its major version upwards, intermediate code anywhere upwards."""
    assert machine.has_kernels(["sm_80"], 8, 6) and not machine.has_kernels(["sm_86"], 8, 0)
    assert not machine.has_kernels(["sm_80"], 9, 0) and machine.has_kernels(["compute_80"], 9, 0)
    assert machine.has_kernels(["sm_90a"], 9, 0) and machine.has_kernels(["sm_120"], 12, 0)


def test_bf16_in_words():
    assert "AMX" in machine.bf16({"amx_bf16", "avx2"}) and "saves time" in machine.bf16({"avx512_bf16"})
    assert "not in hardware" in machine.bf16({"avx2"}) and "not known" in machine.bf16(set())


def test_folder_of_weights_is_that_of_load_encoder(monkeypatch, tmp_path):
    for name, value in (("GEARNET_PLUGIN_WEIGHTS", tmp_path), ("XDG_CACHE_HOME", tmp_path / "cache"), (None, None)):
        monkeypatch.delenv("GEARNET_PLUGIN_WEIGHTS", raising=False)
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        if name:
            monkeypatch.setenv(name, str(value))
        assert machine.cache_folder() == os.fspath(weight_folder.folder())


def test_little_shared_memory_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "SHARED", 1 << 60)
    monkeypatch.setattr(machine, "ROOM", 1 << 60)
    monkeypatch.setenv("GEARNET_PLUGIN_WEIGHTS", str(tmp_path / "not" / "there"))
    mends = " ".join(finding.mend for finding in machine.examine() if finding.state == environment.NOTE)
    assert "--shm-size" in mends and "GEARNET_PLUGIN_WEIGHTS" in mends


def test_options_are_about_a_path(capsys):
    assert main(["doctor", "--quick"]) == 2
    assert "there is none" in capsys.readouterr().err


def test_a_path_that_is_not_there_has_its_neighbours_named(tmp_path, capsys, monkeypatch):
    (tmp_path / "structures").mkdir()
    assert main(["doctor", str(tmp_path / "structure")]) == 1
    told = capsys.readouterr().err
    assert f"Did you mean `{tmp_path / 'structures'}`?" in told and "Doctor knows structure files" in told
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEARNET_PLUGIN_WEIGHTS", str(tmp_path))
    assert main(["doctor", "mc_gearnet_edge"]) == 1
    assert "the published weights `mc_gearnet_edge`" in capsys.readouterr().err


def test_a_link_to_nothing_is_told_as_such(tmp_path, capsys):
    (tmp_path / "a.pdb").symlink_to(tmp_path / "gone.pdb")
    assert main(["doctor", str(tmp_path / "a.pdb")]) == 1
    assert f"`{tmp_path / 'a.pdb'}` is a link to `{tmp_path / 'gone.pdb'}`, which is not" in capsys.readouterr().err


def test_what_doctor_does_not_know_is_told_with_what_it_knows(tmp_path, capsys):
    (tmp_path / "notes.md").write_text("# Notes\n")
    assert main(["doctor", str(tmp_path / "notes.md")]) == 1
    assert "of no known kind; doctor knows structure files" in capsys.readouterr().err
    assert main(["doctor", str(tmp_path)]) == 1
    assert "holds no structure" in capsys.readouterr().err
    assert main(["doctor", str(tmp_path), "--picture", "a.png"]) == 1
