"""
Local frames of residues, and what IEConv convolutions see of an edge by them (arXiv 2007.06252, as GearNet takes it).

A frame is three axes: the bisector of the steps from and to the neighbours in the sequence, the normal of the plane
of both steps, and the cross product of these two. It has a handedness, so that mirror images differ.

N nodes, E edges; positions in Å.
"""

import torch

FRAMES = ("released", "chain")
# width of the features of an edge: place in the frame, agreement of the frames, sequence distance, and 1 - 2 |each|
WIDTH = 14
# sequence distance that counts as 1
SEQUENCE_UNIT = 6
# Steps or normals of unit vectors shorter than this have no direction. Three residues on a line to within 1e-3 have
# a normal that is the rounding of their coordinates, float32 at 100 Å.
NO_DIRECTION = 1e-3


def check(frames):
    """Raise ValueError for a kind of frames that does not exist."""
    if frames not in FRAMES:
        raise ValueError("frames should be `released` or `chain`, but found `%s`" % frames)


def residue_frames(graph, frames="released"):
    """
    Local frame of every node.

    ``released`` is the published model: neighbours are those before and after in the *batch*, whatever protein or
    chain they are of, and the first and last node of the batch have the vector (1, 1, 1) in place of a missing step.
    So representations at ends depend on the batch and turn with the coordinates.

    ``chain``: neighbours are of the same protein and chain, with no gap in the numbering between. The first and the
    last residue of a segment have the frame of the residue beside them; where there is none, in segments of one or two
    residues, all axes are zero. Everywhere else the frames are the released ones.

    In both, axes without direction (neighbours at one place or on a line) are zero.

    Parameters:
        graph (PackedProtein): N nodes with ``node_position``; for ``chain`` also ``chain_id`` and ``residue_number``
        frames (str, optional): ``released`` or ``chain``

    Returns:
        Tensor: frames of shape :math:`(N, 3, 3)`; the last dimension tells the axis
    """
    check(frames)
    position = graph.node_position
    if frames == "released":
        return _axes(_released_steps(position))
    follows = _follows(graph)
    smallest = NO_DIRECTION
    step = torch.zeros_like(position)
    step[1:] = position[1:] - position[:-1]
    axes = _axes(_unit(step, smallest), smallest)

    inside = torch.zeros_like(follows)
    inside[:-1] = follows[:-1] & follows[1:]
    node = torch.arange(len(position), device=position.device)
    after, before = (node + 1).clamp(max=len(node) - 1), (node - 1).clamp(min=0)
    # the node after is inside, so this one is of its segment
    from_after = torch.zeros_like(follows)
    from_after[:-1] = inside[1:]
    from_before = follows & inside[before]
    whose = torch.where(inside, node, torch.where(from_after, after, before))
    known = inside | from_after | from_before
    return torch.where(known[:, None, None], axes[whose], torch.zeros_like(axes))


def frame_features(graph, edge_list, frames="released"):
    """
    Geometry of every edge by the frames of its residues.

    Place of the target in the frame of the source (3, in Å), cosines between the same axes of both (3), difference of
    their places in the sequence over 6 (1), and ``1 - 2 |x|`` of these seven. As in the published model neither the
    place nor the sequence distance is bounded: residues 300 apart have 50. It is counted in residues of the file,
    across chain breaks too, at either setting of ``frames``.

    Parameters:
        graph (PackedProtein): N nodes
        edge_list (LongTensor): source, target, ... of shape :math:`(E, 2+)`
        frames (str, optional): see :func:`residue_frames`

    Returns:
        Tensor: features of shape :math:`(E, 14)`, of the type of ``node_position``
    """
    axes, position = residue_frames(graph, frames), graph.node_position
    source, target = edge_list[:, 0], edge_list[:, 1]
    vector = position[target] - position[source]
    near, far = axes[source], axes[target]  # [E, 3, 3]
    place = (near * vector[:, :, None]).sum(dim=1)
    agreement = (near * far).sum(dim=1)
    residue = graph.atom2residue
    apart = (residue[source] - residue[target]).abs().to(position.dtype).unsqueeze(-1) / SEQUENCE_UNIT
    feature = torch.cat([place, agreement, apart], dim=-1)
    return torch.cat([feature, 1 - 2 * feature.abs()], dim=-1)


def _released_steps(position):
    """Directions of the steps into each node, (1, 1, 1) into the first one."""
    return _unit(torch.cat([torch.ones_like(position[:1]), position[1:] - position[:-1]]))


def _axes(step, smallest=None):
    """Frames [N, 3, 3] from directions of the steps into the nodes [N, 3]; the last node has none out of it."""
    # no node, no last node
    border = torch.ones_like(step[:1])
    # the dimension is told: of exactly three rows the cross product would otherwise run along the rows
    bisector = _unit(torch.cat([step[:-1] - step[1:], border]), smallest)
    normal = _unit(torch.cat([torch.cross(step[:-1], step[1:], dim=-1), border]), smallest)
    return torch.stack([bisector, normal, torch.cross(bisector, normal, dim=-1)], dim=-1)


def _unit(vector, smallest=None):
    """
    Vectors [N, 3] of length 1, zero for those not longer than ``smallest``; those have gradient zero.
    """
    length = vector.norm(dim=-1, keepdim=True)
    long = length > (1e-12 if smallest is None else smallest)
    return torch.where(long, vector / torch.where(long, length, 1), 0)


def _follows(graph):
    """Whether each node [N] comes right after the one before it: same protein, same chain, no gap in the numbering."""
    missing = [name for name in ("chain_id", "residue_number") if getattr(graph, name, None) is None]
    if missing:
        raise ValueError(
            "frames=`chain` needs %s of every residue, but the graph has none. Give them to the proteins, or take "
            "frames=`released`" % " and ".join("`%s`" % name for name in missing)
        )
    residue = graph.atom2residue
    chain, number, protein = graph.chain_id[residue], graph.residue_number[residue], graph.node2graph
    # residues with insertion codes share a number
    step = number.diff()
    follows = torch.zeros(len(number), dtype=torch.bool, device=number.device)
    follows[1:] = (chain.diff() == 0) & (protein.diff() == 0) & (step >= 0) & (step <= 1)
    return follows
