"""gearnet predict: every format holds the same, whatever interrupts it, and what is wrong is told before computing."""

import csv
import json
import os
import re
import shutil

import numpy as np
import pytest

import predict_runs
from gearnet_plugin.cli import main
from gearnet_plugin.embedding import LoadedEncoder, load_encoder, prediction_files, prediction_to_file, staging
from gearnet_plugin.embedding.prediction import Predictions, ProteinPrediction
from gearnet_plugin.structures.bundled import bundled_structures
from peptides import write_peptides
from structure_text import write
from test_embedding import write_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return predict_runs.make(tmp_path_factory.mktemp("runs"), ["multilabel", "residue"])[0]


@pytest.fixture
def folder(tmp_path):
    """Five peptides and a file that is none."""
    write_peptides(tmp_path / "in", 5)
    write(tmp_path / "in" / "q.pdb", "nothing")
    return tmp_path / "in"


@pytest.fixture
def predict(runs):
    """The command: ``predict(out, *arguments, kind=...) -> exit code``."""

    def predict(out, *arguments, kind="multilabel", batch=1000):
        options = ["--model", runs[kind], "-o", out, "--device", "cpu", "--batch-residues", batch, "--quiet"]
        return main(list(map(str, ["predict", *arguments, *options])))

    return predict


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("kind", ["multilabel", "residue"])
def test_every_format_holds_the_same(predict, runs, folder, tmp_path, kind):
    pq = pytest.importorskip("pyarrow.parquet")
    for ending in ("csv", "json", "parquet"):
        assert predict(tmp_path / f"out.{ending}", folder, "--top", 2, kind=kind) == 0
    expected = list(load_encoder(runs[kind]).predict(str(folder), top=2, verbose=0).rows())
    rows, parquet = table(tmp_path / "out.csv"), pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert len(rows) == len(parquet) == len(expected) and list(rows[0]) == list(parquet[0])
    for row, other, own in zip(rows, parquet, expected):
        assert list(own) == list(row)
        for name, value in own.items():
            if isinstance(value, float):
                assert float(row[name]) == pytest.approx(value, rel=1e-5)
                assert other[name] == pytest.approx(value, rel=1e-5)
            else:
                text = "" if value is None else str(value)
                assert row[name] == (text.lower() if isinstance(value, bool) else text)
                assert other[name] == value
    with open(tmp_path / "out.json") as file:
        proteins = json.load(file)
    assert [protein["name"] for protein in proteins] == list(dict.fromkeys(row["name"] for row in rows))
    labels = [label for protein in proteins for part in protein.get("residues", [protein]) for label in part["labels"]]
    assert [label["label"] for label in labels] == [row["label"] for row in rows]
    assert all("short" in [warning["code"] for warning in protein["warnings"]] for protein in proteins)
    info = json.loads(pq.read_schema(tmp_path / "out.parquet").metadata[b"gearnet_plugin"])
    assert "short: " in rows[0]["warnings"] and info["level"] == ("residue" if kind == "residue" else "protein")


def test_names_of_any_text_survive(tmp_path):
    """Commas, quotes, line ends of every kind, other scripts and bytes of file names that are no text."""
    names = ["a,b", 'a"b', "a\nb", "a\rb", "a\r\nb", "β-barrel", "1", "", " a ", "=1+1"]
    rows = [{"label": name, "value": 1.5} for name in names]
    found = [ProteinPrediction("p", "p\udcff.pdb", "A", 9, rows, [])]
    columns = ["name", "source", "chain", "length", "label", "value", "warnings"]
    for ending in ("csv", "json", "parquet"):
        prediction_files.write(str(tmp_path / f"out.{ending}"), found, columns, {})
    read = table(tmp_path / "out.csv")
    assert [row["label"] for row in read] == names and read[0]["source"] == r"p\xff.pdb"
    content = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert [row["label"] for row in content[0]["labels"]] == names
    parquet = pytest.importorskip("pyarrow.parquet").read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["label"] for row in parquet] == names and parquet[0]["source"] == r"p\xff.pdb"


