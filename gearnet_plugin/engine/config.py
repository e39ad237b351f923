"""
A YAML file on its way to a configuration: rendered by sandboxed Jinja, read as plain values, with --set.
:mod:`.schema` checks its sections, :mod:`.build` the classes that it names.
"""
import json
import os
import re

import jinja2
import jinja2.meta
import jinja2.sandbox
import yaml
from easydict import EasyDict

from gearnet_plugin.engine.errors import ConfigError, did_you_mean, listing

# a file of plain values is far smaller; only aliases of aliases get there
MAX_VALUES = 100_000
MAX_DEPTH = 50
MAX_FACTOR = 10 ** 9


class _Sandbox(jinja2.sandbox.SandboxedEnvironment):
    """Jinja without access to Python's internals, and without arithmetic that fills the memory."""

    intercepted_binops = frozenset(["*", "**"])

    def call_binop(self, context, operator, left, right):
        moderate = all(isinstance(x, (int, float)) and abs(x) < MAX_FACTOR for x in (left, right))
        if operator == "**" or not moderate:
            raise jinja2.sandbox.SecurityError("`*` takes moderate numbers only, and there is no `**`")
        return super().call_binop(context, operator, left, right)


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key written twice is an error and ``1e-3`` a number."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
            if name and name in seen:
                problem = "the key `%s` is written twice" % key.value
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


# YAML 1.1 wants a dot in a float (1.0e-3) and reads 1e-3 as text, which is no learning rate
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?\d[\d_]*(\.\d*)?[eE][-+]?\d+$"),
                              list("-+0123456789"))


def environment():
    """Return the sandboxed Jinja environment in which configurations are rendered."""
    return _Sandbox(undefined=jinja2.StrictUndefined, finalize=_as_yaml, keep_trailing_newline=True)


def _as_yaml(value):
    """Write the value of a variable so that YAML reads the same value back."""
    if isinstance(value, jinja2.Undefined):
        return value
    if isinstance(value, str):
        # text stays bare inside other text, unless YAML would read something else than this text
        try:
            return value if yaml.safe_load(value) == value else json.dumps(value)
        except yaml.YAMLError:
            return json.dumps(value)
    return json.dumps(value)


def read_text(path):
    """Return the text of a configuration file."""
    if os.path.isdir(path):
        raise ConfigError("", "expected a YAML file, but `%s` is a folder" % path)
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        folder = os.path.dirname(path) or "."
        names = os.listdir(folder) if os.path.isdir(folder) else []
        others = sorted(name for name in names if name.endswith((".yaml", ".yml")))
        raise ConfigError("", "there is no configuration file `%s`.%s YAML files in `%s`: %s" % (
            path, did_you_mean(os.path.basename(path), others), folder, listing(others))) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("", "the configuration file cannot be read: %s" % error, path) from None


def variables(text, source=None):
    """Return the sorted names of the variables that a configuration leaves open, such as ``gpus``."""
    try:
        return sorted(jinja2.meta.find_undeclared_variables(environment().parse(text)))
    except jinja2.TemplateError as error:
        raise _template_error(error, source) from None


def missing(text, values, source=None):
    """Return the variables of a file that have neither a value nor a default, in the order of their use."""
    values, names = dict(values), []
    while True:
        try:
            environment().from_string(text).render(values)
            return names
        except jinja2.UndefinedError as error:
            found = re.match(r"'(\w+)' is undefined", error.message or "")
            if not found or found.group(1) in values:
                return names
            names.append(found.group(1))
            values[found.group(1)] = 0
        except Exception:  # noqa: BLE001  `render` says what is wrong with the file
            return names


def render(text, values=None, source=None):
    """
    Fill the variables in.

    Parameters:
        text (str): the configuration, a Jinja template
        values (dict, optional): value of each variable; an unknown one is an error, and so is a missing one
        source (str, optional): file name for messages
    """
    values = dict(values or {})
    names = variables(text, source)
    for name in values:
        if name not in names:
            raise ConfigError("", "the variable `%s` was given, but the file has none such.%s Variables it "
                              "names: %s" % (name, did_you_mean(name, names), listing(names)), source)
    try:
        return environment().from_string(text).render(values)
    except jinja2.UndefinedError as error:
        absent = missing(text, values, source)
        if not absent:
            raise _template_error(error, source) from None
        raise ConfigError("", "the file needs a value for %s: give %s" % (
            listing(absent), " ".join("--%s VALUE" % name for name in absent)), source) from None
    except jinja2.TemplateError as error:
        raise _template_error(error, source) from None
    except Exception as error:  # noqa: BLE001  arithmetic on text, a range too long, an include: all in the template
        raise ConfigError("", "the file cannot be rendered: %s" % error, source) from None


