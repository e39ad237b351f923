"""
How fast and how small, against stock TorchDrug in the same process.

    python script/benchmark.py data [--quick] [--structures FOLDER] [--out FOLDER]
    python script/benchmark.py readme    # the table in the README, from what was measured last

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


@click.group()
def main():
    """Measure this package against stock TorchDrug."""


@main.command()
@click.option("--quick", is_flag=True, help="Smaller stores and fewer pairs: about a minute.")
@click.option("--structures", metavar="FOLDER", help="Read the PDB files of this folder too, beside the bundled ones.")
@click.option("--out", metavar="FOLDER", default=os.path.join(ROOT, "asset", "benchmark"), show_default=True)
def data(quick, structures, out):
    """Reading, preparing, opening and collating structures."""
    from benchmark_data import measure_data
    from measure import machine

    rows = []
    for row in measure_data(quick, structures):
        rows.append(row)
        click.echo(f"measured: {row['what']}", err=True)
    # only now, when all checks have passed
    for row in rows:
        click.echo(line(row))
    # where the folders of this machine are concerns nobody else
    words = ["FOLDER" if before in ("--structures", "--out") else word for before, word in zip(sys.argv, sys.argv[1:])]
    report = {"command": " ".join(["python", "script/benchmark.py", *words]), "machine": machine(), "rows": rows}
    compiled = report["machine"]["packages"]["torch-scatter"] and report["machine"]["packages"]["torch-cluster"]
    report["stock"] = "compiled torch-scatter and torch-cluster" if compiled else "stand-ins, not comparable"
    os.makedirs(out, exist_ok=True)
    path = os.path.join(out, "data.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(report, file, indent=1)
        file.write("\n")
    missed = [row["what"] for row in rows if row.get("met") is False]
    click.echo(f"{path}; stock on {report['stock']}; " + (f"missed: {', '.join(missed)}" if missed else "all aims met"))


@main.command()
def readme():
    """Put the table of what was measured last into the README."""
    path = os.path.join(ROOT, "README.md")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    with open(os.path.join(ROOT, "asset", "benchmark", "data.json"), encoding="utf-8") as file:
        report = json.load(file)
    with open(path, "w", encoding="utf-8") as file:
        file.write(with_table(text, report))


def with_table(text, report):
    """The text of the README with the table of a report between its two marks."""
    start, end = "<!-- benchmark: data -->\n", "<!-- end -->"
    before, _, rest = text.partition(start)
    _, mark, after = rest.partition(end)
    if not mark:
        raise ValueError(f"the README has no lines `{start.strip()}` and `{end}` between which the table belongs")
    machine = report["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items() if version)
    cells = ((row["what"], row["result"], row.get("aim", ""), STATE[row.get("met")]) for row in report["rows"])
    rows = "".join(f"| {' | '.join(row)} |\n" for row in cells)
    table = (
        "| measured | result | aim | |\n|---|---|---|---|\n"
        f"{rows}\n`{report['command']}`, commit {machine['commit']}{' with changes' if machine['changed'] else ''}, "
        f"{machine['cores']} cores of {machine['cpu']}, Python {machine['python']}, {packages}; stock TorchDrug on "
        f"{report['stock']}. A result against stock or against one worker is how many times as long that takes.\n"
    )
    return before + start + table + end + after


def line(row):
    """A row of a report as a line of text."""
    met = STATE[row.get("met")]
    return f"{row['what']:<64} {row['result']:<34} {row.get('aim', ''):<14} {met}"


if __name__ == "__main__":
    main()
