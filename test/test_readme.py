"""The README says what is there: files, names, options and commands."""
import os
import re
import subprocess

import pytest

from conftest import ROOT
from torchdrug.core import Registry

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


def test_options_of_prepare():
    """The same for `gearnet prepare`."""
    from gearnet_plugin.cli.prepare import prepare
    offered = {option for parameter in prepare.params for option in parameter.opts if option.startswith("--")}
    table = README.split("| option of `prepare` |")[1].split("\n\n")[0]
    assert set(re.findall(r"(?<![\w-])--[a-z]+[a-z-]*", table)) == offered - {"--out"}


@pytest.mark.parametrize("command", re.findall(r"^gearnet (\w+ .*?)(?: *#.*)?$", README, re.MULTILINE))
def test_gearnet_commands(command, python, tmp_path):
    """The gearnet commands of the README run, one after the other, on a folder of structures."""
    from gearnet_plugin.structures import bundled
    from gearnet_plugin.structures.prepare import prepare

    os.symlink(bundled.bundled_path(), tmp_path / "my_structures")
    if not command.startswith("prepare"):
        prepare([bundled.bundled_path()], tmp_path / "my.store", workers=1, verbose=0)
    python(os.path.join(ROOT, "script", "gearnet"), *command.split(), cwd=tmp_path)
    assert (tmp_path / "my.store" / "manifest.json").exists()


def test_paths_in_commands_exist():
    """Scripts and configurations in the commands exist."""
    for path in re.findall(r"(?:script|config)/[\w/.]+\.(?:py|sh|yaml)", README):
        assert os.path.exists(os.path.join(ROOT, path)), path


@pytest.mark.parametrize("command", re.findall(r"^python script/run\.py .*$", README, re.MULTILINE))
def test_run_commands(command, python, tmp_path):
    """The run.py commands of the README pass a dry run."""
    words = command.split()[2:]
    words = [w for w in words if not w.startswith("[") and w != "--gpus"]
    if "--ckpt" in words:
        words[words.index("--ckpt") + 1] = "null"
    if "--table" in words:
        words[words.index("--table") + 1] = str(tmp_path / "my_table.csv")
        (tmp_path / "my_table.csv").write_text("structure,split,fold\n" + "".join(
            f"{split}.pdb,{split},a\n" for split in ("train", "valid", "test")))
    done = python(os.path.join(ROOT, "script", "run.py"), *words, "--dry-run", cwd=ROOT)
    assert "dry run" in done.stdout


def test_own_structures(tmp_path, python):
    """The three lines for one's own structures run as they stand, on a run folder and a folder of structures."""
    import torch
    import yaml

    from gearnet_plugin.models import GearNetEncoder
    from gearnet_plugin.structures import bundled
    from proteins import construction

    run = tmp_path / "runs" / "quickstart" / "pretrain"
    os.makedirs(run)
    encoder = GearNetEncoder(21, [16], 7, edge_input_dim=59, num_angle_bin=8)
    torch.save(encoder.state_dict(), run / "encoder.pth")
    with open(run / "encoder.yaml", "w") as file:
        yaml.safe_dump({"encoder": encoder.config_dict(), "gearnet_plugin": "0.1.0",
                        "graph_construction_model": construction().config_dict()}, file)
    os.makedirs(tmp_path / "my_structures")
    for path in [p for p in bundled.bundled_structures() if str(p).endswith(".cif.gz")][:2]:
        os.symlink(path, tmp_path / "my_structures" / os.path.basename(path))
    code = re.search(r"```python\n(import gearnet_plugin\n.*?)```", README, re.DOTALL).group(1)
    code += "\nassert embeddings.protein.shape == (2, 16) and len(embeddings.names) == len(embeddings.residue) == 2\n"
    code += "assert embeddings.drops == []\n"
    python("-c", code, cwd=tmp_path)
    assert (tmp_path / "embeddings.npz").stat().st_size > 0


def test_measured_numbers_are_those_of_the_report():
    """The table is what `script/benchmark.py readme` makes of what was measured last."""
    import json
    import sys

    sys.path.insert(0, os.path.join(ROOT, "script"))
    from benchmark import with_table

    with open(os.path.join(ROOT, "asset", "benchmark", "data.json"), encoding="utf-8") as file:
        report = json.load(file)
    assert with_table(README, report) == README
    assert "compiled" in report["stock"] and not report["machine"]["changed"]


def test_no_unfinished_text():
    """No placeholder is left."""
    assert "{{QUICKSTART}}" not in README and "{{FILES}}" not in README
    assert subprocess.run(["bash", "-n", os.path.join(ROOT, "script", "quickstart.sh")], check=False).returncode == 0
