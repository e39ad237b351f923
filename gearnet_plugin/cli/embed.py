"""``gearnet embed``: vectors for one's own structures."""

import sys

import click

EXAMPLE = """
\b
Examples:
  gearnet embed my_structures/ --model runs/mc_gearnet_edge/2025-01-31-12-00-00 -o embeddings.npz
  gearnet embed 'predictions/*.cif.gz' --model runs/mine --level both --chain A -o embeddings.h5

\b
In the output (B proteins, N residues, D numbers a vector; the rows of protein i are offsets[i]:offsets[i + 1]):
  .npz, .h5  names, sources, chains, lengths [B]; protein [B, D]; residue [N, D] with offsets [B + 1],
             chain_id, residue_number, insertion_code, residue_name [N]; drops; info. numpy.load, or in Python
             gearnet_plugin.embedding.Embeddings.load
  .pt        the same as tensors and lists, for torch.load(FILE, weights_only=True)
  .parquet   a row a protein: name, source, chain, length, embedding; or a row a residue: name, source, chain_id,
             residue_number, insertion_code, residue_name, embedding. With --level both the residues are in
             FILE.residues.parquet

Ctrl-C loses nothing, a crash a few seconds: the same command goes on. Exit codes: 0, 1 for an error, 2 with --strict if
something was left out, 130 if interrupted.
"""


@click.command(epilog=EXAMPLE)
@click.argument("structures", nargs=-1, required=True, metavar="STRUCTURES...")
@click.option("--model", "-m", required=True, metavar="NAME|RUN|PATH", help="Published name, run folder or weights.")
@click.option("--out", "-o", required=True, metavar="FILE", help="A .npz, .h5, .parquet or .pt file.")
@click.option(
    "--level",
    type=click.Choice(["protein", "residue", "both"]),
    default="protein",
    show_default=True,
    help="A vector for each protein, each residue, or both.",
)
@click.option("--chain", "chains", multiple=True, metavar="ID", help="Only this chain (author's id). May be repeated.")
@click.option(
    "--per",
    type=click.Choice(["chain", "entry"]),
    default="chain",
    show_default=True,
    help="Each protein chain for itself, or all chains of a file as one.",
)
@click.option(
    "--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, ...; auto is a GPU if there is one."
)
@click.option(
    "--batch-residues",
    type=click.IntRange(min=1),
    metavar="N",
    help="Residues at once, which bounds the memory.  [default: 1000 on a CPU, 10000 on a GPU]",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Processes that read files; more than one helps only a GPU.",
)
@click.option("--force", is_flag=True, help="Replace FILE; begin anew where an interrupted call was another one.")
@click.option("--strict", is_flag=True, help="Exit with 2 if anything had to be left out; FILE is made all the same.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def embed(structures, model, out, level, chains, per, device, batch_residues, workers, force, strict, quiet):
    """
    Embed protein structures with a trained encoder: a vector for each protein, or for each of its residues.

    STRUCTURES are files (PDB, mmCIF, BinaryCIF, FoldComp, each also with .gz), folders with their subfolders, glob
    patterns in quotes, tar archives, text files (.txt) with one of these a line, or stores of `gearnet prepare`.

    What cannot be used is skipped and listed with the reason in FILE.drops.tsv. Until FILE is whole, what is done is
    in FILE.part.
    """
    import gearnet_plugin

    gearnet_plugin.register()
    from gearnet_plugin.embedding import embed_to_file, load_encoder
    from gearnet_plugin.embedding.items import find_items
    from gearnet_plugin.embedding.to_file import EmbeddingInterrupted, check_output

    # the cheap checks first: a published model may have to be downloaded
    check_output(out, level, force)
    items = find_items(structures[0] if len(structures) == 1 else structures, per)
    encoder = load_encoder(model).to(device)
    try:
        done = embed_to_file(
            encoder, items, out, level, per, chains, batch_residues, None, workers, force, verbose=0 if quiet else 1
        )
    except EmbeddingInterrupted as error:
        click.echo(str(error), err=True)
        return 130
    for line in describe(done, encoder.device.type):
        click.echo(line)
    sys.stdout.flush()
    return 2 if strict and done.report else 0


def describe(done, device):
    """
    What was done, as lines of text.

    Parameters:
        done (Written): what ``embed_to_file`` tells
        device (str): where it was computed
    """
    tally = done.tally
    speed = tally.residues / max(tally.seconds, 1e-9)
    yield (
        f"{', '.join(done.files)}: {tally.structures:,} structures, {tally.residues:,} residues in "
        f"{tally.seconds:,.1f} s ({speed:,.0f} residues/s on {device})"
    )
    if done.done_before:
        yield f"Went on after {done.done_before:,} files or structures that an interrupted call had done."
    if tally.drops:
        yield f"Left out: {tally.drops:,}. Why, in {done.report}; the first:"
        yield from (f"  {file}: {reason}" for file, reason in tally.first_drops)
    if tally.left_out:
        reasons = ", ".join(f"{number:,} x {reason}" for reason, number in sorted(tally.left_out.items()))
        yield f"Residues left out of structures that were kept: {reasons}, in {tally.files_left_out:,} files"
    if tally.unknown:
        yield f"Residues of unknown type, embedded as such: {tally.unknown:,}"
    if tally.low_confidence:
        yield f"Predicted with low confidence (mean pLDDT below 70): {tally.low_confidence:,} structures"
