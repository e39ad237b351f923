"""gearnet embed: the same vectors in every format, however the structures come and whatever interrupts it."""

import csv
import glob
import os
import shutil
import signal
import subprocess
import sys
import time
import weakref

import numpy as np
import pytest
import torch

from conftest import ROOT
from gearnet_plugin.cli import main
from gearnet_plugin.embedding import Embeddings, LoadedEncoder, embed_to_file, load_encoder, staging
from gearnet_plugin.embedding.embedded import Embedded
from gearnet_plugin.models import GearNetEncoder
from gearnet_plugin.structures.bundled import bundled_structures, bundled_table
from gearnet_plugin.structures.locks import locked
from gearnet_plugin.structures.prepare import Recipe, prepare
from peptides import peptide, write_peptides
from proteins import construction
from structure_text import backbone, cif_text, pdb_text, write
from test_embedding import write_run

WIDTH = 16
LENGTHS = (5, 9, 12, 7, 10, 3)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.manual_seed(0)
    encoder = GearNetEncoder(21, [16, 16], 7, batch_norm=True)
    return write_run(tmp_path_factory.mktemp("run") / "done", encoder, construction())[0]


@pytest.fixture(scope="module")
def model(run):
    return load_encoder(run)


@pytest.fixture(scope="module")
def files():
    """The bundled structures of at most 80 residues, PDB and mmCIF."""
    short = {row["structure"] for row in bundled_table() if row["length"] <= 80}
    return [str(path) for path in bundled_structures() if path.name in short]


@pytest.fixture
def folder(tmp_path):
    """Six peptides, of which the last has chains A and B, and a file that is none."""
    import random

    rng, path = random.Random(0), tmp_path / "in"
    path.mkdir()
    for i, length in enumerate(LENGTHS):
        chains = [peptide(rng, length, chain) for chain in ("AB" if i == 5 else "A")]
        write(path / f"p{i}.pdb", "".join(chains))
    write(path / "q.pdb", "nothing")
    return path


@pytest.fixture
def embed(run, tmp_path):
    """The command with the model of the tests and without a progress bar: ``embed(out, *arguments) -> exit code``."""

    def embed(out, *arguments, level="both", batch=1000):
        options = ["--model", run, "-o", out, "--level", level, "--device", "cpu", "--batch-residues", batch]
        return main(list(map(str, ["embed", *arguments, *options, "--quiet"])))

    return embed


def report(out):
    with open(f"{out}.drops.tsv", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))
    assert rows[0] == ["file", "reason"]
    return rows[1:]


def close(left, right):
    np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5 * np.abs(right).max())


def same(left, right):
    """Two Embeddings are equal, whatever the path of their files."""
    assert left.names == right.names and left.chains == right.chains
    close(left.protein, right.protein)
    close(np.concatenate(left.residue), np.concatenate(right.residue))
    for one, other in zip(left.keys, right.keys, strict=True):
        assert all(np.array_equal(one[key], other[key]) for key in one)


# === what is written ===


def test_a_thousand_good_and_twenty_broken(embed, tmp_path, capsys):
    """A row for each good file, a line for each broken one; --strict changes nothing but the exit code."""
    folder = write_peptides(tmp_path / "in", 1020, broken=range(0, 1020, 51))
    assert embed(tmp_path / "out.npz", folder, level="protein") == 0
    told = capsys.readouterr().out
    assert "1,000 structures" in told and "Left out: 20. Why, in" in told and "p0000.pdb: " in told
    result = Embeddings.load(tmp_path / "out.npz")
    assert result.protein.shape == (1000, WIDTH) and len(set(result.names)) == 1000
    assert len(report(tmp_path / "out.npz")) == 20 == len(result.drops)
    assert [os.path.basename(file) for file, _ in result.drops] == [f"p{i:04d}.pdb" for i in range(0, 1020, 51)]
    assert embed(tmp_path / "strict.npz", folder, "--strict", level="protein") == 2
    assert np.array_equal(Embeddings.load(tmp_path / "strict.npz").protein, result.protein)
    assert sorted(os.listdir(tmp_path)) == ["in", "out.npz", "out.npz.drops.tsv", "strict.npz", "strict.npz.drops.tsv"]


def test_the_file_holds_what_embed_gives(embed, model, folder, tmp_path):
    assert embed(tmp_path / "out.npz", folder) == 0
    expected = model.embed(folder)
    found = Embeddings.load(tmp_path / "out.npz")
    same(found, model.embed(folder, level="both"))
    assert found.names == ["p0_A", "p1_A", "p2_A", "p3_A", "p4_A", "p5_A", "p5_B"]
    assert found.chains == ["A"] * 6 + ["B"] and found.info == expected.info and found.drops == expected.drops


