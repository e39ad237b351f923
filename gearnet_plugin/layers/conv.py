"""The relational graph convolution of GearNet."""
from gearnet_plugin.graphs import topology
from gearnet_plugin.ops import angular_linear, gather_sum
from torchdrug import core, layers
from torchdrug.core import Registry as R


@R.register("layers.RelationalGeometricConv")
class RelationalGeometricConv(layers.GeometricRelationalGraphConv, core.Configurable):
    """
    Relational graph convolution of GearNet (arXiv 2203.06125, equation 1): TorchDrug's ``GeometricRelationalGraphConv``
    with the same parameters, state dict and results, its sums done by :func:`gearnet_plugin.ops.gather_sum`.

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

    def aggregate_segments(self, input, segments):
        """Sum messages [S, input_dim] over (row, relation): [rows, num_relation * input_dim]."""
        return gather_sum(input, segments).view(-1, self.num_relation * self.input_dim)

    def between_edges(self, input, topology):
        """
        Convolve over the edges that each edge hears, the relation being the bin of the angle between them.

        Parameters:
            input (Tensor): edges of shape :math:`(E, input\\_dim)`
            topology (PairTopology): which edge hears which

        Returns:
            Tensor: edges of shape :math:`(E, output\\_dim)`
        """
        heard = angular_linear(gather_sum(input, topology.merge), self.linear.weight, topology)  # [P, D]
        output = gather_sum(heard, topology.spread) + self.self_loop(input) + self.linear.bias
        if self.batch_norm:
            output = self.batch_norm(output)
        if self.activation:
            output = self.activation(output)
        return output

    def message_and_aggregate(self, graph, input):
        if not getattr(graph, "has_unit_weights", False):
            # a weighted or foreign graph: TorchDrug's own sparse product
            return super().message_and_aggregate(graph, input)
        if graph.num_relation != self.num_relation:
            raise ValueError("this convolution was made for num_relation=%d, but the graph has %d relations"
                             % (self.num_relation, graph.num_relation))
        sums = topology.RelationTopology(graph.edge_list, int(graph.num_node), self.num_relation)
        update = self.aggregate_segments(input, sums.nodes)
        if self.edge_linear is not None:
            update = update + self.aggregate_segments(self.edge_linear(graph.edge_feature.float()), sums.edges)
        return update
