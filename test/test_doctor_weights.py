"""``gearnet doctor`` of weights, recipes, runs, embeddings and configurations."""

import json
import os
import re
import types
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import yaml

from gearnet_plugin import models
from gearnet_plugin.cli import doctor_weights, main
from gearnet_plugin.embedding import Embeddings
from gearnet_plugin.embedding import published as table
from gearnet_plugin.engine import checkpoint
from proteins import construction

ROOT = Path(__file__).resolve().parent.parent
SMALL = {"input_dim": 21, "hidden_dims": [8, 8], "num_relation": 7, "edge_input_dim": 59, "num_angle_bin": 8}


def encoder(**changes):
    torch.manual_seed(0)
    return models.GearNetEncoder(**{**SMALL, "batch_norm": True, **changes})


def test_encoder_alone_in_words(tmp_path, capsys):
    path = tmp_path / "encoder.pth"
    torch.save(encoder().state_dict(), path)
    assert main(["doctor", str(path)]) == 0
    told = capsys.readouterr().out
    count = sum(p.numel() for p in encoder().parameters())
    for words in (
        "GearNet-Edge: 2 layers of 8, 21 features a residue, 7 kinds of edges, edge messages by 8 angle bins from 59 "
        "features an edge, batch norm",
        f"{count:,} parameters",
        "the encoder alone",
        "no encoder.yaml beside it",
        "every value is a finite number",
        "fits the encoder of none of the configurations",
    ):
        assert words in told, (words, told)


def test_checkpoint_of_a_task_in_words(tmp_path, capsys):
    state = {f"model.{name}": value for name, value in encoder(num_angle_bin=None).state_dict().items()}
    state |= {"mlp.layers.0.weight": torch.zeros(8, 8), "mlp.layers.1.weight": torch.zeros(538, 8)}
    path = tmp_path / "checkpoint-best.pth"
    torch.save({"model": state, "optimizer": {}, "epoch": 3, "step": 40}, path)
    assert main(["doctor", str(path)]) == 0
    told = capsys.readouterr().out
    for words in (
        "encoder: GearNet: 2 layers of 8",
        "no edge messages",
        "a whole task: the encoder is under `model`, beside it 4,368 parameters",
        "`mlp` gives 538 numbers",
        "saved in training: epoch 3, step 40",
        "state of the optimizer",
    ):
        assert words in told, (words, told)


def test_weights_that_diverged_fail(tmp_path, capsys):
    state = encoder().state_dict()
    state["layers.1.linear.weight"][0, 0] = float("nan")
    torch.save(state, tmp_path / "a.pth")
    assert main(["doctor", str(tmp_path / "a.pth")]) == 1
    assert (
        "1 of " in (told := capsys.readouterr().err) and "`layers.1.linear.weight`: the training has diverged" in told
    )


def test_files_that_are_no_weights(tmp_path, capsys):
    torch.save({"a": 1}, tmp_path / "a.pth")
    assert main(["doctor", str(tmp_path / "a.pth")]) == 1
    assert "no weights in it; its keys are a" in capsys.readouterr().err
    torch.save(encoder(), tmp_path / "whole.pth")
    assert main(["doctor", str(tmp_path / "whole.pth")]) == 1
    assert "never loaded" in capsys.readouterr().err
    torch.save({"somebody.else": torch.ones(2)}, tmp_path / "b.pth")
    assert main(["doctor", str(tmp_path / "b.pth")]) == 0
    assert "no encoder of GearNet's" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mc_gearnet_edge", "GearNet-Edge: 6 layers of 512, 21 features"),
        ("fold_mc_gearnet_edge_ieconv", "GearNet-Edge-IEConv: 6 layers of 512, 21 features"),
    ],
)
def test_published_sizes_fit_their_configurations(name, words):
    """Shapes are enough: the encoders are made on the device ``meta``."""
    recipe = table.find(name).recipe()["encoder"]
    kind = getattr(models, recipe.pop("class").removeprefix("models."))
    with torch.device("meta"):
        state = kind(**recipe).state_dict()
    assert doctor_weights.variant(state).startswith(words)
    fitting = doctor_weights.fitting_configs(state)
    assert any("ieconv" in config for config in fitting) == ("ieconv" in name)
    assert ("pretrain/mc_gearnet_edge.yaml" in fitting) == (name == "mc_gearnet_edge")


