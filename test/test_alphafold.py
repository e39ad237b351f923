"""datasets.AlphaFoldStructures: which models, from where, and what becomes of what is wrong."""
import functools
import gzip
import http.server
import io
import logging
import os
import pickle
import tarfile
import threading

import numpy as np
import pytest
import torch

import gearnet_plugin  # noqa: F401  first: makes torchdrug importable
from gearnet_plugin.datasets import StructuresDropped, alphafold_species
from gearnet_plugin.datasets.alphafold import AlphaFoldStructures
from gearnet_plugin.datasets.alphafold_species import TABLE, find_species
from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.models import GearNetEncoder
from gearnet_plugin.structures import read_structure
from gearnet_plugin.structures.bundled import bundled_path
from gearnet_plugin.structures.prepare import prepare
from gearnet_plugin.tasks import MultiviewContrastive
from proteins import construction
from torchdrug import core, data, tasks
from torchdrug import datasets as host
from torchdrug.layers import geometry

# accession, bundled structure, mean pLDDT
MODELS = (("P00001", "1bd2_B", 95), ("P00002", "2gu3_A", 60), ("P00003", "1ubi_A", 85), ("P00004", "1bx8_A", 40),
          ("P00005", "1ejg_A", 75))
FULL = "UP000005640_9606_HUMAN"


def model(accession, structure, plddt, version=2, fragment=1):
    """A file of AlphaFold DB: its name without .pdb, and its content."""
    with gzip.open(bundled_path() / f"{structure}.pdb.gz", "rt") as file:
        atoms = [line for line in file if line.startswith(("ATOM", "HETATM"))]
    # 10 above and 10 below the mean, residue by residue
    lines = [f"{line[:60]}{plddt + 10 * (1 if int(line[22:26]) % 2 else -1):6.2f}{line[66:]}" for line in atoms]
    header = ["HEADER                                            01-JUN-22",
              f"TITLE     ALPHAFOLD MONOMER V2.0 PREDICTION FOR A PROTEIN ({accession})",
              "COMPND    MOL_ID: 1;", "REMARK   1", "REMARK   1 REFERENCE 1"]
    return f"AF-{accession}-F{fragment}-model_v{version}", "\n".join(header) + "\n" + "".join(lines) + "TER\nEND\n"


def archive(path, models, twins=True, broken=()):
    """A tar archive of AlphaFold DB, as it comes: packed PDB files, mmCIF twins, not in the order of their names."""
    with tarfile.open(path, "w") as tar:
        for name, text in models:
            files = {f"{name}.cif.gz": "a twin that must not be read"} if twins else {}
            files[f"{name}.pdb.gz"] = "damaged" if name in broken else text
            for member, content in files.items():
                packed = gzip.compress(content.encode())
                info = tarfile.TarInfo(member)
                info.size = len(packed)
                tar.addfile(info, io.BytesIO(packed))
    return os.fspath(path)


def names(models):
    return [name for name, _ in models]


@pytest.fixture(scope="module")
def models():
    return [model(*row) for row in MODELS]


