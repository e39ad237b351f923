"""Several objectives in one run: one encoder, a head each, a weighted sum of losses."""

import json
import os

import pytest
import torch
from easydict import EasyDict
from torch.utils.data import DistributedSampler

import ranks
import tiny_run
from gearnet_plugin.engine import ConfigError, RunOptions, run
from gearnet_plugin.engine.build import build, check
from gearnet_plugin.engine.checkpoint import find_encoder
from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.models import GearNetEncoder
from gearnet_plugin.tasks import CombinedPretraining, EdgeAnglePrediction, EdgeDistancePrediction
from proteins import bundled, chain, construction
from torchdrug import core
from torchdrug.layers import geometry

FIVE = [
    {
        "class": "MultiviewContrastive",
        "crop_funcs": [{"class": "SubsequenceNode", "max_length": 20}],
        "noise_funcs": [{"class": "IdentityNode"}],
    },
    {"class": "MaskedResiduePrediction", "mask": "token"},
    {"class": "EdgeDistancePrediction", "num_sample": 32, "remove": "pair"},
    {"class": "EdgeAnglePrediction", "num_sample": 32},
    {"class": "EdgeDihedralPrediction", "num_sample": 32, "signed": True},
]


def encoder():
    """A small GearNet."""
    torch.manual_seed(0)
    return GearNetEncoder(21, [16, 16], 7, batch_norm=True, short_cut=True, concat_hidden=True)


def combined(objectives=FIVE, **kwargs):
    """The objectives on a small encoder."""
    model = encoder()
    torch.manual_seed(1)
    return CombinedPretraining(model, objectives, graph_construction_model=construction(), **kwargs)


def batch(count=4):
    return {"graph": ResidueProtein.pack([chain(30 + i, i) for i in range(count)])}


def test_the_encoder_is_there_once():
    """In the state dict, in the parameters, and as what a run saves; every objective uses it."""
    ours = combined()
    names = list(ours.state_dict())
    assert [n for n in names if n.startswith("model.")] == ["model." + n for n in encoder().state_dict()]
    assert {n.split(".")[1] for n in names if n.startswith("objectives.")} == {c["class"] for c in FIVE}
    heads = [n for n in names if not n.startswith("model.")]
    assert all(".mlp." in n or n.endswith(".boundary") for n in heads)
    parameters = list(ours.parameters())
    assert len(parameters) == len({id(p) for p in parameters})
    assert find_encoder(ours) is ours.model
    assert ours.objectives["EdgeAnglePrediction"].model is ours.model
    assert ours.objectives["MultiviewContrastive"].encoder is ours.model
    copy = combined()
    copy.load_state_dict(ours.state_dict(), strict=True)


def test_moves_and_modes_reach_all():
    """Type and mode of the combined task are those of its objectives and of the encoder they share."""
    ours = combined().double().eval()
    assert {p.dtype for p in ours.parameters()} == {torch.double}
    angle = ours.objectives["EdgeAnglePrediction"]
    assert angle.boundary.dtype == torch.double and next(angle.model.parameters()).dtype == torch.double
    assert not angle.training and not ours.model.training
    ours.set_epoch(3)
    ours.set_seed(11)
    assert angle.draws.seed == 11
    assert all(objective._epoch == 3 for objective in ours.objectives.values())


def test_the_loss_is_the_weighted_sum():
    """Of what the objectives alone have on the same draws; metrics carry their names."""
    parts = {"EdgeDistancePrediction": EdgeDistancePrediction, "EdgeAnglePrediction": EdgeAnglePrediction}
    ours = combined(weighted(FIVE[2:4], [2, 0.5])).eval()
    total, metric = ours(batch())
    expected = 0
    for weight, (name, cls) in zip([2, 0.5], parts.items()):
        arguments = {k: v for k, v in FIVE[2 if cls is EdgeDistancePrediction else 3].items() if k != "class"}
        alone = cls(ours.model, graph_construction_model=construction(), **arguments).eval()
        alone.mlp = ours.objectives[name].mlp
        loss, own = alone(batch())
        expected += weight * loss
        for key, value in own.items():
            assert torch.equal(metric["%s %s" % (name, key)], value)
        assert torch.equal(metric["%s loss" % name], loss)
    assert torch.allclose(total, expected)