@pytest.mark.parametrize("level", ["protein", "residue", "both"])
def test_every_format_holds_the_same(embed, model, folder, tmp_path, level):
    h5py, pq = pytest.importorskip("h5py"), pytest.importorskip("pyarrow.parquet")
    for ending in ("npz", "h5", "pt", "parquet"):
        assert embed(tmp_path / f"out.{ending}", folder, level=level) == 0
    npz = np.load(tmp_path / "out.npz", allow_pickle=False)
    arrays = [name for name in npz.files if npz[name].dtype.kind in "if"]
    texts = [name for name in npz.files if npz[name].dtype.kind == "U" and name != "info"]
    assert ("protein" in arrays) == (level != "residue") and ("residue" in arrays) == (level != "protein")
    with h5py.File(tmp_path / "out.h5") as file:
        assert set(file) == set(npz.files)
        assert all(np.array_equal(file[name][...], npz[name]) for name in arrays)
        assert all(np.array_equal(file[name].asstr()[...], npz[name]) for name in texts)
        assert file["info"].asstr()[()] == str(npz["info"])
    tensors = torch.load(tmp_path / "out.pt", weights_only=True)
    assert all(np.array_equal(tensors[name], npz[name]) for name in arrays)
    for name in ("chain_id", "insertion_code", "residue_name") if level != "protein" else ():
        assert np.array_equal(np.array(tensors[f"{name}_values"])[tensors[name]], npz[name])
    assert tensors["names"] == npz["names"].tolist() and tensors["drops"] == [tuple(d) for d in npz["drops"].tolist()]
    if level != "residue":
        proteins = pq.read_table(tmp_path / "out.parquet")
        assert proteins.column_names == ["name", "source", "chain", "length", "embedding"]
        assert np.array_equal(np.stack(proteins["embedding"].to_pylist()).astype(np.float32), npz["protein"])
        assert proteins["chain"].to_pylist() == npz["chains"].tolist()
    if level != "protein":
        rows = pq.read_table(tmp_path / ("out.residues.parquet" if level == "both" else "out.parquet")).to_pydict()
        assert np.array_equal(np.array(rows["embedding"], dtype=np.float32), npz["residue"])
        assert rows["name"] == np.repeat(npz["names"], npz["lengths"]).tolist()
        assert rows["source"] == np.repeat(npz["sources"], npz["lengths"]).tolist()
        for key in ("chain_id", "residue_number", "insertion_code", "residue_name"):
            assert rows[key] == npz[key].tolist()
    assert os.path.exists(tmp_path / "out.residues.parquet") == (level == "both")


def test_python_saves_every_format(model, folder, tmp_path):
    """Embeddings.save writes by the same code."""
    pytest.importorskip("h5py")
    result = model.embed(folder, level="both")
    for ending in ("npz", "h5", "pt", "parquet"):
        embed_to_file(model, folder, tmp_path / f"command.{ending}", level="both", verbose=0)
        result.save(tmp_path / f"python.{ending}")
    for path in glob.glob(str(tmp_path / "command*")):
        if path.endswith((".npz", ".h5", ".parquet")):
            with open(path, "rb") as left, open(path.replace("command", "python"), "rb") as right:
                assert left.read() == right.read(), path


def test_rows_are_written_in_steps(model, folder, tmp_path, monkeypatch):
    """What is larger than a step is the same file."""
    pytest.importorskip("h5py")
    result = model.embed(folder, level="both")
    from gearnet_plugin.embedding import formats

    for ending in ("npz", "h5", "parquet"):
        result.save(tmp_path / f"whole.{ending}")
        monkeypatch.setattr(formats, "STEP", 100)
        result.save(tmp_path / f"steps.{ending}")
        monkeypatch.undo()
    same(Embeddings.load(tmp_path / "steps.npz"), result)
    import pyarrow.parquet as pq

    assert pq.read_metadata(tmp_path / "steps.residues.parquet").num_row_groups > 5
    assert pq.read_table(tmp_path / "steps.residues.parquet") == pq.read_table(tmp_path / "whole.residues.parquet")


