"""SequenceStructureFusion against its parts put together by hand; frozen sequence models; what is refused."""

import copy
import io
import os
import random

import pytest
import torch
from torch import nn

from conftest import ROOT
from gearnet_plugin.engine.command import main
from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.models import GearNetEncoder, GearNetIEConvEncoder, SequenceStructureFusion
from gearnet_plugin.tasks import MaskedResiduePrediction, MultiviewContrastive
from proteins import (
    as_stock,
    awkward,
    bundled,
    chain,
    construction,
    double_precision,
    stock_construction,
    stock_in_our_order,
)
from sequence_models import SEQUENCE_MODELS, sequence_model, tiny_weights
from torchdrug import core, layers, models
from torchdrug.layers import geometry

EDGE = dict(edge_input_dim=59, num_angle_bin=8, short_cut=True, batch_norm=True)
STRUCTURE_MODELS = {
    "GearNetEncoder": lambda width: GearNetEncoder(width, [8, 6], 7, concat_hidden=True),
    "GearNetEncoder, edge": lambda width: GearNetEncoder(width, [8, 8], 7, **EDGE),
    "GearNetIEConvEncoder": lambda width: GearNetIEConvEncoder(
        width, 8, [8, 8], 7, layer_norm=True, use_ieconv=True, **EDGE
    ),
    "GearNet": lambda width: models.GearNet(width, [8, 6], 7, batch_norm=True),
}
FUSIONS = ["series", "parallel"]


class Plain(nn.Module):
    """What the definition says, in as many words."""

    def __init__(self, sequence_model, structure_model, fusion, frozen=False):
        super().__init__()
        self.sequence_model = sequence_model
        self.structure_model = structure_model
        self.fusion, self.frozen = fusion, frozen

    def forward(self, graph, input):
        first = self.sequence_model(graph, input)
        residue, protein = first["residue_feature"], first["graph_feature"]
        if self.frozen:
            residue, protein = residue.detach(), protein.detach()
        second = self.structure_model(graph, residue if self.fusion == "series" else input)
        return torch.cat([residue, second["node_feature"]], 1), torch.cat([protein, second["graph_feature"]], 1)


def fused(sequence="ProteinResNet", structure="GearNetEncoder", fusion="series", seed=0, **kwargs):
    first = sequence_model(sequence, seed)
    second = STRUCTURE_MODELS[structure](16 if fusion == "series" else 21)
    return SequenceStructureFusion(first, second, fusion, **kwargs)


def graph_of(proteins):
    return construction()(ResidueProtein.pack(proteins))


def loss_of(node, graph):
    generator = torch.Generator().manual_seed(3)
    weights = [torch.randn(x.shape, generator=generator, dtype=torch.double).to(x) for x in (node, graph)]
    return (weights[0] * node).sum() + (weights[1] * graph).sum()


# === arithmetic ===


@pytest.mark.parametrize("frozen", [False, True], ids=["trained", "frozen"])
@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("sequence", SEQUENCE_MODELS)
def test_equals_the_parts_by_hand(sequence, fusion, frozen):
    """Outputs and all gradients, of the input too, to 1e-10 in float64 on real and awkward proteins in training."""
    with double_precision():
        graph = graph_of(bundled(2, 150) + awkward()[2:])
        ours = fused(sequence, "GearNetEncoder, edge", fusion, freeze_sequence=frozen).double()
        plain = Plain(copy.deepcopy(ours.sequence_model), copy.deepcopy(ours.structure_model), fusion, frozen)
        plain.train()
        assert list(plain.state_dict()) == list(ours.train().state_dict())
        inputs = [graph.node_feature.double().clone().requires_grad_() for _ in range(2)]
        output = ours(graph, inputs[0])
        expected = plain(graph, inputs[1])
        actual = output["node_feature"], output["graph_feature"]
        assert actual[0].shape[1] == ours.node_output_dim and actual[1].shape[1] == ours.output_dim
        for a, b in zip(actual, expected):
            assert (a - b).abs().max() <= 1e-10 * b.abs().max()
        loss_of(*actual).backward(), loss_of(*expected).backward()
    gradients = [dict(m.named_parameters(), input=x) for m, x in zip((ours, plain), inputs)]
    largest = max(float(p.grad.abs().max()) for p in gradients[1].values() if p.grad is not None)
    for name, parameter in gradients[1].items():
        ours_grad = gradients[0][name].grad
        if frozen and name.startswith("sequence_model"):
            assert ours_grad is None, name
            continue
        assert (ours_grad is None) == (parameter.grad is None), name
        if ours_grad is not None:
            assert (ours_grad - parameter.grad).abs().max() <= 1e-10 * largest, name
    for (name, a), b in zip(ours.state_dict().items(), plain.state_dict().values()):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("sequence", SEQUENCE_MODELS)
