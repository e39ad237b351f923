"""
Crops of proteins as masks of kept residues. The only random number of a crop is one a protein, from ``draws``
(:mod:`.draws`).

N residues, B proteins; lengths in Å.
"""
import torch

# TorchDrug enlarges the ball that holds enough neighbours by this factor (not in the paper)
RADIUS_FACTOR = 1.5


def subsequence_mask(graph, max_length, draws, stream="crop"):
    """
    Keep ``max_length`` consecutive residues of every protein from a random start, or all of a shorter one.

    As in TorchDrug the last possible start is never drawn.

    Parameters:
        graph (PackedProtein): :math:`B` proteins
        max_length (int): residues to keep
        draws (StructureDraws or GlobalDraws): where random numbers come from
        stream (str, optional): what they are for

    Returns:
        BoolTensor: kept residues of shape :math:`(N,)`
    """
    lengths = graph.num_residues
    start = (draws.uniform(graph, stream) * (lengths - max_length).clamp(min=0)).long()
    first = graph.num_cum_residues - lengths
    local = torch.arange(int(graph.num_residue), device=graph.device) - first.repeat_interleave(lengths)
    start = start.repeat_interleave(lengths)
    return (local >= start) & (local < start + max_length)


def subspace_mask(graph, min_radius, min_neighbor, draws, stream="crop"):
    """
    Keep the residues in a ball around a random residue of every protein.

    The radius is ``min_radius`` Å, or 1.5 times the distance to the ``min_neighbor``-th nearest residue (the centre
    counts) if that is larger.

    Parameters:
        graph (PackedProtein): :math:`B` proteins of one node a residue
        min_radius (float): radius in Å
        min_neighbor (int): number of residues
        draws (StructureDraws or GlobalDraws): where random numbers come from
        stream (str, optional): what they are for

    Returns:
        BoolTensor: kept residues of shape :math:`(N,)`
    """
    position = getattr(graph, "node_position", None)
    if position is None:
        raise ValueError("a ball of residues needs `node_position`: Cα coordinates in Å of shape (N, 3). Proteins made "
                         "from a sequence have none.")
    lengths = graph.num_residues
    first = graph.num_cum_residues - lengths
    centre = (draws.uniform(graph, stream) * lengths).long() + first
    distance = (position[centre].repeat_interleave(lengths, dim=0) - position).norm(dim=-1)
    # sorted by protein, then by distance: two sorts, since one key for both would round the distances
    order = distance.argsort()
    order = order[graph.residue2graph[order].argsort(stable=True)]
    reach = distance[order[first + lengths.clamp(max=min_neighbor) - 1]]
    radius = (reach * RADIUS_FACTOR).clamp(min=min_radius)
    return distance < radius.repeat_interleave(lengths)
