"""
The main job on the bundled real structures, from pretraining to a report. `bash script/quickstart.sh` sets up
and runs it.

    python script/quickstart.py [--force] [--seeds N] [--out DIR]

Pretrains GearNet-Edge by multiview contrast; fine-tunes the structural class from that encoder and from
scratch, with several seeds; embeds all structures; writes report.html. Each run is a `python script/run.py ...`
that one can repeat. What is finished and would come out the same is kept, so the same command goes on after an
interruption.
"""
import csv
import importlib.metadata
import shlex
import sys
import time
from pathlib import Path

import click

from steps import ROOT, Runner, State, Step, StepFailed, command, cores, digest, locked, shown

BUNDLED = ROOT / "gearnet_plugin/structures/data/chains.tsv"
CONFIG = ROOT / "config/quickstart"
EMBEDDINGS, REPORT = "embeddings.npz", "report.html"
PRETRAIN = "pretrain"
# how fine-tuning starts, and the step whose encoder it takes; scratch comes first, as it waits for nothing
STARTS = {"scratch": None, "pretrained": PRETRAIN}
INTERRUPTED = 130


@click.command(help="Pretrain, fine-tune, evaluate and embed the bundled structures, and write a report. "
                    "What is finished is kept.")
@click.option("--out", default=str(ROOT / "runs/quickstart"), metavar="DIR", help="Output folder.")
@click.option("--structures", default=str(BUNDLED), metavar="TABLE",
              help="Another table of structures, with the columns structure, split, class.")
@click.option("--seeds", default=3, type=click.IntRange(1, 20), metavar="N",
              help="Fine-tuning runs from each start; 3 if not given.")
@click.option("--epochs", type=click.IntRange(1), metavar="N", help="Epochs of each run.")
@click.option("--jobs", type=click.IntRange(1), metavar="N", help="Runs at a time; one a core, up to 4.")
@click.option("--force", is_flag=True, help="Do everything again.")
def main(out, structures, seeds, epochs, jobs, force):
    """Run what is not done yet, then embed and report."""
    out, structures = (Path(path).expanduser().resolve() for path in (out, structures))
    try:
        rows = read_rows(structures)
        with locked(out) as lock:
            steps = plan(out, structures, rows, seeds, epochs)
            quickstart(out, structures, steps, Runner(out, State(out, force), jobs or min(4, cores()), lock))
    except StepFailed as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.code)
    except (ValueError, OSError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        click.echo("interrupted; the same command goes on from the runs that are finished", err=True)
        sys.exit(INTERRUPTED)


def read_rows(structures):
    """The rows of the table of structures, which must have the columns that the quickstart needs."""
    if structures.suffix not in (".tsv", ".csv"):
        raise ValueError(f"--structures takes a table (.tsv, .csv), but found `{structures}`")
    if not structures.is_file():
        raise FileNotFoundError(f"there is no table of structures `{structures}`")
    try:
        with open(structures, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, delimiter="\t" if structures.suffix == ".tsv" else ","))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"`{structures}` is no table in UTF-8: {error}") from None
    for column in ("structure", "split", "class"):
        if not rows or column not in rows[0]:
            raise ValueError(f"`{structures}` has no rows with a column `{column}`; the quickstart needs it")
    missing = {"train", "valid", "test"} - {row["split"] for row in rows}
    if missing:
        raise ValueError(f"`{structures}` has no rows with split {', '.join(sorted(missing))}, which the quickstart "
                         f"needs")
    return rows


def plan(out, structures, rows, seeds, epochs=None):
    """
    The runs of the quickstart, in the order in which they should start.

    Parameters:
        out (Path): output folder
        structures (Path): table of structures
        rows (list of dict): its rows
        seeds (int): fine-tuning runs from each start
        epochs (int, optional): epochs of every run
    """
    end = ["--set", f"train.num_epoch={epochs}"] if epochs else []
    steps = [Step(PRETRAIN, ["-c", shown(CONFIG / "pretrain.yaml"), "--structures", shown(structures), *end])]
    for start, after in STARTS.items():
        for seed in range(seeds):
            steps.append(Step(f"finetune-{start}-seed{seed}", [
                "-c", shown(CONFIG / "finetune.yaml"), "--structures", shown(structures),
                "--ckpt", shown(out / after) if after else "null", "--seed", str(seed), *end], after))

    # what decides how a run comes out: structures, code, the versions of what it stands on, its configuration
    package = ROOT / "gearnet_plugin"
    inputs = digest(
        structures, *(structures.parent / (row["structure"] or "") for row in rows),
        *(path for path in sorted(package.rglob("*.py"))
          if path.relative_to(package).parts[0] not in ("report", "embedding")),
        *(importlib.metadata.version(name) for name in ("torch", "torchdrug", "numpy", "gemmi")))
    keys = {None: ""}
    for step in steps:
        step.key = digest(inputs, " ".join(step.arguments), ROOT / step.arguments[1], keys[step.after])
        keys[step.name] = step.key
    return steps


def quickstart(out, structures, steps, runner):
    """Run what is not done, embed, write the report, and say where everything is."""
    state = runner.state
    todo = [step for step in steps if not state.fresh(
        step.name, step.key, out / step.name / "encoder.pth", out / step.name / "metrics.jsonl")]
    kept = len(steps) - len(todo)
    if kept:
        click.echo(f"{kept} of {len(steps)} runs are finished and kept; --force does all again")
    if todo:
        runner.run(todo)

    code = [*sorted((ROOT / "gearnet_plugin").rglob("*.py")), Path(__file__)]
    key = digest(*(step.key for step in steps), *code)
    if not state.fresh("report", key, out / EMBEDDINGS, out / REPORT):
        began = time.monotonic()
        runner.say("embeddings and report")
        sys.path.insert(0, str(ROOT))
        # imported late, for it takes seconds and a finished quickstart has nothing to compute
        from gearnet_plugin.report.quickstart import write_report

        python = shown(sys.executable)
        commands = [shlex.join([python, *command(step, out)[1:]]) for step in steps]
        finetune = {start: [out / s.name for s in steps if s.name.startswith(f"finetune-{start}-")]
                    for start in STARTS}
        write_report(structures, out / PRETRAIN, finetune, out / EMBEDDINGS, out / REPORT, commands,
                     following(out))
        state.set("report", key, time.monotonic() - began)
    seconds = time.monotonic() - runner.began
    click.echo("\n".join([
        f"\nDone in {seconds:.0f} s. So few structures show the machinery, not the science.",
        f"  report      {shown(out / REPORT)}", f"  embeddings  {shown(out / EMBEDDINGS)}",
        "\nWith your own structures (PDB or mmCIF, also .gz), from the root of the repository:",
        *(f"  {line}" for line in following(out))]))


def following(out):
    """Four commands for one's own structures: embed, predict, pretrain, fine-tune."""
    python, encoder, labelled = map(shlex.quote, (
        shown(sys.executable), shown(out / PRETRAIN), shown(out / "finetune-pretrained-seed0")))
    return [
        f"{python} -m gearnet_plugin embed my_structures/ --model {encoder} -o my_embeddings.npz",
        f"{python} -m gearnet_plugin predict my_structures/ --model {labelled} -o my_predictions.csv",
        f"{python} script/run.py -c config/quickstart/pretrain.yaml --structures my_structures/",
        f"{python} script/run.py -c config/quickstart/finetune.yaml --structures my_table.tsv "
        f"--ckpt {encoder}",
    ]


if __name__ == "__main__":
    main()
