"""
What a view of a protein keeps, for TorchDrug's crop and noise functions that are known by type; any other is called.
"""

import torch

from gearnet_plugin.graphs import crops, masks
from torchdrug.layers import geometry as host

CROPS = (host.IdentityNode, host.SubsequenceNode, host.SubspaceNode)
NOISES = (host.IdentityNode, host.RandomEdgeMask)


def crop_mask(crop, graph, draws, stream):
    """Residues that a crop keeps, or None for one that is not known or not on this graph."""
    if type(crop) is host.IdentityNode:
        return torch.ones(int(graph.num_residue), dtype=torch.bool, device=graph.device)
    if type(crop) is host.SubsequenceNode:
        return crops.subsequence_mask(graph, crop.max_length, draws, stream)
    if type(crop) is host.SubspaceNode and crop.entity_level == "residue" and graph.num_node == graph.num_residue:
        return crops.subspace_mask(graph, crop.min_radius, crop.min_neighbor, draws, stream)
    return None


def noise_mask(noise, graph, draws, stream):
    """Edges that a noise function keeps, or None for one that is not known."""
    if type(noise) is host.IdentityNode:
        return torch.ones(int(graph.num_edge), dtype=torch.bool, device=graph.device)
    if type(noise) is host.RandomEdgeMask:
        return masks.edge_mask(graph, noise.mask_rate, draws, stream)
    return None


def check(function, name, draw):
    """Refuse what leaves nothing of a protein, or cannot be drawn for each protein."""
    kind = type(function).__name__
    if not callable(function):
        raise ValueError(
            "%s should be a list of functions, each a mapping with `class`, but found %r in it" % (name, function)
        )
    known = CROPS if name == "crop_funcs" else NOISES
    level = getattr(function, "entity_level", "residue")
    if draw == "protein" and (type(function) not in known or level != "residue"):
        raise ValueError(
            "draw=`protein` takes %s in %s (`SubspaceNode` on residues), but found `%s`%s; draw=`batch` "
            "takes any"
            % (
                ", ".join("`%s`" % each.__name__ for each in known),
                name,
                kind,
                "" if level == "residue" else " on %ss" % level,
            )
        )
    if type(function) not in known:
        return
    for argument, least in [("max_length", 1), ("min_neighbor", 1)]:
        if getattr(function, argument, least) < least:
            raise ValueError(
                "%s of `%s` should be at least %d, but found %s: no residue would be left"
                % (argument, kind, least, getattr(function, argument))
            )
    if getattr(function, "min_radius", 1) <= 0:
        raise ValueError(
            "min_radius of `%s` should be positive, but found %s: no residue would be left of a protein "
            "of one" % (kind, function.min_radius)
        )
    if not 0 <= getattr(function, "mask_rate", 0) <= 1:
        raise ValueError("mask_rate of `%s` should be in 0..1, but found %s" % (kind, function.mask_rate))
