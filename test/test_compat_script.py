"""`python -m gearnet_plugin.compat` runs scripts that know nothing of this package."""
import logging
import os
import re
import shutil
import sys

import pytest

from gearnet_plugin.compat import __main__ as command

HERE = os.path.dirname(os.path.abspath(__file__))
RUN = ("-m", "gearnet_plugin.compat")


@pytest.fixture
def script(tmp_path):
    folder = tmp_path / "scripts"
    folder.mkdir()
    shutil.copy(os.path.join(HERE, "torchdrug_script.py"), folder)
    (folder / "helper_beside_the_script.py").write_text("NAME = 'the helper'\n")
    return folder / "torchdrug_script.py"


def test_script_of_the_readme(python, script, tmp_path):
    """Trains, evaluates, saves, restores; the log is on the standard output, as under TorchDrug."""
    done = python(*RUN, script, tmp_path, "--flag", cwd=tmp_path)
    assert done.stdout.endswith("done with the helper\n")
    assert "binary cross entropy" in done.stdout
    assert "auprc [alcohol]" in done.stdout
    assert "Warning" not in done.stderr, done.stderr


MODULE = """
import sys, torch_scatter, torchdrug
print(__name__, sys.argv[1:], torch_scatter.scatter_max.__name__, torchdrug.data.Graph.__name__)
raise SystemExit(7)
"""


def test_module_and_exit_code(python, tmp_path):
    (tmp_path / "show.py").write_text(MODULE)
    done = python(*RUN, "-m", "show", "-m", "x", cwd=tmp_path, failing=True)
    assert done.stdout == "__main__ ['-m', 'x'] scatter_max Graph\n"
    assert done.returncode == 7


def test_error_of_the_script_names_its_line(monkeypatch, tmp_path):
    monkeypatch.setattr(command, "give_process_to_script", lambda: None)
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "fails.py").write_text("from torchdrug import data\n\ndata.Graph([[0, 9]], num_node=2)\n")
    with pytest.raises(ValueError, match="`num_node` is 2, but found node 9 in `edge_list`") as error:
        command.main([str(tmp_path / "fails.py"), "--seed", "1"])
    assert any(str(line.path).endswith("fails.py") and line.lineno == 2 for line in error.traceback)
    assert sys.argv == [str(tmp_path / "fails.py"), "--seed", "1"]
    assert sys.path[0] == str(tmp_path)


@pytest.mark.parametrize("arguments, message", [
    ([], "No script given"), (["-m"], "No module given"), (["--gpus", "0"], "`--gpus` is no option"),
    (["nothing.py"], r"No script `nothing.py` in .*Give the path of a Python file"),
])
def test_wrong_usage(arguments, message, capsys):
    level = logging.getLogger().level
    assert command.main(arguments) == 2
    assert re.search(message, capsys.readouterr().err)
    # told before anything was changed
    assert logging.getLogger().level == level


def test_help(capsys):
    assert command.main(["--help"]) == 0
    assert "python -m gearnet_plugin.compat script.py" in capsys.readouterr().out
