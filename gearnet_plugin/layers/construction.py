"""Build the residue graph of GearNet from proteins."""
import torch

from gearnet_plugin.graphs import PackedResidueProtein, edges
from gearnet_plugin.graphs.protein import MAX_SEQUENCE_DISTANCE, UNKNOWN, EdgeCodes
from torchdrug import core, data, layers
from torchdrug.core import Registry as R
from torchdrug.layers import geometry as host

# codes of edges are kept in a byte
MAX_RELATION = 256


@R.register("layers.ResidueGraphConstruction")
class ResidueGraphConstruction(layers.GraphConstruction, core.Configurable):
    """
    Construct residue graphs: sequential, radius and kNN edges with their features, for a whole batch at once.

    Takes the node and edge layers of TorchDrug's ``GraphConstruction`` and makes the same graphs. On
    :class:`~gearnet_plugin.graphs.PackedResidueProtein` the three edge layers of GearNet are computed by
    :mod:`gearnet_plugin.graphs.edges`; any other layer, and any other kind of graph, is served by TorchDrug's own code.

    Edges of a protein are ordered by edge layer, then as the layer gives them: sequential edges by offset, radius edges
    by target and then source, kNN edges by target and then distance. What decides where a rule leaves a choice: radius
    edges beyond ``max_num_neighbors`` keep the lowest indices (:func:`~gearnet_plugin.graphs.edges.radius_edges`), of
    equally near residues the one of lowest index is the nearer one.

    Edge features of residue proteins are kept as codes (:class:`~gearnet_plugin.graphs.protein.EdgeCodes`) and made at
    the first look at ``edge_feature``.

    Parameters:
        node_layers (list of nn.Module, optional): modules to construct nodes of the new graph
        edge_layers (list of nn.Module, optional): modules to construct edges of the new graph
        edge_feature (str, optional): edge features. ``residue_type``: one-hot types of the two residues (40).
            ``gearnet``: those, one-hot relation, one-hot sequence distance up to 10 (11) and distance in Å (1): 59
            with 7 relations. ``None``: none. A subclass may define its own as
            ``edge_<name>(graph, edge_list, num_relation)``.
        gaps (str, optional): how sequence distance is measured. ``index`` (TorchDrug) counts residues in the file and
            so runs straight across chain breaks; ``number`` uses the author's numbering.
        max_residues (int, optional): a batch of more residues is refused before any work
        max_edges (int, optional): a batch of more edges is refused as soon as their number is known
    """

    def __init__(self, node_layers=None, edge_layers=None, edge_feature="residue_type", gaps="index",
                 max_residues=None, max_edges=None):
        # not the host's constructor: it would record its own arguments in place of ours
        torch.nn.Module.__init__(self)
        for name, given in [("node_layers", node_layers), ("edge_layers", edge_layers)]:
            if given is not None and not isinstance(given, (list, tuple, torch.nn.ModuleList)):
                raise ValueError("%s should be a list of layers, but found a single `%s`"
                                 % (name, type(given).__name__))
        self.node_layers = torch.nn.ModuleList(node_layers or ())
        self.edge_layers = torch.nn.ModuleList(edge_layers or ())
        self.edge_feature = edge_feature
        if gaps not in ("index", "number"):
            raise ValueError("gaps should be `index` or `number`, but found `%s`" % gaps)
        if edge_feature is not None and not callable(getattr(type(self), "edge_%s" % edge_feature, None)):
            known = sorted(name[5:] for name in dir(type(self)) if name.startswith("edge_"))
            raise ValueError("Unknown edge feature `%s`. Known are %s and None; a subclass defines its own as a method "
                             "`edge_%s`" % (edge_feature, ", ".join("`%s`" % k for k in known), edge_feature))
        for name, limit in [("max_residues", max_residues), ("max_edges", max_edges)]:
            if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
                raise ValueError("%s should be a positive whole number or None, but found %r" % (name, limit))
        self.gaps = gaps
        self.max_residues = max_residues
        self.max_edges = max_edges

    def edge_residue_type(self, graph, edge_list, num_relation):
        """One-hot residue types of source and target: [E, 40]."""
        if not isinstance(graph, PackedResidueProtein):
            return super().edge_residue_type(graph, edge_list, num_relation)
        return _types(graph, *edge_list[:, :2].unbind(dim=-1)).feature(num_relation)

    def edge_gearnet(self, graph, edge_list, num_relation):
        """Residue types, relation, sequence distance and distance in Å: [E, 40 + num_relation + 12]."""
        if not isinstance(graph, PackedResidueProtein):
            return super().edge_gearnet(graph, edge_list, num_relation)
        return self._codes(graph, edge_list).feature(num_relation, self.max_seq_dist)

    def _codes(self, graph, edge_list):
        """What edge feature ``gearnet`` is made of."""
        source, target, relation = edge_list.t().contiguous()
        place = edges.sequence_positions(graph, self.gaps)
        apart = (place.index_select(0, source) - place.index_select(0, target)).abs_()
        position = graph.node_position
        distance = (position.index_select(0, source) - position.index_select(0, target)).norm(dim=-1)
        return _types(graph, source, target)._replace(
            relation=relation, sequence_distance=apart.clamp_(max=self.max_seq_dist), distance=distance)

    def _feature(self, graph, edge_list, num_relation):
        """Edge features, as codes where they are ours and the codes fit."""
        name = "edge_%s" % self.edge_feature
        ours = ResidueGraphConstruction
        if getattr(type(self), name) is getattr(ours, name, None) and num_relation <= MAX_RELATION:
            if self.edge_feature == "residue_type":
                return _types(graph, *edge_list[:, :2].unbind(dim=-1))
            if self.edge_feature == "gearnet" and self.max_seq_dist == MAX_SEQUENCE_DISTANCE:
                return self._codes(graph, edge_list)
        return getattr(self, name)(graph, edge_list, num_relation)

    def apply_node_layer(self, graph):
        """Apply the node layers; on residue graphs Cα and identity layers change nothing and are skipped."""
        for layer in self.node_layers:
            if isinstance(graph, PackedResidueProtein) and type(layer) in (host.AlphaCarbonNode, host.IdentityNode):
                continue
            graph = layer(graph)
            if not isinstance(graph, data.PackedGraph):
                raise ValueError("a node layer should return a batch of graphs, but `%s` returned `%s`. What makes "
                                 "edges belongs in edge_layers" % (type(layer).__name__, type(graph).__name__))
        return graph

    def apply_edge_layer(self, graph, keep=None):
        """
        Construct the edges.

        Parameters:
            graph (PackedProtein): proteins
            keep (BoolTensor, optional): residues to keep, of shape :math:`(N,)`. The result is that of constructing
                everything and keeping these residues, without the work for the others.
        """
        _check_batch(graph)
        if keep is not None and (keep.dtype != torch.bool or keep.shape != (int(graph.num_residue),)):
            raise ValueError("keep should be a mask of residues of shape (%d,), but found %s of shape %s"
                             % (graph.num_residue, keep.dtype, tuple(keep.shape)))
        self._check_residues(graph, keep)
        _check_positions(graph)
        if not isinstance(graph, PackedResidueProtein):
            if self.gaps != "index":
                raise ValueError("gaps=`%s` needs residue proteins (`gearnet_plugin.graphs.ResidueProtein`), but found "
                                 "`%s`" % (self.gaps, type(graph).__name__))
            graph = super().apply_edge_layer(graph)
            self._check_edges(graph.num_edges)
            return graph if keep is None else graph.subresidue(keep)
        _check_residues_of(graph)
        if self.edge_layers:
            edge_list, num_edges, num_relation = self._edges(graph, keep)
            self._check_edges(num_edges)
            feature = None
            if self.edge_feature is not None:
                feature = self._feature(graph, edge_list, num_relation)
            graph = graph.with_edges(edge_list, num_relation, feature, num_edges)
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
        _check_batch(graph)
        return self.apply_edge_layer(self.apply_node_layer(graph), keep)

    def _check_residues(self, graph, keep):
        if self.max_residues is None:
            return
        sizes = getattr(graph, "num_residues", graph.num_nodes)
        if keep is not None:
            sizes = graph.residue2graph[keep].bincount(minlength=graph.batch_size)
        _check_size(sizes, self.max_residues, "max_residues", "residues")

    def _check_edges(self, num_edges):
        if self.max_edges is not None:
            _check_size(num_edges, self.max_edges, "max_edges", "edges")

    def _edges(self, graph, keep):
        """All edges [E, 3] sorted by protein, their number in each protein [B] and the number of relations."""
        positions = None if self.gaps == "index" else edges.sequence_positions(graph, self.gaps)
        rules = [rule for rule in map(_rule, self.edge_layers) if rule is not None]
        # distances are made once for all of them
        spatial = iter(edges.spatial_parts(graph, rules, positions, keep) if rules else ())
        parts, num_relation = [], 0
        for layer in self.edge_layers:
            if _rule(layer) is not None:
                part, count = next(spatial), 1
            elif type(layer) is host.SequentialEdge:
                # residue graphs hold Cα atoms only, so `only_backbone` changes nothing
                part, count = edges.sequential_part(graph, layer.max_distance, positions, keep), \
                    2 * layer.max_distance + 1
            else:
                part, count = _foreign_part(layer, graph, keep)
            parts.append(part._replace(relation=part.relation + num_relation))
            num_relation += count
        edge_list, num_edges = edges.sort_by_protein(graph, parts)
        return edge_list, num_edges, num_relation


