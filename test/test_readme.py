"""The README says what is there: files, names, options and commands."""
import os
import re
import shlex
import subprocess
import sys

import pytest

from conftest import ROOT
from encoder_runs import finetuned_run, untrained_run
from gearnet_plugin.cli import gearnet
from gearnet_plugin.cli import main as run_gearnet
from gearnet_plugin.engine.command import main as run_py
from gearnet_plugin.structures import bundled
from torchdrug.core import Registry

sys.path.insert(0, os.path.join(ROOT, "script"))
from quickstart import plan

with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as stream:
    README = stream.read()


def listed():
    """Paths in the table of files."""
    table = README.split("## Files")[1].split("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)


def sources():
    """What the table of files should hold: modules, scripts and configurations; tests and data by folder."""
    found = set()
    for top in ("gearnet_plugin", "script", "config"):
        for folder, _, names in os.walk(os.path.join(ROOT, top)):
            if "__pycache__" in folder or folder.endswith("data"):
                continue
            found |= {os.path.relpath(os.path.join(folder, name), ROOT) for name in names
                      if name.endswith((".py", ".sh", ".yaml")) and name != "__init__.py"}
    return found


def test_file_list_is_complete():
    """Every module, script and configuration is listed, alone or by its folder, and everything listed exists."""
    folders = tuple(path for path in listed() if path.endswith("/"))
    missing = {path for path in sources() - set(listed()) if not path.startswith(folders or "/")}
    assert not missing, "not in the README: %s" % sorted(missing)
    gone = [path for path in listed() if not os.path.exists(os.path.join(ROOT, path))]
    assert not gone, "in the README but not in the tree: %s" % gone


def test_registered_names():
    """The names in the table of classes are registered, and none of ours is left out."""
    names = set(re.findall(r"^\| `((?:models|layers|tasks|datasets|transforms)\.\w+)` \|", README, re.MULTILINE))
    ours = {key for key, value in Registry.table.flatten().items()
            if value.__module__.startswith("gearnet_plugin") and "compat" not in value.__module__}
    assert names == ours


def test_options(python):
    """Every option of run.py is in the README, and every option in the README exists."""
    text = python(os.path.join(ROOT, "script", "run.py"), "--help").stdout
    offered = set(re.findall(r"(?<![\w-])--[a-z]+[a-z-]*", text)) - {"--help", "--config"}
    table = README.split("| option |")[1].split("\n\n")[0]
    described = set(re.findall(r"(?<![\w-])--[a-z]+[a-z-]*", table)) - {"--ckpt"}
    assert described == offered


TABLES = re.findall(r"^\| option of (`\w+`.*?) \|", README, re.MULTILINE)
COMMANDS = re.findall(r"^gearnet (\w+.*?)(?: *#.*)?$", README, re.MULTILINE)


@pytest.mark.parametrize("header", TABLES)
def test_options_of_commands(header):
    """The same for commands of `gearnet`, alone or together; what has to be given stands in the examples."""
    described = re.findall(r"(?<![\w-])--[a-z]+[a-z-]*", README.split("| option of %s |" % header)[1].split("\n\n")[0])
    offered, given = set(), {"--out"}
    for name in re.findall(r"`(\w+)`", header):
        for part in gearnet.commands[name].params:
            names = {option for option in part.opts if option.startswith("--")}
            offered |= names
            given |= names if part.required else set()
    assert set(described) == offered - given


def test_commands_and_their_options_are_told():
    assert "`prepare`" in TABLES and {command.split()[0] for command in COMMANDS} >= {"prepare", "doctor"}


@pytest.fixture(scope="module")
def finetuned(tmp_path_factory):
    return finetuned_run(tmp_path_factory.mktemp("finetuned") / "run")


@pytest.mark.parametrize("command", COMMANDS)
def test_gearnet_commands(command, python, tmp_path, finetuned, monkeypatch, capfd):
    """
    The gearnet commands of the README run on a folder of structures, with small encoders in place of the
    quickstart's runs, and make the file that they name.
    """
    from gearnet_plugin.structures.prepare import prepare

    os.symlink(bundled.bundled_path(), tmp_path / "my_structures")
    os.makedirs(tmp_path / "runs" / "quickstart")
    for step in plan(tmp_path, tmp_path, [], 3):
        os.symlink(finetuned, tmp_path / "runs" / "quickstart" / step.name)
    words = shlex.split(command)
    if words[0] == "prepare":
        python(os.path.join(ROOT, "script", "gearnet"), *words, cwd=tmp_path)
        assert (tmp_path / "my.store" / "manifest.json").exists()
        return
    if "my.store" in words:
        prepare([bundled.bundled_path()], tmp_path / "my.store", workers=1, verbose=0)
    monkeypatch.chdir(tmp_path)
    assert run_gearnet(words) == 0, capfd.readouterr()
    for option, path in zip(words, words[1:]):
        if option in ("-o", "--out", "--picture"):
            assert (tmp_path / path).stat().st_size > 0


def test_paths_in_commands_exist():
    """Scripts and configurations in the commands exist."""
    for path in re.findall(r"(?:script|config)/[\w/.]+\.(?:py|sh|yaml)", README):
        assert os.path.exists(os.path.join(ROOT, path)), path


@pytest.mark.parametrize("command", re.findall(r"^python script/run\.py .*$", README, re.MULTILINE))
def test_run_commands(command, tmp_path, monkeypatch, capfd):
    """The run.py commands of the README pass a dry run."""
    words = command.split()[2:]
    words = [w for w in words if not w.startswith("[") and w != "--gpus"]
    if "--ckpt" in words:
        words[words.index("--ckpt") + 1] = "null"
    if "--table" in words:
        words[words.index("--table") + 1] = str(tmp_path / "my_table.csv")
        (tmp_path / "my_table.csv").write_text("structure,split,fold\n" + "".join(
            f"{split}.pdb,{split},a\n" for split in ("train", "valid", "test")))
    monkeypatch.chdir(ROOT)
    assert run_py([*words, "--dry-run"]) == 0, capfd.readouterr()
    assert "dry run" in capfd.readouterr().out


def test_own_structures(tmp_path, python):
    """The three lines for one's own structures run as they stand, on a run folder and a folder of structures."""
    untrained_run(tmp_path / "runs" / "quickstart" / "pretrain")
    os.makedirs(tmp_path / "my_structures")
    for path in [p for p in bundled.bundled_structures() if str(p).endswith(".cif.gz")][:2]:
        os.symlink(path, tmp_path / "my_structures" / os.path.basename(path))
    code = re.search(r"```python\n(import gearnet_plugin\n.*?)```", README, re.DOTALL).group(1)
    code += "\nassert embeddings.protein.shape == (2, 32) and len(embeddings.names) == len(embeddings.residue) == 2\n"
    code += "assert embeddings.drops == []\n"
    python("-c", code, cwd=tmp_path)
    assert (tmp_path / "embeddings.npz").stat().st_size > 0


def test_measured_numbers_are_those_of_the_report():
    """The table is what `script/benchmark.py readme` makes of what was measured last."""
    import json

    from benchmark import with_table

    with open(os.path.join(ROOT, "asset", "benchmark", "data.json"), encoding="utf-8") as file:
        report = json.load(file)
    assert with_table(README, report) == README
    assert "compiled" in report["stock"] and not report["machine"]["changed"]


def test_no_unfinished_text():
    """No placeholder is left."""
    assert "{{QUICKSTART}}" not in README and "{{FILES}}" not in README
    assert subprocess.run(["bash", "-n", os.path.join(ROOT, "script", "quickstart.sh")], check=False).returncode == 0
