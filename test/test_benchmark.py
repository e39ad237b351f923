"""script/benchmark.py measures right what it reports, refuses when results differ, and fills the README."""

import itertools
import json
import math
import os
import sys

import pytest
import torch
from click.testing import CliRunner
from torch.utils._python_dispatch import TorchDispatchMode

from conftest import ROOT
from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.models import GearNetEncoder
from proteins import chain

sys.path.insert(0, os.path.join(ROOT, "script"))

import benchmark
import benchmark_encoder
import benchmark_figure
import encoder_checks
import encoder_cost
import encoder_inputs
import encoder_plan
import measure
import rgcn_peer

ARGUMENTS = dict(hidden_dims=[8, 8], num_relation=7, edge_input_dim=59, num_angle_bin=8, batch_norm=True)


@pytest.fixture(scope="module")
def graphs():
    """Stock's graph and ours of two small proteins, some edges masked."""
    return encoder_inputs.graphs_of(ResidueProtein.pack([chain(40, 1), chain(9, 2)]))


@pytest.fixture
def encoders(graphs):
    """Stock's encoder and ours with equal weights."""
    torch.manual_seed(0)
    ours = GearNetEncoder(21, **ARGUMENTS)
    for parameter in ours.parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, mean=0.5, std=0.3)
    stock = encoder_inputs.models.GearNet(21, **ARGUMENTS)
    stock.load_state_dict(ours.state_dict())
    return stock, ours


@pytest.fixture
def threads():
    """The number of threads as it was."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


# === ratios and rows ===


def test_ratio_is_the_median_of_pairs():
    """Not the ratio of medians: a slow moment hits both of a pair."""
    ratio = measure.ratio([(2.0, 1.0), (40.0, 20.0), (6.0, 3.0), (9.0, 3.0)])
    assert ratio.median == 2 and ratio.pairs == 4
    assert ratio.low == 2 and ratio.high <= 3


def test_ways_are_timed_turn_by_turn():
    """Each round calls every way once; how many rounds is kept in bounds."""
    calls = []
    ways = {name: lambda name=name: calls.append(name) for name in "abc"}
    ratios = measure.compare_ways(ways, budget=0, least=3, most=5)
    assert "".join(calls) == "abc" * 4, "one round to warm up, three that count"
    assert list(ratios) == ["b", "c"] and ratios["b"].pairs == 3
    calls.clear()
    measure.compare_ways(ways, budget=1e9, least=3, most=5)
    assert len(calls) == 3 * 6


def test_rows():
    """A row tells the interval, and whether its aim is met."""
    ratio = measure.ratio([(2.0, 1.0)] * 3)
    found = encoder_plan.rated("this", ratio, 1.5)
    assert found["interval"] == [2, 2] and found["met"] is True and found["aim"] == ">= 1.5"
    assert encoder_plan.rated("this", ratio, 2.5)["met"] is False
    missing = encoder_plan.unmeasured("that", "no such processor", 4.5)
    assert missing["value"] is None and "no such processor" in benchmark.line(missing) and "met" not in missing


def test_peak_is_seen_after_it_is_gone():
    """Memory that was taken and freed counts, what was freed before does not."""
    torch.ones(1 << 24)
    measure.forget_peak()
    start, _ = measure.resident()
    torch.ones(1 << 23)
    rise = measure.resident()[1] - start
    assert 31 <= rise <= 60, "32 MiB and what else the process takes"


# === tables ===


def report(**more):
    """A small report."""
    machine = {"packages": {"torch": "2"}, "commit": "abc", "changed": False, "cores": 2, "cpu": "cpu", "python": "3"}
    rows = [{"what": "a", "result": "2 (1 to 3)", "value": 2, "interval": [1, 3], "aim": ">= 1", "met": True}]
    return {"command": "c", "machine": machine, "rows": rows, "stock": "compiled packages", **more}


@pytest.mark.parametrize("name", ["data", "encoder"])
def test_table_goes_between_its_marks(name):
    """Only the table of that name changes, and putting it in twice changes nothing."""
    marks = "".join(f"<!-- benchmark: {mark} -->\nold {mark}\n<!-- end -->\n" for mark in ("data", "encoder"))
    once = benchmark.with_table(marks, report(threads=2), name)
    assert "| a | 2 (1 to 3) | >= 1 | met |" in once and f"old {name}" not in once and "2 threads" in once
    assert ("old data" in once) == (name == "encoder")
    assert benchmark.with_table(once, report(threads=2), name) == once


def test_no_marks():
    """A README without the marks is an error."""
    with pytest.raises(ValueError, match="benchmark: encoder"):
        benchmark.with_table("text", report(), "encoder")


@pytest.mark.parametrize("name", list(benchmark.NOTES))
def test_readme_holds_what_was_measured(name):
    """Every report that is kept is in the README, was measured on the compiled packages, and has its figure."""
    path = os.path.join(ROOT, "asset", "benchmark", f"{name}.json")
    if not os.path.exists(path):
        pytest.skip(f"{name} has not been measured yet")
    with open(path, encoding="utf-8") as file:
        measured = json.load(file)
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
        text = file.read()
    assert benchmark.with_table(text, measured, name) == text
    assert "compiled" in measured["stock"] and not measured["machine"]["changed"]
    assert name != "encoder" or os.path.exists(path.replace(".json", ".png"))


def test_figure(tmp_path):
    """A picture of the rows that have intervals; of none there is no picture."""
    benchmark_figure.draw(report(threads=2), str(tmp_path / "a.png"))
    assert (tmp_path / "a.png").read_bytes()[1:4] == b"PNG"
    benchmark_figure.draw({**report(), "rows": [{"what": "a", "value": 2}]}, str(tmp_path / "b.png"))
    assert not (tmp_path / "b.png").exists()


# === operations ===


def bins_of_pairs(graph):
    """Angle bins that every pair hears, one by one from the definition."""
    edges = [tuple(edge[:2]) for edge in graph.edge_list.tolist()]
    position = graph.node_position.double().tolist()
    found = {}
    for j, i in set(edges):
        for k, target in set(edges):
            if target == j:
                u = [a - b for a, b in zip(position[i], position[j])]
                v = [a - b for a, b in zip(position[k], position[j])]
                cross = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]]
                angle = math.atan2(math.hypot(*cross), sum(a * b for a, b in zip(u, v)))
                found.setdefault((j, i), []).append(min(int(angle / math.pi * 8), 7))
    hearings = sum(first[1] == second[0] for first, second in itertools.product(edges, edges))
    return found, hearings


def test_sizes_by_brute_force(graphs):
    """Pairs, hearings and products are those counted one by one."""
    size = encoder_cost.sizes(graphs[1], 8)
    bins, hearings = bins_of_pairs(graphs[1])
    assert (size.nodes, size.edges, size.pairs) == (49, len(graphs[1].edge_list), len(bins))
    assert size.hearings == hearings
    assert size.products == 49 + sum(max(found) for found in bins.values())
    assert size.terms == sum(value > 0 for found in bins.values() for value in found)
    assert size.products < size.pairs * 8 < size.edges * 8


class DenseProducts(TorchDispatchMode):
    """Counts the operations of products of two dense matrices, as torch executes them."""

    operations = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default):
            left, right = args[-2:]
            if left.layout == right.layout == torch.strided:
                self.operations += 2 * left.shape[0] * left.shape[1] * right.shape[1]
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("backward", [False, True])
def test_operations_of_stock(graphs, encoders, backward):
    """The formula gives what torch counts in stock's matrix products."""
    stock = encoders[0].train()
    with DenseProducts() as counter:
        output = stock(graphs[0], graphs[0].node_feature.float())["graph_feature"]
        if backward:
            output.sum().backward()
    expected = encoder_cost.stock_flops(encoders[1], encoder_cost.sizes(graphs[1], 8), backward)
    assert expected.edge + expected.node == counter.operations


