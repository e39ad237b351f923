"""Weights of sequence models: which files are missing, where they belong, and how they come."""

import hashlib
import os

import pytest
import torch
from torch.utils import data as torch_data

from file_server import DATA
from gearnet_plugin.engine import ConfigError, RunOptions, run, weight_files
from gearnet_plugin.engine.build import build
from gearnet_plugin.engine.command import main
from gearnet_plugin.engine.config import parse, render
from gearnet_plugin.engine.schema import complete
from sequence_models import WIDTH, tiny_weights
from tiny_run import CONFIG
from torchdrug import core, models, utils

NAMES = ["esm1b_t33_650M_UR50S.pt", "esm1b_t33_650M_UR50S-contact-regression.pt"]
FUSION = """
class: SequenceStructureFusion
sequence_model: {class: ESM, path: %s, model: %s}
structure_model: {class: GearNetEncoder, input_dim: %d, hidden_dims: [8], num_relation: 7}
"""


def config(folder, model="ESM-1b", width=1280):
    made = parse(render(CONFIG, {"gpus": None}))
    made["task"]["model"] = parse(FUSION % (folder, model, width))
    return complete(made)


@pytest.fixture
def file(tmp_path):
    """A configuration with ESM whose folder does not exist."""
    path = tmp_path / "esm.yaml"
    path.write_text(
        CONFIG.replace("    class: GearNetEncoder\n", "    class: ESM\n    path: %s\n" % (tmp_path / "esm")).replace(
            "    input_dim: 21\n    hidden_dims: [8, 8]\n    num_relation: 7\n    batch_norm: true\n", ""
        )
    )
    return str(path)


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Addresses of ESM-1b's two files, with what they should hold."""
    (tmp_path / "web").mkdir()
    for model, name in zip(("ESM-1b", "ESM-1b-regression"), NAMES):
        (tmp_path / "web" / name).write_bytes(DATA + name.encode())
        monkeypatch.setitem(models.ESM.url, model, (tmp_path / "web" / name).as_uri())
        monkeypatch.setitem(models.ESM.md5, model, hashlib.md5(DATA + name.encode()).hexdigest())
    weight_files._checked.clear()
    return tmp_path / "web"


# === which ===


def test_a_fusion_names_its_files():
    """ESM-1b has two, with their addresses; ESM-2 one."""
    found = weight_files.named(config("/weights"))
    assert [(key, os.path.basename(path)) for key, _, path, _, _ in found] == [
        ("task.model.sequence_model", name) for name in NAMES
    ]
    assert found[0][2:] == ("/weights/" + NAMES[0], models.ESM.url["ESM-1b"], models.ESM.md5["ESM-1b"])
    assert len(weight_files.named(config("/weights", "ESM-2-8M"))) == 1
    assert weight_files.named(parse(render(CONFIG, {"gpus": None}))) == []
    assert weight_files.named(config("/weights", "ESM-9")) == []  # for the constructor to tell


def test_a_dry_run_lists_what_is_missing_and_makes_nothing(file, tmp_path, capsys):
    assert main(["-c", file, "--dry-run"]) == 0
    table = capsys.readouterr().out
    for name, url in zip(NAMES, (models.ESM.url["ESM-1b"], models.ESM.url["ESM-1b-regression"])):
        assert "needs %s; fetch %s (md5 " % (tmp_path / "esm" / name, url) in table
    assert not (tmp_path / "esm").exists()


def test_a_dry_run_reads_no_gigabytes(file, tmp_path, capsys, monkeypatch):
    """Files that are there are named and not opened."""
    (tmp_path / "esm").mkdir()
    for name in NAMES:
        (tmp_path / "esm" / name).write_bytes(b"no weights")
    monkeypatch.setattr(models.ESM, "load_weight", lambda *args: pytest.fail("weights were read"))
    assert main(["-c", file, "--dry-run"]) == 0
    table = capsys.readouterr().out
    assert "ESM-1b: %s, 0.0 GB, there and not read" % (tmp_path / "esm" / NAMES[0]) in table
    assert "missing    nothing" in table


# === a run ===


