"""
Configurations of the predecessors, TorchDrug and the GearNet repository, in the classes of this package.

:func:`translate` is pure, and all it knows stands in :data:`RULES`. It needs neither torch nor TorchDrug.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

# what GearNet does not take and GearNetIEConv does
IECONV_ARGUMENTS = ("embedding_dim", "layer_norm", "dropout", "use_ieconv")
# our datasets, whose proteins are of view `residue` by themselves
RESIDUE_DATASETS = (
    "AlphaFoldStructures",
    "EnzymeCommissionStructures",
    "FoldStructures",
    "GeneOntologyStructures",
    "PDBStructures",
    "ReactionStructures",
    "StructureFolder",
)


@dataclass(frozen=True)
class Rule:
    """
    A class that takes the place of another, with the arguments of the same names.

    Parameters:
        kind (str): prefix under which both are registered
        theirs, ours (str): names
        means (Callable, optional): whether a mapping of that class means ours; by default it does
        stock (bool, optional): theirs is TorchDrug's and works on other graphs too, so that it is replaced in
            configurations of proteins of view ``residue`` alone
        reason (Callable, optional): what to add to the line about the replacement
    """

    kind: str
    theirs: str
    ours: str
    means: Callable[[dict], bool] = lambda config: True
    stock: bool = False
    reason: Callable[[dict], str] = lambda config: ""


def _ieconv_arguments(config):
    return [name for name in IECONV_ARGUMENTS if name in config]


def _why_ieconv(config):
    return " (GearNet takes no %s)" % ", ".join("`%s`" % name for name in _ieconv_arguments(config))


#: The first rule that fits is taken.
RULES = (
    Rule("models", "GearNetIEConv", "GearNetIEConvEncoder"),
    # the GearNet repository's dihedral_gearnet_edge_ieconv.yaml, which fails with a TypeError there
    Rule("models", "GearNet", "GearNetIEConvEncoder", means=_ieconv_arguments, reason=_why_ieconv),
    Rule("models", "GearNet", "GearNetEncoder", stock=True),
    # `fusion: cross` of ESM-GearNet has no counterpart here
    Rule("models", "FusionNetwork", "SequenceStructureFusion", means=lambda config: config.get("fusion") != "cross"),
    Rule("layers", "GraphConstruction", "ResidueGraphConstruction", stock=True),
)


def translate(config: dict) -> tuple[dict, list[str]]:
    """
    Rewrite a configuration of the predecessors.

    Classes are replaced where ours mean the same, anywhere in the configuration; everything else is left as it is.
    TorchDrug's own classes stay where proteins are not of view ``residue``: where a ``ProteinView`` says so, or where
    the dataset is none of ours and no ``ProteinView`` is there. What is translated already comes back the same.

    Parameters:
        config (dict): configuration or a part of it, of plain dicts and lists; left unchanged

    Returns:
        (dict, list of str): new configuration, and a line for each replacement: ``path: theirs -> ours``
    """
    replacements = []
    return _convert(config, "", _is_residue_view(config), replacements), replacements


def _convert(value, key, residue_view, replacements):
    if isinstance(value, (list, tuple)):
        return type(value)(_convert(child, _join(key, i), residue_view, replacements) for i, child in enumerate(value))
    if not isinstance(value, dict):
        return value
    line, cls = _replace(value, key, residue_view)
    if line:
        replacements.append(line)
    result = {name: _convert(child, _join(key, name), residue_view, replacements) for name, child in value.items()}
    if cls:
        result["class"] = cls
    # an EasyDict stays one
    return type(value)(result)


def _replace(config, key, residue_view):
    """The line about a replacement and the new name of the class, or None for both."""
    name = config.get("class")
    if not isinstance(name, str):
        return None, None
    kind, _, leaf = name.rpartition(".")
    for rule in RULES:
        if leaf != rule.theirs or kind not in ("", rule.kind) or not rule.means(config):
            continue
        if rule.stock and not residue_view:
            continue
        ours = rule.ours if not kind else "%s.%s" % (kind, rule.ours)
        return "%s: %s -> %s%s" % (key or "(top)", name, ours, rule.reason(config)), ours
    return None, None


def _is_residue_view(config):
    views = [entry.get("view") for entry in _classes(config, "ProteinView")]
    if views:
        return all(view == "residue" for view in views)
    dataset = config.get("dataset") if isinstance(config, dict) else None
    return not isinstance(dataset, dict) or _leaf(dataset) in RESIDUE_DATASETS


def _classes(value, leaf):
    """All mappings of a class."""
    if isinstance(value, dict):
        if _leaf(value) == leaf:
            yield value
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for child in value:
            yield from _classes(child, leaf)


def _leaf(config):
    name = config.get("class")
    return name.rpartition(".")[2] if isinstance(name, str) else None


def _join(key, name):
    return "%s.%s" % (key, name) if key else str(name)