@pytest.fixture
def folder(tmp_path, models):
    (tmp_path / "models").mkdir()
    for name, text in models:
        (tmp_path / "models" / f"{name}.pdb").write_text(text)
    return tmp_path / "models"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A web server in place of AlphaFold DB; `files` is its folder, `asked` what was asked of it."""
    root = tmp_path / "server"
    root.mkdir()
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            asked.append(self.path)

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=root))
    thread = threading.Thread(target=httpd.serve_forever, args=(0.02,))
    thread.start()
    monkeypatch.setattr(alphafold_species, "SERVER", f"http://127.0.0.1:{httpd.server_port}")
    httpd.files, httpd.asked = root, asked
    yield httpd
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def dataset(path, **arguments):
    return AlphaFoldStructures(path, **{"verbose": 0, "num_worker": 1, **arguments})


# === the species ===


def test_table_is_that_of_torchdrug():
    """Archives, checksums and numbers of splits, in the order by which species_id counts."""
    stock = host.AlphaFoldDB
    assert [species.urls(2) for species in TABLE] == [[url] for url in stock.urls]
    assert [species.md5 for species in TABLE] == stock.md5s
    assert AlphaFoldStructures.species_nsplit == stock.species_nsplit
    assert AlphaFoldStructures.split_length == stock.split_length
    assert len({species.name for species in TABLE}) == 49 == len({species.stem for species in TABLE})


@pytest.mark.parametrize("word", [8, "8", "UP000005640", "human", "HUMAN", "9606", "Homo sapiens", "h. sapiens", FULL])
def test_species_has_many_names(word):
    assert [species.stem for species in find_species(word)] == [FULL]


def test_no_two_species_share_a_name():
    for species in TABLE:
        for word in species.words:
            assert find_species(word) == [species], word


def test_several_species_and_all():
    assert [species.index for species in find_species(["Swiss-Prot", "yeast", 21])] == [21, 16]
    assert len(find_species("all")) == 49
    assert [species.index for species in find_species("all", 1)] == list(range(21))
    assert len(find_species("all", 6)) == 47


@pytest.mark.parametrize("version, url", [
    (1, "/v1/UP000005640_9606_HUMAN.tar"), (3, "/v3/UP000005640_9606_HUMAN_v3.tar"),
    (4, "/v4/UP000005640_9606_HUMAN_v4.tar"), (6, "/v6/UP000005640_9606_HUMAN_v6.tar")])
def test_address_by_release(version, url):
    assert find_species("human", version)[0].urls(version)[0] == "https://ftp.ebi.ac.uk/pub/databases/alphafold" + url
    if version > 1:
        assert find_species(21, version)[0].urls(version)[0].endswith(f"/v{version}/swissprot_pdb_v{version}.tar")


@pytest.mark.parametrize("arguments, message", [
    (dict(species="hunam"), "unknown species 'hunam'; give a number from 0 to 48, a UniProt proteome, or a name"),
    (dict(species="sapiens"), r"unknown species 'sapiens'.*`Homo sapiens` \(UP000005640_9606_HUMAN\)"),
    (dict(species="Mycobacterium"), "such as `Mycobacterium tuberculosis`"),
    (dict(species=9606), "numbered from 0 to 48, but found 9606; for an NCBI taxon give text"),
    (dict(species=True), "unknown species True"),
    (dict(species=[]), "species is an empty list"),
    (dict(species_id=49), "numbered from 0 to 48, but found 49"),
    (dict(species_id=-1), "numbered from 0 to 48, but found -1"),
    (dict(species_id="human"), "species_id should be a number from 0 to 48, but found 'human'; give names by species"),
    (dict(version=5), "release 5 are known; there are 1, 2, 3, 4, 6"),
    (dict(version="v4"), "release 'v4' are known"),
    (dict(species_id=21, version=1), r"release 1 of AlphaFold DB has no archive of Swiss-Prot"),
    (dict(species_id=27, version=6), r"release 6 of AlphaFold DB has no archive of Enterococcus faecium"),
    (dict(species_id=1, species="human"), "`species_id` and `species` each say what to read; give one"),
    (dict(species=1, source="."), "`species` and `source` each say what to read"),
    (dict(version=4, source="."), "version 4 is of archives to download, but source gives the files"),
    (dict(split_id=-1), "split_id should be a number from 0 on, but found -1"),
    (dict(split_id="0"), "split_id should be a number from 0 on, but found '0'"),
    (dict(species=["human", "mouse"], split_id=0), "split_id 0 is a part of one species, but 2 are given"),
    (dict(min_confidence=101), "min_confidence is a mean pLDDT from 0 to 100, but found 101"),
    (dict(min_confidence="70"), "min_confidence is a mean pLDDT from 0 to 100"),
    (dict(min_length=0), "min_length should be a number of residues, at least 1, but found 0"),
    (dict(max_length=1.5), "max_length should be a number of residues"),
    (dict(min_length=9, max_length=8), "min_length 9 is larger than max_length 8"),
    (dict(unknown="alanine"), "unknown"),
])
def test_wrong_arguments_are_told_before_anything_is_fetched(tmp_path, monkeypatch, arguments, message):
    monkeypatch.setattr("gearnet_plugin.datasets.alphafold.fetch", None)
    with pytest.raises(ValueError, match=message):
        dataset(tmp_path / "data", **arguments)
    assert not (tmp_path / "data").exists()


# === from the archives ===


def test_archive_is_fetched_once_and_read_where_it_is(tmp_path, server, models):
    (server.files / "v4").mkdir()
    archive(server.files / "v4" / f"{FULL}_v4.tar", models[::-1])
    human = dataset(tmp_path / "data", species="human", version=4)
    assert sorted(human.names) == names(models)
    assert len(server.asked) == 1
    # neither the archive nor the network is needed any more
    assert sorted(os.listdir(tmp_path / "data")) == [f"AlphaFoldStructures.{FULL}_v4.store", f"{FULL}_v4.tar"]
    os.remove(tmp_path / "data" / f"{FULL}_v4.tar")
    again = dataset(tmp_path / "data", species=8, version=4, download=False)
    assert again.names == human.names and len(server.asked) == 1


def test_archive_of_release_2_is_checked(tmp_path, server, models):
    (server.files / "v2").mkdir()
    archive(server.files / "v2" / f"{FULL}_v2.tar", models)
    with pytest.raises(ValueError, match="its md5 is [0-9a-f]{32}, where 5dadeb5aac704025cac33f7557794858 is expected"):
        dataset(tmp_path, species_id=8)


def test_without_network_the_message_says_what_to_put_where(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        dataset(tmp_path, species_id=16, download=False)
    assert "https://ftp.ebi.ac.uk/pub/databases/alphafold/v2/UP000002311_559292_YEAST_v2.tar" in str(error.value)
    assert str(tmp_path / "UP000002311_559292_YEAST_v2.tar") in str(error.value)
    assert "d9720e3809db6916405db096b520c236" in str(error.value)


def test_default_is_the_first_split_of_the_first_species(tmp_path, models, monkeypatch):
    """As of TorchDrug's class."""
    monkeypatch.setattr(AlphaFoldStructures, "split_length", 2)
    archive(tmp_path / "UP000006548_3702_ARATH_v4.tar", models)
    assert dataset(tmp_path, version=4).names == names(models)[:2]
    assert dataset(tmp_path, version=4, species_id=0).names == names(models)[:2]
    assert dataset(tmp_path, version=4, split_id=2).names == names(models)[4:]
    assert dataset(tmp_path, version=4, species="ARATH").names == names(models)