def test_the_same_objective_twice():
    """They are told apart by a number."""
    ours = combined([FIVE[2], {"class": "tasks.EdgeDistancePrediction"}, FIVE[2]])
    assert list(ours.objectives) == ["EdgeDistancePrediction", "EdgeDistancePrediction2", "EdgeDistancePrediction3"]
    assert ours.objectives["EdgeDistancePrediction2"].remove == "sampled"


def test_configuration_round_trip():
    """Config to object to config is the identity, from objects too; the encoder is described once."""
    objectives = [
        {
            "class": "MultiviewContrastive",
            "crop_funcs": [geometry.SubsequenceNode(20)],
            "noise_funcs": [geometry.IdentityNode()],
        },
        *FIVE[1:],
    ]
    config = combined(weighted(objectives, [1, 2, 3, 4, 5])).config_dict()
    assert json.dumps(config).count("GearNetEncoder") == 1
    again = core.Configurable.load_config_dict(config)
    assert again.config_dict() == config
    assert again.objectives["MultiviewContrastive"].model.crop_funcs[0].max_length == 20
    assert again.weights == [1, 2, 3, 4, 5]
    assert list(again.state_dict()) == list(combined(objectives).state_dict())


def test_learns_with_all_five():
    """On real structures the residue types come out better than by their frequencies, the distances by their mean."""
    ours = combined(weighted(FIVE, [0.1, 1, 1, 1, 1]))
    optimizer = torch.optim.Adam(ours.parameters(), lr=1e-2)
    proteins = {"graph": ResidueProtein.pack(bundled(4, longest=80))}
    for epoch in range(40):
        ours.set_epoch(epoch)
        loss, metric = ours(proteins)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert metric["MaskedResiduePrediction cross entropy"] < metric["MaskedResiduePrediction frequency cross entropy"]
    assert metric["EdgeDistancePrediction mean squared error"] < metric["EdgeDistancePrediction mean predictor error"]
    assert all(p.grad is not None for p in ours.parameters())


def test_two_steps_of_the_engine():
    """TorchDrug's engine trains and evaluates it; every objective has its metrics of the whole split."""
    items = [{"graph": chain(20 + i, i)} for i in range(6)]
    ours = combined()
    solver = core.Engine(ours, items, items, items, torch.optim.Adam(ours.parameters()), batch_size=3, log_interval=1)
    before = {name: value.clone() for name, value in ours.named_parameters()}
    solver.train(num_epoch=1)
    changed = {name.split(".")[1] for name, value in ours.named_parameters() if not torch.equal(value, before[name])}
    assert changed >= {"layers", *ours.objectives}
    metric = solver.evaluate("valid")
    for name in ours.objectives:
        assert any(key.startswith(name + " ") for key in metric)
    assert "MaskedResiduePrediction majority accuracy" in metric


def run_config(**task):
    """A configuration as it stands in a YAML file, encoder and graph named once."""
    own = {
        name: value
        for name, value in tiny_run_config()["task"].items()
        if name in ("model", "graph_construction_model")
    }
    own["graph_construction_model"]["edge_feature"] = "gearnet"
    config = tiny_run_config()
    config["task"] = {"class": "CombinedPretraining", **own, **task}
    return config


def tiny_run_config():
    from gearnet_plugin.engine.config import parse, render

    config = parse(render(tiny_run.CONFIG, {"gpus": None}))
    config.pop("metric")
    config["train"] = {"num_epoch": 1}
    return config


def weighted(objectives, weights):
    """Objectives with their weights."""
    return [dict(config, weight=weight) for config, weight in zip(objectives, weights, strict=True)]


def test_a_run_of_a_configuration(tmp_path):
    """script/run.py trains it, chooses the best epoch by one of its metrics, and saves the one encoder."""
    config = run_config(objectives=weighted(FIVE, [1, 1, 1, 1, 2]))
    config["metric"] = "EdgeDistancePrediction mean squared"
    config["train"]["num_epoch"] = 2
    result = run(EasyDict(config), RunOptions(out=str(tmp_path / "run")))
    assert result.num_step == 4 and result.metric == "EdgeDistancePrediction mean squared error"
    saved = torch.load(os.path.join(result.folder, "encoder.pth"), weights_only=True)
    assert list(saved) == list(GearNetEncoder(21, [8, 8], 7, batch_norm=True).state_dict())
    with open(os.path.join(result.folder, "metrics.jsonl")) as file:
        values = json.loads(file.readline())["values"]
    assert {"loss", "MultiviewContrastive retrieval accuracy", "EdgeDihedralPrediction skipped proteins"} <= set(values)


