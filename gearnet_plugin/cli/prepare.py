"""``gearnet prepare``: from any pile of structure files to a store."""

import os
import sys

import click


@click.command()
@click.argument("sources", nargs=-1, metavar="SOURCE...")
@click.option("--out", required=True, metavar="STORE", help="Folder of the store; with --dataset, of the data set.")
@click.option(
    "--dataset",
    metavar="NAME",
    help="Prepare a data set by its name instead of SOURCEs, e.g. EnzymeCommissionStructures.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="An argument of the data set, e.g. branch=MF. May be repeated.",
)
@click.option("--workers", type=int, metavar="N", help="Number of processes.  [default: one a core]")
@click.option(
    "--backend",
    type=click.Choice(["loky", "dask"]),
    default="loky",
    show_default=True,
    help="Processes of this machine, or of a Dask cluster that sees the same files.",
)
@click.option(
    "--scheduler", metavar="ADDRESS", help="Of the Dask cluster, such as tcp://host:8786.  [default: start one here]"
)
@click.option(
    "--min-confidence", type=float, metavar="X", help="Leave out predicted structures with a mean pLDDT below X."
)
@click.option("--max-length", type=int, metavar="L", help="Leave out what has more than L residues.")
@click.option(
    "--per",
    type=click.Choice(["chain", "entry"]),
    default="chain",
    show_default=True,
    help="A structure for each protein chain, or one for all chains of a file.",
)
@click.option("--compact", is_flag=True, help="Coordinates in steps of 0.01 Å: 10 instead of 16 bytes a residue.")
@click.option(
    "--confidence",
    type=click.Choice(["uint8", "float"]),
    default="uint8",
    show_default=True,
    help="pLDDT and B-factors as whole numbers from 0 to 255, or as they are.",
)
@click.option(
    "--strict", is_flag=True, help="Exit with 2 if anything had to be left out; the store is made all the same."
)
@click.option("--overwrite", is_flag=True, help="Replace a store that is there, once the new one is whole.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@click.pass_context
def prepare(context, sources, out, dataset, settings, workers, backend, scheduler, strict, overwrite, quiet, **recipe):
    """
    Make a store of structure files: PDB, mmCIF, BinaryCIF, FoldComp, each also with .gz, and HDF5 of the Fold3D
    release.

    A SOURCE is a folder (with its subfolders), a file, a glob pattern in quotes, a tar archive (read without
    unpacking it), a FoldComp database, or a text file (.txt) with one of these a line.

    Killed at any moment and run again, it goes on where it stopped. What cannot be used is in STORE/drops.tsv, with
    the reason.
    """
    if bool(sources) == bool(dataset):
        raise click.UsageError("Give SOURCEs, or a data set by --dataset" + (", not both." if sources else "."))
    if dataset:
        return _prepare_dataset(context, dataset, out, settings, workers, strict, quiet)
    if settings:
        raise click.UsageError("--set gives arguments to a data set; there is none without --dataset.")
    from gearnet_plugin.structures.prepare import Recipe, prepare

    try:
        done = prepare(
            sources, out, Recipe(**recipe), workers, backend, scheduler, overwrite, verbose=0 if quiet else 1
        )
    except KeyboardInterrupt:
        click.echo("interrupted; run the same command again, which goes on where it stopped", err=True)
        return 130
    _tell(done, out)
    return 2 if strict and done.drops else 0


def _prepare_dataset(context, name, out, settings, workers, strict, quiet):
    """Build a data set, which downloads and prepares what is missing."""
    own = {"sources", "out", "dataset", "settings", "workers", "strict", "quiet"}
    given = [
        option
        for option in context.params
        if option not in own and context.get_parameter_source(option) is click.core.ParameterSource.COMMANDLINE
    ]
    if given:
        options = ", ".join(f"--{option.replace('_', '-')}" for option in given)
        raise click.UsageError(f"A data set decides itself how it is prepared: {options} cannot go with --dataset.")
    import gearnet_plugin

    gearnet_plugin.register()
    from gearnet_plugin.engine.build import build, check
    from gearnet_plugin.engine.config import parse_value

    config = {"class": name, "path": out}
    for setting in settings:
        key, sign, value = setting.partition("=")
        if not sign or not key:
            raise click.UsageError(f"--set takes KEY=VALUE, but found `{setting}`.")
        config[key] = parse_value(value, key)
    config.update({"num_worker": workers} if workers else {}, verbose=0 if quiet else 1)
    check(config, "dataset")
    dataset = build(config, "dataset")
    click.echo(f"{dataset!r}")
    # TorchDrug's own data sets tell nothing
    drops = getattr(dataset, "drops", [])
    for file, reason in drops[:5]:
        click.echo(f"  {file}: {reason}")
    if hasattr(dataset, "write_drops"):
        # beside a table, in the folder of anything else
        report = os.path.join(out, "drops.tsv") if os.path.isdir(out) else f"{os.path.normpath(out)}.drops.tsv"
        dataset.write_drops(report)
        if drops:
            click.echo(f"Left out: {len(drops):,}. Why, in {report}")
    return 2 if strict and drops else 0


def _tell(done, out):
    """Say what is there now and what is not, in a few lines."""
    counts = done.store.manifest.counts
    size = done.store.size
    click.echo(
        f"{out}: {counts['structures']:,} structures, {counts['residues']:,} residues, {size / 1e6:,.2f} MB "
        f"({size / counts['residues']:.1f} bytes a residue)"
    )
    if not done.made:
        click.echo(f"All of it was there: {counts['files']:,} files, nothing to do.")
    elif done.done_before:
        click.echo(f"Went on after {done.done_before:,} of {counts['files']:,} files.")
    if counts["drops"]:
        click.echo(f"Left out: {counts['drops']:,}. Why, in {os.path.join(out, 'drops.tsv')}; the first:")
        for file, reason in done.store.drops()[:5]:
            click.echo(f"  {file}: {reason}")
    if counts["residues_left_out"]:
        reasons = ", ".join(f"{number:,} x {reason}" for reason, number in counts["residues_left_out"].items())
        click.echo(f"Residues left out of structures that were kept: {reasons}")
    for key, text in (
        ("other_formats", "files not read: the same structure, by folder and name, in another file"),
        ("without_plddt", "structures have no pLDDT, so --min-confidence kept them"),
        (
            "confidence_clipped",
            "B-factors below 0 or above 255 were brought to 0 or 255; --confidence float keeps them",
        ),
        ("shared_names", "structures share a name with another one and can be had by number only"),
    ):
        if counts[key]:
            click.echo(f"{counts[key]:,} {text}")
    sys.stdout.flush()
