"""
Gather and sum by compressed rows (CSR), with the transposed rows kept for the backward pass.

``F.embedding_bag`` is the fastest portable primitive for it on CPU (3 to 7 times ``index_add_``) and sums each row in a
fixed order, so results repeat bit for bit; its own backward is slow, hence the transpose.
"""
import torch
from torch.nn import functional as F


class Segments:
    """
    Which rows of an input are summed into which rows of the output; S input rows, R output rows, L terms.

    Parameters:
        row (LongTensor): output row of each term, shape :math:`(L,)`
        index (LongTensor): input row of each term, shape :math:`(L,)`
        num_row (int): R
        num_source (int): S
    """

    def __init__(self, row, index, num_row, num_source):
        order = row.argsort(stable=True)
        self.row, self.index = row[order], index[order]
        self.num_row, self.num_source = num_row, num_source
        self.offsets = _offsets(self.row, num_row)
        self._transposed = None

    def transposed(self):
        """(index, offsets) of the transpose: the output rows that each input row goes to. Made once."""
        if self._transposed is None:
            order = self.index.argsort(stable=True)
            self._transposed = self.row[order], _offsets(self.index[order], self.num_source)
        return self._transposed


def _offsets(row, num_row):
    counts = row.bincount(minlength=num_row)
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


class _GatherSum(torch.autograd.Function):

    @staticmethod
    def forward(ctx, input, segments):
        ctx.segments = segments
        return _bag(input, segments.index, segments.offsets)

    @staticmethod
    def backward(ctx, grad):
        # the same operation with source and target exchanged
        return _GatherSumTransposed.apply(grad, ctx.segments), None


class _GatherSumTransposed(torch.autograd.Function):

    @staticmethod
    def forward(ctx, input, segments):
        ctx.segments = segments
        return _bag(input, *segments.transposed())

    @staticmethod
    def backward(ctx, grad):
        return _GatherSum.apply(grad, ctx.segments), None


def _bag(input, index, offsets):
    if not len(index):
        return input.new_zeros(len(offsets) - 1, input.shape[1])
    return F.embedding_bag(index, input.contiguous(), offsets, mode="sum", include_last_offset=True)


def gather_sum(input, segments):
    """Sum rows of ``input`` [S, d] over ``segments``: [R, d]. Defined in :mod:`.reference`; differentiable twice."""
    if input.shape[0] != segments.num_source:
        raise ValueError("input should have %d rows, the number the segments were made for, but found %d"
                         % (segments.num_source, input.shape[0]))
    return _GatherSum.apply(input, segments)
