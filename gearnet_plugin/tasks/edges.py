"""What the three objectives share that hide edges and predict the geometry of the walks they made."""

import math

import torch

from gearnet_plugin.graphs import walks
from gearnet_plugin.tasks.prediction import Hidden, SelfPrediction, check_count, check_flag


class HiddenEdgePrediction(SelfPrediction):
    """
    Base of the objectives on walks of edges; to be subclassed, and not registered itself.

    The nodes of a walk are i, j, ... from its end back to its start: ``(j -> i)``, ``(k -> j), (j -> i)`` or
    ``(k -> t), (t -> j), (j -> i)``.

    Attributes:
        length (int): number of edges of a walk
        columns (tuple of int): the nodes of a walk in the order in which their representations are concatenated
    """

    length = None
    columns = None

    def _set_up_edges(
        self,
        model,
        num_sample,
        num_output,
        num_mlp_layer,
        graph_construction_model,
        remove,
        self_loops,
        replacement,
        draws,
        seed,
    ):
        check_count("num_sample", num_sample, 1)
        check_flag("self_loops", self_loops)
        if remove not in ("sampled", "pair"):
            raise ValueError("remove should be `sampled` or `pair`, but found `%s`" % remove)
        self._set_up(
            model, self.length + 1, num_output, num_mlp_layer, graph_construction_model, replacement, draws, seed
        )
        self.num_sample = num_sample
        self.remove = remove
        self.self_loops = self_loops

    def measure(self, points):
        """Return the targets of walks, from the positions of their nodes in Å: list of tensors [S, 3]."""
        raise NotImplementedError

    def pool(self, graph):
        return walks.EdgeWalks(graph, self.length, self.self_loops)

    def number(self, pool):
        return self.num_sample

    def hide(self, graph, pool, index):
        edges = pool.edges(index)  # [S, length]
        source, target = graph.edge_list[:, :2].unbind(dim=-1)
        nodes = torch.cat([target[edges[:, -1:]], source[edges.flip(-1)]], dim=-1)  # [S, length + 1]
        points = graph.node_position[nodes].unbind(dim=1)
        if self.remove == "pair":
            removed = walks.between_same_nodes(graph, edges.flatten())
        else:
            removed = torch.zeros(len(source), dtype=torch.bool, device=source.device)
            removed[edges] = True
        rest = graph.edge_mask(~removed)
        return Hidden(rest, rest.node_feature.float(), nodes[:, list(self.columns)], self.measure(points))


class BinnedPrediction(HiddenEdgePrediction):
    """
    Base of the two that predict the bin of an angle; to be subclassed, and not registered itself.

    The lower ends of the bins are a buffer, ``boundary``, as in TorchDrug. A state dict with other bins is refused,
    since its head predicts other classes.
    """

    def _set_bins(self, num_class, low=0.0):
        """Divide the angles from ``low`` to pi evenly into ``num_class`` bins."""
        width = (math.pi - low) / num_class
        # TorchDrug's numbers to the last digit; for some `num_class`, first 61 and 122, `arange` makes one too many
        self.register_buffer("boundary", torch.arange(low, math.pi, width)[:num_class])

    def classes(self, angle):
        """Return the bins of angles, the largest angle in the last."""
        found = torch.bucketize(angle, self.boundary.to(angle.dtype), right=True) - 1
        # -pi, rounded to below the first bin
        return found.clamp(min=0)

    def _load_from_state_dict(
        self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
    ):
        given = state_dict.get(prefix + "boundary")
        own = self.boundary
        if given is not None and given.shape == own.shape and not own.is_meta and not given.is_meta:
            if not torch.allclose(given.to(own), own, atol=1e-5):
                error_msgs.append(
                    "the angle bins of these weights start at %.3f, those of the task at %.3f; they were "
                    "trained with another `signed`" % (float(given[0]), float(own[0]))
                )
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
