"""The encoder rows of script/benchmark.py: graphs, GearNet and GearNet-Edge, steps of training, memory."""

import functools
import json

import torch

from benchmark_contrast import measure_contrast
from benchmark_data import row
from encoder_cost import gemm_rate, our_flops, saved_bytes, sizes, stock_flops
from encoder_inputs import (
    as_stock,
    constructions,
    default_threads,
    encoder_arguments,
    encoders,
    graphs_of,
)
from encoder_plan import AIMS, Plan, checked, forward, no_bfloat16, precisions, rated, training, unmeasured
from gearnet_plugin import ops
from gearnet_plugin.graphs import topology
from gearnet_plugin.models import GearNetEncoder
from measure import MIB, forget_peak, in_process, median_time, resident
from rgcn_peer import measure_peer
from torchdrug import layers, models


def measure_encoder(quick=False, folder=None, threads=None, only=(), tiny=False):
    """
    Yield the rows of the report, each a dict with ``what``, ``result`` (text), ``value``, and ``aim`` and ``met``
    where the design has one; ratios with ``interval``.

    Parameters:
        quick (bool, optional): smaller proteins, fewer turns
        folder (str, optional): folder with more structures, to have single ones of 800 and 2,000 residues
        threads (int, optional): threads of torch; all cores by default
        only (sequence of str, optional): parts to measure, of :data:`PARTS`
        tiny (bool, optional): next to nothing, to test the program
    """
    default_threads(threads)
    plan = Plan(quick, folder, tiny)
    for part, measure_part in PARTS.items():
        if not only or part in only:
            yield from measure_part(plan)


def measure_topology(plan):
    """From coordinates to the graph and who hears whom."""
    name, packed = plan.batch()
    stock_construct, construct = constructions()
    stock_packed, line_graph = as_stock(packed), layers.SpatialLineGraph(8)
    graphs = graphs_of(packed, masked=None)
    _check_topology(*graphs, line_graph)

    def stock():
        graph = stock_construct(stock_packed)
        line_graph(graph)

    def ours():
        graph = construct(packed)
        topology.RelationTopology(graph.edge_list, int(graph.num_node), 7)
        # with what backward needs, too
        topology.PairTopology(graph.edge_list, graph.node_position, 8).heard_by()

    ratios = plan.compare({"stock": stock, "ours": ours})
    yield rated(
        f"residue graph and edge topology, {name}",
        ratios["ours"],
        plan.aim(5),
        group="residue graph and edge topology",
        label=name,
    )


def _check_topology(stock_graph, graph, line_graph):
    """Every edge hears the same in each bin: the sums of a random number an edge are equal, in float64."""
    number = torch.rand(len(graph.edge_list), 1, dtype=torch.double, generator=torch.Generator().manual_seed(4))
    heard, hearing, angle_bin = line_graph(stock_graph).edge_list.t()
    expected = number.new_zeros(len(number) * 8).index_add(0, hearing * 8 + angle_bin, number[heard, 0])
    pairs = topology.PairTopology(graph.edge_list, graph.node_position, 8)
    # the bin is the column: the matrix of a bin has a one in its place
    zero = number.new_zeros(8, 1)
    found = ops.choose("auto", "cpu").edge_linear(number, torch.eye(8).double(), zero, zero[:, 0], pairs)
    if not torch.allclose(found, expected.view(-1, 8), rtol=1e-9, atol=1e-9):
        raise SystemExit("the line graph of stock and our topology differ; nothing is reported")


def measure_edge(plan):
    """GearNet-Edge: forward from a constructed graph, and a training step."""
    for width in plan.widths:
        for name, *graphs in plan.cases(width):
            stock, ours = checked(name, graphs, width)
            for step, make, place in (("forward", forward, 1), ("training step", training, 2)):
                ways = {"stock": make(stock, graphs[0])}
                ways.update({precision: make(encoder, graphs[1]) for precision, encoder in ours.items()})
                ratios = plan.compare(ways)
                for precision, aims in AIMS.items():
                    what = f"GearNet-Edge d={width}, {step}, {aims[0]}, {name}"
                    aim = aims[place] if width == 512 else None
                    if precision not in ratios:
                        yield unmeasured(what, no_bfloat16(), aim)
                        continue
                    share = _share(ours[precision], graphs[1], width, precision, step, ratios[precision].second)
                    yield rated(
                        what,
                        ratios[precision],
                        aim,
                        group=f"GearNet-Edge, {step}, {aims[0]}",
                        label=f"d={width}, {name}",
                        gemm_share=share,
                    )


@functools.cache
def _rate(dtype, width):
    return gemm_rate(dtype, width)


def _share(encoder, graph, width, precision, step, seconds):
    """Time that our matrix products take at the rate of this machine, as a share of the time that was measured."""
    flops = our_flops(encoder, sizes(graph, encoder.num_angle_bin), step != "forward")
    edge = flops.edge / _rate(torch.bfloat16 if precision else torch.float, width)
    return (edge + flops.node / _rate(torch.float, width)) / seconds


