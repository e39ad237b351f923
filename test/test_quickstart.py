"""The quickstart on a dozen short chains: its page tells what the runs measured, and what is finished is kept."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from conftest import ROOT
from gearnet_plugin.embedding import Embeddings, load_encoder
from gearnet_plugin.report.quickstart import Proteins, _verdict
from gearnet_plugin.report.runs import last, read_metrics
from gearnet_plugin.structures.bundled import bundled_path, bundled_table
from html_page import parse

sys.path.insert(0, os.path.join(ROOT, "script"))

import quickstart
import steps

RUNS = ["pretrain", "finetune-scratch-seed0", "finetune-pretrained-seed0"]


def write_table(path, counts):
    """The shortest bundled chains of each class, so many in each split, under absolute paths."""
    lines = ["structure\tsplit\tclass"]
    for kind in ("alpha", "beta", "mixed"):
        rows = sorted((row for row in bundled_table() if row["class"] == kind), key=lambda row: row["length"])
        splits = [split for split, count in counts.items() for _ in range(count)]
        lines += [f"{bundled_path() / row['structure']}\t{split}\t{kind}" for row, split in zip(rows, splits)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Folder of a finished quickstart of one epoch, its command line, and what it printed."""
    folder = tmp_path_factory.mktemp("quickstart")
    table = write_table(folder / "chains.tsv", {"train": 2, "valid": 1, "test": 1})
    command = ["script/quickstart.py", "--structures", table, "--out", folder / "out", "--epochs", 1, "--seeds", 1,
               "--jobs", 2]
    # in this process, which has imported already what embedding needs
    result = CliRunner().invoke(quickstart.main, list(map(str, command[1:])))
    assert result.exit_code == 0, result.output
    return folder / "out", command, result.output


def test_the_page_says_what_was_measured(done):
    out, _, printed = done
    text = (out / "report.html").read_text(encoding="utf-8")
    page = parse(text)
    assert page.links == ["data:,", *("#s%d" % (i + 1) for i in range(len(page.headings)))]
    assert "http" not in text and page.count["script"] == 0
    assert page.headings == ["Structures", "Pretraining", "Fine-tuning", "Embeddings", "Your own structures",
                             "Commands and versions"]

    pretrain = {(r["kind"], r["scope"]): r["values"] for r in read_metrics(out / "pretrain")}
    rows = {row[0]: row for row in page.rows}
    measured = {split: ("%.3f" % pretrain[split, "epoch"]["retrieval accuracy"],
                        "%.3f" % pretrain[split, "epoch"]["chance accuracy"]) for split in ("train", "valid", "test")}
    hit, chance = measured["train"]
    assert ["train", hit, hit, hit, chance] in page.rows  # the first and the last epoch are the only one
    for split in ("valid", "test"):
        hit, chance = measured[split]
        assert [split, "", hit, "", chance] in page.rows
    for start, label in [("scratch", "from scratch"), ("pretrained", "pretrained encoder")]:
        accuracy = last(read_metrics(out / f"finetune-{start}-seed0"))["values"]["accuracy [class]"]
        assert rows[label] == [label, "%.3f" % accuracy, "", "%.3f" % accuracy]
    assert rows["majority class"][1] == "0.333"  # three classes, equally frequent
    assert ["test", "1", "1", "1", "3"] in page.rows
    assert page.text.count("script/run.py") == 3 + 2  # three runs, two suggestions
    assert rows["torch"][1] in json.loads((out / "pretrain" / "versions.json").read_text())["torch"]
    assert str(out / "report.html") in printed and "my_structures/" in printed


def test_runs_are_those_of_run_py(done):
    """Each is a run folder of its own; the two ways of fine-tuning differ in the checkpoint and nothing else."""
    out, _, _ = done
    commands = [json.loads((out / name / "versions.json").read_text())["command"][1:] for name in RUNS]
    assert commands[1][commands[1].index("--ckpt") + 1] == "null"
    assert commands[2][commands[2].index("--ckpt") + 1] == str(out / "pretrain")
    assert [a for a, b in zip(*commands[1:]) if a != b] == ["null", str(out / RUNS[1])]
    assert "encoder weights from" in (out / RUNS[2] / "log.txt").read_text()
    assert "encoder weights from" not in (out / RUNS[1] / "log.txt").read_text()


def test_embeddings_are_those_of_the_pretrained_encoder(done):
    out, command, _ = done
    saved = Embeddings.load(out / "embeddings.npz")
    proteins = Proteins(command[2])
    assert saved.names == [structure.name for structure in proteins.structures] and len(saved) == 12
    again = load_encoder(out / "pretrain").embed(proteins.structures)
    np.testing.assert_allclose(saved.protein, again.protein, rtol=1e-4, atol=1e-4)


