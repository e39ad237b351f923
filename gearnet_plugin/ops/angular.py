"""
The sums and the linear map of edge message passing in one operation, with less work and memory than apart.

What an edge (j -> i) of relation r hears does not depend on r: it is computed once for a *pair* (j, i) and shared by
its parallel edges. The map ``sum over bins b of W_b (M_b h)`` runs over blocks of pairs, so that the concatenated sums
[P, A * p] exist for one block only. Backward aggregates the *gradient* through the transposed topology, which serves
the gradients of both ``h`` and ``W``: ``dh = sum of V_b W_b`` and ``dW_b = V_b^T h`` with ``V_b = M_b^T dy``. Nothing
but ``h`` is saved.

P pairs, A angle bins, p input width, q output width.
"""
import torch
from torch.nn import functional as F

# elements of one block of sums: 4 million float32 are 16 MB, near what a core's share of the last cache holds
BLOCK_ELEMENTS = 1 << 22


class _AngularLinear(torch.autograd.Function):

    @staticmethod
    def forward(ctx, input, weight, topology):
        ctx.topology = topology
        ctx.save_for_backward(input, weight)
        output = input.new_empty(topology.num_pair, weight.shape[0])
        for block, sums in _blocks(input, topology.hears, topology.num_bin):
            torch.mm(sums, weight.t(), out=output[block])
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        input, weight = ctx.saved_tensors
        num_bin, (q, width) = ctx.topology.num_bin, weight.shape
        p = width // num_bin
        # W_b below each other: [A * q, p]
        stacked = weight.view(q, num_bin, p).transpose(0, 1).reshape(num_bin * q, p)
        grad_input = torch.empty_like(input)
        grad_stacked = torch.zeros_like(stacked)
        for block, sums in _blocks(grad.contiguous(), ctx.topology.heard_by, num_bin):
            torch.mm(sums, stacked, out=grad_input[block])
            grad_stacked.addmm_(sums.t(), input[block])
        return grad_input, grad_stacked.view(num_bin, q, p).transpose(0, 1).reshape(q, width), None


def _blocks(input, segments, num_bin):
    """Yield blocks of pairs and their sums over all bins [pairs, A * width]."""
    width = num_bin * input.shape[1]
    num_pair = segments.num_row // num_bin
    step = max(1, BLOCK_ELEMENTS // width)
    starts = list(range(0, num_pair, step)) + [num_pair]
    terms = segments.offsets[torch.tensor(starts) * num_bin].tolist()
    for start, end, first, last in zip(starts[:-1], starts[1:], terms[:-1], terms[1:]):
        if first == last:
            sums = input.new_zeros(end - start, width)
        else:
            offsets = segments.offsets[start * num_bin:end * num_bin + 1] - first
            sums = F.embedding_bag(segments.index[first:last], input, offsets, mode="sum", include_last_offset=True)
        yield slice(start, end), sums.view(end - start, width)


def angular_linear(input, weight, topology):
    """
    ``output[t] = sum over bins b of W_b (sum of input[s] over the pairs s that t hears in bin b)``; defined in
    :mod:`.reference`. Differentiable once.

    Parameters:
        input (Tensor): rows of the pairs, shape :math:`(P, p)`
        weight (Tensor): ``[W_1 ... W_A]`` side by side, shape :math:`(q, A p)`
        topology (PairTopology): which pair hears which, and in which bin

    Returns:
        Tensor: shape :math:`(P, q)`
    """
    if input.shape != (topology.num_pair, weight.shape[1] // topology.num_bin):
        raise ValueError("input should have shape %s, pairs and width of one bin, but found %s"
                         % ((topology.num_pair, weight.shape[1] // topology.num_bin), tuple(input.shape)))
    return _AngularLinear.apply(input.contiguous(), weight, topology)