def measure_plain(plan):
    """GearNet without edge message passing."""
    width = plan.widths[-1]
    name, packed = plan.batch()
    graphs = graphs_of(packed)
    stock, ours = checked(name, graphs, width, edges=False)
    for step, make in (("forward", forward), ("training step", training)):
        ratios = plan.compare({"stock": make(stock, graphs[0]), "ours": make(ours[None], graphs[1])})
        shown = {"group": "GearNet without edges, fp32", "label": f"d={width}, {step}, {name}"}
        yield rated(f"GearNet d={width}, {step}, fp32, {name}", ratios["ours"], plan.aim(1.2), **shown)


def measure_memory(plan):
    """Peak memory of a training step, each in a process of its own."""
    width = plan.widths[-1]
    # a batch even where time is short: few steps are made
    name, _ = plan.batch()
    settings = json.dumps([plan.quick, plan.folder, plan.tiny, width, torch.get_num_threads()])
    peaks = {}
    for which in ("stock", *precisions()):
        code = "from benchmark_encoder import step_peak\nprint(json.dumps(step_peak(sys.argv[1], sys.argv[2])))"
        peaks[which] = in_process(code, which or "fp32", settings)
    for precision, aims in AIMS.items():
        what = f"peak memory of a training step against stock, d={width}, {aims[0]}, {name}"
        if precision not in peaks:
            yield unmeasured(what, no_bfloat16())
            continue
        for place, more in enumerate(("", ", above what is held between steps")):
            theirs, own = peaks["stock"][place], peaks[precision][place]
            aim = None if place else plan.aim(0.2)
            result = row(what + more, own / theirs, aim, at_most=True, mebibytes=[theirs, own])
            result["result"] = f"{own / theirs:.2g} ({own:.0f} of {theirs:.0f} MiB)"
            yield result


def step_peak(which, settings):
    """
    In a process of its own: MiB that training steps take at most above what graph and encoder take, and above what is
    held between two steps.

    The second step finds the optimizer's state in memory, as all but the first do.
    """
    quick, folder, tiny, width, threads = json.loads(settings)
    torch.set_num_threads(threads)
    stock, ours = graphs_of(Plan(quick, folder, tiny).batch()[1])
    if which == "stock":
        encoder, graph = models.GearNet(**encoder_arguments(width)), stock
        del ours
    else:
        precision = {} if which == "fp32" else {"precision": which}
        encoder, graph = GearNetEncoder(**encoder_arguments(width), **precision), ours
        del stock
    step = training(encoder, graph)
    forget_peak()
    start, _ = resident()
    step()
    step()
    peak = resident()[1] - start
    # what the step itself takes and gives back: without the optimizer's state, which is as large for both
    encoder.zero_grad()
    forget_peak()
    start, _ = resident()
    step()
    return [peak, resident()[1] - start]


def measure_counters(plan):
    """What does not depend on the machine, and the share of the rate of matrix products that a step reaches."""
    width = plan.widths[-1]
    name, packed = plan.batch()
    graphs = graphs_of(packed)
    stock, ours = encoders(graphs[1], width, precisions=precisions())
    size = sizes(graphs[1], 8)
    counts = dict(vars(size))
    for step, backward in (("forward", False), ("training step", True)):
        theirs = stock_flops(ours[None], size, backward).total
        own = our_flops(ours[None], size, backward).total
        what = f"operations of stock for one of ours, d={width}, {step}, {name}"
        yield row(what, theirs / own, flops=[theirs, own], **counts)
    theirs = saved_bytes(stock.train(), graphs[0])
    for precision, encoder in ours.items():
        own = saved_bytes(encoder.train(), graphs[1])
        result = row(
            f"bytes kept for backward against stock, d={width}, {AIMS[precision][0]}, {name}",
            own / theirs,
            bytes=[theirs, own],
        )
        result["result"] = f"{own / theirs:.2g} ({own / MIB:.0f} of {theirs / MIB:.0f} MiB)"
        yield result
    for precision, encoder in ours.items():
        rate = _rate(torch.bfloat16 if precision else torch.float, width)
        for step, make in (("forward", forward), ("training step", training)):
            seconds = median_time(make(encoder, graphs[1]), plan.least)
            share = _share(encoder, graphs[1], width, precision, step, seconds)
            yield row(
                f"share of the rate of matrix products, d={width}, {step}, {AIMS[precision][0]}, {name}",
                100 * share,
                unit=" %",
                gemm_gflops=rate / 1e9,
            )


PARTS = {
    "topology": measure_topology,
    "edge": measure_edge,
    "plain": measure_plain,
    "memory": measure_memory,
    "contrast": measure_contrast,
    "counters": measure_counters,
    "peer": measure_peer,
}
