"""load_encoder and embed: the same vectors whatever the way, each row named, and words for what is wrong."""
import glob
import os
import shutil

import numpy as np
import pytest
import torch
import yaml

from gearnet_plugin.datasets import StructureFolder
from gearnet_plugin.embedding import Embeddings, load_encoder
from gearnet_plugin.engine.checkpoint import save_encoder
from gearnet_plugin.models import GearNetEncoder
from gearnet_plugin.structures import read_structure
from gearnet_plugin.structures.bundled import bundled_structures, bundled_table
from gearnet_plugin.structures.prepare import Recipe, prepare
from gearnet_plugin.tasks import MultiviewContrastive
from proteins import construction
from structure_text import atom, backbone, cif_text, pdb_text
from torchdrug import core, data, models
from torchdrug.layers import geometry

WIDTH = 12


def write_run(folder, encoder=None, graph=None):
    """A folder with what a run leaves of its encoder, its BatchNorm statistics far from their start."""
    torch.manual_seed(0)
    if encoder is None:
        encoder = GearNetEncoder(21, [8, 4], 7, 59, 8, short_cut=True, batch_norm=True, concat_hidden=True)
    for norm in encoder.batch_norms:
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
    task = MultiviewContrastive(encoder, [geometry.IdentityNode()], [geometry.IdentityNode()],
                                graph_construction_model=graph or construction())
    os.makedirs(folder)
    save_encoder(task, folder, "0.1.0")
    return str(folder), encoder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folder of a run and the encoder that it holds."""
    return write_run(tmp_path_factory.mktemp("run") / "done")


@pytest.fixture(scope="module")
def model(run):
    return load_encoder(run[0])


@pytest.fixture(scope="module")
def files():
    """The bundled structures of at most 90 residues."""
    short = {row["structure"] for row in bundled_table() if row["length"] <= 90}
    return [str(path) for path in bundled_structures() if path.name in short]


@pytest.fixture
def mixed_folder(tmp_path):
    """A structure of two chains as PDB and mmCIF in two folders, and three files that are none."""
    residues = ["GLY", "ALA", "SER", "TRP", "MSE"]
    chains = [[a for i, r in enumerate(residues * 3) for a in backbone(r, i + 1, chain=c)] for c in "AB"]
    for a in chains[1]:
        a["xyz"] = tuple(np.add(a["xyz"], (0, 9, 0)))
    chains[1][-1]["insertion"] = chains[1][-2]["insertion"] = chains[1][-3]["insertion"] = "C"
    (tmp_path / "sub").mkdir()
    (tmp_path / "two.pdb").write_text(pdb_text(*chains))
    (tmp_path / "sub" / "two.cif").write_text(cif_text([a for chain in chains for a in chain]))
    (tmp_path / "empty.pdb").write_text("")
    (tmp_path / "text.cif").write_text("not a structure")
    (tmp_path / "water.pdb").write_text(pdb_text(atom("O", "HOH", record="HETATM")))
    return tmp_path


def close(left, right):
    np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-4 * np.abs(right).max())


def test_the_same_as_the_task_computes(run, model, files):
    """What a TorchDrug script does by hand: dataset, collate, graph construction, encoder in eval mode."""
    dataset = StructureFolder(files[:4], verbose=0)
    graph = construction()(data.graph_collate([dataset[i] for i in range(4)])["graph"])
    with torch.no_grad():
        expected = run[1].eval()(graph, graph.node_feature.float())
    result = model.embed(files[:4], level="both")
    assert result.names == dataset.names and result.sources == files[:4]
    close(result.protein, expected["graph_feature"].numpy())
    close(np.concatenate(result.residue), expected["node_feature"].numpy())
    assert result.protein.dtype == np.float32 and result.protein.shape == (4, WIDTH)


def test_alone_in_a_batch_and_again(model, files):
    together = model.embed(files, level="both")
    again = model.embed(files, level="both")
    assert np.array_equal(together.protein, again.protein)
    small = model.embed(files, level="both", batch_residues=1)
    close(small.protein, together.protein)
    for i, file in enumerate(files[:5]):
        alone = model.embed(file, level="both")
        close(alone.protein[0], together.protein[i])
        close(alone.residue[0], together.residue[i])


def test_every_form_of_argument(model, files, tmp_path):
    expected = model.embed(files[:3])
    for file in files[:3]:
        shutil.copy(file, tmp_path)
    (tmp_path / "list.txt").write_text("\n".join(os.path.basename(file) for file in files[:3]))
    structures = [read_structure(file) for file in files[:3]]
    forms = [str(tmp_path), tmp_path, str(tmp_path / "*.gz"), tmp_path / "list.txt", structures,
             tuple(files[:3]), (file for file in files[:3]), [files[0], structures[1], files[2]],
             [*files[:3], files[0]]]
    for form in forms:
        result = model.embed(form)
        order = [result.lengths.tolist().index(n) for n in expected.lengths]
        close(result.protein[order], expected.protein)
        assert len(result) == 3
    close(model.embed(structures[1]).protein, expected.protein[1:2])


def test_residues_are_named_as_in_the_file(model, mixed_folder):
    result = model.embed(mixed_folder / "two.pdb", level="residue")
    assert result.protein is None and result.names == ["two_A", "two_B"]
    keys = result.keys[1]
    assert keys["chain_id"].tolist() == ["B"] * 15
    assert keys["residue_number"].tolist() == list(range(1, 16))
    assert keys["insertion_code"].tolist() == [""] * 14 + ["C"]
    assert keys["residue_name"].tolist() == ["GLY", "ALA", "SER", "TRP", "MSE"] * 3
    assert [len(rows) for rows in result.residue] == [15, 15] == result.lengths.tolist()


def test_pdb_and_mmcif_give_the_same(model, mixed_folder):
    pdb, cif = (model.embed(mixed_folder / name) for name in ["two.pdb", "sub/two.cif"])
    assert pdb.names == cif.names
    close(pdb.protein, cif.protein)


def test_chains_or_entries(model, mixed_folder):
    chains = model.embed(mixed_folder / "two.pdb")
    entry = model.embed(mixed_folder / "two.pdb", per="entry", level="both")
    assert chains.names == ["two_A", "two_B"] and entry.names == ["two"] and entry.lengths.tolist() == [30]
    # the chains are 9 Å apart, so in one graph they see each other
    assert np.abs(entry.protein[0] - chains.protein.sum(axis=0)).max() > 1e-3
    whole = read_structure(mixed_folder / "two.pdb")
    assert model.embed(whole).names == chains.names
    assert model.embed(whole, per="entry").names == ["two"]
    assert model.embed(whole.chains()).names == chains.names


def test_what_cannot_be_read_is_left_out_and_told(model, mixed_folder, caplog):
    result = model.embed(mixed_folder, level="both")
    assert sorted(result.names) == ["sub/two_A", "sub/two_B", "two_A", "two_B"]
    drops = {os.path.basename(file): reason for file, reason in result.drops}
    assert sorted(drops) == ["empty.pdb", "text.cif", "water.pdb"]
    assert "empty" in drops["empty.pdb"] and "no protein" in drops["water.pdb"]
    assert "left out 3 structures" in caplog.text
    missing = model.embed([mixed_folder / "two.pdb", mixed_folder / "gone.pdb"])
    assert len(missing) == 2 and missing.drops == [(str(mixed_folder / "gone.pdb"), "no such file")]


def test_of_several_sources_an_empty_one_is_told(model, files, tmp_path):
    """An empty folder or a pattern without match ends nothing, and one file under two spellings counts once."""
    (tmp_path / "empty").mkdir()
    other = os.path.join(os.path.dirname(files[0]), ".", os.path.basename(files[0]))
    result = model.embed([files[0], tmp_path / "empty", str(tmp_path / "nope*.pdb"), os.path.relpath(other)])
    assert len(result.names) == 1
    assert [os.path.basename(file) for file, _ in result.drops] == ["empty", "nope*.pdb"]


def test_recipe_in_place_of_weights(run):
    """The file beside the weights is an easy slip; the message says what to give."""
    with pytest.raises(ValueError, match="encoder.yaml` is a recipe, not weights; give the folder it is in"):
        load_encoder(os.path.join(run[0], "encoder.yaml"))


def test_nothing_readable_is_an_error(model, mixed_folder):
    with pytest.raises(ValueError, match=r"none of 2 structures .* read:\n  .*empty.pdb: .*\n  .*text.cif: "):
        model.embed([mixed_folder / "empty.pdb", mixed_folder / "text.cif"])
    with pytest.raises(FileNotFoundError, match="no such file or folder: `.*gone`"):
        model.embed(mixed_folder / "gone")
    with pytest.raises(ValueError, match="list of structures is empty"):
        model.embed([])


@pytest.mark.parametrize("arguments, message", [
    ({"level": "atom"}, "level should be one of protein, residue, both, but found `atom`"),
    ({"per": "model"}, "per should be one of chain, entry, but found `model`"),
    ({"batch_residues": 0}, "batch_residues should be a whole number from 1, but found `0`"),
    ({"device": "gpu"}, "cannot go to device `gpu`"),
    ({"structures": 7}, "should be paths, Structures or a list of them, but found `int`"),
    ({"structures": [7]}, "should hold paths or Structures, but found `int`"),
])
def test_wrong_arguments(model, files, arguments, message):
    with pytest.raises(ValueError, match=message):
        model.embed(**{"structures": files[:1], **arguments})


def test_saved_and_read_again(model, mixed_folder, tmp_path):
    result = model.embed([mixed_folder], level="both")
    path = result.save(tmp_path / "vectors.npz")
    again = Embeddings.load(path)
    assert (again.names, again.sources, again.drops, again.info) == (
        result.names, result.sources, result.drops, result.info)
    assert np.array_equal(again.protein, result.protein)
    for i in range(len(result)):
        assert np.array_equal(again.residue[i], result.residue[i])
        assert all(np.array_equal(again.keys[i][key], result.keys[i][key]) for key in result.keys[i])
    with np.load(path, allow_pickle=False) as file:  # readable without this package, and without pickle
        assert file["residue"].shape == (60, WIDTH) and file["offsets"].tolist() == [0, 15, 30, 45, 60]
        assert file["residue_name"][4] == "MSE"
    model.embed(mixed_folder / "two.pdb").save(tmp_path / "proteins.npz")
    only = Embeddings.load(tmp_path / "proteins.npz")
    assert only.residue is None and only.drops == [] and only.protein.shape == (2, WIDTH)
    with pytest.raises(ValueError, match="ending in .npz"):
        result.save(tmp_path / "vectors.txt")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        result.save(tmp_path / "nowhere" / "vectors.npz")
    np.savez(tmp_path / "other.npz", x=np.zeros(1))
    with pytest.raises(ValueError, match="no embeddings written by this package"):
        Embeddings.load(tmp_path / "other.npz")


def test_table(model, mixed_folder):
    result = model.embed(mixed_folder / "two.pdb", level="both")
    proteins, residues = result.to_table(), result.to_table("residue")
    assert list(proteins)[:4] == ["name", "source", "length", "e0"] and len(proteins) == 3 + WIDTH
    assert {len(column) for column in residues.values()} == {30}
    assert residues["name"][15] == "two_B" and residues["insertion_code"][29] == "C"
    assert residues["e3"][17] == result.residue[1][2, 3]
    with pytest.raises(ValueError, match="no embeddings of level `residue`"):
        model.embed(mixed_folder / "two.pdb").to_table("residue")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_gives_the_same(run, model, files):
    close(load_encoder(run[0], device="cuda").embed(files[:6]).protein, model.embed(files[:6]).protein)


@pytest.mark.parametrize("per", ["chain", "entry"])
def test_awkward_real_files(model, shared_data, per):
    """Everything that can be read is embedded, under a name of its own; the rest is reported."""
    result = model.embed(os.path.join(shared_data, "edge"), per=per)
    assert len(result) > 100 and len(set(result.names)) == len(result)
    assert np.isfinite(result.protein).all() and result.drops


# === loading ===


def test_eval_mode_and_what_it_says(run, model):
    assert not model.encoder.training and model.output_dim == WIDTH
    assert model.info == {"weights": os.path.join(run[0], "encoder.pth"), "encoder": "models.GearNetEncoder",
                          "output_dim": WIDTH, "num_parameter": sum(p.numel() for p in run[1].parameters()),
                          "gearnet_plugin": "0.1.0"}
    state = model.encoder.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in run[1].state_dict().items())


def test_file_of_weights_and_whole_checkpoint(run, model, files, tmp_path):
    """A checkpoint of the task beside the recipe serves too: the encoder's part is taken."""
    expected = model.embed(files[0]).protein
    close(load_encoder(os.path.join(run[0], "encoder.pth")).embed(files[0]).protein, expected)
    shutil.copy(os.path.join(run[0], "encoder.yaml"), tmp_path)
    state = {"model.model." + key: value for key, value in run[1].state_dict().items()}
    state["model.mlp.weight"] = torch.zeros(2)
    torch.save({"model": state, "epoch": 3}, tmp_path / "checkpoint-7.pth")
    close(load_encoder(tmp_path / "checkpoint-7.pth").embed(files[0]).protein, expected)


