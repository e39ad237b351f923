"""What encoders refuse, with what would mend it; said the same way by all of them."""

from numbers import Integral

import torch
from torch.nn import functional as F

from gearnet_plugin import ops
from torchdrug import data

# bins of angles are kept in a byte
MAX_ANGLE_BIN = 256


def check_sizes(input_dim, hidden_dims, num_relation, num_angle_bin=None, edge_input_dim=None, embedding_dim=None):
    """
    Raise ValueError for sizes of which no encoder can be made.

    Parameters:
        input_dim, num_relation, num_angle_bin, edge_input_dim, embedding_dim (int): as given to the encoder
        hidden_dims (list of int): widths of the layers
    """
    if not hidden_dims or not all(_is_size(dim) for dim in hidden_dims):
        raise ValueError(
            "hidden_dims should be the width of each layer, positive whole numbers, but found %r" % (hidden_dims,)
        )
    for name, size in [("input_dim", input_dim), ("num_relation", num_relation)]:
        if not _is_size(size):
            raise ValueError("%s should be a positive whole number, but found %r" % (name, size))
    for name, size in [("edge_input_dim", edge_input_dim), ("embedding_dim", embedding_dim)]:
        if size and not _is_size(size):
            raise ValueError("%s should be a positive whole number or None, but found %r" % (name, size))
    if num_angle_bin and not (_is_size(num_angle_bin) and num_angle_bin <= MAX_ANGLE_BIN):
        raise ValueError(
            "num_angle_bin should be a whole number from 1 to %d, or None for no edge message passing, but found %r"
            % (MAX_ANGLE_BIN, num_angle_bin)
        )


def _is_size(value):
    return isinstance(value, Integral) and not isinstance(value, bool) and value > 0


def check_options(readout, backend, precision, precisions, num_angle_bin=None, edge_input_dim=None, activation=None):
    """
    Raise ValueError for options that do not exist or do not go together.

    Parameters:
        readout, backend, precision (str): as given to the encoder
        precisions (container of str): what ``precision`` may be
        num_angle_bin, edge_input_dim (int, optional): as given to the encoder
        activation (str or function, optional): as given to the encoder
    """
    named = getattr(F, activation, None) if isinstance(activation, str) else activation
    if not (named is None and activation is None or callable(named)):
        raise ValueError(
            "activation should be a function, None, or the name of one of torch.nn.functional such as `relu`, but "
            "found `%s`" % (activation,)
        )
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
    if len(graph.edge_list):
        low, high = graph.edge_list[:, 2].aminmax()
        if low < 0 or high >= num_relation:
            raise ValueError(
                "relations of edges should be in 0..%d, but found %d..%d in a graph that says it has %d relations. An "
                "edge layer returns the number of its relations beside its edges"
                % (num_relation - 1, low, high, num_relation)
            )
    if getattr(graph, "view", "residue") == "atom":
        raise ValueError(
            "the encoder works on residues, but the protein has view `atom`. Use the transform "
            "`ProteinView` with view `residue`"
        )
    if not isinstance(input, torch.Tensor) or input.shape != (int(graph.num_node), input_dim):
        raise ValueError(
            "input should have shape (%d, %d), number of nodes and input_dim, but found %s"
            % (graph.num_node, input_dim, tuple(input.shape) if isinstance(input, torch.Tensor) else type(input))
        )
    if not input.is_floating_point():
        raise ValueError("input should be of floats, but found %s. Convert it: `input.float()`" % input.dtype)


def check_positions(graph):
    """Return Cα positions [N, 3] in Å, or raise ValueError where there are none or some are no finite numbers."""
    position = getattr(graph, "node_position", None)
    if position is None:
        raise ValueError(
            "edge message passing and IEConv need `node_position`: Cα coordinates in Å of shape (N, 3). Proteins made "
            "from a sequence have none."
        )
    if not position.isfinite().all():
        bad = (~position.isfinite().all(dim=-1)).nonzero().flatten()
        raise ValueError(
            "node_position should be finite, but %d of %d nodes are not, the first being node %d"
            % (len(bad), len(position), bad[0])
        )
    return position


def edge_weights(graph):
    """Return the weights of edges [E, 1], or None where all are 1: by a look at them, as anybody may change them."""
    weight = graph.edge_weight
    if not weight.requires_grad and bool((weight == 1).all()):
        return None
    return weight.unsqueeze(-1)


def message_type(precision, precisions, input):
    """
    Return the type in which messages are summed and mapped.

    Parameters:
        precision (str, optional): as given to the encoder
        precisions (dict): type of each, None for that of the input
        input (Tensor): node features
    """
    kind = input.device.type
    if precision is None and torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.bfloat16:
        return torch.bfloat16
    return precisions[precision] or input.dtype


def without_autocast(input, parameter):
    """
    Return a context in which torch's autocast leaves types alone, and the input in the type of the parameters.

    Operations of this package choose their types themselves: autocast is heard by :func:`message_type`. Raises
    ValueError where the types differ without it.
    """
    kind = input.device.type
    if torch.is_autocast_enabled(kind):
        # what comes from a layer under autocast
        input = input.to(parameter.dtype)
    if input.dtype != parameter.dtype:
        raise ValueError(
            "input should be of the type of the encoder's parameters, %s, but found %s. Convert one of them: "
            "`input.to(dtype)` or `encoder.to(dtype)`" % (parameter.dtype, input.dtype)
        )
    return torch.autocast(kind, enabled=False), input


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
