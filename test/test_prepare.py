"""Preparing a store: the same bytes however it came about, and everything left out is told."""

import errno
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import time

import pytest

from conftest import ROOT
from gearnet_plugin.cli import main
from gearnet_plugin.structures import StructureStore
from gearnet_plugin.structures.bundled import bundled_path
from gearnet_plugin.structures.manifest import StoreError
from gearnet_plugin.structures.parallel import count_workers
from gearnet_plugin.structures.plan import NUM_SHARDS, SHARD_FILES
from gearnet_plugin.structures.prepare import Recipe, prepare
from peptides import files_of, write_peptides
from structure_text import backbone, pdb_text, write

# three shards, the last one short
COUNT = 2 * SHARD_FILES[0] + 40
BROKEN = (5, 200)


def make(sources, out, workers=1, **recipe):
    return prepare(sources, out, Recipe(**recipe), workers=workers, verbose=0)


@pytest.fixture(scope="module")
def peptides(tmp_path_factory):
    return write_peptides(tmp_path_factory.mktemp("files"), COUNT, broken=BROKEN)


@pytest.fixture(scope="module")
def whole(peptides, tmp_path_factory):
    """A store made by one process without interruption."""
    path = tmp_path_factory.mktemp("whole") / "store"
    make([peptides], path)
    return os.fspath(path)


def command(*arguments):
    """The command `gearnet` in a process of its own, as a user would start it."""
    return [sys.executable, os.path.join(ROOT, "script", "gearnet"), *map(str, arguments)]


# === the same bytes ===


def test_parts_become_shards(whole):
    store = StructureStore(whole)
    assert [shard.structures for shard in store.manifest.shards] == [127, 127, 40]
    assert sorted(files_of(whole)) == [
        "drops.tsv",
        "index.arrow",
        "manifest.json",
        *(f"shards/00000{number}.arrow" for number in range(3)),
    ]
    assert [store.name(number) for number in (0, 5, 126, 127)] == ["p0000_A", "p0006_A", "p0127_A", "p0128_A"]


def test_workers_change_no_byte(peptides, whole, tmp_path):
    make([peptides], tmp_path / "two", workers=2)
    assert files_of(tmp_path / "two") == files_of(whole)


def test_dask_changes_no_byte(peptides, whole, tmp_path):
    """By the same code on a cluster: a local scheduler and two worker processes."""
    distributed = pytest.importorskip("distributed", reason="needs the extra `cluster`")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        prepare(
            [peptides], tmp_path / "dask", workers=2, backend="dask", scheduler=cluster.scheduler_address, verbose=0
        )
    assert files_of(tmp_path / "dask") == files_of(whole)


