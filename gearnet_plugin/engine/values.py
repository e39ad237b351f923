"""YAML as a configuration has it: plain values, no more of them than a file needs."""
import re

import yaml

# a file of plain values is far smaller; only aliases of aliases get there
MAX_VALUES = 100_000
MAX_DEPTH = 50


class Loader(yaml.SafeLoader):
    """Safe YAML in which a key written twice is an error and ``1e-3`` a number, and ``<<`` cannot fill the memory."""

    def __init__(self, stream):
        super().__init__(stream)
        self.flat = set()
        self.num_merged = 0

    def flatten_mapping(self, node):
        if id(node) in self.flat:  # once is enough, and afterwards inherited keys would look as if written twice
            return
        self.flat.add(id(node))
        seen = set()
        for key, value in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
            if name and name in seen:
                raise _yaml_error("the key `%s` is written twice" % key.value, key)
            if key.tag == "tag:yaml.org,2002:merge" and not isinstance(value, yaml.MappingNode):
                raise _yaml_error("`<<` takes one mapping; for several, merge them one into the other", key)
            seen.add(name)
        super().flatten_mapping(node)
        self.num_merged += len(node.value)
        if self.num_merged > MAX_VALUES:
            raise _yaml_error("more than %d keys; are mappings merged (`<<`) again and again?" % MAX_VALUES, node)

    def construct_object(self, node, deep=False):
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, AttributeError) as error:  # a date that is none, thousands of digits
            raise _yaml_error("`%.40s` is no value: %s" % (node.value, error), node) from None


def _yaml_error(message, node):
    return yaml.constructor.ConstructorError(None, None, message, node.start_mark)


# YAML 1.1 wants a dot in a float (1.0e-3) and reads 1e-3 as text, which is no learning rate
Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?\d[\d_]*(\.\d*)?[eE][-+]?\d+$"),
                           list("-+0123456789"))


def load(text):
    """Return the value of a text, or raise ``yaml.YAMLError`` or ``RecursionError``."""
    loader = Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def is_text(text):
    """Whether YAML takes a text without quotes for just this text."""
    try:
        node = yaml.compose(text, Loader)
    except (yaml.YAMLError, RecursionError):
        return False
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:str" and node.value == text