def test_encoder_inside_a_fusion_is_found():
    state = {f"model.structure_model.{name}": value for name, value in encoder(input_dim=1280).state_dict().items()}
    state |= {
        "model.sequence_model.model.layers.0.fc1.weight": torch.zeros(2, 2),
        "mlp.layers.0.weight": torch.zeros(3, 2),
    }
    assert doctor_weights.encoder_prefix(state) == "model."
    told = "\n".join(doctor_weights.describe(state))
    assert "1280 features a residue" in told and "with a sequence model" in told and "`mlp` gives 3 numbers" in told


def test_published_file_is_known_by_its_checksum(tmp_path, monkeypatch, capsys):
    torch.save(encoder().state_dict(), tmp_path / "mc_gearnet_edge.pth")
    assert main(["doctor", str(tmp_path / "mc_gearnet_edge.pth")]) == 0
    assert "named like the published mc_gearnet_edge, but its checksum is another" in capsys.readouterr().out
    monkeypatch.setattr(doctor_weights, "_md5", lambda file: table.find("mc_gearnet_edge").md5)
    assert main(["doctor", str(tmp_path / "mc_gearnet_edge.pth")]) == 0
    assert "published as mc_gearnet_edge: GearNet-Edge, AlphaFold DB, multiview contrast" in capsys.readouterr().out


