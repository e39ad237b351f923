"""What encoders refuse, with what would mend it; said the same way by all of them."""

from gearnet_plugin import ops
from torchdrug import data


def check_options(readout, backend, precision, precisions, num_angle_bin=None, edge_input_dim=None):
    """
    Raise ValueError for options that do not exist or do not go together.

    Parameters:
        readout, backend, precision (str): as given to the encoder
        precisions (container of str): what ``precision`` may be
        num_angle_bin, edge_input_dim (int, optional): as given to the encoder
    """
    if num_angle_bin and not edge_input_dim:
        raise ValueError(
            "edge_input_dim is needed when num_angle_bin=%d: the width of the graph's edge features, "
            "59 for edge_feature `gearnet` with 7 relations" % num_angle_bin
        )
    if readout not in ("sum", "mean"):
        raise ValueError("readout should be `sum` or `mean`, but found `%s`" % readout)
    ops.check(backend)
    if precision not in precisions:
        raise ValueError("precision should be `fp32`, `bf16` or None, but found `%s`" % precision)


def check_graph(graph, input, input_dim, num_relation):
    """
    Raise ValueError where the graph is no batch of residue graphs that the encoder was made for.

    Parameters:
        graph (PackedProtein): residue graphs
        input (Tensor): node features
        input_dim, num_relation (int): what the encoder was made for
    """
    if not isinstance(graph, data.PackedGraph):
        raise ValueError(
            "the encoder takes a batch of graphs, but found a single `%s`. Pack it first: "
            "`graph = graph.pack([graph])`" % type(graph).__name__
        )
    if graph.edge_list.shape[1] != 3 or graph.num_relation is None or graph.num_relation != num_relation:
        raise ValueError(
            "the encoder was made for num_relation=%d, but the graph has %s relations. Construct the residue graph "
            "first (`layers.ResidueGraphConstruction`), with the edge layers the encoder was made for"
            % (num_relation, "no" if graph.num_relation is None else int(graph.num_relation))
        )
    if getattr(graph, "view", "residue") == "atom":
        raise ValueError(
            "the encoder works on residues, but the protein has view `atom`. Use the transform "
            "`ProteinView` with view `residue`"
        )
    if input.shape != (int(graph.num_node), input_dim):
        raise ValueError(
            "input should have shape (%d, %d), number of nodes and input_dim, but found %s"
            % (graph.num_node, input_dim, tuple(input.shape))
        )


def edge_features(graph, width, dtype):
    """
    Return the edge features that edge message passing begins with, or raise ValueError.

    Parameters:
        graph (PackedProtein): graphs of E edges
        width (int): their width
        dtype (torch.dtype): their type

    Returns:
        Tensor: shape :math:`(E, width)`
    """
    codes = getattr(graph, "edge_codes", None)
    # made for this call alone: the graph goes on holding its 8 bytes an edge
    feature = getattr(graph, "edge_feature", None) if codes is None else codes.feature(graph.num_relation)
    if feature is None or feature.shape[1:] != (width,):
        raise ValueError(
            "edge message passing needs edge features of width edge_input_dim=%d, but the graph has %s. "
            "edge_feature `gearnet` gives 52 + num_relation, `residue_type` gives 40"
            % (width, "none" if feature is None else "features of shape %s" % (tuple(feature.shape[1:]),))
        )
    return feature.to(dtype)