def _template_error(error, source):
    if isinstance(error, jinja2.sandbox.SecurityError):
        return ConfigError("", "refused, the file reaches for Python's internals: %s" % error.message, source)
    line = getattr(error, "lineno", None)
    place = " (line %d)" % line if line else ""
    return ConfigError("", "the file cannot be rendered%s: %s" % (place, error.message), source)


def _load_yaml(text):
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def parse_value(text, key=""):
    """Return what a value on the command line means: YAML, with ``1e-3`` a number."""
    try:
        return _plain(_load_yaml(text), key)
    except yaml.YAMLError:
        raise ConfigError(key, "`%s` is no YAML value; quote it if it is text" % text) from None


def parse(text, source=None):
    """Return a rendered configuration as an :class:`EasyDict` of plain values."""
    try:
        config = _load_yaml(text)
    except yaml.constructor.ConstructorError as error:
        problem = error.problem or str(error)
        if "could not determine a constructor" in problem:
            problem = "a configuration holds plain values only; %s" % problem.replace(
                "could not determine a constructor for the tag", "refused is the tag")
        raise ConfigError("", problem + _place(error), source) from None
    except yaml.YAMLError as error:
        raise ConfigError("", "no valid YAML%s: %s" % (_place(error), getattr(error, "problem", error)),
                          source) from None
    except RecursionError:
        raise ConfigError("", "the file is nested too deeply", source) from None
    if not isinstance(config, dict):
        raise ConfigError("", "expected a mapping with `dataset`, `task` and `optimizer`, but found %s"
                          % ("nothing" if config is None else type(config).__name__), source)
    try:
        return EasyDict(_plain(config, ""))
    except ConfigError as error:
        raise error.located(source) from None


def _place(error):
    mark = getattr(error, "problem_mark", None)
    return " (line %d, column %d)" % (mark.line + 1, mark.column + 1) if mark else ""


def _plain(value, key, depth=0, count=None):
    """Copy YAML values, with aliases resolved, and refuse what is endless."""
    count = [0] if count is None else count
    count[0] += 1
    if count[0] > MAX_VALUES or depth > MAX_DEPTH:
        raise ConfigError(key, "more than %d values or %d levels; are aliases (`&`, `*`) repeated in each "
                          "other?" % (MAX_VALUES, MAX_DEPTH))
    if isinstance(value, dict):
        for name in value:
            if not isinstance(name, str):
                raise ConfigError(key, "keys are text, but found `%s` (%s); quote it"
                                  % (name, type(name).__name__))
        return {name: _plain(child, join(key, name), depth + 1, count) for name, child in dict.items(value)}
    if isinstance(value, (list, tuple)):
        return [_plain(child, join(key, i), depth + 1, count) for i, child in enumerate(value)]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ConfigError(key, "expected text, a number, true, false or null, but found %s `%s`; quote it"
                      % (type(value).__name__, value))


def plain(config):
    """Return a configuration as plain dicts and lists, without the attributes of :class:`EasyDict`."""
    return _plain(config, "")


def join(key, name):
    """Return the path of a key below another."""
    return "%s.%s" % (key, name) if key else str(name)


def override(config, assignments):
    """
    Change values by path, in place: ``task.model.hidden_dims.0=64``.

    A key that does not exist yet is made, since the checks that follow know what is allowed.

    Parameters:
        config (EasyDict): configuration
        assignments (list of str): ``path=value``, the value in YAML
    """
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        path = path.strip()
        names = path.split(".")
        if not equals or not all(names):
            raise ConfigError("", "--set takes `key.path=value`, such as `optimizer.lr=1e-3`, but found `%s`"
                              % assignment)
        entry = config
        for i, name in enumerate(names[:-1]):
            if isinstance(entry, dict) and name not in entry:
                entry[name] = EasyDict()
            entry = entry[_position(entry, name, names[:i])]
        value = parse_value(text, path)
        entry[_position(entry, names[-1], names[:-1])] = EasyDict(value) if isinstance(value, dict) else value
    return config


def _position(entry, name, parents):
    """Return the key or list index that ``name`` means in ``entry``."""
    parent = ".".join(parents)
    if isinstance(entry, dict):
        return name
    if not isinstance(entry, list):
        raise ConfigError(join(parent, name), "--set cannot go below `%s`, which is the value `%s`"
                          % (parent, entry))
    if not re.fullmatch(r"\d+", name) or int(name) >= len(entry):
        raise ConfigError(join(parent, name), "`%s` is a list of %d, so --set takes an index of 0 to %d, but "
                          "found `%s`" % (parent, len(entry), len(entry) - 1, name))
    return int(name)
