"""``gearnet doctor``: what is in a store, and whether all of it is as it was written."""

import click

# bins that tell short peptides from domains, and the classes that AlphaFold DB colours pLDDT by
LENGTHS = (0, 30, 60, 100, 150, 200, 300, 400, 500, 700, 1000, 2000)
PLDDT = (0, 50, 70, 90, 100)
B_FACTORS = (0, 10, 20, 30, 40, 60, 80, 100)
BAR = 40


@click.command()
@click.argument("store")
@click.option("--quick", is_flag=True, help="Show what is in it, do not verify.")
def doctor(store, quick):
    """
    Show what is in a STORE that `gearnet prepare` made, and verify every byte of it.

    Exits with 1 if something is damaged; what, and which structures it is, is told.
    """
    from gearnet_plugin.structures import StructureStore

    opened = StructureStore(store)
    problems = [] if quick else [problem for _, problem in opened.problems() if problem]
    for problem in problems:
        click.echo(f"damaged: {problem}", err=True)
    try:
        for line in describe(opened):
            click.echo(line)
    except (ValueError, OSError) as error:
        if not problems:
            raise
        click.echo(f"the rest cannot be told: {error}", err=True)
    if problems:
        return 1
    if not quick:
        click.echo(f"verified: {len(opened.manifest.shards)} shards and the other files are as they were written")
    return 0


def describe(store):
    """
    What is in a store, as lines of text.

    Parameters:
        store (StructureStore): store
    """
    manifest, counts = store.manifest, store.manifest.counts
    size = store.size
    yield f"{store.path}: {counts['structures']:,} structures, {counts['residues']:,} residues"
    yield (
        f"  {size / 1e6:,.2f} MB in {len(manifest.shards):,} shards, {size / counts['residues']:.2f} bytes a residue"
    )
    yield f"  made from {counts['files']:,} files of {', '.join(manifest.sources['paths'])}"
    yield "  options: " + ", ".join(f"{name} {value}" for name, value in manifest.recipe.items() if value is not None)
    yield f"  left out: {counts['drops']:,}" + (", see drops.tsv" if counts["drops"] else "")
    for reason, number in counts["residues_left_out"].items():
        yield f"  residues left out of structures that were kept: {number:,} x {reason}"
    for method, number in _tally(store.column("method")):
        yield f"  method {method or 'not told'}: {number:,}"
    yield from _histogram("length, residues", store.lengths, LENGTHS)
    kinds, means = store.column("confidence_kind"), store.column("mean_confidence")
    for kind, title, edges in (("plddt", "mean pLDDT", PLDDT), ("b_factor", "mean B-factor, Å²", B_FACTORS)):
        yield from _histogram(title, means[kinds == kind], edges)
    resolutions = store.column("resolution")
    yield from _histogram("resolution, Å", resolutions[resolutions == resolutions], (0, 1, 1.5, 2, 2.5, 3, 4))


def _tally(words):
    """Words with their numbers, the most frequent first."""
    counts = {}
    for word in words.tolist():
        counts[word] = counts.get(word, 0) + 1
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _histogram(title, values, edges):
    """Lines of a histogram; the last bin has no upper end. Nothing without values."""
    import numpy as np

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
