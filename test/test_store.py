"""The store: what goes in comes out, by number and by name, and what is damaged is never taken for data."""

import json
import multiprocessing
import os
import pickle
import shutil

import numpy as np
import pyarrow as pa
import pytest

from gearnet_plugin.structures import Structure, StructureStore, read_structure
from gearnet_plugin.structures.bundled import bundled_path, bundled_structures
from gearnet_plugin.structures.manifest import SCHEMA, StoreError
from gearnet_plugin.structures.prepare import Recipe, prepare
from gearnet_plugin.structures.shard import MAX_STEP, STEP, Shard, fits_compact
from peptides import files_of
from structure_text import backbone, pdb_text, write


def make(path, sources=None, **recipe):
    return prepare(sources or [bundled_path()], path, Recipe(**recipe), workers=1, verbose=0).store


@pytest.fixture(scope="module")
def chains():
    return [chain for file in bundled_structures() for chain in read_structure(file).chains()]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make(tmp_path_factory.mktemp("store") / "bundled.store")


@pytest.fixture
def copy(store, tmp_path):
    """A copy of the store to be damaged."""
    shutil.copytree(store.path, tmp_path / "copy")
    return tmp_path / "copy"


# === what goes in comes out ===


def test_float_store_gives_back_every_field(tmp_path, chains):
    store = make(tmp_path / "s", confidence="float")
    assert len(store) == len(chains)
    for structure, expected in zip(store, chains, strict=True):
        assert structure == expected


def test_confidence_is_rounded_and_kept_within_a_byte(store, chains):
    for structure, expected in zip(store, chains, strict=True):
        np.testing.assert_array_equal(structure.confidence, np.rint(expected.confidence).clip(0, 255))
        np.testing.assert_array_equal(structure.positions, expected.positions)
    assert store.manifest.counts["confidence_clipped"] == sum(int((chain.confidence > 255.5).sum()) for chain in chains)


def test_compact_coordinates_are_within_half_a_step(tmp_path, chains):
    store = make(tmp_path / "s", compact=True)
    largest = max(
        float(np.abs(structure.positions.astype(float) - expected.positions).max())
        for structure, expected in zip(store, chains, strict=True)
    )
    assert 0.004 < largest <= STEP / 2 + 1e-4
    assert [structure.sequence for structure in store] == [chain.sequence for chain in chains]


def line(name, xs):
    n = len(xs)
    positions = np.zeros((n, 3), np.float32)
    positions[:, 0] = xs
    text = np.full(n, "A")
    return Structure(
        name, positions, np.zeros(n, np.uint8), text, text, np.arange(n), np.full(n, ""), np.full(n, "GLY"), np.zeros(n)
    )


def test_compact_reaches_655_angstroms_and_no_further(tmp_path):
    """Far from the origin too: what counts is the extent."""
    wide = line("wide", [5000, 5000 + (2 * MAX_STEP - 1) * STEP])
    assert fits_compact(wide) and not fits_compact(line("wider", [0, 656]))
    shard = Shard.build([wide], compact=True)
    assert np.abs(shard.structure(0).positions - wide.positions).max() <= STEP / 2 + 5e-4  # float32 at 5,000 Å
    far = [dict(atom, xyz=(700, 0, 0)) for atom in backbone("ALA", 2)]
    write(tmp_path / "wider.pdb", pdb_text(backbone("ALA", 1), far))
    write(tmp_path / "small.pdb", pdb_text(backbone("ALA", 1)))
    store = make(tmp_path / "s", [tmp_path / "wider.pdb", tmp_path / "small.pdb"], compact=True)
    assert list(store.names) == ["small_A"]
    assert "655 Å" in store.drops()[0][1]


AWKWARD = {
    "two_chains": pdb_text(
        backbone("ALA", 1), backbone("MSE", 2), backbone("GLY", 5, chain="B"), backbone("SER", 6, chain="B")
    ),
    "insertions": pdb_text(
        backbone("ALA", 7), backbone("GLY", 7, insertion="A"), backbone("GLY", 7, insertion="B"), backbone("TRP", 8)
    ),
    "negative": pdb_text(backbone("ALA", -3), backbone("GLY", -2), backbone("SER", 9)),
    "unknown": pdb_text(backbone("UNK", 1), backbone("ALA", 2), backbone("HSD", 3)),
    "no_chain": pdb_text(backbone("ALA", 1, chain=" "), backbone("ALA", 2, chain=" ")),
    "no_ca": pdb_text(backbone("ALA", 1), [a for a in backbone("GLY", 2) if a["name"] != "CA"], backbone("ALA", 3)),
    "one": pdb_text(backbone("ALA", 1)),
    "näme with spaces": pdb_text(backbone("ALA", 1), backbone("ALA", 2)),
}


