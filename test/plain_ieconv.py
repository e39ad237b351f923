"""
GearNet-IEConv by its formulas, one step after the other and every quantity in full: the matrices of all edges, all
pairs of edges that share a residue, frames residue by residue. Slow, any precision, differentiable.
"""

import math

import torch
from torch.nn import functional as F


def unit(vector):
    """Length 1; a zero vector stays zero."""
    length = float(vector.detach().norm())
    return vector / vector.norm() if length > 1e-12 else torch.zeros_like(vector)


def cross(a, b):
    return torch.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def frame(before, here, after):
    """Three axes, each a row, from the steps before -> here -> after."""
    incoming, outgoing = unit(here - before), unit(after - here)
    bisector, normal = unit(incoming - outgoing), unit(cross(incoming, outgoing))
    return torch.stack([bisector, normal, cross(bisector, normal)])


def released_frames(x):
    """Nodes one after the other, whatever they belong to; ones where a neighbour is missing."""
    ones = unit(torch.ones_like(x[0]))
    frames = []
    for i in range(len(x)):
        if i + 1 == len(x):
            frames.append(torch.stack([ones, ones, torch.zeros_like(ones)]))
            continue
        # the step into the first node is (1, 1, 1)
        before = x[i - 1] if i else x[i] - torch.ones_like(x[0])
        frames.append(frame(before, x[i], x[i + 1]))
    return torch.stack(frames)


def chain_frames(x, segment):
    """Within runs of nodes of one ``segment`` (list of N); ends have the frame of their neighbour."""
    frames = []
    for i in range(len(x)):
        run = [j for j in range(len(x)) if segment[j] == segment[i]]
        if len(run) < 3:
            frames.append(torch.zeros(3, 3, dtype=x.dtype))
            continue
        j = min(max(i, run[1]), run[-2])
        frames.append(frame(x[j - 1], x[j], x[j + 1]))
    return torch.stack(frames)


def edge_geometry(x, residue, edges, frames):
    """The 14 numbers of each edge."""
    rows = []
    for source, target in edges[:, :2].tolist():
        place = frames[source] @ (x[target] - x[source])
        agreement = torch.stack([frames[source][k] @ frames[target][k] for k in range(3)])
        apart = torch.tensor([abs(int(residue[source]) - int(residue[target])) / 6], dtype=x.dtype)
        seven = torch.cat([place, agreement, apart])
        rows.append(torch.cat([seven, 1 - 2 * seven.abs()]))
    return torch.stack(rows) if rows else x.new_zeros(0, 14)


def line_edges(x, edges, num_bin):
    """(told, hearing, bin) for every two edges k -> j and j -> i, by the angle at j."""
    told, hearing = (edges[:, 1][:, None] == edges[:, 0][None]).nonzero().unbind(1)
    a = x[edges[hearing, 1]] - x[edges[hearing, 0]]
    b = x[edges[told, 0]] - x[edges[told, 1]]
    angle = torch.atan2(torch.linalg.cross(a, b).norm(dim=-1), (a * b).sum(-1))
    return told, hearing, (angle * num_bin / math.pi).floor().long().clamp(max=num_bin - 1)