@pytest.mark.parametrize("arguments", [["--no-download"], []])
def test_missing_weights_are_one_line_before_data_are_opened(file, tmp_path, capsys, monkeypatch, arguments):
    """With and without --no-download, where there is no network: which file, from where, where to put it."""
    gone = (tmp_path / "gone.pt").as_uri()
    monkeypatch.setitem(models.ESM.url, "ESM-1b", gone)
    assert main(["-c", file, "--out", str(tmp_path / "out"), "--set", "dataset.fault=item", *arguments]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    target = tmp_path / "esm" / "gone.pt"
    assert "error: %s: task.model: the weights of ESM-1b are missing: " % file in line
    assert "`%s`" % target in line and "Fetch %s" % gone in line and "put it at `%s`" % target in line
    assert not (tmp_path / "out").exists()


def test_files_come_once_and_are_checked(published, tmp_path):
    made = config(tmp_path / "esm")
    weight_files.have_all(made)
    assert sorted(os.listdir(tmp_path / "esm")) == sorted(NAMES)
    for name in NAMES:
        os.remove(published / name)
    # there, so without network; and checked once
    weight_files.have_all(made, allowed=False)
    with open(tmp_path / "esm" / NAMES[0], "ab") as file:
        file.write(b"cut")
    with pytest.raises(ConfigError, match="task.model.sequence_model: the weights of ESM-1b .*md5 is .* is expected"):
        weight_files.have_all(made)


def test_constructors_have_their_files_by_the_same_way(published, tmp_path):
    """What TorchDrug's models and datasets fetch is resumed and never overwritten, or not fetched at all."""
    before = utils.download
    url, md5 = models.ESM.url["ESM-1b"], models.ESM.md5["ESM-1b"]
    with weight_files.downloads(False), pytest.raises(FileNotFoundError, match="downloads are switched off"):
        utils.download(url, str(tmp_path), md5=md5)
    with weight_files.downloads():
        assert utils.download(url, str(tmp_path), save_file="w.pt", md5=md5) == str(tmp_path / "w.pt")
    with weight_files.no_downloads(), pytest.raises(weight_files.Unavailable, match="is there and not read"):
        utils.download(url, str(tmp_path), save_file="w.pt", md5=md5)
    assert utils.download is before


def test_a_fusion_with_weights_trains(published, tmp_path):
    """ESM's constructor takes the files that the run has put there."""
    seen = []

    def load(model, path, name):
        seen.append(utils.download(models.ESM.url["ESM-1b"], path, md5=models.ESM.md5["ESM-1b"]))
        return load_tiny(model, path, name)

    with tiny_weights():
        load_tiny = models.ESM.load_weight
        models.ESM.load_weight = load
        models.ESM.output_dim["ESM-1b"], layers = WIDTH, models.ESM.num_layer["ESM-1b"]
        models.ESM.num_layer["ESM-1b"] = 2
        try:
            made = config(tmp_path / "esm", width=WIDTH)
            made.sequence_model_lr_ratio = 0.1
            result = run(made, RunOptions(out=str(tmp_path / "out")))
        finally:
            models.ESM.output_dim["ESM-1b"], models.ESM.num_layer["ESM-1b"] = 1280, layers
            models.ESM.load_weight = load_tiny
    assert seen and result.num_epoch == 2
    state = torch.load(tmp_path / "out" / "checkpoint-best.pth", weights_only=True)["optimizer"]
    assert sorted({group["lr"] for group in state["param_groups"]}) == pytest.approx([1e-3, 1e-2])


# === --no-download ===


def test_published_weights_are_listed_by_a_dry_run_and_not_fetched(tmp_path, capsys, monkeypatch):
    """A name in place of a file: what is missing, without network in a dry run and with --no-download."""
    from gearnet_plugin.embedding import published

    monkeypatch.setenv("GEARNET_PLUGIN_WEIGHTS", str(tmp_path / "weights"))
    name = next(row.name for row in published.published() if row.url)
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG)
    sets = ["-c", str(path), "--set", "model_checkpoint=%s" % name]
    assert main([*sets, "--dry-run"]) == 0
    assert "missing    model_checkpoint: the published weights `%s`" % name in capsys.readouterr().out
    assert main([*sets, "--no-download", "--out", str(tmp_path / "out")]) == 1
    assert "downloads are switched off" in capsys.readouterr().err and not (tmp_path / "weights").exists()


@core.Registry.register("datasets.DownloadingForTests")
class Downloading(torch_data.Dataset, core.Configurable):
    """Says what it was given."""

    def __init__(self, path, download=True, transform=None):
        self.download = download


def test_no_download_reaches_every_dataset():
    """Also one inside another; what has no such argument is left alone."""
    inner = {"class": "DownloadingForTests", "path": "p"}
    found = weight_files.without_network({"dataset": inner, "task": {"class": "PropertyPrediction"}, "seed": 1})
    assert found == {"dataset": {**inner, "download": False}, "task": {"class": "PropertyPrediction"}, "seed": 1}
    assert build(found["dataset"], "dataset").download is False
    assert "download" not in inner


@pytest.mark.parametrize(
    "name",
    [
        "EnzymeCommissionStructures",
        "GeneOntologyStructures",
        "FoldStructures",
        "ReactionStructures",
        "AlphaFoldStructures",
    ],
)
def test_datasets_say_what_is_missing_without_network(tmp_path, name):
    made = parse(render(CONFIG, {"gpus": None}))
    made["dataset"] = {"class": name, "path": str(tmp_path / "data")}
    if name == "AlphaFoldStructures":
        made["dataset"]["species_id"] = 0
    made["task"].update(task=None, num_class=None)
    with pytest.raises(ConfigError, match="(?s)dataset: .*(downloads are switched off|not there|no structures at)"):
        run(made, RunOptions(out=str(tmp_path / "out"), download=False))
