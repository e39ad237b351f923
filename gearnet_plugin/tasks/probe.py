"""
Embeddings of a frozen encoder, computed once a protein.

B proteins, N residues, D width of the features.
"""

import logging

import torch

from gearnet_plugin.graphs.draws import structure_keys
from torchdrug import models

logger = logging.getLogger(__name__)

# how far features may be from those of the protein alone, relative to the largest: rounding, TF32's too; and rounding
# to bfloat16
AGREEMENT, ROUGH_AGREEMENT = 0.005, 0.03
# they pad sequences to the longest of the batch, and do not mask the padding
PADDED = (models.ProteinLSTM, models.ProteinConvolutionalNetwork, models.ProteinResNet)
# odd numbers of 64 bits, signed: the golden ratio's, and one of SplitMix64
_STEP, _FACTOR = -7046029254386353131, -4658895280553007687


class EmbeddingCache:
    """
    Features by protein, in CPU memory.

    A protein is known by what an encoder sees of it: :func:`structure_keys`, node features, chains and residue
    numbers, edges. A crop or a mutant is another protein.

    Features are kept only if an encoder gives a protein the same ones in any batch. Those of an encoder known not to
    (:func:`batch_dependence`), and of one that shows otherwise in the first batch of two lengths, are computed anew
    each time, which is logged.

    Parameters:
        model (nn.Module): frozen encoder
        limit (int): bytes after which nothing more is kept
    """

    def __init__(self, model, limit):
        self.limit = limit
        reason = batch_dependence(model)
        self.is_on = not reason
        if reason:
            logger.warning("embeddings of the frozen encoder are not cached, which is slow: %s", reason)
        self.is_checked = False
        self.is_full = False
        self.state = None
        self.clear()

    def clear(self):
        """Forget all features."""
        self.features, self.bytes = {}, 0
        self.is_full = False

    def __len__(self):
        return len(self.features)

    def look_up(self, graph, encode, state=None):
        """
        Features of the proteins of a batch, one protein after the other.

        Parameters:
            graph (PackedProtein): :math:`B` proteins, as they came
            encode (Callable): graph -> list of features, a tensor of shape :math:`(n, D)` for each of its proteins
            state (object, optional): what features depend on beside weights and proteins; another one empties the cache

        Returns:
            Tensor: shape :math:`(\\sum n, D)`, on the device of the graph
        """
        if not self.is_on:
            return torch.cat(encode(graph))
        if state != self.state:
            self.clear()
            self.state = state
        keys = protein_keys(graph)
        wanted = {}
        for place, key in enumerate(keys):
            if key not in self.features:
                wanted.setdefault(key, place)
        found = {}
        if wanted:
            places = list(wanted.values())
            part = graph if len(places) == len(keys) else graph.subbatch(torch.tensor(places, device=graph.device))
            features = encode(part)
            if not self.is_checked and not self._agrees(part, features, encode):
                return torch.cat(encode(graph))
            found = {key: feature.detach().cpu() for key, feature in zip(wanted, features)}
            for key, feature in found.items():
                self._keep(key, feature)
        rows = [self.features[key] if key in self.features else found[key] for key in keys]
        return torch.cat(rows).to(graph.device)

    def _keep(self, key, feature):
        size = feature.numel() * feature.element_size()
        if self.bytes + size <= self.limit:
            # a slice would keep the features of the whole batch alive
            self.features[key] = feature.clone()
            self.bytes += size
        elif not self.is_full:
            self.is_full = True
            logger.warning(
                "the embeddings of %d proteins fill the cache of %.3g GiB; those of others are computed anew each time",
                len(self.features),
                self.limit / 2**30,
            )

    def _agrees(self, graph, features, encode):
        """Whether a protein looks alone as it looks in a batch; switches the cache off if not."""
        lengths = graph.num_residues.tolist()
        if min(lengths) == max(lengths):
            # padding would not show
            return True
        self.is_checked = True
        place = lengths.index(min(lengths))
        (alone,) = encode(graph.subbatch(torch.tensor([place], device=graph.device)))
        here = features[place]
        rough = here.element_size() < 4 or torch.is_autocast_enabled(here.device.type)
        error = float((alone - here).abs().max() / here.abs().max().clamp(min=1e-12))
        if error <= (ROUGH_AGREEMENT if rough else AGREEMENT):
            return True
        self.is_on = False
        self.clear()
        logger.warning(
            "embeddings of the frozen encoder are not cached, which is slow: it gives a protein other features in "
            "another batch (by %.1g of the largest)",
            error,
        )
        return False


def batch_dependence(model):
    """Why an encoder gives a protein other features in another batch, where that is known; empty if not."""
    modules = list(model.modules())
    # sequence models that do not run
    idle = {
        id(child)
        for module in modules
        if getattr(module, "features", None) is not None and hasattr(module, "sequence_model")
        for child in module.sequence_model.modules()
    }
    for module in modules:
        if getattr(module, "frames", None) == "released" and getattr(module, "use_ieconv", False):
            return "with frames `released` a protein looks different in another batch. Set `frames: chain`"
        if isinstance(module, PADDED) and id(module) not in idle:
            return (
                "%s pads sequences to the longest of the batch, and that changes the features of the others"
                % type(module).__name__
            )
    return ""


def protein_keys(graph):
    """
    What each protein of a batch is, as two words of 64 bits.

    Parameters:
        graph (PackedProtein): :math:`B` proteins

    Returns:
        list of (int, int): keys
    """
    keys = structure_keys(graph)
    nodes, residues = graph.num_nodes, graph.num_residues
    more = torch.zeros_like(keys)
    for name, sizes in [("residue_number", residues), ("chain_id", residues), ("node_feature", None)]:
        value = getattr(graph, name, None)
        if isinstance(value, torch.Tensor):
            if sizes is None:
                sizes = nodes if len(value) == int(graph.num_node) else residues
            more = _scramble(more + _digest(value, sizes))
    if int(graph.num_edge):
        edges = graph.edge_list.clone()
        edges[:, :2] -= (graph.num_cum_nodes - nodes).repeat_interleave(graph.num_edges).unsqueeze(-1)
        more = _scramble(more + _digest(edges, graph.num_edges))
    return list(zip(keys.tolist(), more.tolist()))


def _digest(value, sizes):
    """A word for the rows that each protein has, in their order: [B]."""
    value = value.detach()
    if value.is_floating_point():
        # adding zero makes -0.0 the same as 0.0
        value = (value.to(torch.float32) + 0.0).contiguous().view(torch.int32)
    words = value.long().flatten(1) if value.dim() > 1 else value.long().unsqueeze(-1)
    column = torch.arange(1, words.shape[1] + 1, device=words.device) * _STEP
    words = _scramble(words + column).sum(dim=-1)
    owner = torch.arange(len(sizes), device=words.device).repeat_interleave(sizes)
    rank = torch.arange(len(words), device=words.device) - (sizes.cumsum(0) - sizes)[owner]
    total = torch.zeros(len(sizes), dtype=torch.long, device=words.device)
    return total.index_add(0, owner, _scramble(words + rank * _STEP))


def _scramble(word):
    """Mix the bits of a tensor of words, modulo 2^64."""
    word = word * _FACTOR
    word = word ^ (word >> 32)
    return word * _STEP
