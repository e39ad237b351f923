"""The contact map of a structure with the edges of its graph by kind, chain borders, gaps and confidence."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from gearnet_plugin.structures import Structure

from .doctor_contacts import Edges, Gap, number, squared_distances

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ENDINGS = (".png", ".svg", ".pdf")
#: Kinds of a pair of residues, in the order in which they are painted, with colours that are told apart without red
#: and green.
KINDS = {
    "sequential": "#5f6670",
    "radius": "#0a5a9c",
    "kNN": "#d1600a",
    "radius and kNN": "#1f9e89",
}
#: Distance in Å up to which a pair without an edge is shaded.
SHADED = 20.0
#: Most points along a side; more residues share one.
POINTS = 2000
#: Colours of AlphaFold DB's four classes of pLDDT, up to 50, 70, 90, 100.
PLDDT = ((50, "#ff7d45"), (70, "#ffdb13"), (90, "#65cbf3"), (100.01, "#0053d6"))


def check_target(path: str) -> str:
    """The path of a picture, after finding out that it can be written."""
    path = os.path.abspath(os.path.expanduser(path))
    if not path.lower().endswith(ENDINGS):
        raise ValueError(f"a picture is written to a file ending in {', '.join(ENDINGS)}, but found `{path}`")
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"there is no folder `{folder}` for `{os.path.basename(path)}`; make it first")
    if os.path.isdir(path):
        raise FileExistsError(f"`{path}` is a folder; choose another file for the picture")
    if not os.access(folder, os.W_OK):
        raise ValueError(f"`{path}` cannot be written: no permission in `{folder}`")
    return path


def paint(edges: Edges, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    The map as an image.

    Parameters:
        edges (Edges): edges of the graph
        positions (np.ndarray): Cα positions in Å of shape :math:`(N, 3)`

    Returns:
        kind of each point, 0 for none and then as in :data:`KINDS`, uint8 of shape :math:`(P, P)`, target by source;
        shortest Cα distance in Å in each, float32 of the same shape. P is N, or less where several share a point.
    """
    count = len(positions)
    share = -(-count // POINTS) or 1
    size = -(-count // share)
    flags = np.zeros((size, size), dtype=np.uint8)
    for bit, pairs in enumerate(edges):
        if len(pairs):
            source, target = (pairs // share).T
            np.bitwise_or.at(flags, (target, source), np.uint8(1 << bit))
    near = np.full((size, size), np.inf, dtype=np.float32)
    starts = np.arange(0, count, share)
    for place, start in enumerate(starts.tolist()):
        rows = np.arange(start, min(start + share, count))
        near[place] = np.minimum.reduceat(squared_distances(positions, rows).min(axis=0), starts)
    # sequential, radius, kNN are bits 1, 2, 4
    kinds = np.array([0, 1, 2, 2, 3, 3, 4, 4], dtype=np.uint8)[flags]
    kinds[(flags & 1) > 0] = 1
    return kinds, np.sqrt(near)


def contact_map(structure: Structure, edges: Edges, gaps: list[Gap]) -> Figure:
    """
    Figure of a structure's graph.

    Parameters:
        structure (Structure): structure; all its chains are in one graph
        edges (Edges): its edges
        gaps (list of Gap): where its chains are interrupted
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.2, 9.4), layout="constrained")
    grid = figure.add_gridspec(2, 1, height_ratios=(1, 0.09))
    axes = figure.add_subplot(grid[0])
    track = figure.add_subplot(grid[1], sharex=axes)
    _draw_map(axes, structure, edges)
    _draw_borders(axes, structure, gaps)
    _draw_confidence(track, structure)
    _legend(axes, edges, gaps)
    chains = len(dict.fromkeys(structure.chain_ids.tolist()))
    words = f"{len(structure):,} residues" + (f", {chains} chains in one graph" if chains > 1 else "")
    axes.set_title(f"{structure.name}: {words}", loc="left", fontsize=11, fontweight="bold")
    return figure


def save(figure: Figure, path: str) -> None:
    """Write a figure; the ending decides the format."""
    import matplotlib

    # the same structure gives the same bytes
    with matplotlib.rc_context({"svg.hashsalt": "gearnet_plugin", "svg.fonttype": "none"}):
        metadata: dict[str, Any] = {"Date": None} if path.lower().endswith(".svg") else {}
        figure.savefig(path, dpi=150, metadata=metadata)


def _draw_map(axes: Axes, structure: Structure, edges: Edges) -> None:
    from matplotlib.colors import to_rgb

    kinds, distance = paint(edges, structure.positions)
    # the nearer, the darker
    shade = 1 - 0.3 * np.clip(1 - distance / SHADED, 0, 1)
    image = np.repeat(shade[..., None], 3, axis=2)
    for kind, colour in enumerate(KINDS.values(), 1):
        image[kinds == kind] = to_rgb(colour)
    count = len(structure)
    # of the width of the strip below it, so that both tell the same residue at one place
    place = (-0.5, count - 0.5, count - 0.5, -0.5)
    axes.imshow(image, interpolation="nearest", origin="upper", aspect="auto", extent=place)
    axes.tick_params(labelbottom=False)
    axes.set_ylabel("target residue")


def _draw_borders(axes: Axes, structure: Structure, gaps: list[Gap]) -> None:
    """Chain borders as lines, gaps as short marks at the edge, residue numbers as PyMOL shows them."""
    chains = structure.chain_ids
    borders = np.flatnonzero(chains[1:] != chains[:-1]) + 1
    for border in borders.tolist():
        axes.axvline(border - 0.5, color="black", linewidth=0.9)
        axes.axhline(border - 0.5, color="black", linewidth=0.9)
    for gap in gaps:
        for line in (axes.axvline, axes.axhline):
            line(gap.after - 0.5, color="#a0209f", linewidth=0.8, linestyle=(0, (4, 3)))
    starts = [0, *borders.tolist()]
    if len(starts) > 1:
        middles = [(a + b) / 2 for a, b in zip(starts, [*starts[1:], len(chains)], strict=True)]
        names = [str(chains[start]) or "(no id)" for start in starts]
        axes.set_xticks(middles, names)
        axes.set_yticks(middles, names)
        axes.tick_params(length=0)
        axes.set_ylabel("target residue, by chain")
        return
    places = np.unique(np.linspace(0, len(chains) - 1, 8).round().astype(int)).tolist()
    labels = [number(structure, place) for place in places]
    axes.set_xticks(places, labels)
    axes.set_yticks(places, labels)


def _draw_confidence(axes: Axes, structure: Structure) -> None:
    """A strip below the map: pLDDT in its four classes, or B-factors."""
    place, value = np.arange(len(structure)), structure.confidence
    if structure.confidence_kind == "plddt":
        low = -np.inf
        for high, colour in PLDDT:
            there = (value >= low) & (value < high)
            axes.bar(place[there], value[there], width=1, color=colour)
            low = high
        axes.set_ylim(0, 100)
        axes.set_ylabel("pLDDT")
    else:
        axes.fill_between(place, value, step="mid", color="#7f8790", linewidth=0)
        axes.set_ylabel("B, Å²")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("source residue")


def _legend(axes: Axes, edges: Edges, gaps: list[Gap]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    both = len(set(map(tuple, edges.radius.tolist())) & set(map(tuple, edges.nearest.tolist())))
    counts = [len(edges.sequential), len(edges.radius) - both, len(edges.nearest) - both, both]
    handles: list[Any] = [
        Patch(color=colour, label=f"{name}: {count:,}")
        for (name, colour), count in zip(KINDS.items(), counts, strict=True)
    ]
    handles.append(Patch(color="0.8", label=f"no edge, shaded up to {SHADED:g} Å"))
    if gaps:
        handles.append(Line2D([], [], color="#a0209f", linestyle=(0, (4, 3)), label=f"gap: {len(gaps)}"))
    # below everything, where it hides nothing
    axes.figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
