"""
The plain definition of every operation of this package, to read and to test against.

Rows may be bfloat16 while weights are float32: sums accumulate in float32 all the same.
"""

import torch
from torch.nn import functional as F

from .segments import Segments, check_rows


def gather_sum(input, segments):
    """
    Sum rows of ``input`` over segments: ``output[r] = sum of input[index[k]] for offsets[r] <= k < offsets[r + 1]``.

    Parameters:
        input (Tensor): rows of shape :math:`(S, d)`
        segments (Segments): which rows go where

    Returns:
        Tensor: sums of shape :math:`(R, d)`
    """
    check_rows(input, segments.num_source, None, "rows that the segments were made for")
    dtype = torch.float32 if input.dtype == torch.bfloat16 else input.dtype
    output = torch.zeros(segments.num_row, input.shape[1], dtype=dtype, device=input.device)
    return output.index_add(0, segments.row, input[segments.index].to(dtype)).to(input.dtype)


def segment_linear(input, weight, bias, segments):
    """
    Sum what every node hears in each relation, and map the concatenated sums by one matrix.

    Parameters:
        input (Tensor): rows of nodes or edges, shape :math:`(S, p)`
        weight (Tensor): matrices of the relations side by side, shape :math:`(q, R p)`
        bias (Tensor): shape :math:`(q,)`
        segments (Segments): S rows -> N·R rows

    Returns:
        Tensor: shape :math:`(N, q)`
    """
    sums = gather_sum(input, segments).view(-1, weight.shape[1])
    return F.linear(sums, weight.to(input.dtype), bias.to(input.dtype))


def segment_linear_pair(inputs, weight, bias, segments):
    """:func:`segment_linear` of two inputs, each with segments of its own, by one matrix."""
    return tuple(segment_linear(input, weight, bias, known) for input, known in zip(inputs, segments))


def edge_linear(input, weight, self_weight, bias, topology):
    """
    Sum what every edge hears in each angle bin, map the concatenated sums by one matrix and the edge itself by another.

    ``output[e] = sum over bins b of W_b (sum of input over the edges that e hears in bin b) + W_0 input[e] + bias``

    Parameters:
        input (Tensor): edges of shape :math:`(E, p)`
        weight (Tensor): matrices of the bins side by side, shape :math:`(q, A p)`
        self_weight (Tensor, optional): W_0, shape :math:`(q, p)`; without it an edge does not hear itself
        bias (Tensor): shape :math:`(q,)`
        topology (PairTopology): which edge hears which, and in which bin

    Returns:
        Tensor: shape :math:`(E, q)`
    """
    check_rows(
        input, len(topology.pair), weight.shape[1] // topology.num_bin, "edges of the topology and width of a bin"
    )
    hearing, heard, angle_bin = topology.terms
    row = hearing.long() * topology.num_bin + angle_bin
    sums = Segments(row, heard.long(), topology.num_pair * topology.num_bin, topology.num_pair)
    merged = gather_sum(input, topology.merge)  # [P, p]
    heard = F.linear(gather_sum(merged, sums).view(-1, weight.shape[1]), weight.to(input.dtype))  # [P, q]
    output = heard[topology.pair] + bias.to(input.dtype)
    return output if self_weight is None else output + F.linear(input, self_weight.to(input.dtype))
