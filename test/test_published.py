"""Published weights: found, fetched, recognised, and equal to stock; encoders with ESM without ESM's own files."""

import copy
import dataclasses
import hashlib
import os
import re
from unittest import mock

import numpy as np
import pytest
import torch
import yaml

from conftest import ROOT
from gearnet_plugin.embedding import load_encoder, published, weight_folder
from gearnet_plugin.embedding.load import _recognise
from gearnet_plugin.engine import build, checkpoint
from gearnet_plugin.engine.checkpoint import read_state, save_encoder
from gearnet_plugin.engine.errors import ConfigError
from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.models import GearNetEncoder, SequenceStructureFusion
from gearnet_plugin.structures import read_structure
from gearnet_plugin.structures.bundled import bundled_structures, bundled_table
from gearnet_plugin.tasks import MultiviewContrastive
from proteins import as_stock, construction, stock_construction
from sequence_models import tiny_esm
from torchdrug import models, tasks, utils
from torchdrug.layers import geometry

EDGE = dict(edge_input_dim=59, num_angle_bin=8)
OPTIONS = dict(batch_norm=True, short_cut=True, concat_hidden=True)
NAMES = ["mc_gearnet_edge", "attr_gearnet_edge", "dis_gearnet_edge", "angle_gearnet_edge", "dihedral_gearnet_edge"]


def small(input_dim=21, hidden_dims=(8, 8), num_relation=7, **kwargs):
    """A small GearNet-Edge, or what the arguments make of it."""
    return GearNetEncoder(input_dim, list(hidden_dims), num_relation, **{**EDGE, **OPTIONS, **kwargs})


def write_run(folder, encoder, graph=None):
    views = [geometry.IdentityNode()], [geometry.IdentityNode()]
    os.makedirs(folder)
    save_encoder(MultiviewContrastive(encoder, *views, graph_construction_model=graph or construction()), folder, "1")
    return folder


