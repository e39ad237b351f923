"""Several processes for one run: started here, joined elsewhere, ended together."""
import json
import os
import re
import signal
import subprocess
import sys

import pytest
import torch

import ranks
from gearnet_plugin.engine import ConfigError, launch, results, sampling, world
from tiny_run import CONFIG
from torchdrug import core

TEST = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(TEST)
TINY = os.path.join(TEST, "tiny_run.py")
# torch needs a few seconds to import in each process, more on a busy machine; the limit is for what hangs
LIMIT = 120


def start(script, *args, **environ):
    """Start a script as a user would: another process, one thread, the package found where this one is."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([ROOT, TEST]), "OMP_NUM_THREADS": "1", **environ}
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        environ.pop(name, None)
    return subprocess.Popen([sys.executable, script, *map(str, args)], env=environ, cwd=ROOT, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(process):
    out, err = process.communicate(timeout=LIMIT)
    return process.returncode, out, err


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(CONFIG)
    return path


def lines(folder):
    with open(os.path.join(folder, "metrics.jsonl")) as opened:
        return [json.loads(line) for line in opened]


def test_two_workers_learn_what_one_process_learns(file, tmp_path):
    # a number of items that both divide, so that no sample is trained on twice; BatchNorm counts the rows of both
    common = ["-c", file, "--set", "dataset.num_train=16", "dataset.num_valid=5", "seed=3",
              "optimizer={class: SGD, lr: 0.01}"]
    two = start(TINY, *common, "--nproc", 2, "--out", tmp_path / "two")
    one = start(TINY, *common, "engine.batch_size=8", "--out", tmp_path / "one")
    for process in (two, one):
        code, out, err = finish(process)
        assert code == 0, err
        assert len(re.findall("outputs are in", out)) == 1
    expected, found = lines(tmp_path / "one"), lines(tmp_path / "two")
    assert len(expected) == len(found)
    for a, b in zip(expected, found):
        assert (a["kind"], a["epoch"], a["step"]) == (b["kind"], b["epoch"], b["step"])
        assert b["values"] == pytest.approx(a["values"], rel=1e-4, abs=1e-5)
    with open(tmp_path / "two" / "versions.json") as opened:
        assert json.load(opened)["processes"] == 2
    one, two = (torch.load(tmp_path / name / "encoder.pth", weights_only=True) for name in ("one", "two"))
    assert one.keys() == two.keys()
    torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5)


def test_a_dead_rank_ends_the_others_with_a_message(file, tmp_path):
    process = start(TINY, "-c", file, "--nproc", 2, "--out", tmp_path / "out", "--set",
                    "dataset.exit_on_rank=1", "task.model.batch_norm=false")
    code, _, err = finish(process)
    assert code == 1
    assert "error: a worker failed, so all 2 were ended\nrank 1: ended by exit code 7 and left no message" in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_ctrl_c_ends_all_workers_and_saves(file, tmp_path):
    process = start(TINY, "-c", file, "--nproc", 2, "--out", tmp_path / "out", "--set",
                    "train.num_epoch=100000", "task.model.batch_norm=false")
    seen = []
    for line in process.stderr:
        seen.append(line)
        if "epoch 3, step" in line:
            break
    else:
        pytest.fail("".join(seen))
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130
    assert "interrupted; all 2 workers have ended" in err and "Traceback" not in err
    assert torch.load(tmp_path / "out" / "checkpoint-stopped.pth", weights_only=True)["step"] >= 3


def test_the_script_smokes_in_another_folder(tmp_path):
    path = os.path.join(ROOT, "config", "quickstart", "pretrain.yaml")
    code, out, err = finish(start(os.path.join(ROOT, "script", "run.py"), "-c", path, "--smoke"))
    assert code == 0, err
    folder = out.split("outputs are in ")[1].strip()
    try:
        assert "gearnet-smoke-" in folder and os.path.exists(os.path.join(folder, "encoder.pth"))
    finally:
        subprocess.run(["rm", "-r", folder], check=True)


class Echo(torch.nn.Module):
    """A task whose metrics say what it was given."""

    def predict_and_target(self, batch):
        return batch["value"], {"twice": batch["value"] * 2}

    def evaluate(self, pred, target):
        return {"%d" % i: value for i, value in enumerate(pred)} | {"sum": target["twice"].sum()}


def evaluate(rank):
    found = []
    for size in (1, 3, 7):
        items = [{"value": float(i)} for i in range(size)]
        solver = core.Engine(Echo(), None, items, None, None, batch_size=2)
        metric = sampling.evaluate(solver, "valid")
        found.append({name: float(value) for name, value in metric.items()})
        pred, target = sampling.predict(solver, "valid")
        rows = results.Predictions(solver.model, items, pred, target["twice"], {"value": None})
        found[-1].update(pred=rows.pred.tolist(), target=rows.target.tolist(), items=rows.items)
    return found


def test_two_ranks_evaluate_an_odd_set_like_one_process(tmp_path):
    # of one item, a rank has none
    expected = evaluate(0)
    assert [found["sum"] for found in expected] == [0, 6, 42]
    # and every row stands where the item is in the set
    assert [found["pred"] for found in expected] == [list(range(n)) for n in (1, 3, 7)]
    assert [found["items"] for found in expected] == [list("0123456"[:n]) for n in (1, 3, 7)]
    assert all(found["target"] == [2 * value for value in found["pred"]] for found in expected)
    assert ranks.run(evaluate, 2, tmp_path) == [expected, expected]


# === without starting anything ===


def test_one_worker_for_each_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert launch.workers_wanted([0, 1, 3]) == 3
    assert launch.workers_wanted(None, 2) == 2 and launch.workers_wanted(None) == 1
    with pytest.raises(ConfigError, match=r"GPUs \[0, 4\] were asked for, but this machine has 4: .* 0 to 3"):
        launch.workers_wanted([0, 4])
    with pytest.raises(ConfigError, match="each GPU id may stand once"):
        launch.workers_wanted([1, 1])
    with pytest.raises(ConfigError, match=r"--nproc 3 does not fit the 2 GPUs \[0, 1\]"):
        launch.workers_wanted([0, 1], 3)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ConfigError, match=r"PyTorch sees none on this machine. Use `--gpus null` for CPU"):
        launch.workers_wanted([0])


def test_processes_are_counted_once(no_job):
    no_job.setenv("RANK", "0")
    no_job.setenv("WORLD_SIZE", "2")
    assert launch.workers_wanted(None, 2) == 2 and launch.workers_wanted(None) == 1
    with pytest.raises(ConfigError, match="--nproc 3 does not fit the 2 processes that torchrun or Slurm started"):
        launch.workers_wanted(None, 3)


def test_the_environment_is_given_back(monkeypatch):
    from torch.distributed.launcher import api

    seen = {}
    monkeypatch.setattr(api, "elastic_launch", lambda config, entry: lambda *args: seen.update(os.environ))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = dict(os.environ)
    assert launch.start(2) == 0
    assert seen[launch.WORKER] == "1" and "OMP_NUM_THREADS" in seen
    assert dict(os.environ) == before


@pytest.fixture
def no_job(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")  # so that whatever is set meanwhile is undone
        monkeypatch.delenv(name)
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    return monkeypatch


def test_slurm_steps_are_joined_and_batch_scripts_are_not(no_job):
    no_job.setenv("SLURM_PROCID", "0")
    no_job.setenv("SLURM_NTASKS", "4")
    assert not world.inside_job() and "RANK" not in os.environ
    step = {"PROCID": "3", "STEP_NUM_TASKS": "4", "LOCALID": "1", "LAUNCH_NODE_IPADDR": "10.0.0.7",
            "JOB_ID": "12", "STEP_ID": "1"}
    for name, value in step.items():
        no_job.setenv("SLURM_" + name, value)
    assert world.inside_job() and not world.is_first()
    made = [os.environ[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR")]
    assert made == ["3", "4", "1", "10.0.0.7"]
    assert 1024 < int(os.environ["MASTER_PORT"]) < 65536


def test_gpus_are_those_of_every_machine(no_job):
    calls = []
    no_job.setattr(torch.cuda, "set_device", calls.append)
    no_job.setattr(world.dist, "is_initialized", lambda: True)
    no_job.setenv("RANK", "5")
    no_job.setenv("WORLD_SIZE", "6")
    assert world.join([0, 1, 2]) == world.World(5, 6, [0, 1, 2, 0, 1, 2]) and calls == [2]
    with pytest.raises(ConfigError, match=r"6 processes cannot share the 4 GPUs"):
        world.join([0, 1, 2, 3])
    no_job.delenv("WORLD_SIZE")
    with pytest.raises(ConfigError, match=r"2 GPUs \[0, 1\] need as many processes"):
        world.join([0, 1])


def test_failures_are_told_by_cause():
    class Failure:
        def __init__(self, exitcode, message=""):
            self.exitcode, self.message = exitcode, message

        def signal_name(self):
            return signal.Signals(-self.exitcode).name

    told = {"message": "dataset: no such folder"}
    assert launch._failures({0: Failure(1, told), 1: Failure(1, told)}, 2) == "error: dataset: no such folder"
    lost = {"message": "lost"}
    text = launch._failures({0: Failure(1, lost), 1: Failure(-9, "Signal 9"), 2: Failure(1, lost)}, 3)
    assert text.splitlines()[1:] == ["rank 1: ended by SIGKILL and left no message", "rank 0, 2: lost"]
    # SIGTERM is how the launcher ends the others
    text = launch._failures({0: Failure(-15), 1: Failure(7)}, 2)
    assert text.splitlines()[1:] == ["rank 1: ended by exit code 7 and left no message"]
