"""The plain definition of every operation of this package, to read and to test against."""
import torch


def gather_sum(input, segments):
    """
    Sum rows of ``input`` over segments: ``output[r] = sum of input[index[k]] for offsets[r] <= k < offsets[r + 1]``.

    Parameters:
        input (Tensor): rows of shape :math:`(S, d)`
        segments (Segments): which rows go where

    Returns:
        Tensor: sums of shape :math:`(R, d)`
    """
    output = torch.zeros(segments.num_row, input.shape[1], dtype=input.dtype, device=input.device)
    return output.index_add(0, segments.row, input[segments.index])


def angular_linear(input, weight, topology):
    """
    Sum what every pair hears in each angle bin, and map the concatenated sums by one matrix.

    Parameters:
        input (Tensor): rows of the pairs, shape :math:`(P, p)`
        weight (Tensor): matrices of the bins side by side, shape :math:`(q, A p)`
        topology (PairTopology): which pair hears which, and in which bin

    Returns:
        Tensor: shape :math:`(P, q)`
    """
    sums = gather_sum(input, topology.hears)  # [P * A, p]
    return sums.view(topology.num_pair, weight.shape[1]) @ weight.t()
