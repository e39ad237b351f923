"""
Crops of proteins as masks of kept residues, drawn from torch's global generator exactly as TorchDrug draws them.

N residues, B proteins; lengths in Å.
"""
import torch

# TorchDrug enlarges the ball that holds enough neighbours by this factor (not in the paper)
RADIUS_FACTOR = 1.5


def subsequence_mask(graph, max_length):
    """
    Keep ``max_length`` consecutive residues of every protein from a random start, or all of a shorter one.

    As in TorchDrug the last possible start is never drawn.

    Returns:
        BoolTensor: kept residues of shape :math:`(N,)`
    """
    lengths = graph.num_residues
    start = (torch.rand(graph.batch_size, device=graph.device) * (lengths - max_length).clamp(min=0)).long()
    local = _local_index(graph)
    start = start.repeat_interleave(lengths)
    return (local >= start) & (local < start + max_length)


def subspace_mask(graph, min_radius, min_neighbor):
    """
    Keep the residues in a ball around a random residue of every protein.

    The radius is ``min_radius`` Å, or 1.5 times the distance to the ``min_neighbor``-th nearest residue (the centre
    counts) if that is larger.

    Returns:
        BoolTensor: kept residues of shape :math:`(N,)`
    """
    lengths = graph.num_residues
    centre = (torch.rand(graph.batch_size, 1, device=graph.device).squeeze(-1) * lengths).long()
    centre = centre + graph.num_cum_residues - lengths
    distance = (graph.node_position[centre].repeat_interleave(lengths, dim=0) - graph.node_position).norm(dim=-1)
    reach = torch.stack([part.kthvalue(min(min_neighbor, len(part))).values
                         for part in distance.split(lengths.tolist())])
    radius = (reach * RADIUS_FACTOR).clamp(min=min_radius)
    return distance < radius.repeat_interleave(lengths)


def _local_index(graph):
    index = torch.arange(int(graph.num_residue), device=graph.device)
    return index - (graph.num_cum_residues - graph.num_residues).repeat_interleave(graph.num_residues)
