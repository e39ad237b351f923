"""
Edges between residues by the three rules of GearNet (arXiv 2203.06125, section 3.1), for a whole batch at once.

Every function returns edges [E, 2] as (source, target) in absolute node numbers. ``keep`` restricts them to kept
residues while neighbours are still chosen among *all* residues of the protein, which gives the same edges as building
the graph of the whole proteins and cropping it, at the price of the kept rows only.

N nodes, E edges, B proteins; positions in Å.
"""
import torch

# elements of the distance block of one step: bounds the memory for a 5,000-residue protein to about 50 MB
BLOCK_ELEMENTS = 1 << 22


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
    n = int(graph.num_residue)
    node = torch.arange(n, device=graph.device)
    graph_id, chain = graph.node2graph, graph.chain_id
    edges, relations = [], []
    for offset in range(-max_distance, max_distance + 1):
        source = node[max(0, -offset):n - max(0, offset)]
        target = source + offset
        valid = (graph_id[source] == graph_id[target]) & (chain[source] == chain[target])
        relation = torch.full_like(source, offset + max_distance)
        if positions is not None:
            relation = positions[target] - positions[source] + max_distance
            valid &= (relation >= 0) & (relation <= 2 * max_distance)
        if keep is not None:
            valid &= keep[source] & keep[target]
        edges.append(torch.stack([source[valid], target[valid]], dim=-1))
        relations.append(relation[valid])
    return torch.cat(edges), torch.cat(relations)


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
    """
    def choose(squared, centre):
        near = squared < radius * radius
        near &= near.cumsum(dim=1) <= max_num_neighbors + 1
        near.scatter_(1, centre[:, None], False)
        return near.nonzero(as_tuple=True)

    return _neighbours(graph, choose, min_distance, max_distance, positions, keep)


def knn_edges(graph, k=10, min_distance=5, max_distance=None, positions=None, keep=None):
    """
    Edges from the ``k`` nearest residues. They are chosen first and filtered by sequence distance after, as in
    TorchDrug, so that 3 to 4 of 10 stay.

    Parameters:
        graph (PackedResidueProtein): proteins with one node a residue
        k (int, optional): number of neighbours
        min_distance (int, optional): pairs nearer than this in the sequence are left out
        max_distance (int, optional): pairs farther than this in the sequence are left out
        positions (Tensor, optional): from :func:`sequence_positions`; plain index by default
        keep (BoolTensor, optional): kept residues of shape :math:`(N,)`
    """
    def choose(squared, centre):
        squared = squared.scatter(1, centre[:, None], float("inf"))
        count = min(k, squared.shape[1] - 1)
        nearest = squared.topk(count, dim=1, largest=False).indices
        row = torch.arange(len(squared), device=squared.device)
        return row.repeat_interleave(count), nearest.flatten()

    return _neighbours(graph, choose, min_distance, max_distance, positions, keep)


def _neighbours(graph, choose, min_distance, max_distance, positions, keep):
    """Edges (neighbour, centre) that ``choose`` finds in blocks of squared distances, then filtered."""
    point = graph.node_position
    sources, targets = [], []
    start = 0
    for n in graph.num_nodes.tolist():
        local = torch.arange(n, device=point.device)
        centres = local if keep is None else local[keep[start:start + n]]
        here = point[start:start + n]
        for centre in centres.split(max(1, BLOCK_ELEMENTS // max(n, 1))):
            row, neighbour = choose(_squared_distances(here[centre], here), centre)
            sources.append(neighbour + start)
            targets.append(centre[row] + start)
        start += n
    if not sources:
        return torch.zeros(0, 2, dtype=torch.long, device=point.device)
    source, target = torch.cat(sources), torch.cat(targets)
    valid = torch.ones_like(source, dtype=torch.bool) if keep is None else keep[source]
    if min_distance or max_distance:
        place = torch.arange(int(graph.num_residue), device=point.device) if positions is None else positions
        apart = (place[source] - place[target]).abs()
        if min_distance:
            valid &= apart >= min_distance
        if max_distance:
            valid &= apart <= max_distance
    # two residues at one place are an error of the file, not neighbours
    valid &= (point[source] - point[target]).norm(dim=-1) >= 1e-10
    return torch.stack([source[valid], target[valid]], dim=-1)


def _squared_distances(centre, point):
    # written out: the matrix product form of `cdist` cancels digits and moves the threshold
    diff = centre[:, None] - point[None]
    return diff[..., 0] ** 2 + diff[..., 1] ** 2 + diff[..., 2] ** 2
