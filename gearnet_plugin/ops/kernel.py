"""
The sum over edges of IEConv, whose matrices differ from edge to edge, without these matrices.

The matrix of edge e is linear in C features of the edge, ``K_e = sum over c of f_ec W_c``, so that what node i receives
is ``sum over c of W_c (sum over its edges of f_ec m_e)``: one product of a matrix [H, degree] by one [degree, C] a
node, and one product by all W_c for many nodes. Of 528,000 multiplications an edge at C = 33, H = 128 that leaves
30,000 at 21 edges a node, and of 66 kB an edge nothing: backward makes the sums again, block by block.

Products of one size are made together. Nodes are ordered by degree for it, and edges by node.

N nodes, E edges, S rows that are told, C features of an edge, H width of rows, q width of the output.
"""

import torch
from torch import Tensor
from torch.library import custom_op

from .cpu import add_product, bag
from .segments import Segments, check_rows

# Bytes of the sums of one block of nodes, see :data:`gearnet_plugin.ops.cpu.BLOCK_BYTES`
BLOCK_BYTES = 1 << 24


class DegreeTopology:
    """
    Edges ordered by the number of edges that their target hears, then by target.

    Parameters:
        edge_list (LongTensor): source, target, ... of shape :math:`(E, 2+)`
        num_node (int): N

    Attributes:
        edge (LongTensor): number in ``edge_list`` of each ordered edge, shape :math:`(E,)`
        source, target (LongTensor): of each ordered edge, shape :math:`(E,)`
        heard (LongTensor): number of edges out of each node, shape :math:`(N,)`
        rows (Segments): N nodes -> E ordered edges, the source of each
        each (Segments): E ordered edges -> themselves, where every edge has a row of its own
        node (LongTensor): nodes that hear something by their degree
        degrees (list of int): number of nodes that hear 0, 1, 2, ... edges
    """

    def __init__(self, edge_list, num_node):
        source, target = edge_list[:, 0], edge_list[:, 1]
        degree = target.bincount(minlength=num_node)
        self.num_node = num_node
        self.degrees = degree.bincount(minlength=1).tolist()
        node = degree.sort(stable=True).indices
        place = torch.empty_like(node)
        place[node] = torch.arange(num_node, device=node.device)
        self.edge = place[target].sort(stable=True).indices
        self.node = node[self.degrees[0] :]
        self.source, self.target = source[self.edge], target[self.edge]
        self.heard = source.bincount(minlength=num_node)
        each = torch.arange(len(edge_list) + 1, device=node.device)
        self.rows = Segments.sorted(self.source, each, num_node)
        self.each = Segments.sorted(each[:-1], each, len(edge_list))


def kernel_sum(features, rows, keep, weight, topology, told=None):
    """
    Sum what edges tell each node, mapped by a matrix that the features of the edge make; differentiable once.

    ``output[i] = sum over edges e into i of (weight features[e]) (keep[e] * rows[told[e]])``

    Parameters:
        features (Tensor): features of ordered edges, shape :math:`(E, C)`; may carry the weight of the edge
        rows (Tensor): what is told, shape :math:`(S, H)`
        keep (BoolTensor, optional): numbers that are not dropped, shape :math:`(E, H)`
        weight (Tensor): shape :math:`(q, H, C)`; or :math:`(H, C)` for diagonal matrices, where q = H
        topology (DegreeTopology): E ordered edges
        told (Segments, optional): S rows -> E ordered edges; by default the source nodes

    Returns:
        Tensor: shape :math:`(N, q)`
    """
    told = _check(features, rows, weight, topology, told)
    back = told.transposed() if torch.is_grad_enabled() and rows.requires_grad else ()
    return _kernel_sum(
        features, rows, keep, weight, told.index, list(back), topology.node, topology.degrees, topology.num_node
    )


def kernel_sum_definition(features, rows, keep, weight, topology, told=None):
    """The plain definition of :func:`kernel_sum`, with the matrix of every edge: C·H + q·H numbers an edge."""
    told = _check(features, rows, weight, topology, told)
    rows = rows[told.index]
    if keep is not None:
        rows = rows * keep
    kernel = torch.tensordot(features, weight, dims=[[1], [weight.dim() - 1]])  # [E, q, H] or [E, H]
    messages = kernel * rows if weight.dim() == 2 else torch.einsum("eqh,eh->eq", kernel, rows)
    output = messages.new_zeros(topology.num_node, messages.shape[1])
    return output.index_add(0, topology.target, messages)


def _check(features, rows, weight, topology, told):
    told = topology.rows if told is None else told
    check_rows(features, len(topology.edge), weight.shape[-1], "edges of the topology and features of an edge")
    check_rows(rows, told.num_source, weight.shape[-2], "rows that edges tell of and width of the weight")
    return told


class _Block:
    """
    Some nodes, their edges and the groups of equal degree among them.

    Attributes:
        nodes, edges (slice): among ordered nodes and edges
        groups (list of (slice, slice, int)): nodes and edges of each group, counted from those of the block; degree
    """

    def __init__(self, node, edge):
        self.nodes, self.edges, self.groups = slice(node, node), slice(edge, edge), []

    def add(self, count, degree):
        node, edge = self.nodes.stop - self.nodes.start, self.edges.stop - self.edges.start
        self.groups.append((slice(node, node + count), slice(edge, edge + count * degree), degree))
        self.nodes = slice(self.nodes.start, self.nodes.stop + count)
        self.edges = slice(self.edges.start, self.edges.stop + count * degree)


