"""
How fast and how small, against stock TorchDrug in the same process.

    python script/benchmark.py data [--quick] [--structures FOLDER] [--out FOLDER]
    python script/benchmark.py encoder [--quick] [--structures FOLDER] [--threads N] [--only PART] [--out FOLDER]
    python script/benchmark.py ieconv [--quick] [--structures FOLDER] [--threads N] [--out FOLDER]
    python script/benchmark.py embed [--quick] [--structures FOLDER] [--threads N] [--out FOLDER]
    python script/benchmark.py readme    # the tables in the README, from what was measured last

Ways are timed turn by turn; a ratio is the median over pairs with its bootstrap interval. What is compared is checked
for equal results first: nothing is reported while a check fails. Stock should run with the compiled torch-scatter and
torch-cluster (extra `scatter`); where it runs on stand-ins, the report says so.
"""

import json
import os
import sys

import click

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# the package beside this script, and the modules that the processes of a measurement import
sys.path[:0] = [ROOT, os.path.join(ROOT, "script")]


STATE = {True: "met", False: "MISSED", None: ""}
OUT = os.path.join(ROOT, "asset", "benchmark")
PARTS = ("topology", "edge", "plain", "memory", "contrast", "counters", "peer")
# what a result of each report means
NOTES = {
    "data": "A result against stock or against one worker is how many times as long that takes.",
    "ieconv": "A ratio is how many times as long the same encoder takes with a matrix an edge (`backend: reference`).",
    "embed": "A ratio is how many times as long a script of stock takes, which reads files, builds graphs and "
    "encodes, 8 proteins at a time.",
    "encoder": "A ratio is how many times as long stock takes, in brackets its 95 % bootstrap interval; graphs are "
    "without 15 % of their edges; a training step is forward, backward and Adam.",
}


@click.group()
def main():
    """Measure this package against stock TorchDrug."""


@main.command()
@click.option("--quick", is_flag=True, help="Smaller stores and fewer pairs: about a minute.")
@click.option("--structures", metavar="FOLDER", help="Read the PDB files of this folder too, beside the bundled ones.")
@click.option("--out", metavar="FOLDER", default=OUT, show_default=True)
def data(quick, structures, out):
    """Reading, preparing, opening and collating structures."""
    from benchmark_data import measure_data

    write(report_of(measure_data(quick, structures)), "data", out)


@main.command()
@click.option("--quick", is_flag=True, help="Smaller proteins and fewer turns: about two minutes.")
@click.option("--structures", metavar="FOLDER", help="Take the structures of this folder too, beside the bundled ones.")
@click.option("--threads", type=click.IntRange(1), help="Threads of torch; all cores by default.")
@click.option("--only", type=click.Choice(PARTS), multiple=True, help="Measure this part alone; may be repeated.")
@click.option("--out", metavar="FOLDER", default=OUT, show_default=True)
@click.option("--tiny", is_flag=True, hidden=True)
def encoder(quick, structures, threads, only, out, tiny):
    """Graphs, GearNet and GearNet-Edge, training steps, memory."""
    from benchmark_encoder import measure_encoder

    start = os.getloadavg()[0]
    report = report_of(measure_encoder(quick, structures, threads, only, tiny))
    import torch

    from benchmark_figure import draw

    report["threads"] = torch.get_num_threads()
    report["load"] = [start, os.getloadavg()[0]]
    draw(report, os.path.join(out, "encoder.png"))
    write(report, "encoder", out)


@main.command()
@click.option("--quick", is_flag=True, help="The shorter protein only: less than a minute.")
@click.option("--structures", metavar="FOLDER", help="Take the structures of this folder too, beside the bundled ones.")
@click.option("--threads", type=click.IntRange(1), help="Threads of torch; all cores by default.")
@click.option("--out", metavar="FOLDER", default=OUT, show_default=True)
def ieconv(quick, structures, threads, out):
    """GearNet-IEConv against its straightforward form: time and memory."""
    from benchmark_ieconv import measure_ieconv

    report = report_of(measure_ieconv(quick, structures, threads))
    import torch

    report["threads"] = torch.get_num_threads()
    write(report, "ieconv", out)


