"""Say in words why the weights of a file do not fit a model."""
import re

# how many names of a long list are printed
SHOWN = 4
# widths of ESM's residue features
ESM_WIDTHS = (320, 480, 640, 1280, 2560, 5120)

ENCODER = "encoder"
INPUT = "input_dim (width of the residue features)"
RELATION = "num_relation (kinds of edges in the graph)"
BINS = "num_angle_bin (edge message passing)"
IECONV = "ieconv (intrinsic-extrinsic convolution)"
GEARNET, GEARNET_IECONV = "GearNetEncoder", "GearNetIEConvEncoder"


def describe(state):
    """
    Return the arguments of GearNet or GearNet-IEConv that a state dict shows, as far as it has their names.

    Parameters:
        state (dict): state dict of an encoder or of a task around it
    """
    nodes, edges = _layers(state, "layers"), _layers(state, "edge_layers")
    if not nodes:
        return {}
    result = {}
    has_loop = [("self_loop" in layer) for layer in nodes]
    if all(has_loop):
        result[ENCODER] = GEARNET
        result[INPUT] = nodes[0]["self_loop"][1]
        result["hidden_dims"] = [layer["self_loop"][0] for layer in nodes]
        result[RELATION] = nodes[0]["linear"][1] // nodes[0]["self_loop"][1] if "linear" in nodes[0] else None
        result["batch_norm"] = _has(state, r"batch_norms\.0\.weight")
    elif not any(has_loop):
        result.update(_describe_ieconv(state, nodes))
    else:
        return {}
    if edges:
        # the output of edge layer i is as wide as the input of node layer i
        width = edges[0]["self_loop"][1] if "self_loop" in edges[0] else None
        if width is None and len(edges) > 1:
            bins = edges[1]["linear"][1] // edges[0]["linear"][0]
            width = edges[0]["linear"][1] // bins
        if width:
            result["edge_input_dim (width of the edge features)"] = width
            result[BINS] = edges[0]["linear"][1] // width
    return result


def _describe_ieconv(state, nodes):
    """The same of GearNet-IEConv, whose layers have no weights from which their input could be read."""
    result = {ENCODER: GEARNET_IECONV}
    dims = [layer["linear"][0] for layer in nodes]
    linear = _ending(state, r"(?<!\d\.)linear\.weight") if _has(state, r"embedding_batch_norm\.weight") else []
    width = None
    if len(linear) == 1:
        result[INPUT], width = linear[0].shape[1], linear[0].shape[0]
        relations = nodes[0]["linear"][1] // width
    elif len(nodes) > 1:
        relations = nodes[1]["linear"][1] // dims[0]
        result[INPUT] = nodes[0]["linear"][1] // max(relations, 1)
    else:
        relations = None
    result["embedding_dim"] = width or 0
    result["hidden_dims"] = dims
    result[RELATION] = relations
    result["batch_norm"] = _has(state, r"(?<!edge_)layers\.0\.batch_norm\.weight")
    result["layer_norm"] = _has(state, r"layer_norms\.0\.weight")
    result[IECONV] = _kind(state)
    return result


def _kind(state):
    """``none``, ``kernel`` or ``film``."""
    kernel = _ending(state, r"ieconvs\.0\.kernel\.layers\.1\.bias")
    hidden = _ending(state, r"ieconvs\.0\.linear1\.bias")
    if not (kernel and hidden):
        return "none"
    return "film" if len(kernel[0]) == 2 * len(hidden[0]) else "kernel"


def _layers(state, kind):
    """Shapes of self-loop [output, input] and messages [output, relations * input] of each layer, in order."""
    shapes = {}
    for name, tensor in state.items():
        found = re.search(r"(?:^|\.)%s\.(\d+)\.(self_loop|linear)\.weight$" % kind, name)
        if found and tensor.dim() == 2:
            shapes.setdefault(int(found.group(1)), {})[found.group(2)] = tuple(tensor.shape)
    return [shapes[i] for i in sorted(shapes)] if all("linear" in shape for shape in shapes.values()) else []


def _ending(state, pattern):
    """Tensors whose names end so."""
    return [tensor for name, tensor in state.items() if re.search(r"(?:^|\.)%s$" % pattern, name)]


def _has(state, pattern):
    return bool(_ending(state, pattern))