# === splits ===


def test_splits_are_those_of_torchdrug(tmp_path, models, monkeypatch):
    """TorchDrug's own class reads the same archive."""
    def stock_class(tar):
        class Stock(host.AlphaFoldDB):
            urls = [f"https://example.org/{os.path.basename(tar)}"]
            md5s = [None]
            species_nsplit = [3]
            split_length = 2

        return Stock

    tar = archive(tmp_path / "UP000006548_3702_ARATH_v4.tar", models[::-1])
    monkeypatch.setattr("torchdrug.utils.download", lambda url, path, md5=None: tar)
    monkeypatch.setattr(AlphaFoldStructures, "split_length", 2)
    for split_id in range(3):
        stock = stock_class(tar)(str(tmp_path), split_id=split_id, verbose=0, atom_feature=None, bond_feature=None)
        ours = dataset(tmp_path, version=4, split_id=split_id)
        assert [os.path.basename(file)[:-4] for file in stock.pdb_files] == ours.names
        assert len(ours) == (2, 2, 1)[split_id]
        for left, right in zip(stock, ours, strict=True):
            assert left.keys() == right.keys()
            assert left["graph"].residue_type.tolist() == right["graph"].residue_type.tolist()


def test_a_file_that_cannot_be_read_keeps_its_place(tmp_path, models, monkeypatch):
    """The splits after it begin where they would, and the one it is in tells of it."""
    monkeypatch.setattr(AlphaFoldStructures, "split_length", 2)
    tar = archive(tmp_path / "some.tar", models[::-1], twins=False, broken=names(models)[:1])
    parts = [dataset(tmp_path, source=tar, split_id=split_id) for split_id in range(3)]
    assert [part.names for part in parts] == [names(models)[1:2], names(models)[2:4], names(models)[4:]]
    assert [len(part.drops) for part in parts] == [1, 0, 0]
    assert parts[0].drops[0][0] == f"{tar}/{names(models)[0]}.pdb.gz"
    assert len(dataset(tmp_path, source=tar).drops) == 1
    dataset(tmp_path, source=tar, split_id=1, strict=True)
    with pytest.raises(StructuresDropped, match="P00001-F1-model_v2.pdb.gz: it is not a structure"):
        dataset(tmp_path, source=tar, strict=True)


