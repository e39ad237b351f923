"""GearNetIEConvEncoder around its arithmetic: options, names, initial weights, statistics, memory, wrong input."""

import io
import itertools
import re

import pytest
import torch
from torch import nn

import ranks
from gearnet_plugin.compat.batchnorm import SyncBatchNorm
from gearnet_plugin.graphs import ResidueProtein, frames
from gearnet_plugin.layers import ieconv, recompute
from gearnet_plugin.models import GearNetIEConvEncoder
from proteins import bundled, chain, construction, far_apart
from test_gearnet import compare, outputs_and_gradients
from test_ieconv_encoder import FULL, VARIANTS, encoder, no_message_dropout, residue_graph
from torchdrug import core

RELEASED = dict(
    input_dim=21,
    embedding_dim=512,
    hidden_dims=[512] * 6,
    num_relation=7,
    batch_norm=True,
    concat_hidden=True,
    layer_norm=True,
    dropout=0.2,
)
EDGE = dict(edge_input_dim=59, num_angle_bin=8)
COMBINATIONS = list(
    itertools.product([0, 8], [None, 3], ["none", "kernel", "film"], ["released", "chain"], [False, True])
)


@pytest.mark.parametrize("embedding_dim, bins, kind, kind_of_frames, rest", COMBINATIONS)
def test_every_combination_trains_saves_and_loads(embedding_dim, bins, kind, kind_of_frames, rest):
    """Two steps change every weight and stay finite; configuration and state dict come back, and give the same."""
    torch.manual_seed(0)
    model = GearNetIEConvEncoder(
        21,
        embedding_dim,
        [8, 8],
        7,
        edge_input_dim=59 if bins else None,
        num_angle_bin=bins,
        ieconv=kind,
        frames=kind_of_frames,
        batch_norm=rest,
        layer_norm=rest,
        short_cut=rest,
        concat_hidden=rest,
        dropout=0.1 * rest,
        readout="sum" if rest else "mean",
        precision="bf16" if rest else None,
    )
    graph = construction()(ResidueProtein.pack([chain(15, 1), chain(11, 2, num_chain=2)]))
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        output = model(graph, graph.node_feature)["graph_feature"]
        (output - 1).square().mean().backward()
        optimizer.step()
    assert all(p.isfinite().all() and not torch.equal(p, start[name]) for name, p in model.named_parameters())

    copy = core.Configurable.load_config_dict(model.config_dict())
    assert type(copy) is GearNetIEConvEncoder and copy.config_dict() == model.config_dict()
    stored = io.BytesIO()
    torch.save(model.state_dict(), stored)
    stored.seek(0)
    copy.load_state_dict(torch.load(stored, weights_only=True), strict=True)
    with torch.no_grad():
        one, two = (m.eval()(graph, graph.node_feature) for m in (model, copy))
    assert one["graph_feature"].isfinite().all() and torch.equal(one["graph_feature"], two["graph_feature"])


# === names and initial weights ===


@pytest.mark.parametrize(
    "options, millions",
    [({}, 11.04), (EDGE, 21.77), (dict(use_ieconv=True), 15.12), (dict(use_ieconv=True, **EDGE), 25.85)],
)
def test_sizes_of_the_paper(options, millions):
    """The published model has these numbers of parameters at the released sizes."""
    with torch.device("meta"):
        model = GearNetIEConvEncoder(**RELEASED, **options)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == millions


def names(*modules):
    """Names of a state dict whose modules with BatchNorm have its five names."""
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    for module in modules:
        yield from ("%s.%s" % (module, name) for name in (norm if module.endswith("batch_norm") else norm[:2]))


def test_published_names():
    """Names of the state dict, in order, are those of the published model: worked out from its description."""
    expected = list(names("linear", "embedding_batch_norm"))
    for i in range(2):
        expected += names("layers.%d.batch_norm" % i, "layers.%d.linear" % i)
    for i in range(2):
        expected += names(
            *(
                "ieconvs.%d.%s" % (i, part)
                for part in (
                    "linear1",
                    "kernel.layers.0",
                    "kernel.layers.1",
                    "linear2",
                    "input_batch_norm",
                    "message_batch_norm",
                    "update_batch_norm",
                    "output_batch_norm",
                )
            )
        )
    for i in range(2):
        expected += names("edge_layers.%d.batch_norm" % i, "edge_layers.%d.linear" % i)
    expected += names("layer_norms.0", "layer_norms.1")
    model = GearNetIEConvEncoder(**{**FULL, "hidden_dims": [16, 16]})
    assert list(model.state_dict()) == expected
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert shapes["ieconvs.0.kernel.layers.0.weight"] == (32, 14)
    assert shapes["ieconvs.0.kernel.layers.1.weight"] == (5 * 4, 32)
    assert shapes["edge_layers.0.linear.weight"] == (16, 8 * 59)