@pytest.fixture
def run(tmp_path):
    """The folder of a run of two epochs, with its encoder."""
    folder = tmp_path / "run"
    folder.mkdir()
    config = {"dataset": {"class": "StructureFolder", "path": "x"}, "task": {"class": "T"}, "train": {"num_epoch": 5}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "versions.json").write_text(json.dumps({"torch": "2.4", "started": "today", "command": ["run.py", "-c"]}))
    lines = [{"kind": "train", "scope": "epoch", "epoch": i, "step": i, "values": {"loss": 1.0 / i}} for i in (1, 2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"kind": "va')
    (folder / "log.txt").write_text("12:00:00 best epoch is 2 with f1_max 0.75\n")
    results = {"test": {"f1_max": 0.5}, "intervals": {"f1_max": [0.4, 0.6]}}
    (folder / "results.json").write_text(json.dumps(results))
    task = types.SimpleNamespace(model=encoder(), graph_construction_model=construction())
    checkpoint.save_encoder(task, str(folder), "1.0")
    return folder


def test_run_in_words(run, capsys):
    assert main(["doctor", str(run)]) == 0
    told = capsys.readouterr().out
    for words in (
        f"{run}: folder of a run",
        "task T, data set StructureFolder at x",
        "command: run.py -c",
        "2 of 5 epochs, 2 updates",
        "training loss 1 in the first epoch, 0.5 in the last",
        "best epoch 2: f1_max 0.75",
        "on the test set: f1_max 0.5 (0.4 to 0.6)",
        "recipe of an encoder, GearNetEncoder",
        "results.json (0.1 kB)",
        "every value is a finite number",
    ):
        assert words in told, (words, told)
    assert main(["doctor", str(run), "--quick"]) == 0
    assert "finite number" not in capsys.readouterr().out


def test_a_run_without_a_test_set_says_so(run, capsys):
    """As pretraining leaves it: results, but none of a test."""
    (run / "results.json").write_text('{"test": {}}')
    (run / "metrics.jsonl").write_text("")
    assert main(["doctor", str(run), "--quick"]) == 0
    assert "no test result: the run has not finished, or has no test set" in capsys.readouterr().out


def test_recipe_in_words(run, capsys):
    assert main(["doctor", str(run / "encoder.yaml")]) == 0
    told = capsys.readouterr().out
    count = sum(p.numel() for p in encoder().parameters())
    for words in (
        "recipe of an encoder, GearNetEncoder, written by gearnet-plugin 1.0",
        "hidden_dims 2 x 8",
        "graph: SpatialEdge (radius 10.0, min_distance 5, max_num_neighbors 32)",
        f"goes with encoder.pth beside it: {count:,} parameters, an embedding has 8 dimensions",
    ):
        assert words in told, (words, told)
    (run / "encoder.pth").unlink()
    assert main(["doctor", str(run / "encoder.yaml")]) == 0
    assert "no encoder.pth beside it" in capsys.readouterr().out


def test_run_whose_weights_diverged_fails(run, capsys):
    state = torch.load(run / "encoder.pth", weights_only=True)
    state["batch_norms.0.weight"].fill_(float("inf"))
    torch.save(state, run / "encoder.pth")
    assert main(["doctor", str(run)]) == 1
    assert "diverged" in capsys.readouterr().err


def embeddings(count=3, width=4):
    rows = [np.ones((2, width), dtype=np.float32)] * count
    keys = [{"chain_id": ["A"] * 2, "residue_number": [1, 2], "insertion_code": [""] * 2, "residue_name": ["ALA"] * 2}]
    keys = [{name: np.array(values) for name, values in key.items()} for key in keys] * count
    protein = np.ones((count, width), dtype=np.float32)
    names = [f"p{i}" for i in range(count)]
    return Embeddings(names, names, np.full(count, 2), protein, rows, keys, [("bad.pdb", "empty")], {"encoder": "E"})


@pytest.mark.parametrize("ending", ["npz", "h5", "pt", "parquet"])
def test_embeddings_in_words(tmp_path, capsys, ending):
    path = tmp_path / f"e.{ending}"
    embeddings().save(path)
    assert main(["doctor", str(path)]) == 0
    told = capsys.readouterr().out
    if ending == "parquet":
        assert "table of 3 rows, a row a protein" in told and "encoder E" in told
        return
    for words in (
        "embeddings of 3 proteins, 6 residues",
        "`residue`: 6 rows of 4 dimensions, median norm 2",
        "first: p0, p1, p2",
        "made with encoder E",
        "bad.pdb: empty",
    ):
        assert words in told, (words, told)


def test_embeddings_that_are_not_finite_fail(tmp_path, capsys):
    made = embeddings()
    made.residue[1] = np.full((2, 4), np.nan, dtype=np.float32)
    for ending in ("npz", "h5"):
        made.save(tmp_path / f"e.{ending}")
        assert main(["doctor", str(tmp_path / f"e.{ending}")]) == 1
        assert "`residue`: 2 of 6 rows hold NaN or infinity" in capsys.readouterr().err


def test_other_arrays_are_listed(tmp_path, capsys):
    np.savez(tmp_path / "a.npz", logits=np.zeros((2, 3)))
    assert main(["doctor", str(tmp_path / "a.npz")]) == 0
    assert "logits: float64 of shape [2, 3]" in capsys.readouterr().out
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["other"] = np.zeros(3)
    assert main(["doctor", str(tmp_path / "a.h5")]) == 1
    assert "cannot read structure" in capsys.readouterr().err


class Pickled:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_objects_in_arrays_are_told_and_never_loaded(tmp_path, capsys):
    trap = np.array([[Pickled(tmp_path / "trap")]], dtype=object)
    columns = {"lengths": np.ones(1), "info": np.array("{}"), "drops": np.zeros((0, 2), "U1")}
    np.savez(tmp_path / "a.npz", other=trap)
    np.savez(tmp_path / "b.npz", names=trap, **columns)
    np.savez(tmp_path / "c.npz", names=np.array(["a"]), protein=trap, **columns)
    assert main(["doctor", str(tmp_path / "a.npz")]) == 0
    assert "other: object of shape [1, 1], pickled objects, which are never loaded" in capsys.readouterr().out
    for name in ("b.npz", "c.npz"):
        assert main(["doctor", str(tmp_path / name)]) == 1
        assert f"{name}` looks like a file of embeddings, but is damaged or was" in capsys.readouterr().err
    assert not (tmp_path / "trap").exists()


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("empty.npz", "", "`.*empty.npz` is no .npz file, or is cut off"),
        ("text.npz", "text", "`.*text.npz` is no .npz file, or is cut off"),
        ("text.parquet", "text", "text.parquet` looks like a file of embeddings, but is damaged"),
        ("a.yaml", "encoder: 3", "a.yaml` looks like the recipe of an encoder, but is damaged"),
        ("b.yaml", "encoder: [", "b.yaml` looks like the recipe of an encoder.*ParserError"),
        ("c.yaml", "encoder: !!python/object/apply:os.mkdir [trap]", "recipe of an encoder.*ConstructorError"),
        ("d.yaml", "encoder: {class: A}\ngraph_construction_model: 3", "the recipe of an encoder, but is damaged"),
    ],
)
def test_files_of_others_bring_no_traceback(tmp_path, capsys, monkeypatch, name, content, words):
    """A line that names the file and says why; never "interrupted", which an empty file used to be."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text(content)
    assert main(["doctor", name]) == 1
    told = capsys.readouterr().err
    assert re.search(words, told) and told.startswith("error: ") and "pickle" not in told
    assert not (tmp_path / "trap").exists()


def test_embeddings_of_others_bring_no_traceback(tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.zeros(3))
    (tmp_path / "a.npy").rename(tmp_path / "array.npz")
    torch.save({"names": ["a"], "lengths": torch.ones(1), "info": {}}, tmp_path / "few.pt")
    torch.save({1: torch.ones(2), "b": torch.ones(2)}, tmp_path / "numbered.pth")
    with h5py.File(tmp_path / "few.h5", "w") as file:
        file["names"], file["lengths"], file["info"] = ["a"], [1], "{}"
    for name in ("array.npz", "few.pt", "few.h5"):
        assert main(["doctor", str(tmp_path / name)]) == 1
        assert name in (told := capsys.readouterr().err) and told.startswith("error: ") and told.count("\n") == 1
    assert main(["doctor", str(tmp_path / "numbered.pth")]) == 0
    for name in ("array.npz", "few.h5"):
        with pytest.raises(ValueError, match=f"{name}` is no .npz file"):
            Embeddings.load(tmp_path / name)


@pytest.mark.parametrize("name, content", [
    ("config.yaml", "3"), ("config.yaml", "task: 3\ndataset: [1]"), ("versions.json", "[1]"),
    ("metrics.jsonl", '{"kind": "train", "scope": "epoch", "values": {}}'), ("results.json", '{"test": {"a": 1}, '
     '"intervals": {"a": 3}}'),
])  # fmt: skip
def test_runs_of_others_bring_no_traceback(tmp_path, capsys, name, content):
    (tmp_path / "config.yaml").write_text("task: {class: A}")
    (tmp_path / "log.txt").write_text("")
    (tmp_path / name).write_text(content)
    assert main(["doctor", str(tmp_path)]) == 1
    assert "looks like the folder of a run, but is damaged or was written by" in capsys.readouterr().err


def test_configuration_is_shown_as_by_a_dry_run(capsys):
    assert main(["doctor", str(ROOT / "config" / "pretrain" / "mc_gearnet_edge.yaml")]) == 0
    told = capsys.readouterr().out
    assert "GearNetEncoder, 20,145,635 parameters" in told and "missing" in told
