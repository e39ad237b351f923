"""What script/setup.sh does: a stand-in for Python records the calls of pip, so nothing is installed."""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Makes environments that hold a copy of itself, writes down what pip is asked for, fails at what $FAIL_AT
# names, and leaves the rest to Python.
PYTHON = """
case "$*" in
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    "-m pip "*) shift 2; echo "$*" >>"$CALLS"; [ -z "$FAIL_AT" ] || [[ "$*" != *"$FAIL_AT"* ]] ;;
    "-") cat >/dev/null; [ -z "$CHECK_FAILS" ] ;;
    *_base_executable*) echo "$0" ;;
    *importlib.metadata*) echo "torch==2.13.0+cpu" ;;
    *) exec "%s" "$@" ;;
esac
"""


def program(path, text):
    """Write a shell script that can be called."""
    path.write_text("#!/usr/bin/env bash\n" + text, encoding="utf-8")
    path.chmod(0o755)
    return path


class Checkout:
    """As much of the repository as set-up looks at, at a path with a space."""

    def __init__(self, folder):
        self.root = folder / "a checkout"
        self.calls_file = folder / "calls"
        for path in ("setup.py", "script/setup.sh", "script/constraints.txt", "gearnet_plugin/__init__.py"):
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, self.root / path)
        self.python = program(folder / "python", PYTHON % sys.executable)

    @property
    def venv(self):
        return self.root / ".venv"

    def run(self, **variables):
        """Run set-up from another folder; return its exit code, its output and what pip was asked for."""
        self.calls_file.write_text("")
        environment = {name: value for name, value in os.environ.items() if name != "TORCH_SPEC"}
        environment.update(PYTHON=str(self.python), CALLS=str(self.calls_file), FAIL_AT="",
                           CHECK_FAILS="")
        environment.update(variables)
        result = subprocess.run(["bash", str(self.root / "script" / "setup.sh")], cwd=self.root.parent,
                                env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return result.returncode, result.stdout, self.calls_file.read_text().splitlines()


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


def test_installs_torch_then_the_package_then_torchdrug(checkout):
    code, output, calls = checkout.run()
    assert code == 0, output
    assert all("--no-warn-conflicts" in call for call in calls)
    _, torch, package, torchdrug = calls
    assert torch.endswith("-c %s/script/constraints.txt torch" % checkout.root)
    assert "-c %s/constraints.txt" % checkout.venv in package
    assert package.endswith("--no-build-isolation --use-pep517 -e .[test]")
    assert torchdrug.endswith("--no-deps --ignore-requires-python torchdrug==0.2.1")


def test_torch_stays_what_was_installed(checkout):
    checkout.run(TORCH_SPEC="torch")
    constraints = (checkout.venv / "constraints.txt").read_text().splitlines()
    assert [line for line in constraints if line.startswith("torch")] == ["torch==2.13.0+cpu"]


def test_second_run_finds_nothing_to_do(checkout):
    checkout.run()
    code, output, calls = checkout.run()
    assert (code, calls) == (0, [])
    assert "nothing to do" in output
    # and neither does one that lets the script choose the Python
    assert checkout.run(PYTHON="")[2] == []


@pytest.mark.parametrize("path", ["setup.py", "script/constraints.txt"])
def test_change_of_requirements_is_installed_in_place(checkout, path):
    checkout.run()
    (checkout.venv / "mark").touch()
    with open(checkout.root / path, "a") as file:
        file.write("\n# changed\n")
    code, output, calls = checkout.run()
    assert (code, len(calls)) == (0, 4)
    assert "have changed" in output
    assert (checkout.venv / "mark").exists()


@pytest.mark.parametrize("fail_at", ["setuptools", "constraints.txt torch", "-e .", "torchdrug"])
def test_interrupted_run_is_started_again_from_nothing(checkout, fail_at):
    code, output, _ = checkout.run(FAIL_AT=fail_at)
    assert code == 1
    assert re.search(r'stopped at ".+" \(exit code 1\)', output)
    assert "check the network" in output
    (checkout.venv / "half a package").touch()
    code, output, calls = checkout.run()
    assert (code, len(calls)) == (0, 4)
    assert "starting again" in output
    assert not (checkout.venv / "half a package").exists()


def test_set_up_that_cannot_be_imported_is_not_finished(checkout):
    """The next run starts again instead of finding nothing to do."""
    code, output, _ = checkout.run(CHECK_FAILS="1")
    assert code == 2 and "installed, but the package cannot be imported" in output
    code, output, calls = checkout.run()
    assert code == 0 and "nothing to do" not in output and len(calls) == 4


def test_other_folders_for_cd_do_not_matter(checkout):
    """An exported CDPATH neither leads elsewhere nor prints into the path."""
    code, output, _ = checkout.run(CDPATH="%s:." % ROOT)
    assert code == 0 and str(ROOT / ".venv") not in output, output


def test_other_torch_is_kept_for_later_runs(checkout):
    spec = "torch==2.11.0 --index-url https://wheels.example/cpu"
    assert checkout.run(TORCH_SPEC=spec)[2][1].endswith("-qq " + spec)
    assert checkout.run()[2] == []
    # also where an update was interrupted and all is installed again
    (checkout.root / "setup.py").write_text("# changed")
    assert checkout.run(FAIL_AT="-e .")[0] == 1
    assert checkout.run()[2][1].endswith("-qq " + spec)
    # another one needs a new environment
    code, output, calls = checkout.run(TORCH_SPEC="torch==2.12.0")
    assert "starting again" in output
    assert calls[1].endswith("-qq torch==2.12.0")


def test_torch_that_cannot_be_installed_is_forgotten(checkout):
    assert checkout.run(TORCH_SPEC="torch==99", FAIL_AT="torch==99")[0] == 1
    code, output, calls = checkout.run()
    assert code == 0
    assert calls[1].endswith("constraints.txt torch")


def test_moved_checkout_is_set_up_again(checkout):
    checkout.run()
    checkout.root = checkout.root.rename(checkout.root.parent / "elsewhere")
    code, output, calls = checkout.run()
    assert (code, len(calls)) == (0, 4)
    assert "for another place" in output


def test_second_set_up_at_the_same_time_is_refused(checkout):
    checkout.run()
    running = program(checkout.root.parent / "setup.sh", "read -r\n")
    with subprocess.Popen(["bash", str(running)], stdin=subprocess.PIPE) as other:
        (checkout.venv / "gearnet-setup").write_text("status=unfinished\nprocess=%d\n" % other.pid)
        code, output, calls = checkout.run()
        other.communicate(b"\n")
    assert (code, calls) == (2, [])
    assert "another set-up of %s is running" % checkout.root in output


def test_python_that_is_not_there_is_named(checkout):
    code, output, _ = checkout.run(PYTHON="no-such-python")
    assert code == 2
    assert "PYTHON=no-such-python is not found" in output
    assert not checkout.venv.exists()


def test_python_that_is_too_old_is_named(checkout):
    old = program(checkout.root / "old", '[ "$1" = --version ] && echo "Python 3.9.1"\n')
    code, output, _ = checkout.run(PYTHON=str(old))
    assert code == 2
    assert re.search(r"of 3\.10 or newer; it says:\n.*Python 3\.9\.1", output)
    assert not checkout.venv.exists()


def test_missing_venv_module_says_what_to_install(checkout):
    (checkout.root / "broken").mkdir()
    (checkout.root / "broken" / "ensurepip.py").write_text("raise ImportError")
    code, output, _ = checkout.run(PYTHON=sys.executable, PYTHONPATH=str(checkout.root / "broken"))
    assert code == 2
    assert "apt-get install python3-venv" in output
    assert not checkout.venv.exists()


def test_environment_of_somebody_else_is_left_alone(checkout):
    checkout.venv.mkdir()
    (checkout.venv / "mine").touch()
    code, output, _ = checkout.run()
    assert code == 2
    assert "was not made by this script" in output
    assert (checkout.venv / "mine").exists()
