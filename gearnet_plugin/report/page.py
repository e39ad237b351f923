"""
A page of text, tables and figures that needs nothing but itself: no network, no other file, no script.

    page = Page("My run")
    page.section("Loss").text("As recorded.").figure(figure, "Loss by epoch").table(rows)
    page.save("report.html")

Everything given is text and is escaped. Figures are matplotlib figures, inlined as SVG (:mod:`.svg`).
"""

import html
import os

import numpy as np

from gearnet_plugin.engine.checkpoint import whole_file
from gearnet_plugin.report.svg import figure_svg

# The colours --c0 ... --c5 of figures stand out from their background by 3 to 1 or more, and the first four
# stay apart in every kind of colour blindness (a test computes both).
STYLE = """
:root { color-scheme: light dark;
  --page: #ffffff; --ink: #1d2127; --faint: #5a636e; --line: #d5dae0; --panel: #f5f7f9;
  --c0: #0a5a9c; --c1: #d1600a; --c2: #1f9e89; --c3: #7a1f3d; --c4: #5f6670; --c5: #a04fff; }
@media (prefers-color-scheme: dark) { :root {
  --page: #15181c; --ink: #e4e7eb; --faint: #a0a8b2; --line: #3a414a; --panel: #1d2126;
  --c0: #4a9df0; --c1: #f08a30; --c2: #86e3cb; --c3: #d9435f; --c4: #9aa0a8; --c5: #8f5cff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0.5rem 0; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 0.6rem;
  padding-bottom: 0.25rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.4rem 0 0.4rem; }
p { max-width: 46rem; margin: 0.6rem 0; }
.lead, figcaption { color: var(--faint); }
.note { border-left: 3px solid var(--c1); background: var(--panel); padding: 0.5rem 0.9rem; }
nav { margin: 1rem 0; } nav a { margin-right: 1.1rem; white-space: nowrap; } a { color: var(--c0); }
figure { margin: 1.2rem 0; } figure svg { width: 100%; height: auto; display: block; }
figcaption { font-size: 0.9rem; text-align: left; max-width: 46rem; }
.wide { overflow-x: auto; margin: 0.3rem 0; }
table { border-collapse: collapse; font-size: 0.92rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.9rem 0.3rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
th { font-weight: 600; } .number { text-align: right; }
pre { overflow-x: auto; background: var(--panel); padding: 0.7rem 0.9rem; border-radius: 4px;
  font-size: 0.85rem; }
@media print { nav { display: none; } figure, tr { break-inside: avoid; } }
"""


class Page:
    """
    Parameters:
        title (str): title, also in the browser's tab
        lead (str, optional): a sentence below it
    """

    def __init__(self, title, lead=None):
        self.title = title
        self.lead = lead
        self.sections = []

    def section(self, heading):
        """Begin a section; its methods return it, so calls can be chained."""
        section = Section(heading, "s%d" % (len(self.sections) + 1))
        self.sections.append(section)
        return section

    def html(self):
        """Return the whole page as text."""
        title = html.escape(self.title)
        parts = [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            # an empty icon, else browsers ask the server for one
            '<link rel="icon" href="data:,">',
            "<title>%s</title>" % title,
            "<style>%s</style>" % STYLE,
            "</head>",
            "<body>",
            "<main>",
            "<h1>%s</h1>" % title,
        ]
        if self.lead:
            parts.append('<p class="lead">%s</p>' % html.escape(self.lead))
        if len(self.sections) > 2:
            links = ('<a href="#%s">%s</a>' % (s.anchor, html.escape(s.heading)) for s in self.sections)
            parts.append("<nav>%s</nav>" % " ".join(links))
        parts += [section.html() for section in self.sections]
        parts += ["</main>", "</body>", "</html>", ""]
        return "\n".join(parts)

    def save(self, path):
        """Write the page, whole or not at all, and return its path."""
        path = os.path.abspath(os.path.expanduser(path))
        with whole_file(path) as file:
            file.write(self.html().encode())
        return path


class Section:
    """A section of a :class:`Page`; made by :meth:`Page.section`."""

    def __init__(self, heading, anchor):
        self.heading = heading
        self.anchor = anchor
        self.parts = []

    def text(self, text):
        """Add a paragraph."""
        return self._add("<p>%s</p>" % html.escape(text))

    def note(self, text):
        """Add a paragraph that should not be overlooked."""
        return self._add('<p class="note">%s</p>' % html.escape(text))

    def subheading(self, text):
        """Add a heading inside the section."""
        return self._add("<h3>%s</h3>" % html.escape(text))

    def code(self, text):
        """Add lines to be copied, such as a command."""
        return self._add("<pre>%s</pre>" % html.escape(text))

    def table(self, rows, header=None, caption=None):
        """
        Add a table. Columns that hold numbers only are aligned to the right.

        Parameters:
            rows (list): rows, each a list of cells, or a dict from column to cell. Floats are written with
                three decimals or three significant digits; ``None`` is an empty cell; text is taken as it is.
            header (list of str, optional): names of the columns, for dicts also which ones and their order
            caption (str, optional): what it shows
        """
        rows = list(rows)
        if rows and isinstance(rows[0], dict):
            header = list(dict.fromkeys(key for row in rows for key in row)) if header is None else header
            rows = [[row.get(key) for key in header] for row in rows]
        width = len(header) if header is not None else max(map(len, rows), default=0)
        if any(len(row) != width for row in rows):
            raise ValueError("every row of the table should have %d cells, but found %s"
                             % (width, sorted({len(row) for row in rows})))
        numeric = [all(_is_number(row[i]) or row[i] is None for row in rows) for i in range(width)]
        lines = ["<figure>"]
        if caption:
            lines.append("<figcaption>%s</figcaption>" % html.escape(caption))
        lines.append('<div class="wide"><table>')
        if header is not None:
            lines.append("<thead>%s</thead>" % _row(header, numeric, "th"))
        lines += ["<tbody>", *(_row(row, numeric, "td") for row in rows), "</tbody></table></div>", "</figure>"]
        return self._add("\n".join(lines))

    def figure(self, figure, caption):
        """
        Add a figure.

        Parameters:
            figure (matplotlib.figure.Figure): figure, best made by :mod:`.figures`
            caption (str): what it shows; also what a screen reader reads
        """
        svg = figure_svg(figure, prefix="%s-%d-" % (self.anchor, len(self.parts)), label=caption)
        return self._add("<figure>\n%s\n<figcaption>%s</figcaption>\n</figure>" % (svg, html.escape(caption)))

    def html(self):
        """Return the section as text."""
        heading = '<section id="%s">\n<h2>%s</h2>' % (self.anchor, html.escape(self.heading))
        return "\n".join([heading, *self.parts, "</section>"])

    def _add(self, part):
        self.parts.append(part)
        return self


def format_number(value):
    """Write a number: floats with three decimals, or three significant digits where that says nothing."""
    if not isinstance(value, (float, np.floating)):
        return str(value)
    if value != 0 and np.isfinite(value) and not 5e-3 <= abs(value) < 1e5:
        return "%.3g" % value
    return "%.3f" % value


def _is_number(value):
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _row(cells, numeric, tag):
    texts = ("" if cell is None else format_number(cell) if _is_number(cell) else str(cell) for cell in cells)
    return "<tr>%s</tr>" % "".join(
        "<%s%s>%s</%s>" % (tag, ' class="number"' if right else "", html.escape(text), tag)
        for text, right in zip(texts, numeric))
