"""
The operations of :mod:`.reference` on the CPU: less work, and nothing saved for backward but their inputs.

Sums are done by ``F.embedding_bag``, the fastest portable primitive for it on CPU (3 to 7 times ``index_add_``),
which accumulates in float32 also where rows are bfloat16; its own backward is slow, so backward sums over the
transpose.

What a pair (j -> i) hears in all bins together, ``S_j``, is what node j receives. So the sum over bins of ``W_b M_b
h`` is ``W_1 S_j + sum over b > 1 of (W_b - W_1) M_b h``: one product a node in place of one a pair, and one bin
less.

The angular map runs over blocks of pairs, so that the concatenated sums [P, A p] exist for one block only. Backward
sums the *gradient* over the transpose, which serves the gradients of both input and weight: ``dh = sum of V_b W_b``
and ``dW_b = V_b^T h`` with ``V_b = M_b^T dy``; the first bin is again what is left of the sum over nodes. Weights
may be float32 while rows are bfloat16: products then accumulate in float32, and so do the gradients of weights over
blocks.
"""

import functools

import torch
from torch import Tensor
from torch.library import custom_op
from torch.nn import functional as F

from .segments import check_rows

# Bytes of one block of sums. Larger ones leave the cache, and above 32 MiB every block is mapped and cleared anew
# by the system (0.3 ms a MiB, more than it takes to fill it).
BLOCK_BYTES = 1 << 24


def gather_sum(input, segments):
    """Sum rows of ``input`` [S, d] over ``segments``: [R, d]. Defined in :mod:`.reference`; differentiable twice."""
    check_rows(input, segments.num_source, None, "rows that the segments were made for")
    transposed = list(segments.transposed()) if torch.is_grad_enabled() and input.requires_grad else []
    return _gather_sum(input, segments.index, segments.offsets, transposed)


def segment_linear(input, weight, bias, segments):
    """Sums over relations, mapped: [N, q]. Defined in :mod:`.reference`; differentiable once."""
    return _segment_linear_of([input], weight, bias, [segments])


def segment_linear_pair(inputs, weight, bias, segments):
    """Two of them by the same matrix, in one product: two of [N, q]. Defined in :mod:`.reference`."""
    # of a small graph it takes longer to read the matrix than to multiply by it
    output = _segment_linear_of(inputs, weight, bias, segments)
    # slices, as those of `chunk` must not be changed in place, which an activation may do
    return output[: len(output) // 2], output[len(output) // 2 :]


def _segment_linear_of(inputs, weight, bias, segments):
    forward, back = [], []
    for input, known in zip(inputs, segments):
        check_rows(input, known.num_source, None, "rows that the segments were made for")
        forward += [known.index, known.offsets]
        if torch.is_grad_enabled() and input.requires_grad:
            back += known.transposed()
    # all or none: what needs no gradient stands first, and gets none from autograd
    if len(back) < len(forward) and back:
        back = [part for known in segments for part in known.transposed()]
    return _segment_linear(list(inputs), weight, bias, forward, back)


def edge_linear(input, weight, self_weight, bias, topology):
    """Edge message passing: [E, q]. Defined in :mod:`.reference`; differentiable once."""
    check_rows(
        input, len(topology.pair), weight.shape[1] // topology.num_bin, "edges of the topology and width of a bin"
    )
    merge, into, hears = topology.merge, topology.into, topology.hears
    ways = [merge.index, merge.offsets, into.index, into.offsets, hears.index, hears.offsets, topology.pair]
    ways.append(topology.source)
    reach = hears.num_reach
    back, back_reach = [], []
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (input, weight, self_weight, bias)):
        heard_by, pair, target, merge = topology.heard_by()
        out_of = topology.out_of
        back = [merge.index, merge.offsets, out_of.index, out_of.offsets, heard_by.index, heard_by.offsets, pair]
        back.append(target)
        back_reach = heard_by.num_reach
    return _edge_linear(input, weight, self_weight, bias, ways, reach, back, back_reach)


def bag(input, index, offsets):
    """Sums of rows: of input[index[offsets[i] : offsets[i + 1]]] for each i."""
    if not len(index):
        return input.new_zeros(len(offsets) - 1, input.shape[1])
    return F.embedding_bag(index, input, offsets, mode="sum", include_last_offset=True)


