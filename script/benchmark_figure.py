"""The figure of a report of script/benchmark.py: how many times as long stock takes, with intervals and aims."""

import os

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

# one hue for what was measured, one mark for what was aimed at: told apart by shape, not only by colour
BAR, INK, AIM, FAINT = "#0a5a9c", "#222222", "#c1440e", "#d9dde2"
WIDTH, ROW, MARGIN = 10.0, 0.26, 1.3
HEADING = 0.9


def draw(report, path):
    """
    Write the PNG of a report. Rows without a ratio to stock, such as counters, are not in it.

    Parameters:
        report (dict): as :mod:`benchmark` makes it; rows with ``interval`` are drawn as ``label``, by ``group``
        path (str): the file to write
    """
    rows = [row for row in report["rows"] if "interval" in row]
    # groups in the order in which they begin
    begin = list(dict.fromkeys(row.get("group") for row in rows))
    rows.sort(key=lambda row: begin.index(row.get("group")))
    if not rows:
        return
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    places, labels, headings, place, group = [], [], [], 0.0, None
    for row in rows:
        if row.get("group") != group:
            group = row.get("group")
            place += HEADING
            headings.append((place, group or ""))
            place += HEADING
        places.append(place)
        labels.append(row.get("label", row["what"]))
        place += 1
    figure = Figure(figsize=(WIDTH, MARGIN + ROW * (place + 1)), layout="constrained")
    axes = figure.add_subplot()
    for y, row in zip(places, rows):
        low, high = row["interval"]
        value = row["value"]
        axes.barh(y, value, height=0.62, color=BAR, alpha=0.85, zorder=2)
        axes.errorbar(value, y, xerr=[[value - low], [high - value]], color=INK, capsize=2.5, linewidth=1.1, zorder=4)
        end = high
        if "aim" in row:
            aim = float(row["aim"].split()[-1])
            axes.plot([aim, aim], [y - 0.42, y + 0.42], color=AIM, linewidth=2.4, zorder=5)
            end = max(high, aim)
        axes.annotate(f"{value:.3g}×", (end, y), (6, 0), textcoords="offset points", va="center", fontsize=8.5)
    axes.axvline(1, color=INK, linewidth=1, linestyle=":", zorder=3)
    axes.set_yticks(places, labels, fontsize=8.5)
    for y, text in headings:
        look = {"fontsize": 9, "fontweight": "bold", "color": INK, "zorder": 6}
        # white behind the words, where the dotted line would cross them
        look["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axes.annotate(text, (0, y), (4, 0), textcoords="offset points", va="center", **look)
    axes.set_ylim(place, -0.2)
    axes.set_xlim(0, 1.15 * max(row["interval"][1] for row in rows))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.grid(axis="x", color=FAINT, zorder=0)
    axes.tick_params(left=False)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    machine = report["machine"]
    figure.supxlabel(
        "how many times as long stock TorchDrug takes (in the group of that name: PyTorch Geometric)\n"
        f"{report.get('threads', '?')} threads of {machine['cpu']}, torch {machine['packages']['torch']}; "
        f"stock on {report['stock']}",
        fontsize=8.5,
    )
    figure.suptitle("Median over pairs with 95 % bootstrap interval; upright stroke: aim; dotted: as fast", fontsize=10)
    figure.savefig(path, dpi=130, facecolor="white", metadata={"Software": None})
