"""The convolutions of GearNet-IEConv: relational without a self-loop, and by a kernel of the frames of residues."""

import torch
from torch import nn
from torch.nn import functional as F

from gearnet_plugin.layers.conv import check_linear
from gearnet_plugin.ops import kernel
from torchdrug import layers

KINDS = ("none", "kernel", "film")

# N nodes, E edges, R relations, H width inside the convolution


class RelationalConv(nn.Module):
    """
    Relational graph convolution whose messages may carry edges, ``act(BN(W [sums of relation 1, ..., R]))``.

    Unlike :class:`~gearnet_plugin.layers.RelationalGeometricConv` it has no self-loop of its own: a node hears itself
    by the sequential relation of offset 0 only, as in the paper.

    Parameters:
        input_dim (int): input dimension
        output_dim (int): output dimension
        num_relation (int): number of relations
        batch_norm (bool, optional): apply batch normalization or not
        activation (str or function, optional): activation function
    """

    def __init__(self, input_dim, output_dim, num_relation, batch_norm=False, activation="relu"):
        super().__init__()
        self.input_dim, self.output_dim, self.num_relation = input_dim, output_dim, num_relation
        self.batch_norm = nn.BatchNorm1d(output_dim) if batch_norm else None
        self.activation = getattr(F, activation) if isinstance(activation, str) else activation
        self.linear = nn.Linear(num_relation * input_dim, output_dim)

    def nodes(self, messages, segments, ops, edges=None, dtype=None):
        """
        Convolve over nodes.

        Parameters:
            messages (Tensor): what ``segments`` sums, shape :math:`(S, input\\_dim)`
            segments (Segments): S rows -> N·R rows
            ops (module): from :func:`gearnet_plugin.ops.choose`
            edges ((Tensor, Segments), optional): messages of edges of shape :math:`(E, input\\_dim)` that are summed
                with them, E rows -> N·R rows
            dtype (torch.dtype, optional): type in which messages are summed and mapped, if not their own

        Returns:
            Tensor: nodes of shape :math:`(N, output\\_dim)`, of the type of ``messages``
        """
        check_linear(self.linear)
        weight, bias, rows = self.linear.weight, self.linear.bias, messages.to(dtype)
        if edges is None:
            output = ops.segment_linear(rows, weight, bias, segments)
        else:
            # one product for both, so the sums are kept for backward
            sums = ops.gather_sum(rows, segments) + ops.gather_sum(edges[0].to(rows.dtype), edges[1])
            sums = sums.view(-1, weight.shape[1])
            output = F.linear(sums, weight.to(rows.dtype), bias.to(rows.dtype))
        return self.finish(output.to(messages.dtype))

    def edges(self, input, topology, ops, recomputed=None):
        """
        Convolve over the edges that each edge hears, the relation being the bin of the angle between them.

        Parameters:
            input (Tensor): edges of shape :math:`(E, input\\_dim)`
            topology (PairTopology): which edge hears which
            ops (module): from :func:`gearnet_plugin.ops.choose`
            recomputed (Recomputed, optional): context in which the result is not kept for backward where that can be

        Returns:
            Tensor: edges of shape :math:`(E, output\\_dim)`
        """
        check_linear(self.linear)
        norm = self.batch_norm
        output = ops.edge_linear(input, self.linear.weight, None, self.linear.bias, topology)
        if recomputed is not None and norm and len(output) and recomputed.can_normalize(norm, self.activation):
            return recomputed.normalize(output, norm)
        return self.finish(output)

    def finish(self, output):
        """Batch normalization and activation."""
        output = self.batch_norm(output) if self.batch_norm else output
        return self.activation(output) if self.activation else output


