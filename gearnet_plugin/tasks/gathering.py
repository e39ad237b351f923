"""
Rows of all ranks in one tensor, with gradients.

W ranks, rank r with :math:`B_r` rows; B rows in all.
"""

import torch
from torch import distributed as dist
from torch.autograd.function import once_differentiable


def num_ranks():
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather_rows(input):
    """
    Gather the rows of all ranks, which may hold different numbers of them. All ranks have to call this.

    A row's gradient is the sum of what the losses of all ranks say of it.

    Parameters:
        input (Tensor): rows of this rank, of shape :math:`(B_r, d)`

    Returns:
        (Tensor, list of int): rows in the order of ranks, of shape :math:`(B, d)`; :math:`B_r` of every rank
    """
    if num_ranks() == 1:
        return input, [len(input)]
    own = torch.tensor([len(input)], device=input.device)
    counts = [torch.zeros_like(own) for _ in range(num_ranks())]
    dist.all_gather(counts, own)
    counts = torch.cat(counts).tolist()
    return _Gather.apply(input, counts), counts


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, input, counts):
        ctx.counts = counts
        # ranks exchange equal shapes
        padded = input.new_zeros(max(counts), *input.shape[1:])
        padded[: len(input)] = input
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts)])

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        total = grad.contiguous().clone()
        dist.all_reduce(total)
        rank = dist.get_rank()
        start = sum(ctx.counts[:rank])
        return total[start : start + ctx.counts[rank]], None