def test_a_second_time_nothing_is_done(done, python):
    out, command, _ = done
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name != ".lock"}
    printed = python(*command).stdout
    assert "3 of 3 runs are finished and kept" in printed and str(out / "report.html") in printed
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_the_default_is_the_bundled_table():
    assert quickstart.BUNDLED == bundled_path() / "chains.tsv"
    rows = quickstart.read_rows(quickstart.BUNDLED)
    names = [step.name for step in quickstart.plan(Path("/out"), quickstart.BUNDLED, rows, 3)]
    assert names == ["pretrain", *(f"finetune-{start}-seed{i}" for start in ["scratch", "pretrained"]
                                   for i in range(3))]
    assert len({step.key for step in quickstart.plan(Path("/out"), quickstart.BUNDLED, rows, 3)}) == 7


def test_keys_follow_what_decides_a_run(tmp_path, monkeypatch):
    table = write_table(tmp_path / "chains.tsv", {"train": 1, "valid": 1, "test": 1})
    structure = tmp_path / "copy.pdb.gz"
    structure.write_bytes((bundled_path() / bundled_table()[0]["structure"]).read_bytes())
    table.write_text(table.read_text() + "copy.pdb.gz\ttrain\tbeta\n")
    config = tmp_path / "config"
    config.mkdir()
    for name in ("pretrain.yaml", "finetune.yaml"):
        (config / name).write_bytes((quickstart.CONFIG / name).read_bytes())
    monkeypatch.setattr(quickstart, "CONFIG", config)

    def keys(**changes):
        arguments = {"out": tmp_path, "structures": table, "rows": quickstart.read_rows(table), "seeds": 1, **changes}
        return [step.key for step in quickstart.plan(**arguments)]

    first = keys()
    assert keys() == first and keys(seeds=2)[1] == first[1]
    assert not set(keys(epochs=1)) & set(first)
    (config / "finetune.yaml").write_text((config / "finetune.yaml").read_text() + "\n")
    second = keys()
    assert second[0] == first[0] and not set(second[1:]) & set(first[1:])
    (config / "pretrain.yaml").write_text((config / "pretrain.yaml").read_text() + "\n")
    third = keys()  # whatever starts from the pretrained encoder changes with it
    assert third[1] == second[1] and third[0] != second[0] and third[2] != second[2]
    structure.write_bytes(structure.read_bytes() + b" ")
    assert not set(keys()) & set(third)


