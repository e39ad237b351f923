"""What belongs into the repository, and what is installed with the package."""
import ast
import os
import re
import runpy
import shutil
import subprocess
import sys
import warnings
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

import gearnet_plugin

ROOT = Path(__file__).resolve().parent.parent
TOP_LEVEL = {"setup.py", "README.md", "LICENSE", "gearnet_plugin", "config", "script", "test", "asset"}
# where the name of an import is not the name to install
DISTRIBUTIONS = {"PIL": "pillow", "esm": "fair-esm", "torch_cluster": "torch-cluster",
                 "torch_geometric": "torch-geometric", "torch_scatter": "torch-scatter", "yaml": "pyyaml"}
SHELL_SCRIPTS = [".ci/run", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("script/*.sh"))]


@pytest.fixture(scope="module")
def repository_files():
    """Paths, relative to the root, of what is or would be committed."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [path for path in listing.split("\0") if path and (ROOT / path).exists()]


@pytest.fixture(scope="module")
def metadata():
    """What setup.py hands to setuptools."""
    import setuptools

    calls = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", lambda **arguments: calls.append(arguments))
        runpy.run_path(str(ROOT / "setup.py"))
    return calls[0]


def names(requirements):
    """The bare, lower-case names of requirements such as ``gemmi>=0.6.5``."""
    return {re.match(r"[\w.-]+", requirement).group().lower() for requirement in requirements}


def third_party(file, everywhere=True):
    """Distributions that a Python file imports: at its top only, or in its functions too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # escape sequences in TorchDrug's docstrings
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    imports = []
    todo = [tree]
    while todo:
        node = todo.pop()
        imports += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        imports += [node.module] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
        if everywhere or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            todo += ast.iter_child_nodes(node)
    modules = {name.split(".")[0] for name in imports} - set(sys.stdlib_module_names)
    siblings = {path.stem for folder in ("script", "test") for path in (ROOT / folder).rglob("*.py")}
    return {DISTRIBUTIONS.get(name, name) for name in modules - siblings - {"gearnet_plugin", "torchdrug"}}


def imported_below(*folders, everywhere=True):
    """{distribution: files that import it} of all Python files below some folders."""
    found = {}
    for folder in folders:
        for file in sorted(Path(folder).rglob("*.py")):
            for name in third_party(file, everywhere):
                found.setdefault(name.lower(), []).append(str(file))
    return found


def test_top_level_holds_only_what_it_may(repository_files):
    visible = {path.split("/")[0] for path in repository_files if not path.startswith(".")}
    assert visible <= TOP_LEVEL, "does not belong into the root: %s" % sorted(visible - TOP_LEVEL)


def test_version_is_that_of_the_package(metadata):
    assert metadata["version"] == gearnet_plugin.__version__


def test_torchdrug_and_compiled_packages_are_never_required(metadata):
    never = {"torchdrug", "torch-scatter", "torch-cluster", "rdkit-pypi"}
    assert not names(metadata["install_requires"]) & never


def test_what_torchdrug_imports_is_required(metadata):
    imports = imported_below(*find_spec("torchdrug").submodule_search_locations)
    stood_in = {"torch-scatter", "torch-cluster"}
    optional = {"wandb"}  # only its WandbLogger, which one has to ask for
    missing = set(imports) - names(metadata["install_requires"]) - stood_in - optional
    assert not missing, {name: imports[name] for name in missing}


def test_what_the_package_imports_at_its_top_is_required(metadata):
    imports = imported_below(ROOT / "gearnet_plugin", everywhere=False)
    missing = set(imports) - names(metadata["install_requires"])
    assert not missing, {name: imports[name] for name in missing}


def test_what_is_imported_anywhere_is_required_or_in_an_extra(metadata):
    extras = metadata["extras_require"]
    imports = imported_below(ROOT / "gearnet_plugin", ROOT / "script")
    missing = set(imports) - names(metadata["install_requires"]).union(*map(names, extras.values()))
    assert not missing, {name: imports[name] for name in missing}


def test_nothing_is_required_that_nobody_imports(metadata):
    host = find_spec("torchdrug").submodule_search_locations
    imports = imported_below(*host, ROOT / "gearnet_plugin", ROOT / "script")
    # setuptools stands behind torch.utils.cpp_extension, which TorchDrug imports
    assert names(metadata["install_requires"]) - set(imports) <= {"setuptools"}


def test_no_file_names_a_machine_or_a_registry(repository_files):
    absolute = re.compile(r"(?<![\w./~-])/(?:work|tmp|root|opt|home)/")
    hosts = re.compile(r"(?:pypi|pythonhosted|npmjs|deb\.debian|download\.pytorch)\.(?:org|com)")
    found = []
    for path in repository_files:
        try:
            text = (ROOT / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # compressed data
        for number, line in enumerate(text.splitlines(), 1):
            if absolute.search(line) or hosts.search(line):
                found.append("%s:%d: %s" % (path, number, line.strip()))
    assert not found, "\n".join(found)


def test_package_data_stays_small(repository_files):
    package = [ROOT / path for path in repository_files if path.startswith("gearnet_plugin/")]
    assert sum(path.stat().st_size for path in package if path.suffix != ".py") < 15e6


def test_wheel_holds_every_file_of_the_package(repository_files, tmp_path):
    for path in repository_files:
        copy = tmp_path / "source" / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, copy)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    result = subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(tmp_path / "source")],
                            capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
        (command,) = (name for name in packed if name.endswith(".data/scripts/gearnet"))
        assert wheel.read(command).startswith(b"#!python")
    assert packed - {command} == {path for path in repository_files if path.startswith("gearnet_plugin/")}


def test_pytest_reads_the_settings_of_the_root(pytestconfig):
    assert pytestconfig.inipath == ROOT / ".pytest.ini"
    assert any(marker.startswith("slow:") for marker in pytestconfig.getini("markers"))


@pytest.mark.parametrize("path", [".pre-commit-config.yaml", ".github/workflows/test.yml"])
def test_settings_of_services_are_yaml(path):
    assert isinstance(yaml.safe_load((ROOT / path).read_text(encoding="utf-8")), dict)


@pytest.mark.parametrize("path", SHELL_SCRIPTS)
def test_shell_script_is_sound(path):
    assert (ROOT / path).read_text(encoding="utf-8").startswith("#!/usr/bin/env bash\n")
    subprocess.run(["bash", "-n", str(ROOT / path)], check=True)


def test_continuous_integration_runs_what_everybody_runs():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert "bash script/test.sh" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "bash .ci/run" in (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