def test_ours_are_fewer(graphs, encoders):
    """By the products of the edge layers alone: those of the node layers are the same."""
    size = encoder_cost.sizes(graphs[1], 8)
    stock, ours = (count(encoders[1], size) for count in (encoder_cost.stock_flops, encoder_cost.our_flops))
    assert stock.node == ours.node
    p, q = encoders[1].edge_dims[0] * 21 + 21 * 8, 2
    assert stock.edge - ours.edge == q * p * (8 * size.edges - size.products)


def test_saved_bytes(graphs, encoders):
    """Storages count once, parameters and inputs not at all; what an encoder makes again is not hidden."""
    linear = torch.nn.Linear(21, 4)
    kept = encoder_cost.saved_bytes(lambda_encoder(linear), graphs[1])
    assert kept == 49 * 4 * 4, "the output of tanh, which backward uses twice, and not the input"
    stock, ours = (encoder_cost.saved_bytes(e.train(), g) for e, g in zip(encoders, graphs))
    assert 49 * 8 * 4 < ours < stock


def lambda_encoder(linear):
    """An encoder of one layer whose output is saved twice."""

    class Encoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = linear

        def forward(self, graph, input):
            hidden = self.linear(input).tanh()
            return {"graph_feature": hidden * hidden}

    return Encoder()


# === checks ===


def test_equal_encoders_pass(graphs, encoders):
    """Equal encoders are found equal."""
    encoder_checks.require_equal("this", encoders, graphs)


@pytest.mark.parametrize("change", [1e-4, float("nan")])
def test_encoders_that_differ(graphs, encoders, change):
    """A difference of one weight by a ten-thousandth is seen, and NaN."""
    with torch.no_grad():
        encoders[1].edge_layers[1].linear.weight[0, 0] += change
    with pytest.raises(SystemExit, match="this, .* differ.*nothing is reported"):
        encoder_checks.require_equal("this", encoders, graphs)