class Plain:
    """
    The model with these parameters.

    Parameters:
        state (dict): name -> tensor; leaves for those that should get gradients. Running statistics are changed.
        options (dict): arguments of the encoder
        training (bool): statistics of the batch, and dropout
        dropout (bool, optional): False for none
    """

    def __init__(self, state, options, training, dropout=True):
        self.state, self.options, self.training, self.dropout = state, options, training, dropout

    def linear(self, name, x):
        return x @ self.state[name + ".weight"].t() + self.state[name + ".bias"]

    def norm(self, name, x):
        state = self.state
        if self.training:
            state[name + ".num_batches_tracked"] += 1
        return F.batch_norm(
            x,
            state[name + ".running_mean"],
            state[name + ".running_var"],
            state[name + ".weight"],
            state[name + ".bias"],
            self.training,
        )

    def drop(self, x, rate):
        return F.dropout(x, rate, self.training and self.dropout)

    def relational(self, name, messages, target, relation, num_target, num_relation):
        parts = [
            messages.new_zeros(num_target, messages.shape[1]).index_add(
                0, target[relation == r], messages[relation == r]
            )
            for r in range(num_relation)
        ]
        output = self.linear(name + ".linear", torch.cat(parts, dim=1))
        if self.options.get("batch_norm"):
            output = self.norm(name + ".batch_norm", output)
        return getattr(F, self.options.get("activation", "relu"))(output)

    def ieconv(self, name, x, edges, weight, geometry):
        hidden = self.drop(F.relu(self.norm(name + ".input_batch_norm", x)), 0.05)
        message = self.norm(name + ".message_batch_norm", self.linear(name + ".linear1", hidden[edges[:, 0]]))
        message = self.drop(F.relu(message), 0.2)
        made = self.linear(name + ".kernel.layers.1", F.relu(self.linear(name + ".kernel.layers.0", geometry)))
        width = message.shape[1]
        if self.options.get("ieconv") == "film":
            message = made[:, width:] * message + made[:, :width]
        else:
            made = made.view(len(edges), width + 1, width)  # first row the shift, then a matrix, for every edge
            message = (made[:, 1:] * message[:, None, :]).sum(-1) + made[:, 0]
        update = torch.zeros(len(x), width, dtype=x.dtype).index_add(0, edges[:, 1], message * weight)
        update = self.drop(F.relu(self.norm(name + ".update_batch_norm", update)), 0.05)
        return self.norm(name + ".output_batch_norm", self.linear(name + ".linear2", update))

    def __call__(self, input, x, edges, residue, protein, segment, edge_feature=None, edge_weight=None):
        """``protein`` and ``segment`` tell what each of N nodes belongs to; other shapes as in the encoder."""
        options, num_node = self.options, len(x)
        weight = torch.ones(len(edges), 1, dtype=input.dtype) if edge_weight is None else edge_weight[:, None]
        if self.uses_ieconv:
            frames = chain_frames(x, segment) if options.get("frames") == "chain" else released_frames(x)
            geometry = edge_geometry(x, residue, edges, frames)
        bins = options.get("num_angle_bin")
        if bins:
            told, hearing, angle_bin = line_edges(x, edges, bins)
        hidden = input
        if options["embedding_dim"]:
            hidden = self.norm("embedding_batch_norm", self.linear("linear", hidden))
        edge_hidden, layers = edge_feature, []
        for i in range(len(options["hidden_dims"])):
            message = hidden[edges[:, 0]]
            if bins:
                edge_hidden = self.relational(
                    "edge_layers.%d" % i, edge_hidden[told], hearing, angle_bin, len(edges), bins
                )
                message = message + edge_hidden
            output = self.relational(
                "layers.%d" % i, message * weight, edges[:, 1], edges[:, 2], num_node, options["num_relation"]
            )
            if self.uses_ieconv:
                output = output + self.ieconv("ieconvs.%d" % i, hidden, edges, weight, geometry)
            output = self.drop(output, options.get("dropout", 0))
            if options.get("short_cut", True) and output.shape == hidden.shape:
                output = output + hidden
            if options.get("layer_norm"):
                name = "layer_norms.%d" % i
                output = F.layer_norm(
                    output, output.shape[1:], self.state[name + ".weight"], self.state[name + ".bias"]
                )
            layers.append(output)
            hidden = output
        node = torch.cat(layers, dim=1) if options.get("concat_hidden") else layers[-1]
        graphs = torch.stack(
            [
                node[protein == p].sum(0) if options.get("readout", "sum") == "sum" else node[protein == p].mean(0)
                for p in range(int(protein.max()) + 1)
            ]
        )
        return {"graph_feature": graphs, "node_feature": node}

    @property
    def uses_ieconv(self):
        return bool(self.options.get("use_ieconv")) or self.options.get("ieconv", "none") != "none"
