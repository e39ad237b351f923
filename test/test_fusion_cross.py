"""`fusion: cross` of SequenceStructureFusion against its definition, protein by protein; what is refused."""

import math

import pytest
import torch

from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.models import GearNetEncoder, SequenceStructureFusion
from proteins import awkward, bundled, chain, construction, double_precision
from sequence_models import sequence_model, tiny_weights
from torchdrug import core

# where the names come from: its attention is a module of TorchDrug with three projections before torch's own
ATTENTION = [
    *(f"{name}.{kind}" for name in ("query", "key", "value") for kind in ("weight", "bias")),
    *("attn.in_proj_weight", "attn.in_proj_bias", "attn.out_proj.weight", "attn.out_proj.bias"),
]


def crossed(sequence="ESM", cross_dim=24, **kwargs):
    torch.manual_seed(1)
    structure = GearNetEncoder(21, [8, 6], 7, batch_norm=True, concat_hidden=True)
    model = SequenceStructureFusion(sequence_model(sequence), structure, "cross", cross_dim=cross_dim, **kwargs)
    for bias in (model.attn.attn.in_proj_bias, model.attn.attn.out_proj.bias):
        # zeros would hide that they are forgotten
        torch.nn.init.normal_(bias)
    return model


def graph_of(proteins):
    return construction()(ResidueProtein.pack(proteins))


def attended(state, rows):
    """Eight heads by their formula: project, project again, weigh, sum, project."""
    count, width = rows.shape
    projections = state["attn.attn.in_proj_weight"].chunk(3), state["attn.attn.in_proj_bias"].chunk(3)
    heads = []
    for name, weight, bias in zip(("query", "key", "value"), *projections):
        x = rows @ state[f"attn.{name}.weight"].T + state[f"attn.{name}.bias"]
        heads.append((x @ weight.T + bias).view(count, 8, width // 8).transpose(0, 1))
    query, key, value = heads
    scores = query @ key.transpose(1, 2) / math.sqrt(width // 8)
    mixed = (scores.exp() / scores.exp().sum(-1, keepdim=True) @ value).transpose(0, 1).reshape(count, width)
    return mixed @ state["attn.attn.out_proj.weight"].T + state["attn.attn.out_proj.bias"]


def by_definition(model, graph):
    """One protein after the other, without padding."""
    state = dict(model.named_parameters())
    residue = model.sequence_model(graph, None)["residue_feature"]
    structure = model.structure_model(graph, graph.node_feature.to(residue))["node_feature"]
    nodes, proteins = [], []
    for first, second in zip(residue.split(graph.num_residues.tolist()), structure.split(graph.num_residues.tolist())):
        first = first @ state["seq_linear.weight"].T + state["seq_linear.bias"]
        second = second @ state["struct_linear.weight"].T + state["struct_linear.bias"]
        result = attended(state, torch.cat([first, second]))
        nodes.append(torch.cat([result[: len(first)], result[len(first) :]], dim=1))
        proteins.append(nodes[-1].sum(0))
    return torch.cat(nodes), torch.stack(proteins)


@pytest.mark.parametrize("sequence", ["ESM", "ProteinBERT", "ProteinLSTM"])
def test_equals_its_definition(sequence):
    """Outputs and all gradients to 1e-10 in float64, on proteins of all lengths; the LSTM's residues are wider."""
    with double_precision():
        graph = graph_of(bundled(2, 150) + awkward()[2:])
        model = crossed(sequence).double().eval()
        output = model(graph, graph.node_feature.double())
        actual, expected = (output["node_feature"], output["graph_feature"]), by_definition(model, graph)
        assert model.output_dim == model.node_output_dim == 48
        generator = torch.Generator().manual_seed(0)
        weights = [torch.randn(x.shape, generator=generator, dtype=torch.double) for x in actual]
        gradients = []
        for pair in (actual, expected):
            loss = sum((w * x).sum() for w, x in zip(weights, pair))
            gradients.append(torch.autograd.grad(loss, list(model.parameters()), allow_unused=True))
    for a, b in zip(actual, expected):
        assert a.shape == b.shape and (a - b).abs().max() <= 1e-10 * b.abs().max()
    largest = max(float(x.abs().max()) for x in gradients[1] if x is not None)
    for (name, _), a, b in zip(model.named_parameters(), *gradients):
        assert (a is None) == (b is None), name
        assert a is None or (a - b).abs().max() <= 1e-10 * largest, name


def test_alone_as_in_a_batch():
    """Padding is no neighbour, wherever a protein stands and however long the others are."""
    proteins = [chain(60, 1), chain(17, 2), chain(41, 3)]
    with double_precision():
        model = crossed().double().eval()

        def run(some):
            graph = graph_of(some)
            return model(graph, graph.node_feature.double())

        together, backwards = run(proteins), run(proteins[::-1])
        parts = together["node_feature"].split([60, 17, 41])
        for i, protein in enumerate(proteins):
            alone = run([protein])
            torch.testing.assert_close(alone["node_feature"], parts[i], rtol=1e-10, atol=1e-10)
            torch.testing.assert_close(alone["graph_feature"][0], together["graph_feature"][i], rtol=1e-10, atol=1e-9)
            torch.testing.assert_close(
                backwards["graph_feature"][2 - i], together["graph_feature"][i], rtol=1e-10, atol=1e-9
            )


def test_residues_hear_of_each_other():
    """A residue's features change with the type of another far away, in both halves."""
    first, second = chain(40, 1), chain(40, 1)
    second.residue_type[39] = (second.residue_type[39] + 1) % 20
    model = crossed("ProteinConvolutionalNetwork").eval()
    a, b = (model(g, g.node_feature.float())["node_feature"][0] for g in (graph_of([first]), graph_of([second])))
    assert (a[:24] - b[:24]).abs().max() > 1e-5 and (a[24:] - b[24:]).abs().max() > 1e-5


def test_state_dict_is_that_of_esm_gearnet():
    """Its attribute names, after those of the two models."""
    names = [name for name in crossed().state_dict() if not name.startswith(("sequence_model.", "structure_model."))]
    linear = [f"{part}_linear.{kind}" for part in ("seq", "struct") for kind in ("weight", "bias")]
    assert names == linear + [f"attn.{name}" for name in ATTENTION]


def test_it_trains_with_dropout_and_a_frozen_sequence_model():
    graph = graph_of([chain(30), chain(22, 1)])
    model = crossed(freeze_sequence=True).train()
    a, b = (model(graph, graph.node_feature.float())["node_feature"] for _ in range(2))
    assert not torch.equal(a, b)
    a.square().mean().backward()
    assert all(p.grad is None for p in model.sequence_model.parameters())
    rest = {name: p for name, p in model.named_parameters() if not name.startswith("sequence_model")}
    assert [name for name, p in rest.items() if p.grad is None] == []


def test_configuration_round_trip():
    with tiny_weights():
        config = crossed().config_dict()
        again = core.Configurable.load_config_dict(config)
    assert config["cross_dim"] == 24 and again.config_dict() == config and again.output_dim == 48


def test_wrong_widths_are_told():
    parts = sequence_model("ProteinLSTM"), GearNetEncoder(21, [8], 7)
    for width in (None, 0, 20, True, "512", 8.0):
        with pytest.raises(
            ValueError, match="`cross` needs a cross_dim that its 8 attention heads divide, such as 512"
        ):
            SequenceStructureFusion(*parts, "cross", cross_dim=width)
    with pytest.raises(ValueError, match="cross_dim is the width of fusion `cross`, but fusion is `parallel`"):
        SequenceStructureFusion(*parts, "parallel", cross_dim=8)