def without_memory(state):
    """Tensors of the same shapes, each a single number in the file."""
    return {
        name: torch.full((), 0.01 if value.is_floating_point() else 0, dtype=value.dtype).expand(value.shape)
        for name, value in state.items()
    }


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder of weights, with no way around it."""
    monkeypatch.setenv("GEARNET_PLUGIN_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights"


@pytest.fixture
def shape():
    """The smallest bundled structure."""
    name = min(bundled_table(), key=lambda row: row["length"])["structure"]
    return next(path for path in bundled_structures() if path.name == name)


# === the table ===


def test_the_table_is_whole_and_names_are_unique():
    rows = published.published()
    known = [name for row in rows for name in (row.name, row.file.removesuffix(".pth"), *row.aliases)]
    assert [row.name for row in rows][:5] == NAMES and len(rows) == 12
    assert all(len({row.name for row in rows if published.find(name) is row}) == 1 for name in known)
    for row in rows:
        assert row.page.startswith("https://zenodo.org/record") and (row.url or row.page).startswith(row.page)
        assert row.url is None or row.url.endswith(row.file)
        assert row.md5 is None or re.fullmatch("[0-9a-f]{32}", row.md5)


def test_names_and_aliases():
    for name in ("distance_gearnet_edge", "dis_gearnet_edge.pth", "DIS-GearNet-Edge", "distance_gearnet_edge.pth"):
        assert published.find(name).file == "distance_gearnet_edge.pth"
    assert published.find("gearnet_edge") is None and published.find("weights/mc_gearnet_edge.pth") is None


def on_meta(row):
    """A published architecture at its real size, without memory."""
    import esm

    def network(self, path, model):
        alphabet = esm.data.Alphabet.from_architecture("ESM-1b")
        return esm.model.esm2.ESM2(33, 1280, 20, alphabet), alphabet

    recipe = row.recipe()["encoder"]
    if "sequence_model" in recipe:
        recipe["sequence_model"]["path"] = os.curdir
    with torch.device("meta"), mock.patch.object(models.ESM, "load_weight", network):
        return build.build(recipe, "encoder")


@pytest.mark.parametrize("name", ["mc_gearnet_edge", "fold_mc_gearnet_edge_ieconv", "mc_esm_gearnet"])
def test_each_architecture_has_its_size_and_is_recognised_by_its_weights_alone(name, caplog):
    row = published.find(name)
    encoder = on_meta(row)
    assert sum(p.numel() for p in encoder.parameters()) == row.num_parameter
    state = {"model." + key: value for key, value in encoder.state_dict().items()}
    recognised, by_name = _recognise("/somewhere/else.pth", state)
    assert recognised.variant == row.variant and not by_name
    assert "By its architecture it is taken for %s, and its graph" % row.variant in caplog.text
    assert {other.num_parameter for other in published.published() if other.variant == row.variant} == {
        row.num_parameter
    }


def test_a_recipe_belongs_to_who_asks():
    published.find("mc_gearnet_edge").recipe()["encoder"]["hidden_dims"].append(1)
    assert published.find("mc_gearnet_edge").recipe()["encoder"]["hidden_dims"] == [512] * 6


def short(value):
    """A recipe with the last part of the names of classes."""
    if isinstance(value, dict):
        return {key: child.rpartition(".")[2] if key == "class" else short(child) for key, child in value.items()}
    return [short(child) for child in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "name, config, changes",
    [
        ("mc_gearnet_edge", "mc_gearnet_edge", {}),
        ("fold_mc_gearnet_edge_ieconv", "mc_gearnet_edge_ieconv", {}),
        # the released file of ESM-GearNet differs from that of the GearNet repository in these
        ("mc_esm_gearnet", "mc_esm_gearnet", {"model": "ESM-2-650M", "edge_feature": None}),
    ],
)
def test_recipes_are_those_of_the_released_configurations(name, config, changes):
    """What weights do not show, such as the order of edges, frames and short cuts, is right too."""
    with open(os.path.join(ROOT, "config", "pretrain", f"{config}.yaml")) as file:
        task = yaml.safe_load(file.read().replace("{{ gpus }}", "null"))["task"]
    recipe, model, graph = short(published.find(name).recipe()), task["model"], task["graph_construction_model"]
    if "sequence_model" in model:
        model["sequence_model"].update(path=recipe["encoder"]["sequence_model"]["path"], model=changes["model"])
        graph["edge_feature"] = changes["edge_feature"]
    assert recipe == {"encoder": model, "graph_construction_model": graph}


# === by name ===


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """TorchDrug's GearNet of the released size, saved as the repository's script does, and its folder."""
    folder = tmp_path_factory.mktemp("released")
    torch.manual_seed(0)
    model = models.GearNet(21, [512] * 6, 7, 59, 8, short_cut=True, batch_norm=True, concat_hidden=True).eval()
    for norm in model.batch_norms:
        norm.running_var.uniform_(0.5, 2)
        norm.running_mean.uniform_(-1, 1)
    torch.save(model.state_dict(), folder / "mc_gearnet_edge.pth")
    return model, folder


def test_a_published_encoder_by_name_is_stock_on_stock_graphs(released, monkeypatch, shape):
    model, folder = released
    monkeypatch.setenv("GEARNET_PLUGIN_WEIGHTS", str(folder))
    loaded = load_encoder("mc_gearnet_edge", download=False)
    assert loaded.info["published"] == "mc_gearnet_edge" and loaded.output_dim == 3072
    assert loaded.info["weights"] == str(folder / "mc_gearnet_edge.pth")
    protein = ResidueProtein.pack([ResidueProtein.from_structure(read_structure(shape))])
    graph = stock_construction()(as_stock(protein))
    with torch.no_grad():
        expected = model(graph, graph.node_feature.float())
    found = loaded.embed(shape, level="both", verbose=0)
    for one, other in [(found.protein[0], expected["graph_feature"][0]), (found.residue[0], expected["node_feature"])]:
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-5, atol=1e-5 * float(other.abs().max()))


def test_a_configuration_takes_the_name_too(released, monkeypatch):
    """``model_checkpoint: mc_gearnet_edge``; what is no name is told as before."""
    model, folder = released
    monkeypatch.setenv("GEARNET_PLUGIN_WEIGHTS", str(folder))
    state, file = read_state("mc_gearnet_edge", "model_checkpoint")
    assert file == str(folder / "mc_gearnet_edge.pth") and state.keys() == model.state_dict().keys()
    with torch.device("meta"):
        task = tasks.PropertyPrediction(build.build(published.find("mc_gearnet_edge").recipe()["encoder"], "m"), ())
    found = checkpoint.compare_encoder(task, state, file, "model_checkpoint")
    assert found.keys() == state.keys()
    with pytest.raises(ConfigError, match="model_checkpoint: there is no file .*, nor are published weights of that"):
        read_state("mc_gearnet", "model_checkpoint")


def test_the_whole_task_of_the_fold_model(here, shape):
    """Its file holds a head and an optimizer beside the encoder."""
    row = published.find("fold_mc_gearnet_edge_ieconv")
    state = {"model." + name: value for name, value in without_memory(on_meta(row).state_dict()).items()}
    state.update({"mlp.layers.2.weight": torch.ones(()).expand(1195, 3072), "mean": torch.zeros(1)})
    torch.save({"model": state, "optimizer": {"state": {}, "param_groups": []}}, here / row.file)
    loaded = load_encoder(row.name)
    assert loaded.info["encoder"] == "models.GearNetIEConvEncoder" and loaded.output_dim == 3072
    assert np.isfinite(loaded.encode([read_structure(shape)])[0]).all()


def test_what_exists_wins_over_a_name(here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "mc_gearnet_edge", small())
    assert "published" not in load_encoder("mc_gearnet_edge").info
    assert load_encoder("mc_gearnet_edge").output_dim == 16
    (tmp_path / "attr_gearnet_edge").mkdir()
    with pytest.raises(FileNotFoundError, match="It hides the published weights of that name: give"):
        load_encoder("attr_gearnet_edge")


# === files that are not here ===


def test_missing_weights_say_what_to_put_where(here):
    target = re.escape(str(here / "distance_gearnet_edge.pth"))
    url = "https://zenodo.org/record/7593637/files/distance_gearnet_edge.pth"
    with pytest.raises(
        FileNotFoundError,
        match=r"`dis_gearnet_edge` \(about 81 MB\) are not here .*switched off. "
        f"Fetch {url} .*put it at `{target}`",
    ):
        load_encoder("dis_gearnet_edge", download=False)
    with pytest.raises(FileNotFoundError, match="md5 c35402108f14e43f20feb475918f9c26"):
        load_encoder("mc_gearnet_edge", download=False)
    with pytest.raises(
        FileNotFoundError,
        match="name of their file is not known: look for it at https://zenodo.org/"
        "records/10034578, and put it at `.*angle_esm_gearnet.pth`",
    ):
        load_encoder("angle_esm_gearnet")
    assert os.listdir(here) == []


def replaced(monkeypatch, name, **changes):
    """The table with other facts of one row."""
    rows = [dataclasses.replace(row, **changes) if row.name == name else row for row in published.published()]
    monkeypatch.setattr(published, "_TABLE", tuple(rows))


def test_a_download_is_verified_and_kept(here, tmp_path, monkeypatch):
    source, name = tmp_path / "source.pth", "angle_gearnet_edge"
    torch.save(without_memory(on_meta(published.find(name)).state_dict()), source)
    right = hashlib.md5(source.read_bytes()).hexdigest()
    replaced(monkeypatch, name, url=source.as_uri(), md5="0" * 32)
    with pytest.raises(ValueError, match="its md5 is %s, where 0000" % right):
        load_encoder(name)
    assert not (here / "angle_gearnet_edge.pth").exists()
    replaced(monkeypatch, name, md5=right)
    assert load_encoder(name).output_dim == 3072
    source.unlink()
    assert read_state(name, "model_checkpoint")[1] == str(here / "angle_gearnet_edge.pth")


def test_a_server_that_is_not_there(here, tmp_path, monkeypatch):
    replaced(monkeypatch, "attr_gearnet_edge", url=(tmp_path / "nowhere").as_uri())
    with pytest.raises(FileNotFoundError, match="(?s)are not here .*Could not download .*by hand: Fetch .*put it at"):
        load_encoder("attr_gearnet_edge")
    with pytest.raises(ConfigError, match="model_checkpoint: the published weights `attr_gearnet_edge`"):
        read_state("attr_gearnet_edge", "model_checkpoint")


def test_where_files_are_looked_for(monkeypatch, tmp_path):
    monkeypatch.delenv("GEARNET_PLUGIN_WEIGHTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert weight_folder.folder() == tmp_path / "gearnet_plugin" / "weights"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert weight_folder.folder() == tmp_path / "me" / ".cache" / "gearnet_plugin" / "weights"


def test_near_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="no encoder `mc_gearnet_egde`.* Published are `mc_gearnet_edge`"):
        load_encoder("mc_gearnet_egde")
    with pytest.raises(FileNotFoundError, match="`mc_gearnet_edge` alone, without a folder, means the published"):
        load_encoder("folder/mc_gearnet_edge.pth")


# === files without a recipe ===


def test_a_bare_file_is_recognised_by_its_name_or_its_weights(released, tmp_path, monkeypatch, caplog, here):
    folder = released[1]
    os.link(folder / "mc_gearnet_edge.pth", tmp_path / "attr_gearnet_edge.pth")
    os.link(folder / "mc_gearnet_edge.pth", tmp_path / "model_epoch_50.pth")
    assert load_encoder(tmp_path / "attr_gearnet_edge.pth").info["published"] == "attr_gearnet_edge"
    assert "By its name it is taken for GearNet-Edge as published (`attr_gearnet_edge`)" in caplog.text
    # five published encoders, and all that were made from them, have this architecture
    info = load_encoder(tmp_path / "model_epoch_50.pth").info
    assert info["architecture"] == "GearNet-Edge" and "published" not in info and info["output_dim"] == 3072
    assert "By its architecture it is taken for GearNet-Edge, and its graph" in caplog.text
    assert "graph, which weights do not show, for that of the release" in caplog.text


def test_a_bare_file_of_another_architecture(tmp_path):
    torch.save(small().state_dict(), tmp_path / "mine.pth")
    with pytest.raises(
        FileNotFoundError,
        match=r"has no `encoder.yaml` beside it.*none of the published architectures "
        r"\(its weights show encoder GearNetEncoder, .*hidden_dims \[8, 8\]",
    ):
        load_encoder(tmp_path / "mine.pth")
    torch.save(small().state_dict(), tmp_path / "mc_gearnet_edge.pth")
    with pytest.raises(
        ValueError,
        match="do not fit the encoder in `mc_gearnet_edge as published`. .*hidden_dims: the "
        r"configuration has \[512.*, the file \[8, 8\]",
    ):
        load_encoder(tmp_path / "mc_gearnet_edge.pth")


# === into stock and back ===


def test_encoders_go_into_stock_and_back(tmp_path, shape):
    """``encoder.pth`` is what the repository's script loads: a state dict of the encoder and nothing else."""
    torch.manual_seed(1)
    first = write_run(tmp_path / "ours", small())
    stock = models.GearNet(21, [8, 8], 7, 59, 8, **OPTIONS)
    stock.load_state_dict(torch.load(first / "encoder.pth", weights_only=True))
    second = write_run(tmp_path / "stock", stock, stock_construction())
    third = write_run(tmp_path / "again", small())
    torch.save(torch.load(second / "encoder.pth", weights_only=True), third / "encoder.pth")
    expected = load_encoder(first).embed(shape, verbose=0).protein
    for folder in (second, third):
        found = load_encoder(folder).embed(shape, verbose=0).protein
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