def test_python_saves_what_the_command_writes(predict, runs, folder, tmp_path):
    assert predict(tmp_path / "out.csv", folder, "--threshold", 0.2) == 0
    result = load_encoder(runs["multilabel"]).predict(str(folder), threshold=0.2, verbose=0)
    assert isinstance(result, Predictions) and list(result.to_table()) == result.columns
    result.save(tmp_path / "python.csv")
    assert (tmp_path / "python.csv").read_bytes() == (tmp_path / "out.csv").read_bytes()


def test_what_is_left_out_is_told(predict, folder, tmp_path, capsys):
    assert predict(tmp_path / "out.csv", folder) == 0
    told = capsys.readouterr().out
    assert "5 structures" in told and "Left out: 1. Why, in" in told and "q.pdb: " in told
    assert re.search(r"\d+ of the labels in it are above the threshold, a probability of 0\.\d+", told)
    assert "are calibrated on 6 validation proteins: error" in told and "shorter than all training proteins" in told
    with open(f"{tmp_path / 'out.csv'}.drops.tsv") as file:
        assert [line.split("\t")[0] for line in file] == ["file", str(folder / "q.pdb")]
    assert predict(tmp_path / "strict.csv", folder, "--strict") == 2
    assert (tmp_path / "strict.csv").read_bytes() == (tmp_path / "out.csv").read_bytes()


def test_labels_and_chains_can_be_chosen(predict, folder, tmp_path):
    assert predict(tmp_path / "out.csv", folder, "--label", "alpha", "--label", "beta", "--chain", "A") == 0
    assert {row["label"] for row in table(tmp_path / "out.csv")} == {"alpha", "beta"}


def test_interrupted_and_gone_on(predict, folder, tmp_path, capsys, monkeypatch):
    """Ctrl-C keeps what is done, also for other labels and thresholds, and the file is that of one go."""
    assert predict(tmp_path / "whole.csv", folder, "--top", 1, batch=1) == 0
    encode, calls = LoadedEncoder.encode, []

    def encode_some(self, structures):
        calls.append(1)
        if len(calls) == 5:  # one of them tries the encoder out
            raise KeyboardInterrupt
        return encode(self, structures)

    monkeypatch.setattr(LoadedEncoder, "encode", encode_some)
    capsys.readouterr()
    assert predict(tmp_path / "out.csv", folder, "--top", 3, batch=1) == 130
    assert "interrupted: 3 of 6 structures are done" in capsys.readouterr().err
    assert staging.FACTS in os.listdir(tmp_path / "out.csv.part") and not (tmp_path / "out.csv").exists()
    assert predict(tmp_path / "out.csv", folder, "--top", 1, batch=1) == 0
    assert "Went on after 3 files" in capsys.readouterr().out
    # four, a trial before them, and the two that were left after another trial
    assert len(calls) == 8
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert not (tmp_path / "out.csv.part").exists()


def test_blocks_change_nothing(predict, folder, tmp_path, monkeypatch):
    assert predict(tmp_path / "a.json", folder) == 0
    monkeypatch.setattr(prediction_to_file, "BLOCK", 2)
    assert predict(tmp_path / "b.json", folder) == 0
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_what_embed_began_is_not_gone_on_with(predict, runs, folder, tmp_path, capsys, monkeypatch):
    encode, calls = LoadedEncoder.encode, []

    def encode_some(self, structures):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return encode(self, structures)

    monkeypatch.setattr(LoadedEncoder, "encode", encode_some)
    out = tmp_path / "out.parquet"
    assert main(["embed", str(folder), "-m", runs["multilabel"], "-o", str(out), "--batch-residues", "1"]) == 130
    assert predict(out, folder, batch=1) == 1
    assert "holds what an interrupted call has done with" in capsys.readouterr().err
    assert predict(out, folder, "--force", batch=1) == 0 and not (tmp_path / "out.parquet.part").exists()


