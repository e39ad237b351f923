"""
Edges between residues by the three rules of GearNet (arXiv 2203.06125, section 3.1), for a whole batch at once.

Every function returns edges [E, 2] as (source, target) in absolute node numbers. ``keep`` restricts them to kept
residues while neighbours are still chosen among *all* residues of the protein, which gives the same edges as building
the graph of the whole proteins and cropping it, at the price of the kept rows only.

N nodes, E edges, B proteins; positions in Å.
"""
from typing import NamedTuple

import torch

from .neighbours import Ball, Nearest, search


class Part(NamedTuple):
    """
    Edges as an edge layer makes them, before all are sorted by protein.

    Those of one step and protein are consecutive; the steps stand one after the other, each with the proteins in the
    order ``order`` (as they are in the batch if None).
    """

    source: torch.Tensor
    target: torch.Tensor
    relation: torch.Tensor | int = 0
    step: torch.Tensor | int = 0
    num_step: int = 1
    order: list | None = None


def sequence_positions(graph, gaps="index"):
    """
    Place of every residue [N] along the sequence, by which sequence distances are measured.

    ``index`` counts the residues that are in the file, as TorchDrug does: across a chain break, and across the border
    between two chains, residues look adjacent. ``number`` follows the author's numbering: where it jumps forward the
    missing residues count, where it goes back or the chain changes the two sides are infinitely far apart. Insertion
    codes share a number and count as steps of one.
    """
    index = torch.arange(int(graph.num_residue), device=graph.device)
    if gaps == "index":
        return index
    if gaps != "number":
        raise ValueError("gaps should be `index` or `number`, but found `%s`" % gaps)
    step = torch.diff(graph.residue_number)
    new_chain = torch.diff(graph.chain_id) != 0
    far = 1 << 20
    # equal numbers are told apart by insertion codes: one step
    step = torch.where((step < 0) | new_chain, far, step.clamp(min=1, max=far))
    return torch.cat([index.new_zeros(1), step]).cumsum(0)[:len(index)]


def sequential_edges(graph, max_distance=2, positions=None, keep=None):
    """
    Edges between residues of one chain at most ``max_distance`` apart in the sequence, each residue with itself too.

    Parameters:
        graph (PackedResidueProtein): proteins with one node a residue
        max_distance (int, optional): largest distance in the sequence
        positions (Tensor, optional): from :func:`sequence_positions`; plain index by default
        keep (BoolTensor, optional): kept residues of shape :math:`(N,)`

    Returns:
        (Tensor, Tensor): edges of shape :math:`(E, 2)`, relation ``offset + max_distance`` of each
    """
    part = sequential_part(graph, max_distance, positions, keep)
    return torch.stack([part.source, part.target], dim=-1), part.relation


def sequential_part(graph, max_distance=2, positions=None, keep=None):
    """The edges of :func:`sequential_edges`, one step an offset."""
    n = int(graph.num_residue)
    steps = 2 * max_distance + 1
    source = torch.arange(n, device=graph.device).expand(steps, n)
    offset = torch.arange(-max_distance, max_distance + 1, device=graph.device).unsqueeze(-1)
    inside = (source + offset >= 0) & (source + offset < n)
    target = (source + offset).clamp(min=0, max=max(n - 1, 0))
    graph_id, chain = graph.node2graph, graph.chain_id
    valid = inside & (graph_id == graph_id[target]) & (chain == chain[target])
    relation = step = (offset + max_distance).expand(steps, n)
    if positions is not None:
        relation = positions[target] - positions + max_distance
        valid &= (relation >= 0) & (relation <= 2 * max_distance)
    if keep is not None:
        valid &= keep & keep[target]
    index = valid.view(-1).nonzero().squeeze(-1)
    source, target, relation, step = (values.reshape(-1).index_select(0, index)
                                      for values in (source, target, relation, step))
    return Part(source, target, relation, step, steps)