def test_residues_are_named_as_pymol_shows_them(embed, tmp_path):
    residues = [backbone(name, 20 + i) for i, name in enumerate(["MSE", "GLY", "ALA"])]
    residues[2][0]["insertion"] = residues[2][1]["insertion"] = residues[2][2]["insertion"] = "C"
    for atom in residues[2]:
        atom["number"] = 21
    write(tmp_path / "one.pdb", pdb_text(*residues))
    assert embed(tmp_path / "out.npz", tmp_path / "one.pdb", level="residue") == 0
    with np.load(tmp_path / "out.npz") as file:
        assert file["residue_number"].tolist() == [20, 21, 21] and file["insertion_code"].tolist() == ["", "", "C"]
        assert file["residue_name"].tolist() == ["MSE", "GLY", "ALA"] and file["chain_id"].tolist() == ["A"] * 3
        assert file["sources"].tolist() == [str(tmp_path / "one.pdb")] and "protein" not in file.files


def test_one_embedding_whatever_the_way(embed, tmp_path):
    """PDB and mmCIF, alone and in a batch, from a file, a list, an archive and a store: 1e-5."""
    atoms = [atom for i, name in enumerate(["GLY", "TRP", "SER", "MSE"] * 6) for atom in backbone(name, i + 1)]
    for atom in atoms:
        atom["xyz"] = tuple(round(x + 3 * np.sin(atom["number"] * (k + 1)), 3) for k, x in enumerate(atom["xyz"]))
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "x.pdb", pdb_text(atoms))
    write(tmp_path / "x.cif", cif_text(atoms))
    write_peptides(tmp_path / "in", 8)
    write(tmp_path / "list.txt", "x.cif\nin/x.pdb\n")
    prepare([tmp_path / "in"], tmp_path / "store", Recipe(confidence="float"), workers=1, verbose=0)
    shutil.make_archive(str(tmp_path / "archive"), "tar", tmp_path / "in")
    ways = {"pdb": ["in/x.pdb"], "cif": ["x.cif"], "batch": ["in"], "store": ["store"], "list": ["list.txt"],
            "tar": ["archive.tar"], "pattern": ["in/x*.pdb"], "several": ["in/p0001.pdb", "x.cif"]}  # fmt: skip
    found = {}
    for way, sources in ways.items():
        assert embed(tmp_path / f"{way}.npz", *(tmp_path / source for source in sources)) == 0
        result = Embeddings.load(tmp_path / f"{way}.npz")
        place = next(i for i, source in enumerate(result.sources) if "/x." in source)
        found[way] = result.protein[place], result.residue[place]
    assert embed(tmp_path / "small.npz", tmp_path / "in", batch=1) == 0
    for protein, residue in found.values():
        close(protein, found["pdb"][0])
        close(residue, found["pdb"][1])


def test_processes_that_read_change_nothing(embed, folder, tmp_path):
    """Processes ahead of the encoder give the same structures and the same drops, in order."""
    assert embed(tmp_path / "one.npz", folder) == 0
    assert embed(tmp_path / "two.npz", folder, "--workers", 2) == 0
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


# === chains ===


def test_only_some_chains(embed, folder, tmp_path, capsys):
    assert embed(tmp_path / "b.npz", folder, "--chain", "B") == 0
    assert Embeddings.load(tmp_path / "b.npz").names == ["p5_B"]
    reasons = dict(report(tmp_path / "b.npz"))
    assert len(reasons) == 6 and reasons[str(folder / "p0.pdb")] == "no protein chain `B`; there are `A`"
    assert embed(tmp_path / "ab.npz", folder / "p5.pdb", "--chain", "B", "--chain", "A", "--strict") == 0
    result = Embeddings.load(tmp_path / "ab.npz")
    assert result.names == ["p5_A", "p5_B"] and result.info["chains"] == ["B", "A"]
    assert embed(tmp_path / "entry.npz", folder / "p5.pdb", "--per", "entry") == 0
    entry = Embeddings.load(tmp_path / "entry.npz")
    assert entry.names == ["p5"] and entry.chains == ["A;B"] and entry.lengths.tolist() == [6]
    assert embed(tmp_path / "entry_b.npz", folder / "p5.pdb", "--per", "entry", "--chain", "B") == 0
    close(Embeddings.load(tmp_path / "entry_b.npz").protein, Embeddings.load(tmp_path / "b.npz").protein)


def test_chains_of_a_store(embed, folder, tmp_path):
    """What a store of chains has of other chains is not lost but not asked for. A chain named twice counts once."""
    prepare([folder], tmp_path / "store", Recipe(confidence="float"), workers=1, verbose=0)
    assert embed(tmp_path / "b.npz", tmp_path / "store", "--chain", "B", "--chain", "B", "--strict") == 0
    assert Embeddings.load(tmp_path / "b.npz").names == ["p5_B"]