def test_same_seed_same_weights():
    """One seed initialises as linear layers made one after the other in the published order."""
    torch.manual_seed(3)
    state = GearNetIEConvEncoder(**{**FULL, "hidden_dims": [16, 12]}).state_dict()
    torch.manual_seed(3)
    expected = {}
    for name, size in [
        ("linear", (21, 16)),
        *(
            pair
            for i, out in enumerate((16, 12))
            for pair in (
                ("layers.%d.linear" % i, (7 * 16, out)),
                ("ieconvs.%d.linear1" % i, (16, 4)),
                ("ieconvs.%d.kernel.layers.0" % i, (14, 32)),
                ("ieconvs.%d.kernel.layers.1" % i, (32, 20)),
                ("ieconvs.%d.linear2" % i, (4, out)),
            )
        ),
        ("edge_layers.0.linear", (8 * 59, 16)),
        ("edge_layers.1.linear", (8 * 16, 16)),
    ]:
        layer = nn.Linear(*size)
        expected.update({name + ".weight": layer.weight, name + ".bias": layer.bias})
    for name, value in expected.items():
        assert torch.equal(state[name], value), name


# === the choice of the kernel ===


def test_kinds_of_ieconv():
    """``use_ieconv`` and ``ieconv`` say the same, or one is not given; else ValueError."""
    small = dict(input_dim=21, embedding_dim=8, hidden_dims=[8], num_relation=7)
    for options, kind in [
        ({}, "none"),
        (dict(use_ieconv=True), "kernel"),
        (dict(use_ieconv=False), "none"),
        (dict(ieconv="film"), "film"),
        (dict(use_ieconv=True, ieconv="kernel"), "kernel"),
        (dict(use_ieconv=False, ieconv="none"), "none"),
    ]:
        model = GearNetIEConvEncoder(**small, **options)
        assert model.ieconv == kind and len(model.ieconvs) == (kind != "none")
    for use, kind, meant in [
        (True, "none", "kernel"),
        (True, "film", "kernel"),
        (False, "kernel", "none"),
        (False, "film", "none"),
    ]:
        with pytest.raises(
            ValueError, match="use_ieconv=%s means ieconv=`%s`, but found ieconv=`%s`" % (use, meant, kind)
        ):
            GearNetIEConvEncoder(**small, use_ieconv=use, ieconv=kind)


def test_film_is_light():
    """A scale and a shift have 65 times fewer parameters than a matrix at the paper's sizes; scales begin near one."""
    kernel, film = (ieconv.FrameKernelConv(512, 128, 512, 14, kind=kind) for kind in ("kernel", "film"))
    ratio = kernel.kernel.layers[1].weight.numel() / film.kernel.layers[1].weight.numel()
    assert ratio == 64.5
    assert abs(float(film.kernel.layers[1].bias[128:].mean()) - 1) < 0.1
    assert abs(float(film.kernel.layers[1].bias[:128].mean())) < 0.1


def test_no_frames_without_ieconv(monkeypatch):
    """Frames are made where IEConv looks at them, and only there."""

    def refuse(*arguments):
        raise AssertionError("frames were made")

    monkeypatch.setattr(frames, "frame_features", refuse)
    graph = residue_graph([chain(9)])
    encoder(use_ieconv=False)(graph, graph.node_feature.double())
    with pytest.raises(AssertionError, match="frames were made"):
        encoder()(graph, graph.node_feature.double())


# === statistics ===


class Other(nn.BatchNorm1d):
    """A normalization that this package does not know, such as one that synchronises processes."""

    def forward(self, input):
        self.num_row = len(input)
        return super().forward(input)


@pytest.mark.parametrize("variant", ["edge, kernel", "edge, film"])
def test_other_normalizations(variant):
    """They get the rows of all edges, and what equals BatchNorm gives equal results."""
    graph, results = residue_graph([chain(25), chain(9)]), []
    for kind in (nn.BatchNorm1d, Other):
        model = no_message_dropout(encoder(**VARIANTS[variant]))
        for module in model.modules():
            if type(module) is nn.BatchNorm1d:
                module.__class__ = kind
        results.append((outputs_and_gradients(model, graph, torch.double), dict(model.named_buffers())))
    assert model.ieconvs[0].message_batch_norm.num_row == int(graph.num_edge)
    compare(results[0][0], results[1][0], 1e-10)
    compare(results[0][1], results[1][1], 1e-10)


def on_rank(rank, both=False):
    """Representations and statistics of one of two proteins, or of both; normalization over all ranks."""
    model = SyncBatchNorm.convert_sync_batchnorm(no_message_dropout(encoder(frames="chain")))
    proteins = [chain(25, 1), chain(9, 2)]
    graph = residue_graph(proteins if both else [proteins[rank]], mask=False)
    output = model(graph, graph.node_feature.double())["graph_feature"].detach()
    return {"output": output, **dict(model.named_buffers())}


def test_ranks_equal_one_process(tmp_path):
    """With synchronised normalization two ranks of one protein each are one process of both, statistics included."""
    whole = on_rank(0, both=True)
    first, second = ranks.run(on_rank, 2, tmp_path)
    joined = {**first, "output": torch.cat([first["output"], second["output"]])}
    compare(joined, whole, 1e-10)


