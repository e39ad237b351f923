"""One run from configuration to files, in this process: results, checkpoints, early ends, dry runs, smoke."""
import glob
import json
import logging
import os
import pickle
import re

import pytest
import torch
import yaml

from gearnet_plugin.engine import (
    ConfigError,
    RunOptions,
    TrainingStopped,
    checkpoint,
    evaluation,
    labels,
    outputs,
    run,
    runner,
    sampling,
)
from gearnet_plugin.engine import assemble as assembly
from gearnet_plugin.engine.assemble import split
from gearnet_plugin.engine.build import build
from gearnet_plugin.engine.command import main
from gearnet_plugin.engine.config import override, parse, render
from gearnet_plugin.engine.mismatch import explain
from tiny_run import CONFIG
from torchdrug import core

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
REGRESSION = ("task.task=[value]", "task.criterion=mse", "task.metric=[mae,rmse]", "task.num_class=null",
              "metric=mean absolute")


def config(*assignments):
    return override(parse(render(CONFIG, {"gpus": None})), assignments)


def go(folder, *assignments, **options):
    return run(config(*assignments), RunOptions(out=str(folder), **options))


def records(folder, kind=None, scope=None):
    with open(os.path.join(folder, "metrics.jsonl")) as file:
        lines = [json.loads(line) for line in file]
    return [line for line in lines if kind in (None, line["kind"]) and scope in (None, line["scope"])]


def losses(folder):
    return [line["values"]["loss"] for line in records(folder, "train", "batch")]