def test_stock_encoder(tmp_path, files, model, run):
    """TorchDrug's own GearNet and GraphConstruction, of equal weights, embed alike."""
    from proteins import stock_construction

    stock = models.GearNet(21, [8, 4], 7, 59, 8, short_cut=True, batch_norm=True, concat_hidden=True)
    folder, stock = write_run(tmp_path / "stock", stock, stock_construction())
    stock.load_state_dict(run[1].state_dict())
    torch.save(stock.state_dict(), os.path.join(folder, "encoder.pth"))
    loaded = load_encoder(folder)
    assert loaded.info["encoder"] == "models.GearNet"
    close(loaded.embed(files[:2]).protein, model.embed(files[:2]).protein)


def test_unknown_names_show_what_is_near(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no encoder `nothing`.*Accepted are a run folder"):
        load_encoder("nothing")
    shutil.copytree(run[0], tmp_path / "runs" / "pretrain" / "first")
    with pytest.raises(FileNotFoundError, match="Under `runs` there are `runs/pretrain/first`"):
        load_encoder("runs/pretrain/frist")
    with pytest.raises(FileNotFoundError, match="`runs` has no `encoder.pth`.*Below it are `runs/pret"):
        load_encoder("runs")
    (tmp_path / "runs" / "half").mkdir()
    (tmp_path / "runs" / "half" / "config.yaml").write_text("")
    with pytest.raises(FileNotFoundError, match="has not finished"):
        load_encoder("runs/half")
    (tmp_path / "runs" / "pretrain" / "first" / "encoder.yaml").unlink()
    with pytest.raises(FileNotFoundError, match="has no `encoder.yaml` beside it"):
        load_encoder("runs/pretrain/first/encoder.pth")


def change_recipe(folder, change):
    path = os.path.join(folder, "encoder.yaml")
    with open(path) as file:
        recipe = yaml.safe_load(file)
    change(recipe)
    with open(path, "w") as file:
        yaml.safe_dump(recipe, file)


@pytest.mark.parametrize("change, message", [
    (lambda r: r["encoder"].update(hidden_dims=[8, 8]),
     r"weights .* do not fit the encoder.*hidden_dims: the configuration has \[8, 8\], the file \[8, 4\]"),
    (lambda r: r["encoder"].update(num_angle_bin=None),
     "num_angle_bin .*: the configuration has none, the file 8"),
    (lambda r: r["encoder"].update(hidden_dim=8),
     "encoder.hidden_dim: unknown argument.* Did you mean `hidden_dims`"),
    (lambda r: r["encoder"].update({"class": "GearNetEncodr"}),
     "no class `GearNetEncodr`.*Did you mean `GearNetEncoder`"),
    (lambda r: r["encoder"].update({"class": "datasets.EnzymeCommission"}), "neither a model nor a layer"),
    (lambda r: r["graph_construction_model"].update(edge_layers=[{"class": "datasets.QM9", "path": "/"}]),
     "graph_construction_model.edge_layers.0.class: `datasets.QM9` is neither a model nor a layer"),
    (lambda r: r["graph_construction_model"].update(edge_feature="residue_type"),
     "encoder and graph_construction_model do not fit together: .*edge_input_dim=59"),
    (lambda r: r["graph_construction_model"]["edge_layers"].pop(), "do not fit together: .*num_relation=7"),
    (lambda r: r.update(encoder=None), "names no encoder that can be built"),
    (lambda r: r["encoder"].update({"class": "layers.ResidueGraphConstruction"}), "unknown argument"),
])
def test_recipe_and_weights_that_do_not_fit(run, tmp_path, change, message):
    folder = shutil.copytree(run[0], tmp_path / "run")
    change_recipe(folder, change)
    with pytest.raises(ValueError, match=message):
        load_encoder(folder)


class Opener:
    def __reduce__(self):
        return open, ("owned", "w")


def test_hostile_and_damaged_files(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = shutil.copytree(run[0], tmp_path / "run")
    weights = folder / "encoder.pth"
    good = weights.read_bytes()
    torch.save({"layers.0.self_loop.weight": Opener()}, weights)
    with pytest.raises(ValueError, match="pickled Python objects"):
        load_encoder(folder)
    assert not os.path.exists("owned")
    weights.write_bytes(good[:len(good) // 2])
    with pytest.raises(ValueError, match="no checkpoint or is damaged"):
        load_encoder(folder)
    state = torch.load(run[0] + "/encoder.pth", weights_only=True)
    state["layers.0.linear.bias"][3] = float("nan")
    torch.save(state, weights)
    with pytest.raises(ValueError, match="no finite numbers, first in `layers.0.linear.bias`"):
        load_encoder(folder)
    weights.write_bytes(good)
    (folder / "encoder.yaml").write_text("encoder: !!python/object/apply:os.system ['touch owned']")
    with pytest.raises(ValueError, match="no valid YAML"):
        load_encoder(folder)
    assert glob.glob("owned") == []


def test_recipe_survives_the_registry(run):
    """What a run writes is what TorchDrug itself builds."""
    with open(os.path.join(run[0], "encoder.yaml")) as file:
        recipe = yaml.safe_load(file)
    encoder = core.Configurable.load_config_dict(recipe["encoder"])
    assert encoder.state_dict().keys() == run[1].state_dict().keys()


def test_a_store_is_embedded_like_its_files(model, files, tmp_path):
    """By path and opened, alone and in a list; its names are kept."""
    store = prepare(files, tmp_path / "s", Recipe(confidence="float"), workers=1, verbose=0).store
    expected = model.embed(files, level="both", verbose=0)
    for structures in (store, store.path, [store.path]):
        found = model.embed(structures, level="both", verbose=0)
        assert found.names == expected.names
        np.testing.assert_allclose(found.protein, expected.protein, rtol=1e-4, atol=1e-4)
    assert len(model.embed([store, files[0]], verbose=0).names) == len(files) + 1
    with pytest.raises(ValueError, match="per is `entry`, but the store `.*` holds chains"):
        model.embed(store, per="entry")
