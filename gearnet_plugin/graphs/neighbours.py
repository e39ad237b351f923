"""
Neighbours in space: balls and k nearest residues of a whole batch, from distances that are made once for all rules.

Proteins of similar length share a block of distances [G, rows, columns], padded; a long protein is cut into blocks of
rows. So neither many short proteins nor one long one cost more than a few calls, and memory is that of a block.

N residues, T centres, K pairs nearer than the largest radius; G proteins in a block, ``m`` columns; positions in Å.
"""

from typing import NamedTuple

import numpy as np
import torch

# Elements of a block of distances. On CPU a block should stay in the cache of a core; elsewhere it bounds the memory.
BLOCK_ELEMENTS = {"cpu": 1 << 17, "other": 1 << 22}
# Elements of padding that cost as much as the calls for a block of one's own.
PADDING_ELEMENTS = {"cpu": 1 << 14, "other": 1 << 21}
# Pairs that are sorted out together, about 100 bytes each: bounds the memory of long proteins and of large balls.
PENDING_PAIRS = {"cpu": 1 << 16, "other": 1 << 19}
# Two residues at one place are an error of the file, not neighbours: 1e-10 Å, as in TorchDrug.
SAME_PLACE = 1e-20
LEAST_REACH = 1e-3


class Ball(NamedTuple):
    """All neighbours nearer than ``radius`` Å, at most ``max_num_neighbors`` of lowest index (see ``radius_edges``)."""

    radius: float
    max_num_neighbors: int
    min_distance: int
    max_distance: int | None


class Nearest(NamedTuple):
    """The ``k`` nearest; of equally near ones those of lowest index."""

    k: int
    min_distance: int
    max_distance: int | None


class _Block(NamedTuple):
    squared: torch.Tensor  # [G * rows, m], Å², infinite or NaN where there is padding
    centre: torch.Tensor  # [G * rows], node of each row
    start: torch.Tensor  # [G * rows], first node of its protein
    size: torch.Tensor  # [G * rows], residues of its protein


def search(graph, rules, positions=None, keep=None):
    """
    Find the neighbours of every kept residue by several rules.

    Parameters:
        graph (PackedResidueProtein): proteins with one node a residue
        rules (list of Ball or Nearest): rules
        positions (LongTensor, optional): place of each residue in its sequence of shape :math:`(N,)`
        keep (BoolTensor, optional): kept residues of shape :math:`(N,)`; neighbours are chosen among all residues

    Returns:
        (list of (Tensor, Tensor), list of int): for each rule source and target nodes, ordered by centre within a
        protein; the order of the proteins therein
    """
    balls = [rule.radius for rule in rules if isinstance(rule, Ball)]
    # wide enough that every residue is in its own ball
    reach = max([LEAST_REACH, *balls]) if balls else None
    k = max((rule.k for rule in rules if isinstance(rule, Nearest)), default=0)
    found = [([], []) for _ in rules]
    blocks, pending = _Blocks(graph, keep), _Pending(rules, graph, positions, keep)
    for block in blocks:
        pending.add(block, reach, k)
        if pending.num_pair > PENDING_PAIRS[_where(graph)]:
            pending.settle(found)
    pending.settle(found)
    empty = [torch.zeros(0, dtype=torch.long, device=graph.device)]
    return [tuple(torch.cat(part or empty) for part in pair) for pair in found], blocks.order


