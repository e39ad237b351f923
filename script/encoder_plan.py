"""What the parts of script/benchmark_encoder.py share: how long each is measured, encoders and steps, rows."""

import torch

from benchmark_data import row
from encoder_checks import require_equal, require_near
from encoder_inputs import (
    BATCH,
    BATCH_LENGTH,
    batch_of,
    encoders,
    graphs_of,
    has_precision,
    inputs,
    protein_of,
)
from gearnet_plugin.graphs import PackedResidueProtein, ResidueProtein
from measure import compare_ways, has_bfloat16

# precision -> (name, aim of forward, aim of a training step) at width 512; none is written for 128
AIMS = {None: ("fp32", 2.0, 1.5), "bf16": ("bf16", 4.5, 3.0)}


class Plan:
    """
    What is measured how long.

    Parameters:
        quick (bool): short turns, proteins of 100 and 350 residues
        folder (str, optional): more structures
        tiny (bool, optional): next to nothing, to test the program
    """

    def __init__(self, quick=False, folder=None, tiny=False):
        self.quick, self.folder, self.tiny = quick, folder, tiny
        self.widths = (16,) if tiny else (128, 512)
        self.seconds = 0.1 if tiny else 2 if quick else 20
        self.least, self.most = (2, 3) if tiny else (3, 7) if quick else (3, 15)

    def compare(self, ways):
        """Ratios of the first way to each of the others."""
        return compare_ways(ways, self.seconds, self.least, self.most)

    def aim(self, value):
        """The aim of a row on a batch: none where the batch is smaller than that of the design."""
        return None if self.quick or self.tiny else value

    def cases(self, width):
        """Name and graphs, of stock and ours, of everything the encoders run on at a width."""
        if self.tiny:
            yield "tiny", *graphs_of(ResidueProtein.pack([protein_of(46)[0]]))
            return
        for key, make in inputs(self.quick, self.folder).items():
            # the one row of that width that two minutes allow
            if self.quick and width == 512 and key != "100":
                continue
            name, packed, crop = make()
            yield name, *graphs_of(packed, crop)

    def batch(self, count=BATCH, length=BATCH_LENGTH):
        """Name and proteins of a batch."""
        if self.tiny:
            count, length = 2, 46
        elif self.quick:
            count, length = min(count, 4), min(length, 100)
        return f"{count} of about {length} residues", batch_of(count, length, self.folder)


def rated(what, ratio, aim=None, **more):
    """A row of a ratio with its interval."""
    return row(what, ratio, aim, interval=[ratio.low, ratio.high], pairs=ratio.pairs, **more)


def unmeasured(what, why, aim=None):
    """A row that says why there is no number."""
    result = {"what": what, "result": f"not measured: {why}", "value": None}
    return result if aim is None else {**result, "aim": f">= {aim:g}"}


def no_bfloat16():
    """Why the encoder is not measured in bfloat16 here, or None if it is."""
    if not has_precision():
        return "the encoder has no argument `precision`"
    return None if has_bfloat16() else "no avx512_bf16 or amx_bf16"


def precisions():
    """Precisions of our encoder that are measured here."""
    return (None,) if no_bfloat16() else (None, "bf16")


# === steps ===


def fresh(graph):
    """The graph, ours as a copy lest anything is kept from the time before; stock keeps nothing."""
    return graph.clone() if isinstance(graph, PackedResidueProtein) else graph


def forward(encoder, graph):
    """A call that encodes a graph, its topology made anew, in eval mode without gradients."""

    def call():
        encoder.eval()
        with torch.no_grad():
            encoder(fresh(graph), graph.node_feature.float())

    return call


def training(encoder, graph, rate=1e-4):
    """A call that makes a training step: forward, backward, Adam."""
    optimizer = torch.optim.Adam(encoder.parameters(), lr=rate)
    # squares or sums of what BatchNorm returns do not depend on what it is given: all gradients would be zero
    weight = torch.randn(int(graph.num_node), encoder.output_dim, generator=torch.Generator().manual_seed(2))

    def call():
        encoder.train()
        optimizer.zero_grad()
        output = encoder(fresh(graph), graph.node_feature.float())
        ((output["node_feature"] * weight).mean() + output["graph_feature"].square().mean()).backward()
        optimizer.step()

    return call


def checked(name, graphs, width, edges=True):
    """Stock's encoder and ours, by precision, that have been found to agree on these graphs."""
    stock, ours = encoders(graphs[1], width, edges, precisions() if edges else (None,))
    what = f"{name}, width {width}"
    require_equal(what, (stock, ours[None]), graphs)
    if "bf16" in ours:
        require_near(f"{what}, bf16", ours[None], ours["bf16"], graphs[1])
    return stock, ours
