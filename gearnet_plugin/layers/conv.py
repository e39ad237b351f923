"""The relational graph convolution of GearNet."""

import torch
from torch import nn
from torch.nn import functional as F

from gearnet_plugin import ops
from gearnet_plugin.graphs import topology
from torchdrug import core, layers
from torchdrug.core import Registry as R


def check_linear(linear):
    """Raise ValueError for what was put in place of a linear map and computes something else than its matrix says."""
    if type(linear).forward is not nn.Linear.forward:
        raise ValueError(
            "the convolution multiplies by the matrix of its linear map and never calls it, so what `%s` does in its "
            "own forward would have no effect. Keep `nn.Linear`; parametrizations of its weight "
            "(`torch.nn.utils.parametrize`) work" % type(linear).__name__
        )


@R.register("layers.RelationalGeometricConv")
class RelationalGeometricConv(layers.GeometricRelationalGraphConv, core.Configurable):
    """
    Relational graph convolution of GearNet (arXiv 2203.06125, equation 1): TorchDrug's ``GeometricRelationalGraphConv``
    with the same parameters, state dict and results, computed by :mod:`gearnet_plugin.ops`.

    ``output = act(BN(W [sum of messages of relation 1, ..., R] + W_0 input))``; unlike the paper's equation there is a
    self-loop of its own (W_0) beside the sequential relation of offset 0, as in the released checkpoints.

    Parameters:
        input_dim (int): input dimension
        output_dim (int): output dimension
        num_relation (int): number of relations
        edge_input_dim (int, optional): dimension of edge features
        batch_norm (bool, optional): apply batch normalization on nodes or not
        activation (str or function, optional): activation function
    """

    def __init__(self, input_dim, output_dim, num_relation, edge_input_dim=None, batch_norm=False, activation="relu"):
        super().__init__(input_dim, output_dim, num_relation, edge_input_dim, batch_norm, activation)

    def nodes(self, input, messages, segments, ops, edges=None, dtype=None):
        """
        Convolve over nodes, and sum and map what their edges tell them by the same matrix.

        Parameters:
            input (Tensor): nodes of shape :math:`(N, input\\_dim)`
            messages (Tensor): what ``segments`` sums, shape :math:`(S, input\\_dim)`
            segments (Segments): S rows -> N·R rows
            ops (module): from :func:`gearnet_plugin.ops.choose`
            edges ((Tensor, Segments), optional): what edges tell, shape :math:`(E, input\\_dim)`, and E rows -> N·R
                rows
            dtype (torch.dtype, optional): type in which messages are summed and mapped, if not that of the input

        Returns:
            (Tensor, Tensor): nodes, and what edges tell them, before activation; the latter None without edges.
            Both of shape :math:`(N, output\\_dim)`
        """
        dtype = input.dtype if dtype is None else dtype
        check_linear(self.linear)
        weight, bias = self.linear.weight, self.linear.bias
        if edges is None:
            update, told = ops.segment_linear(messages.to(dtype), weight, bias, segments), None
        else:
            inputs = [messages.to(dtype), edges[0].to(dtype)]
            update, told = ops.segment_linear_pair(inputs, weight, bias, [segments, edges[1]])
            told = told.to(input.dtype)
        return self.finish(update.to(input.dtype) + self.self_loop(input)), told

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
        check_linear(self.self_loop)
        weight, self_weight = self.linear.weight, self.self_loop.weight
        bias = self.linear.bias + self.self_loop.bias
        norm = self.batch_norm
        known = isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.track_running_stats
        if known and not norm.training and not torch.is_grad_enabled():
            # the statistics are known, so that normalization is part of the linear map
            scale = (norm.running_var + norm.eps).rsqrt()
            scale = scale * norm.weight if norm.affine else scale
            shift = norm.bias - norm.running_mean * scale if norm.affine else -norm.running_mean * scale
            # of what is smaller: matrices or edges
            if weight.shape[1] < len(input):
                weight, self_weight = weight * scale[:, None], self_weight * scale[:, None]
                output = ops.edge_linear(input, weight, self_weight, bias * scale + shift, topology)
            else:
                output = ops.edge_linear(input, weight, self_weight, bias, topology)
                output.mul_(scale.to(output.dtype)).add_(shift.to(output.dtype))
            return output.relu_() if self.activation is F.relu else self.activate(output)
        output = ops.edge_linear(input, weight, self_weight, bias, topology)
        if recomputed is not None and norm and len(output) and recomputed.can_normalize(norm, self.activation):
            return recomputed.normalize(output, norm)
        return self.finish(output)

    def finish(self, output):
        """Batch normalization and activation."""
        return self.activate(self.batch_norm(output) if self.batch_norm else output)

    def activate(self, output):
        """The activation function, or nothing where there is none."""
        return self.activation(output) if self.activation else output

    def message_and_aggregate(self, graph, input):
        if not getattr(graph, "has_unit_weights", False) or not bool((graph.edge_weight == 1).all()):
            # a weighted or foreign graph: TorchDrug's own sparse product
            return super().message_and_aggregate(graph, input)
        if graph.num_relation != self.num_relation:
            raise ValueError(
                "this convolution was made for num_relation=%d, but the graph has %d relations"
                % (self.num_relation, graph.num_relation)
            )
        sums = topology.RelationTopology(graph.edge_list, int(graph.num_node), self.num_relation)
        known = ops.choose("auto", input.device)
        update = known.gather_sum(input, sums.nodes)
        if self.edge_linear is not None:
            update = update + known.gather_sum(self.edge_linear(graph.edge_feature.float()), sums.edges)
        return update.view(-1, self.num_relation * self.input_dim)
