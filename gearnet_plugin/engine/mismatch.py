"""Say in words why the weights of a file do not fit a model."""
import re

# how many names of a long list are printed
SHOWN = 4


def describe(state):
    """
    Return the arguments of GearNet that a state dict shows, as far as it has GearNet's names.

    Parameters:
        state (dict): state dict of an encoder or of a task around it
    """
    result = {}
    for kind, bins in (("layers", "num_relation"), ("edge_layers", "num_angle_bin")):
        # [output, input] of the self-loop, [output, relations * input] of the messages
        shapes = {}
        for name, tensor in state.items():
            found = re.search(r"(?:^|\.)%s\.(\d+)\.(self_loop|linear)\.weight$" % kind, name)
            if found and tensor.dim() == 2:
                shapes.setdefault(int(found.group(1)), {})[found.group(2)] = tuple(tensor.shape)
        layers = [shapes[i] for i in sorted(shapes) if len(shapes[i]) == 2]
        if not layers:
            continue
        widths = [layer["self_loop"][0] for layer in layers]
        first = layers[0]
        if kind == "layers":
            result["input_dim (width of the residue features)"] = first["self_loop"][1]
            result["hidden_dims"] = widths
            result["num_relation (kinds of edges in the graph)"] = first["linear"][1] // first["self_loop"][1]
        else:
            result["edge_input_dim (width of the edge features)"] = first["self_loop"][1]
            result["%s (edge message passing)" % bins] = first["linear"][1] // first["self_loop"][1]
    if result:
        result["batch_norm"] = any(re.search(r"(?:^|\.)batch_norms\.0\.weight$", name) for name in state)
    return result


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
    parts = []
    if len(missing) == len(expected):
        parts.append("No name of the file is one of this model.")
    ours, theirs = describe(expected), describe(found)
    for name in {**ours, **theirs} if ours and theirs else ():
        if ours.get(name) != theirs.get(name):
            parts.append("%s: the configuration has %s, the file %s." % (name, _show(ours.get(name)),
                                                                         _show(theirs.get(name))))
    if missing:
        parts.append("Missing in the file: %s." % _names(missing))
    if unexpected:
        parts.append("Only in the file: %s." % _names(unexpected))
    if shapes:
        parts.append("Other shape: %s." % _names(
            "%s is %s here, %s in the file" % (name, list(expected[name].shape), list(found[name].shape))
            for name in shapes))
    return " ".join(parts)


def _show(value):
    return "none" if value is None else str(value)


def _names(names):
    names = list(names)
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (" and %d more" % more if more > 0 else "")
