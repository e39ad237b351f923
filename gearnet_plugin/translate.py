"""
Configurations of the predecessors, TorchDrug, the GearNet repository and ESM-GearNet, in the classes of this package.

:func:`translate` is pure, and what it knows of classes stands in :mod:`gearnet_plugin.predecessors`. It needs neither
torch nor TorchDrug.
"""

from __future__ import annotations

from gearnet_plugin.predecessors import ABSENT, RESIDUE_DATASETS, RULES, leaf

# how much of the data is known; a rule asks for one of these, and takes those that follow it
DATA = ("any", "residue", "replaced")


def translate(config: dict) -> tuple[dict, list[str]]:
    """
    Rewrite a configuration of the predecessors.

    Classes are replaced where ours mean the same, anywhere in the configuration, and settings of the whole that belong
    to a class here move there; everything else is left as it is. TorchDrug's own classes stay where proteins are not
    of view ``residue``: where a ``ProteinView`` says so, or where the dataset is none of ours and no ``ProteinView`` is
    there. So do its tasks for properties where the dataset is not replaced too, and any class with an argument that it
    does not take. What is translated already comes back the same.

    Parameters:
        config (dict): configuration or a part of it, of plain dicts and lists; left unchanged

    Returns:
        (dict, list of str): new configuration, and a line for each replacement: ``path: theirs -> ours``. Where
        anything is replaced, lines for classes of the predecessors that are not here follow.
    """
    lines: list[str] = []
    absent: list[str] = []
    result = _Walk(config, lines, absent).convert(config, "")
    if isinstance(result, dict):
        result = _move_settings(result, lines)
    return result, lines + absent if lines else []


class _Walk:
    """One way through a configuration."""

    def __init__(self, config, lines, absent):
        self.whole = config if isinstance(config, dict) else {}
        self.data = _data(self.whole)
        self.lines, self.absent = lines, absent

    def convert(self, value, key):
        """A copy of a value, translated."""
        if isinstance(value, (list, tuple)):
            return type(value)(self.convert(child, _join(key, i)) for i, child in enumerate(value))
        if not isinstance(value, dict):
            return value
        rule = find_rule(value, self.data)
        if rule:
            self.lines.append(_line(rule, value, key, self.whole))
        elif leaf(value) in ABSENT:
            self.absent.append(
                "%s: %s of ESM-GearNet is not here, and left as it is" % (key or "(top)", value["class"])
            )
        result = {name: self.convert(child, _join(key, name)) for name, child in value.items()}
        if rule:
            result = {**rule.rewrite(result), "class": _ours(rule, value)}
        # an EasyDict stays one
        return type(value)(result)


def find_rule(config, data):
    """
    Return the first rule that replaces the class of a mapping, or None.

    Parameters:
        config (dict): mapping
        data (str): what is known of the data, of :data:`DATA`
    """
    name = config.get("class")
    if not isinstance(name, str):
        return None
    kind, _, theirs = name.rpartition(".")
    for rule in RULES:
        if theirs != rule.theirs or kind not in ("", rule.kind) or DATA.index(rule.data) > DATA.index(data):
            continue
        if {"class", *rule.arguments} >= set(config) and rule.means(config):
            return rule
    return None


def _line(rule, config, key, whole):
    theirs, ours = rule.words or (config["class"], _ours(rule, config))
    reason = rule.reason(config, whole)
    return "%s: %s -> %s%s" % (key or "(top)", theirs, ours, " (%s)" % reason if reason else "")


def _ours(rule, config):
    """A name in full stays one."""
    return "%s.%s" % (rule.kind, rule.ours) if "." in config["class"] else rule.ours


def _data(config):
    """What is known of the data of a configuration; of a part of one, that it is of residues."""
    dataset = config.get("dataset")
    views = [entry.get("view") for entry in _classes(config, "ProteinView")]
    if any(view != "residue" for view in views):
        return "any"
    if not isinstance(dataset, dict) or leaf(dataset) in RESIDUE_DATASETS:
        return "residue"
    if not views:
        return "any"
    return "replaced" if find_rule(dataset, "residue") else "residue"


def _classes(value, name):
    """All mappings of a class."""
    if isinstance(value, dict):
        if leaf(value) == name:
            yield value
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for child in value:
            yield from _classes(child, name)


def _join(key, name):
    return "%s.%s" % (key, name) if key else str(name)


# === settings of the whole ===


def _fix_sequence_model(config, fusions):
    if not isinstance(config["fix_sequence_model"], bool):
        return None
    if config["fix_sequence_model"]:
        return {"freeze_sequence": True}, "`freeze_sequence: true` of the fusion"
    return {}, "left out: nothing is frozen, where the released script freezes whatever the value is"


def _no_learning_rate(config, fusions):
    ratio = config["sequence_model_lr_ratio"]
    # ESM has no dropout: in eval mode it gives what it gives in training
    if type(ratio) not in (int, float) or ratio != 0 or any(leaf(x.get("sequence_model")) != "ESM" for x in fusions):
        return None
    return {"freeze_sequence": True}, "`freeze_sequence: true` of the fusion, which needs no gradients for that"


#: Top-level keys of theirs that stand inside the fusion here: from the configuration, whose classes are translated
#: already, and its fusions, what to add to these, and words about it; or None if the key stays.
SETTINGS = {"fix_sequence_model": _fix_sequence_model, "sequence_model_lr_ratio": _no_learning_rate}


def _move_settings(config, lines):
    """Move settings of the whole to where they belong, in a configuration that is a copy already."""
    fusions = list(_classes(config.get("task"), "SequenceStructureFusion"))
    for name, find in SETTINGS.items():
        found = find(config, fusions) if name in config and fusions else None
        if found is None:
            continue
        more, words = found
        lines.append("%s: %s -> %s" % (name, str(config[name]).lower(), words))
        for fusion in fusions:
            fusion.update(more)
        config = type(config)({key: value for key, value in config.items() if key != name})
    return config