def _types(graph, source, target):
    """Codes of the residue types of source and target."""
    types = graph.residue_type
    return EdgeCodes(types.index_select(0, source), types.index_select(0, target))


def _rule(layer):
    """The rule of an edge layer that looks for neighbours in space, or None."""
    # a subclass may do anything
    if type(layer) is host.SpatialEdge:
        return edges.Ball(layer.radius, layer.max_num_neighbors, layer.min_distance, layer.max_distance)
    if type(layer) is host.KNNEdge:
        return edges.Nearest(layer.k, layer.min_distance, layer.max_distance)
    return None


def _foreign_part(layer, graph, keep):
    """Edges of a layer that this package does not know, and its number of relations."""
    edge_list, num_relation = layer(graph)
    if num_relation is None:
        raise ValueError("edge layer `%s` found no edges with relations in the graph. Residue proteins have no bonds; "
                         "edges between residues come from `SequentialEdge`, `SpatialEdge` and `KNNEdge`"
                         % type(layer).__name__)
    edge_list = edge_list.long()
    _check_edge_list(layer, graph, edge_list, int(num_relation))
    if keep is not None:
        edge_list = edge_list[keep[edge_list[:, 0]] & keep[edge_list[:, 1]]]
    return edges.part_of(graph, edge_list), int(num_relation)


