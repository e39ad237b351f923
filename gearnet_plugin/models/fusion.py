"""A sequence model and a structure encoder as one encoder."""

import os

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from gearnet_plugin.datasets import features as cached
from gearnet_plugin.datasets.feature_cache import FeatureCache
from torchdrug import core, layers
from torchdrug.core import Registry as R

FUSIONS = ("series", "parallel", "cross")
# of the attention in ESM-GearNet
NUM_HEADS = 8
DROPOUT = 0.1

# N residues (= nodes), B proteins, L residues of the longest, D width of a model's residue features, C `cross_dim`


@R.register("models.SequenceStructureFusion")
class SequenceStructureFusion(nn.Module, core.Configurable):
    """
    A sequence model, such as ESM, joined with a structure encoder.

    State dict and arithmetic are those of ``FusionNetwork`` of the GearNet and ESM-GearNet repositories. ``series`` and
    ``parallel`` give the sequence model's features followed by the encoder's. ``cross`` brings both to one width and
    lets all features of a protein, two for each residue, attend to each other, in one layer of 8 heads that has no
    positions and no residual connection; a residue is its two results, a protein the sum of its residues. Its attention
    takes memory by the square of the length: 39 MB for the weights of one protein of 550 residues.

    Sequence models see the residues of the graph they are given. In multiview contrast that is the crop, not the
    protein it is cut from, as in the repositories, and why they crop stretches of sequence only there: residues of a
    crop in space follow each other as if they were neighbours. Cached features are those of whole proteins, and so are
    refused for crops.

    TorchDrug's ``ProteinBERT`` counts its start token as the first residue, so that its features are one residue late;
    they are taken as they come.

    Parameters:
        sequence_model (nn.Module): TorchDrug's ``ESM``, ``ProteinBERT``, ``ProteinLSTM``, ``ProteinResNet``,
            ``ProteinConvolutionalNetwork``, or any that returns features of residues and proteins
        structure_model (nn.Module): any encoder of residue graphs
        fusion (str, optional): ``series``: the encoder's node features are the sequence model's residue features, so
            that its ``input_dim`` has to be their width; ``parallel`` and ``cross``: they are those of the graph
        freeze_sequence (bool, optional): keep the sequence model as it is: no gradients, and eval mode throughout
        features (str, optional): folder of cached features of the frozen sequence model, which then does not run. Made
            by :func:`gearnet_plugin.datasets.features.cache_features`.
        cross_dim (int, optional): width of the attention of ``cross``, a multiple of 8; the output is twice as wide
    """

    def __init__(
        self, sequence_model, structure_model, fusion="series", freeze_sequence=False, features=None, cross_dim=None
    ):
        super().__init__()
        _check(sequence_model, structure_model, fusion, freeze_sequence, features)
        _check_cross(fusion, cross_dim)
        self.sequence_model = sequence_model
        self.structure_model = structure_model
        self.fusion = fusion
        self.freeze_sequence = freeze_sequence
        self.features = features
        self.cross_dim = cross_dim
        # ProteinLSTM alone has residue features of another width than those of proteins
        widths = _node_width(sequence_model), _node_width(structure_model)
        if fusion == "cross":
            self.seq_linear = nn.Linear(widths[0], cross_dim)
            self.struct_linear = nn.Linear(widths[1], cross_dim)
            self.attn = layers.SelfAttentionBlock(cross_dim, NUM_HEADS, DROPOUT)
            self.output_dim = self.node_output_dim = 2 * cross_dim
        else:
            self.output_dim = sequence_model.output_dim + structure_model.output_dim
            self.node_output_dim = sum(widths)
        if freeze_sequence:
            sequence_model.requires_grad_(False)
            sequence_model.eval()
        self._cache, self._is_checked = None, False
        if features is not None and not any(p.is_meta for p in self.parameters()):
            # a wrong path is better told before the data are read
            self._open()
        self.register_load_state_dict_post_hook(_recheck)

    def train(self, mode=True):
        """Set training mode, of the structure encoder alone where the sequence model is frozen."""
        super().train(mode)
        if self.freeze_sequence:
            self.sequence_model.eval()
        return self

    def forward(self, graph, input, all_loss=None, metric=None):
        """
        Compute the representations of residues and proteins.

        Parameters:
            graph (PackedProtein): residue graphs, as the structure encoder takes them
            input (Tensor): node features of shape :math:`(N, d)`
            all_loss (Tensor, optional): handed to both models
            metric (dict, optional): handed to both models

        Returns:
            dict: ``node_feature`` of shape :math:`(N, node\\_output\\_dim)`, ``graph_feature`` of shape
            :math:`(B, output\\_dim)`
        """
        if self.features is not None:
            residue, protein = self._look_up(graph, input)
        else:
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_sequence):
                residue, protein = self._run(graph, input, all_loss, metric)
        if self.fusion == "series":
            input = residue
        output = self.structure_model(graph, input, all_loss, metric)
        structure = cached.residue_feature(output)
        if self.fusion == "cross":
            node = self._attend(graph, residue, structure)
            protein = node.new_zeros(graph.batch_size, node.shape[-1]).index_add(0, graph.residue2graph, node)
            return {"graph_feature": protein, "node_feature": node}
        return {
            "graph_feature": torch.cat([protein, output["graph_feature"]], dim=-1),
            "node_feature": torch.cat([residue, structure], dim=-1),
        }

    def _attend(self, graph, residue, structure):
        """Features of both models [N, D] after they attended to each other within each protein [N, 2 C]."""
        sizes = graph.num_residues.tolist()
        # without positions their order within a protein is of no account
        both = [linear(x).split(sizes) for linear, x in [(self.seq_linear, residue), (self.struct_linear, structure)]]
        padded = [pad_sequence(parts, batch_first=True) for parts in both]
        length = padded[0].shape[1]
        mask = torch.arange(length, device=residue.device) < graph.num_residues.unsqueeze(-1)
        result = self.attn(torch.cat(padded, dim=1), torch.cat([mask, mask], dim=1))
        return torch.cat([result[:, :length][mask], result[:, length:][mask]], dim=-1)

    def _run(self, graph, input, all_loss, metric):
        """Features of residues [N, D] and proteins [B, P] by the sequence model."""
        most = cached.longest(self.sequence_model)
        if most is not None and (graph.num_residues > most).any():
            number = int((graph.num_residues > most).nonzero()[0])
            length = int(graph.num_residues[number])
            raise ValueError(
                "protein %d of the batch %s" % (number, cached.too_long(length, most, self.sequence_model))
            )
        output = self.sequence_model(graph, input, all_loss, metric)
        residue = cached.residue_feature(output)
        if len(residue) != int(graph.num_node):
            raise ValueError(
                "%s gives %d residue features for a batch of %d nodes and %d residues (of its proteins: %s). There "
                "should be one a node: give proteins one node a residue (`AlphaCarbonNode` in the graph construction) "
                "and shorten them with `TruncateProtein` if the model does"
                % (
                    type(self.sequence_model).__name__,
                    len(residue),
                    graph.num_node,
                    graph.num_residue,
                    graph.num_residues.tolist(),
                )
            )
        return residue, output["graph_feature"]

    # === cached features ===

    def _look_up(self, graph, input):
        """The same from the cache."""
        if self._cache is None:
            self._open()
        if not self._is_checked:
            self._check_model()
        if int(graph.num_node) != int(graph.num_residue):
            raise ValueError(
                "cached features are one a residue, but the graph has %d nodes and %d residues; `AlphaCarbonNode` in "
                "the graph construction makes one node a residue" % (graph.num_node, graph.num_residue)
            )
        found = [
            self._cache.get(codes, cached.describe_protein(number, codes))
            for number, codes in enumerate(cached.residue_codes(graph))
        ]
        dtype = input.dtype if input.is_floating_point() else torch.get_default_dtype()
        residues, proteins = zip(*found)
        return (
            torch.cat([torch.from_numpy(rows) for rows in residues]).to(graph.device, dtype),
            torch.stack([torch.from_numpy(row) for row in proteins]).to(graph.device, dtype),
        )

    def _open(self):
        cache = FeatureCache(self.features)
        expected = _node_width(self.sequence_model), self.sequence_model.output_dim
        if (cache.width, cache.protein_width) != expected:
            raise ValueError(
                "the features in `%s` are those of %s, %d wide for residues and %d for proteins, but the sequence "
                "model's are %d and %d" % (cache.path, cache.model, cache.width, cache.protein_width, *expected)
            )
        self._cache = cache

    def _check_model(self):
        # not before the first batch, since weights are often loaded after the constructor
        found = cached.fingerprint(self.sequence_model)
        if found != self._cache.fingerprint:
            raise ValueError(
                "the features in `%s` were made by another model: %s with fingerprint %s, but the sequence model is %s "
                "with %s. Load the weights they were made with, or make them anew"
                % (
                    self._cache.path,
                    self._cache.model,
                    self._cache.fingerprint,
                    getattr(self.sequence_model, "_registry_key", type(self.sequence_model).__name__),
                    found,
                )
            )
        self._is_checked = True


