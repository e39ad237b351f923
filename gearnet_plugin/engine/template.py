"""
The part of Jinja in which a configuration may be written: variables, expressions, a few filters and ``if``.

A file may come from anywhere, so nothing in it may reach Python's internals, or take time or memory that is out of
proportion to its length: no loops, calls or assignments, and no text that grows without bound.
"""
import json
import re

import jinja2
import jinja2.meta
import jinja2.sandbox
from jinja2 import nodes

from gearnet_plugin.engine.errors import ConfigError, listing
from gearnet_plugin.engine.values import is_text

MAX_FACTOR = 10 ** 9
# characters of one text on its way, and of the rendered file
MAX_TEXT = 100_000
MAX_FILE = 200_000
FILTERS = ("default", "d", "int", "float", "string", "lower", "upper", "trim", "join", "list", "length", "first",
           "last", "abs", "min", "max", "tojson")
TESTS = ("defined", "undefined", "none", "true", "false", "string", "number", "integer", "float", "boolean", "mapping",
         "sequence", "in", "eq", "ne", "lt", "le", "gt", "ge", "==", "!=", "<", "<=", ">", ">=")
ALLOWED = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.Name, nodes.Const, nodes.List, nodes.Tuple,
    nodes.Dict, nodes.Pair, nodes.CondExpr, nodes.Filter, nodes.Keyword, nodes.Test, nodes.Compare, nodes.Operand,
    nodes.And, nodes.Or, nodes.Not, nodes.Neg, nodes.Pos, nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv,
    nodes.Mod, nodes.Pow, nodes.Getattr, nodes.Getitem, nodes.Slice,
)


class _Sandbox(jinja2.sandbox.SandboxedEnvironment):
    """Jinja without access to Python's internals, and without arithmetic that fills the memory."""

    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def call_binop(self, context, operator, left, right):
        moderate = all(isinstance(x, (int, float)) and abs(x) < MAX_FACTOR for x in (left, right))
        if operator == "**" or operator != "+" and not moderate:
            raise jinja2.sandbox.SecurityError("`*` and `%` take moderate numbers only, and there is no `**`")
        return _limited(super().call_binop(context, operator, left, right))


def _limited(value):
    if hasattr(value, "__len__") and not isinstance(value, jinja2.Undefined) and len(value) > MAX_TEXT:
        raise jinja2.sandbox.SecurityError("a text or list of more than %d" % MAX_TEXT)
    return value


def _limit(function):
    def limited(*args, **kwargs):
        for value in args:
            _limited(value)
        return _limited(function(*args, **kwargs))

    # `pass_environment` and the like stand on the function
    limited.__dict__.update(getattr(function, "__dict__", {}))
    return limited


def _join(value, separator=""):
    parts = [str(part) for part in value]
    if sum(map(len, parts)) + len(parts) * len(str(separator)) > MAX_TEXT:
        raise jinja2.sandbox.SecurityError("a text of more than %d characters" % MAX_TEXT)
    return str(separator).join(parts)


def _environment():
    environment = _Sandbox(undefined=jinja2.StrictUndefined, finalize=_as_yaml, keep_trailing_newline=True)
    environment.globals.clear()
    filters = dict(environment.filters, join=_join, tojson=json.dumps)
    environment.filters = {name: _limit(filters[name]) for name in FILTERS}
    environment.tests = {name: environment.tests[name] for name in TESTS}
    return environment


def _as_yaml(value):
    """Write the value of a variable so that YAML reads the same value back."""
    if isinstance(value, jinja2.Undefined):
        return value
    if isinstance(value, str):
        # text stays bare inside other text, unless YAML would read something else than this text
        return value if is_text(value) else json.dumps(value)
    return json.dumps(value)


def compile_template(text):
    """
    Return a template, or raise what :func:`problem` puts into words.

    Parameters:
        text (str): the configuration as written
    """
    environment = _environment()
    tree = environment.parse(text)
    _check(tree)
    return environment, tree


def _check(tree):
    for node in [tree, *tree.find_all(nodes.Node)]:
        if not isinstance(node, ALLOWED):
            message = ("`%s` cannot stand in a configuration; it may hold variables, expressions, `if`, and the "
                       "filters %s" % (_word(node), listing(FILTERS)))
        elif isinstance(node, nodes.Filter) and node.name not in FILTERS:
            message = "no filter `%s` in a configuration; there are %s" % (node.name, listing(FILTERS))
        elif isinstance(node, nodes.Test) and node.name not in TESTS:
            message = "no test `%s` in a configuration; there are %s" % (node.name, listing(TESTS))
        else:
            continue
        raise jinja2.TemplateSyntaxError(message, node.lineno)


def _word(node):
    words = {nodes.Call: "(...)", nodes.Concat: "~", nodes.Assign: "set", nodes.AssignBlock: "set"}
    return words.get(type(node), type(node).__name__.lower())


def names(text):
    """Return the sorted names of the variables of a file."""
    return sorted(jinja2.meta.find_undeclared_variables(compile_template(text)[1]))


def commented(text):
    """Return the names of the variables that stand in comments of YAML alone, so that no value of theirs matters."""
    code = re.sub(r"(?m)(^|\s)#.*$", "", text)
    try:
        return sorted(set(names(text)) - set(names(code)))
    except jinja2.TemplateError:
        return []  # a `#` inside an expression began no comment


def fill(text, values):
    """Return the rendered text."""
    environment, tree = compile_template(text)
    pieces, size = [], 0
    for piece in environment.from_string(tree).generate(values):
        size += len(piece)
        if size > MAX_FILE:
            raise jinja2.sandbox.SecurityError("a file of more than %d characters" % MAX_FILE)
        pieces.append(piece)
    return "".join(pieces)


def problem(error, source):
    """Return an error of this module or of Jinja as :class:`ConfigError`."""
    if isinstance(error, jinja2.sandbox.SecurityError):
        return ConfigError("", "refused, the file reaches for Python's internals or for too much memory: %s"
                           % error.message, source)
    if isinstance(error, RecursionError):
        return ConfigError("", "the file cannot be rendered: its brackets are nested too deeply", source)
    line = getattr(error, "lineno", None)
    place = " (line %d)" % line if line else ""
    message = error.message if isinstance(error, jinja2.TemplateError) else str(error)
    return ConfigError("", "the file cannot be rendered%s: %s" % (place, message), source)
