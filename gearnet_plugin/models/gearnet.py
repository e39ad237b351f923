"""GearNet and GearNet-Edge."""
from collections.abc import Sequence

import torch
from torch import nn

from gearnet_plugin import ops
from gearnet_plugin.graphs import topology
from gearnet_plugin.layers import RelationalGeometricConv
from gearnet_plugin.layers.recompute import Recomputed
from gearnet_plugin.models import checks
from torchdrug import core, layers
from torchdrug.core import Registry as R

# type in which messages are summed and mapped; None is that of the input
DTYPES = {None: None, "fp32": None, "bf16": torch.bfloat16}

# N nodes, E edges, R relations, A angle bins, D width of a layer


@R.register("models.GearNetEncoder")
class GearNetEncoder(nn.Module, core.Configurable):
    """
    Geometry-aware relational graph network (arXiv 2203.06125), with edge message passing when ``num_angle_bin`` is set.

    Parameters, state dict and arithmetic are those of TorchDrug's ``GearNet``, so published weights load unchanged.
    What differs from the paper stays for their sake: the edge messages of a layer pass through the *same* linear map
    as the node messages and are added after it, with its bias a second time and without BatchNorm.

    Parameters:
        input_dim (int): dimension of node features
        hidden_dims (list of int): width of each layer
        num_relation (int): number of relations of the graph
        edge_input_dim (int, optional): dimension of edge features; needed with ``num_angle_bin``
        num_angle_bin (int, optional): number of bins of the angle between two edges, the relation of edge message
            passing. Without it there is none.
        short_cut (bool, optional): add the input of a layer to its output where the widths agree
        batch_norm (bool, optional): apply batch normalization
        activation (str or function, optional): activation function
        concat_hidden (bool, optional): concatenate the outputs of all layers
        readout (str, optional): ``sum`` or ``mean`` over the residues of a protein
        backend (str, optional): what computes, see :func:`gearnet_plugin.ops.choose`. Weights and state dict do not
            depend on it.
        precision (str, optional): ``bf16`` keeps edges and sums messages in bfloat16, with products accumulated in
            float32; nodes and parameters stay float32. ``fp32`` or None: all in the type of the input; None under
            torch's autocast to bfloat16 is ``bf16``.
    """

    def __init__(self, input_dim, hidden_dims, num_relation, edge_input_dim=None, num_angle_bin=None, short_cut=False,
                 batch_norm=False, activation="relu", concat_hidden=False, readout="sum", backend="auto",
                 precision=None):
        super().__init__()
        hidden_dims = list(hidden_dims) if isinstance(hidden_dims, Sequence) else [hidden_dims]
        checks.check_sizes(input_dim, hidden_dims, num_relation, num_angle_bin, edge_input_dim)
        checks.check_options(readout, backend, precision, DTYPES, num_angle_bin, edge_input_dim, activation)
        self.backend = backend
        self.precision = precision
        self.input_dim = input_dim
        self.output_dim = sum(hidden_dims) if concat_hidden else hidden_dims[-1]
        self.dims = [input_dim] + hidden_dims
        # edge layer i is as wide as the input of node layer i (59 -> 21 -> 512 -> ... with the paper's sizes)
        self.edge_dims = [edge_input_dim] + self.dims[:-1]
        self.num_relation = num_relation
        self.num_angle_bin = num_angle_bin
        self.short_cut = short_cut
        self.concat_hidden = concat_hidden
        self.batch_norm = batch_norm

        # made in TorchDrug's order, so that one seed gives both the same weights
        self.layers = nn.ModuleList(
            RelationalGeometricConv(i, o, num_relation, None, batch_norm, activation)
            for i, o in zip(self.dims[:-1], self.dims[1:]))
        if num_angle_bin:
            self.edge_layers = nn.ModuleList(
                RelationalGeometricConv(i, o, num_angle_bin, None, batch_norm, activation)
                for i, o in zip(self.edge_dims[:-1], self.edge_dims[1:]))
        if batch_norm:
            self.batch_norms = nn.ModuleList(nn.BatchNorm1d(dim) for dim in self.dims[1:])
        self.readout = layers.SumReadout() if readout == "sum" else layers.MeanReadout()

    def forward(self, graph, input, all_loss=None, metric=None):
        """
        Compute the representations of residues and proteins.

        Parameters:
            graph (PackedProtein): residue graphs with edges, and edge features when there is edge message passing
            input (Tensor): node features of shape :math:`(N, input\\_dim)`
            all_loss (Tensor, optional): unused; in the signature of every TorchDrug model
            metric (dict, optional): unused

        Returns:
            dict: ``node_feature`` of shape :math:`(N, output\\_dim)`, ``graph_feature`` of shape
            :math:`(B, output\\_dim)`
        """
        checks.check_graph(graph, input, self.input_dim, self.num_relation)
        chosen = ops.choose(self.backend, input.device)
        dtype = checks.message_type(self.precision, DTYPES, input)
        own_types, input = checks.without_autocast(input, self.layers[0].linear.weight)
        relations = topology.RelationTopology(graph.edge_list, int(graph.num_node), self.num_relation)
        angles = None
        if self.num_angle_bin:
            edge_hidden = checks.edge_features(graph, self.edge_dims[0], dtype)
            angles = topology.PairTopology(graph.edge_list, checks.check_positions(graph), self.num_angle_bin)
        weight = checks.edge_weights(graph)

        hiddens = []
        hidden = input
        with own_types, Recomputed(twice=self.backend == "reference") as recomputed:
            for i, layer in enumerate(self.layers):
                messages, segments = hidden, relations.nodes
                if weight is not None:
                    messages, segments = hidden[graph.edge_list[:, 0]] * weight.to(hidden.dtype), relations.edges
                told = None
                if angles is not None:
                    edge_hidden = self.edge_layers[i].edges(edge_hidden, angles, chosen, recomputed)  # [E, D]
                    told = edge_hidden if weight is None else edge_hidden * weight.to(dtype), relations.edges
                output, told = layer.nodes(hidden, messages, segments, chosen, told, dtype)  # [N, D]
                if self.short_cut and output.shape == hidden.shape:
                    output = output + hidden
                if told is not None:
                    output = output + layer.activate(told)
                if self.batch_norm:
                    output = self.batch_norms[i](output)
                hiddens.append(output)
                hidden = output

        node_feature = torch.cat(hiddens, dim=-1) if self.concat_hidden else hiddens[-1]
        return {"graph_feature": self.readout(graph, node_feature), "node_feature": node_feature}