def _bag_in(dtype, input, index, offsets):
    """:func:`bag` whose sums are of a type of more digits than its input."""
    if input.dtype == dtype:
        return bag(input, index, offsets)
    # in parts, as the input in that type would be as large as all that is kept of a layer
    num_row, step = len(offsets) - 1, max(1, BLOCK_BYTES // (input.shape[1] * 4))
    sums = torch.empty(num_row, input.shape[1], dtype=dtype)
    parts = torch.searchsorted(offsets, torch.arange(0, len(index) + step, step), right=True).clamp_(max=num_row)
    bounds = [0, *parts.unique().tolist()]
    for first, last in zip(bounds[:-1], bounds[1:]):
        begin, end = offsets[first], offsets[last]
        rows = input.index_select(0, index[begin:end]).to(dtype)
        sums[first:last] = bag(rows, torch.arange(len(rows)), offsets[first : last + 1] - begin)
    return sums


# The signatures of the operations are written out as torch names them: before 2.6 it cannot read them from annotations.

# === sums ===


@custom_op(
    "gearnet_plugin::gather_sum",
    mutates_args=(),
    schema="(Tensor input, Tensor index, Tensor offsets, Tensor[] transposed) -> Tensor",
)
def _gather_sum(input: Tensor, index: Tensor, offsets: Tensor, transposed: list[Tensor]) -> Tensor:
    return bag(input.contiguous(), index, offsets)


@_gather_sum.register_fake
def _(input, index, offsets, transposed):
    return input.new_empty(offsets.shape[0] - 1, input.shape[1])


def _gather_sum_setup(ctx, inputs, output):
    _, index, offsets, transposed = inputs
    ctx.save_for_backward(index, offsets, *transposed)


def _gather_sum_backward(ctx, grad):
    # the same operation with source and target exchanged
    index, offsets, *transposed = ctx.saved_tensors
    return _gather_sum(grad, *transposed, [index, offsets]), None, None, [None] * len(transposed)


_gather_sum.register_autograd(_gather_sum_backward, setup_context=_gather_sum_setup)


# === sums over relations, mapped ===


def _once(backward):
    """A backward that is not differentiable, and says so. (torch's own decorator cannot take lists of gradients.)"""

    @functools.wraps(backward)
    def checked(ctx, grad):
        if torch.is_grad_enabled():
            raise RuntimeError(
                "gradients of gradients (create_graph=True) are computed by backend `reference` only; give it to the "
                "encoder"
            )
        return backward(ctx, grad)

    return checked


def _stacked(inputs, ways, width):
    """Sums of all inputs below each other, relations side by side: [rows, width]."""
    sums = [bag(x.contiguous(), *ways[2 * i : 2 * i + 2]).view(-1, width) for i, x in enumerate(inputs)]
    return sums[0] if len(sums) == 1 else torch.cat(sums)


@custom_op(
    "gearnet_plugin::segment_linear",
    mutates_args=(),
    schema="(Tensor[] inputs, Tensor weight, Tensor bias, Tensor[] ways, Tensor[] back) -> Tensor",
)
def _segment_linear(
    inputs: list[Tensor], weight: Tensor, bias: Tensor, ways: list[Tensor], back: list[Tensor]
) -> Tensor:
    dtype = inputs[0].dtype
    return torch.addmm(bias.to(dtype), _stacked(inputs, ways, weight.shape[1]), weight.to(dtype).t())


@_segment_linear.register_fake
def _(inputs, weight, bias, ways, back):
    size = sum((offsets.shape[0] - 1) * inputs[0].shape[1] for offsets in ways[1::2])
    return inputs[0].new_empty(size // weight.shape[1], weight.shape[0])


@custom_op(
    "gearnet_plugin::segment_linear_backward",
    mutates_args=(),
    schema="(Tensor grad, Tensor[] inputs, Tensor weight, Tensor[] ways, Tensor[] back) -> (Tensor[], Tensor, Tensor)",
)
def _segment_linear_backward(
    grad: Tensor, inputs: list[Tensor], weight: Tensor, ways: list[Tensor], back: list[Tensor]
) -> tuple[list[Tensor], Tensor, Tensor]:
    grad = grad.contiguous()
    # summed again, which takes less time than saving the sums takes memory: R rows a node
    sums = _stacked(inputs, ways, weight.shape[1])
    grad_weight = torch.mm(grad.t(), sums).to(weight.dtype)
    grad_inputs = []
    if back:
        torch.mm(grad, weight.to(grad.dtype), out=sums)
        parts = sums.view(-1, inputs[0].shape[1]).split([len(offsets) - 1 for offsets in ways[1::2]])
        grad_inputs = [bag(part, *back[2 * i : 2 * i + 2]) for i, part in enumerate(parts)]
    return grad_inputs, grad_weight, grad.sum(dim=0, dtype=weight.dtype)


@_segment_linear_backward.register_fake
def _(grad, inputs, weight, ways, back):
    grads = [torch.empty_like(input) for input in inputs] if back else []
    return grads, torch.empty_like(weight), weight.new_empty(weight.shape[0])


def _segment_linear_setup(ctx, inputs, output):
    rows, weight, _, ways, back = inputs
    ctx.num_input, ctx.num_back = len(rows), len(back)
    ctx.save_for_backward(weight, *rows, *ways, *back)


@_once
def _segment_linear_grad(ctx, grad):
    weight, *rest = ctx.saved_tensors
    n = ctx.num_input
    rows, ways, back = rest[:n], rest[n : 3 * n], rest[3 * n :]
    grads, grad_weight, grad_bias = _segment_linear_backward(grad, rows, weight, ways, back)
    return grads or [None] * n, grad_weight, grad_bias, [None] * (2 * n), [None] * ctx.num_back


_segment_linear.register_autograd(_segment_linear_grad, setup_context=_segment_linear_setup)


# === edges that hear edges ===


def _blocks(input, index, offsets, reach):
    """
    Yield blocks of rows and their sums over the bins that they need: slice of rows, sums [rows, bins * width].

    Rows that need no bin at all are left out.
    """
    num_bin, width = len(reach) - 1, input.shape[1]
    blocks, start = [], reach[0]
    for bins, count in enumerate(reach[1:], 1):
        end = start + count
        step = max(1, BLOCK_BYTES // (bins * width * input.element_size()))
        blocks += [(first, min(first + step, end), bins) for first in range(start, end, step)]
        start = end
    if not blocks:
        return
    by_row = offsets[:-1].view(-1, num_bin)
    bounds = offsets[torch.tensor([(first * num_bin, last * num_bin) for first, last, _ in blocks])].tolist()
    for (first, last, bins), (begin, end) in zip(blocks, bounds):
        starts = by_row[first:last, :bins].reshape(-1)
        sums = bag(input, index[begin:end], torch.cat([starts, starts.new_tensor([end])]) - begin)
        yield slice(first, last), sums.view(last - first, bins * width)


def _less_the_first(weight, width):
    """``W_1`` and ``[W_2 - W_1 ... W_A - W_1]`` of matrices side by side, each [q, width]."""
    first = weight[:, :width]
    rest = weight[:, width:].view(len(weight), -1, width) - first[:, None]
    return first, rest.flatten(1)


@custom_op(
    "gearnet_plugin::edge_linear",
    mutates_args=(),
    schema="(Tensor input, Tensor weight, Tensor? self_weight, Tensor bias, "
    "Tensor[] ways, int[] reach, Tensor[] back, int[] back_reach) -> Tensor",
)
def _edge_linear(
    input: Tensor,
    weight: Tensor,
    self_weight: Tensor | None,
    bias: Tensor,
    ways: list[Tensor],
    reach: list[int],
    back: list[Tensor],
    back_reach: list[int],
) -> Tensor:
    merge_index, merge_offsets, into_index, into_offsets, index, offsets, pair, source = ways
    input = input.contiguous()
    dtype = input.dtype
    first, rest = (w.to(dtype) for w in _less_the_first(weight, input.shape[1]))
    everything = torch.addmm(bias.to(dtype), bag(input, into_index, into_offsets), first.t())  # [N, q]
    merged = bag(input, merge_index, merge_offsets)  # [P, p]
    heard = everything.index_select(0, source)  # [P, q]
    for block, sums in _blocks(merged, index, offsets, reach):
        heard[block].addmm_(sums, rest[:, : sums.shape[1]].t())
    output = heard.index_select(0, pair)
    return output if self_weight is None else output.addmm_(input, self_weight.to(dtype).t())


@_edge_linear.register_fake
def _(input, weight, self_weight, bias, ways, reach, back, back_reach):
    return input.new_empty(input.shape[0], weight.shape[0])


@custom_op(
    "gearnet_plugin::edge_linear_backward",
    mutates_args=(),
    schema="(Tensor grad, Tensor input, Tensor weight, Tensor? self_weight, "
    "Tensor[] ways, Tensor[] back, int[] reach) -> (Tensor, Tensor, Tensor, Tensor)",
)
def _edge_linear_backward(
    grad: Tensor,
    input: Tensor,
    weight: Tensor,
    self_weight: Tensor | None,
    ways: list[Tensor],
    back: list[Tensor],
    reach: list[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    grad, input = grad.contiguous(), input.contiguous()
    dtype, (_, q), (_, p) = grad.dtype, grad.shape, input.shape
    # the pairs in the order of backward, see PairTopology
    merge_index, merge_offsets, out_index, out_offsets, index, offsets, pair, target = back
    told = bag(grad, out_index, out_offsets)  # [N, q]
    spoken = bag(grad, ways[0], ways[1])  # [P, q]
    first, rest = _less_the_first(weight, p)
    # the maps of the bins below each other: [(A - 1) q, p]
    rest = rest.to(dtype).view(q, -1, p).transpose(0, 1).reshape(-1, p)
    grad_rest = weight.new_zeros(rest.shape)
    grad_merged = (told @ first.to(dtype)).index_select(0, target)
    for block, sums in _blocks(spoken, index, offsets, reach):
        grad_merged[block].addmm_(sums, rest[: sums.shape[1]])
        # the rows of the block alone, since all of them are as large as the input
        begin, end = merge_offsets[block.start], merge_offsets[block.stop]
        merged = bag(input, merge_index[begin:end], merge_offsets[block.start : block.stop + 1] - begin)
        add_product(grad_rest[: sums.shape[1]], sums.t(), merged)
    del spoken
    grad_input = grad_merged.index_select(0, pair)
    del grad_merged
    grad_self = input.new_empty(0)
    if self_weight is not None:
        grad_input.addmm_(grad, self_weight.to(dtype))
        grad_self = torch.mm(grad.t(), input).to(self_weight.dtype)
    # A small difference of large sums: these need more digits than the rows have.
    told = _bag_in(weight.dtype, grad, out_index, out_offsets)
    grad_first = torch.mm(told.t(), _bag_in(weight.dtype, input, ways[2], ways[3]))
    grad_rest = grad_rest.view(-1, q, p)
    grad_weight = torch.cat([(grad_first - grad_rest.sum(dim=0))[None], grad_rest])
    grad_weight = grad_weight.transpose(0, 1).reshape(weight.shape)
    return grad_input, grad_weight, grad_self, grad.sum(dim=0, dtype=weight.dtype)


def add_product(total, left, right):
    """``total += left @ right``, in the precision of ``total``."""
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right


@_edge_linear_backward.register_fake
def _(grad, input, weight, self_weight, ways, back, reach):
    grad_self = input.new_empty(0) if self_weight is None else torch.empty_like(self_weight)
    return torch.empty_like(input), torch.empty_like(weight), grad_self, weight.new_empty(weight.shape[0])


def _edge_linear_setup(ctx, inputs, output):
    input, weight, self_weight, _, ways, _, back, reach = inputs
    ctx.reach, ctx.num_way = reach, len(ways)
    # None is saved as None
    ctx.save_for_backward(input, weight, self_weight, *ways, *back)


@_once
def _edge_linear_grad(ctx, grad):
    input, weight, self_weight, *known = ctx.saved_tensors
    ways, back = known[: ctx.num_way], known[ctx.num_way :]
    grads = list(_edge_linear_backward(grad, input, weight, self_weight, ways, back, ctx.reach))
    if self_weight is None:
        grads[2] = None
    return *grads, [None] * len(ways), None, [None] * len(back), None


_edge_linear.register_autograd(_edge_linear_grad, setup_context=_edge_linear_setup)