@pytest.mark.parametrize("per", ["chain", "entry"])
def test_awkward_structures_come_back_whole(tmp_path, per):
    for name, text in AWKWARD.items():
        write(tmp_path / f"{name}.pdb", text)
    store = make(tmp_path / "s", [tmp_path], per=per, confidence="float")
    read = [read_structure(tmp_path / f"{name}.pdb") for name in sorted(AWKWARD)]
    expected = read if per == "entry" else [chain for structure in read for chain in structure.chains()]
    assert list(store.names) == [structure.name for structure in expected]
    for structure, wanted in zip(store, expected, strict=True):
        assert structure == wanted
        assert structure.dropped == wanted.dropped and structure.residue_names.tolist() == wanted.residue_names.tolist()


def test_residue_arrays_are_those_of_the_structure(store):
    for index in (0, 17, len(store) - 1):
        arrays, structure = store.residues(index), store[index]
        np.testing.assert_array_equal(arrays.positions, structure.positions)
        np.testing.assert_array_equal(arrays.residue_types, structure.residue_types)
        np.testing.assert_array_equal(arrays.residue_numbers, structure.residue_numbers)
        assert np.repeat(arrays.run_chains, arrays.run_lengths).tolist() == structure.chain_ids.tolist()
        arrays.positions[:] = 0  # one's own copy
    assert store[0].positions.any()


def test_residue_takes_at_most_16_bytes_and_10_if_compact(tmp_path, monkeypatch, chains):
    monkeypatch.chdir(bundled_path().parent)
    residues = sum(map(len, chains))
    for compact, limit in ((False, 16), (True, 10)):
        folder = tmp_path / str(compact)
        make(folder, ["data"], compact=compact)
        assert sum(len(content) for content in files_of(folder).values()) / residues <= limit


def test_columns_are_readable_by_arrow_alone(store, chains):
    """What the module promises to readers without this package."""
    with pa.memory_map(os.path.join(store.path, "shards", "000000.arrow")) as file:
        table = pa.ipc.open_file(file).read_all()
    rows = table.slice(3, 1).to_pylist()
    expected = chains[3]
    assert rows[0]["name"] == expected.name and rows[0]["length"] == len(expected)
    np.testing.assert_array_equal(np.array(rows[0]["position"], dtype=np.float32), expected.positions)
    assert rows[0]["residue_type"] == expected.residue_types.tolist()
    assert [run["chain"] for run in rows[0]["runs"]] == [expected.chain_ids[0]] * len(rows[0]["runs"])
    assert sum(run["length"] for run in rows[0]["runs"]) == len(expected)
    assert rows[0]["method"] == expected.method


# === by number and by name ===


def test_numbers_are_those_of_a_sequence(store):
    assert store[-1] == store[len(store) - 1] and store[np.int64(2)] == store[2]
    assert [structure.name for structure in store[1:3]] == [store[1].name, store[2].name]
    for wrong in (len(store), -len(store) - 1):
        with pytest.raises(IndexError, match=f"has {len(store)} structures"):
            store[wrong]
    with pytest.raises(TypeError):
        store["19hc_A_A"]


def test_every_name_finds_its_structure(store, chains):
    for number, chain in enumerate(chains):
        assert store.index(chain.name) == number and chain.name in store
    assert store.get(chains[5].name) == store[5] and store.name(5) == chains[5].name
    assert "none" not in store and 3 not in store
    with pytest.raises(KeyError, match="no structure `none`"):
        store.get("none")


def test_a_shared_name_is_no_name(tmp_path):
    """Chain B of a.pdb and a file a_B.pdb without chain ids are both called a_B."""
    write(tmp_path / "a.pdb", pdb_text(backbone("ALA", 1, chain="B")))
    write(tmp_path / "a_B.pdb", pdb_text(backbone("GLY", 1, chain=" ")))
    store = make(tmp_path / "s", [tmp_path])
    assert list(store.names) == ["a_B", "a_B"] and store.numbers("a_B") == [0, 1]
    assert store.manifest.counts["shared_names"] == 2
    with pytest.raises(StoreError, match="2 structures are called `a_B`.*ask by number"):
        store.get("a_B")


def test_columns_of_all_structures(store, chains):
    np.testing.assert_array_equal(store.lengths, [len(chain) for chain in chains])
    assert store.column("method").tolist() == [chain.method for chain in chains]
    np.testing.assert_array_equal(store.column("resolution"), [chain.resolution or np.nan for chain in chains])
    np.testing.assert_allclose(
        store.column("mean_confidence"), [chain.confidence.mean() for chain in chains], rtol=1e-5
    )
    with pytest.raises(ValueError, match="no column `position`"):
        store.column("position")


# === processes ===


def _sequence(store, index):
    return store[index].sequence


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_share_a_store(store, method):
    with multiprocessing.get_context(method).Pool(2) as pool:
        found = pool.starmap(_sequence, [(store, index) for index in range(6)])
    assert found == [store[index].sequence for index in range(6)]


def test_a_pickled_store_is_its_path(store):
    assert len(pickle.dumps(store)) < 500
    assert pickle.loads(pickle.dumps(store))[4] == store[4]  # noqa: S301  written one line above


# === damage ===


