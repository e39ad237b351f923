"""datasets.PDBStructures: which entries and chains, from where, and what becomes of what is wrong."""
import functools
import http.server
import logging
import os
import pickle
import shutil
import tarfile
import threading

import numpy as np
import pytest
import torch

import gearnet_plugin  # noqa: F401  first: makes torchdrug importable
from gearnet_plugin.datasets import StructuresDropped, pdb_files
from gearnet_plugin.datasets.pdb import PDBStructures
from gearnet_plugin.datasets.pdb_ids import parse_name, read_ids
from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.models import GearNetEncoder
from gearnet_plugin.structures import read_structure
from gearnet_plugin.structures.bundled import bundled_path, bundled_table
from gearnet_plugin.structures.prepare import prepare
from proteins import construction
from structure_text import backbone, cif_text
from torchdrug import core, tasks

# X-ray at 1.7 and 2.4 Å, NMR, X-ray and neutrons at 1.0 Å, no word of method and resolution
FILES = ["1a8o_A.pdb.gz", "1a7g_E.cif.gz", "2ofg_X.cif.gz", "5pti_A.cif.gz", "2xcj_A.pdb.gz"]
ENTRIES = sorted(name[:4] for name in FILES)


def put(root, name):
    """A bundled file at its place in a mirror."""
    entry = name[:4]
    place = root / entry[1:3] / (f"{entry}.cif.gz" if "cif" in name else f"pdb{entry}.ent.gz")
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(bundled_path() / name, place)
    return place


def chains(entry_chains, method="X-RAY DIFFRACTION", resolution=2.0):
    """An mmCIF file with chains of given lengths."""
    atoms = [atom for place, (chain, length) in enumerate(entry_chains.items()) for number in range(1, length + 1)
             for atom in backbone("ALA", number + 40 * place, chain=chain)]
    header = f"_exptl.method '{method}'\n_refine.ls_d_res_high {resolution}" if method else ""
    return cif_text(atoms, header)


@pytest.fixture
def mirror(tmp_path):
    for name in FILES:
        put(tmp_path / "mirror", name)
    return tmp_path / "mirror"


@pytest.fixture
def own(tmp_path):
    """A folder with an entry of two chains and one of three."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "1abc.cif").write_text(chains({"A": 12, "B": 9}))
    (tmp_path / "own" / "2xyz.cif").write_text(chains({"a": 8, "A": 7, "LONG": 6}, "ELECTRON MICROSCOPY", 3.5))
    return tmp_path / "own"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A web server in place of files.rcsb.org; `files` is its folder, `asked` what was asked of it."""
    root, asked = tmp_path / "server", []
    root.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_request(self, *arguments):
            asked.append(self.path.rpartition("/")[2])

        def log_error(self, *arguments):
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=root))
    thread = threading.Thread(target=httpd.serve_forever, args=(0.02,))
    thread.start()
    monkeypatch.setattr(pdb_files, "URLS", (f"http://127.0.0.1:{httpd.server_port}/{{entry}}.cif.gz",))
    httpd.files, httpd.asked = root, asked
    for name in FILES:
        if "cif" in name:
            shutil.copy(bundled_path() / name, root / f"{name[:4]}.cif.gz")
    yield httpd
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def dataset(path, source=None, ids=None, **arguments):
    return PDBStructures(path, source, ids, **{"verbose": 0, "num_worker": 1, **arguments})


# === from files ===


