"""
Figures of a report: curves, bars with a baseline, maps of embeddings.

Each function returns a ``matplotlib.figure.Figure`` made without pyplot: no window, no change to the user's
backend or settings.
"""
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gearnet_plugin.report.svg import INK, SERIES, style

WIDTH = 9.0  # inches; the page shows a figure as wide as its text
MARKERS = ("o", "^", "s", "D", "v", "P")
# with more points than this, markers would hide the line
MARKED = 40


def curves(panels, smooth=1, height=3.2):
    """
    Curves over epochs or steps, panels side by side.

    Parameters:
        panels (list of dict): a panel each, with ``title``, ``series`` ({label: (x, y)}; a y of None is a gap), and
            optionally ``x`` and ``y`` (names of the axes) and ``baseline`` ({label: value}, dashed)
        smooth (int, optional): with more than 1, values are faint points and the line is a running mean over
            ``smooth`` units of x
        height (float, optional): height in inches
    """
    with style():
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        for place, panel in enumerate(panels):
            axes = figure.add_subplot(1, len(panels), place + 1)
            for i, (label, (x, y)) in enumerate(panel["series"].items()):
                look = {"color": SERIES[i % len(SERIES)], "marker": MARKERS[i % len(MARKERS)], "markersize": 3.5}
                x = np.asarray(x, dtype=float)
                y = np.asarray([np.nan if value is None else value for value in y], dtype=float)
                if smooth > 1:
                    axes.plot(x, y, linestyle="", alpha=0.35, **look)
                    y = _running_mean(x, y, smooth)
                if smooth > 1 or len(x) > MARKED:
                    look["marker"] = None
                axes.plot(x, y, label=label, **look)
            for i, (label, value) in enumerate(panel.get("baseline", {}).items()):
                axes.axhline(value, color=INK, linestyle=("--", ":", "-.")[i % 3], linewidth=1, alpha=0.7, label=label)
            _finish(axes, panel["title"], panel.get("x", "epoch"), panel.get("y"))
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            # below, where it hides nothing
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=4, columnspacing=1.2)
    return figure


def metric_bars(values, name, baseline=None, limit=None):
    """
    One bar a row for the mean, a point for every run, a dashed line for the baseline.

    Parameters:
        values (dict): {label: list of values of one metric, one a run}
        name (str): name of the metric
        baseline (dict, optional): {label: value}
        limit (float, optional): end of the axis, such as 1 for an accuracy
    """
    with style():
        figure = Figure(figsize=(WIDTH, 0.9 + 0.55 * len(values)), layout="constrained")
        axes = figure.add_subplot()
        for i, runs in enumerate(values.values()):
            runs = np.asarray(runs, dtype=float)
            colour = SERIES[i % len(SERIES)]
            axes.barh(i, runs.mean(), height=0.55, color=colour, alpha=0.55)
            axes.plot(runs, i + _apart(runs), "o", color=colour, markersize=5, alpha=0.9, clip_on=False)
            axes.annotate("mean %.3f" % runs.mean(), (1, i), (8, 0), xycoords=("axes fraction", "data"),
                          textcoords="offset points", va="center")
        for label, value in (baseline or {}).items():
            axes.axvline(value, color=INK, linestyle="--", linewidth=1, alpha=0.7)
            axes.annotate("%s %.3f" % (label, value), (value, 1), (0, 3), xycoords=("data", "axes fraction"),
                          textcoords="offset points", ha="center", va="bottom", fontsize=9)
        axes.set_yticks(range(len(values)), list(values))
        axes.set_ylim(len(values) - 0.45, -0.6)
        axes.set_xlim(0, limit)
        _finish(axes, None, name, None)
        axes.grid(False, axis="y")
    return figure


def embedding_map(coordinates, classes, splits=None, axes_names=("", ""), title=None):
    """
    Points in the plane, one a protein: colour by class, marker by split.

    Parameters:
        coordinates (array_like): of shape :math:`(N, 2)`, such as from :func:`pca`
        classes (list of str): class of each
        splits (list of str, optional): split of each
        axes_names (tuple of str, optional): names of the axes
        title (str, optional): title
    """
    coordinates = np.asarray(coordinates, dtype=float)
    if coordinates.shape != (len(classes), 2):
        raise ValueError("coordinates should have shape (%d, 2), a row for each class label, but found %s"
                         % (len(classes), coordinates.shape))
    classes = np.asarray(classes)
    splits = np.asarray(splits if splits is not None else [""] * len(classes))
    names = [name for name in ("train", "valid", "test") if name in splits]
    names += [name for name in dict.fromkeys(splits.tolist()) if name not in names]
    with style():
        figure = Figure(figsize=(WIDTH, 5.2), layout="constrained")
        axes = figure.add_subplot()
        for i, kind in enumerate(sorted(set(classes.tolist()))):
            colour = SERIES[i % len(SERIES)]
            for j, split in enumerate(names):
                x, y = coordinates[(classes == kind) & (splits == split)].T
                axes.plot(x, y, color=colour, alpha=0.8, **_marker(j, colour))
            axes.plot([], [], "s", color=colour, markersize=7, label=kind)
        for j, split in enumerate(names if len(names) > 1 else ()):
            axes.plot([], [], color=INK, label=split, **_marker(j, INK))
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
        _finish(axes, title, *axes_names)
    return figure


def pca(values, count=2):
    """
    Principal components of the rows, by singular value decomposition.

    Parameters:
        values (array_like): one row a sample, of shape :math:`(N, D)`
        count (int, optional): number of components

    Returns:
        (np.ndarray, np.ndarray): coordinates of shape :math:`(N, count)`, share of the variance of each
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or len(values) < 2:
        raise ValueError("principal components need at least 2 rows of numbers, but found shape %s" % (values.shape,))
    if not np.isfinite(values).all():
        raise ValueError("principal components need finite numbers, but some are not")
    left, singular, right = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    found = min(count, len(singular))
    # the sign of a component is arbitrary: its largest weight is made positive, so that a map never flips
    sign = np.where(right[np.arange(found), np.abs(right[:found]).argmax(axis=1)] < 0, -1, 1)
    coordinates, share = np.zeros((len(values), count)), np.zeros(count)
    coordinates[:, :found] = left[:, :found] * singular[:found] * sign
    total = (singular ** 2).sum()
    if total > 0:
        share[:found] = singular[:found] ** 2 / total
    return coordinates, share


def _marker(i, colour):
    """Shape of the i-th kind of point; the first is filled, the others are outlines."""
    return {"linestyle": "", "marker": MARKERS[i % len(MARKERS)], "markersize": 6.5, "markeredgewidth": 1.5,
            "markerfacecolor": colour if i == 0 else "none"}


def _running_mean(x, y, width):
    """Mean of the values within ``width / 2`` of each x; at the ends of those that there are."""
    near = (np.abs(x[:, None] - x) < width / 2) & np.isfinite(y)
    count = near.sum(axis=1)
    total = np.where(near, y, 0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _apart(values):
    """Small vertical offsets, so that runs with the same value stay visible."""
    offsets = np.zeros(len(values))
    for value in np.unique(values):
        same = np.flatnonzero(values == value)
        offsets[same] = (np.arange(len(same)) - (len(same) - 1) / 2) * 0.13
    return offsets


def _finish(axes, title, x, y):
    axes.grid(True)
    axes.set_axisbelow(True)
    if title:
        axes.set_title(title)
    axes.set_xlabel(x or "")
    axes.set_ylabel(y or "")
