"""What is in a store, in words, and histograms as lines of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import click
import numpy as np

from gearnet_plugin.structures import StructureStore

# bins that tell short peptides from domains, and the classes that AlphaFold DB colours pLDDT by
LENGTHS = (0, 30, 60, 100, 150, 200, 300, 400, 500, 700, 1000, 2000)
PLDDT = (0, 50, 70, 90, 100)
B_FACTORS = (0, 10, 20, 30, 40, 60, 80, 100)
RESOLUTIONS = (0, 1, 1.5, 2, 2.5, 3, 4)
BAR = 40


def examine(path: str, quick: bool = False) -> int:
    """Tell what is in a store and verify every byte of it, unless ``quick``; the exit code."""
    store = StructureStore(path)
    problems = [] if quick else [problem for _, problem in store.problems() if problem]
    for problem in problems:
        click.echo(f"damaged: {problem}", err=True)
    try:
        for line in describe(store):
            click.echo(line)
    except (ValueError, OSError) as error:
        if not problems:
            raise
        click.echo(f"the rest cannot be told: {error}", err=True)
    if problems:
        return 1
    if not quick:
        click.echo(f"verified: {len(store.manifest.shards)} shards and the other files are as they were written")
    return 0


def describe(store: StructureStore) -> Iterator[str]:
    """
    What is in a store, as lines of text.

    Parameters:
        store (StructureStore): store
    """
    manifest, counts = store.manifest, store.manifest.counts
    size = store.size
    each = f", {size / counts['residues']:.2f} bytes a residue" if counts["residues"] else ""
    yield f"{store.path}: {counts['structures']:,} structures, {counts['residues']:,} residues"
    yield f"  {size / 1e6:,.2f} MB in {len(manifest.shards):,} shards{each}"
    yield f"  made from {counts['files']:,} files of {', '.join(manifest.sources['paths'])}"
    yield "  options: " + ", ".join(f"{name} {value}" for name, value in manifest.recipe.items() if value is not None)
    yield f"  left out: {counts['drops']:,}" + (", see drops.tsv" if counts["drops"] else "")
    for reason, number in counts["residues_left_out"].items():
        yield f"  residues left out of structures that were kept: {number:,} x {reason}"
    for method, number in tally(store.column("method").tolist()):
        yield f"  method {method or 'not told'}: {number:,}"
    yield from histogram("length, residues", store.lengths, LENGTHS)
    kinds, means = store.column("confidence_kind"), store.column("mean_confidence")
    for kind, title, edges in (("plddt", "mean pLDDT", PLDDT), ("b_factor", "mean B-factor, Å²", B_FACTORS)):
        yield from histogram(title, means[kinds == kind], edges)
    resolutions = store.column("resolution")
    yield from histogram("resolution, Å", resolutions[resolutions == resolutions], RESOLUTIONS)


def tally(words: Iterable[str]) -> list[tuple[str, int]]:
    """Words with their numbers, the most frequent first."""
    return sorted(Counter(words).items(), key=lambda item: (-item[1], item[0]))


def histogram(title: str, values: np.ndarray, edges: Sequence[float]) -> Iterator[str]:
    """Lines of a histogram; the last bin has no upper end. Nothing without values."""
    if not len(values):
        return
    yield f"{title}: median {np.median(values):.4g}, {values.min():.4g} to {values.max():.4g}"
    places = np.digitize(values, edges[1:], right=False)
    counts = np.bincount(np.minimum(places, len(edges) - 1), minlength=len(edges))
    used = np.flatnonzero(counts)
    for place in range(used[0], used[-1] + 1):
        label = f"{edges[place]:g} to {edges[place + 1]:g}" if place + 1 < len(edges) else f"{edges[place]:g} and more"
        bar = "#" * -(-BAR * int(counts[place]) // int(counts.max()))
        yield f"  {label:>12} {counts[place]:>10,} {bar}"
