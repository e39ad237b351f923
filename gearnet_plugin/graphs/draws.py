"""
Random numbers for the proteins of a batch: keyed by what each protein is, or from the global generators as TorchDrug's.

Keyed numbers come from a counter-based generator. A protein's 64-bit key is made of its content, so that a number is
a function of (protein, seed, epoch, stream, how many-th) and of nothing else: not of the batch, its order, the loader's
worker, the rank or the device. Two copies of one structure get the same numbers.

All of it is whole-number arithmetic modulo 2^64, exact on every device. The mixing function and the step are those of
SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014,
doi 10.1145/2660193.2660195).

N residues, B proteins.
"""

import random
import zlib

import torch

_WORD = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_SHIFTS = (30, 27, 31)
# a float32 holds 24 bits; the upper ones of a word are used
_BITS = 24


def structure_keys(graph):
    """
    A 64-bit key of every protein, from its residue types and Cα positions in their order.

    Positions count by the bits of their float32 values: one unit in the last place makes another key. On an atom graph
    the positions are those of all nodes; a protein made from a sequence has none, and its types alone count.

    Parameters:
        graph (PackedProtein): :math:`B` proteins

    Returns:
        LongTensor: keys of shape :math:`(B,)`
    """
    types = getattr(graph, "residue_type", None)
    if types is None:
        raise ValueError(
            "draws by structure need proteins with `residue_type`, but found a `%s` without. For other "
            "graphs, draw by `global`" % type(graph).__name__
        )
    lengths = graph.num_residues
    keys = _mix(lengths * _signed(_STEP))
    keys.index_add_(0, _owner(lengths), _mix(_mix(types + 1) + _counter(lengths)))
    position = getattr(graph, "node_position", None)
    if position is not None:
        sizes = graph.num_nodes
        # adding zero makes -0.0 the same as 0.0
        x, y, z = (position.detach().to(torch.float32) + 0.0).contiguous().view(torch.int32).long().unbind(dim=-1)
        inner = _mix((x << 32) + y)
        keys.index_add_(0, _owner(sizes), _mix(_mix(inner ^ z) + _counter(sizes)))
    return _mix(keys)


class StructureDraws:
    """
    Draws keyed by (structure, seed, epoch).

    Parameters:
        seed (int, optional): any whole number
        epoch (int, optional): any whole number; other epochs give other draws
    """

    def __init__(self, seed=0, epoch=0):
        self.seed = seed
        self.epoch = epoch

    def uniform(self, graph, stream, counts=None):
        """
        Draw numbers in [0, 1), multiples of 2^-24.

        The first numbers of a protein do not depend on how many are drawn.

        Parameters:
            graph (PackedProtein): :math:`B` proteins
            stream (str): what they are for; other names give independent numbers
            counts (LongTensor, optional): how many for each protein, shape :math:`(B,)`; by default 1

        Returns:
            Tensor: float32, those of the proteins one after the other
        """
        state = _mix(structure_keys(graph) ^ self._context(stream))
        if counts is None:
            counts = torch.ones_like(state)
        word = _mix(state.repeat_interleave(counts) + _counter(counts))
        return _shift(word, 64 - _BITS).to(torch.float32) * 2.0**-_BITS

    def choose(self, graph, options, stream, per="batch"):
        """
        Draw one of a list.

        Parameters:
            graph (PackedProtein): :math:`B` proteins
            options (list): what to choose from
            stream (str): what it is for
            per (str, optional): ``batch``: one for all, from which proteins there are, in whatever order;
                ``protein``: one for each

        Returns:
            object or LongTensor: an element, or places in the list of shape :math:`(B,)`
        """
        if _check_per(per) == "protein":
            return (self.uniform(graph, stream) * len(options)).long()
        word = _mix(structure_keys(graph).sum() ^ self._context(stream))
        return options[int(_shift(word, 64 - _BITS)) * len(options) >> _BITS]

    def _context(self, stream):
        """Seed, epoch and stream as one word, in the range of int64."""
        context = 0
        for word in (self.seed, self.epoch, zlib.crc32(stream.encode())):
            context = _mix_number((context + _STEP) ^ (int(word) & _WORD))
        return _signed(context)