@pytest.mark.parametrize("form", ["mirror", "top of the mirror", "tar", "files", "store"])
def test_source_may_be(tmp_path, mirror, form):
    source = mirror
    if form == "top of the mirror":
        (tmp_path / "pub" / "data" / "structures" / "divided").mkdir(parents=True)
        source = tmp_path / "pub"
        shutil.move(mirror, source / "data" / "structures" / "divided" / "mmCIF")
    elif form == "tar":
        source = tmp_path / "all.tar"
        with tarfile.open(source, "w") as tar:
            tar.add(mirror, "mirror")
    elif form == "files":
        source = sorted(mirror.rglob("*.gz"))
    elif form == "store":
        source = tmp_path / "other"
        prepare([mirror], source, workers=1, verbose=0)
    found = dataset(tmp_path / "data", source)
    expected = {name[:4]: read_structure(bundled_path() / name) for name in FILES}
    assert len(found) == 5 and found.drops == [] and not found.filtered
    assert isinstance(found[0]["graph"], ResidueProtein) and list(found[0]) == ["graph"]
    for name, item in zip(found.names, found, strict=True):
        known = parse_name(name)
        assert known.chain == {file[:4]: file[5] for file in FILES}[known.entry]
        np.testing.assert_array_equal(item["graph"].node_position.numpy(), expected.pop(known.entry).positions)
    assert dataset(tmp_path / "data", source, ["5pti_A", "2XCJ"]).names == ["5pti_A", "pdb2xcj_A"]


def test_per_chain_or_entry(tmp_path, own):
    assert dataset(tmp_path / "a", own).names == ["1abc_A", "1abc_B", "2xyz_a", "2xyz_A", "2xyz_LONG"]
    whole = dataset(tmp_path / "b", own, per="entry")
    assert whole.names == ["1abc", "2xyz"]
    assert [int(item["graph"].num_residue) for item in whole] == [21, 21]
    assert dataset(tmp_path / "b", own, ["2xyz"], per="entry").names == ["2xyz"]
    with pytest.raises(ValueError, match="made with other options"):
        dataset(tmp_path / "b", own)
    with pytest.raises(ValueError, match="per is `chain`, but the store `.*` was made with `entry`"):
        dataset(tmp_path / "c", tmp_path / "b" / "PDBStructures.store")


def test_only_chains_that_are_named(tmp_path, own):
    (own / "my_B.cif").write_text(chains({"A": 5, "B": 4}))
    found = dataset(tmp_path, own, chains=["A", "LONG"])
    assert found.names == ["1abc_A", "2xyz_A", "2xyz_LONG", "my_B_A"] and found.filtered == {"of other chains": 3}
    assert dataset(tmp_path, own, chains="a").names == ["2xyz_a"]


def test_store_that_is_there_needs_no_source(tmp_path, mirror):
    dataset(tmp_path, mirror)
    shutil.rmtree(mirror)
    assert len(dataset(tmp_path)) == len(dataset(tmp_path, mirror)) == 5
    assert dataset(tmp_path, mirror, "1a8o, 5pti").names == ["pdb1a8o_A", "5pti_A"]
    with pytest.raises(ValueError, match="nothing to read: there is no store `.*PDBStructures.store` yet; give source"):
        dataset(tmp_path / "none")


def test_an_entry_in_two_files_counts_once(tmp_path, own):
    """Also with other chains in the second; files of one chain each stand beside each other."""
    (own / "old").mkdir()
    (own / "old" / "pdb1abc.cif").write_text(chains({"A": 3, "C": 3}))
    (own / "1abc_A.cif").write_text(chains({"A": 4}))
    for chain in "BD":
        for folder in (own, own / "old"):
            (folder / f"3def_{chain}.cif").write_text(chains({chain: 5}))
    found = dataset(tmp_path, own)
    assert found.names == ["1abc_A", "1abc_B", "2xyz_a", "2xyz_A", "2xyz_LONG", "3def_B_B", "3def_D_D"]
    assert found.drops == [
        ("1abc_A_A", "entry 1abc comes from another file already, `1abc`"),
        ("old/3def_B_B", "entry 3def comes from another file already, `3def_B`"),
        ("old/3def_D_D", "entry 3def comes from another file already, `3def_D`"),
        ("pdb1abc_A", "entry 1abc comes from another file already, `1abc`"),
        ("pdb1abc_C", "entry 1abc comes from another file already, `1abc`")]
    asked = dataset(tmp_path, own, ["1abc", "2xyz_a"])  # of the same store
    assert asked.names == ["1abc_A", "1abc_B", "2xyz_a"]
    assert asked.drops == [drop for drop in found.drops if "3def" not in drop[0]]
    with pytest.raises(StructuresDropped):
        dataset(tmp_path, own, strict=True)


