"""
The 45 files of the GearNet repository and those of ESM-GearNet that use GearNet, by run.py as they are: classes become
ours, no number changes, and they train.
"""

import collections
import json
import os

import pytest
import torch

from conftest import ROOT
from deepfri_files import write_release
from gearnet_plugin import metrics
from gearnet_plugin.datasets.alphafold_species import TABLE
from gearnet_plugin.engine.build import check_all
from gearnet_plugin.engine.command import main
from gearnet_plugin.engine.config import parse, plain, render
from gearnet_plugin.engine.schema import complete
from gearnet_plugin.models import GearNetEncoder
from gearnet_plugin.structures.bundled import bundled_path
from gearnet_plugin.structures.prepare import Recipe, prepare
from gearnet_plugin.translate import translate
from predecessor_configs import as_text, esm_gearnet, gearnet_repository

GEARNET = {f"gearnet/{name}": config for name, config in gearnet_repository().items()}
ESM_GEARNET = {f"esm_gearnet/{name}": config for name, config in esm_gearnet().items()}
FILES = {**GEARNET, **ESM_GEARNET}
OURS = {
    "AlphaFoldDB": "AlphaFoldStructures",
    "EnzymeCommission": "EnzymeCommissionStructures",
    "GeneOntology": "GeneOntologyStructures",
    "Fold3D": "FoldStructures",
    "AttributeMasking": "MaskedResiduePrediction",
    "DistancePrediction": "EdgeDistancePrediction",
    "AnglePrediction": "EdgeAnglePrediction",
    "DihedralPrediction": "EdgeDihedralPrediction",
    "MultipleBinaryClassification": "ProteinPropertyPrediction",
    "PropertyPrediction": "ProteinPropertyPrediction",
    "GearNet": "GearNetEncoder",
    "GearNetIEConv": "GearNetIEConvEncoder",
    "FusionNetwork": "SequenceStructureFusion",
    "GraphConstruction": "ResidueGraphConstruction",
    "Unsupervised": "MultiviewContrastive",
}
# a file of each task with each kind of encoder
FEW = (
    *("gearnet/pretrain/mc_gearnet_edge", "gearnet/pretrain/attr_gearnet_edge", "gearnet/pretrain/dis_gearnet_edge"),
    *("gearnet/pretrain/angle_gearnet_edge", "gearnet/pretrain/dihedral_gearnet_edge_ieconv"),
    *("gearnet/pretrain/mc_esm_gearnet", "gearnet/downstream/EC/ESM_gearnet", "gearnet/downstream/GO-CC/BERT"),
    *("gearnet/downstream/Fold3D/gearnet", "esm_gearnet/EC/esm_gearnet_cross"),
)


def parsed(name):
    given = {"gpus": None, "ckpt": None, "branch": "BP"}
    text = as_text(FILES[name])
    return parse(render(text, {key: value for key, value in given.items() if "{{ %s }}" % key in text}))


def values(config, key="", known=None):
    """How often each value stands under each name, wherever that is."""
    known = collections.Counter() if known is None else known
    for name, child in config.items() if isinstance(config, dict) else ((key, child) for child in config):
        if isinstance(child, (dict, list)):
            values(child, name, known)
        else:
            known[name, child] += 1
    return known


def arguments(name, path, more=()):
    """A command line for a file, written to a folder."""
    file = path / (name.replace("/", "_") + ".yaml")
    text = as_text(FILES[name])
    file.write_text(text)
    gpus = ["--gpus", "null"] if name in ESM_GEARNET else []
    return ["-c", str(file), *gpus, *(["--branch", "BP"] if "{{ branch }}" in text else []), *more]


def test_there_are_all_of_them():
    """11 for pretraining, and 9 for enzymes, 7 for each branch of the ontology, 4 for folds."""
    counts = collections.Counter(os.path.dirname(name) for name in GEARNET)
    folders = [f"gearnet/downstream/{name}" for name in ("EC", "GO-BP", "GO-CC", "GO-MF", "Fold3D")]
    assert counts == {"gearnet/pretrain": 11, **dict(zip(folders, (9, 7, 7, 7, 4)))} and len(GEARNET) == 45
    assert set(FEW) <= set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_classes_are_ours_and_numbers_theirs(name):
    """What is lost and gained is this and nothing else; every replacement has its line; our schema takes the result."""
    given = plain(parsed(name))
    result, lines = translate(given)
    lost, gained = values(given), values(result)
    lost, gained = lost - gained, gained - lost
    faulty = name.endswith("dihedral_gearnet_edge_ieconv")
    expected = {("class", key): ("class", new) for key, new in OURS.items()}
    if faulty:
        expected["class", "GearNet"] = ("class", "GearNetIEConvEncoder")
    count = 0
    for key in [key for key in lost if key in expected]:
        assert gained.pop(expected[key]) == lost[key]
        count += lost.pop(key)
    pretraining, last = "/pretrain/" in name, 22 if name in GEARNET else 21
    if "mc_" in name:
        assert lost.pop(("class", "MultiviewContrast")) == 1
    if pretraining:
        assert lost.pop(("species_start", 0)) == lost.pop(("species_end", last)) == 1
        assert [gained.pop(("species", i)) for i in range(last)] == [1] * last
    if "scheduler" in given and given["scheduler"]["class"] == "ReduceLROnPlateau":
        assert gained.pop(("mode", "min")) == 1
        count += 1
    frozen = [("fix_sequence_model", True), ("sequence_model_lr_ratio", 0)]
    if any(lost.pop(key, 0) for key in frozen):
        assert gained.pop(("freeze_sequence", True)) == 1
        count += 1
    assert not lost and not gained
    assert len(lines) == count
    assert translate(result) == (result, [])
    check_all(complete(result))