# === ESM without its files ===


def tiny_esm_1b():
    """A tiny random ESM-1b behind TorchDrug's interface."""
    import esm

    def network(self, path, model):
        from argparse import Namespace

        alphabet = esm.data.Alphabet.from_architecture("roberta_large")
        arguments = Namespace(
            arch="roberta_large",
            layers=2,
            embed_dim=16,
            ffn_embed_dim=64,
            attention_heads=2,
            max_positions=1024,
            emb_layer_norm_before=True,
            token_dropout=True,
        )
        return esm.model.esm1.ProteinBertModel(arguments, alphabet), alphabet

    with mock.patch.object(models.ESM, "load_weight", network):
        return models.ESM(os.curdir, "ESM-1b")


@pytest.fixture
def tiny_tables(monkeypatch):
    """ESM-2-8M, ESM-2-650M and ESM-1b count as two layers of width 16; whoever fetches fails."""
    for name in ("ESM-2-8M", "ESM-2-650M", "ESM-1b"):
        monkeypatch.setitem(models.ESM.output_dim, name, 16)
        monkeypatch.setitem(models.ESM.num_layer, name, 2)
    monkeypatch.setattr(utils, "download", lambda *args, **kwargs: pytest.fail("ESM's files were asked for"))


@pytest.mark.parametrize("sequence_model", [tiny_esm, tiny_esm_1b], ids=["ESM-2", "ESM-1b"])
def test_a_fusion_holds_its_esm(tiny_tables, tmp_path, shape, sequence_model):
    torch.manual_seed(0)
    encoder = SequenceStructureFusion(sequence_model(), small(16)).eval()
    esm_folder = tmp_path / "esm"
    encoder.sequence_model._config["path"] = str(esm_folder)
    folder = write_run(tmp_path / "run", encoder)
    loaded = load_encoder(folder)
    assert not esm_folder.exists()
    network = loaded.encoder.sequence_model.model
    assert network.lm_head.weight is network.embed_tokens.weight
    graph = construction()(ResidueProtein.pack([ResidueProtein.from_structure(read_structure(shape))]))
    with torch.no_grad():
        expected = encoder(graph, graph.node_feature.float())["graph_feature"].numpy()
    np.testing.assert_allclose(loaded.embed(shape, verbose=0).protein, expected, rtol=1e-5, atol=1e-5)


