"""GearNet-IEConv and GearNet-Edge-IEConv."""

from collections.abc import Sequence

import torch
from torch import nn

from gearnet_plugin import ops
from gearnet_plugin.graphs import frames as geometry
from gearnet_plugin.graphs import topology
from gearnet_plugin.layers.ieconv import KINDS, FrameKernelConv, RelationalConv
from gearnet_plugin.layers.recompute import Recomputed
from gearnet_plugin.ops import Segments
from gearnet_plugin.ops.kernel import DegreeTopology
from torchdrug import core, layers
from torchdrug.core import Registry as R

from . import checks

# type in which messages are summed and mapped; None is that of the input
DTYPES = {None: None, "fp32": None, "bf16": torch.bfloat16}

# N nodes, E edges, R relations, A angle bins, D width of a layer


@R.register("models.GearNetIEConvEncoder")
class GearNetIEConvEncoder(nn.Module, core.Configurable):
    """
    GearNet with intrinsic-extrinsic convolutions (arXiv 2203.06125 and 2007.06252), the model of the paper's fold
    results, with edge message passing when ``num_angle_bin`` is set.

    Parameters, state dict and arithmetic are those of ``GearNetIEConv`` of the authors' repository, so its published
    weights load unchanged. Unlike :class:`~gearnet_plugin.models.GearNetEncoder` it embeds its input, adds edges to
    messages *before* they are summed and mapped, has no self-loop but the sequential relation, and normalizes layers
    at their end. IEConv layers always apply ReLU, batch normalization and dropout (0.05, of messages 0.2).

    With ``frames`` ``released`` a protein has another representation inside a batch than alone, and ends of the batch
    turn with the coordinates: see :func:`gearnet_plugin.graphs.frames.residue_frames`. Frames have a handedness, so
    mirror images differ at either setting. Without IEConv no frames are made.

    Parameters:
        input_dim (int): dimension of node features
        embedding_dim (int): width to which node features are embedded first; 0: they are not
        hidden_dims (list of int): width of each layer
        num_relation (int): number of relations of the graph
        edge_input_dim (int, optional): dimension of edge features; needed with ``num_angle_bin``
        batch_norm (bool, optional): apply batch normalization in relational convolutions
        activation (str or function, optional): activation function of relational convolutions
        concat_hidden (bool, optional): concatenate the outputs of all layers
        short_cut (bool, optional): add the input of a layer to its output where the widths agree
        readout (str, optional): ``sum`` or ``mean`` over the residues of a protein
        dropout (float, optional): dropout of the output of a layer, before the short cut
        num_angle_bin (int, optional): number of bins of the angle between two edges, the relation of edge message
            passing. Without it there is none.
        layer_norm (bool, optional): apply layer normalization at the end of a layer
        use_ieconv (bool, optional): True is ``ieconv`` ``kernel``, False is ``none``
        ieconv (str, optional): ``none``, ``kernel`` (a matrix an edge) or ``film`` (a scale and a shift an edge, the
            light form, which the authors do not have). By default what ``use_ieconv`` says, and ``none`` without it.
        frames (str, optional): ``released`` or ``chain``, the frames of IEConv
        backend (str, optional): what computes, see :func:`gearnet_plugin.ops.choose`; ``reference`` makes the matrices
            of all edges. Weights and state dict do not depend on it.
        precision (str, optional): ``bf16`` keeps edges and sums messages in bfloat16, with products accumulated in
            float32; nodes and parameters stay float32. ``fp32`` or None: all in the type of the input; None under
            torch's autocast to bfloat16 is ``bf16``.
    """

    def __init__(
        self,
        input_dim,
        embedding_dim,
        hidden_dims,
        num_relation,
        edge_input_dim=None,
        batch_norm=False,
        activation="relu",
        concat_hidden=False,
        short_cut=True,
        readout="sum",
        dropout=0,
        num_angle_bin=None,
        layer_norm=False,
        use_ieconv=None,
        ieconv=None,
        frames="released",
        backend="auto",
        precision=None,
    ):
        super().__init__()
        hidden_dims = list(hidden_dims) if isinstance(hidden_dims, Sequence) else [hidden_dims]
        checks.check_sizes(input_dim, hidden_dims, num_relation, num_angle_bin, edge_input_dim, embedding_dim)
        checks.check_options(readout, backend, precision, DTYPES, num_angle_bin, edge_input_dim, activation)
        geometry.check(frames)
        self.input_dim = input_dim
        self.embedding_dim = embedding_dim = embedding_dim or 0
        self.output_dim = sum(hidden_dims) if concat_hidden else hidden_dims[-1]
        self.dims = [embedding_dim if embedding_dim > 0 else input_dim] + hidden_dims
        # edge layer i is as wide as the input of node layer i (59 -> 512 -> 512 -> ... with the paper's sizes)
        self.edge_dims = [edge_input_dim] + self.dims[:-1]
        self.num_relation = num_relation
        self.num_angle_bin = num_angle_bin
        self.concat_hidden = concat_hidden
        self.short_cut = short_cut
        self.layer_norm = layer_norm
        self.ieconv = _kind(use_ieconv, ieconv, self.dims)
        self.use_ieconv = self.ieconv != "none"
        self.frames = frames
        self.backend = backend
        self.precision = precision

        # made in the order of the published model, so that one seed gives both the same weights
        if embedding_dim > 0:
            self.linear = nn.Linear(input_dim, embedding_dim)
            self.embedding_batch_norm = nn.BatchNorm1d(embedding_dim)
        self.layers = nn.ModuleList()
        self.ieconvs = nn.ModuleList()
        for i, o in zip(self.dims[:-1], self.dims[1:]):
            self.layers.append(RelationalConv(i, o, num_relation, batch_norm, activation))
            if self.use_ieconv:
                self.ieconvs.append(FrameKernelConv(i, i // 4, o, geometry.WIDTH, kind=self.ieconv))
        if num_angle_bin:
            self.edge_layers = nn.ModuleList(
                RelationalConv(i, o, num_angle_bin, batch_norm, activation)
                for i, o in zip(self.edge_dims[:-1], self.edge_dims[1:])
            )
        if layer_norm:
            self.layer_norms = nn.ModuleList(nn.LayerNorm(dim) for dim in self.dims[1:])
        self.dropout = nn.Dropout(dropout)
        self.readout = layers.SumReadout() if readout == "sum" else layers.MeanReadout()

    def forward(self, graph, input, all_loss=None, metric=None):
        """
        Compute the representations of residues and proteins.

        Parameters:
            graph (PackedProtein): residue graphs with edges, edge features when there is edge message passing, and
                positions when there is that or IEConv
            input (Tensor): node features of shape :math:`(N, input\\_dim)`
            all_loss (Tensor, optional): unused; in the signature of every TorchDrug model
            metric (dict, optional): unused

        Returns:
            dict: ``node_feature`` of shape :math:`(N, output\\_dim)`, ``graph_feature`` of shape
            :math:`(B, output\\_dim)`
        """
        checks.check_graph(graph, input, self.input_dim, self.num_relation)
        dtype = checks.message_type(self.precision, DTYPES, input)
        own_types, input = checks.without_autocast(input, self.layers[0].linear.weight)
        edge_hidden = None
        if self.num_angle_bin:
            edge_hidden = checks.edge_features(graph, self.edge_dims[0], dtype)
        known = _Known(self, graph, input)

        hidden = input
        hiddens = []
        with own_types, Recomputed(twice=self.backend == "reference") as recomputed:
            if self.embedding_dim > 0:
                hidden = self.embedding_batch_norm(self.linear(hidden))
            for i in range(len(self.layers)):
                if self.num_angle_bin:
                    edge_hidden = self.edge_layers[i].edges(edge_hidden, known.angles, known.ops, recomputed)
                output = self._layer(i, hidden, edge_hidden, known, dtype)
                if self.short_cut and output.shape == hidden.shape:
                    output = output + hidden
                if self.layer_norm:
                    output = self.layer_norms[i](output)
                hiddens.append(output)
                hidden = output

        node_feature = torch.cat(hiddens, dim=-1) if self.concat_hidden else hiddens[-1]
        return {"graph_feature": self.readout(graph, node_feature), "node_feature": node_feature}

    def _layer(self, i, hidden, edge_hidden, known, dtype):
        """Both convolutions of layer ``i`` and dropout: [N, D]."""
        relations, weight = known.relations, known.weight
        messages, segments, edges = hidden, relations.nodes, None
        if weight is not None:
            messages, segments = hidden[known.source] * weight.to(hidden.dtype), relations.edges
        if edge_hidden is not None:
            edges = edge_hidden if weight is None else edge_hidden * weight.to(dtype), relations.edges
        output = self.layers[i].nodes(messages, segments, known.ops, edges, dtype)
        if self.use_ieconv:
            output = output + self.ieconvs[i](
                hidden,
                known.geometry,
                known.degrees,
                known.by_target,
                known.ops,
                known.ordered_weight,
                dtype,
                plain=self.backend == "reference",
            )
        return self.dropout(output)


class _Known:
    """What all layers need of a graph."""

    def __init__(self, encoder, graph, input):
        edge_list, num_node = graph.edge_list, int(graph.num_node)
        self.ops = ops.choose(encoder.backend, input.device)
        self.source = edge_list[:, 0]
        self.weight = checks.edge_weights(graph)
        self.relations = topology.RelationTopology(edge_list, num_node, encoder.num_relation)
        if encoder.num_angle_bin or encoder.use_ieconv:
            checks.check_positions(graph)
        if encoder.num_angle_bin:
            self.angles = topology.PairTopology(edge_list, graph.node_position, encoder.num_angle_bin)
        if encoder.use_ieconv:
            self.degrees = DegreeTopology(edge_list, num_node)
            edge, target = self.degrees.edge, self.degrees.target
            self.geometry = geometry.frame_features(graph, edge_list[edge], encoder.frames).to(input.dtype)
            self.by_target = Segments(target, torch.arange(len(edge), device=edge.device), num_node, len(edge))
            self.ordered_weight = None if self.weight is None else self.weight[edge].to(input.dtype)


def _kind(use_ieconv, ieconv, dims):
    """The kind of IEConv that the two options name."""
    if ieconv is not None and ieconv not in KINDS:
        raise ValueError("ieconv should be one of %s, but found `%s`" % (", ".join("`%s`" % k for k in KINDS), ieconv))
    meant = None if use_ieconv is None else "kernel" if use_ieconv else "none"
    if None not in (meant, ieconv) and meant != ieconv:
        raise ValueError(
            "use_ieconv=%s means ieconv=`%s`, but found ieconv=`%s`. Give one of the two"
            % (bool(use_ieconv), meant, ieconv)
        )
    kind = ieconv or meant or "none"
    if kind != "none" and min(dims[:-1]) < 4:
        raise ValueError(
            "IEConv works on a quarter of the width of a layer's input, so that embedding_dim and "
            "hidden_dims should be at least 4, but found widths %s" % dims
        )
    return kind