def radius_edges(graph, radius=10.0, min_distance=5, max_distance=None, max_num_neighbors=32, positions=None,
                 keep=None):
    """
    Edges from every residue nearer than ``radius`` Å.

    Where a ball holds more than ``max_num_neighbors`` (0.4 % of residues at 10 Å), those of lowest index stay, the rule
    of torch-cluster on CUDA: the first ``max_num_neighbors + 1`` are taken, the centre included, and then the centre is
    dropped, so that a residue that comes late in its ball keeps one neighbour more. The cap comes before the sequence
    filter, as in TorchDrug.

    Parameters:
        graph (PackedResidueProtein): proteins with one node a residue
        radius (float, optional): radius in Å, exclusive
        min_distance (int, optional): pairs nearer than this in the sequence are left out
        max_distance (int, optional): pairs farther than this in the sequence are left out
        max_num_neighbors (int, optional): cap on the neighbours of a residue
        positions (Tensor, optional): from :func:`sequence_positions`; plain index by default
        keep (BoolTensor, optional): kept residues of shape :math:`(N,)`

    Returns:
        Tensor: edges of shape :math:`(E, 2)`, ordered by target, then by source
    """
    return _alone(graph, Ball(radius, max_num_neighbors, min_distance, max_distance), positions, keep)


def knn_edges(graph, k=10, min_distance=5, max_distance=None, positions=None, keep=None):
    """
    Edges from the ``k`` nearest residues, of equally near ones those of lowest index. They are chosen first and
    filtered by sequence distance after, as in TorchDrug, so that 3 to 4 of 10 stay.

    Parameters:
        graph (PackedResidueProtein): proteins with one node a residue
        k (int, optional): number of neighbours
        min_distance (int, optional): pairs nearer than this in the sequence are left out
        max_distance (int, optional): pairs farther than this in the sequence are left out
        positions (Tensor, optional): from :func:`sequence_positions`; plain index by default
        keep (BoolTensor, optional): kept residues of shape :math:`(N,)`

    Returns:
        Tensor: edges of shape :math:`(E, 2)`, ordered by target, then by distance, then by source
    """
    return _alone(graph, Nearest(k, min_distance, max_distance), positions, keep)


def _alone(graph, rule, positions, keep):
    return sort_by_protein(graph, spatial_parts(graph, [rule], positions, keep))[0][:, :2]


def spatial_parts(graph, rules, positions=None, keep=None):
    """The edges of several rules (``Ball``, ``Nearest``), a part each, from distances that are made once."""
    found, order = search(graph, rules, positions, keep)
    return [Part(source, target, order=order) for source, target in found]


def part_of(graph, edge_list):
    """Edges [E, 3] in any order as a part."""
    order = graph.node2graph[edge_list[:, 0]].argsort(stable=True)
    return Part(*edge_list[order].unbind(dim=-1))


def sort_by_protein(graph, parts):
    """
    Put parts together: edges by protein, then by part and step, then as they are.

    Parameters:
        graph (PackedProtein): proteins
        parts (list of Part): edges of each edge layer

    Returns:
        (Tensor, Tensor): edges of shape :math:`(E, 3)`, their number in each protein of shape :math:`(B,)`
    """
    num_protein, device = graph.batch_size, graph.device
    source, target = (torch.cat([part[i] for part in parts]) for i in (0, 1))
    relation = _each(parts, [part.relation for part in parts])
    # Where edges stand is known for (step, protein); sorting them one by one would cost as much as finding them.
    first_steps = _starts([part.num_step for part in parts])
    step = _each(parts, [part.step + first for part, first in zip(parts, first_steps)])
    num_step = sum(part.num_step for part in parts)
    count = (step * num_protein + graph.node2graph.index_select(0, target)).bincount(minlength=num_step * num_protein)
    count = count.view(num_step, num_protein)
    order = torch.tensor([part.order or list(range(num_protein)) for part in parts for _ in range(part.num_step)],
                         dtype=torch.long, device=device).view(num_step, num_protein)
    start = torch.empty_like(order).scatter_(1, order, _before(count.gather(1, order)))
    move = start.t() - _before(count.t())
    index = torch.arange(len(source), device=device)
    index += move.flatten().repeat_interleave(count.t().flatten(), output_size=len(source))
    return torch.stack([source, target, relation], dim=-1).index_select(0, index), count.sum(dim=0)


def _each(parts, values):
    """One tensor [E] of values that are a number or a tensor for each part."""
    return torch.cat([value if isinstance(value, torch.Tensor) else torch.full_like(part.source, value)
                      for part, value in zip(parts, values)])


def _before(count):
    """How many there are before each, row by row."""
    flat = count.flatten()
    return (flat.cumsum(0) - flat).view(count.shape)


def _starts(sizes):
    return [sum(sizes[:i]) for i in range(len(sizes))]