def test_files_that_cannot_be_read_are_told(tmp_path, own, caplog):
    (own / "9bad.cif").write_text("nothing")
    with caplog.at_level(logging.WARNING):
        found = dataset(tmp_path, own)
    assert [os.path.basename(file) for file, _ in found.drops] == ["9bad.cif"] and "9bad.cif" in caplog.text
    assert len(found) == 5


# === ids ===


@pytest.mark.parametrize("text, expected", [
    ("1abc", ("1abc", "")), ("1ABC_A", ("1abc", "A")), ("1abc-b", ("1abc", "b")), ("1abc.AA", ("1abc", "AA")),
    ("pdb_00001abc", ("1abc", "")), ("PDB_00001ABC_x", ("1abc", "x")), ("pdb_12345678", ("pdb_12345678", ""))])
def test_spelling_of_an_id(text, expected):
    assert [(one.entry, one.chain) for one in read_ids([text])] == [expected]


@pytest.mark.parametrize("name, expected", [
    ("1abc", ("1abc", "")), ("pdb1abc", ("1abc", "")), ("1ABC_A", ("1abc", "A")), ("x/1abc_A#2", ("1abc", "A")),
    ("1abc_A_A", ("1abc", "A")), ("pdb_00001abc_B", ("1abc", "B")), ("1abc_err_A", None), ("model_A", None)])
def test_name_of_a_structure(name, expected):
    known = parse_name(name)
    assert known and known[:2] == expected if expected else known is None


def test_file_of_ids(tmp_path, mirror):
    (tmp_path / "ids.txt").write_text("# mine\n5pti_A  # trypsin inhibitor\n\n1a8o, 2ofg\n", encoding="utf-8")
    assert [(one.row, str(one)) for one in read_ids(tmp_path / "ids.txt")] == [(2, "5pti_A"), (4, "1a8o"), (4, "2ofg")]
    assert dataset(tmp_path, mirror, tmp_path / "ids.txt").names == ["5pti_A", "pdb1a8o_A", "2ofg_X"]


@pytest.mark.parametrize("ids, error, message", [
    (["1abc", "abcd"], ValueError, "ids, row 2: `abcd` is no PDB id; expected one such as 1abc"),
    ([1e10], ValueError, "ids, row 1: an id should be text .* but found 10000000000.0; in YAML, put it in quotes"),
    ([], ValueError, "there is no id in it"),
    ("nowhere.txt", FileNotFoundError, "no such file of ids: `nowhere.txt`")])
def test_ids_that_are_none(tmp_path, mirror, ids, error, message):
    with pytest.raises(error, match=message):
        dataset(tmp_path, mirror, ids)


def test_only_what_is_asked_for_is_read(tmp_path, mirror):
    found = dataset(tmp_path, mirror, ["5pti", "1a8o_A"])
    assert found.names == ["5pti_A", "pdb1a8o_A"] and found.structures.num_file == 2


