"""Predictions of one's own structures: those of the task, with thresholds, calibration and warnings that hold."""

import csv
import dataclasses
import os
import shutil

import numpy as np
import pytest
import torch
import yaml

import predict_runs
import property_runs
import ranks
from gearnet_plugin import metrics
from gearnet_plugin.datasets import StructureFolder
from gearnet_plugin.embedding import Embeddings, caution, embed_to_file, load_encoder
from gearnet_plugin.embedding.caution import Caution, Facts
from gearnet_plugin.embedding.choice import Choice
from gearnet_plugin.embedding.ec_names import NAMES, ec_name
from gearnet_plugin.embedding.prediction_to_file import predict_to_file
from gearnet_plugin.embedding.predictor import NoHead
from gearnet_plugin.engine import RunOptions, build, predictor, run, validated
from gearnet_plugin.engine.command import main as run_main
from gearnet_plugin.engine.reference import Reference, choose
from gearnet_plugin.models import GearNetEncoder
from gearnet_plugin.structures import read_structure
from gearnet_plugin.structures.bundled import bundled_structures, bundled_table
from gearnet_plugin.structures.prepare import Recipe, prepare
from proteins import construction
from structure_text import backbone, cif_text, pdb_text, write
from test_embedding import write_run
from torchdrug import data


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return predict_runs.make(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def runs(made):
    return made[0]


@pytest.fixture(scope="module")
def table(made):
    return made[1]


@pytest.fixture(scope="module")
def models(runs):
    return {kind: load_encoder(folder) for kind, folder in runs.items()}


def recipe_of(folder):
    with open(os.path.join(folder, "predictor.yaml")) as file:
        return yaml.safe_load(file)


def edit(folder, target, **changes):
    """A copy of a run with another predictor.yaml."""
    shutil.copytree(folder, target)
    content = {**recipe_of(folder), **changes}
    with open(os.path.join(target, "predictor.yaml"), "w") as file:
        yaml.safe_dump(content, file)
    return target


def by_name(predictions, column):
    """{protein: {label: value}}"""
    found = {}
    for row in predictions.rows():
        found.setdefault(os.path.basename(row["source"]), {})[row["label"]] = row[column]
    return found


# === the same numbers as the task ===


@pytest.mark.parametrize("kind", ["multilabel", "class", "number", "binary"])
def test_predictions_are_those_of_the_task(runs, models, table, kind):
    """Structures of the test set from their files get what the run's own test gave them, to 1e-6."""
    saved = np.load(os.path.join(runs[kind], "predictions.npz"), allow_pickle=False)
    logits = torch.from_numpy(saved["logits"])
    expected = {"class": logits.softmax(-1), "number": logits}.get(kind, logits.sigmoid())
    options = {} if kind == "number" else {"top": 3}
    result = models[kind].predict(predict_runs.structures(table, "test"), verbose=0, **options)
    found = by_name(result, "value" if kind == "number" else "uncalibrated")
    head = models[kind].heads
    labels = [leaf.label for leaf in head.leaves]
    assert len(result) == len(found) == len(expected) == 6
    for name, values in zip(saved["names"].tolist(), expected.tolist()):
        own = next(own for file, own in found.items() if name.startswith(file.split(".")[0]))
        assert [own[label] for label in labels] == pytest.approx(values, rel=1e-6, abs=1e-6)


def test_residues_are_those_of_the_task(runs, models, table):
    """Each residue gets what the task built anew from config and checkpoint gives it, under its own name."""
    with open(os.path.join(runs["residue"], "config.yaml")) as file:
        config = yaml.safe_load(file)
    config["task"]["num_class"] = 2
    task = build.build(config["task"], "task")
    state = torch.load(os.path.join(runs["residue"], "checkpoint-best.pth"), weights_only=True)["model"]
    task.load_state_dict(state)
    files = predict_runs.structures(table, "valid")[:3]
    dataset = StructureFolder(files, verbose=0)
    with torch.no_grad():
        expected = task.eval().predict(data.graph_collate([dataset[i] for i in range(3)])).softmax(-1)
    rows = list(models["residue"].predict(files, top=2, verbose=0).rows())
    assert len(rows) == 2 * len(expected)
    for i, values in enumerate(expected.tolist()):
        own = {row["label"]: row["uncalibrated"] for row in rows[2 * i : 2 * i + 2]}
        assert [own["in"], own["out"]] == pytest.approx(values, abs=1e-6)
    structure = read_structure(files[0])
    first = [(row["chain_id"], row["residue_number"], row["residue_name"]) for row in rows[: 2 * len(structure) : 2]]
    keys = zip(structure.chain_ids.tolist(), structure.residue_numbers.tolist(), structure.residue_names.tolist())
    assert first == list(keys)


def test_one_prediction_whatever_the_way(models, tmp_path):
    """PDB, mmCIF, a store, alone and with others."""
    atoms = [atom for i, name in enumerate(["GLY", "TRP", "SER", "LYS"] * 6) for atom in backbone(name, i + 1)]
    for atom in atoms:
        atom["xyz"] = tuple(round(x + 3 * np.sin(atom["number"] * (k + 1)), 3) for k, x in enumerate(atom["xyz"]))
    write(tmp_path / "x.pdb", pdb_text(atoms))
    write(tmp_path / "x.cif", cif_text(atoms))
    prepare([tmp_path / "x.pdb"], tmp_path / "store", Recipe(confidence="float"), workers=1, verbose=0)
    others = [str(path) for path in bundled_structures()[:2]]
    ways = [tmp_path / "x.pdb", tmp_path / "x.cif", tmp_path / "store", [tmp_path / "x.pdb", *others],
            read_structure(tmp_path / "x.pdb")]  # fmt: skip
    found = [models["multilabel"].predict(way, top=3, verbose=0).proteins[0].rows for way in ways]
    for rows in found:
        assert [row["label"] for row in rows] == [row["label"] for row in found[0]]
        assert [row["probability"] for row in rows] == pytest.approx([r["probability"] for r in found[0]], rel=1e-5)


# === thresholds ===


def test_fmax_of_the_threshold_is_that_of_the_validation_set(runs, models, table):
    """Precision and recall by hand, from the table and the rows above the threshold."""
    recipe = recipe_of(runs["multilabel"])
    with open(table, newline="") as file:
        truth = {os.path.basename(row["structure"]): set(filter(None, row["terms"].split(";")))
                 for row in csv.DictReader(file) if row["split"] == "valid"}  # fmt: skip
    for threshold, convention in [("fmax", "published"), ("fmax@cafa", "cafa")]:
        result = models["multilabel"].predict(predict_runs.structures(table, "valid"), threshold=threshold, verbose=0)
        told = {os.path.basename(p.source): {r["label"] for r in p.rows if r["above_threshold"]}
                for p in result.proteins}  # fmt: skip
        counted = [name for name in truth if convention == "published" or truth[name]]
        right = {name: len(truth[name] & told[name]) for name in counted}
        precision = np.mean([right[name] / len(told[name]) for name in counted if told[name]])
        recall = np.sum([right[name] / max(1, len(truth[name])) for name in counted]) / len(counted)
        assert 2 * precision * recall / (precision + recall) == pytest.approx(recipe["thresholds"][convention]["f1"])
    logits = torch.full((1, 3), recipe["thresholds"]["cafa"]["threshold"])
    expected = models["multilabel"].heads.probabilities(logits)
    assert [result.info["threshold"]] * 3 == pytest.approx(expected[0].tolist())


def test_the_best_threshold_of_a_label_by_brute_force():
    rng = torch.Generator().manual_seed(0)
    for size in (2, 5, 40):
        # scores with ties
        pred, target = (torch.randint(n, (size,), generator=rng).float() for n in (6, 2))
        target[0] = 1
        found = validated.f1_threshold(pred, target)
        scores = {}
        for t in pred.unique().tolist():
            hit = ((pred >= t) & (target == 1)).sum().item()
            scores[t] = 2 * hit / ((pred >= t).sum().item() + target.sum().item())
        assert found["f1"] == pytest.approx(max(scores.values()))
        hit = ((pred >= found["threshold"]) & (target == 1)).sum().item()
        assert 2 * hit / ((pred >= found["threshold"]).sum() + target.sum()) == pytest.approx(found["f1"])
        assert not (pred == found["threshold"]).any()
    assert validated.f1_threshold(torch.zeros(3), torch.zeros(3)) == {"f1": None, "threshold": None}


def test_what_is_told_of_labels(models, table):
    """Those above the threshold and at least one; with top so many, in order; with labels these alone."""
    files, model = predict_runs.structures(table, "test"), models["multilabel"]
    low, high = (model.predict(files, threshold=x, verbose=0) for x in (0, 1))
    assert all(len(p.rows) == 3 and all(r["above_threshold"] for r in p.rows) for p in low.proteins)
    assert all(len(p.rows) == 1 and not p.rows[0]["above_threshold"] for p in high.proteins)
    top = model.predict(files, top=2, threshold=0.5, verbose=0)
    for few, many in zip(top.proteins, low.proteins):
        assert few.rows == [{**row, "above_threshold": row["probability"] >= 0.5} for row in many.rows[:2]]
        assert many.rows == sorted(many.rows, key=lambda row: -row["probability"])
    one = model.predict(files, labels=["helical"], verbose=0)
    assert all([r["label"] for r in p.rows] == ["helical"] for p in one.proteins)
    best = models["class"].predict(files, verbose=0)
    assert all(len(p.rows) == 1 and p.rows[0]["above_threshold"] is None for p in best.proteins)
    three = models["class"].predict(files, top=3, threshold=0.3, verbose=0)
    assert all(r["above_threshold"] == (r["probability"] >= 0.3) for r in three.rows())
    several = models["class"].predict(files, threshold=0.3, verbose=0)
    for some, every in zip(several.proteins, three.proteins):
        assert some.rows == ([r for r in every.rows if r["above_threshold"]] or every.rows[:1])
    some = models["class"].predict(files, labels=["fold"], verbose=0)
    assert all(sum(r["probability"] for r in p.rows) == pytest.approx(1) for p in some.proteins)


def test_numbers_come_with_their_error(runs, models, table):
    rows = list(models["number"].predict(predict_runs.structures(table, "test"), verbose=0).rows())
    valid = models["number"].predict(predict_runs.structures(table, "valid"), verbose=0)
    with open(table, newline="") as file:
        truth = {os.path.basename(row["structure"]): float(row["melting"] or "nan") for row in csv.DictReader(file)}
    errors = [p.rows[0]["value"] - truth[os.path.basename(p.source)] for p in valid.proteins]
    assert rows[0]["validation_mae"] == pytest.approx(np.nanmean(np.abs(errors)), rel=1e-5)
    assert rows[0]["validation_rmse"] == pytest.approx(np.nanmean(np.square(errors)) ** 0.5, rel=1e-5)


# === calibration ===


@pytest.mark.parametrize("kind", ["multilabel", "class", "binary"])
def test_calibrated_probabilities_are_as_the_recipe_says(runs, table, tmp_path, kind):
    """Temperature and bias applied by hand to what the task gives."""
    folder = runs[kind]
    if kind == "binary":
        # six proteins are separated, which nothing is fitted to
        own = {"temperature": 1.7, "bias": -0.3, "error_before": 0.2, "error_after": 0.1, "kind": kind, "num_items": 6}
        folder = edit(folder, tmp_path / kind, calibration={"helical": own})
    (values,) = recipe_of(folder)["calibration"].values()
    result = load_encoder(folder).predict(predict_runs.structures(table, "test"), top=3, verbose=0)
    assert values["num_items"] == 6 and all(row["calibrated"] for row in result.rows())
    for protein in result.proteins:
        plain = np.array([row["uncalibrated"] for row in protein.rows], dtype=float)
        told = [row["probability"] for row in protein.rows]
        if kind == "class":
            scaled = plain ** (1 / values["temperature"])
            assert told == pytest.approx(scaled / scaled.sum(), abs=2e-4)
        else:
            logit = np.log(plain / (1 - plain)) / values["temperature"] + values["bias"]
            assert told == pytest.approx(1 / (1 + np.exp(-logit)), abs=2e-4)


def test_calibration_needs_enough_proteins():
    """Below the floor there is none, and the reason says the number; above it the fit is that of the metrics."""
    rng = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(120, 2, generator=rng)
    target = (torch.rand(120, 2, generator=rng) < (logits / 2).sigmoid()).float()
    reasons = {}
    assert validated.calibrations("multilabel", [("all", logits[:49], target[:49])], 49, reasons) is None
    assert reasons["calibration of all"].endswith("there are 49 validation proteins to calibrate on, and 50 are needed")
    # of 120 residues of 3 proteins
    assert validated.calibrations("binary", [("site", logits[:, 0], target[:, 0])], 3, reasons) is None
    reasons = {}
    found = validated.calibrations("multilabel", [("all", logits, target)], 120, reasons)["all"]
    fitted = metrics.fit_temperature("multilabel", logits, target)
    assert (found["temperature"], found["bias"]) == (fitted.temperature, fitted.bias) and not reasons
    assert found["error_after"] < found["error_before"] and found["num_items"] == 120
    # a value that is not known is no item of the fit
    target[:, 1] = float("nan")
    one = validated.calibrations("multilabel", [("all", logits, target)], 120, reasons)["all"]
    fitted = metrics.fit_temperature("binary", logits[:, 0], target[:, 0])
    assert (one["temperature"], one["kind"]) == (fitted.temperature, "multilabel")
    assert validated.calibrations("binary", [("a", logits[:, 0], target[:, 0] * 0)], 99, reasons) is None
    assert "all targets are 0" in reasons["calibration of a"]


@pytest.mark.parametrize("kind", ["binary", "class", "multilabel"])
def test_separated_labels_are_not_calibrated(kind):
    """Their probabilities would all be 0 or 1, by a temperature that is the end of the range of the fit."""
    target = (torch.arange(60) % 2).float()
    logits = torch.stack([-target, target], dim=1) - 0.5 + torch.linspace(0, 0.1, 60).unsqueeze(1)
    if kind == "binary":
        pred = logits[:, 1]
    elif kind == "class":
        pred, target = logits, target.long()
    else:
        pred, target = logits[:, 1:], target.unsqueeze(1)
    reasons = {}
    assert validated.calibrations(kind, [("a", pred, target)], 60, reasons) is None
    assert "not calibrated: on the validation set the scores separate them" in reasons["calibration of a"]


# === what a run leaves ===


def test_a_run_says_what_it_was_trained_on(runs, table):
    recipe = recipe_of(runs["multilabel"])
    lengths = sorted(len(read_structure(file)) for file in predict_runs.structures(table, "train"))
    assert recipe["training"]["length"] == {"min": lengths[0], "median": lengths[6], "max": lengths[-1]}
    assert recipe["training"]["num_proteins"] == 12 and recipe["training"]["source"] == "experimental"
    assert recipe["labels"] == ["alpha", "beta", "helical"] and recipe["validation"] == {"num_proteins": 6}
    assert recipe_of(runs["class"])["classes"] == {"fold": ["alpha", "beta", "mixed"]}
    state = torch.load(os.path.join(runs["multilabel"], "predictor.pth"), weights_only=True)
    assert state["reference.rows"].shape == (12, 8) and state["reference.rows"].dtype == torch.float16


def test_a_run_without_validation_says_so(table, tmp_path):
    config = predict_runs.config("multilabel", str(tmp_path / "table.csv"))
    with open(table) as file:
        (tmp_path / "table.csv").write_text(file.read().replace(",valid,", ",,"))
    config.pop("scheduler")
    config.pop("metric")
    folder = run(config, RunOptions(out=str(tmp_path / "out"))).folder
    recipe = recipe_of(folder)
    assert recipe["thresholds"] is None and recipe["calibration"] is None and recipe["reference"]["quantiles"] is None
    assert "no validation set" in recipe["reasons"]["validation"]
    model, file = load_encoder(folder), predict_runs.structures(table, "test")[0]
    with pytest.raises(ValueError, match=r"no threshold of highest F1.*no validation set.*--threshold 0.5.*--top 5"):
        model.predict(file, verbose=0)
    assert len(list(model.predict(file, threshold=0, verbose=0).rows())) == 3
    assert [row["above_threshold"] for row in model.predict(file, top=1, verbose=0).rows()] == [None]


@pytest.mark.parametrize("kind", ["multilabel", "class"])
def test_stock_tasks_leave_the_same(table, tmp_path, kind):
    """TorchDrug's own tasks, trained by --stock, predict too."""
    name = predict_runs.CONFIGS[kind]
    sets = ["task.model.hidden_dims=[8]", "train.num_epoch=1", "task.num_mlp_layer=2"]
    assert run_main(["-c", os.path.join(predict_runs.OWN, name + ".yaml"), "--table", table, "--target",
                     predict_runs.COLUMNS[name], "--stock", "--out", str(tmp_path / "out"),
                     *(word for s in sets for word in ("--set", s))]) == 0  # fmt: skip
    assert load_encoder(tmp_path / "out").heads.kind == kind
    test_predictions_are_those_of_the_task({kind: str(tmp_path / "out")}, {kind: load_encoder(tmp_path / "out")},
                                           table, kind)  # fmt: skip


def leave(rank, folder):
    solver = property_runs.solver_of("multilabel", 3)
    config = {"task": {"class": "ProteinPropertyPrediction"}, "dataset": {"class": "StructureFolder"}}
    names = {"targets": list("abcde")}
    os.makedirs(os.path.join(folder, str(rank)), exist_ok=True)
    assert predictor.leave(solver, config, names, os.path.join(folder, str(rank)), rank == 0)
    return torch.zeros(0)


@pytest.mark.slow
def test_two_ranks_leave_what_one_process_leaves(tmp_path):
    """Rank 0 alone writes, of the whole validation set."""
    (tmp_path / "one").mkdir()
    ranks.run(leave, 2, tmp_path, str(tmp_path / "two"))
    leave(0, str(tmp_path / "one"))
    two, one = recipe_of(tmp_path / "two" / "0"), recipe_of(tmp_path / "one" / "0")
    assert not os.listdir(tmp_path / "two" / "1")
    for convention in ("published", "cafa"):
        left, right = two["thresholds"].pop(convention), one["thresholds"].pop(convention)
        assert left == pytest.approx(right, abs=1e-5)
    assert two == one


# === names ===


@pytest.mark.parametrize("label, name", [
    ("3.4.21.4", "Serine endopeptidases"), ("3.4.99.-", "Peptidases"), ("2.7.-.-", NAMES["2.7"]),
    ("EC 7.1.1.9", "Translocases of hydrons"), ("EC:6.-.-.-", "Ligases"), ("1.98.1.1", "Oxidoreductases"),
    ("8.1.1.1", ""), ("GO:0003824", ""), ("fold", ""), ("3.4.21.B1", ""),
])  # fmt: skip
def test_names_of_ec_numbers(label, name):
    assert ec_name(label) == name


@pytest.mark.parametrize("config, found", [
    ({"class": "EnzymeCommissionStructures"}, "ec"), ({"class": "StructureFolder", "target": "ec_numbers"}, "ec"),
    ({"class": "datasets.StructureFolder", "target": "EC"}, "ec"),
    ({"class": "StructureFolder", "target": "cath"}, None), ({"class": "StructureFolder", "target": "spectrum"}, None),
    ({"class": "StructureFolder", "target": "section"}, None),
])  # fmt: skip
def test_only_columns_of_ec_numbers_get_their_names(config, found):
    """CATH numbers look the same."""
    assert predictor._vocabulary({"dataset": config}, "multilabel", ["1.10.8.10"]) == found


def test_yes_and_no_are_no_ec_numbers():
    """And of several columns all have to be EC numbers."""
    config = {"dataset": {"class": "StructureFolder"}}

    def found(classes):
        return predictor._vocabulary(config, "class", list(classes), classes)

    assert found({"enzyme": ["0", "1"]}) is None and found({"ec": ["0", "1", "2"]}) == "ec"
    assert found({"ec": ["1.1.1.1"], "cath": ["1.10.8.10"]}) is None


# === warnings ===


def test_warnings_tell_their_number():
    judged = Caution({"min": 46, "max": 103}, {0.99: 1.5})
    fine = Facts(80, None, 0, 0, 0)
    assert judged.warnings(fine, 1.4) == []
    cases = {
        "long": (fine._replace(length=104), "104 residues, the longest training protein has 103"),
        "short": (fine._replace(length=45), "45 residues, the shortest training protein has 46"),
        "low_confidence": (fine._replace(plddt=69.94), "mean pLDDT 69.9, below 70"),
        "unknown_residues": (fine._replace(unknown=5), "5 residues of unknown type (6 %)"),
        "gaps": (fine._replace(breaks=1, missing=9), "1 chain gaps, at least 9 residues missing"),
    }
    for code, (facts, words) in cases.items():
        assert judged.warnings(facts, None) == [(code, words)]
    ((code, words),) = judged.warnings(fine, 1.62)
    assert code == "far" and "distance 1.62" in words and "1.50" in words
    assert [c for c, _ in Caution(None, None).warnings(Facts(19, None, 0, 0, 0), 9.0)] == ["short"]
    assert set(cases) | {"far"} == set(caution.CODES)


def test_facts_of_a_structure():
    """Gaps are between neighbours of a chain, B-factors no confidence."""
    atoms = [atom for i in range(30) for atom in backbone("GLY", i + (12 if i > 14 else 1), chain="A")]
    structure = read_structure(str(bundled_structures()[0]))
    part = structure.select(np.r_[0:20, 30:40])
    found = Facts.of(part)
    assert (found.length, found.plddt, found.unknown) == (30, None, 0) and found.breaks >= 1 and found.missing >= 10
    two = dataclasses.replace(part, chain_ids=np.array(["A"] * 20 + ["B"] * 10))
    assert Facts.of(two).breaks == Facts.of(part).breaks - 1
    model = dataclasses.replace(part, confidence=np.full(30, 55.0), confidence_kind="plddt")
    assert Facts.of(model).plddt == 55 and len(atoms)
    assert Facts.of(dataclasses.replace(part, residue_types=np.full(30, 20))).unknown == 30


def test_a_scrambled_structure_is_farther_than_validation_proteins():
    """Positions in another order: no protein, though of the same residues and size."""
    torch.manual_seed(0)
    encoder = GearNetEncoder(21, [32, 32, 32], 7, 59, 8, batch_norm=True, concat_hidden=True, short_cut=True)
    from gearnet_plugin.embedding import LoadedEncoder

    model = LoadedEncoder(encoder, construction())
    middle = {row["structure"] for row in bundled_table() if row["length"] <= 200}
    found = [read_structure(str(path)) for path in bundled_structures() if path.name in middle]
    cut = len(found) // 2
    reference = Reference.fit(torch.from_numpy(model.embed(found[:cut], verbose=0).protein))

    def distances(structures):
        return reference.distances(torch.from_numpy(model.embed(structures, verbose=0).protein))

    rng = np.random.default_rng(0)
    valid = distances(found[cut:])
    scrambled = distances([dataclasses.replace(s, positions=s.positions[rng.permutation(len(s))]) for s in found[cut:]])
    assert (scrambled > valid).float().mean() > 0.8 and scrambled.median() > 1.5 * valid.median()
    assert distances(found[:cut]).max() < 0.01 < valid.min()


def test_the_reference_is_the_same_each_time():
    assert choose(5000) == choose(5000) and len(choose(5000)) == 1000 and choose(7) == list(range(7))
    assert max(choose(5000)) > 4900
    constant = Reference.fit(torch.ones(4, 3))
    assert constant.distances(torch.ones(2, 3)).tolist() == [0, 0]
    assert torch.isfinite(constant.distances(-torch.ones(1, 3)))


# === what is wrong ===


def test_an_encoder_without_a_head_says_what_to_run(tmp_path, runs):
    folder, _ = write_run(tmp_path / "pretrained")
    model = load_encoder(folder)
    assert model.heads is None
    message = r"without a head.*Fine-tune it.*multilabel.yaml --table TABLE --target COLUMN --ckpt"
    with pytest.raises(NoHead, match=message):
        model.predict(bundled_structures()[0], verbose=0)


def test_a_run_of_before_says_how_to_get_a_head(runs, table, tmp_path):
    """What the message advises works, and gives the same thresholds."""
    old = shutil.copytree(runs["class"], tmp_path / "old")
    for name in ("predictor.pth", "predictor.yaml"):
        os.remove(old / name)
    message = "script/run.py -c .*old/config.yaml --set checkpoint=.*old --set train.num_epoch=0"
    with pytest.raises(NoHead, match=message):
        load_encoder(old).need_heads()
    assert run_main(["-c", f"{old}/config.yaml", "--set", f"checkpoint={old}", "--set", "train.num_epoch=0", "--out",
                     str(tmp_path / "new")]) == 0  # fmt: skip
    assert recipe_of(tmp_path / "new")["accuracy"] == recipe_of(runs["class"])["accuracy"]


def test_a_checkpoint_alone_predicts_without_thresholds(runs, table, tmp_path):
    """Labels are those of the checkpoint, or numbers where it is a predecessor's."""
    shutil.copy(os.path.join(runs["class"], "encoder.yaml"), tmp_path)
    shutil.copy(os.path.join(runs["class"], "checkpoint-best.pth"), tmp_path / "best.pth")
    file = predict_runs.structures(table, "test")[0]
    expected = by_name(load_encoder(runs["class"]).predict(file, top=3, verbose=0), "uncalibrated")
    found = load_encoder(tmp_path / "best.pth").predict(file, top=3, verbose=0)
    assert by_name(found, "probability") == {name: pytest.approx(own) for name, own in expected.items()}
    assert not any(row["calibrated"] for row in found.rows()) and "checkpoint" in found.info["reasons"]
    state = torch.load(tmp_path / "best.pth", weights_only=True)
    torch.save({"model": state["model"]}, tmp_path / "old.pth")
    found = load_encoder(tmp_path / "old.pth").predict(file, top=3, verbose=0)
    assert {row["label"] for row in found.rows()} == set("012")
    shutil.copy(os.path.join(runs["number"], "checkpoint-best.pth"), tmp_path / "number.pth")
    with pytest.raises(NoHead, match="does not tell what its 1 outputs are, numbers or probabilities"):
        load_encoder(tmp_path / "number.pth").need_heads()


def test_a_head_of_other_weights_is_not_taken(runs, tmp_path):
    folder = shutil.copytree(runs["class"], tmp_path / "mixed")
    shutil.copy(os.path.join(runs["multilabel"], "encoder.pth"), folder)
    with pytest.raises(NoHead, match="predictor.yaml` belongs to other weights: one of .* Put it back, or") as error:
        load_encoder(folder).need_heads()
    assert "a version that kept none" not in str(error.value)


@pytest.mark.parametrize("changes, message", [
    ({"kind": "other"}, "kind should be one of multilabel, class, number, binary, but found other"),
    ({"labels": "a"}, "labels should be a list of texts"), ({"outputs": [4, 1]}, "outputs should be as many as labels"),
    ({"classes": {"fold": ["a"]}}, "classes should be for each label as many texts"),
    ({"calibration": {"fold": {"temperature": 1, "kind": "class", "num_items": 6}}},
     "calibration: a calibration has temperature,"),
    ({"version": 2}, "is of version 2, made by gearnet-plugin"), ({"format": "x"}, "is no file of this package"),
    ({"training": {"length": {"min": "a"}}}, "training should be `length` with whole numbers"),
    ({"reference": {"quantiles": {0.99: "far"}}}, "reference should be `quantiles` that are numbers"),
    ({"reference": [1]}, "reference should be a mapping"), ({"level": None}, "level should be protein or residue"),
    ({"version": True}, "version should be a whole number from 1, but found True"),
    ({"calibration": {"fold": {"kind": "class", "temperature": "a"}}}, "calibration should be for each a temperature"),
    ({"calibration": {"fold": {"kind": "class", "temperature": 1}}}, "calibration should be for each with `num_items`"),
    ({"error": {"fold": {"mae": "a"}}}, "error should be for each the numbers `mae` and `rmse`"),
    ({"reasons": {"why": [1]}}, "reasons should be texts"),
    ({"outputs": [2], "classes": {"fold": ["a", "b"]}}, "the head in .* does not fit: it takes 8 .* gives 3"),
])  # fmt: skip
def test_a_damaged_recipe_is_told(runs, tmp_path, changes, message):
    """And embedding goes on working."""
    model = load_encoder(edit(runs["class"], tmp_path / "bad", **changes))
    with pytest.raises(ValueError, match=message):
        model.need_heads()
    assert len(model.embed(bundled_structures()[0], verbose=0)) == 1


def test_a_hostile_recipe_is_told(runs, tmp_path):
    """Deep nesting, aliases of aliases, whose text would fill the memory, and tags that run code."""
    folder = shutil.copytree(runs["class"], tmp_path / "bad")
    text = (folder / "predictor.yaml").read_text()
    tens = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12))
    for start, end, message in [
        ("", "x: " + "[" * 3000, "nested too deeply"),
        ("a0: &a0 [x]\n" + tens, "kind: *a11", "kind should be one of multilabel, class, number, binary, but found"),
        ("", "x: !!python/object/apply:os.getcwd []", "is no valid YAML: could not determine a constructor"),
    ]:
        (folder / "predictor.yaml").write_text(f"{start}{text}\n{end}\n")
        with pytest.raises(ValueError, match=message) as error:
            load_encoder(folder).need_heads()
        assert len(str(error.value)) < 2000
    path = edit(runs["class"], tmp_path / "red", reasons={"why": "\x1b[31mred"})
    assert load_encoder(path).need_heads().reasons == {"why": "?[31mred"}


