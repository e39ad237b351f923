"""Build the residue graph of GearNet from proteins."""
import torch
from torch.nn import functional as F

from gearnet_plugin.graphs import PackedResidueProtein, edges
from torchdrug import core, data, layers
from torchdrug.core import Registry as R
from torchdrug.layers import geometry as host

NUM_RESIDUE_TYPE = len(data.Protein.residue2id)


@R.register("layers.ResidueGraphConstruction")
class ResidueGraphConstruction(layers.GraphConstruction, core.Configurable):
    """
    Construct residue graphs: sequential, radius and kNN edges with their features, for a whole batch at once.

    Takes the node and edge layers of TorchDrug's ``GraphConstruction`` and makes the same graphs. On
    :class:`~gearnet_plugin.graphs.PackedResidueProtein` the three edge layers of GearNet are computed by
    :mod:`gearnet_plugin.graphs.edges`; any other layer, and any other kind of graph, is served by TorchDrug's own code.

    Edges of a protein are ordered by edge layer, then as the layer gives them.

    Parameters:
        node_layers (list of nn.Module, optional): modules to construct nodes of the new graph
        edge_layers (list of nn.Module, optional): modules to construct edges of the new graph
        edge_feature (str, optional): edge features. ``residue_type``: one-hot types of the two residues (40).
            ``gearnet``: those, one-hot relation, one-hot sequence distance up to 10 (11) and distance in Å (1): 59
            with 7 relations. ``None``: none. A subclass may define its own as
            ``edge_<name>(graph, edge_list, num_relation)``.
        gaps (str, optional): how sequence distance is measured. ``index`` (TorchDrug) counts residues in the file and
            so runs straight across chain breaks; ``number`` uses the author's numbering.
    """

    def __init__(self, node_layers=None, edge_layers=None, edge_feature="residue_type", gaps="index"):
        # not the host's constructor: it would record its own arguments in place of ours
        torch.nn.Module.__init__(self)
        self.node_layers = torch.nn.ModuleList(node_layers or ())
        self.edge_layers = torch.nn.ModuleList(edge_layers or ())
        self.edge_feature = edge_feature
        if gaps not in ("index", "number"):
            raise ValueError("gaps should be `index` or `number`, but found `%s`" % gaps)
        if edge_feature is not None and not hasattr(self, "edge_%s" % edge_feature):
            known = sorted(name[5:] for name in dir(self) if name.startswith("edge_")
                           and name not in ("edge_layers", "edge_feature"))
            raise ValueError("Unknown edge feature `%s`. Known are %s and None; a subclass defines its own as a method "
                             "`edge_%s`" % (edge_feature, ", ".join("`%s`" % k for k in known), edge_feature))
        self.gaps = gaps

    def edge_residue_type(self, graph, edge_list, num_relation):
        """One-hot residue types of source and target: [E, 40]."""
        if not isinstance(graph, PackedResidueProtein):
            return super().edge_residue_type(graph, edge_list, num_relation)
        types = F.one_hot(graph.residue_type, NUM_RESIDUE_TYPE).float()
        return torch.cat([types[edge_list[:, 0]], types[edge_list[:, 1]]], dim=-1)

    def edge_gearnet(self, graph, edge_list, num_relation):
        """Residue types, relation, sequence distance and distance in Å: [E, 40 + num_relation + 12]."""
        if not isinstance(graph, PackedResidueProtein):
            return super().edge_gearnet(graph, edge_list, num_relation)
        source, target, relation = edge_list.unbind(dim=-1)
        place = edges.sequence_positions(graph, self.gaps)
        apart = (place[source] - place[target]).abs().clamp(max=self.max_seq_dist)
        distance = (graph.node_position[source] - graph.node_position[target]).norm(dim=-1, keepdim=True)
        return torch.cat([
            self.edge_residue_type(graph, edge_list, num_relation),
            F.one_hot(relation, int(num_relation)).float(),
            F.one_hot(apart, self.max_seq_dist + 1).float(),
            distance,
        ], dim=-1)

    def apply_node_layer(self, graph):
        """Apply the node layers; on residue graphs Cα and identity layers change nothing and are skipped."""
        for layer in self.node_layers:
            if isinstance(graph, PackedResidueProtein) and type(layer) in (host.AlphaCarbonNode, host.IdentityNode):
                continue
            graph = layer(graph)
        return graph

    def apply_edge_layer(self, graph, keep=None):
        """
        Construct the edges.

        Parameters:
            graph (PackedProtein): proteins
            keep (BoolTensor, optional): residues to keep, of shape :math:`(N,)`. The result is that of constructing
                everything and keeping these residues, without the work for the others.
        """
        if not isinstance(graph, data.PackedGraph):
            raise ValueError("graph construction takes a batch of proteins, but found a single `%s`. Pack it first: "
                             "`graph = graph.pack([graph])`" % type(graph).__name__)
        if not isinstance(graph, PackedResidueProtein):
            if self.gaps != "index":
                raise ValueError("gaps=`%s` needs residue proteins (`gearnet_plugin.graphs.ResidueProtein`), but found "
                                 "`%s`" % (self.gaps, type(graph).__name__))
            graph = super().apply_edge_layer(graph)
            return graph if keep is None else graph.subresidue(keep)
        if self.edge_layers:
            edge_list, num_relation = self._edges(graph, keep)
            feature = None
            if self.edge_feature is not None:
                feature = getattr(self, "edge_%s" % self.edge_feature)(graph, edge_list, num_relation)
            graph = graph.with_edges(edge_list, num_relation, feature)
        return graph if keep is None else graph.subresidue(keep)

    def forward(self, graph, keep=None):
        """
        Generate residue graphs.

        Parameters:
            graph (PackedProtein): proteins
            keep (BoolTensor, optional): residues to keep, of shape :math:`(N,)`

        Returns:
            PackedProtein: the graphs, of the same class
        """
        _check_positions(graph)
        return self.apply_edge_layer(self.apply_node_layer(graph), keep)

    def _edges(self, graph, keep):
        """All edges [E, 3] sorted by protein, and the number of relations."""
        positions = None if self.gaps == "index" else edges.sequence_positions(graph, self.gaps)
        edge_lists, num_relation = [], 0
        for layer in self.edge_layers:
            pairs, relation, count = _edges_of(layer, graph, positions, keep)
            edge_lists.append(torch.cat([pairs, (relation + num_relation).unsqueeze(-1)], dim=-1))
            num_relation += count
        edge_list = torch.cat(edge_lists)
        order = graph.node2graph[edge_list[:, 0]].argsort(stable=True)
        return edge_list[order], num_relation


