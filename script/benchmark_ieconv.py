"""The rows of script/benchmark.py ieconv: GearNet-IEConv against the same encoder with a matrix an edge."""

import json

import torch

from benchmark_data import row
from encoder_inputs import constructions, default_threads, protein_of
from encoder_plan import Plan, forward, rated, training
from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.models import GearNetIEConvEncoder
from measure import forget_peak, in_process, resident

# one layer of the paper's width; a matrix an edge takes 66 kB
WIDTH = 512
LENGTHS = (350, 800)


def measure_ieconv(quick=False, folder=None, threads=None):
    """
    Yield the rows of the report, see :func:`benchmark_data.measure_data`.

    Parameters:
        quick (bool, optional): the shorter protein only, and shorter turns
        folder (str, optional): more structures
        threads (int, optional): threads of torch
    """
    torch.set_num_threads(default_threads(threads))
    plan = Plan(quick, folder)
    for length in LENGTHS[:1] if quick else LENGTHS:
        name, graph = graph_of(length, folder)
        plain, ours = encoders()
        _check(name, plain, ours, graph)
        for step, make in (("forward", forward), ("training step", training)):
            ratios = plan.compare({"plain": make(plain, graph), "ours": make(ours, graph)})
            yield rated(f"GearNet-IEConv, two layers, d={WIDTH}, {step}, fp32, {name}", ratios["ours"], 1)
        yield _memory(name, length, folder)


def graph_of(length, folder=None):
    """Name and residue graph of a protein."""
    protein, name = protein_of(length, folder)
    return name, constructions()[1](ResidueProtein.pack([protein]))


def encoders():
    """The encoder with a matrix an edge, and ours, with the same weights."""
    made = []
    for backend in ("reference", "auto"):
        torch.manual_seed(0)
        made.append(
            GearNetIEConvEncoder(
                21,
                WIDTH,
                [WIDTH] * 2,
                7,
                batch_norm=True,
                concat_hidden=True,
                short_cut=True,
                layer_norm=True,
                use_ieconv=True,
                frames="chain",
                backend=backend,
            )
        )
    return made


def _check(name, plain, ours, graph):
    """Nothing is reported where outputs differ by more than 1e-5 of the largest, or gradients by 1e-3 in norm."""
    found = []
    for encoder in (plain, ours):
        encoder.eval()
        output = encoder(graph, graph.node_feature.float())["node_feature"]
        encoder.zero_grad()
        output.square().mean().backward()
        gradient = torch.cat([p.grad.flatten() for p in encoder.parameters() if p.grad is not None])
        found.append((output.detach(), gradient))
        encoder.zero_grad()
    (output, gradient), (own_output, own_gradient) = found
    apart = float((own_output - output).abs().max() / output.abs().max())
    turned = float((own_gradient - gradient).norm() / gradient.norm())
    if not (apart <= 1e-5 and turned <= 1e-3):
        raise SystemExit(f"{name}: outputs differ by {apart:.1e}, gradients by {turned:.1e}; nothing is reported")


def _memory(name, length, folder):
    code = "from benchmark_ieconv import step_peak\nprint(json.dumps(step_peak(sys.argv[1], sys.argv[2])))"
    settings = json.dumps([length, folder, torch.get_num_threads()])
    theirs, own = (in_process(code, which, settings) for which in ("plain", "ours"))
    what = f"peak memory of that training step against it, {name}"
    result = row(what, own / theirs, 0.2, at_most=True, mebibytes=[theirs, own])
    result["result"] = f"{own / theirs:.2g} ({own:.0f} of {theirs:.0f} MiB)"
    return result


def step_peak(which, settings):
    """In a process of its own: MiB that a training step takes at most above what is held between two."""
    length, folder, threads = json.loads(settings)
    torch.set_num_threads(threads)
    encoder, graph = encoders()[which == "ours"], graph_of(length, folder)[1]
    step = training(encoder, graph)
    step()
    encoder.zero_grad()
    forget_peak()
    start, _ = resident()
    step()
    return resident()[1] - start