def test_split_beyond_the_end(tmp_path, folder):
    with pytest.raises(ValueError, match="split_id 1 is beyond the end: the 5 files of .* are 1 split of up to 22000"):
        dataset(tmp_path, source=folder, split_id=1)


def test_no_split_for_training_and_test(tmp_path, folder):
    models = dataset(tmp_path, source=folder)
    assert not models.has_split
    with pytest.raises(ValueError, match="torch.utils.data.random_split"):
        models.split()


# === several species ===


@pytest.fixture
def two(tmp_path, models):
    """Archives of human and Swiss-Prot, which has two of the human models."""
    archive(tmp_path / f"{FULL}_v4.tar", models[:3])
    archive(tmp_path / "swissprot_pdb_v4.tar", [models[4], models[2], models[0], models[3]], twins=False)
    return tmp_path


def test_species_are_one_dataset_without_repeats(two, models):
    """A protein that is in both archives comes from the first of them, once."""
    both = dataset(two, species=["human", "Swiss-Prot"], version=4)
    assert both.names == [*names(models)[:3], names(models)[4], names(models)[3]]
    assert dict(both.filtered) == {"in the archive of an earlier species too": 2} and both.drops == []
    assert "left out by filters: 2 in the archive of an earlier species too" in repr(both)
    assert "#sample: 5 of 7 files" in repr(both)
    other = dataset(two, species=["Swiss-Prot", "human"], version=4)
    assert sorted(other.names) == sorted(both.names) and other.names[-1] == names(models)[1]


def test_items_of_several_stores(two, models):
    both = dataset(two, species=["human", "Swiss-Prot"], version=4)
    alone = [dataset(two, species=species, version=4) for species in ("human", "Swiss-Prot")]
    assert [structure.name for structure in both.structures] == both.names
    assert both.structures[4].name == both.structures[-1].name == names(models)[3]
    assert [structure.name for structure in both.structures[2:4]] == [names(models)[2], names(models)[4]]
    for item, expected in zip(both, [*alone[0], alone[1][0], alone[1][3]], strict=True):
        assert torch.equal(item["graph"].node_position, expected["graph"].node_position)
    for index in (5, -6):
        with pytest.raises(IndexError, match=f"5 structures, but number {index} was asked for"):
            both[index]


def test_pickle_holds_paths_and_numbers_alone(two):
    both = dataset(two, species=["human", "Swiss-Prot"], version=4)
    packed = pickle.dumps(both)
    assert len(packed) < 4000
    again = pickle.loads(packed)  # noqa: S301  made in this line
    assert again.names == both.names
    batches = [list(data.DataLoader(both, 3, num_workers=number)) for number in (0, 2)]
    for left, right in zip(*batches, strict=True):
        assert torch.equal(left["graph"].node_position, right["graph"].node_position)


def test_species_named_twice_count_once(two, caplog):
    with caplog.at_level(logging.WARNING):
        human = dataset(two, species=["human", 8], version=4)
    assert len(human) == 3 and "1 of the species are named twice and count once" in caplog.text


# === one's own files ===