class _Blocks:
    """Blocks of squared distances between kept residues and all residues of their protein."""

    def __init__(self, graph, keep):
        self.device = graph.device
        self.limit, self.slack = BLOCK_ELEMENTS[_where(graph)], PADDING_ELEMENTS[_where(graph)]
        # coordinates in three planes, so that rows of a block are contiguous
        self.planes = graph.node_position.detach().t().contiguous()
        num_nodes = graph.num_nodes
        if keep is None:
            self.centres = torch.arange(self.planes.shape[1], device=self.device)
            self.sizes = self.rows = num_nodes.tolist()
        else:
            self.centres = keep.nonzero().squeeze(-1)
            kept = graph.node2graph[self.centres].bincount(minlength=graph.batch_size)
            # the one look at sizes
            self.sizes, self.rows = torch.stack([num_nodes, kept]).tolist()
        self.starts, self.firsts = _starts(self.sizes), _starts(self.rows)
        self.groups = self._groups()
        with_rows = [protein for group in self.groups for protein in group]
        self.order = with_rows + sorted(set(range(len(self.sizes))) - set(with_rows))

    def _groups(self):
        """Lists of proteins that share a block, longest first."""
        groups, width, height, padded = [], 0, 0, 0
        for protein in sorted(range(len(self.sizes)), key=lambda i: (-self.sizes[i], -self.rows[i])):
            size, rows = self.sizes[protein], self.rows[protein]
            if rows == 0:
                continue
            if groups:
                taller = max(height, rows)
                larger = (len(groups[-1]) + 1) * width * taller
                if larger <= self.limit and larger - padded - size * rows <= self.slack:
                    groups[-1].append(protein)
                    height, padded = taller, larger
                    continue
            groups.append([protein])
            width, height, padded = size, rows, size * rows
        return groups

    def __iter__(self):
        for group in self.groups:
            if len(group) > 1:
                yield self._together(group)
                continue
            start, size = self.starts[group[0]], self.sizes[group[0]]
            first, rows = self.firsts[group[0]], self.rows[group[0]]
            column = self.planes[:, None, start : start + size]
            for centre in self.centres[first : first + rows].split(max(1, self.limit // size)):
                row = self.planes.index_select(1, centre)[:, None]
                yield _Block(
                    _squared_distances(row, column),
                    centre,
                    torch.full_like(centre, start),
                    torch.full_like(centre, size),
                )

    def _together(self, group):
        """One block of several proteins, padded to the size of the largest."""
        start, size, first, rows = torch.tensor(
            [[values[i] for i in group] for values in (self.starts, self.sizes, self.firsts, self.rows)],
            device=self.device,
        ).unsqueeze(-1)
        width, height = max(self.sizes[i] for i in group), max(self.rows[i] for i in group)
        place = torch.arange(max(width, height), device=self.device)
        # past the end: any node of the protein, at infinity as a neighbour and nowhere as a centre
        column = torch.minimum(place[:width], size - 1) + start
        centre = self.centres[torch.minimum(place[:height], rows - 1) + first]
        far = self.planes.index_select(1, column.flatten()).view(3, *column.shape)
        far.masked_fill_(place[:width] >= size, float("inf"))
        row = self.planes.index_select(1, centre.flatten()).view(3, *centre.shape)
        row.masked_fill_(place[:height] >= rows, float("nan"))
        return _Block(
            _squared_distances(row, far),
            centre.flatten(),
            start.expand_as(centre).flatten(),
            size.expand_as(centre).flatten(),
        )


def _squared_distances(row, column):
    """Squared distances [G * rows, m] from planes [3, G, rows] and [3, G, m]."""
    # Written out: the matrix product form of `cdist` cancels digits and moves the threshold. No fused multiply-add
    # either, which would round otherwise.
    total = other = None
    for here, there in zip(row.unsqueeze(-1), column.unsqueeze(-2)):
        other = torch.sub(here, there, out=other)
        if total is None:
            total, other = other.mul_(other), None
        else:
            total.add_(other.mul_(other))
    return total.view(-1, total.shape[-1])


class _Pending:
    """Pairs of blocks that wait to be sorted out together by all rules."""

    def __init__(self, rules, graph, positions, keep):
        self.rules, self.place, self.keep, self.device = rules, positions, keep, graph.device
        self._clear()

    def _clear(self):
        self.num_pair = self.num_row = self.num_wide = 0
        self.centres, self.starts, self.near, self.wide, self.wide_rows = [], [], [], [], []

    def add(self, block, reach, k):
        """Take what is nearer than ``reach`` in a block, and the ``k`` nearest of rows that have fewer there."""
        squared, rows = block.squared, _numbers(block.squared)
        if reach is not None:
            row, column, value = _pairs(squared, reach * reach)
            self.near.append((row + self.num_row, column, value))
            self.num_pair += len(row)
            # the residue itself counts; a row of padding has no pair at all
            count = row.bincount(minlength=len(squared))
            rows = ((count > 0) & (count < block.size.clamp(max=k + 1))).nonzero().squeeze(-1)
            squared = squared.index_select(0, rows)
        if k and len(rows):
            # the k + 1 nearest with the residue itself, and all that are as near as the last of them
            farthest = squared.topk(min(k + 1, squared.shape[1]), dim=1, largest=False).values[:, -1:]
            row, column, value = _pairs(squared, farthest.nextafter(farthest.new_tensor(float("inf"))))
            self.wide.append((row + self.num_wide, column, value))
            self.wide_rows.append(rows + self.num_row)
            self.num_pair += len(row)
            self.num_wide += len(rows)
        self.centres.append(block.centre)
        self.starts.append(block.start)
        self.num_row += len(block.centre)

    def settle(self, found):
        """Let every rule choose among the pairs, add what it chose to ``found``, and forget them."""
        if not self.num_row:
            return
        centre, start = torch.cat(self.centres), torch.cat(self.starts)
        near = wide = None
        if self.near:
            near = _Candidates(self.near, centre, start)
        if self.wide:
            rows = torch.cat(self.wide_rows)
            wide = _Candidates(self.wide, centre.index_select(0, rows), start.index_select(0, rows))
        for rule, (sources, targets) in zip(self.rules, found):
            if isinstance(rule, Ball):
                source, target, squared = near.within(rule)
            else:
                source, target, squared = self._nearest(rule.k, near, wide)
            chosen = self._allowed(rule, source, target, squared).nonzero().squeeze(-1)
            sources.append(source.index_select(0, chosen))
            targets.append(target.index_select(0, chosen))
        self._clear()

    def _nearest(self, k, near, wide):
        """The k nearest of every row, from its ball where that holds enough, else from the wide search."""
        if near is None and wide is None:  # k = 0
            nothing = torch.zeros(0, dtype=torch.long, device=self.device)
            return nothing, nothing, nothing
        if near is None:
            return wide.nearest(k)
        source, target, squared = near.nearest(k)
        if wide is not None:
            rows = torch.cat(self.wide_rows)
            for values, better in zip((source, target, squared), wide.nearest(k)):
                values.view(near.num_row, k).index_copy_(0, rows, better.view(wide.num_row, k))
        return source, target, squared

    def _allowed(self, rule, source, target, squared):
        """Whether each pair is kept: two residues, at two places, with the right distance in the sequence."""
        allowed = squared >= SAME_PLACE
        if rule.min_distance or rule.max_distance:
            if self.place is not None:
                source_place, target_place = self.place.index_select(0, source), self.place.index_select(0, target)
            else:
                source_place, target_place = source, target
            apart = (source_place - target_place).abs_()
            if rule.min_distance:
                allowed &= apart >= rule.min_distance
            if rule.max_distance:
                allowed &= apart <= rule.max_distance
        if self.keep is not None:
            allowed &= self.keep.index_select(0, source)
        return allowed


class _Candidates:
    """Pairs sorted by row, then by column: K pairs in T rows. The centre is its own neighbour here."""

    def __init__(self, pairs, centre, start):
        self.row, column, self.squared = (torch.cat(values) for values in zip(*pairs))
        self.source = column + start.index_select(0, self.row)
        self.target = centre.index_select(0, self.row)
        self.num_row = len(centre)
        self.count = self.row.bincount(minlength=self.num_row)
        self.first = self.count.cumsum(0) - self.count
        self.rank = _numbers(self.row) - self.first.index_select(0, self.row)

    def within(self, ball):
        """Pairs (source, target, squared distance) of a ball; what is outside at distance 0, like the centre itself."""
        inside = self.squared < ball.radius * ball.radius
        # number of pairs of the ball up to this one, less those of rows before
        total = inside.cumsum(0)
        before = torch.cat([total.new_zeros(1), total]).index_select(0, self.first)
        inside &= total - before.index_select(0, self.row) <= ball.max_num_neighbors + 1
        return self.source, self.target, self.squared.where(inside, 0)

    def nearest(self, k):
        """Pairs (source, target, squared distance) of the k nearest of every row, [T * k]; no pair at distance 0."""
        width = max(int(self.count.max()), k)
        table = self.squared.new_full((self.num_row, width), float("inf"))
        other = self.squared.masked_fill(self.source == self.target, float("inf"))
        table.view(-1).index_copy_(0, self.row * width + self.rank, other)
        squared, place = _smallest(table, k)
        pair = (self.first[:, None] + place).clamp(max=len(self.row) - 1).flatten()
        squared = squared.flatten()
        return (
            self.source.index_select(0, pair),
            self.target.index_select(0, pair),
            squared.where(squared.isfinite(), 0),
        )


def _smallest(table, k):
    """The k smallest values of every row and their places, the lower place first where values are equal."""
    if table.dtype != torch.float:
        values, place = table.sort(dim=1, stable=True)
        return values[:, :k], place[:, :k]
    # `topk` promises no order among equals. Bits of floats that are not negative are ordered like the floats; the
    # place below them makes all keys differ.
    shift = table.shape[1].bit_length()
    place = torch.arange(table.shape[1], device=table.device)
    key = table.view(torch.int32).long().bitwise_left_shift_(shift).bitwise_or_(place)
    if key.device.type == "cpu":
        key = _smallest_on_cpu(key, k)
    else:
        key = key.topk(k, dim=1, largest=False).values
    place = key.bitwise_and_((1 << shift) - 1)
    return table.gather(1, place), place


def _smallest_on_cpu(key, k):
    """What ``topk`` gives, in a third of the time."""
    return torch.from_numpy(np.sort(np.partition(key.numpy(), k - 1, axis=1)[:, :k], axis=1))


def _pairs(squared, bound):
    """Row, column and value of what is smaller than the bound, a number or one a row, by row and then column."""
    width = squared.shape[1]
    if squared.device.type == "cpu":
        flat, row = _smaller_on_cpu(squared, bound)
    else:
        flat = (squared < bound).view(-1).nonzero().squeeze(-1)
        row = flat.div(width, rounding_mode="floor")
    return row, flat - row * width, squared.view(-1).index_select(0, flat)


def _smaller_on_cpu(squared, bound):
    """What the comparison, ``nonzero`` and a division give, in a third of the time."""
    bound = bound.numpy() if isinstance(bound, torch.Tensor) else squared.new_tensor(bound).numpy()
    flat = np.flatnonzero(squared.numpy() < bound)
    return torch.from_numpy(flat), torch.from_numpy(flat // squared.shape[1])


def _where(graph):
    return "cpu" if graph.device.type == "cpu" else "other"


def _numbers(values):
    return torch.arange(len(values), device=values.device)


def _starts(sizes):
    return np.cumsum([0] + sizes).tolist()
