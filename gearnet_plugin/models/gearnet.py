"""GearNet and GearNet-Edge."""
from collections.abc import Sequence

import torch
from torch import nn

from gearnet_plugin.graphs import topology
from gearnet_plugin.layers import RelationalGeometricConv
from gearnet_plugin.ops import gather_sum
from torchdrug import core, data, layers
from torchdrug.core import Registry as R

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
    """

    def __init__(self, input_dim, hidden_dims, num_relation, edge_input_dim=None, num_angle_bin=None, short_cut=False,
                 batch_norm=False, activation="relu", concat_hidden=False, readout="sum"):
        super().__init__()
        hidden_dims = list(hidden_dims) if isinstance(hidden_dims, Sequence) else [hidden_dims]
        if num_angle_bin and not edge_input_dim:
            raise ValueError("edge_input_dim is needed when num_angle_bin=%d: the width of the graph's edge features, "
                             "59 for edge_feature `gearnet` with 7 relations" % num_angle_bin)
        if readout not in ("sum", "mean"):
            raise ValueError("readout should be `sum` or `mean`, but found `%s`" % readout)
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
        edge_hidden = self._check(graph, input)
        num_node = int(graph.num_node)
        relations = topology.RelationTopology(graph.edge_list, num_node, self.num_relation)
        if self.num_angle_bin:
            angles = topology.PairTopology(graph.edge_list, graph.node_position, self.num_angle_bin)
        weight = None if getattr(graph, "has_unit_weights", False) else graph.edge_weight.unsqueeze(-1).to(input.dtype)

        hiddens = []
        node_input = input
        for i, layer in enumerate(self.layers):
            if weight is None:
                update = layer.aggregate_segments(node_input, relations.nodes)  # [N, R * D]
            else:
                messages = node_input[graph.edge_list[:, 0]] * weight
                update = layer.aggregate_segments(messages, relations.edges)
            hidden = layer.combine(node_input, update)  # [N, D]
            if self.short_cut and hidden.shape == node_input.shape:
                hidden = hidden + node_input
            if self.num_angle_bin:
                edge_layer = self.edge_layers[i]
                edge_hidden = edge_layer.between_edges(edge_hidden, angles)  # [E, D]
                weighted = edge_hidden if weight is None else edge_hidden * weight
                update = gather_sum(weighted, relations.edges).view(num_node, -1)  # [N, R * D]
                hidden = hidden + layer.activation(layer.linear(update))
            if self.batch_norm:
                hidden = self.batch_norms[i](hidden)
            hiddens.append(hidden)
            node_input = hidden

        node_feature = torch.cat(hiddens, dim=-1) if self.concat_hidden else hiddens[-1]
        return {"graph_feature": self.readout(graph, node_feature), "node_feature": node_feature}

    def _check(self, graph, input):
        """Return the edge features, or raise what is wrong with the graph or the input and how to mend it."""
        if not isinstance(graph, data.PackedGraph):
            raise ValueError("the encoder takes a batch of graphs, but found a single `%s`. Pack it first: "
                             "`graph = graph.pack([graph])`" % type(graph).__name__)
        if graph.edge_list.shape[1] != 3 or graph.num_relation is None or graph.num_relation != self.num_relation:
            raise ValueError(
                "the encoder was made for num_relation=%d, but the graph has %s relations. Construct the residue graph "
                "first (`layers.ResidueGraphConstruction`), with the edge layers the encoder was made for"
                % (self.num_relation, "no" if graph.num_relation is None else int(graph.num_relation)))
        if getattr(graph, "view", "residue") == "atom":
            raise ValueError("the encoder works on residues, but the protein has view `atom`. Use the transform "
                             "`ProteinView` with view `residue`")
        if input.shape != (int(graph.num_node), self.input_dim):
            raise ValueError("input should have shape (%d, %d), number of nodes and input_dim, but found %s"
                             % (graph.num_node, self.input_dim, tuple(input.shape)))
        if not self.num_angle_bin:
            return None
        feature = getattr(graph, "edge_feature", None)
        width = self.edge_dims[0]
        if feature is None or feature.shape[1:] != (width,):
            raise ValueError(
                "edge message passing needs edge features of width edge_input_dim=%d, but the graph has %s. "
                "edge_feature `gearnet` gives 52 + num_relation, `residue_type` gives 40"
                % (width, "none" if feature is None else "features of shape %s" % (tuple(feature.shape[1:]),)))
        return feature.to(input.dtype)