@pytest.mark.parametrize("options", [{}, dict(momentum=None), dict(affine=False), dict(track_running_stats=False)])
def test_counted_statistics(options):
    """Rows that count several times equal those rows several times, at every setting of BatchNorm."""
    generator = torch.Generator().manual_seed(0)
    count = torch.tensor([3, 0, 1, 5])
    one, two = (nn.BatchNorm1d(3, **options).double() for _ in range(2))
    for _ in range(2):
        input = torch.randn(4, 3, dtype=torch.double, generator=generator) * 5 + 100
        actual = ieconv._normalize_counted(one, input, count, 9).repeat_interleave(count, dim=0)
        torch.testing.assert_close(actual, two(input.repeat_interleave(count, dim=0)), rtol=1e-12, atol=1e-12)
    compare({"none": torch.ones(1), **one.state_dict()}, {"none": torch.ones(1), **two.state_dict()}, 1e-12)
    with pytest.raises(ValueError, match="Expected more than 1 edge when training"):
        ieconv._normalize_counted(one, torch.zeros(1, 3).double(), torch.tensor([1]), 1)


# === memory ===


def test_a_fifth_is_kept_for_backward(monkeypatch):
    """Of what is kept for backward with the matrices of all edges, at most a fifth is."""
    graph = construction()(ResidueProtein.pack(bundled(1, 120)))
    original, sizes = recompute.Recomputed._pack, {}

    def pack(self, tensor):
        # the encoder's own hooks see what it keeps
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes(), tensor
        return original(self, tensor)

    monkeypatch.setattr(recompute.Recomputed, "_pack", pack)
    kept = []
    for backend in ("auto", "reference"):
        torch.manual_seed(0)
        model = GearNetIEConvEncoder(21, 128, [128] * 2, 7, batch_norm=True, use_ieconv=True, backend=backend)
        sizes.clear()
        output = model(graph, graph.node_feature)
        own = {p.untyped_storage().data_ptr() for p in model.parameters()}
        kept.append(sum(size for address, (size, _) in sizes.items() if address not in own))
        del output
    assert kept[0] <= kept[1] / 5, kept


PEAK = """
import sys, torch, re
sys.path.insert(0, "test")
from proteins import construction, chain
from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.models import GearNetIEConvEncoder
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read()).group(1))
model = GearNetIEConvEncoder(21, 256, [256] * 2, 7, batch_norm=True, use_ieconv=True, backend=sys.argv[1])
for length in (20, 350):
    graph = construction()(ResidueProtein.pack([chain(length)]))
    before = peak()
    model(graph, graph.node_feature)["graph_feature"].sum().backward()
print(peak() - before)
"""


@pytest.mark.slow
def test_peak_of_memory(python):
    """A training step on 350 residues needs at most a fifth of the memory of that with the matrices of all edges."""
    ours, plain = (int(python("-c", PEAK, backend).stdout.split()[-1]) for backend in ("auto", "reference"))
    assert ours <= plain / 5, (ours, plain)


# === wrong input ===


def test_wrong_input():
    """What does not fit is named, with what would."""
    model = encoder()
    packed = ResidueProtein.pack([chain(8), far_apart()])
    graph, bare = construction()(packed), construction(None)(packed)
    feature = graph.node_feature.double()
    with pytest.raises(ValueError, match="Pack it first"):
        model(chain(8), feature)
    with pytest.raises(ValueError, match="graph has no relations. Construct the residue graph first"):
        model(packed, feature)
    with pytest.raises(ValueError, match=r"input should have shape \(14, 21\).*found \(14, 20\)"):
        model(graph, feature[:, :20])
    with pytest.raises(ValueError, match="edge_input_dim=59, but the graph has none"):
        model(bare, feature)
    with pytest.raises(ValueError, match="num_relation=5, but the graph has 7 relations"):
        GearNetIEConvEncoder(21, 8, [8], 5)(graph, graph.node_feature)
    graph._setattr("node_position", None)
    with pytest.raises(ValueError, match="edge message passing and IEConv need `node_position`"):
        model(graph, feature)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(num_angle_bin=8), "edge_input_dim is needed when num_angle_bin=8"),
        (dict(readout="max"), "readout should be `sum` or `mean`, but found `max`"),
        (dict(precision="fp16"), "precision should be `fp32`, `bf16` or None, but found `fp16`"),
        (dict(backend="gpu"), "backend should be one of"),
        (dict(frames="protein"), "frames should be `released` or `chain`, but found `protein`"),
        (dict(ieconv="matrix"), "ieconv should be one of `none`, `kernel`, `film`, but found `matrix`"),
        (dict(embedding_dim=3, use_ieconv=True), "embedding_dim and hidden_dims should be at least 4.*[3, 8]"),
    ],
)
def test_wrong_options(options, message):
    """What does not exist, or not together, is named."""
    with pytest.raises(ValueError, match=message if "[" not in message else re.escape(message[-6:])):
        GearNetIEConvEncoder(**{**dict(input_dim=21, embedding_dim=8, hidden_dims=[8], num_relation=7), **options})