def weights(path):
    return torch.load(path, weights_only=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run of four epochs, and its result."""
    folder = tmp_path_factory.mktemp("run") / "out"
    return go(folder, "train.num_epoch=4", "save_interval=3", "eval_interval=2")


# === a run ===


def test_a_run_leaves_its_files(trained):
    assert sorted(os.listdir(trained.folder)) == [
        "checkpoint-6.pth", "checkpoint-8.pth", "checkpoint-best.pth", "config.yaml", "encoder.pth",
        "encoder.yaml", "log.txt", "metrics.jsonl", "predictions.npz", "predictor.pth", "predictor.yaml",
        "results.json", "versions.json"]
    with open(os.path.join(trained.folder, "config.yaml")) as file:
        assert yaml.safe_load(file)["train"] == {"num_epoch": 4, "batch_per_epoch": None}
    with open(os.path.join(trained.folder, "versions.json")) as file:
        versions = json.load(file)
    assert (versions["torch"], versions["torchdrug"], versions["seed"]) == (torch.__version__, "0.2.1", 0)
    assert {"python", "numpy", "rdkit", "gemmi", "gearnet_plugin", "stand_ins", "git", "command"} <= {*versions}


def test_metrics_come_in_order_and_test_once(trained):
    lines = records(trained.folder)
    assert [(r["epoch"], r["step"]) for r in records(trained.folder, "train", "batch")] == [
        (1, 1), (1, 2), (2, 3), (2, 4), (3, 5), (3, 6), (4, 7), (4, 8)]
    assert [r["epoch"] for r in records(trained.folder, "valid")] == [2, 4]
    assert [r["kind"] for r in lines].count("test") == 1 and lines[-1]["kind"] == "test"
    assert lines[-1]["epoch"] == trained.best_epoch
    assert (trained.num_epoch, trained.num_step) == (4, 8)


def test_the_best_epoch_is_kept_and_tested(tmp_path):
    # the error is smallest at the end, so this asks for the epoch where it is largest
    result = go(tmp_path / "a", *REGRESSION, "metric_mode=max", "train.num_epoch=4", "optimizer.lr=0.3")
    name = "mean absolute error [value]"
    errors = [r["values"][name] for r in records(result.folder, "valid")]
    assert errors[-1] < max(errors)  # else the last epoch would do
    assert result.best_epoch == errors.index(max(errors)) + 1
    assert result.metric == name and result.valid[name] == max(errors)
    best = weights(os.path.join(result.folder, "checkpoint-best.pth"))
    assert best["epoch"] == result.best_epoch
    encoder = weights(os.path.join(result.folder, "encoder.pth"))
    assert all(torch.equal(value, best["model"]["model." + name]) for name, value in encoder.items())
    # the checkpoint tests like the run did
    again = go(tmp_path / "b", *REGRESSION, "train.num_epoch=0", "checkpoint=%s" % result.folder)
    assert again.test == result.test


def test_one_seed_one_result(tmp_path):
    first, second, other = (losses(go(tmp_path / str(i), "train.num_epoch=1", seed=seed).folder)
                            for i, seed in enumerate([5, 5, 6]))
    assert first == second != other


def test_folders_of_one_second_differ(tmp_path):
    folders = {outputs.create_folder(str(tmp_path), "name") for _ in range(3)}
    assert len(folders) == 3 and {os.path.dirname(f) for f in folders} == {str(tmp_path / "name")}


def test_a_folder_with_a_run_is_refused(trained):
    with pytest.raises(ConfigError, match="--out .* holds a run already .*Give another folder"):
        go(trained.folder)


def test_a_run_that_cannot_start_leaves_its_folder_free(tmp_path):
    with pytest.raises(ConfigError, match="there is no file or run folder `.*nowhere`"):
        go(tmp_path / "a", "model_checkpoint=%s" % (tmp_path / "nowhere"))
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("assignment, message", [
    ("dataset.fault=split", "dataset: .*no structure of split `train` can be used; drops.tsv says why"),
    ("dataset.fault=item", "task: .* cannot be prepared from the training set: ValueError: item . is faulty"),
])
def test_data_that_fail_leave_the_folder_free(tmp_path, assignment, message):
    with pytest.raises(ConfigError, match=message):
        go(tmp_path / "a", assignment)
    assert not (tmp_path / "a").exists()


def test_a_discarded_run_keeps_the_list_of_drops_until_the_next_try(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    for name in ("config.yaml", "log.txt", "drops.tsv"):
        (folder / name).write_text("")
    outputs.discard(str(folder))
    assert os.listdir(folder) == ["drops.tsv"]
    go(folder, "train.num_epoch=0")
    assert not (folder / "drops.tsv").exists()


def test_items_of_the_validation_set_that_make_no_batch_are_told():
    with pytest.raises(ConfigError, match="dataset: the first items of the validation set make no batch: KeyError"):
        evaluation.preview(None, [{"a": 1}, {"b": 2}], torch.device("cpu"))


def test_a_wrong_checkpoint_is_told_before_the_data_are_opened(trained, tmp_path):
    sets = "dataset={class: StructureFolder, path: /nowhere}", "task.model.hidden_dims=[9]"
    for key in ("model_checkpoint", "checkpoint"):
        with pytest.raises(ConfigError, match=r"%s: .* do not fit. hidden_dims: .* has \[9\]" % key):
            go(tmp_path / "a", *sets, "%s=%s" % (key, trained.folder))


# === classes and order ===


def test_the_number_of_classes_is_that_of_the_data(tmp_path):
    free = "task.task=null", "task.num_class=null", "train.num_epoch=1"
    result = go(tmp_path / "a", *free, "task.task=[class]", "dataset.last_class=4")
    assert weights(os.path.join(result.folder, "checkpoint-best.pth"))["model"]["mlp.layers.0.weight"].shape[0] == 5
    assert result.metric == "accuracy [class]"
    with pytest.raises(ConfigError, match="task.num_class: is 3, but `class` has 5 classes in the data"):
        go(tmp_path / "b", "dataset.last_class=4")
    with pytest.raises(ConfigError, match="task.num_class: is 3, but"):
        go(tmp_path / "b", "dataset.last_class=4", "task.criterion={ce: 1}", "task.num_class=[3]")


@pytest.mark.parametrize("criterion, kind, classes, message", [
    ("mse", "class", ["a", "b"], r"task.criterion: `mse` is for numbers, but `y` holds names of classes \(`a`"),
    ("mse", "class", ["0", "1"], None), ("mse", "number", None, None), ("bce", "class", ["a", "b"], None),
    ("ce", "number", None, "task.criterion: `ce` is for classes, but `y` holds numbers"),
])
def test_criteria_fit_the_kind_of_labels(criterion, kind, classes, message):
    class Labelled:
        tasks = ["y"]
        kinds = {"y": kind}
        num_classes = {"y": len(classes or "1")}

    Labelled.classes = {"y": classes} if classes else {}
    this = config("task.criterion=%s" % criterion, "task.task=null", "task.num_class=null")
    if message is None:
        labels.fill_in(this, Labelled())
        assert this.task.task == ["y"] and this.task.num_class is None
    else:
        with pytest.raises(ConfigError, match=message):
            labels.fill_in(this, Labelled())


def test_the_seed_decides_the_order_of_training(tmp_path, monkeypatch):
    orders = []

    def assemble(config, *args):
        made = assembly.assemble(config, *args)
        made.solver.train_set.dataset.order = []
        orders.append(made.solver.train_set.dataset.order)
        return made

    monkeypatch.setattr(runner, "assemble", assemble)
    for i, seed in enumerate([1, 1, 2]):
        go(tmp_path / str(i), "train.num_epoch=1", "dataset.num_valid=0", seed=seed)
    assert orders[0] == orders[1] != orders[2]
    # afterwards the predictor looks at them once more
    assert [sorted(order[:8]) for order in orders] == [list(range(8))] * 3


@pytest.mark.parametrize("size, world_size", [(3, 2), (1, 2), (7, 3), (8, 2)])
def test_ranks_evaluate_every_item_once_in_the_order_of_one_process(size, world_size):
    parts = [sampling.part(size, rank, world_size) for rank in range(world_size)]
    assert sum(parts, []) == sampling.part(size, 0, 1) and sorted(sum(parts, [])) == list(range(size))


def test_logging_and_warnings_are_given_back(tmp_path):
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in ("torchdrug", "gearnet_plugin"))]
    before = [(log.level, log.propagate, list(log.handlers)) for log in loggers]
    go(tmp_path / "a", "train.num_epoch=0")
    assert [(log.level, log.propagate, list(log.handlers)) for log in loggers] == before


def test_loss_is_averaged_over_an_update(tmp_path):
    common = "task.model.batch_norm=false", "train.num_epoch=1"
    whole = go(tmp_path / "a", *common, "engine.batch_size=8")
    halves = go(tmp_path / "b", *common, "engine.gradient_interval=2")
    assert halves.num_step == 1
    assert losses(halves.folder) == pytest.approx(losses(whole.folder), rel=1e-5)


# === schedulers and metrics ===


def test_schedulers_step_once_an_epoch_or_follow_the_metric(tmp_path):
    def lr_after(folder):
        state = weights(os.path.join(folder, "checkpoint-8.pth"))
        return {group["lr"] for group in state["optimizer"]["param_groups"]}

    four = "train.num_epoch=4"
    step = go(tmp_path / "a", four, "scheduler={class: StepLR, step_size: 2, gamma: 0.5}")
    assert lr_after(step.folder) == {0.01 * 0.5 ** 2}
    # no epoch is better than the threshold allows: the rate falls at the 2nd, 3rd and 4th evaluation
    plateau = "scheduler={class: ReduceLROnPlateau, mode: max, patience: 0, factor: 0.5, threshold: 100}"
    assert lr_after(go(tmp_path / "b", four, plateau).folder) == {0.01 * 0.5 ** 3}
    assert lr_after(go(tmp_path / "c", four, plateau, "eval_interval=2").folder) == {0.01 * 0.5}


def test_a_plateau_against_the_metric_is_warned_of(tmp_path, capsys):
    go(tmp_path / "a", "train.num_epoch=0", "scheduler={class: ReduceLROnPlateau}")
    assert "scheduler.mode is `min`, but `accuracy [class]` is best at its maximum" in capsys.readouterr().err


def test_a_plateau_needs_validation(tmp_path):
    with pytest.raises(ConfigError, match="scheduler: ReduceLROnPlateau follows the validation metric"):
        go(tmp_path / "a", "dataset.num_valid=0", "scheduler={class: ReduceLROnPlateau}")


def test_a_wrong_metric_is_told_before_training(tmp_path):
    with pytest.raises(ConfigError, match=r"metric: no metric is called `acuracy`.* has: `accuracy \["):
        go(tmp_path / "a", "metric=acuracy")
    assert not (tmp_path / "a").exists()


def test_metrics_are_found_by_unique_prefix():
    names = ["accuracy [a]", "accuracy [b]", "f1_max"]
    assert evaluation.find_metric("f1", names) == "f1_max"
    assert evaluation.find_metric("accuracy [b]", names) == "accuracy [b]"
    assert evaluation.find_metric(None, names) == "accuracy [a]"
    with pytest.raises(ConfigError, match="`accuracy` fits several metrics"):
        evaluation.find_metric("accuracy", names)


@pytest.mark.parametrize("name, mode, values, best", [
    ("root mean squared error [x]", None, [3.0, 1.0, 2.0], 1), ("cross entropy loss", None, [1.0, 2.0], 0),
    ("accuracy", None, [1.0, 3.0, 3.0], 1), ("accuracy", "min", [2.0, 1.0], 1),
    ("f1_max", None, [float("nan"), 0.1, float("nan")], 1), ("f1_max", None, [float("nan")], None)])
def test_better_is_lower_for_errors(name, mode, values, best):
    keep = evaluation.Best(name, mode)
    keep.settle([name])
    for i, value in enumerate(values):
        if keep.better(value):
            keep.value, keep.epoch = value, i
    assert keep.epoch == best


def test_splits_by_number_and_by_name():
    class Splits(list):
        has_split = True

        def split(self):
            return [list(part) for part in self]

    a, b = [1], [2, 3]
    assert split([1, 2]) == [[1, 2], None, None]
    assert split(Splits([a, b])) == [a, b, None] and split(Splits([a, [], b])) == [a, None, b]
    named = Splits([a, b])
    named.split_names = ["train", "test"]
    assert split(named) == [a, None, b]
    named.has_split = False
    assert split(named) == [named, None, None]
    with pytest.raises(ConfigError, match="nothing is in the training set; splits with items: `valid`"):
        split(Splits([[], b]))


# === early ends ===


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    with pytest.raises(TrainingStopped, match="training loss became nan in epoch .*not saved. No earlier ones were"):
        go(tmp_path / "a", *REGRESSION, "optimizer={class: SGD, lr: 1e30}", "train.num_epoch=9")
    assert not glob.glob(str(tmp_path / "a" / "*.pth"))
    assert records(tmp_path / "a", "train", "batch")[-1]["values"]["loss"] is None


def test_weights_that_are_no_numbers_stop_the_run_and_the_last_good_ones_are_named(tmp_path, monkeypatch):
    train = core.Engine.train

    def train_to_infinity(solver, *args):
        train(solver, *args)
        if solver.epoch == 2:  # the last step of an epoch: no loss tells, and the accuracy of NaN is a number
            solver.model.model.layers[1].linear.bias.data[0] = float("inf")

    monkeypatch.setattr(core.Engine, "train", train_to_infinity)
    message = "weights `model.layers.1.linear.bias` became .* epoch 2.* last good ones are in .*checkpoint-best.pth"
    with pytest.raises(TrainingStopped, match=message):
        go(tmp_path / "a", "train.num_epoch=9")
    assert not os.path.exists(tmp_path / "a" / "checkpoint-stopped.pth")
    checkpoint.load_encoder(build(config().task, "task"), str(tmp_path / "a"))


@pytest.mark.parametrize("name", ["layers.1.linear.bias", "layers.0.batch_norm.running_var"])
def test_weights_that_are_no_numbers_are_not_loaded(trained, tmp_path, name):
    state = weights(os.path.join(trained.folder, "encoder.pth"))
    state[name][0] = float("nan")
    torch.save(state, tmp_path / "bad.pth")
    with pytest.raises(ConfigError, match="model_checkpoint: `%s` in .*bad.pth` holds NaN or infinity" % name):
        checkpoint.load_encoder(build(config().task, "task"), str(tmp_path / "bad.pth"))


def test_an_interrupted_run_is_saved(tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        # one call of the engine for all epochs, so that the epoch comes from its meter
        go(tmp_path / "a", "train.num_epoch=9", "eval_interval=9", "dataset.interrupt_after=30")
    state = weights(tmp_path / "a" / "checkpoint-stopped.pth")
    assert state["epoch"] > 0
    assert "interrupted in epoch %d." % (state["epoch"] + 1) in capsys.readouterr().err
    assert state["step"] == len(losses(tmp_path / "a")) > 2
    assert os.path.exists(tmp_path / "a" / "encoder.pth")


def test_interrupted_in_the_test_is_no_further_epoch(tmp_path, capsys, monkeypatch):
    from gearnet_plugin.engine import runner

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner._Run, "test", interrupt)
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "a", "train.num_epoch=1")
    assert "interrupted in the evaluation after the last epoch." in capsys.readouterr().err


def test_files_are_whole_or_not_there(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail_halfway():
        with checkpoint.whole_file(str(path)) as file:
            file.write(b"new")
            raise RuntimeError("half")

    with pytest.raises(RuntimeError, match="half"):
        fail_halfway()
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


# === checkpoints ===


def test_an_encoder_is_built_from_its_files_alone(trained):
    with open(os.path.join(trained.folder, "encoder.yaml")) as file:
        recipe = yaml.safe_load(file)
    encoder = core.Configurable.load_config_dict(recipe["encoder"])
    encoder.load_state_dict(weights(os.path.join(trained.folder, "encoder.pth")))
    construction = core.Configurable.load_config_dict(recipe["graph_construction_model"])
    names = [type(layer).__name__ for layer in construction.edge_layers]
    assert names == ["SequentialEdge", "SpatialEdge", "KNNEdge"]
    task = build(config().task, "task")
    assert task.model.config_dict() == recipe["encoder"]
    assert recipe["gearnet_plugin"]


@pytest.mark.parametrize("name", ["encoder.pth", "checkpoint-best.pth", ""])
def test_encoder_weights_load_from_any_file_of_a_run(trained, name):
    task = build(config().task, "task")
    checkpoint.load_encoder(task, os.path.join(trained.folder, name))
    expected = weights(os.path.join(trained.folder, "encoder.pth"))
    assert all(torch.equal(value, expected[key]) for key, value in task.model.state_dict().items())


def test_encoders_are_found_inside_contrast_of_ours_and_stock():
    model = config().task.model
    ours = build({"class": "MultiviewContrastive", "model": model, "crop_funcs": [{"class": "IdentityNode"}],
                  "noise_funcs": [{"class": "IdentityNode"}]}, "task")
    stock = build({"class": "Unsupervised", "model": {
        "class": "MultiviewContrast", "model": dict(model, **{"class": "GearNet"}),
        "crop_funcs": [{"class": "IdentityNode"}], "noise_funcs": [{"class": "IdentityNode"}]}}, "task")
    for one, other in [(ours, stock), (stock, ours)]:
        names = checkpoint.find_encoder(other).state_dict()
        part = checkpoint.encoder_state(one.state_dict(), names)
        assert part.keys() == names.keys()
        assert all(torch.equal(v, checkpoint.find_encoder(one).state_dict()[k]) for k, v in part.items())


@pytest.mark.parametrize("change, words", [
    ({"input_dim": 20}, r"input_dim \(width of the residue features\): .* has 20, the file 21"),
    ({"num_relation": 4}, r"num_relation .*: the configuration has 4, the file 7"),
    ({"hidden_dims": [8, 8, 8]}, r"hidden_dims: the configuration has \[8, 8, 8\], the file \[8, 8\]"),
    ({"num_angle_bin": 8, "edge_input_dim": 59},
     r"num_angle_bin \(edge message passing\): the configuration has 8, the file none.*edge_layers"),
    ({"batch_norm": False}, "batch_norm: the configuration has False, the file True.* Only in .*batch_norm"),
])
def test_weights_that_do_not_fit_are_explained(trained, change, words):
    task = build(dict(config().task, model=dict(config().task.model, **change)), "task")
    with pytest.raises(ConfigError, match="model_checkpoint: .*encoder.pth` do not fit. .*" + words):
        checkpoint.load_encoder(task, trained.folder)


def test_equal_state_dicts_need_no_words(trained):
    state = weights(os.path.join(trained.folder, "encoder.pth"))
    assert explain(state, state) == ""
    assert "No name of the file is one of this model" in explain(state, {"x": state["layers.0.linear.bias"]})


class Evil:
    """What a hostile checkpoint holds."""

    def __reduce__(self):
        return os.system, ("echo broken into",)


def write_evil(path):
    torch.save({"model": Evil()}, path)


def write_pickle(path):
    path.write_bytes(pickle.dumps(Evil()))


def write_half(path):
    torch.save({"x": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])


@pytest.mark.parametrize("write, message", [
    (write_evil, "holds pickled Python objects .*never loaded"),
    (write_pickle, "pickled Python objects|no checkpoint or is damaged"),
    (write_half, "no checkpoint or is damaged"),
    (lambda path: path.write_text("hello"), "no checkpoint or is damaged"),
    (lambda path: path.write_bytes(b""), "no checkpoint or is damaged"),
    (lambda path: torch.save([1, 2], path), "holds list instead of a state dict"),
    (lambda path: torch.save({"model": {"lr": 1}}, path), "holds no weights; its keys are `lr`"),
    (lambda path: path.mkdir(), "holds no checkpoint"),
])
def test_files_that_are_no_weights_are_told(tmp_path, capfd, write, message):
    path = tmp_path / "file.pth"
    write(path)
    with pytest.raises(ConfigError, match="(?s)model_checkpoint: .*(%s)" % message):
        checkpoint.load_encoder(build(config().task, "task"), str(path))
    assert "broken into" not in capfd.readouterr().out


# === command line ===


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(CONFIG + "model_checkpoint: {{ ckpt }}\n")
    return str(path)


def test_variables_are_options(file, tmp_path, capsys):
    more = ["--set", "train.num_epoch=1", "seed=4"]
    assert main(["-c", file, "--ckpt", "null", "--output-dir", str(tmp_path / "runs"), *more]) == 0
    folder = capsys.readouterr().out.split("outputs are in ")[1].strip()
    assert os.path.dirname(folder) == str(tmp_path / "runs" / "tiny")
    with open(os.path.join(folder, "config.yaml")) as opened:
        written = yaml.safe_load(opened)
    assert (written["seed"], written["train"]["num_epoch"], written["model_checkpoint"]) == (4, 1, None)
    # and what was written runs again
    assert main(["-c", os.path.join(folder, "config.yaml"), "--out", str(tmp_path / "again")]) == 0
    assert losses(tmp_path / "again") == losses(folder)


@pytest.mark.parametrize("args, code, message", [
    ([], 1, "tiny.yaml: the file needs a value for `ckpt`: give --ckpt VALUE"),
    (["--ckpt", "null", "--gpu", "0"], 2, "no option `--gpu`, and the file .* Did you mean `--gpus`"),
    (["--ckpt", "null", "--set", "optimizer.lrr=1"], 1, "tiny.yaml: optimizer.lrr: unknown argument"),
    (["--ckpt", "null", "--gpus", "[0,1]"], 1, "PyTorch sees none on this machine|this machine has"),
    (["--ckpt", "null", "--nproc", "0"], 1, "--nproc should be at least 1"),
    (["--ckpt", "/nowhere/x.pth", "--out", "{tmp}"], 1, "model_checkpoint: there is no .*/nowhere/x.pth`"),
    (["--ckpt", "null", "--seed", "x"], 2, "'x' is not a valid integer"),
    (["--ckpt", "null", "--dry-run", "--smoke"], 2, "give one of them"),
    (["--ckpt", "null", "stray"], 1, "--set takes `key.path=value`"),
])
def test_mistakes_are_one_line_without_traceback(file, tmp_path, capsys, args, code, message):
    assert main(["-c", file, *(arg.format(tmp=tmp_path / "out") for arg in args)]) == code
    lines = capsys.readouterr().err.splitlines()
    assert re.search("error: .*(%s)" % message, lines[-1]), lines
    assert not any("Traceback" in line for line in lines)


def test_help_lists_the_variables(file, capsys):
    assert main(["-c", file, "--help"]) == 0
    assert "--ckpt VALUE" in capsys.readouterr().out
    assert main([]) == 2


# === dry runs and smoke ===


def test_a_dry_run_counts_the_paper_size_and_lists_what_is_missing(capsys):
    path = os.path.join(ROOT, "config", "pretrain", "mc_gearnet_edge.yaml")
    sets = ["--set", "dataset.path=/nowhere/af", "model_checkpoint=/nowhere/e.pth"]
    assert main(["-c", path, "--dry-run", *sets]) == 0
    table = capsys.readouterr().out
    # the encoder of the paper: reference count of its own definition
    assert "20,145,635 parameters, output dim 3072" in table
    assert "dataset.path -> /nowhere/af" in table and "model_checkpoint -> /nowhere/e.pth" in table


def test_a_dry_run_lists_a_missing_store(tmp_path, capsys):
    rows = ("%s.pdb,%s,1.5\n" % (split, split) for split in ("train", "valid", "test"))
    (tmp_path / "t.csv").write_text("structure,split,y\n" + "".join(rows))
    path = os.path.join(ROOT, "config", "downstream", "own", "regression.yaml")
    args = ["-c", path, "--table", str(tmp_path / "t.csv"), "--target", "y", "--store", "/nowhere/s", "--dry-run"]
    assert main(args) == 0
    assert "dataset.store -> /nowhere/s" in capsys.readouterr().out


def test_a_dry_run_looks_at_weights_and_processes(trained, file, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    args = ["-c", file, "--dry-run", "--ckpt", trained.folder]
    assert main(args) == 0 and "missing    nothing" in capsys.readouterr().out
    assert main([*args, "--gpus", "0", "--set", "task.model.num_relation=4"]) == 0
    table = capsys.readouterr().out
    assert re.search("missing .*num_relation .* has 4, the file 7", table)
    assert re.search("missing .*PyTorch sees none on this machine", table)


@pytest.mark.parametrize("assignments", [
    ["task.task=[a,b]", "task.criterion=bce", "task.metric=[auroc]", "task.num_class=null", "metric=null"],
    REGRESSION,
    ["task={class: MultipleBinaryClassification, task: [0, 4]}", "metric=f1_max",
     "task.model={class: GearNetEncoder, input_dim: 21, hidden_dims: [64], num_relation: 5}",
     "task.graph_construction_model={class: ResidueGraphConstruction}",
     "task.graph_construction_model.edge_layers=[{class: SequentialEdge}]"],
])
def test_smoke_makes_the_labels_a_task_wants(file, tmp_path, assignments, capsys):
    sets = [part for assignment in assignments for part in ("--set", assignment)]
    assert main(["-c", file, "--smoke", "--out", str(tmp_path / "out"), *sets]) == 0, capsys.readouterr().err
    assert len(losses(tmp_path / "out")) == 2 and len(records(tmp_path / "out", "valid")) == 1


def test_smoke_is_decided_by_the_seed_and_equals_stock(tmp_path):
    path = os.path.join(ROOT, "config", "quickstart", "finetune.yaml")
    curves = []
    for i, more in enumerate([["--seed", "1"], ["--seed", "2"], ["--seed", "1", "--stock"]]):
        assert main(["-c", path, "--smoke", "--out", str(tmp_path / str(i)), *more]) == 0
        curves.append(losses(tmp_path / str(i)))
    assert curves[1] != curves[0]
    assert curves[2] == pytest.approx(curves[0], rel=1e-4)
