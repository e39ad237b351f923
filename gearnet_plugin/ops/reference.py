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
