"""The tutorials run as they stand, from anywhere, and name only what there is."""

import ast
import csv
import os
import re
import shutil
import sys

import numpy as np
import pytest

from conftest import ROOT
from encoder_runs import untrained_run
from gearnet_plugin.cli import gearnet
from gearnet_plugin.engine.command import main as run_py
from gearnet_plugin.structures import bundled

sys.path.insert(0, os.path.join(ROOT, "script"))
from tutorial_common import output_folder, run

TUTORIALS = ["structures", "labels"]


def script(name):
    return os.path.join(ROOT, "script", f"tutorial_{name}.py")


def source(name):
    with open(script(name), encoding="utf-8") as file:
        return file.read()


def prose(name):
    """What a tutorial says between its code."""
    cells = re.split(r"^# %%", source(name), flags=re.MULTILINE)
    texts = [cell for cell in cells if cell.startswith(" [markdown]")]
    return re.sub(r"^# ?", "", "\n".join(texts), flags=re.MULTILINE)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return untrained_run(tmp_path_factory.mktemp("encoder") / "run")


# === the whole of them ===


@pytest.mark.slow
def test_own_structures(python, tmp_path):
    """Without any argument but the short training: bundled structures, an encoder trained on them, all steps."""
    done = python(script("structures"), "--quick", "--out", tmp_path / "out", cwd=tmp_path)
    said, out = done.stdout, tmp_path / "out"
    assert "95 files in" in said and "dropped notes.pdb: it is not a structure" in said
    assert "chain A: 223 residues, 16 to 245: IVGGYTCGANTVPYQV" in said and "with insertion codes: 65A, 184A" in said
    assert "small one is pretrained on these structures now, far too shortly to be of use" in said
    assert "chains:   94 vectors of 32 numbers" in said and "residues: 16,472 vectors" in said
    assert "sum of the residues is the vector of the chain: True" in said
    assert "first residues of 1gbt_A_A: ILE16, VAL17, GLY18, GLY19, TYR20" in said
    assert len(re.findall(r"^ +\w+ +-?\d\.\d\d +\d+ +\d+%$", said, re.MULTILINE)) == 6
    assert "1gbt_A_A SER195:" in said and "best matches of SER195 in" in said
    assert "read again, the same: True" in said and "Python and command agree: True" in said
    for picture in ("contact_map.png", "map.png"):
        assert (out / picture).read_bytes().startswith(b"\x89PNG")
    assert re.search(r"^select similar, resi 195(\+\d+[A-Z]?){7} and chain A$", (out / "similar.pml").read_text(), re.M)
    with np.load(out / "embeddings.npz") as ours, np.load(out / "by_command.npz") as theirs:
        assert ours["names"].tolist() == theirs["names"].tolist() and len(ours["names"]) == 94
        np.testing.assert_allclose(ours["residue"], theirs["residue"], rtol=1e-4, atol=1e-3)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_own_labels(python, tmp_path, encoder):
    """Table, split, fine-tuning, probe and prediction on the bundled structures."""
    done = python(script("labels"), "--quick", "--model", encoder, "--out", tmp_path / "out", cwd=tmp_path)
    said, out = done.stdout, tmp_path / "out"
    assert "my_table.csv: 74 chains" in said and "class: 3 different values, " in said
    sizes = [int(size) for size in re.findall(r"^ *(?:train|valid|test): (\d+) chains, \d+ alpha", said, re.MULTILINE)]
    assert len(sizes) == 3 and sum(sizes) == 74
    assert "layers of the encoder: [16, 16]" in said
    for name in ("finetune", "probe"):
        assert re.search(rf"^ +{name}: \d\.\d\d \(\d\.\d\d to \d\.\d\d\) accuracy", said, re.MULTILINE)
        assert "encoder weights from" in (out / name / "log.txt").read_text()
    assert "freeze_encoder: true" in (out / "probe" / "config.yaml").read_text()
    majority = float(re.search(r"always `\w+`, \d+ of \d+ in training: accuracy (\d\.\d\d)", said)[1])
    with np.load(out / "finetune" / "predictions.npz") as arrays:
        assert any(abs(np.mean(arrays["targets"] == label) - majority) < 0.006 for label in range(3))
    assert re.search(r"^of +label +support.*\nclass +alpha ", said, re.MULTILINE)
    with open(out / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    known = {row["structure"]: row["class"] for row in bundled.bundled_table() if row["split"] == "test"}
    assert {os.path.basename(row["source"]) for row in rows} == set(known)
    right = sum(row["label"] == known[os.path.basename(row["source"])] for row in rows)
    assert f"{right} of {len(known)} new chains are right" in said
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
def test_own_table_and_structures(python, tmp_path, encoder):
    """A table of the user's with splits of its own: they are kept, and its structures are predicted."""
    with open(tmp_path / "mine.tsv", "w") as file:
        file.write("structure\tsplit\tfold\n")
        for row in bundled.bundled_table()[:24]:
            shutil.copyfile(bundled.bundled_path() / row["structure"], tmp_path / row["structure"])
            file.write(f"{row['structure']}\t{row['split']}\t{row['class']}\n")
    done = python(script("labels"), "--quick", "--table", "mine.tsv", "--target", "fold", "--model", encoder, "--out",
                  "out", cwd=tmp_path)  # fmt: skip
    splits = [row["split"] for row in bundled.bundled_table()[:24]]
    for split in ("train", "valid", "test"):
        assert re.search(rf"^ *{split}: {splits.count(split)} chains", done.stdout, re.MULTILINE)
    assert "--split cluster" not in done.stdout and "most of which the encoder was trained on" in done.stdout
    with open(tmp_path / "out" / "predictions.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 24


def test_own_folder(python, tmp_path, encoder):
    """A folder of the user's, relative to where the user is; its first file is damaged, which is told."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "0.pdb").write_text("nothing\n")
    for row in bundled.bundled_table()[:4]:
        shutil.copyfile(bundled.bundled_path() / row["structure"], tmp_path / "mine" / row["structure"])
    done = python(script("structures"), "mine", "--model", encoder, "--out", "out", cwd=tmp_path)
    assert "not this one:" in done.stdout and "0.pdb" in done.stdout and "dropped 0.pdb" in done.stdout
    assert "19hc_A.pdb.gz: 292 residues" in done.stdout and "chains:   4 vectors of 32 numbers" in done.stdout
    assert "Python and command agree: True" in done.stdout and (tmp_path / "out" / "map.png").exists()


@pytest.mark.parametrize("name, arguments, message", [
    ("structures", ["nowhere"], "nowhere"),
    ("labels", ["--table", "mine.csv", "--target", "folds"], "no rows with a column `folds`"),
])  # fmt: skip
@pytest.mark.slow
def test_wrong_arguments(python, tmp_path, name, arguments, message):
    (tmp_path / "mine.csv").write_text("structure,fold\na.pdb,1\n")
    done = python(script(name), *arguments, cwd=tmp_path, failing=True)
    assert message in done.stderr


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    with pytest.raises(SystemExit, match="--out takes a new or an empty folder, but `.*full` is there"):
        output_folder(tmp_path / "full")
    assert output_folder(tmp_path / "new" / "one").is_dir() and output_folder(None).name.startswith("gearnet_tutorial")


def test_a_failing_command_ends_it(tmp_path, capfd):
    """With what the command said, even where only some lines are shown."""
    with pytest.raises(SystemExit, match="(?s)exit code 1:.*there is no `nowhere`"):
        run("gearnet", "doctor", "nowhere", cwd=tmp_path, keep="epoch")
    assert capfd.readouterr().out == "$ gearnet doctor nowhere\n"


# === what they say ===


@pytest.mark.parametrize("name", TUTORIALS)
def test_they_are_notebooks(name):
    """Every cell is text alone or code alone, and every cell of code prints or defines something."""
    cells = re.split(r"^# %%", source(name), flags=re.MULTILINE)
    assert cells[0] == "" and len(cells) > 15
    for cell in cells[1:]:
        body = ast.parse(cell.partition("\n")[2]).body
        texts = [isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body]
        assert all(texts) if cell.startswith(" [markdown]") else body and not any(texts), cell


@pytest.mark.parametrize("name", TUTORIALS)
def test_commands_and_options_exist(name, capfd):
    """Commands, options, scripts and configurations that the text names are there."""
    text = prose(name)
    commands = set(re.findall(r"\bgearnet ([a-z]+)", text))
    assert commands and commands <= set(gearnet.commands)
    used = commands | set(re.findall(r'run\("gearnet", "(\w+)"', source(name)))
    known = {option for command in used for part in gearnet.commands[command].params for option in part.opts}
    known |= set(re.findall(r'add_argument\("(--\w+)"', source(name)))
    config = os.path.join(ROOT, "config", "downstream", "own", "multilabel.yaml")
    assert run_py(["-c", config, "--help"]) == 0
    known |= set(re.findall(r"--[a-z-]+", capfd.readouterr().out))
    assert set(re.findall(r"(?<![\w-])--[a-z]+[a-z-]*", text)) <= known
    for path in re.findall(r"(?:script|config)/[\w/.]+\.(?:py|yaml)", text):
        assert os.path.exists(os.path.join(ROOT, path)), path


def test_changes_of_configurations_exist(tmp_path, capfd):
    """What the text sets by `key=value` are keys of the configuration, and its command for several labels is right."""
    text = prose("labels")
    changes = re.findall(r"\b((?:task|dataset|optimizer|train)\.\w+=[\w.]+)", text)
    assert len(changes) >= 3
    (tmp_path / "my_table.csv").write_text(
        "structure,terms,fold\n" + "".join(f"{i}.pdb,a;b,{i % 2}\n" for i in range(9))
    )
    table = str(tmp_path / "my_table.csv")
    config = os.path.join(ROOT, "config", "downstream", "own", "classification.yaml")
    arguments = ["--split", "cluster", "--dry-run", "--set", *changes]
    assert run_py(["-c", config, "--table", table, "--target", "fold", *arguments]) == 0, capfd.readouterr()
    words = re.search(r"python script/run\.py (-c .*)", text)[1].replace("my_table.csv", table).split()
    words[1] = os.path.join(ROOT, words[1])
    assert run_py([*words, "--dry-run"]) == 0, capfd.readouterr()