def told_by(call):
    """None for a call that gives True, the message of a StoreError for one that raises it."""
    try:
        assert call()
    except StoreError as error:
        return str(error)
    return None


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(content)


def test_no_flipped_byte_of_a_shard_is_taken_for_data(copy, store):
    """Each is told, but for padding between columns, which holds nothing."""
    path = copy / "shards" / "000000.arrow"
    size, told = path.stat().st_size, 0
    sound = list(store)
    places = [*range(0, size, size // 60), *range(size - 200, size, 40)]
    for place in places:
        flip(path, place)
        error = told_by(lambda: list(StructureStore(copy)) == sound)
        assert error is None or "000000.arrow" in error and "gearnet prepare" in error
        told += error is not None
        flip(path, place)
    assert told > 0.9 * len(places)


def test_damage_is_bounded_to_its_structure(copy, store):
    shard = store._shard(0)
    address = (
        shard.arrays["position"].__array_interface__["data"][0] - shard.arrays["crc"].__array_interface__["data"][0]
    )
    content = (copy / "shards" / "000000.arrow").read_bytes()
    place = content.index(shard.arrays["crc"].tobytes()) + address  # of the first position
    flip(copy / "shards" / "000000.arrow", place)
    damaged = StructureStore(copy)
    with pytest.raises(StoreError, match="structure 0 in shard 000000.arrow is damaged.*others can still be read"):
        damaged[0]
    with pytest.raises(StoreError, match="structure 0"):
        damaged.residues(0)
    assert damaged[1] == store[1]
    assert [problem for _, problem in damaged.problems() if problem] == [
        f"store `{copy}`: 1 structures of shard 000000.arrow are damaged: 0"
    ]


def test_no_flipped_byte_of_the_index_finds_a_wrong_structure(copy, store):
    path = copy / "index.arrow"
    names = list(store.names)
    for place in range(0, path.stat().st_size, 37):
        flip(path, place)
        opened = StructureStore(copy)
        for number in (0, 40, 93):
            error = told_by(lambda opened=opened, number=number: opened.index(names[number]) == number)
            assert error is None or "index.arrow is missing or damaged" in error
        flip(path, place)


def test_no_flipped_byte_of_the_manifest_is_believed(copy):
    path = copy / "manifest.json"
    text = path.read_bytes()
    for place in range(0, len(text), 7):
        flip(path, place)
        # a space that became something json takes for a space does no harm
        error = told_by(lambda: StructureStore(copy) and json.loads(path.read_bytes()) == json.loads(text))
        assert error is None or any(word in error for word in ("damaged", "no store", "newer"))
        flip(path, place)


@pytest.mark.parametrize(
    "damage, error, message",
    [
        (
            lambda path: os.remove(path / "shards" / "000000.arrow"),
            FileNotFoundError,
            "shard 000000.arrow is missing, with structures 0 to 93; bring it back from a copy",
        ),
        (lambda path: shutil.rmtree(path / "shards"), FileNotFoundError, "shard 000000.arrow is missing"),
        (
            lambda path: os.truncate(path / "shards" / "000000.arrow", 1000),
            StoreError,
            "cut off or damaged: it has 1000 bytes",
        ),
        (lambda path: os.truncate(path / "manifest.json", 100), StoreError, "manifest.json is cut off or damaged"),
        (lambda path: os.truncate(path / "manifest.json", 0), StoreError, "manifest.json is cut off or damaged"),
        (lambda path: os.remove(path / "manifest.json"), StoreError, "has lost its manifest.json"),
        (
            lambda path: write(path / "manifest.json", '{"format": "of another program", "schema": 1}'),
            StoreError,
            "manifest.json is of another kind",
        ),
    ],
)
def test_damaged_stores_say_what_is_wrong(copy, damage, error, message):
    damage(copy)
    with pytest.raises(error, match=message):
        StructureStore(copy)


def test_missing_index_hides_no_structure(copy, store):
    os.remove(copy / "index.arrow")
    opened = StructureStore(copy)
    assert opened[3] == store[3]
    with pytest.raises(StoreError, match="index.arrow is missing or damaged"):
        opened.index("19hc_A_A")


def test_a_newer_schema_is_refused(copy):
    content = json.loads((copy / "manifest.json").read_text())
    content["schema"] = SCHEMA + 1
    content["what is new"] = True
    (copy / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(StoreError, match=r"newer version of gearnet-plugin \(schema 2; this version reads up to 1\)"):
        StructureStore(copy)


def test_what_is_no_store(tmp_path):
    with pytest.raises(FileNotFoundError, match="no store at `.*nowhere`.*gearnet prepare"):
        StructureStore(tmp_path / "nowhere")
    with pytest.raises(StoreError, match="is no store: it has no manifest.json"):
        StructureStore(tmp_path)
    with pytest.raises(StoreError, match="is no store: it is a file"):
        StructureStore(write(tmp_path / "file", ""))
    (tmp_path / "plan").mkdir()
    with pytest.raises(StoreError, match="is being written, or was interrupted"):
        StructureStore(tmp_path)
