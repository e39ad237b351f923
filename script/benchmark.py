"""
How fast and how small, against stock TorchDrug in the same process.

    python script/benchmark.py data [--quick] [--structures FOLDER] [--out FOLDER]

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
    report = {"command": " ".join(["python", "script/benchmark.py", *sys.argv[1:]]), "machine": machine(), "rows": rows}
    compiled = report["machine"]["packages"]["torch-scatter"] and report["machine"]["packages"]["torch-cluster"]
    report["stock"] = "compiled torch-scatter and torch-cluster" if compiled else "stand-ins, not comparable"
    os.makedirs(out, exist_ok=True)
    path = os.path.join(out, "data.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(report, file, indent=1)
        file.write("\n")
    missed = [row["what"] for row in rows if row.get("met") is False]
    click.echo(f"{path}; stock on {report['stock']}; " + (f"missed: {', '.join(missed)}" if missed else "all aims met"))


def line(row):
    """A row of a report as a line of text."""
    met = {True: "met", False: "MISSED", None: ""}[row.get("met")]
    return f"{row['what']:<64} {row['result']:<34} {row.get('aim', ''):<14} {met}"


if __name__ == "__main__":
    main()