def test_the_published_esm_needs_no_file_of_esm(tiny_tables, here, monkeypatch, shape):
    row = published.find("mc_esm_gearnet")
    layout = copy.deepcopy(row.layout)
    layout["encoder"]["structure_model"].update(input_dim=16, hidden_dims=[8, 8])
    replaced(monkeypatch, row.name, layout=layout)
    encoder = SequenceStructureFusion(tiny_esm(), small(16, edge_input_dim=None, num_angle_bin=None))
    torch.save(encoder.state_dict(), here / row.file)
    assert load_encoder("mc_esm_gearnet").embed(shape, verbose=0).protein.shape == (1, 32)


def test_files_without_the_esm_that_is_named(tiny_tables, tmp_path):
    folder = write_run(tmp_path / "run", SequenceStructureFusion(tiny_esm(), small(16)))
    state = torch.load(folder / "encoder.pth", weights_only=True)
    torch.save({key: value for key, value in state.items() if key.startswith("structure")}, folder / "encoder.pth")
    with pytest.raises(ValueError, match="names ESM-2-8M, but `.*encoder.pth` holds no weights of ESM"):
        load_encoder(folder)
    torch.save(SequenceStructureFusion(tiny_esm_1b(), small(16)).state_dict(), folder / "encoder.pth")
    with pytest.raises(ValueError, match="names ESM-2-8M, 2 layers of width 16, but `.*` holds ESM-1 with 2 layers"):
        load_encoder(folder)