def test_errors_in_a_configuration_name_the_place():
    """A wrong argument of an objective is found before anything is built, one of its values when it is."""
    config = run_config(objectives=[{"class": "EdgeDistancePrediction", "num_samples": 3}])["task"]
    with pytest.raises(ConfigError, match="task.objectives.0.num_samples"):
        check(config, "task")
    config = run_config(objectives=[FIVE[2], {"class": "EdgeDistancePrediction", "num_sample": 0}])
    with pytest.raises(ConfigError, match="objectives.1: EdgeDistancePrediction cannot be built: num_sample should be"):
        build(config["task"], "task")


@pytest.mark.parametrize(
    "objectives, weights, message",
    [
        ([], None, "objectives should be a list of one objective or more"),
        ({"class": "EdgeDistancePrediction"}, None, "objectives should be a list of one objective or more"),
        (["EdgeDistancePrediction"], None, "objectives.0 should be a mapping with `class`, .* but found str"),
        ([{"num_sample": 3}], None, "objectives.0 should be a mapping with `class`"),
        (
            [{"class": "EdgePredictionOfDistances"}],
            None,
            "objectives.0.class should name a registered task: Can't find",
        ),
        ([{"class": "GearNetEncoder"}], None, "objectives.0.class should be a task that trains an encoder"),
        ([FIVE[2], dict(FIVE[3], model="x")], None, "objectives.1.model is shared by all objectives"),
        ([{"class": "EdgeAnglePrediction", "angles": 3}], None, "objectives.0: EdgeAnglePrediction cannot be built"),
        (FIVE[2:4], [1, "2"], "weight of objectives should be numbers of at least 0"),
        (FIVE[2:4], [1, -1], "weight of objectives should be numbers of at least 0, and not all 0"),
        (FIVE[2:4], [0, 0], "weight of objectives should be numbers of at least 0, and not all 0"),
        (FIVE[2:4], [1, float("nan")], "weight of objectives should be numbers of at least 0"),
    ],
)
def test_wrong_arguments(objectives, weights, message):
    with pytest.raises(ValueError, match=message):
        combined(objectives if weights is None else weighted(objectives, weights))


def on_rank(rank):
    """One step of TorchDrug's engine, where this rank's proteins are of use to all or to few objectives."""
    order = list(DistributedSampler(range(4), 2, rank))
    items = [{"graph": chain(1, i)} for i in range(4)]
    useful = list(DistributedSampler(range(4), 2, 0))
    for i in useful:
        items[i] = {"graph": chain(30, i)}
    assert (set(order) == set(useful)) == (rank == 0)
    ours = combined(FIVE[1:4])
    solver = core.Engine(ours, items, None, None, torch.optim.SGD(ours.parameters(), lr=0.1), batch_size=2)
    solver.train(num_epoch=1)
    shared = all(objective.model is solver.model.model for objective in solver.model.objectives.values())
    norms = {type(m).__name__ for m in solver.model.modules() if "BatchNorm" in type(m).__name__}
    skipped = {name: values for name, values in solver.meter.records.items() if "skipped" in name}
    return {"state": solver.model.state_dict(), "shared": shared, "norms": sorted(norms), "skipped": skipped}


def test_ranks_stay_in_step(tmp_path):
    """
    Where one rank has nothing to learn the others do not wait for it inside a synchronised BatchNorm for ever; the
    encoder with those norms is still the one of all objectives, and the weights of both ranks are the same.
    """
    first, second = ranks.run(on_rank, 2, tmp_path)
    assert first["shared"] and second["shared"] and first["norms"] == ["SyncBatchNorm"]
    start = combined(FIVE[1:4]).state_dict()
    changed = 0
    for name, value in first["state"].items():
        assert torch.equal(value, second["state"][name]) and value.isfinite().all(), name
        changed += not torch.equal(value, start[name])
    assert changed > 10
    # averaged over ranks: none of two on one, two of two on the other
    assert first["skipped"]["EdgeAnglePrediction skipped proteins"] == [1.0]
    assert first["skipped"]["EdgeDistancePrediction skipped proteins"] == [0.0]