def test_ids_that_cannot_be_had_and_repeated_ones_are_told(tmp_path, own):
    (own / "9bad.cif").write_text("nothing")
    ids = ["1abc_B", "1abc_Z", "9zzz", "9bad", "1abc", "1ABC-B", "2xyz_a"]
    found = dataset(tmp_path, own, ids)
    assert found.names == ["1abc_B", "1abc_A", "2xyz_a"]
    drops = dict(found.drops)
    assert drops["1abc_Z"] == "row 2: no protein chain `Z`; there are `A`, `B`"
    assert drops["9zzz"].startswith("row 3: no file of it in `") and "zz/9zzz.cif.gz" in drops["9zzz"]
    assert drops["9bad"].startswith("row 4: it is ")
    assert drops["1abc_B"] == "row 6: named before, in row 1; it counts once" and len(drops) == 4
    # known beside the store, too, and with the mirror gone
    assert dataset(tmp_path, own, ids).drops == found.drops
    with pytest.raises(StructuresDropped, match="4 structures or labels cannot be used"):
        dataset(tmp_path, own, ids, strict=True)


def test_mmcif_comes_before_pdb_in_a_mirror(tmp_path):
    for place, length in (("pdb/ab/pdb1abc.ent", 3), ("mmCIF/ab/1abc.cif", 5)):
        path = tmp_path / "m" / place
        path.parent.mkdir(parents=True)
        path.write_text(chains({"A": length}))
    assert [int(item["graph"].num_residue) for item in dataset(tmp_path, tmp_path / "m", ["1abc"])] == [5]


def test_store_of_other_ids(tmp_path, mirror):
    dataset(tmp_path, mirror, ["5pti", "1a8o", "2ofg"])
    assert dataset(tmp_path, mirror, ["2ofg"]).names == ["2ofg_X"]
    with pytest.raises(ValueError, match="made for other ids: 1 of 2 entries are not in it, the first `2xcj`; give"):
        dataset(tmp_path, mirror, ["5pti", "2xcj"])
    with pytest.raises(ValueError, match="was made of `.*5pti.cif.gz` and 2 more, but source is `.*mirror`"):
        dataset(tmp_path, mirror)


def test_no_id_is_there(tmp_path, mirror):
    with pytest.raises(ValueError, match="none of 2 entries can be had, the first, 9zzz: no file of it in `.*mirror`"):
        dataset(tmp_path, mirror, ["9zzz", "9yyy_A"])
    dataset(tmp_path, mirror)
    with pytest.raises(ValueError, match="none of 1 ids is in `.*`, the first, 9zzz: row 1: not in"):
        dataset(tmp_path, mirror, ["9zzz"])


# === downloads ===


def test_entries_are_fetched_once(tmp_path, server):
    found = dataset(tmp_path, ids=["5pti", "2ofg_X", "9zzz"])
    assert found.names == ["5pti_A", "2ofg_X"] and sorted(server.asked) == ["2ofg.cif.gz", "5pti.cif.gz", "9zzz.cif.gz"]
    name, reason = found.drops[0]
    assert name == "9zzz" and "no such entry on the servers: http://127.0.0.1" in reason and "404" in reason
    assert (tmp_path / "mmCIF" / "pt" / "5pti.cif.gz").is_file()
    # neither what is there nor what is nowhere is asked for again
    again = dataset(tmp_path, ids=["5pti", "2ofg_X", "9zzz"])
    assert again.drops == found.drops and len(server.asked) == 3
    shutil.rmtree(tmp_path / "PDBStructures.store")
    assert len(dataset(tmp_path, ids=["5pti", "2ofg", "1a7g"])) == 3 and len(server.asked) == 4
    # what was fetched is a mirror
    assert dataset(tmp_path / "other", tmp_path / "mmCIF", ["1a7g"]).names == ["1a7g_E"]


def test_without_network_the_message_says_what_to_put_where(tmp_path, server, monkeypatch):
    with pytest.raises(FileNotFoundError) as error:
        dataset(tmp_path, ids=["5pti", "2ofg"], download=False)
    assert f"http://127.0.0.1:{server.server_port}/5pti.cif.gz" in str(error.value)
    assert str(tmp_path / "mmCIF" / "pt" / "5pti.cif.gz") in str(error.value)
    assert "2 of 2 entries are not there yet" in str(error.value) and server.asked == []