def _blocks(degrees, node_bytes):
    """Blocks of at most as many nodes as have ``BLOCK_BYTES``."""
    most = max(1, BLOCK_BYTES // max(node_bytes, 1))
    blocks, free = [_Block(0, 0)], most
    for degree, count in enumerate(degrees[1:], 1):
        while count:
            if not free:
                blocks.append(_Block(blocks[-1].nodes.stop, blocks[-1].edges.stop))
                free = most
            some = min(count, free)
            blocks[-1].add(some, degree)
            count, free = count - some, free - some
    return [block for block in blocks if block.groups]


def _told(rows, keep, index, block):
    """What the edges of a block tell: [edges, H]."""
    told = rows.index_select(0, index[block.edges])
    return told if keep is None else told.mul_(keep[block.edges])


def _sums(features, told, block):
    """For every node of a block the sum over its edges of what is told times features: [nodes, H, C]."""
    features = features[block.edges]
    num_node = block.nodes.stop - block.nodes.start
    sums = told.new_empty(num_node, told.shape[1], features.shape[1])
    for nodes, edges, degree in block.groups:
        shape = nodes.stop - nodes.start, degree, -1
        torch.bmm(told[edges].view(shape).transpose(1, 2), features[edges].view(shape), out=sums[nodes])
    return sums


@custom_op(
    "gearnet_plugin::kernel_sum",
    mutates_args=(),
    schema="(Tensor features, Tensor rows, Tensor? keep, Tensor weight, Tensor index, "
    "Tensor[] back, Tensor node, int[] degrees, int num_node) -> Tensor",
)
def _kernel_sum(
    features: Tensor,
    rows: Tensor,
    keep: Tensor | None,
    weight: Tensor,
    index: Tensor,
    back: list[Tensor],
    node: Tensor,
    degrees: list[int],
    num_node: int,
) -> Tensor:
    features, weight = features.contiguous(), weight.to(rows.dtype)
    mapped = weight.flatten(1).t() if weight.dim() == 3 else None  # [H C, q]
    output = rows.new_zeros(num_node, len(weight))
    for block in _blocks(degrees, weight.shape[-2] * weight.shape[-1] * rows.element_size()):
        sums = _sums(features, _told(rows, keep, index, block), block)
        heard = (sums * weight).sum(dim=2) if mapped is None else sums.flatten(1) @ mapped
        output.index_copy_(0, node[block.nodes], heard)
    return output


@_kernel_sum.register_fake
def _(features, rows, keep, weight, index, back, node, degrees, num_node):
    return rows.new_empty(num_node, weight.shape[0])


@custom_op(
    "gearnet_plugin::kernel_sum_backward",
    mutates_args=(),
    schema="(Tensor grad, Tensor features, Tensor rows, Tensor? keep, Tensor weight, Tensor index, "
    "Tensor[] back, Tensor node, int[] degrees) -> (Tensor, Tensor, Tensor)",
)
def _kernel_sum_backward(
    grad: Tensor,
    features: Tensor,
    rows: Tensor,
    keep: Tensor | None,
    weight: Tensor,
    index: Tensor,
    back: list[Tensor],
    node: Tensor,
    degrees: list[int],
) -> tuple[Tensor, Tensor, Tensor]:
    features, cast = features.contiguous(), weight.to(rows.dtype)
    full = weight.dim() == 3
    grad_features, grad_weight = features.new_zeros(features.shape), weight.new_zeros(weight.shape)
    grad_told = rows.new_zeros(len(index), rows.shape[1])
    for block in _blocks(degrees, weight.shape[-2] * weight.shape[-1] * rows.element_size()):
        told = _told(rows, keep, index, block)
        heard = grad.index_select(0, node[block.nodes])
        # summed again, as they would take H C numbers a node to keep
        sums = _sums(features, told, block)
        if full:
            add_product(grad_weight.view(len(weight), -1), heard.t(), sums.flatten(1))
            torch.mm(heard, cast.flatten(1), out=sums.flatten(1))
        else:
            grad_weight += (sums * heard[:, :, None]).sum(dim=0)
            torch.mul(heard[:, :, None], cast, out=sums)
        some, own = features[block.edges], grad_told[block.edges]
        own_features = grad_features[block.edges]
        for nodes, edges, degree in block.groups:
            shape = nodes.stop - nodes.start, degree, -1
            torch.bmm(some[edges].view(shape), sums[nodes].transpose(1, 2), out=own[edges].view(shape))
            torch.bmm(told[edges].view(shape), sums[nodes], out=own_features[edges].view(shape))
    if not back:
        return grad_features, rows.new_empty(0), grad_weight
    if keep is not None:
        grad_told.mul_(keep)
    return grad_features, bag(grad_told, *back), grad_weight


@_kernel_sum_backward.register_fake
def _(grad, features, rows, keep, weight, index, back, node, degrees):
    grad_rows = torch.empty_like(rows) if back else rows.new_empty(0)
    return features.new_empty(features.shape), grad_rows, weight.new_empty(weight.shape)


def _setup(ctx, inputs, output):
    features, rows, keep, weight, index, back, node, degrees, _ = inputs
    ctx.degrees = degrees
    ctx.save_for_backward(features, rows, keep, weight, index, node, *back)


@torch.autograd.function.once_differentiable
def _grad(ctx, grad):
    features, rows, keep, weight, index, node, *back = ctx.saved_tensors
    grads = _kernel_sum_backward(grad.contiguous(), features, rows, keep, weight, index, back, node, ctx.degrees)
    grad_features, grad_rows, grad_weight = grads
    return grad_features, grad_rows if back else None, None, grad_weight, None, [None] * len(back), None, None, None


_kernel_sum.register_autograd(_grad, setup_context=_setup)