def test_a_chain_that_nobody_has(embed, folder, tmp_path, capsys):
    for sources in ([folder], [prepare([folder], tmp_path / "store", workers=1, verbose=0).store.path]):
        assert embed(tmp_path / "out.npz", *sources, "--chain", "Z") == 1
        assert "none of the structures has a chain `Z`; the chains seen are `A`, `B`" in capsys.readouterr().err
        assert not os.path.exists(tmp_path / "out.npz") and not os.path.exists(tmp_path / "out.npz.part")


# === wrong input ===


@pytest.mark.parametrize("out, message", [
    ("out.csv", r"a file ending in .npz, .h5, .parquet or .pt, but found `.*out.csv`"),
    ("out", "a file ending in .npz"),
    ("nowhere/out.npz", "there is no folder `.*nowhere` for `out.npz`; make it first"),
    ("there.npz", r"`.*there.npz` exists; --force .* replaces it, or choose another output"),
    ("folder.npz", "`.*folder.npz` is a folder; choose another output"),
    ("x.parquet", r"`.*x.residues.parquet` exists; --force"),
    ("report.npz", "`.*report.npz.drops.tsv` is a folder; choose another output"),
    ("foreign.npz", r"`.*foreign.npz.part` is where .* holds something else; move it away"),
])  # fmt: skip
def test_output_that_cannot_be(embed, folder, tmp_path, capsys, monkeypatch, out, message):
    """Found before anything is computed, and nothing there is touched."""
    monkeypatch.setattr(LoadedEncoder, "stream", lambda *args, **kwargs: pytest.fail("computed"))
    write(tmp_path / "there.npz", "mine")
    write(tmp_path / "x.residues.parquet", "mine")
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "report.npz.drops.tsv").mkdir()
    (tmp_path / "foreign.npz.part").mkdir()
    write(tmp_path / "foreign.npz.part" / "thesis.txt", "mine")
    assert embed(tmp_path / out, folder) == 1
    import re

    assert re.search(message, capsys.readouterr().err)
    assert (tmp_path / "there.npz").read_text() == (tmp_path / "foreign.npz.part" / "thesis.txt").read_text() == "mine"


def test_output_folder_that_takes_nothing(embed, folder, tmp_path, capsys, monkeypatch):
    """Told with the reason of the system, before the model is read."""
    import errno

    from gearnet_plugin.embedding import to_file

    def refuse(dir):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(to_file.tempfile, "TemporaryFile", refuse)
    assert embed(tmp_path / "out.npz", folder) == 1
    assert "nothing can be written to the folder" in capsys.readouterr().err


def test_force_replaces(embed, folder, tmp_path):
    write(tmp_path / "out.npz", "old")
    write(tmp_path / "out.npz.drops.tsv", "old")
    assert embed(tmp_path / "out.npz", folder / "p0.pdb", "--force") == 0
    assert len(Embeddings.load(tmp_path / "out.npz")) == 1
    assert not os.path.exists(tmp_path / "out.npz.drops.tsv")  # it would speak of the old file


def test_output_among_the_structures(embed, folder, tmp_path):
    """An .h5 file may hold a structure; the one that is written is none."""
    pytest.importorskip("h5py")
    for _ in range(2):
        assert embed(folder / "out.h5", folder, "--force") == 0
        assert [os.path.basename(file) for file, _ in report(folder / "out.h5")] == ["q.pdb"]


def test_file_names_that_are_no_text(embed, folder, tmp_path):
    """Bytes that are no UTF-8 are kept where the format can, and shown as such elsewhere."""
    pytest.importorskip("h5py")
    import pyarrow.parquet as pq

    for name in (b"x\xff.pdb", b"y\xff.pdb"):
        shutil.copy(folder / ("p0.pdb" if name[:1] == b"x" else "q.pdb"), os.fsencode(folder) + b"/" + name)
    for ending in ("npz", "h5", "pt", "parquet"):
        assert embed(tmp_path / f"out.{ending}", folder) == 0
        assert b"y\xff.pdb\t" in (tmp_path / f"out.{ending}.drops.tsv").read_bytes()
    names = Embeddings.load(tmp_path / "out.npz").names
    assert os.fsencode(names[-1]) == b"x\xff_A"
    assert torch.load(tmp_path / "out.pt", weights_only=True)["names"] == names
    assert pq.read_table(tmp_path / "out.parquet")["name"].to_pylist()[-1] == "x\\xff_A"