def test_a_server_that_fails_is_not_a_missing_entry(tmp_path, server, monkeypatch):
    """The store is not made without what another attempt may give."""
    monkeypatch.setattr(pdb_files, "URLS", ("file:///nowhere/{entry}.cif.gz", *pdb_files.URLS))
    with pytest.raises(FileNotFoundError, match="9zzz.cif.gz"):
        dataset(tmp_path, ids=["5pti", "9zzz"])
    assert not (tmp_path / "PDBStructures.store").exists()
    assert dataset(tmp_path, ids=["5pti"]).names == ["5pti_A"]


def test_addresses():
    urls = [url.format(entry="1abc", middle=pdb_files.middle("1abc")) for url in pdb_files.URLS]
    assert urls == ["https://files.rcsb.org/download/1abc.cif.gz",
                    "https://files.wwpdb.org/pub/pdb/data/structures/divided/mmCIF/ab/1abc.cif.gz"]
    assert pdb_files.middle("pdb_00001abc") == "ab"


# === filters ===


@pytest.mark.parametrize("arguments, expected, filtered", [
    (dict(max_resolution=2.0), {"1a8o", "5pti"}, {"above 2 Å": 1, "without a resolution": 2}),
    (dict(max_resolution=1.7), {"1a8o", "5pti"}, {"above 1.7 Å": 1, "without a resolution": 2}),
    (dict(max_resolution=2.0, without_resolution="keep"), {"1a8o", "5pti", "2ofg", "2xcj"}, {"above 2 Å": 1}),
    (dict(methods="xray"), {"1a8o", "5pti", "1a7g"}, {"by an unknown method": 1, "by SOLUTION NMR": 1}),
    (dict(methods=["neutron", "nmr"]), {"5pti", "2ofg"}, {"by an unknown method": 1, "by X-RAY DIFFRACTION": 2}),
    (dict(methods=["Solution NMR"]), {"2ofg"}, {"by an unknown method": 1, "by X-RAY DIFFRACTION": 2,
                                                "by X-RAY DIFFRACTION; NEUTRON DIFFRACTION": 1}),
    (dict(methods=["xray", "nmr"], max_resolution=2.0, without_resolution="keep", min_length=60, max_length=106),
     {"1a8o", "2ofg"}, {"by an unknown method": 1, "above 2 Å": 1, "fewer than 60 residues": 1}),
])
def test_filters(tmp_path, mirror, arguments, expected, filtered):
    found = dataset(tmp_path, mirror, **arguments)
    assert {parse_name(name).entry for name in found.names} == expected
    assert dict(found.filtered) == filtered and found.drops == []
    assert all(f"{number} {reason}" in repr(found) for reason, number in filtered.items())
    assert len(dataset(tmp_path, mirror)) == 5


def test_filters_agree_with_the_table_of_the_bundled_structures(tmp_path):
    rows = bundled_table()
    found = dataset(tmp_path, bundled_path(), max_resolution=2.2, methods=["X-ray diffraction"], max_length=250)
    expected = {row["structure"].partition(".")[0] for row in rows if "X-RAY" in row["method"]
                and row["resolution"] is not None and row["resolution"] <= 2.2 and row["length"] <= 250}
    assert {name[:6] for name in found.names} == expected
    assert len(found) + sum(found.filtered.values()) == len(rows)


@pytest.mark.parametrize("arguments, message", [
    (dict(per="residue"), "per should be `chain` or `entry`, but found `residue`"),
    (dict(methods="xry"), "unknown method 'xry'; allowed are `xray`"),
    (dict(methods=[]), "methods is an empty list"),
    (dict(max_resolution=0), "max_resolution should be a positive number, in Å, but found 0"),
    (dict(max_resolution="2"), "max_resolution should be a positive number"),
    (dict(without_resolution="both"), "without_resolution should be `drop` or `keep`, but found `both`"),
    (dict(min_length=5, max_length=4), "min_length 5 is larger than max_length 4"),
    (dict(per="entry", chains=["A"]), "picks chains, but per is `entry`"),
    (dict(per="entry", ids=["1abc", "1abc_A"]), "ids, row 2: `1abc_A` names a chain, but per is `entry`"),
])
def test_wrong_arguments_are_told_before_anything_is_read(tmp_path, mirror, arguments, message):
    with pytest.raises(ValueError, match=message):
        dataset(tmp_path / "data", mirror, **arguments)
    assert not (tmp_path / "data").exists()