@pytest.mark.parametrize("arguments, message", [
    (["--structures", "nowhere.tsv"], "there is no table of structures"),
    (["--structures", "folder"], "takes a table"),
    (["--structures", "wrong.csv"], "no rows with a column `split`"),
    (["--structures", "train.csv"], "no rows with split test, valid"),
    (["--structures", "latin.csv"], "latin.csv` is no table in UTF-8"),
    (["--out", "full"], "holds files that are not from here"),
])
def test_wrong_arguments(tmp_path, python, arguments, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    (tmp_path / "train.csv").write_text("structure,class,split\na.pdb,1,train\n")
    (tmp_path / "latin.csv").write_bytes(b"structure,class,split\n\xff.pdb,1,train\n")
    (tmp_path / "wrong.csv").write_text("structure,class\na.pdb,1\n")
    done = python(os.path.join(ROOT, "script/quickstart.py"), "--out", "new", *arguments, cwd=tmp_path, failing=True)
    assert "error: " in done.stderr and message in done.stderr and done.stdout == ""
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("ours, theirs, majority, said", [
    ([0.8, 0.9], [0.5, 0.6], 0.3, ["Every run beats the majority", "Every run from the pretrained encoder beats"]),
    ([0.5, 0.6], [0.8, 0.9], 0.3, ["Every run beats the majority", "pretraining does not help"]),
    ([0.5, 0.7], [0.6, 0.6], 0.3, ["Every run beats the majority", "overlap"]),
    ([0.5, 0.7], [0.3, 0.6], 0.3, ["Not every run from scratch beats the majority class", "overlap"]),
])
def test_the_verdict_claims_no_more_than_the_runs_show(ours, theirs, majority, said):
    sentence = _verdict({"pretrained encoder": ours, "from scratch": theirs}, majority)
    assert all(part in sentence for part in said)


# === the runner of steps, with small programs in place of runs ===


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """``runner(programs)`` runs {name: (Python code, step it waits for)} and returns the folder."""
    def run(programs, jobs=2):
        monkeypatch.setattr(steps, "command", lambda step, out: [
            sys.executable, "-c", step.arguments[0], str(out / step.name)])
        out = tmp_path / "out"
        with steps.locked(out) as lock:
            state = steps.State(out)
            plan = [steps.Step(name, [code], after, name) for name, (code, after) in programs.items()]
            todo = [step for step in plan if not state.fresh(step.name, step.key, out / step.name)]
            steps.Runner(out, state, jobs, lock).run(todo)

    run.out = tmp_path / "out"
    return run


WORKS = "import os, sys; os.mkdir(sys.argv[1]); print('epoch 1, training: loss 2')"


def test_steps_run_after_what_they_wait_for(runner):
    check = WORKS + "; assert os.path.isdir(os.path.dirname(sys.argv[1]) + '/%s')"
    runner({"c": (check % "b", "b"), "b": (check % "a", "a"), "a": (WORKS, None), "d": (WORKS, None)})
    assert sorted(json.loads((runner.out / "steps.json").read_text())) == ["a", "b", "c", "d"]
    assert (runner.out / "a.log").read_text() == "epoch 1, training: loss 2\n"


def test_a_failure_ends_the_others_and_is_told(runner):
    fails = "import sys; print('much', 'error: no such thing', 'do this', sep='\\n'); sys.exit(7)"
    waits = WORKS + "; import time; time.sleep(60)"
    began = time.monotonic()
    with pytest.raises(steps.StepFailed, match="bad ended with exit code 7.*\nerror: no such thing\ndo") as caught:
        runner({"long": (waits, None), "bad": (fails, None), "after": (WORKS, "bad")})
    assert caught.value.code == 7 and time.monotonic() - began < 30
    assert not (runner.out / "after").exists()
    assert json.loads((runner.out / "steps.json").read_text()) == {}


def test_after_a_failure_the_rest_is_done(runner):
    counts = "open(sys.argv[1] + '.count', 'a').write('x')"
    flaky = WORKS + "; sys.exit(0 if os.path.exists(sys.argv[1] + '.go') else 3)"
    programs = {"first": (WORKS + "; " + counts, None), "second": (flaky, "first")}
    with pytest.raises(steps.StepFailed, match="second ended with exit code 3"):
        runner(programs)
    (runner.out / "second.go").write_text("")
    runner(programs)  # the half-made folder of `second` is in nobody's way
    assert (runner.out / "first.count").read_text() == "x"


def test_two_at_once_are_kept_apart(runner):
    with steps.locked(runner.out), pytest.raises(ValueError, match="another process works in"):
        runner({"a": (WORKS, None)})
    runner({"a": (WORKS, None)})


def test_a_run_that_outlives_its_parent_keeps_the_folder(tmp_path):
    """After kill -9 the run goes on alone; nothing else may write where it writes."""
    child = "import os, time; print('pid', os.getpid()); time.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", f"""if True:
        import sys; sys.path.insert(0, {os.path.join(ROOT, 'script')!r})
        import steps; from pathlib import Path
        steps.command = lambda step, out: [sys.executable, "-u", "-c", {child!r}]
        out = Path({str(tmp_path / 'out')!r})
        with steps.locked(out) as lock:
            steps.Runner(out, steps.State(out), 1, lock).run([steps.Step("long", [])])
        """], stdout=subprocess.DEVNULL)
    log = tmp_path / "out" / "long.log"
    deadline = time.monotonic() + 30
    while not (log.is_file() and log.read_text().endswith("\n")):
        assert time.monotonic() < deadline and parent.poll() is None
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    orphan = int(log.read_text().split()[1])
    try:
        with pytest.raises(ValueError, match="another process works in"), steps.locked(tmp_path / "out"):
            pass
    finally:
        os.kill(orphan, signal.SIGKILL)
    while time.monotonic() < deadline:  # until the system has cleared the process away
        try:
            with steps.locked(tmp_path / "out"):
                break
        except ValueError:
            time.sleep(0.05)
    else:
        pytest.fail("the lock stays after the run has ended")


def test_interrupted(done, tmp_path):
    """Ctrl-C in the middle: exit code 130, and nothing counts as finished."""
    _, command, _ = done
    arguments = [str(part) for part in command]
    arguments[arguments.index("--out") + 1] = str(tmp_path / "out")
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=environment, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline().strip().endswith("started")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted; the same command goes on" in errors
    assert not (tmp_path / "out" / "report.html").exists()
    assert json.loads((tmp_path / "out" / "steps.json").read_text()) == {}


# === the shell script ===


def test_shell_script_from_anywhere(tmp_path):
    """Set-up comes first, from wherever it is called; the arguments arrive as they are."""
    script = tmp_path / "with space" / "script"
    script.mkdir(parents=True)
    (script / "quickstart.sh").write_bytes((Path(ROOT) / "script/quickstart.sh").read_bytes())
    python = script.parent / ".venv" / "bin" / "python"
    (script / "setup.sh").write_text('mkdir -p "%s"\nprintf \'#!/bin/sh\\necho "$@"\' > "%s"\nchmod +x "%s"\n'
                                     % (python.parent, python, python))
    command = ["bash", str(script / "quickstart.sh"), "--out", "a b"]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == f"{script}/quickstart.py --out a b\n"
    (script / "setup.sh").write_text("echo no network >&2; exit 5\n")
    done = subprocess.run(command, cwd="/", capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (5, "", "no network\n")
