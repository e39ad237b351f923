"""
Matplotlib figures as SVG to put into a page: no address in it, ids of its own, colours that follow the page.

Figures are drawn with stand-in colours (:data:`INK`, :data:`SERIES`). In the SVG these become
``currentColor`` and the page's variables ``--c0``, ``--c1``, ..., so that one figure is readable on a light
and on a dark page. What is drawn in any other colour keeps it.
"""

import html
import io
import re

import matplotlib

INK = "#010203"
#: Colour of each series on a light page, written into the SVG as fallback for ``--c0``, ...
SERIES = ("#0a5a9c", "#d1600a", "#1f9e89", "#7a1f3d", "#5f6670", "#a04fff")

RC = {
    "svg.fonttype": "none",  # text stays text: small, searchable, in the page's size
    "svg.hashsalt": "gearnet_plugin",  # the same figure gives the same bytes
    "font.family": "sans-serif",
    "font.size": 10.0,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.prop_cycle": matplotlib.cycler(color=SERIES),
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "lines.linewidth": 1.6,
    "path.simplify": True,
}
# what matplotlib writes about a file, which holds addresses and the time
NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def style():
    """Context in which figures are made and saved; the user's own settings come back after it."""
    return matplotlib.rc_context(RC)


def figure_svg(figure, prefix, label):
    """
    Return a figure as an ``<svg>`` element.

    Parameters:
        figure (matplotlib.figure.Figure): figure
        prefix (str): goes before every id, so that several figures can share a page
        label (str): description for screen readers
    """
    buffer = io.StringIO()
    with style():
        figure.savefig(buffer, format="svg", metadata=NO_METADATA)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="([^"]+)"', r'id="%s\1"' % prefix, text)
    text = re.sub(r'(href="|url\()#', r"\1#" + prefix, text)
    # inside HTML the namespaces go without saying, and `xlink:href` is written `href`
    text = text.replace("xlink:href=", "href=")
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = text.replace(INK, "currentColor")
    for i, colour in enumerate(SERIES):
        text = text.replace(colour, "var(--c%d, %s)" % (i, colour))
    return text.replace("<svg", '<svg role="img" aria-label="%s"' % html.escape(label), 1)