# defaults that our own files write out
WRITTEN_OUT = {
    **{("task", "num_mlp_layer"): 2, ("task", "tau"): 0.07, ("task", "model", "fusion"): "series"},
    **{("task", "model", "frames"): "released", ("model_checkpoint",): None},
}


def leaves(value, path=()):
    if not isinstance(value, (dict, list)):
        return {path: value}
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    return {key: leaf for name, child in pairs for key, leaf in leaves(child, (*path, name)).items()}


@pytest.mark.parametrize("name", GEARNET)
def test_our_file_of_that_name_is_it(name):
    """But for the data, and the edges of GO-MF/gearnet, which ours leaves out as its name says."""
    own = os.path.join(ROOT, "config", name.removeprefix("gearnet/").replace("Fold3D", "Fold") + ".yaml")
    with open(own) as file:
        text = file.read()
    names = [key for key in ("gpus", "ckpt") if "{{ %s" % key in text]
    ours = leaves(plain(parse(render(text, dict.fromkeys(names)))))
    translated = leaves(translate(plain(parsed(name)))[0])
    for key in {*ours, *translated}:
        if key[0] not in ("dataset", "output_dir") and ours.get(key, "-") != translated.get(key, "-"):
            if key in WRITTEN_OUT:
                assert key not in translated and ours[key] == WRITTEN_OUT[key], key
            else:
                assert name.endswith("GO-MF/gearnet") and key[-1] in ("edge_input_dim", "num_angle_bin"), key


def test_what_the_faulty_files_are():
    """One is IEConv under another name; the other keeps the edges that its name denies."""
    result, lines = translate(parsed("gearnet/pretrain/dihedral_gearnet_edge_ieconv"))
    assert result["task"]["model"]["class"] == "GearNetIEConvEncoder" and "GearNet takes no" in lines[2]
    edges = []
    for name in GEARNET:
        result, lines = translate(parsed(name))
        if name.endswith("/gearnet") and "Fold3D" not in name:
            edges.append("edge_input_dim" in result["task"]["model"])
            assert any("against its name" in line for line in lines) == (name == "gearnet/downstream/GO-MF/gearnet")
        else:
            assert not any("against its name" in line for line in lines), name
    assert sorted(edges) == [False, False, False, True]


def test_the_released_names_of_metrics_are_ours():
    """What chooses the best epoch is found among what the task returns."""
    titles = {metrics.title(metric) for file in FILES.values() for metric in file["task"].get("metric", ())}
    chosen = {file["metric"] for file in FILES.values() if "metric" in file}
    assert chosen == {"f1_max", "accuracy [fold_label]"}
    assert {title.partition(" [fold_label]")[0] for title in chosen} <= titles


@pytest.mark.parametrize("name", FILES)
def test_dry_run(name, tmp_path, capsys):
    """
    At full size: the encoder's parameters are those counted from the definitions; ESM's weights are named with the
    place where they belong.
    """
    assert main(arguments(name, tmp_path, ["--dry-run"])) == 0
    text = capsys.readouterr().out
    config = FILES[name]
    dataset = OURS[config["dataset"]["class"]]
    assert dataset in text and "GraphConstruction -> " in text or "graph_construction_model" not in config["task"]
    model = config["task"]["model"]
    model = model["model"] if config["task"]["class"] == "Unsupervised" else model
    if "esm" in name.lower().rpartition("/")[2]:
        file = "esm1b_t33_650M_UR50S.pt" if name in GEARNET else "esm2_t33_650M_UR50D.pt"
        assert "missing" in text and file in text and "protein-model-weights/esm-model-weights" in text
    elif model["class"].startswith("GearNet"):
        ieconv, heavy = "embedding_dim" in model, "use_ieconv" in model
        sizes = {(0, 0, 0): 10.59, (1, 0, 0): 20.15, (0, 1, 0): 11.04, (1, 1, 0): 21.77, (0, 1, 1): 15.12}
        size = {**sizes, (1, 1, 1): 25.85}["edge_input_dim" in model, ieconv, heavy]
        found = int(text.split("encoder")[1].split(" parameters")[0].split(", ")[1].replace(",", ""))
        assert abs(found / 1e6 - size) < 0.006
    if "{{ ckpt }}" in as_text(config):
        assert "variable `ckpt`: give --ckpt VALUE" in text