@pytest.mark.parametrize("sources, message", [
    (["gone"], "no such file or folder: `.*gone`"),
    (["empty"], "no structure in `.*empty`"),
    (["gone*.pdb"], r"nothing matches `.*gone\*.pdb`"),
    (["in/q.pdb"], r"none of 1 structures can be read:\n  .*q.pdb: .*\nAll reasons are in .*out.npz.drops.tsv"),
    (["empty", "gone"], r"none of 2 structures can be read:\n  .*empty: .*\n  .*gone: "),
])  # fmt: skip
def test_no_structure_at_all(embed, folder, tmp_path, capsys, sources, message):
    import re

    (tmp_path / "empty").mkdir()
    assert embed(tmp_path / "out.npz", *(tmp_path / source for source in sources)) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not os.path.exists(tmp_path / "out.npz") and not os.path.exists(tmp_path / "out.npz.part")


def test_unknown_model_device_and_option(folder, run, tmp_path, capsys):
    arguments = ["embed", str(folder), "-o", str(tmp_path / "out.npz"), "--quiet", "--model"]
    assert main([*arguments, str(tmp_path / "nothing")]) == 1
    assert "nothing" in capsys.readouterr().err
    assert main([*arguments, run, "--device", "gpu"]) == 1
    assert "cannot go to device `gpu`" in capsys.readouterr().err
    assert main([*arguments, run, "--batch-residues", "0"]) == 2
    assert main(["embed", "-o", "out.npz", "--model", run]) == 2
    assert os.listdir(tmp_path) == ["in"]


def test_h5_without_its_library(embed, folder, tmp_path, capsys, monkeypatch):
    from gearnet_plugin.embedding import layout

    monkeypatch.setattr(layout.importlib.util, "find_spec", lambda name: None)
    assert embed(tmp_path / "out.h5", folder) == 1
    assert 'pip install "gearnet-plugin[formats]"' in capsys.readouterr().err


def test_python_arguments(model, folder, tmp_path):
    with pytest.raises(ValueError, match="level should be one of protein, residue, both, but found `all`"):
        embed_to_file(model, folder, tmp_path / "out.npz", level="all")
    with pytest.raises(ValueError, match="per should be one of chain, entry, but found `file`"):
        embed_to_file(model, folder, tmp_path / "out.npz", per="file")
    with pytest.raises(ValueError, match="chains should be a list of chain ids, but found the text `A`"):
        model.embed(folder, chains="A")
    assert model.embed(folder, chains=["B"], verbose=0).names == ["p5_B"]


# === interruptions ===


def interrupt(monkeypatch, after, error=KeyboardInterrupt):
    """The encoder stops with an error in the batch after so many."""
    left, encode = [after], LoadedEncoder.encode

    def encode_some(self, structures):
        # three residues that load_encoder tries
        if structures[0].name == "toy":
            return encode(self, structures)
        if not left[0]:
            raise error
        left[0] -= 1
        return encode(self, structures)

    monkeypatch.setattr(LoadedEncoder, "encode", encode_some)


def test_interrupted_and_gone_on(embed, folder, tmp_path, capsys, monkeypatch):
    """Ctrl-C says what is done; the same command ends with the very file of an uninterrupted one."""
    (tmp_path / "whole").mkdir()
    assert embed(tmp_path / "whole" / "out.npz", folder, batch=15) == 0
    interrupt(monkeypatch, 2)
    assert embed(tmp_path / "out.npz", folder, batch=15) == 130
    assert ("interrupted: 3 of 7 structures are done and kept in `%s`; the same command goes on from there"
            % (tmp_path / "out.npz.part")) in capsys.readouterr().err  # fmt: skip
    assert not os.path.exists(tmp_path / "out.npz")
    # once more, in the middle of the two chains of a file
    monkeypatch.undo()
    interrupt(monkeypatch, 1)
    assert embed(tmp_path / "out.npz", folder, batch=1) == 130
    monkeypatch.undo()
    capsys.readouterr()
    assert embed(tmp_path / "out.npz", folder, batch=15) == 0
    assert "Went on after 4 files or structures that an interrupted call had done." in capsys.readouterr().out
    same(Embeddings.load(tmp_path / "out.npz"), Embeddings.load(tmp_path / "whole" / "out.npz"))
    assert sorted(os.listdir(tmp_path)) == ["in", "out.npz", "out.npz.drops.tsv", "whole"]


def test_interrupted_before_anything(embed, folder, tmp_path, capsys, monkeypatch):
    """Nothing is done, so nothing is kept."""
    interrupt(monkeypatch, 0)
    assert embed(tmp_path / "out.npz", folder) == 130
    assert "interrupted before anything was done" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["in"]