def test_our_proteins_are_as_good_as_stock_ones(sequence):
    """The same features of TorchDrug's own proteins, an unknown residue among them."""
    packed = ResidueProtein.pack([chain(40), awkward()[4]])
    with stock_in_our_order():
        stock = stock_construction()(as_stock(packed))
    model = fused(sequence).eval()
    ours = construction()(packed)
    a, b = model(ours, ours.node_feature.float()), model(stock, stock.node_feature.float())
    for key in b:
        torch.testing.assert_close(a[key], b[key], rtol=1e-5, atol=1e-5)


def test_bert_is_taken_as_it_comes():
    """TorchDrug's ProteinBERT counts its start token as the first residue; what it gives is what is used."""
    model, hidden = fused("ProteinBERT"), []
    model.sequence_model.layers[-1].register_forward_hook(lambda *args: hidden.append(args[-1]))
    graph = graph_of([chain(20)])
    output = model(graph, graph.node_feature.float())
    assert hidden[0].shape == (1, 22, 16) and torch.equal(output["node_feature"][:, :16], hidden[0][0, :20])


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("structure", STRUCTURE_MODELS)
@pytest.mark.parametrize("sequence", SEQUENCE_MODELS)
def test_every_combination_trains_saves_and_loads(sequence, structure, fusion):
    graph = graph_of([chain(30), chain(22, 1)])
    model = fused(sequence, structure, fusion)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    before = copy.deepcopy(model)
    for _ in range(2):
        output = model(graph, graph.node_feature.float())
        loss = (output["graph_feature"] ** 2).mean() + (output["node_feature"] ** 2).mean()
        optimizer.zero_grad(), loss.backward(), optimizer.step()
    assert torch.isfinite(loss)
    for part in ("sequence_model", "structure_model"):
        pairs = zip(getattr(model, part).parameters(), getattr(before, part).parameters())
        assert not all(torch.equal(a, b) for a, b in pairs), part
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = fused(sequence, structure, fusion, seed=9)
    other.load_state_dict(torch.load(file, weights_only=True))
    a, b = (m.eval()(graph, graph.node_feature.float()) for m in (model, other))
    assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("sequence", ["ESM", "ProteinLSTM"])
def test_tasks_take_it(sequence):
    """Contrast of proteins and prediction of residues, whose heads ask for different widths, train two steps."""
    packed = ResidueProtein.pack([chain(70), chain(64, 1), chain(30, 2)])
    for kind in ("contrast", "residue"):
        model = fused(sequence, freeze_sequence=True)
        if kind == "contrast":
            task = MultiviewContrastive(
                model,
                [geometry.SubsequenceNode(50)],
                [geometry.IdentityNode(), geometry.RandomEdgeMask(0.15)],
                graph_construction_model=construction(),
            )
        else:
            task = MaskedResiduePrediction(model, graph_construction_model=construction())
        before = copy.deepcopy(task.state_dict())
        optimizer = torch.optim.Adam(task.parameters(), lr=1e-2)
        for _ in range(2):
            loss, _ = task.train()({"graph": packed})
            optimizer.zero_grad(), loss.backward(), optimizer.step()
        assert torch.isfinite(loss)
        changed = {name for name, value in task.state_dict().items() if not torch.equal(value, before[name])}
        assert any("structure_model" in name for name in changed)
        assert not any("sequence_model" in name for name in changed)


