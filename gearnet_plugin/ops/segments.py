"""
Which rows are summed into which: compressed rows (CSR), and their transpose for the backward pass.

Sums go over the terms of a row in the order in which they are given, so results repeat bit for bit.
"""

import torch


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
        row, order = row.sort(stable=True)
        self.index = index[order]
        self.num_row, self.num_source = num_row, num_source
        self.offsets = row_offsets(row, num_row)
        self._transposed = None

    @classmethod
    def sorted(cls, index, offsets, num_source):
        """Segments whose terms stand row by row already: ``index`` :math:`(L,)`, ``offsets`` :math:`(R + 1,)`."""
        self = cls.__new__(cls)
        self.index, self.offsets = index, offsets
        self.num_row, self.num_source = len(offsets) - 1, num_source
        self._transposed = None
        return self

    @property
    def row(self):
        """Output row of each term, shape :math:`(L,)`."""
        rows = torch.arange(self.num_row, device=self.index.device)
        return rows.repeat_interleave(self.offsets.diff(), output_size=len(self.index))

    def transposed(self):
        """(index, offsets) of the transpose: the output rows that each input row goes to. Made once."""
        if self._transposed is None:
            index, order = self.index.sort(stable=True)
            self._transposed = self.row[order], row_offsets(index, self.num_source)
        return self._transposed


def row_offsets(row, num_row):
    """Where each row begins among terms, and where the last one ends: shape :math:`(R + 1,)`."""
    counts = row.bincount(minlength=num_row)
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def check_rows(input, num_row, width, what):
    """Raise ValueError unless ``input`` has this number of rows, and this width where one is given."""
    if input.dim() != 2 or input.shape[0] != num_row or (width is not None and input.shape[1] != width):
        expected = "(%d, %s)" % (num_row, "d" if width is None else width)
        raise ValueError("input should have shape %s, %s, but found %s" % (expected, what, tuple(input.shape)))