def smoke(name, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(arguments(name, tmp_path, ["--smoke", "--out", str(out)])) == 0, capsys.readouterr().err
    assert "translated: dataset: " in capsys.readouterr().out
    state = torch.load(out / "encoder.pth", weights_only=True)
    assert all(torch.isfinite(value).all() for value in state.values() if value.is_floating_point())
    return state


@pytest.mark.parametrize("name", FEW)
def test_few_train(name, tmp_path, capsys):
    """One of each task with each kind of encoder, two steps."""
    state = smoke(name, tmp_path, capsys)
    if "esm_gearnet" in name.lower().rpartition("/")[2]:
        assert {key.partition(".")[0] for key in state} >= {"sequence_model", "structure_model"}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FILES if name not in FEW])
def test_all_train(name, tmp_path, capsys):
    smoke(name, tmp_path, capsys)


# === with data as they were released ===


def narrow(*more):
    return ["--set", "task.model.hidden_dims=[8, 8]", "train.num_epoch=1", "engine.batch_size=4", *more]


def test_fine_tuning_reads_the_released_folder(tmp_path, capsys):
    """EnzymeCommission beside `path`, weights by --ckpt; the best epoch is chosen by f1_max, and tested."""
    write_release(tmp_path / "EnzymeCommission")
    encoder = GearNetEncoder(21, [8, 8], 7, 59, 8, short_cut=True, batch_norm=True, concat_hidden=True)
    torch.save(encoder.state_dict(), tmp_path / "encoder.pth")
    out = tmp_path / "out"
    given = ["--ckpt", str(tmp_path / "encoder.pth"), "--out", str(out)]
    more = narrow(f"dataset.path={tmp_path}", "optimizer.lr=0")
    code = main(arguments("gearnet/downstream/EC/gearnet_edge", tmp_path, [*given, *more]))
    assert code == 0, capsys.readouterr().err
    state = torch.load(out / "encoder.pth", weights_only=True)
    weights = {name: value for name, value in encoder.state_dict().items() if "running" not in name}
    assert all(torch.equal(state[name], value) for name, value in weights.items() if value.is_floating_point())
    log = (out / "log.txt").read_text()
    assert (
        "best epoch is 1 with f1_max" in log and "scheduler.mode is `min`, but `f1_max` is best at its maximum" in log
    )
    results = json.loads((out / "results.json").read_text())
    assert {"auprc@micro", "f1_max"} <= set(results["test"]) and results["metric"] == "f1_max"


def test_pretraining_reads_all_species_of_the_loop(tmp_path, capsys):
    """Two stores of species become one data set, without the third."""
    files = sorted(str(path) for path in bundled_path().glob("*.pdb.gz"))[:9]
    for number, species in enumerate(TABLE[:3]):
        store = tmp_path / f"AlphaFoldStructures.{species.archive(2)}.store"
        prepare(files[3 * number : 3 * number + 3], store, Recipe(per="entry"), workers=1, verbose=0)
    out = tmp_path / "out"
    more = narrow(f"dataset.path={tmp_path}", "dataset.species_end=2", "task.num_sample=16")
    code = main(arguments("gearnet/pretrain/dis_gearnet_edge", tmp_path, ["--out", str(out), "--no-download", *more]))
    assert code == 0, capsys.readouterr().err
    assert "species_start 0, species_end 2 -> species 0 to 1" in capsys.readouterr().out
    assert "AlphaFoldStructures: 6 for training" in (out / "log.txt").read_text()


def test_what_has_no_counterpart_is_named(tmp_path, capsys):
    """Before anything is opened, with a line about what it is."""
    config = {
        **FILES["esm_gearnet/EC/esm_gearnet"],
        "dataset": {"class": "PSRDataset", "transform": {"class": "ProteinView", "view": "residue"}},
    }
    (tmp_path / "psr.yaml").write_text(as_text(config))
    assert main(["-c", str(tmp_path / "psr.yaml"), "--dry-run", "--gpus", "null"]) == 1
    text = capsys.readouterr()
    assert "translated: dataset: PSRDataset of ESM-GearNet is not here, and left as it is" in text.out
    assert "no class `PSRDataset` is registered" in text.err