def test_peer_computes_our_layer(graphs):
    """RGCNConv with copied weights gives what our edge layer gives."""
    if rgcn_peer.missing():
        pytest.skip(rgcn_peer.missing())
    from gearnet_plugin import ops
    from gearnet_plugin.graphs import topology
    from gearnet_plugin.layers import RelationalGeometricConv

    torch.manual_seed(0)
    ours = RelationalGeometricConv(5, 6, 8, None, False, None)
    hidden = torch.randn(len(graphs[1].edge_list), 5)
    pairs = topology.PairTopology(graphs[1].edge_list, graphs[1].node_position, 8)
    expected = rgcn_peer.edge_layer(ours)(hidden, *rgcn_peer.line_graph(graphs[0], 8))
    assert torch.allclose(ours.edges(hidden, pairs, ops.choose("auto", "cpu")), expected, rtol=1e-4, atol=1e-5)


# === the command ===


def run(folder, *arguments):
    """Run the command in this process, on next to nothing."""
    return CliRunner().invoke(benchmark.main, ["encoder", "--tiny", "--threads", "1", "--out", str(folder), *arguments])


def test_a_part_from_end_to_end(tmp_path, threads, monkeypatch):
    """A report, its figure and what is on the screen; on stand-ins it is marked as not comparable."""
    machine = measure.machine

    def without_compiled():
        found = machine()
        found["packages"].update({"torch-scatter": None, "torch-cluster": None})
        return found

    monkeypatch.setattr(measure, "machine", without_compiled)
    done = run(tmp_path, "--only", "topology", "--only", "counters")
    assert done.exit_code == 0, done.output
    with open(tmp_path / "encoder.json", encoding="utf-8") as file:
        found = json.load(file)
    assert "not comparable" in found["stock"] and "not comparable" in done.output
    assert found["threads"] == 1 and found["rows"][0]["value"] > 0
    assert all(row["what"] in done.output for row in found["rows"])
    assert (tmp_path / "encoder.png").exists()


def test_no_report_when_results_differ(tmp_path, threads, monkeypatch):
    """Where the topology is another, the command ends with 1, says what differs, and writes nothing."""
    exact = benchmark_encoder.topology.PairTopology

    def turned(edge_list, position, num_bin):
        return exact(edge_list, position.roll(1, dims=0), num_bin)

    monkeypatch.setattr(benchmark_encoder.topology, "PairTopology", turned)
    done = run(tmp_path, "--only", "topology")
    assert done.exit_code == 1 and "topology differ; nothing is reported" in done.output + str(done.exception)
    assert not os.listdir(tmp_path)


def test_parts_of_the_command():
    """The command offers the parts that there are."""
    assert benchmark.PARTS == tuple(benchmark_encoder.PARTS)


def test_ieconv_rows(monkeypatch):
    """Each protein has its rows of time and memory, after a check that refuses what differs."""
    import benchmark_ieconv
    from gearnet_plugin.models import GearNetIEConvEncoder

    monkeypatch.setattr(benchmark_ieconv, "WIDTH", 8)
    monkeypatch.setattr(benchmark_ieconv, "LENGTHS", (46,))
    monkeypatch.setattr(benchmark_ieconv, "Plan", lambda quick, folder: encoder_plan.Plan(tiny=True))
    monkeypatch.setattr(
        benchmark_ieconv, "in_process", lambda code, which, settings: {"plain": 50.0, "ours": 5.0}[which]
    )
    rows = list(benchmark_ieconv.measure_ieconv())
    assert [row.get("met") for row in rows][-1] is True and rows[-1]["result"] == "0.1 (5 of 50 MiB)"
    assert len(rows) == 3 and all("46" in row["what"] for row in rows)
    ours = GearNetIEConvEncoder.forward

    def broken(self, graph, input, *args):
        output = ours(self, graph, input, *args)
        output["node_feature"] = output["node_feature"] * (1.001 if self.backend == "auto" else 1)
        return output

    monkeypatch.setattr(GearNetIEConvEncoder, "forward", broken)
    with pytest.raises(SystemExit, match="outputs differ by .* nothing is reported"):
        list(benchmark_ieconv.measure_ieconv())


def test_embed_rows(monkeypatch):
    """Files of one chain that both read alike are embedded, after a check that refuses what differs."""
    import benchmark_embed

    monkeypatch.setattr(benchmark_embed, "QUICK", {"tiny": (8, True)})
    monkeypatch.setattr(benchmark_embed, "Plan", lambda quick, folder: encoder_plan.Plan(tiny=True))
    monkeypatch.setattr(benchmark_embed, "FEW", 3)
    rows = list(benchmark_embed.measure_embed(quick=True))
    assert rows[0]["what"].startswith("tiny: 3 PDB files") and rows[0]["value"] > 0
    assert rows[0]["residues_per_second"] > 0 and len(rows) == 2
    call = benchmark_embed.encoders

    def broken(width, edges):
        stock, ours = call(width, edges)
        return stock, lambda files: ours(files) * 1.001

    monkeypatch.setattr(benchmark_embed, "encoders", broken)
    with pytest.raises(SystemExit, match="embeddings differ by .* nothing is reported"):
        list(benchmark_embed.measure_embed(quick=True))