class FrameKernelConv(nn.Module):
    """
    Intrinsic-extrinsic convolution (IEConv, arXiv 2007.06252): what a residue tells another is mapped by a matrix that
    a small network makes of the geometry of their edge, here without making the matrix.

    ``film`` makes a scale and a shift of every number in place of a matrix: 65 times fewer parameters at the paper's
    sizes. Scales begin around one.

    Parameters:
        input_dim (int): input dimension
        hidden_dim (int): H, the dimension of messages
        output_dim (int): output dimension
        edge_input_dim (int): dimension of the features of edges
        kernel_hidden_dim (int, optional): width of the hidden layer of the network
        dropout (float, optional): dropout of nodes, before and after the sum
        dropout_before_conv (float, optional): dropout of messages
        kind (str, optional): ``kernel`` or ``film``
    """

    def __init__(
        self,
        input_dim,
        hidden_dim,
        output_dim,
        edge_input_dim,
        kernel_hidden_dim=32,
        dropout=0.05,
        dropout_before_conv=0.2,
        kind="kernel",
    ):
        super().__init__()
        self.hidden_dim = hidden_dim
        self.kind = kind
        # made in the order of the published model, so that one seed gives both the same weights
        self.linear1 = nn.Linear(input_dim, hidden_dim)
        kernel_dim = (hidden_dim + 1) * hidden_dim if kind == "kernel" else 2 * hidden_dim
        self.kernel = layers.MLP(edge_input_dim, [kernel_hidden_dim, kernel_dim])
        self.linear2 = nn.Linear(hidden_dim, output_dim)
        self.input_batch_norm = nn.BatchNorm1d(input_dim)
        self.message_batch_norm = nn.BatchNorm1d(hidden_dim)
        self.update_batch_norm = nn.BatchNorm1d(hidden_dim)
        self.output_batch_norm = nn.BatchNorm1d(output_dim)
        self.dropout = nn.Dropout(dropout)
        self.dropout_before_conv = nn.Dropout(dropout_before_conv)
        if kind == "film":
            with torch.no_grad():
                self.kernel.layers[-1].bias[hidden_dim:] += 1

    def forward(self, input, features, topology, by_target, ops, weight=None, dtype=None, plain=False):
        """
        Convolve over nodes.

        Parameters:
            input (Tensor): nodes of shape :math:`(N, input\\_dim)`
            features (Tensor): features of edges, in the order of ``topology``, shape
                :math:`(E, edge\\_input\\_dim)`
            topology (DegreeTopology): ordered edges
            by_target (Segments): E ordered edges -> N targets
            ops (module): from :func:`gearnet_plugin.ops.choose`
            weight (Tensor, optional): weights of the ordered edges of shape :math:`(E, 1)`, if not all are 1
            dtype (torch.dtype, optional): type in which messages are summed and mapped, if not that of the input
            plain (bool, optional): compute by the definition, with a matrix an edge

        Returns:
            Tensor: nodes of shape :math:`(N, output\\_dim)`
        """
        dtype = dtype or input.dtype
        hidden = self.dropout(F.relu(self.input_batch_norm(input)))
        rows, told = self._messages(self.linear1(hidden), topology)
        rows = F.relu(rows)
        keep, share = self._keep(topology, rows)

        code = F.relu(self.kernel.layers[0](features))  # [E, C - 1]
        code = torch.cat([code, torch.ones_like(code[:, :1])], dim=-1)
        code = (code if weight is None else code * weight).to(dtype)  # [E, C]
        matrix, shift = self._matrices()
        total = kernel.kernel_sum_definition if plain else kernel.kernel_sum
        update = total(code, (rows / share).to(dtype), keep, matrix, topology, told)
        update = update.to(input.dtype) + F.linear(ops.gather_sum(code, by_target).to(input.dtype), shift)
        update = self.dropout(F.relu(self.update_batch_norm(update)))
        return self.output_batch_norm(self.linear2(update))

    def _matrices(self):
        """
        The last layer of the network as matrices of its input with a 1 appended, C numbers: those of the kernel
        [H, H, C], or of the scale [H, C]; and that of the shift [H, C].
        """
        last, width = self.kernel.layers[-1], self.hidden_dim
        parameters = torch.cat([last.weight, last.bias.unsqueeze(-1)], dim=-1)  # [(H + 1) H or 2 H, C]
        shift = parameters[:width]
        if self.kind == "film":
            return parameters[width:], shift
        return parameters[width:].view(width, width, -1), shift

    def _keep(self, topology, rows):
        """Which numbers of messages are not dropped, [E, H] or None for all of them, and their share."""
        dropout = self.dropout_before_conv
        if not (dropout.training and dropout.p):
            return None, 1
        # drawn in the order of the edges of the graph, the numbers that `F.dropout` of messages draws on CPU
        keep = torch.empty(len(topology.edge), self.hidden_dim, dtype=torch.bool, device=rows.device)
        keep = keep.bernoulli_(1 - dropout.p).index_select(0, topology.edge)
        return keep, max(1 - dropout.p, 1e-12)

    def _messages(self, nodes, topology):
        """
        Batch normalization over edges of what their sources say: rows, and which of them each edge tells.

        Statistics are those of E rows, of which there are N different ones: each node counts as often as it is heard.
        """
        norm = self.message_batch_norm
        if not (norm.training or norm.running_mean is None):
            return norm(nodes), topology.rows
        if type(norm) is not nn.BatchNorm1d:
            # such as one that synchronises processes
            return norm(nodes[topology.source]), topology.each
        return _normalize_counted(norm, nodes, topology.heard, len(topology.edge)), topology.rows


def _normalize_counted(norm, input, count, total):
    """``norm`` in training mode of ``total`` rows, of which ``count`` [N] equal each row of ``input`` [N, H]."""
    if total == 1:
        raise ValueError("Expected more than 1 edge when training: batch normalization has no variance of one")
    if total == 0:
        return input
    share = count.to(input.dtype) / total
    mean = share @ input
    centred = input - mean
    variance = share @ centred.square()
    if norm.training and norm.track_running_stats:
        with torch.no_grad():
            norm.num_batches_tracked.add_(1)
            momentum = norm.momentum if norm.momentum is not None else 1 / float(norm.num_batches_tracked)
            norm.running_mean.lerp_(mean.to(norm.running_mean), momentum)
            norm.running_var.lerp_((variance * (total / (total - 1))).to(norm.running_var), momentum)
    output = centred * (variance + norm.eps).rsqrt()
    return torch.addcmul(norm.bias, output, norm.weight) if norm.affine else output