@pytest.mark.parametrize("form", ["folder", "files", "tar", "packed tar", "store"])
def test_source_may_be(tmp_path, folder, models, form):
    files = sorted(map(str, folder.iterdir()))
    if form == "tar":
        source = archive(tmp_path / "all.tar", models)
    elif form == "packed tar":
        source = str(tmp_path / "all.tar.gz")
        with tarfile.open(source, "w:gz") as tar:
            for file in files:
                tar.add(file, os.path.basename(file))
    elif form == "store":
        source = tmp_path / "other"
        prepare([folder], source, workers=1, verbose=0)
    else:
        source = folder if form == "folder" else files
    found = dataset(tmp_path / "data", source=source)
    # of a store of chains the chain is in the name
    assert [name[:21] for name in found.names] == names(models)
    assert isinstance(found[0]["graph"], ResidueProtein) and list(found[0]) == ["graph"]
    for file, item in zip(files, found, strict=True):
        structure = read_structure(file)
        np.testing.assert_array_equal(item["graph"].node_position.numpy(), structure.positions)
        np.testing.assert_allclose(item["graph"].b_factor.numpy(), structure.confidence, atol=0.5)


def test_source_may_be_a_foldcomp_database(tmp_path, folder, python):
    pytest.importorskip("foldcomp")
    files = sorted(folder.iterdir())[3:]
    # in a process of its own: foldcomp may crash on what it compresses
    python("-c", "import foldcomp, sys\nfor file in sys.argv[1:]:\n"
           "    open(file + '.fcz', 'wb').write(foldcomp.compress('a title', open(file).read()))", *files)
    place, index, lookup = 0, "", ""
    with open(tmp_path / "afdb", "wb") as database:
        for key, file in enumerate(files):
            size = database.write((folder / f"{file.name}.fcz").read_bytes())
            index, lookup = f"{index}{key}\t{place}\t{size}\n", f"{lookup}{key}\t{file.stem}\t0\n"
            place += size
    (tmp_path / "afdb.index").write_text(index)
    (tmp_path / "afdb.lookup").write_text(lookup)
    assert dataset(tmp_path / "data", source=tmp_path / "afdb").names == [file.stem for file in files]
    assert dataset(tmp_path / "data", source=tmp_path / "afdb", min_confidence=70).names == [files[1].stem]


def test_fragments_are_items_of_their_own(tmp_path):
    (tmp_path / "long").mkdir()
    for fragment in (1, 2, 10):
        name, text = model("Q8WZ42", "1bx8_A", 80, fragment=fragment)
        (tmp_path / "long" / f"{name}.pdb").write_text(text)
    assert dataset(tmp_path, source=tmp_path / "long").names == [f"AF-Q8WZ42-F{n}-model_v2" for n in (1, 10, 2)]


def test_store_of_another_source_is_not_taken_for_it(tmp_path, folder):
    dataset(tmp_path, source=folder)
    (tmp_path / "b").mkdir()
    with pytest.raises(ValueError, match="was made of `.*models`, but source is `.*b`; give another path for it"):
        dataset(tmp_path, source=tmp_path / "b")
    # the files may be gone, and the store be named itself
    os.rename(folder, tmp_path / "away")
    assert len(dataset(tmp_path, source=folder)) == 5
    assert len(dataset(tmp_path / "c", source=tmp_path / "AlphaFoldStructures.store")) == 5


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file or folder: `.*nowhere`"):
        dataset(tmp_path, source=tmp_path / "nowhere")


# === filters ===


@pytest.mark.parametrize("arguments", [
    dict(min_confidence=70), dict(min_confidence=80), dict(max_length=76), dict(min_length=76), dict(min_length=77),
    dict(min_confidence=50, min_length=47, max_length=120)])
def test_filters_leave_what_they_should(tmp_path, folder, arguments):
    """Compared with the files read one by one; what is left out is counted."""
    expected = []
    for file in sorted(folder.iterdir()):
        structure = read_structure(file)
        if (structure.confidence.mean() >= arguments.get("min_confidence", 0)
                and arguments.get("min_length", 1) <= len(structure) <= arguments.get("max_length", 1000)):
            expected.append(file.stem)
    found = dataset(tmp_path, source=folder, **arguments)
    assert 0 < len(expected) < 5 and found.names == expected
    assert sum(found.filtered.values()) == 5 - len(expected) and found.drops == []
    # the store is as it was
    assert len(dataset(tmp_path, source=folder)) == 5