def _edges_of(layer, graph, positions, keep):
    """Edges [E, 2], relations [E] and number of relations of one edge layer."""
    kind = type(layer)
    if kind is host.SequentialEdge:
        # residue graphs hold Cα atoms only, so `only_backbone` changes nothing
        pairs, relation = edges.sequential_edges(graph, layer.max_distance, positions, keep)
        return pairs, relation, 2 * layer.max_distance + 1
    if kind is host.SpatialEdge:
        pairs = edges.radius_edges(graph, layer.radius, layer.min_distance, layer.max_distance,
                                   layer.max_num_neighbors, positions, keep)
    elif kind is host.KNNEdge:
        pairs = edges.knn_edges(graph, layer.k, layer.min_distance, layer.max_distance, positions, keep)
    else:
        edge_list, num_relation = layer(graph)
        if keep is not None:
            edge_list = edge_list[keep[edge_list[:, 0]] & keep[edge_list[:, 1]]]
        return edge_list[:, :2], edge_list[:, 2], int(num_relation)
    return pairs, torch.zeros_like(pairs[:, 0]), 1


def _check_positions(graph):
    position = getattr(graph, "node_position", None)
    if position is None:
        raise ValueError("graph construction needs `node_position`: Cα coordinates in Å of shape (N, 3). Proteins made "
                         "from a sequence have none.")
    finite = position.isfinite().all()
    if not finite:
        bad = (~position.isfinite().all(dim=-1)).nonzero().flatten().tolist()
        raise ValueError("node_position should be finite, but %d of %d nodes are not, the first being node %d"
                         % (len(bad), len(position), bad[0]))
