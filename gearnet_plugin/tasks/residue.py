"""Residue type prediction: what was the type of a residue that was masked?"""

import dataclasses
import numbers

import torch

from gearnet_plugin.graphs.protein import NUM_RESIDUE_TYPE
from gearnet_plugin.tasks.prediction import Hidden, SelfPrediction
from torchdrug import core
from torchdrug.core import Registry as R

# what a masked residue counts as in edge features
GLYCINE = 0
# edge features that begin with the one-hot types of source and target
WITH_TYPES = ("gearnet", "residue_type")


@R.register("tasks.MaskedResiduePrediction")
class MaskedResiduePrediction(SelfPrediction, core.Configurable):
    """
    Pretraining by residue type prediction (arXiv 2203.06125, section 3.3): mask residues and predict their types from
    their representations.

    With the defaults and ``draws="global"`` the same as TorchDrug's ``AttributeMasking`` on proteins of view
    ``residue``, except that

    - an unknown residue is never masked: TorchDrug takes it for glycine. A protein of which no residue is known is
      skipped;
    - the proteins of the batch are left as they are, where TorchDrug masks them in place;
    - the head is there from the start, so that the optimizer sees it.

    The node features of a masked residue are all 0. Edge features are made after masking, so they do not tell its type
    either, if ``graph_construction_model`` makes them; those that the proteins bring along are left as they are.

    ``majority accuracy`` and ``frequency cross entropy`` are what the most frequent class and the frequencies of the
    same targets would get.

    Parameters:
        model (nn.Module): node representation model
        mask_rate (float, optional): rate of masked residues, at least one a protein; with replacement fewer different
            ones, 14 % in place of 15 %
        num_mlp_layer (int, optional): number of MLP layers
        graph_construction_model (nn.Module, optional): graph construction model
        mask (str, optional): what edge features say of a masked residue. ``glycine``: that it is one, as TorchDrug, so
            that it looks like the 6 % that are; ``token``: no type at all
        replacement (bool, optional): whether a residue can be masked twice, and then counts twice, as in TorchDrug
        draws (str, optional): ``structure``: the masks are a function of protein, seed and epoch (see
            :class:`~gearnet_plugin.tasks.drawing.DrawingTask`); ``global``: from torch's global generator, as TorchDrug
        seed (int, optional): seed of draws by structure; by default that of the run
        max_length (int, optional): of longer proteins so many residues from a random place are taken, drawn like all
            the rest; TorchDrug's transform ``TruncateProtein`` draws from the global generator
    """

    stream = "residue type"
    needs = "a residue of known type"

    def __init__(
        self,
        model,
        mask_rate=0.15,
        num_mlp_layer=2,
        graph_construction_model=None,
        mask="glycine",
        replacement=True,
        draws="structure",
        seed=None,
        max_length=None,
    ):
        super().__init__()
        number = isinstance(mask_rate, numbers.Real) and not isinstance(mask_rate, bool)
        if not (number and 0 < mask_rate <= 1):
            raise ValueError("mask_rate should be above 0 and at most 1, but found %r" % (mask_rate,))
        if mask not in ("glycine", "token"):
            raise ValueError("mask should be `glycine` or `token`, but found `%s`" % mask)
        if mask == "token":
            _check_layout(graph_construction_model)
        self._set_up(model, 1, NUM_RESIDUE_TYPE, num_mlp_layer, graph_construction_model, replacement, draws, seed)
        self._set_max_length(max_length)
        self.mask_rate = mask_rate
        self.mask = mask

    def build(self, graph):
        view = getattr(graph, "view", "atom")
        if view not in ("residue", "node") or not hasattr(graph, "residue_type"):
            raise ValueError(
                "MaskedResiduePrediction needs proteins of view `residue`, but found a `%s` of view `%s`. "
                "Give the data set the transform `ProteinView` with view `residue`" % (type(graph).__name__, view)
            )
        # edges are made when the residues are masked
        return self.graph_construction_model.apply_node_layer(graph) if self.graph_construction_model else graph

    def pool(self, graph):
        known = torch.ones_like(graph.residue_type, dtype=torch.bool)
        if hasattr(graph, "unknown_residue"):
            known = ~graph.unknown_residue
        return _Known(known.nonzero()[:, 0], graph.residue2graph[known].bincount(minlength=graph.batch_size))

    def number(self, pool):
        return (pool.sizes * self.mask_rate).long().clamp(min=1)

    def hide(self, graph, pool, index):
        masked = pool.residue[index]
        target = graph.residue_type[masked]
        graph = graph.clone()
        # in this order: the features may be derived from the types, at this first access
        graph.residue_feature[masked] = 0
        graph.residue_type[masked] = GLYCINE
        if self.graph_construction_model:
            graph = self.graph_construction_model.apply_edge_layer(graph)
            if self.mask == "token":
                _forget_types(graph, masked)
        elif getattr(graph, "edge_feature", None) is not None:
            self._warn_once(
                "the proteins bring edge features along, which may tell the types of masked residues; let "
                "`graph_construction_model` make them"
            )
        return Hidden(graph, graph.residue_feature.float(), masked.unsqueeze(-1), target)


@dataclasses.dataclass
class _Known:
    """Residues of known type [K], and their number in each protein [B]."""

    residue: torch.Tensor
    sizes: torch.Tensor


def _check_layout(construct):
    feature = getattr(construct, "edge_feature", None)
    if construct is None or not construct.edge_layers or feature not in (None, *WITH_TYPES):
        found = (
            "none"
            if construct is None
            else "edge_feature `%s` and %d edge layers" % (feature, len(construct.edge_layers))
        )
        raise ValueError(
            "mask=`token` needs a `graph_construction_model` with edge layers, and edge_feature %s or "
            "None, but found %s" % (", ".join("`%s`" % name for name in WITH_TYPES), found)
        )


def _forget_types(graph, masked):
    """Set what the edge features say of the types of masked residues to 0, in place."""
    feature = getattr(graph, "edge_feature", None)
    if feature is None:
        return
    is_masked = torch.zeros(int(graph.num_residue), dtype=torch.bool, device=graph.device)
    is_masked[masked] = True
    is_masked = is_masked[graph.atom2residue]
    for i in range(2):
        feature[is_masked[graph.edge_list[:, i]], i * NUM_RESIDUE_TYPE : (i + 1) * NUM_RESIDUE_TYPE] = 0