# === a frozen sequence model ===


class Moody(nn.Module):
    """A sequence model that changes in training mode: BatchNorm statistics, dropout."""

    output_dim = 16

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(21, 16)
        self.norm = nn.BatchNorm1d(16)
        self.dropout = nn.Dropout(0.5)
        self.readout = layers.MeanReadout("residue")

    def forward(self, graph, input, all_loss=None, metric=None):
        hidden = self.dropout(self.norm(self.linear(graph.residue_feature.float())))
        return {"graph_feature": self.readout(graph, hidden), "residue_feature": hidden}


def test_frozen_stays_as_it_is():
    """
    Training with weight decay changes neither a bit of the sequence model nor its output; it stays in eval mode
    whatever the task around it is set to, and no gradient is kept for it.
    """
    graph = graph_of([chain(30), chain(22, 1)])
    torch.manual_seed(0)
    model = SequenceStructureFusion(Moody(), GearNetEncoder(16, [8], 7, batch_norm=True), freeze_sequence=True)
    wrapper = nn.ModuleList([model])
    before = copy.deepcopy(model.sequence_model.state_dict())
    assert not any(module.training for module in model.sequence_model.modules())
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    first = []
    for _ in range(3):
        wrapper.train()
        assert not any(module.training for module in model.sequence_model.modules())
        assert all(module.training for module in model.structure_model.modules())
        output = model(graph, graph.node_feature.float())
        first.append(output["node_feature"][:, :16].detach())
        optimizer.zero_grad(), output["node_feature"].sum().backward(), optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in model.sequence_model.state_dict().items())
    assert torch.equal(first[0], first[2])
    assert all(p.grad is None and not p.requires_grad for p in model.sequence_model.parameters())
    assert all(p.grad is not None for p in model.structure_model.parameters())


def test_not_frozen_follows_the_mode():
    """By default, as in the repositories, the sequence model trains along."""
    model = SequenceStructureFusion(Moody(), GearNetEncoder(16, [8], 7))
    assert all(module.training for module in model.train().modules())
    assert not any(module.training for module in model.eval().modules())
    assert all(p.requires_grad for p in model.parameters())


# === configuration ===


def test_configuration_round_trip():
    """ESM inside, too."""
    with tiny_weights():
        model = fused("ESM", "GearNetIEConvEncoder", "parallel", freeze_sequence=True)
        config = model.config_dict()
        again = core.Configurable.load_config_dict(config)
    assert config["class"] == "models.SequenceStructureFusion" and config["sequence_model"]["class"] == "models.ESM"
    assert again.config_dict() == config
    again.load_state_dict(model.state_dict())
    assert again.fusion == "parallel" and again.freeze_sequence and not again.sequence_model.training


CONFIG = os.path.join(ROOT, "config", "pretrain", "mc_esm_gearnet.yaml")
# of ESM's width, in its place
STAND_IN = "{class: ProteinConvolutionalNetwork, input_dim: 21, hidden_dims: [1280], kernel_size: 1, padding: 0}"


def test_the_configuration_names_the_weights_it_needs(capsys, tmp_path):
    folder = tmp_path / "weights"
    code = main(["-c", CONFIG, "--dry-run", "--set", f"task.model.sequence_model.path={folder}"])
    table = capsys.readouterr().out
    assert code == 0 and f"{folder}/esm1b_t33_650M_UR50S.pt" in table and "weights of the model -> " in table


