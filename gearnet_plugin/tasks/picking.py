"""Samples of large pools: what no list of all items is made for."""

import torch

from gearnet_plugin.graphs.draws import sample

# pools up to this many times the sample are drawn from by a number for each item
DENSE = 4


def pick(draws, graph, sizes, number, stream, replacement=True):
    """
    Pick items as :func:`gearnet_plugin.graphs.draws.sample`, but without replacement from pools of any size: of those
    far larger than the sample, items are picked with replacement and what comes again is left out, which is the same.

    Parameters:
        draws (StructureDraws or GlobalDraws): where random numbers come from
        graph (PackedProtein): :math:`B` proteins
        sizes (LongTensor): how many items each protein has, shape :math:`(B,)`
        number (int or LongTensor): how many to pick from each
        stream (str): what they are for
        replacement (bool, optional): whether an item may be picked again

    Returns:
        LongTensor: places in the items of all proteins, one protein after the other
    """
    if replacement:
        return sample(draws, graph, sizes, number, stream)
    number = torch.as_tensor(number, device=sizes.device).expand_as(sizes)
    large = sizes > DENSE * number
    few = sample(draws, graph, sizes.masked_fill(large, 0), number, stream, replacement=False)
    # those places are counted without the large pools
    few = few + _moved(sizes, sizes.masked_fill(large, 0), few)
    wanted = torch.where(large, number, 0)
    drawn = 2 * wanted
    while True:
        many = _first_times(sample(draws, graph, sizes, drawn, stream))
        owner = torch.searchsorted(sizes.cumsum(0), many, right=True)
        found = owner.bincount(minlength=len(sizes))
        if (found >= wanted).all():
            break
        # a protein's numbers go on where they ended, so nobody's first ones change
        drawn = torch.where(found < wanted, 2 * drawn, drawn)
    rank = torch.arange(len(many), device=many.device) - (found.cumsum(0) - found)[owner]
    return torch.cat([few, many[rank < wanted[owner]]]).sort().values


def _first_times(items):
    """``items`` without those that were there before, in the same order."""
    value, inverse = items.unique(return_inverse=True)
    place = torch.arange(len(items), device=items.device)
    first = torch.full_like(value, len(items)).scatter_reduce(0, inverse, place, "amin")
    return items[first.sort().values]


def _moved(sizes, kept, index):
    """How much farther items lie when they are counted by ``sizes`` and not by ``kept``."""
    owner = torch.searchsorted(kept.cumsum(0), index, right=True)
    return ((sizes - kept).cumsum(0) - (sizes - kept))[owner]