def test_filter_that_leaves_nothing(tmp_path, folder):
    with pytest.raises(ValueError, match="no structure of `.*` passes the filters: 5 with a mean pLDDT below 99"):
        dataset(tmp_path, source=folder, min_confidence=99)


def test_structures_without_plddt_stay_and_are_told(tmp_path, folder, caplog):
    (folder / "own.pdb").write_text("".join(line for line in model(*MODELS[3])[1].splitlines(keepends=True)
                                            if line.startswith("ATOM")))
    with caplog.at_level(logging.WARNING):
        found = dataset(tmp_path, source=folder, min_confidence=70)
    assert len(found) == 4 and "own" in found.names
    assert "1 structures of" in caplog.text and "have no pLDDT and stay" in caplog.text


# === as a dataset of TorchDrug ===


def test_arguments_of_torchdrug_are_accepted(tmp_path, models, caplog):
    archive(tmp_path / "UP000006548_3702_ARATH_v4.tar", models)
    config = {"class": "AlphaFoldStructures", "path": str(tmp_path), "species_id": 0, "split_id": 0, "verbose": 0,
              "atom_feature": "position", "bond_feature": None, "lazy": True, "version": 4, "num_worker": 1,
              "transform": {"class": "TruncateProtein", "max_length": 20}}
    with caplog.at_level(logging.WARNING):
        found = core.Configurable.load_config_dict(config)
    assert "`atom_feature`, `lazy` have no effect" in caplog.text
    assert [int(item["graph"].num_residue) for item in found] == [20] * 5
    again = core.Configurable.load_config_dict(found.config_dict())
    assert again.config_dict() == found.config_dict() and again.names == found.names


@pytest.mark.parametrize("which", ["multiview", "unsupervised", "masking"])
def test_pretraining(tmp_path, folder, which):
    """An epoch of TorchDrug's engine; the loss is a number."""
    found = dataset(tmp_path, source=folder)
    encoder = GearNetEncoder(21, [8], 7, concat_hidden=True)
    crops = [geometry.SubsequenceNode(20), geometry.SubspaceNode("residue", 10, 10)]
    noises = [geometry.IdentityNode(), geometry.RandomEdgeMask(0.15)]
    torch.manual_seed(0)
    if which == "multiview":
        task = MultiviewContrastive(encoder, crops, noises, num_mlp_layer=2, graph_construction_model=construction())
    elif which == "unsupervised":
        from torchdrug import models as host_models

        task = tasks.Unsupervised(host_models.MultiviewContrast(encoder, crops, noises), construction())
    else:
        task = tasks.AttributeMasking(encoder, mask_rate=0.15, graph_construction_model=construction())
    solver = core.Engine(task, found, None, None, torch.optim.Adam(task.parameters(), 1e-3), batch_size=5)
    before = [parameter.clone() for parameter in task.parameters()]
    solver.train(num_epoch=1)
    assert all(parameter.isfinite().all() for parameter in task.parameters())
    assert any(not torch.equal(old, new) for old, new in zip(before, task.parameters(), strict=True))


# === real models ===


def test_real_models(tmp_path, shared_data, caplog):
    """Models of AlphaFold DB: all are read, and their pLDDT is known by name or header."""
    source = os.path.join(shared_data, "edge", "alphafold")
    found = dataset(tmp_path, source=source)
    assert len(found) == len(os.listdir(source)) and found.drops == []
    with caplog.at_level(logging.WARNING):
        good = dataset(tmp_path, source=source, min_confidence=90)
    kinds = [structure.confidence_kind for structure in found.structures]
    assert kinds.count("plddt") == 11 and "4 structures" in caplog.text
    means = {structure.name: read_structure(structure.source).confidence.mean() for structure in found.structures
             if structure.confidence_kind == "plddt"}
    assert {name for name in good.names if name in means} == {name for name, mean in means.items() if mean >= 90}