def _check_edge_list(layer, graph, edge_list, num_relation):
    """Refuse edges that would be summed to the wrong node or relation."""
    name = type(layer).__name__
    if edge_list.dim() != 2 or edge_list.shape[1] != 3:
        raise ValueError("edge layer `%s` should return edges of shape (E, 3), source, target and relation, but "
                         "found %s" % (name, tuple(edge_list.shape)))
    if not len(edge_list):
        return
    low, high = edge_list[:, :2].aminmax()
    relation_low, relation_high = edge_list[:, 2].aminmax()
    if relation_low < 0 or relation_high >= num_relation:
        raise ValueError("edge layer `%s` returned %d as the number of its relations, so that they should be in 0..%d, "
                         "but found %d..%d" % (name, num_relation, num_relation - 1, relation_low, relation_high))
    if low < 0 or high >= graph.num_node:
        raise ValueError("edge layer `%s` should return node numbers in 0..%d, but found %d..%d"
                         % (name, graph.num_node - 1, low, high))
    protein = graph.node2graph[edge_list[:, :2]]
    across = (protein[:, 0] != protein[:, 1]).sum()
    if across:
        raise ValueError("edge layer `%s` returned %d edges between different proteins of the batch; node numbers are "
                         "those of the whole batch" % (name, across))


def _check_size(sizes, limit, name, what):
    """Refuse a batch whose proteins have more residues or edges than allowed."""
    total = int(sizes.sum())
    if total > limit:
        raise ValueError(
            "the batch has %d %s, more than %s=%d; the largest of its %d proteins, number %d from 0, has %d. Lower "
            "batch_size%s, or shorten proteins by max_length of the transform `TruncateProtein` or by a crop"
            % (total, what, name, limit, len(sizes), sizes.argmax(), sizes.max(),
               "" if sizes.max() <= limit else " (for this protein it is not enough)"))


def _check_batch(graph):
    if not isinstance(graph, data.PackedGraph):
        raise ValueError("graph construction takes a batch of proteins, but found a single `%s`. Pack it first: "
                         "`graph = graph.pack([graph])`" % type(graph).__name__)
    if graph.batch_size == 0:
        raise ValueError("graph construction takes a batch of proteins, but the batch is empty")


def _check_residues_of(graph):
    """What the codes of edges and their rules rest on."""
    if graph.view != "residue":
        raise ValueError("residue proteins have view `residue`, but found view `%s`, in which node features are of "
                         "atoms. Give the transform `ProteinView` the view `residue`" % graph.view)
    if graph.num_node != graph.num_residue:
        raise ValueError("residue proteins have one node a residue, but found %d nodes and %d residues. Crop and mask "
                         "them by `subresidue`" % (graph.num_node, graph.num_residue))
    if graph.residue_type.numel():
        low, high = graph.residue_type.aminmax()
        if low < 0 or high >= UNKNOWN:
            raise ValueError("residue_type should be in 0..%d, but found %d..%d" % (UNKNOWN - 1, low, high))


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
