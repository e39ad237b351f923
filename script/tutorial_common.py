"""
What the two tutorials share: where this checkout is, commands that are shown and run, and a first encoder.

They are in the percent format: plain scripts, and notebooks in Jupyter (with jupytext) and VS Code.
"""

import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# the package of this checkout, also where it is not installed or another version is
sys.path.insert(0, str(ROOT))
QUICKSTART = ROOT / "runs/quickstart/pretrain"
PROGRAMS = {"python": [sys.executable], "gearnet": [sys.executable, str(ROOT / "script/gearnet")]}


def in_notebook():
    """Whether this runs in a notebook."""
    return "ipykernel" in sys.modules


def arguments(parser):
    """What the command line says; in a notebook, whose command line is that of Jupyter, the defaults."""
    return parser.parse_args([] if in_notebook() else None)


def output_folder(path):
    """The folder for all that a tutorial writes; a new temporary one if none is given."""
    if path is None:
        return Path(tempfile.mkdtemp(prefix="gearnet_tutorial_"))
    path = Path(path).expanduser().resolve()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        sys.exit(f"error: --out takes a new or an empty folder, but `{path}` is there; give another one")
    path.mkdir(parents=True, exist_ok=True)
    return path


def absolute(text):
    """A path from the root, so that it means the same in every folder; what is no path, such as a name, as it is."""
    path = Path(text).expanduser()
    return str(path.resolve()) if path.exists() else str(text)


def copy_bundled(folder, splits=("train", "valid", "test")):
    """
    Copy bundled structures.

    Parameters:
        folder (Path): folder to make
        splits (list of str, optional): which of them

    Returns:
        list of dict: their rows in the table of the bundled structures
    """
    from gearnet_plugin.structures.bundled import bundled_path, bundled_table

    folder.mkdir()
    rows = [row for row in bundled_table() if row["split"] in splits]
    for row in rows:
        shutil.copyfile(bundled_path() / row["structure"], folder / row["structure"])
    return rows


def run(*words, cwd, keep=""):
    """
    Show a command, run it, and show what it says.

    Parameters:
        words (list of str): ``python`` or ``gearnet``, then its arguments
        cwd (Path): folder to run it in
        keep (str, optional): show only lines with one of these words, separated by ``|``
    """
    words = [str(word) for word in words]
    print("$", shlex.join(words), flush=True)
    said = []
    with subprocess.Popen([*PROGRAMS[words[0]], *words[1:]], cwd=cwd, text=True, encoding="utf-8", errors="replace",
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:  # fmt: skip
        for line in process.stdout:
            said.append(line)
            if any(word in line for word in keep.split("|")):
                print(" ", line.rstrip(), flush=True)
    if process.returncode:
        sys.exit(f"error: this command ended with exit code {process.returncode}:\n{''.join(said[-15:])}")


def pretrained(model, structures, out, quick):
    """
    The encoder that a tutorial uses: the one asked for, else that of the quickstart, else a new one trained here.

    Parameters:
        model (str, optional): published name, run folder or file of weights
        structures (Path): structures to train on
        out (Path): folder in which the run is made
        quick (bool): train a far too small one for one epoch, and leave that of the quickstart alone

    Returns:
        str: what ``load_encoder`` and ``--model`` take
    """
    if model is not None:
        return absolute(model)
    if (QUICKSTART / "encoder.pth").exists() and not quick:
        print(f"The encoder is that of the quickstart, {QUICKSTART}")
        return str(QUICKSTART)
    print("There is no encoder yet, so a small one is pretrained on these structures now" + (
        ", which takes one to two minutes." if not quick else ", far too shortly to be of use."))  # fmt: skip
    size = ["train.num_epoch=1", "task.model.hidden_dims=[16,16]"] if quick else ["train.num_epoch=20"]
    run("python", ROOT / "script/run.py", "-c", ROOT / "config/quickstart/pretrain.yaml", "--structures", structures,
        "--out", "pretrain", "--set", *size, cwd=out, keep="training:|error")  # fmt: skip
    return str(out / "pretrain")


class Picture:
    """A PNG file that a notebook shows where it ends a cell; a script just says where it is."""

    def __init__(self, path):
        self.path = path
        print(f"picture: {path}")

    def _repr_png_(self):
        with open(self.path, "rb") as file:
            return file.read()