def explain(expected, found):
    """
    Compare two state dicts.

    Parameters:
        expected (dict): of the model
        found (dict): of the file

    Returns:
        str: what differs, or an empty text
    """
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    shapes = [name for name in expected if name in found and expected[name].shape != found[name].shape]
    if not (missing or unexpected or shapes):
        return ""
    parts = [_fusions(expected, found) or _tasks(expected, found)]
    if len(missing) == len(expected):
        parts.append("No name of the file is one of this model.")
    parts += _arguments(describe(expected), describe(found))
    if missing:
        parts.append("Missing in the file: %s." % _names(missing))
    if unexpected:
        parts.append("Only in the file: %s." % _names(unexpected))
    if shapes:
        parts.append("Other shape: %s." % _names(
            "%s is %s here, %s in the file" % (name, list(expected[name].shape), list(found[name].shape))
            for name in shapes))
    return " ".join(part for part in parts if part)


# === words for what is often the cause ===


def _arguments(ours, theirs):
    """Sentences on arguments of the encoder that differ, each with what it means where that is known."""
    if not (ours and theirs):
        return
    for name in {**ours, **theirs}:
        if ENCODER in (ours.keys() & theirs.keys()) and ours[ENCODER] != theirs[ENCODER]:
            # the two have other arguments
            if name not in ours or name not in theirs:
                continue
        if ours.get(name) != theirs.get(name):
            yield "%s: the configuration has %s, the file %s.%s" % (
                name, _show(ours.get(name)), _show(theirs.get(name)), _meaning(name, ours.get(name), theirs.get(name)))


def _meaning(name, ours, theirs):
    if name == ENCODER:
        return (" These are two architectures, that of EC and GO (`%s`, TorchDrug's GearNet) and that of the fold "
                "results (`%s`, the repository's GearNetIEConv): name the class that the file has."
                % (GEARNET, GEARNET_IECONV))
    if name == INPUT and (ours in ESM_WIDTHS) != (theirs in ESM_WIDTHS):
        behind = "the configuration's encoder" if ours in ESM_WIDTHS else "the encoder in the file"
        return (" %d is a width of ESM's residue features, so %s stands behind a sequence model "
                "(`SequenceStructureFusion`); one-hot residue types are 21 wide."
                % (ours if ours in ESM_WIDTHS else theirs, behind))
    if name == BINS and None in (ours, theirs):
        return (" Without angle bins it is GearNet, with them GearNet-Edge; weights of the one are not weights of the "
                "other.")
    if name == RELATION:
        return " The paper's graph has 7: five sequential, one by radius, one by nearest neighbours."
    return ""


def _is_fusion(state):
    return all(_has(state, part + r"\..*") for part in ("sequence_model", "structure_model"))


def _fusions(expected, found):
    """A sentence if one of the two alone is of a sequence model joined with a structure encoder."""
    if _is_fusion(expected) and not _is_fusion(found):
        return ("The configuration has a sequence model joined with a structure encoder, the file holds no such pair: "
                "its weights fit one of the two, if any.")
    if _is_fusion(found) and not _is_fusion(expected):
        return ("The file holds a sequence model joined with a structure encoder (`SequenceStructureFusion`), the "
                "configuration an encoder alone.")
    return ""


def _tasks(expected, found):
    """A sentence if one of the two alone is a task with a head, or if the heads differ."""
    ours, theirs = _head(expected), _head(found)
    if ours and not theirs and all("model." + name in expected or name in expected for name in found):
        return ("The file holds an encoder alone, the configuration asks for all weights of a task: give it as "
                "`model_checkpoint`.")
    if theirs and not ours and any(name.startswith("model.") for name in found):
        return "The file holds all weights of a task, this is an encoder."
    if not (ours and theirs) or ours == theirs:
        return ""
    instead = "`model_checkpoint` takes the encoder alone and leaves the head as it is."
    if ours[-1] != theirs[-1]:
        return ("The head has %d outputs here and %d in the file: the weights are those of another task or of other "
                "labels. %s" % (ours[-1], theirs[-1], instead))
    if len(ours) != len(theirs):
        return "The head has num_mlp_layer %d here and %d in the file. %s" % (len(ours), len(theirs), instead)
    return ""


def _head(state):
    """Outputs of each layer of a task's head."""
    layers = {}
    for name, tensor in state.items():
        found = re.fullmatch(r"mlp\.layers\.(\d+)\.weight", name)
        if found:
            layers[int(found.group(1))] = tensor.shape[0]
    return [layers[i] for i in sorted(layers)]


def _show(value):
    return "none" if value is None else str(value)


def _names(names):
    names = list(names)
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (" and %d more" % more if more > 0 else "")