def test_filters_that_leave_nothing(tmp_path, mirror):
    with pytest.raises(ValueError, match="passes the filters: 3 above 0.5 Å, 2 without a resolution; change them"):
        dataset(tmp_path, mirror, max_resolution=0.5)


# === as a dataset of TorchDrug ===


def test_no_splits(tmp_path, own):
    found = dataset(tmp_path, own)
    assert not found.has_split
    with pytest.raises(ValueError, match="random_split, or name them in a table with a column `split`"):
        found.split()


def test_config_and_pickle_make_the_same_dataset_again(tmp_path, mirror):
    config = {"class": "PDBStructures", "path": str(tmp_path), "source": str(mirror), "max_resolution": 2.0,
              "verbose": 0, "transform": {"class": "TruncateProtein", "max_length": 20}}
    found = core.Configurable.load_config_dict(config)
    again = core.Configurable.load_config_dict(found.config_dict())
    packed = pickle.dumps(found)
    assert len(packed) < 3000
    for other in (again, pickle.loads(packed)):  # noqa: S301  made above
        assert other.config_dict() == found.config_dict() and other.names == found.names
        for left, right in zip(found, other, strict=True):
            assert left["graph"].num_residue == 20
            assert torch.equal(left["graph"].node_position, right["graph"].node_position)


def test_pretraining(tmp_path, mirror):
    """An epoch of TorchDrug's engine with a task of TorchDrug changes the weights, to numbers."""
    found = dataset(tmp_path, mirror)
    torch.manual_seed(0)
    task = tasks.AttributeMasking(GearNetEncoder(21, [8], 7), mask_rate=0.15, graph_construction_model=construction())
    solver = core.Engine(task, found, None, None, torch.optim.Adam(task.parameters(), 1e-3), batch_size=5)
    before = [parameter.clone() for parameter in task.parameters()]
    solver.train(num_epoch=1)
    assert all(parameter.isfinite().all() for parameter in task.parameters())
    assert any(not torch.equal(old, new) for old, new in zip(before, task.parameters(), strict=True))


# === real entries ===


def test_real_entries_by_id(tmp_path, shared_data):
    """A folder of awkward files: what is asked for is found whatever its case, and agrees with the file."""
    source = os.path.join(shared_data, "edge", "biopython")
    found = dataset(tmp_path, source, ["1gbt", "2OFG-A", "1a8o_A", "1lcd", "3jqh"])
    structures = {name[:4].lower(): read_structure(os.path.join(source, name))
                  for name in ("1GBT.cif", "2OFG.cif", "1A8O.cif", "1LCD.cif", "3JQH.cif")}
    assert {name[:4].lower() for name in found.names} | {name[:4].lower() for name, _ in found.drops} == set(structures)
    for name, item in zip(found.names, found, strict=True):
        chain = next(one for one in structures[name[:4].lower()].chains() if one.name.endswith(name[4:]))
        np.testing.assert_array_equal(item["graph"].node_position.numpy(), chain.positions)


def test_real_chains(tmp_path, shared_data):
    """Some hundred files of one chain each."""
    folder = os.path.join(shared_data, "structures_bb3")
    files = sorted(os.listdir(folder))[:100]
    found = dataset(tmp_path, [os.path.join(folder, file) for file in files])
    assert found.drops == [] and len(found) >= len(files)
    assert {name[:6] for name in found.names} == {file[:6] for file in files}