def test_scores_that_are_certain_keep_their_order(models):
    """As probabilities of float32 they are all 1."""
    choice = Choice(models["multilabel"].need_heads(), top=2)
    ((first, second),) = choice.rows(torch.tensor([[20.0, 400.0, 300.0]]))
    labels = models["multilabel"].need_heads().labels
    assert [first["label"], second["label"]] == labels[1:] and first["uncalibrated"] == second["uncalibrated"] == 1


def test_damaged_weights_of_a_head_are_told(runs, tmp_path):
    folder = shutil.copytree(runs["class"], tmp_path / "bad")
    state = torch.load(folder / "predictor.pth", weights_only=True)
    torch.save({**state, "mlp.layers.1.bias": state["mlp.layers.1.bias"] * float("nan")}, folder / "predictor.pth")
    with pytest.raises(ValueError, match="no finite numbers, first in `mlp.layers.1.bias`"):
        load_encoder(folder).need_heads()
    torch.save({**state, "reference.scale": torch.ones(3)}, folder / "predictor.pth")
    with pytest.raises(ValueError, match="reference should be embeddings of 8 finite numbers"):
        load_encoder(folder).need_heads()
    rows = state["reference.rows"]
    for changes in ({"scale": torch.tensor(1.0)}, {"scale": torch.zeros(8)}, {"rows": rows[:0]}, {"rows": rows[None]},
                    {"rows": rows * float("nan")}):  # fmt: skip
        torch.save({**state, **{f"reference.{key}": value for key, value in changes.items()}}, folder / "predictor.pth")
        with pytest.raises(ValueError, match="reference should be embeddings of 8 finite numbers, with their scale"):
            load_encoder(folder).need_heads()
    for mean in (torch.tensor(1.0), torch.full((3,), float("nan")), torch.zeros(2)):
        torch.save({**state, "mean": mean, "std": torch.ones(3)}, folder / "predictor.pth")
        with pytest.raises(ValueError, match="mean and std should be 3 finite numbers each"):
            load_encoder(folder).need_heads()
    (folder / "predictor.pth").write_bytes(b"no")
    with pytest.raises(ValueError, match="is no checkpoint or is damaged"):
        load_encoder(folder).need_heads()
    os.remove(folder / "predictor.pth")
    with pytest.raises(FileNotFoundError, match="has no `predictor.pth` beside it"):
        load_encoder(folder).need_heads()