@pytest.mark.parametrize("after", range(1, 7))
def test_interrupted_anywhere_gives_the_same_bytes(model, folder, tmp_path, monkeypatch, after):
    """Also between two chains of a file (after six batches), and with half a batch on the disk."""
    (tmp_path / "whole").mkdir()
    embed_to_file(model, folder, tmp_path / "whole" / "out.npz", "both", batch_residues=1, verbose=0)
    interrupt(monkeypatch, after)
    with pytest.raises(KeyboardInterrupt, match=f"interrupted: {min(after, 5)} of 7"):
        embed_to_file(model, folder, tmp_path / "out.npz", "both", batch_residues=1, verbose=0)
    monkeypatch.undo()
    for file in glob.glob(str(tmp_path / "out.npz.part" / "*.*32")):
        with open(file, "ab") as part:
            part.write(b"half")
    done = embed_to_file(model, folder, tmp_path / "out.npz", "both", batch_residues=1, verbose=0)
    assert done.done_before == min(after, 5) and done.tally.structures == 7 and done.tally.drops == 1
    assert (tmp_path / "out.npz").read_bytes() == (tmp_path / "whole" / "out.npz").read_bytes()


def test_going_on_with_something_else(embed, model, folder, tmp_path, capsys, monkeypatch):
    """Other options, another model or changed files are named; --force begins anew."""
    interrupt(monkeypatch, 3)
    assert embed(tmp_path / "out.npz", folder, batch=1) == 130
    monkeypatch.undo()
    before = (tmp_path / "out.npz.part" / "progress.json").read_bytes()
    for arguments, words in [
        (dict(level="protein"), "level both instead of protein"),
        (dict(per="entry"), "per chain instead of entry"),
        (dict(chains=["A"]), r"chains \[\] instead of \['A'\]"),
        (dict(model=LoadedEncoder(GearNetEncoder(21, [16, 16], 7), construction())), "done with another model"),
        (dict(structures=[folder / "p1.pdb", folder / "p0.pdb"]), "was begun with other structures"),
    ]:
        arguments = {"model": model, "structures": folder, "level": "both", "verbose": 0, **arguments}
        with pytest.raises(ValueError, match=words + ".*--force .*begins anew, or choose another output"):
            embed_to_file(out=tmp_path / "out.npz", **arguments)
    assert (tmp_path / "out.npz.part" / "progress.json").read_bytes() == before
    shutil.copy(folder / "p4.pdb", folder / "p1.pdb")
    assert embed(tmp_path / "out.npz", folder) == 1
    assert "their files have changed since: the first 3, which are done" in capsys.readouterr().err
    assert embed(tmp_path / "out.npz", folder, "--force") == 0
    same(Embeddings.load(tmp_path / "out.npz"), model.embed(folder, level="both"))
    assert not os.path.exists(tmp_path / "out.npz.part")


def test_force_goes_on_too(embed, folder, tmp_path, monkeypatch):
    """The same command goes on, also if it is one that replaces a file; until then that stays."""
    write(tmp_path / "out.npz", "old")
    interrupt(monkeypatch, 2)
    assert embed(tmp_path / "out.npz", folder, "--force", batch=1) == 130
    monkeypatch.undo()
    assert (tmp_path / "out.npz").read_text() == "old"
    calls, encode = [], LoadedEncoder.encode
    monkeypatch.setattr(LoadedEncoder, "encode", lambda self, s: calls.append(len(s)) or encode(self, s))
    assert embed(tmp_path / "out.npz", folder, "--force") == 0
    assert sum(calls) == 1 + 5 and len(Embeddings.load(tmp_path / "out.npz")) == 7


def test_files_added_since_are_embedded_too(embed, folder, tmp_path, monkeypatch):
    interrupt(monkeypatch, 2)
    assert embed(tmp_path / "out.npz", folder, batch=1) == 130
    monkeypatch.undo()
    shutil.copy(folder / "p0.pdb", folder / "z.pdb")
    assert embed(tmp_path / "out.npz", folder) == 0
    assert Embeddings.load(tmp_path / "out.npz").names[-1] == "z_A"