class GlobalDraws:
    """
    Draws from torch's and Python's global generators, call by call as TorchDrug makes them; the streams are ignored.
    """

    def uniform(self, graph, stream, counts=None):
        """Like :meth:`StructureDraws.uniform`, by one call of ``torch.rand``."""
        total = graph.batch_size if counts is None else int(counts.sum())
        return torch.rand(total, device=graph.device)

    def choose(self, graph, options, stream, per="batch"):
        """Like :meth:`StructureDraws.choose`, for a batch by one call of ``random.sample``."""
        if _check_per(per) == "protein":
            return (self.uniform(graph, stream) * len(options)).long()
        return random.sample(options, 1)[0]


def sample(draws, graph, sizes, number, stream, replacement=True):
    """
    Pick from the items that every protein has.

    Parameters:
        draws (StructureDraws or GlobalDraws): where random numbers come from
        graph (PackedProtein): :math:`B` proteins
        sizes (LongTensor): how many items each protein has, shape :math:`(B,)`
        number (int or LongTensor): how many to pick from each
        stream (str): what they are for
        replacement (bool, optional): whether an item may be picked again, as in TorchDrug. Without, a protein of fewer
            items gives all it has.

    Returns:
        LongTensor: places in the items of all proteins, one protein after the other; none from one without items
    """
    first = sizes.cumsum(0) - sizes
    number = torch.as_tensor(number, device=sizes.device).expand_as(sizes)
    if not replacement:
        key = draws.uniform(graph, stream, sizes)
        order = key.argsort(stable=True)
        order = order[_owner(sizes)[order].argsort(stable=True)]
        return order[_rank(sizes) < number.repeat_interleave(sizes)]
    # drawn for a protein without items too, as TorchDrug does, which then takes another's
    place = draws.uniform(graph, stream, number)
    size = sizes.repeat_interleave(number)
    # the product rounds to less than `size` whatever that is: a float32 below 1 is at most 1 - 2^-24
    place = (place * size).long() + first.repeat_interleave(number)
    return place[size > 0]


# === words of 64 bits ===


def _signed(word):
    """A word as the whole number of int64 that has its bits."""
    return word - (1 << 64) if word >> 63 else word


def _shift(word, bits):
    """Shift a tensor of words right, zeros coming in."""
    return (word >> bits) & ((1 << (64 - bits)) - 1)


def _mix(word):
    """SplitMix64's mixing function on a tensor of words."""
    for shift, multiplier in zip(_SHIFTS, _MULTIPLIERS):
        word = (word ^ _shift(word, shift)) * _signed(multiplier)
    return word ^ _shift(word, _SHIFTS[-1])


def _mix_number(word):
    """The same on a Python number."""
    word &= _WORD
    for shift, multiplier in zip(_SHIFTS, _MULTIPLIERS):
        word = (word ^ (word >> shift)) * multiplier & _WORD
    return word ^ (word >> _SHIFTS[-1])


def _owner(sizes):
    """Which protein each item belongs to."""
    return torch.arange(len(sizes), device=sizes.device).repeat_interleave(sizes)


def _rank(sizes):
    """Place of each item among those of its protein, from 0 on."""
    end = sizes.cumsum(0)
    index = torch.arange(int(end[-1]) if len(end) else 0, device=sizes.device)
    return index - (end - sizes).repeat_interleave(sizes)


def _counter(sizes):
    """Steps of the generator up to each item, from one step on for each protein."""
    return (_rank(sizes) + 1) * _signed(_STEP)


def _check_per(per):
    if per not in ("batch", "protein"):
        raise ValueError("per should be `batch` or `protein`, but found `%s`" % per)
    return per