@pytest.mark.parametrize("kind, options, message", [
    ("multilabel", {"labels": ["helicl"]}, "does not predict `helicl`. Of its 3 labels the nearest are `helical`"),
    ("multilabel", {"labels": "helical"}, "labels should be a list of labels, but found the text"),
    ("multilabel", {"threshold": 1.5}, "threshold should be a probability from 0 to 1, or `fmax`, .*found `1.5`"),
    ("multilabel", {"threshold": "f1"}, "threshold should be a probability"),
    ("multilabel", {"top": 0}, "top should be a whole number from 1, but found `0`"),
    ("class", {"threshold": "fmax"}, "threshold `fmax` is for labels that are there or not"),
    ("number", {"top": 1}, "this model predicts numbers"),
    ("class", {"chains": ["Q"]}, "none of the structures has a chain `Q`; the chains seen are"),
])  # fmt: skip
def test_wrong_options_are_told(models, kind, options, message):
    with pytest.raises(ValueError, match=message):
        models[kind].predict(bundled_structures()[0], verbose=0, **options)


# === encoders whose residues have another width than proteins ===


def test_a_fusion_with_an_lstm_predicts(table, tmp_path):
    """An LSTM of two directions gives a residue twice as many numbers as a protein; in memory and to a file."""
    config = predict_runs.config("class", table)
    structure = config["task"]["model"]
    sequence = {"class": "models.ProteinLSTM", "input_dim": 21, "hidden_dim": 6, "num_layers": 1}
    config["task"]["model"] = {"class": "models.SequenceStructureFusion", "sequence_model": sequence,
                               "structure_model": structure, "fusion": "parallel"}  # fmt: skip
    config["train"]["num_epoch"] = 1
    folder = run(config, RunOptions(out=str(tmp_path / "run"))).folder
    files, model = predict_runs.structures(table, "test"), load_encoder(folder)
    # alone, since the LSTM reads what fills up a batch
    expected = sorted(row["uncalibrated"] for path in files for row in model.predict(path, top=3, verbose=0).rows()
                      if row["label"] == model.need_heads().leaves[0].label)  # fmt: skip
    label = model.need_heads().leaves[0].label
    done = predict_to_file(model, files, tmp_path / "out.csv", top=3, verbose=0)
    assert done.written.tally.structures == len(files)
    with open(tmp_path / "out.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for found in (rows, model.predict(files, top=3, verbose=0).rows()):
        own = sorted(float(row["uncalibrated"]) for row in found if row["label"] == label)
        assert own == pytest.approx(expected, abs=1e-5)
    assert (model.output_dim, model.residue_dim) == (14, 20)
    embed_to_file(model, files, tmp_path / "both.npz", level="both", verbose=0)
    own, expected = Embeddings.load(tmp_path / "both.npz"), model.embed(files, level="both", verbose=0)
    assert own.protein.shape == (len(files), 14) and own.residue[0].shape == (own.lengths[0], 20)
    assert all(np.allclose(x, y) for x, y in zip(own.residue, expected.residue, strict=True))


def test_sequence_models_that_read_padding_predict_each_protein_for_itself(table, tmp_path):
    """And thresholds are those of such predictions, not of the batches of the run."""
    config = predict_runs.config("multilabel", table)
    config["task"]["model"] = {"class": "models.ProteinConvolutionalNetwork", "input_dim": 21, "hidden_dims": [8, 8],
                               "readout": "max"}  # fmt: skip
    config["train"]["num_epoch"] = 1
    model = load_encoder(run(config, RunOptions(out=str(tmp_path / "run"))).folder)
    files = predict_runs.structures(table, "valid")
    together = model.predict(files, top=3, verbose=0)
    alone = [row for path in files for row in model.predict(path, top=3, verbose=0).rows()]
    own = sorted((row["source"], row["label"], row["probability"]) for row in together.rows())
    assert own == [(*row[:2], pytest.approx(row[2], abs=1e-6)) for row in sorted(
        (row["source"], row["label"], row["probability"]) for row in alone)]  # fmt: skip
    with open(table, newline="") as file:
        truth = {os.path.basename(row["structure"]): row["terms"].split(";") for row in csv.DictReader(file)}
    scores, target = [], []
    for protein in together.proteins:
        found = {row["label"]: row["uncalibrated"] for row in protein.rows}
        scores.append([found[label] for label in sorted(found)])
        target.append([label in truth[os.path.basename(protein.source)] for label in sorted(found)])
    best, _ = metrics.fmax(torch.tensor(scores).logit(), torch.tensor(target).float(), "published")
    predictor_ = model.need_heads()
    assert predictor_.thresholds["published"]["f1"] == pytest.approx(float(best), abs=1e-5)
    assert "fills up shorter proteins" in predictor_.reasons["padding"]