def _recheck(module, _):
    module._is_checked = False


def _node_width(model):
    return getattr(model, "node_output_dim", None) or model.output_dim


def _check(sequence_model, structure_model, fusion, freeze_sequence, features):
    """Raise ValueError for what does not exist or does not go together."""
    if fusion not in FUSIONS:
        raise ValueError("fusion should be `series`, `parallel` or `cross`, but found `%s`" % (fusion,))
    for name, model in [("sequence_model", sequence_model), ("structure_model", structure_model)]:
        if not hasattr(model, "output_dim"):
            raise ValueError("%s should have an `output_dim`, but `%s` has none" % (name, type(model).__name__))
    width, taken = _node_width(sequence_model), getattr(structure_model, "input_dim", None)
    if fusion == "series" and taken is not None and taken != width:
        raise ValueError(
            "in series the structure model's input_dim should be %d, the width of the sequence model's residue "
            "features, but found %d" % (width, taken)
        )
    if features is None:
        return
    if not isinstance(features, (str, os.PathLike)):
        raise ValueError("features should be the folder of cached features, but found `%s`" % (features,))
    if not freeze_sequence:
        raise ValueError("cached features are those of a frozen sequence model; set freeze_sequence: true")


def _check_cross(fusion, cross_dim):
    if fusion != "cross":
        if cross_dim is not None:
            raise ValueError("cross_dim is the width of fusion `cross`, but fusion is `%s`; leave it out" % fusion)
        return
    number = isinstance(cross_dim, int) and not isinstance(cross_dim, bool)
    if not number or cross_dim < 1 or cross_dim % NUM_HEADS:
        raise ValueError(
            "fusion `cross` needs a cross_dim that its %d attention heads divide, such as 512, but found `%s`"
            % (NUM_HEADS, cross_dim)
        )
