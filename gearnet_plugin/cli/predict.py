"""``gearnet predict``: labels for one's own structures."""

import sys

import click

EXAMPLE = """
\b
Examples:
  gearnet predict my_structures/ --model runs/multilabel/2025-01-31-12-00-00 -o predictions.csv
  gearnet predict 'models/*.cif.gz' --model runs/mine --top 5 -o predictions.json
  gearnet predict 1a8o.pdb --model runs/mine --label 3.4.21.4 --threshold 0.5 -o one.csv

\b
Rows of .csv and .parquet: name, source, chain, length; with a model of residues chain_id, residue_number,
insertion_code, residue_name; then
  classes, labels  (target,) label, label_name, probability, uncalibrated (what the model itself gives), calibrated
                   (whether `probability` was adjusted on the validation set), above_threshold
  numbers          label, value, validation_mae, validation_rmse
and warnings. A .json is a list of proteins with their labels, warnings and distance from the training proteins.

Without --top and --label, of labels that are there or not those above the threshold are told, at least the most
probable one, and of classes the most probable one.

Ctrl-C or a crash loses nothing: the same command goes on. Exit codes: 0, 1 for an error, 2 with --strict if something
was left out, 130 if interrupted.
"""


@click.command(epilog=EXAMPLE)
@click.argument("structures", nargs=-1, required=True, metavar="STRUCTURES...")
@click.option("--model", "-m", required=True, metavar="NAME|RUN|PATH", help="Run folder, or weights with a head.")
@click.option("--out", "-o", required=True, metavar="FILE", help="A .csv, .json or .parquet file.")
@click.option("--top", type=click.IntRange(min=1), metavar="K", help="The K most probable labels of each protein.")
@click.option(
    "--threshold",
    metavar="fmax|X",
    help="From which probability on a label counts: X, or that of the highest F1 on the validation set.  "
    "[default: fmax where labels are there or not]",
)
@click.option("--label", "labels", multiple=True, metavar="LABEL", help="Only this label. May be repeated.")
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
def predict(
    structures, model, out, top, threshold, labels, chains, per, device, batch_residues, workers, force, strict, quiet
):
    """
    Predict labels of protein structures with a fine-tuned run.

    STRUCTURES are files (PDB, mmCIF, BinaryCIF, FoldComp, each also with .gz), folders with their subfolders, glob
    patterns in quotes, tar archives, text files (.txt) with one of these a line, or stores of `gearnet prepare`.

    What cannot be used is skipped and listed with the reason in FILE.drops.tsv. Until FILE is whole, what is done is
    in FILE.part.
    """
    import gearnet_plugin

    gearnet_plugin.register()
    from gearnet_plugin.embedding import load_encoder
    from gearnet_plugin.embedding.items import find_items
    from gearnet_plugin.embedding.prediction_to_file import check_output, predict_to_file
    from gearnet_plugin.embedding.to_file import EmbeddingInterrupted

    # the cheap checks first: a published model may have to be downloaded
    check_output(out, force)
    items = find_items(structures[0] if len(structures) == 1 else structures, per)
    encoder = load_encoder(model).to(device)
    try:
        done = predict_to_file(
            encoder, items, out, top, threshold, labels, per, chains, batch_residues, None, workers, force,
            verbose=0 if quiet else 1,
        )  # fmt: skip
    except EmbeddingInterrupted as error:
        click.echo(str(error), err=True)
        return 130
    for line in describe(done, encoder.device.type):
        click.echo(line)
    sys.stdout.flush()
    return 2 if strict and done.written.report else 0


def describe(done, device):
    """
    What was done, as lines of text.

    Parameters:
        done (Summary): what ``predict_to_file`` tells
        device (str): where it was computed
    """
    from gearnet_plugin.embedding.caution import CODES

    tally, info = done.written.tally, done.info
    yield (
        f"{', '.join(done.written.files)}: {tally.structures:,} structures, {tally.residues:,} residues in "
        f"{tally.seconds:,.1f} s ({tally.residues / max(tally.seconds, 1e-9):,.0f} residues/s on {device})"
    )
    if done.written.done_before:
        yield f"Went on after {done.written.done_before:,} files or structures that an interrupted call had done."
    if info["kind"] in ("multilabel", "binary") and info["threshold"] is not None:
        yield (
            f"{done.above:,} of the labels in it are above the threshold, a probability of {info['threshold']:.3g}; "
            f"of {done.none_above:,} structures none is"
        )
    for name, values in (info["calibration"] or {}).items():
        of = "" if info["kind"] == "multilabel" else f" of {name}"
        yield (
            f"Probabilities{of} are calibrated on {values['num_items']:,} validation proteins: error "
            f"{values['error_before']:.3g} before, {values['error_after']:.3g} after"
        )
    for reason in info["reasons"].values():
        yield f"Note: {reason}"
    if done.warnings:
        counts = ", ".join(f"{done.warnings[code]:,} x {words}" for code, words in CODES.items() if done.warnings[code])
        yield f"Warnings (column `warnings` tells the numbers): {counts}"
    if tally.drops:
        yield f"Left out: {tally.drops:,}. Why, in {done.written.report}; the first:"
        yield from (f"  {file}: {reason}" for file, reason in tally.first_drops)
    if tally.left_out:
        reasons = ", ".join(f"{number:,} x {reason}" for reason, number in sorted(tally.left_out.items()))
        yield f"Residues left out of structures that were kept: {reasons}, in {tally.files_left_out:,} files"