def test_an_error_keeps_what_is_done(model, folder, tmp_path, monkeypatch):
    """A bug of an encoder is raised as it is, and a full disk says how to go on."""
    interrupt(monkeypatch, 2, ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        embed_to_file(model, folder, tmp_path / "out.npz", batch_residues=1, verbose=0)
    monkeypatch.undo()
    from gearnet_plugin.embedding import to_file

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(to_file, "write_table", full)
    with pytest.raises(OSError, match="no room left for embeddings; 7 structures.* the same command again"):
        embed_to_file(model, folder, tmp_path / "out.npz", verbose=0)
    monkeypatch.undo()
    done = embed_to_file(model, folder, tmp_path / "out.npz", verbose=0)
    assert done.done_before == 7 and done.tally.structures == 7
    same_file = model.embed(folder)
    close(Embeddings.load(tmp_path / "out.npz").protein, same_file.protein)


def test_no_room_is_said_before_writing(model, folder, tmp_path, monkeypatch):
    from gearnet_plugin.structures import disk

    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(OSError, match="no room.*out.npz.*but 0 bytes are free"):
        embed_to_file(model, folder, tmp_path / "out.npz", verbose=0)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's device that is always full")
def test_a_full_disk_is_told_in_words(model, folder, tmp_path, monkeypatch):
    """Also where closing the files fails for want of room again."""
    begin = staging.Staging.begin

    def begin_on_full_disk(stage):
        begin(stage)
        stage._files["protein.f32"].close()
        stage._files["protein.f32"] = open("/dev/full", "r+b")

    monkeypatch.setattr(staging.Staging, "begin", begin_on_full_disk)
    with pytest.raises(OSError, match="no room left for embeddings; .*give the same command again"):
        embed_to_file(model, folder, tmp_path / "out.npz", verbose=0)


def test_one_writer_at_a_time(model, folder, tmp_path):
    pytest.importorskip("fcntl")
    with locked(tmp_path / "out.npz.part.lock"):
        with pytest.raises(ValueError, match="another process is writing `.*out.npz`"):
            embed_to_file(model, folder, tmp_path / "out.npz", verbose=0)
    assert not os.path.exists(tmp_path / "out.npz.part")


def test_damaged_folder(model, folder, tmp_path, monkeypatch):
    interrupt(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        embed_to_file(model, folder, tmp_path / "out.npz", batch_residues=1, verbose=0)
    monkeypatch.undo()
    (tmp_path / "out.npz.part" / "protein.f32").write_bytes(b"")
    with pytest.raises(ValueError, match="is damaged: protein.f32 is missing or cut off; --force"):
        embed_to_file(model, folder, tmp_path / "out.npz", verbose=0)
    (tmp_path / "out.npz.part" / "progress.json").write_text("{")  # as after a crash of the file system
    assert embed_to_file(model, folder, tmp_path / "out.npz", verbose=0).done_before == 0


# === memory ===


def test_batches_do_not_outlive_their_turn(model, folder, tmp_path, monkeypatch):
    """What is in memory is the batch at hand and the one being made, however many there are."""
    batches, most, append = weakref.WeakSet(), [0], staging.Staging.append

    def watched(self, batch, *args):
        batches.add(batch)
        append(self, batch, *args)
        most[0] = max(most[0], len(batches))

    monkeypatch.setattr(Embedded, "__hash__", object.__hash__)
    monkeypatch.setattr(staging.Staging, "append", watched)
    structures = write_peptides(tmp_path / "many", 60)
    done = embed_to_file(model, structures, tmp_path / "out.npz", "both", batch_residues=20, verbose=0)
    assert done.tally.structures == 60 and most[0] <= 2


def test_what_does_not_fit_is_computed_in_parts(model, folder, tmp_path, monkeypatch):
    """Out of memory halves a batch; a structure that does not fit alone is left out and told."""
    expected, encode = model.embed(folder, level="both"), LoadedEncoder.encode

    def small(self, structures):
        if sum(map(len, structures)) > 11:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 80 GiB")
        return encode(self, structures)

    monkeypatch.setattr(LoadedEncoder, "encode", small)
    result = model.embed(folder, level="both")
    assert result.names == [name for name in expected.names if name != "p2_A"]
    close(result.protein, np.delete(expected.protein, 2, axis=0))
    assert dict(result.drops)[str(folder / "p2.pdb")] == "out of memory at 12 residues on cpu"


def test_numbers_that_are_none_are_left_out(model, folder, monkeypatch):
    encode = LoadedEncoder.encode

    def bad(self, structures):
        protein, residue = encode(self, structures)
        residue[0, 0] = np.nan
        return protein, residue

    monkeypatch.setattr(LoadedEncoder, "encode", bad)
    result = model.embed(folder)
    assert result.names[0] == "p1_A" and result.drops[0] == (str(folder / "p0.pdb"), "its embedding is not finite")


MEMORY = """
import os, sys, psutil
from gearnet_plugin.embedding import embed_to_file, load_encoder
run, sources, out = sys.argv[1:4]
model = load_encoder(run)
from gearnet_plugin.embedding.staging import Staging
seen, append = [], Staging.append
def watched(self, *args):
    append(self, *args)
    seen.append(psutil.Process().memory_info().rss)
Staging.append = watched
done = embed_to_file(model, sources, out + "/out.npz", "both", verbose=0)
print(done.tally.structures, done.tally.residues, seen[len(seen) // 50], max(seen))
"""


@pytest.mark.slow
def test_memory_does_not_grow(run, python, tmp_path):
    """Ten thousand structures take 20 MB more than the first hundreds; their vectors alone are 30 MB."""
    pytest.importorskip("psutil")
    files = [str(path) for path in bundled_structures() if "1a7g" in str(path) or "1a8o" in str(path)]
    (tmp_path / "in").mkdir()
    for i in range(10000):
        os.symlink(files[i % len(files)], tmp_path / "in" / f"s{i:05d}{os.path.basename(files[i % len(files)])[6:]}")
    told = python("-c", MEMORY, run, tmp_path / "in", tmp_path).stdout.split()[-4:]
    structures, residues, early, most = map(int, told)
    assert structures == 10000 and residues > 5e5
    assert most - early < 20e6, f"{(most - early) / 1e6:.0f} MB more"
    assert np.load(tmp_path / "out.npz")["residue"].shape == (residues, WIDTH)


# === killed ===


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_killed_as_by_a_user(run, tmp_path, how):
    """Ctrl-C ends with 130 within a second or two; a killed one loses seconds. Both go on to the same file."""
    folder = write_peptides(tmp_path / "in", 1200)
    command = [sys.executable, os.path.join(ROOT, "script", "gearnet"), "embed", folder, "--model", run,
               "--batch-residues", "20"]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    out = tmp_path / "out.npz"
    process = subprocess.Popen([*command, "-o", str(out)], env=environment, stderr=subprocess.PIPE, text=True)
    part = tmp_path / "out.npz.part" / "proteins.jsonl"
    deadline = time.monotonic() + 120
    while not (part.exists() and part.stat().st_size > 8192) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(how)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL)
    assert how != signal.SIGINT or "the same command goes on from there" in told
    again = subprocess.run([*command, "-o", str(out)], env=environment, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    (tmp_path / "whole").mkdir()
    subprocess.run([*command, "-o", str(tmp_path / "whole" / "out.npz")], env=environment, check=True, timeout=300)
    assert out.read_bytes() == (tmp_path / "whole" / "out.npz").read_bytes()


@pytest.mark.parametrize("command", [["-m", "gearnet_plugin"], [os.path.join(ROOT, "script", "gearnet")]])
def test_help_shows_an_example(python, command):
    """By both names of the command, with what is written into the file."""
    told = python(*command, "embed", "--help", GEARNET_PLUGIN_LIGHT=1).stdout
    assert "gearnet embed my_structures/ --model" in told and "chain_id, residue_number, insertion_code" in told


def test_version_needs_no_installation(monkeypatch, capsys):
    """From a checkout, too, which has no metadata of an installed package."""
    import importlib.metadata

    from gearnet_plugin import __version__

    monkeypatch.setattr(importlib.metadata, "version", lambda name: pytest.fail("asked for metadata"))
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.split()[-1] == __version__


@pytest.mark.slow
def test_as_a_module(python, run, folder, tmp_path):
    """`python -m gearnet_plugin` is the command."""
    told = python("-W", "ignore", "-m", "gearnet_plugin", "embed", folder, "--model", run, "-o", tmp_path / "out.pt")
    assert "7 structures" in told.stdout and torch.load(tmp_path / "out.pt", weights_only=True)["protein"].shape[0] == 7


def test_the_summary_tells_what_matters(embed, tmp_path, capsys):
    """Residues left out, unknown residues and predictions of low confidence, in one line each."""
    residues = [backbone("ALA", i + 1, b=40) for i in range(6)] + [backbone("UNK", 7, b=40)]
    residues[2].pop(1)
    header = "TITLE     ALPHAFOLD MONOMER V2.0 PREDICTION FOR NOTHING\n"
    write(tmp_path / "AF-X-F1-model_v4.pdb", pdb_text(*residues, header=header))
    assert embed(tmp_path / "out.npz", tmp_path / "AF-X-F1-model_v4.pdb", "--strict") == 0
    told = capsys.readouterr().out
    assert "Residues left out of structures that were kept: 1 x no CA, in 1 files" in told
    assert "Residues of unknown type, embedded as such: 1" in told
    assert "Predicted with low confidence (mean pLDDT below 70): 1 structures" in told
