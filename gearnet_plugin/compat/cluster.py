"""
``knn_graph`` and ``radius_graph`` of torch-cluster in plain PyTorch, by brute force and explicit differences.

They stand in only where the compiled package is missing. Edges are ordered by centre, the neighbours of a
centre by index (radius) or by distance and then index (kNN): the order of torch-cluster on CUDA. Its CPU
version has the same edges in the order of a k-d tree, but for two cases: where the cap of ``radius_graph``
bites it keeps the first in *its* order instead of the lowest indices, and among equal distances ``knn_graph``
may take another neighbour.

Like torch-cluster, both take one neighbour more than asked for and then drop the centre. Where the centre is
not among those taken (more than ``max_num_neighbors`` neighbours of lower index, or ``k`` duplicates of it),
one more is left.
"""
import torch

# elements of the distance matrix handled at once: bounds the memory of long chains to about 120 MB
BLOCK_ELEMENTS = 1 << 22


def knn_graph(x, k, batch=None, loop=False, flow="source_to_target", cosine=False, num_workers=1,
              batch_size=None):
    """
    Connect every point to its ``k`` nearest points of the same graph.

    Parameters:
        x (Tensor): points of shape :math:`(N, D)`
        k (int): number of neighbours
        batch (LongTensor, optional): graph of each point, ascending, of shape :math:`(N,)`
        loop (bool, optional): count a point among its own neighbours
        flow (str, optional): ``source_to_target``: (neighbour, centre), or ``target_to_source``
        cosine (bool, optional): not supported here
        num_workers (int, optional): not used
        batch_size (int, optional): not used

    Returns:
        LongTensor: edges of shape :math:`(2, E)`
    """
    if cosine:
        raise NotImplementedError("cosine=True needs torch-cluster: pip install torch-cluster")

    def choose(squared):
        count = min(k if loop else k + 1, squared.shape[1])
        # stable: equal distances go to the lower index
        nearest = squared.argsort(dim=1, stable=True)[:, :count]
        row = torch.arange(len(squared), device=squared.device)
        return row.repeat_interleave(count), nearest.flatten()

    return _graph(x, batch, choose, loop, flow)


def radius_graph(x, r, batch=None, loop=False, max_num_neighbors=32, flow="source_to_target", num_workers=1,
                 batch_size=None):
    """
    Connect every point to the points of the same graph that are nearer than ``r``.

    Parameters:
        x (Tensor): points of shape :math:`(N, D)`
        r (float): radius, exclusive
        batch (LongTensor, optional): graph of each point, ascending, of shape :math:`(N,)`
        loop (bool, optional): count a point among its own neighbours
        max_num_neighbors (int, optional): largest number of neighbours
        flow (str, optional): ``source_to_target``: (neighbour, centre), or ``target_to_source``
        num_workers (int, optional): not used
        batch_size (int, optional): not used

    Returns:
        LongTensor: edges of shape :math:`(2, E)`
    """
    cap = max_num_neighbors if loop else max_num_neighbors + 1

    def choose(squared):
        near = squared < r * r
        near &= near.cumsum(dim=1) <= cap
        return near.nonzero(as_tuple=True)

    return _graph(x, batch, choose, loop, flow)


def _graph(x, batch, choose, loop, flow):
    if flow not in ("source_to_target", "target_to_source"):
        raise ValueError("flow should be `source_to_target` or `target_to_source`, but found `%s`" % flow)
    centres, neighbours = [], []
    for start, centre, squared in _blocks(x, batch):
        row, column = choose(squared)
        centres.append(row + centre)
        neighbours.append(column + start)
    if not centres:
        return torch.zeros(2, 0, dtype=torch.long, device=x.device)
    centre, neighbour = torch.cat(centres), torch.cat(neighbours)
    if not loop:
        other = centre != neighbour
        centre, neighbour = centre[other], neighbour[other]
    return torch.stack([neighbour, centre] if flow == "source_to_target" else [centre, neighbour])


def _blocks(x, batch):
    """Yield (first node of the graph, first centre, squared distances [rows, n]), block by block."""
    if x.dim() == 1:
        x = x.view(-1, 1)
    if batch is None:
        sizes = [len(x)]
    elif (batch[1:] < batch[:-1]).any():
        raise ValueError("batch should be in ascending order: the points of one graph one after the other")
    else:
        sizes = batch.bincount().tolist()
    start = 0
    for n in sizes:
        points = x[start:start + n]
        rows = max(1, BLOCK_ELEMENTS // max(n, 1))
        for first in range(0, n, rows):
            # written out: the matrix product form of `cdist` cancels digits and moves the threshold
            difference = points[first:first + rows, None] - points[None]
            yield start, start + first, difference.square().sum(dim=-1)
        start += n