# === what is wrong is told before computing ===


@pytest.mark.parametrize("arguments, message", [
    (["--label", "alfa"], "does not predict `alfa`. Of its 3 labels the nearest are `alpha`"),
    (["--threshold", "high"], "threshold should be a probability from 0 to 1, or `fmax`"),
    (["--chain", "Z"], "none of the structures has a chain `Z`; the chains seen are `A`"),
])  # fmt: skip
def test_wrong_options(predict, folder, tmp_path, capsys, arguments, message):
    assert predict(tmp_path / "out.csv", folder, *arguments) == 1
    assert message in capsys.readouterr().err and not (tmp_path / "out.csv").exists()


def test_wrong_places(predict, folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(LoadedEncoder, "stream", lambda *args, **kwargs: pytest.fail("computed"))
    (tmp_path / "there.csv").write_text("mine")
    cases = {
        "there.csv": "exists; --force (force=True) replaces it", "out.npz": "saved in a file ending in .csv, .json or",
        "no/out.csv": "there is no folder",
    }  # fmt: skip
    for name, message in cases.items():
        assert predict(tmp_path / name, folder) == 1
        assert message in capsys.readouterr().err
    assert (tmp_path / "there.csv").read_text() == "mine"
    assert predict(tmp_path / "out.csv", tmp_path / "nothing") == 1
    assert "nothing" in capsys.readouterr().err
    from gearnet_plugin.embedding import to_file

    def refuse(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(to_file.tempfile, "TemporaryFile", refuse)
    assert predict(tmp_path / "out.csv", folder) == 1
    assert "nothing can be written to the folder" in capsys.readouterr().err


def test_force_replaces(predict, folder, tmp_path):
    (tmp_path / "out.csv").write_text("mine")
    assert predict(tmp_path / "out.csv", folder, "--force") == 0
    assert len(table(tmp_path / "out.csv")) >= 5


def test_models_that_do_not_predict(folder, tmp_path, capsys, runs, monkeypatch):
    """A pretraining run, none at all, and one whose name is nearly right."""
    pretrained, _ = write_run(tmp_path / "pretrained")
    out = ["-o", str(tmp_path / "out.csv"), "--device", "cpu"]
    assert main(["predict", str(folder), "--model", pretrained, *out]) == 1
    assert "is an encoder without a head, so it predicts nothing. Fine-tune it" in capsys.readouterr().err
    (tmp_path / "here" / "runs").mkdir(parents=True)
    shutil.copytree(runs["multilabel"], tmp_path / "here" / "runs" / "mine")
    monkeypatch.chdir(tmp_path / "here")
    assert main(["predict", str(folder), "--model", "runs/mnie", *out]) == 1
    assert "Under `runs` there are `runs/mine`" in capsys.readouterr().err
    assert main(["predict", str(folder), "--model", "runs/mine", *out]) == 0


def test_help_has_an_example(capsys):
    assert main(["predict", "--help"]) == 0
    told = capsys.readouterr().out
    assert "gearnet predict my_structures/ --model" in told and "--threshold fmax|X" in told


def test_memory_is_that_of_a_block(predict, folder, tmp_path, monkeypatch):
    """Rows are made protein by protein while the file is written, never all of them."""
    from gearnet_plugin.embedding import prediction_files

    alive = []

    def watched(proteins):
        import gc
        import weakref

        for protein in proteins:
            gc.collect()
            alive.append(weakref.ref(protein))
            assert sum(ref() is not None for ref in alive) <= 3
            yield protein

    write_all = prediction_files.write
    monkeypatch.setattr(prediction_to_file, "write", lambda path, found, *rest: write_all(path, watched(found), *rest))
    monkeypatch.setattr(prediction_to_file, "BLOCK", 1)
    assert predict(tmp_path / "out.csv", folder, bundled_structures()[0], "--top", 3) == 0
    assert len(alive) == 6 and np.isfinite([float(row["probability"]) for row in table(tmp_path / "out.csv")]).all()
