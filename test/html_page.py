"""A page taken apart with Python's own parser, for tests that look at what is in it."""
import collections
import html.parser

VOID = {"meta", "link", "br", "hr", "img", "input"}


class _Tree(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.count = [], collections.Counter()
        self.links, self.ids, self.uses, self.headings, self.rows = [], [], [], [], []
        self.title, self.text = "", ""

    def handle_starttag(self, tag, attributes):
        self.count[tag] += 1
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            elif name in ("href", "src", "srcset", "data", "action", "xlink:href"):
                (self.uses if tag == "use" else self.links).append(value)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag == "h2":
            self.headings.append("")

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, "</%s> inside %s" % (tag, self.open)
        self.open.pop()

    def handle_data(self, data):
        tag = self.open[-1] if self.open else ""
        if tag in ("td", "th"):
            self.rows[-1][-1] += data
        elif tag == "h2":
            self.headings[-1] += data
        elif tag == "title" and "svg" not in self.open:
            self.title += data
        if tag != "style":
            self.text += data


def parse(text):
    """Return the page as lists: links, ids, headings, rows of its tables, its text; every tag must be closed."""
    tree = _Tree()
    tree.feed(text)
    tree.close()
    assert not tree.open, "not closed: %s" % tree.open
    return tree