@main.command()
@click.option("--quick", is_flag=True, help="Few files and one small encoder: less than a minute.")
@click.option("--structures", metavar="FOLDER", help="Take the PDB files of this folder too, beside the bundled ones.")
@click.option("--threads", type=click.IntRange(1), help="Threads of torch; all cores by default.")
@click.option("--out", metavar="FOLDER", default=OUT, show_default=True)
def embed(quick, structures, threads, out):
    """From PDB files to embeddings, against a script of stock TorchDrug."""
    from benchmark_embed import measure_embed

    report = report_of(measure_embed(quick, structures, threads))
    import torch

    report["threads"] = torch.get_num_threads()
    write(report, "embed", out)


def report_of(rows):
    """The report of measured rows, shown on the screen; only then, when all checks have passed."""
    from measure import machine

    measured = []
    for row in rows:
        measured.append(row)
        click.echo(f"measured: {row['what']}", err=True)
    for row in measured:
        click.echo(line(row))
    # where the folders of this machine are concerns nobody else
    words = ["FOLDER" if before in ("--structures", "--out") else word for before, word in zip(sys.argv, sys.argv[1:])]
    report = {"command": " ".join(["python", "script/benchmark.py", *words]), "machine": machine(), "rows": measured}
    compiled = report["machine"]["packages"]["torch-scatter"] and report["machine"]["packages"]["torch-cluster"]
    report["stock"] = "compiled torch-scatter and torch-cluster" if compiled else "stand-ins, not comparable"
    return report


def write(report, name, out):
    """Write a report as JSON and say what it missed."""
    os.makedirs(out, exist_ok=True)
    path = os.path.join(out, f"{name}.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(report, file, indent=1)
        file.write("\n")
    missed = [row["what"] for row in report["rows"] if row.get("met") is False]
    click.echo(f"{path}; stock on {report['stock']}; " + (f"missed: {', '.join(missed)}" if missed else "all aims met"))


@main.command()
def readme():
    """Put the tables of what was measured last into the README."""
    path = os.path.join(ROOT, "README.md")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    for name in NOTES:
        measured = os.path.join(OUT, f"{name}.json")
        if not os.path.exists(measured):
            continue
        with open(measured, encoding="utf-8") as file:
            text = with_table(text, json.load(file), name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def with_table(text, report, name="data"):
    """The text of the README with the table of a report between its two marks."""
    start, end = f"<!-- benchmark: {name} -->\n", "<!-- end -->"
    before, _, rest = text.partition(start)
    _, mark, after = rest.partition(end)
    if not mark:
        raise ValueError(f"the README has no lines `{start.strip()}` and `{end}` between which the table belongs")
    machine = report["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items() if version)
    threads = f"{report['threads']} threads, " if "threads" in report else ""
    cells = ((row["what"], row["result"], row.get("aim", ""), STATE[row.get("met")]) for row in report["rows"])
    rows = "".join(f"| {' | '.join(row)} |\n" for row in cells)
    table = (
        "| measured | result | aim | |\n|---|---|---|---|\n"
        f"{rows}\n`{report['command']}`, commit {machine['commit']}{' with changes' if machine['changed'] else ''}, "
        f"{threads}{machine['cores']} cores of {machine['cpu']}, Python {machine['python']}, {packages}; stock "
        f"TorchDrug on {report['stock']}. {NOTES[name]}\n"
    )
    return before + start + table + end + after


def line(row):
    """A row of a report as a line of text."""
    met = STATE[row.get("met")]
    return f"{row['what']:<64} {row['result']:<34} {row.get('aim', ''):<14} {met}"


if __name__ == "__main__":
    main()