def test_the_configuration_builds_and_trains_with_a_stand_in(capsys, tmp_path):
    """At full size on paper: 10.59 million parameters of GearNet at its width, and outputs of ESM beside its own."""
    stand_in = ["--set", f"task.model.sequence_model={STAND_IN}"]
    assert main(["-c", CONFIG, "--dry-run", *stand_in]) == 0
    assert "output dim 4352" in capsys.readouterr().out
    # a smoke run narrows the stand-in to 32
    narrow = ["--set", "task.model.structure_model.input_dim=32"]
    assert main(["-c", CONFIG, "--smoke", *stand_in, *narrow, "--out", str(tmp_path / "out")]) == 0
    state = torch.load(tmp_path / "out" / "encoder.pth", weights_only=True)
    assert {name.split(".")[0] for name in state} == {"sequence_model", "structure_model"}


# === what is refused ===


@pytest.mark.parametrize("fusion", FUSIONS)
def test_proteins_too_long_for_esm_are_named(fusion):
    """TorchDrug's ESM drops what is beyond its length, and its features no longer fit the residues."""
    model = fused("ESM", fusion=fusion)
    model.sequence_model.max_input_length = 40
    graph = graph_of([chain(40), chain(41, 1)])
    with pytest.warns(UserWarning, match="Truncate the input"):
        assert len(model.sequence_model(graph, None)["residue_feature"]) == 80
    match = (
        "protein 1 of the batch has 41 residues, but EvolutionaryScaleModeling gives features of at most 40. "
        "Shorten proteins with the transform `TruncateProtein`, `max_length: 40`"
    )
    with pytest.raises(ValueError, match=match):
        model(graph, graph.node_feature.float())
    graph = graph_of([chain(40), chain(39, 1)])
    assert len(model(graph, graph.node_feature.float())["node_feature"]) == 79


def test_a_bert_of_few_positions_is_told(monkeypatch):
    model = fused("ProteinBERT")
    model.sequence_model.max_position = 32
    graph = graph_of([chain(31)])
    with pytest.raises(ValueError, match="protein 0 of the batch has 31 residues, but ProteinBERT .* at most 30"):
        model(graph, graph.node_feature.float())


def test_features_of_another_number_are_told():
    class Short(Moody):
        def forward(self, graph, input, all_loss=None, metric=None):
            output = super().forward(graph, input)
            return {**output, "residue_feature": output["residue_feature"][1:]}

    model = SequenceStructureFusion(Short(), GearNetEncoder(16, [8], 7))
    graph = graph_of([chain(20), chain(10, 1)])
    with pytest.raises(ValueError, match=r"29 residue features for a batch of 30 nodes .*\[20, 10\].*TruncateProtein"):
        model(graph, graph.node_feature.float())


def test_wrong_arguments_are_told():
    with pytest.raises(ValueError, match="fusion should be `series`, `parallel` or `cross`, but found `sum`"):
        fused(fusion="sum")
    with pytest.raises(ValueError, match="input_dim should be 16, .* but found 21"):
        SequenceStructureFusion(sequence_model("ProteinLSTM"), GearNetEncoder(21, [8], 7))
    with pytest.raises(ValueError, match="sequence_model should have an `output_dim`, but `Linear` has none"):
        SequenceStructureFusion(nn.Linear(2, 2), GearNetEncoder(21, [8], 7))
    with pytest.raises(ValueError, match="of a frozen sequence model; set freeze_sequence: true"):
        fused(features="somewhere")
    with pytest.raises(ValueError, match="features should be the folder of cached features, but found `True`"):
        fused(features=True, freeze_sequence=True)
    with pytest.raises(FileNotFoundError, match="no cached features at `.*somewhere`; make them with .*cache_features"):
        fused(features="somewhere", freeze_sequence=True)


def test_draws_of_python_are_left_alone():
    """Building and running draws nothing from Python's generator, on which TorchDrug's crops depend."""
    graph = graph_of([chain(20)])
    random.seed(0)
    expected = random.random()
    random.seed(0)
    model = fused().eval()
    model(graph, graph.node_feature.float())
    assert random.random() == expected