def killed_and_resumed(folder, out, moments, workers):
    """
    Start a preparation, SIGKILL it at a moment, and run it again until it ends; returns the number of runs.

    A moment is a number of seconds, or as text the number of shards that must be there.
    """
    for run in range(1, 50):
        process = subprocess.Popen(
            command("prepare", folder, "--out", out, "--workers", workers, "--quiet"),
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        moment, start = next(moments, 300.0), time.monotonic()
        while process.poll() is None:
            seconds = time.monotonic() - start
            if count_shards(out) >= int(moment) if isinstance(moment, str) else seconds >= moment:
                # alone at times, so that its workers live on for a while, at others with them
                (os.kill if run % 2 else os.killpg)(process.pid, signal.SIGKILL)
                break
            time.sleep(0.001)
        if process.wait() == 0:
            return run
        assert process.returncode == -signal.SIGKILL
    raise AssertionError("50 runs were not enough")


def count_shards(out):
    try:
        return len(os.listdir(os.path.join(out, "shards")))
    except FileNotFoundError:
        return 0


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_and_run_again_it_ends_with_the_same_bytes(peptides, whole, tmp_path, workers):
    assert killed_and_resumed(peptides, tmp_path / "store", iter([0.2, "1", "2"]), workers) > 1
    assert files_of(tmp_path / "store") == files_of(whole)


@pytest.mark.slow
def test_killed_at_random_moments_ten_times(tmp_path):
    folder = write_peptides(tmp_path / "files", 20 * SHARD_FILES[0], seed=1)
    start = time.monotonic()
    subprocess.run(command("prepare", folder, "--out", tmp_path / "whole", "--workers", "1", "--quiet"), check=True)
    seconds = time.monotonic() - start
    expected = files_of(tmp_path / "whole")
    rng, runs = random.Random(os.urandom(8)), []
    for number in range(10):
        moments = iter([rng.uniform(0.1, 0.9 * seconds) for _ in range(6)])
        runs.append(killed_and_resumed(folder, tmp_path / f"killed{number}", moments, rng.choice([1, 2])))
        # a worker whose parent was killed finishes its part first
        time.sleep(1)
        assert files_of(tmp_path / f"killed{number}") == expected, f"number {number} after {runs} runs"
    assert sum(runs) >= 15, runs


def test_what_is_done_is_not_done_again(peptides, whole, tmp_path, monkeypatch):
    """A run that stopped after two of three parts reads the files of the third alone."""
    from gearnet_plugin.structures import prepare as module

    make_shard = module.make_shard

    def stops(store, part, *rest):
        if part == 2:
            raise KeyboardInterrupt
        return make_shard(store, part, *rest)

    monkeypatch.setattr(module, "make_shard", stops)
    with pytest.raises(KeyboardInterrupt):
        make([peptides], tmp_path / "store")
    with pytest.raises(StoreError, match="is being written, or was interrupted.*goes on where it stopped"):
        StructureStore(tmp_path / "store")
    parts = []
    monkeypatch.setattr(
        module, "make_shard", lambda store, part, *rest: parts.append(part) or make_shard(store, part, *rest)
    )
    done = make([peptides], tmp_path / "store")
    assert parts == [2] and (done.made, done.done_before) == (40, COUNT - 40)
    assert files_of(tmp_path / "store") == files_of(whole)
    assert make([peptides], tmp_path / "store").made == 0 and parts == [2]


def test_a_shard_without_its_report_is_made_again(peptides, whole, tmp_path, monkeypatch):
    """Killed between the two renames that finish a part."""
    from gearnet_plugin.structures import prepare as module

    write_atomically = module.write_atomically

    def killed(path, text):
        if path.endswith("000001.json"):
            raise KeyboardInterrupt
        write_atomically(path, text)

    monkeypatch.setattr(module, "write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        make([peptides], tmp_path / "store")
    assert os.path.exists(tmp_path / "store" / "shards" / "000001.arrow")
    monkeypatch.undo()
    assert make([peptides], tmp_path / "store").made == COUNT - SHARD_FILES[0]
    assert files_of(tmp_path / "store") == files_of(whole)


def test_a_full_disk_is_told(peptides, whole, tmp_path):
    """No file of the child may grow past 20 kB."""
    done = subprocess.run(
        command("prepare", peptides, "--out", tmp_path / "s", "--workers", 1, "--quiet"),
        capture_output=True,
        text=True,
        preexec_fn=lambda: (
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY)),
        ),
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "no room left for the store" in done.stderr and "goes on where it stopped" in done.stderr
    make([peptides], tmp_path / "s")
    assert files_of(tmp_path / "s") == files_of(whole)


def test_a_disk_that_fills_up_loses_nothing(peptides, whole, tmp_path, monkeypatch):
    from gearnet_plugin.structures import arrow

    write_columns = arrow.write_columns

    def fills(columns, path, metadata=None):
        if "000001" in path:
            write(tmp_path / path, "as far as it went")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_columns(columns, path, metadata)

    monkeypatch.setattr(arrow, "write_columns", fills)
    with pytest.raises(OSError, match="no room left for the store .*No space left on device.*goes on where it stopped"):
        make([peptides], tmp_path / "s")
    monkeypatch.undo()
    assert not [name for name in os.listdir(tmp_path / "s" / "plan") if name.endswith(".tmp")]
    assert make([peptides], tmp_path / "s").done_before == SHARD_FILES[0]
    assert files_of(tmp_path / "s") == files_of(whole)


def test_only_one_process_makes_a_store(peptides, tmp_path):
    fcntl = pytest.importorskip("fcntl", reason="no file locks on this system")
    with open(tmp_path / "store.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="another process is making the store"):
            make([peptides], tmp_path / "store")
    assert make([peptides], tmp_path / "store").made == COUNT


# === what is left out ===


def test_drops_are_told_with_file_and_reason(peptides, whole, tmp_path, capsys):
    store = StructureStore(whole)
    assert [os.path.basename(file) for file, _ in store.drops()] == ["p0005.pdb", "p0200.pdb"]
    assert all("not a structure" in reason for _, reason in store.drops())
    assert store.manifest.counts["drops"] == 2 and store.manifest.counts["files"] == COUNT
    assert main(["prepare", peptides, "--out", str(tmp_path / "s"), "--workers", "1", "--quiet", "--strict"]) == 2
    told = capsys.readouterr().out
    assert "Left out: 2. Why, in" in told and "p0005.pdb: it is not a structure" in told
    assert files_of(tmp_path / "s") == files_of(whole)
    assert main(["prepare", peptides, "--out", str(tmp_path / "s"), "--workers", "1", "--quiet"]) == 0
    assert "All of it was there" in capsys.readouterr().out


def test_residues_left_out_are_told(tmp_path, capsys):
    write(tmp_path / "a.pdb", pdb_text(backbone("ALA", 1), [a for a in backbone("GLY", 2) if a["name"] != "CA"]))
    assert main(["prepare", str(tmp_path / "a.pdb"), "--out", str(tmp_path / "s"), "--quiet", "--strict"]) == 0
    assert "Residues left out of structures that were kept: 1 x no CA" in capsys.readouterr().out
    assert StructureStore(tmp_path / "s").drops() == [(str(tmp_path / "a.pdb"), "residues left out: 1 x no CA")]
    assert StructureStore(tmp_path / "s")[0].dropped == {"no CA": 1}


def test_long_and_doubtful_structures_are_left_out_on_request(tmp_path):
    for name, b, residues in (
        ("AF-A-F1-model_v4", 90, 3),
        ("AF-B-F1-model_v4", 40, 3),
        ("AF-C-F1-model_v4", 90, 9),
        ("measured", 40, 3),
    ):
        write(tmp_path / f"{name}.pdb", pdb_text(*(backbone("ALA", i, b=b) for i in range(1, residues + 1))))
    store = make([tmp_path], tmp_path / "s", min_confidence=70, max_length=8).store
    assert list(store.names) == ["AF-A-F1-model_v4_A", "measured_A"]
    assert [reason for _, reason in store.drops()] == [
        "chain A: mean pLDDT 40.0, less than min_confidence 70",
        "chain A: 9 residues, more than max_length 8",
    ]
    assert store.manifest.counts["without_plddt"] == 1


def test_no_structure_at_all_is_an_error(tmp_path):
    write(tmp_path / "a.pdb", "nothing")
    with pytest.raises(ValueError, match="none of 1 files gives a structure for the store, the first:\n.*a.pdb"):
        make([tmp_path], tmp_path / "s")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no structure in"):
        make([tmp_path / "empty"], tmp_path / "s2")


def test_one_structure_in_two_formats_is_read_once(tmp_path):
    """As AlphaFold's archives hold them; the text that is read faster is taken."""
    source = bundled_path() / "1a8o_A.pdb.gz"
    files = [name for name in os.listdir(bundled_path()) if name.endswith(".pdb.gz")][:1] or [source.name]
    name = files[0].removesuffix(".pdb.gz")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    shutil.copy(bundled_path() / files[0], tmp_path / "a" / files[0])
    shutil.copy(bundled_path() / files[0], tmp_path / "a" / f"{name}.cif.gz")  # content decides how it is read
    shutil.copy(bundled_path() / files[0], tmp_path / "b" / files[0])
    with tarfile.open(tmp_path / "c.tar", "w") as tar:
        tar.add(tmp_path / "a", "c")
    store = make([tmp_path], tmp_path / "s").store
    assert [os.path.relpath(structure.source, tmp_path) for structure in store] == [
        f"a/{name}.pdb.gz",
        f"b/{name}.pdb.gz",
        f"c.tar/c/{name}.pdb.gz",
    ]
    assert store.manifest.counts["other_formats"] == 2
    assert len(set(store.names)) == 3 and all(name in found for found in store.names)
    assert store[0].sequence == store[1].sequence == store[2].sequence


def test_archives_are_read_without_unpacking(peptides, whole, tmp_path):
    with tarfile.open(tmp_path / "files.tar", "w") as tar:
        tar.add(peptides, "x")
        tar.addfile(tarfile.TarInfo("../out.pdb"))
    store = make([tmp_path / "files.tar"], tmp_path / "s").store
    assert [structure.sequence for structure in store] == [structure.sequence for structure in StructureStore(whole)]
    assert any("out.pdb" in file for file, _ in store.drops())
    assert not os.path.exists(tmp_path / "out.pdb")


def test_the_store_may_lie_among_its_files(tmp_path, monkeypatch):
    write_peptides(tmp_path, 3)
    with tarfile.open(tmp_path / "more.tar.gz", "w:gz") as tar:
        tar.add(write_peptides(tmp_path.parent / (tmp_path.name + "x"), 4, seed=1), "x")
    monkeypatch.chdir(tmp_path)
    assert len(make(["."], "store").store) == 7
    assert make(["."], "store").made == 0


def test_names_of_files_may_be_any_bytes(tmp_path):
    name = os.fsencode(tmp_path) + b"/prot\xe9ine.pdb"
    with open(name, "w") as file:
        file.write(pdb_text(backbone("ALA", 1)))
    with open(name[:-4] + b"2.pdb", "w") as file:
        file.write("nothing")
    store = make([tmp_path], tmp_path / "s").store
    assert list(store.names) == ["prot\\udce9ine_A"] and store.index("prot\\udce9ine_A") == 0
    assert store[0].source.endswith("prot\\udce9ine.pdb") and len(store.drops()) == 1


# === another store is never touched ===


def test_other_options_and_other_files_are_refused(peptides, tmp_path):
    folder = write_peptides(tmp_path / "files", 3)
    make([folder], tmp_path / "s")
    before = files_of(tmp_path / "s")
    with pytest.raises(StoreError, match="begun with other options \\(compact False instead of True\\)"):
        make([folder], tmp_path / "s", compact=True)
    write_peptides(tmp_path / "files", 4)
    with pytest.raises(StoreError, match="the files are not those .* begun with \\(3 structure files\\).*--overwrite"):
        make([folder], tmp_path / "s")
    assert files_of(tmp_path / "s") == before
    assert len(prepare([folder], tmp_path / "s", workers=1, overwrite=True, verbose=0).store) == 4


def test_files_that_change_during_an_interruption_are_noticed(tmp_path, monkeypatch):
    from gearnet_plugin.structures import prepare as module

    folder = write_peptides(tmp_path / "files", 3)
    monkeypatch.setattr(module, "_finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        make([folder], tmp_path / "s")
    monkeypatch.undo()
    write(tmp_path / "files" / "p0001.pdb", pdb_text(backbone("ALA", 1)))
    with pytest.raises(StoreError, match="the files are not those"):
        make([folder], tmp_path / "s")


def test_nothing_but_a_store_is_removed(tmp_path):
    folder = write_peptides(tmp_path / "files", 2)
    precious = write(tmp_path / "files" / "thesis.txt", "years of work")
    for overwrite in (False, True):
        with pytest.raises(StoreError, match="no store"):
            prepare([folder], tmp_path / "files", overwrite=overwrite, verbose=0)
        with pytest.raises(StoreError, match="no store"):
            prepare([folder], precious, overwrite=overwrite, verbose=0)
    assert precious.read_text() == "years of work" and len(os.listdir(folder)) == 3


@pytest.mark.parametrize(
    "files",
    [
        {"plan/notes.md": "mine"},
        {"shards/mine.tar": "mine"},
        {"manifest.json": '{"name": "a web page"}', "icon.png": "mine"},
        {"manifest.json": '{"name": "a web page"}'},
        {"lock": "mine"},
    ],
    ids=str,
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_folders_that_look_like_a_store_are_left_alone(tmp_path, files, overwrite):
    for name, text in files.items():
        os.makedirs(os.path.dirname(tmp_path / "out" / name), exist_ok=True)
        write(tmp_path / "out" / name, text)
    before = files_of(tmp_path / "out")
    with pytest.raises(StoreError, match="no store"):
        prepare([write_peptides(tmp_path / "files", 2)], tmp_path / "out", workers=1, overwrite=overwrite, verbose=0)
    assert files_of(tmp_path / "out") == before


def test_a_store_with_a_stranger_in_it_is_not_replaced(tmp_path):
    folder = write_peptides(tmp_path / "files", 2)
    make([folder], tmp_path / "s")
    for name in ("notes.md", "shards/mine.tar"):
        write(tmp_path / "s" / name, "mine")
        with pytest.raises(StoreError, match=f"holds more than a store \\({os.path.basename(name)}\\)"):
            prepare([folder], tmp_path / "s", overwrite=True, workers=1, verbose=0)
        assert (tmp_path / "s" / name).read_text() == "mine"
        os.remove(tmp_path / "s" / name)


def test_a_good_store_stays_until_the_new_one_is_whole(tmp_path, monkeypatch):
    """Also if the new one is interrupted, or its sources hold nothing; through a link, the store and not the link."""
    from gearnet_plugin.structures import prepare as module

    folder = write_peptides(tmp_path / "files", 3)
    (tmp_path / "empty").mkdir()
    make([folder], tmp_path / "s")
    before = files_of(tmp_path / "s")
    with pytest.raises(ValueError, match="no structure in"):
        prepare([tmp_path / "empty"], tmp_path / "s", overwrite=True, workers=1, verbose=0)
    with pytest.raises(ValueError, match="a scheduler belongs to"):
        prepare([folder], tmp_path / "s", overwrite=True, scheduler="tcp://x:1", verbose=0)
    monkeypatch.setattr(module, "_finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        prepare([folder], tmp_path / "s", Recipe(compact=True), overwrite=True, workers=1, verbose=0)
    monkeypatch.undo()
    assert files_of(tmp_path / "s") == before
    os.symlink(tmp_path / "s", tmp_path / "link")
    done = prepare([folder], tmp_path / "link", Recipe(compact=True), overwrite=True, workers=1, verbose=0)
    assert done.done_before == 3 and done.store.manifest.recipe["compact"]
    assert os.path.islink(tmp_path / "link") and StructureStore(tmp_path / "s").manifest.recipe["compact"]
    assert sorted(os.listdir(tmp_path)) == ["empty", "files", "link", "s"]


def test_a_worker_of_another_making_writes_nothing(tmp_path):
    """It may live on after its run was killed and the store was begun anew with other options."""
    from gearnet_plugin.structures import building, plan
    from gearnet_plugin.structures import prepare as module

    folder = write_peptides(tmp_path / "files", 3)
    out = os.path.realpath(tmp_path / "s")
    building.begin(out, {}, {}, out)
    made = plan.make_plan(out, [folder], "")
    with pytest.raises(RuntimeError, match="the store that wanted this shard is gone"):
        module.make_shard(out, 0, made.starts[0], made.starts[1], {}, "another id")
    with pytest.raises(RuntimeError, match="the process that wanted this shard is gone"):
        module.make_shard(out, 0, made.starts[0], made.starts[1], {}, "another id", parent=1)
    assert os.listdir(os.path.join(out, "shards")) == []


def test_the_same_names_and_sizes_are_not_the_same_files(tmp_path, monkeypatch):
    for seed in (0, 1):
        write_peptides(tmp_path / str(seed) / "pdb", 1, seed=seed)
        write(tmp_path / str(seed) / "pdb" / "p0000.pdb", pdb_text(backbone(("ALA", "GLY")[seed], 1)))
    monkeypatch.chdir(tmp_path / "0")
    make(["pdb"], tmp_path / "s")
    monkeypatch.chdir(tmp_path / "1")
    with pytest.raises(StoreError, match="the files are not those that the store"):
        make(["pdb"], tmp_path / "s")


def test_what_may_pass_is_no_reason_to_leave_a_file_out(tmp_path, monkeypatch):
    """A lost network file system says nothing about a file; the same command goes on when it is back."""
    from gearnet_plugin.structures import sources

    folder = write_peptides(tmp_path / "files", 3)
    for error in (OSError(errno.ESTALE, "Stale file handle"), MemoryError()):
        monkeypatch.setattr(sources, "read_structure", lambda path, error=error: (_ for _ in ()).throw(error))
        with pytest.raises(type(error)):
            make([folder], tmp_path / "s")
    monkeypatch.undo()
    assert len(make([folder], tmp_path / "s").store) == 3


def test_sources_with_odd_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_peptides("?", 2)
    assert len(make("?", "s").store) == 2 and StructureStore("s").manifest.sources["paths"] == ["?"]
    with pytest.raises(ValueError, match="the source `s` is a store"):
        make(["s"], "s2")


# === wrong arguments ===


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nowhere"], "no such file or folder: `nowhere`"),
        (["*.nothing"], "nothing matches `\\*.nothing`"),
        ([bundled_path(), "--workers", "0"], "number of workers should be at least 1"),
        ([bundled_path(), "--min-confidence", "0.7e3"], "min_confidence is a pLDDT from 0 to 100"),
        ([bundled_path(), "--max-length", "0"], "max_length should be at least 1"),
        ([bundled_path(), "--scheduler", "tcp://127.0.0.1:1"], "a scheduler belongs to the backend `dask`"),
    ],
)
def test_wrong_arguments(tmp_path, capsys, arguments, message):
    assert main(["prepare", *map(str, arguments), "--out", str(tmp_path / "s"), "--quiet"]) == 1
    told = capsys.readouterr().err
    assert re.search(message, told) and "Traceback" not in told


def test_wrong_command_lines(capsys):
    assert main(["prepare", "x"]) == 2 and "--out" in capsys.readouterr().err
    assert main(["prepare", "x", "--out", "y", "--per", "residue"]) == 2 and "entry" in capsys.readouterr().err
    assert main(["prepared"]) == 2 and "No such command" in capsys.readouterr().err
    assert main(["prepare", "--help"]) == 0 and "goes on where it stopped" in capsys.readouterr().out


def test_recipe_and_workers_say_what_is_allowed():
    with pytest.raises(ValueError, match="per should be `chain` or `entry`, but found `residue`"):
        Recipe(per="residue")
    with pytest.raises(ValueError, match="confidence should be `uint8` or `float`"):
        Recipe(confidence="int")
    assert count_workers(3) == 3 and count_workers(None) == count_workers(-1) >= 1
    with pytest.raises(ValueError, match="at least 1"):
        count_workers(True)


def test_shards_grow_with_the_number_of_files():
    """A few hundred shards until each holds the most files it may."""
    from gearnet_plugin.structures.plan import shard_size

    assert [shard_size(files) for files in (1, 1000, 100_000, 800_000, 10**8)] == [128, 128, 512, 4096, 4096]
    assert all(shard_size(files) * NUM_SHARDS >= files for files in (5_000, 50_000, 500_000))


# === doctor ===


def test_doctor_tells_what_is_in_a_store(whole, capsys):
    assert main(["doctor", whole]) == 0
    told = capsys.readouterr().out
    store = StructureStore(whole)
    assert f"{len(store)} structures, {int(store.lengths.sum()):,} residues" in told
    assert f"made from {COUNT} files" in told and "left out: 2, see drops.tsv" in told
    assert "verified: 3 shards and the other files" in told
    bins = [line.split() for line in told[told.index("length, residues") :].splitlines()[1:3]]
    assert sum(int(words[3]) for words in bins if words[1] == "to") == len(store)


def test_doctor_finds_damage(whole, tmp_path, capsys):
    shutil.copytree(whole, tmp_path / "s")
    path = tmp_path / "s" / "shards" / "000001.arrow"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert main(["doctor", str(tmp_path / "s")]) == 1
    os.truncate(tmp_path / "s" / "drops.tsv", 10)
    assert main(["doctor", str(tmp_path / "s")]) == 1
    told = capsys.readouterr().err
    assert "shard 000001.arrow" in told and "drops.tsv is missing or damaged" in told
    assert main(["doctor", str(tmp_path)]) == 1
    assert "is no store" in capsys.readouterr().err


def test_reading_commands_import_no_torch(tmp_path, python):
    """Preparing 800,000 files with many workers must not cost 300 MB for each of them."""
    script = (
        "import sys; path = sys.argv[1]; sys.argv = ['gearnet', 'doctor', path]\n"
        "import runpy\n"
        "try: runpy.run_path('script/gearnet', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'torchdrug', 'rdkit', 'biotite', 'foldcomp', 'h5py'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "import gearnet_plugin\n"
        "assert gearnet_plugin.StructureStore(path)[0] is not None\n"
        "try: gearnet_plugin.datasets\n"
        "except AttributeError as error: assert 'register()' in str(error)\n"
        "gearnet_plugin.register(); assert gearnet_plugin.datasets.StructureFolder\n"
    )
    make([bundled_path()], tmp_path / "s")
    python("-c", script, tmp_path / "s")
