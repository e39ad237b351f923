"""
Which rows are summed into which row and bin, rows ordered so that trailing empty bins need no multiplication.

Many rows have nothing in their last bins. Ordered by the last bin that has something, blocks of rows need only the
first bins of the matrix they are multiplied by: on proteins 16 % less work, of the 19 % that all empty bins make.
"""

import torch

from .segments import row_offsets


class AngleSegments:
    """
    Which rows of an input are summed into which bin of which row; R rows, A bins, L terms.

    Parameters:
        index (IntTensor): input row of each term, shape :math:`(L,)`
        offsets (IntTensor): where the terms of each (row, bin) begin, and the end, shape :math:`(R A + 1,)`
        num_reach (list of int): number of rows whose last bin with terms is none, the first, ..., the last; rows are
            ordered so, shape :math:`(A + 1,)`
    """

    def __init__(self, index, offsets, num_reach):
        self.index, self.offsets, self.num_reach = index, offsets, num_reach

    @classmethod
    def ordered(cls, row, source, angle_bin, num_row, num_bin):
        """
        Make segments from terms in any order.

        Parameters:
            row, source (IntTensor): row that sums and row that is summed, shape :math:`(L,)`
            angle_bin (Tensor): bin of each term, shape :math:`(L,)`
            num_row (int): R
            num_bin (int): A

        Returns:
            (AngleSegments, LongTensor): the segments, whose rows have new numbers; the new number of each row, shape
            :math:`(R,)`. ``index`` holds the numbers that ``source`` has.
        """
        used = (row * num_bin + angle_bin).bincount(minlength=num_row * num_bin).view(num_row, num_bin) > 0
        bins = torch.arange(1, num_bin + 1, device=row.device)
        reach = (used * bins).amax(dim=1) if num_bin and num_row else torch.zeros(num_row, device=row.device).long()
        reach, order = reach.sort(stable=True)
        place = torch.empty_like(order)
        place[order] = torch.arange(num_row, device=row.device)
        key, order = (place.to(row.dtype)[row] * num_bin + angle_bin).sort(stable=True)
        num_reach = reach.bincount(minlength=num_bin + 1).tolist()
        return cls(source[order], row_offsets(key, num_row * num_bin).to(row.dtype), num_reach), place
