"""
A YAML file on its way to a configuration: rendered by :mod:`.template`, read as plain values, with --set.
:mod:`.schema` checks its sections, :mod:`.build` the classes that it names.
"""
import os
import re

import jinja2
import yaml
from easydict import EasyDict

from gearnet_plugin.engine import template
from gearnet_plugin.engine.errors import ConfigError, did_you_mean, listing
from gearnet_plugin.engine.values import MAX_DEPTH, MAX_VALUES, load

_DECIMAL = re.compile(r"[-+]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][-+]?\d+)?|[-+]?\.(inf|nan)", re.IGNORECASE)


def read_text(path):
    """Return the text of a configuration file."""
    if os.path.isdir(path):
        raise ConfigError("", "expected a YAML file, but `%s` is a folder" % path)
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(template.MAX_FILE + 1)
    except FileNotFoundError:
        folder = os.path.dirname(path) or "."
        names = os.listdir(folder) if os.path.isdir(folder) else []
        others = sorted(name for name in names if name.endswith((".yaml", ".yml")))
        raise ConfigError("", "there is no configuration file `%s`.%s YAML files in `%s`: %s" % (
            path, did_you_mean(os.path.basename(path), others), folder, listing(others))) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("", "the configuration file cannot be read: %s" % error, path) from None
    if len(text) > template.MAX_FILE:
        raise ConfigError("", "more than %d characters; that is no configuration" % template.MAX_FILE, path)
    return text


def variables(text, source=None):
    """Return the sorted names of the variables that a configuration leaves open, such as ``gpus``."""
    try:
        return template.names(text)
    except Exception as error:  # noqa: BLE001  a number of thousands of digits, brackets without end
        raise template.problem(error, source) from None


def missing(text, values, source=None):
    """Return the variables of a file that have neither a value nor a default, in the order of their use."""
    values, names = {**dict.fromkeys(template.commented(text)), **values}, []
    while True:
        try:
            template.fill(text, values)
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
    _refuse_quotes(text, source)
    # what is commented out needs no value
    values = {**dict.fromkeys(template.commented(text)), **values}
    try:
        return template.fill(text, values)
    except jinja2.UndefinedError as error:
        absent = missing(text, values, source)
        if not absent:
            raise template.problem(error, source) from None
        raise ConfigError("", "the file needs a value for %s: give %s" % (
            listing(absent), " ".join("--%s VALUE" % name for name in absent)), source) from None
    except Exception as error:  # noqa: BLE001  arithmetic on text and the like
        raise template.problem(error, source) from None


def _refuse_quotes(text, source):
    """A value is quoted where it must be; quotes around it in the file would make other text of it."""
    text = re.sub(r"\{#.*?#\}|\{%.*?%\}", lambda found: "\n" * found.group().count("\n"), text, flags=re.DOTALL)
    text = re.sub(r"\{\{.*?\}\}", lambda found: "\0" + "\n" * found.group().count("\n"), text, flags=re.DOTALL)
    for number, line in enumerate(text.split("\n"), 1):
        line = re.sub(r"(^|\s)#.*", "", line)
        if re.search(r"""(?:^|[\s\[,{:-])(['"])(?:(?!\1).)*\0""", line):
            raise ConfigError("", "line %d: write {{ ... }} without quotes around it; its text is quoted where it must "
                              "be" % number, source)


def parse_value(text, key=""):
    """
    Return what a value on the command line means: a number, true, false, null, a list or mapping as YAML has them;
    everything else is text as it stands, such as ``*.cif``, ``2024-01-01`` or ``0123``.
    """
    bare = text.strip()
    try:
        value = load(text)
    except (yaml.YAMLError, RecursionError) as error:
        if not bare.startswith(("[", "{", "'", '"')):
            return bare
        raise ConfigError(key, "`%.200s` is no YAML value; quote it if it is text (%s)" % (
            text, getattr(error, "problem", None) or error)) from None
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    literal = value is None and bare[:1] not in ("", "~", "n", "N") or number and not _DECIMAL.fullmatch(bare)
    structure = isinstance(value, (dict, list, bool)) or value is None or number
    if literal or not structure and bare[:1] not in ("'", '"'):
        return bare
    return _plain(value, key)


def parse(text, source=None):
    """Return a rendered configuration as an :class:`EasyDict` of plain values."""
    try:
        config = load(text)
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
    if isinstance(value, int) and value.bit_length() > 64:
        raise ConfigError(key, "a whole number of %d bits; at most 64 are of use" % value.bit_length())
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
    if not entry:
        raise ConfigError(join(parent, name), "`%s` is an empty list; set it as a whole: --set '%s=[...]'"
                          % (parent, parent))
    if not re.fullmatch(r"\d+", name) or int(name) >= len(entry):
        raise ConfigError(join(parent, name), "`%s` is a list of %d, so --set takes an index of 0 to %d, but "
                          "found `%s`" % (parent, len(entry), len(entry) - 1, name))
    return int(name)
