"""Multiview contrast: two crops of one protein should be told from crops of other proteins."""
import logging
import math
import numbers

import torch
from torch import nn
from torch.nn import functional as F

from gearnet_plugin.graphs import PackedResidueProtein
from gearnet_plugin.layers import ResidueGraphConstruction
from gearnet_plugin.tasks import views
from gearnet_plugin.tasks.drawing import DrawingTask
from gearnet_plugin.tasks.gathering import gather_rows, num_ranks
from gearnet_plugin.tasks.prediction import check_count, check_flag
from torchdrug import core, models
from torchdrug.core import Registry as R
from torchdrug.layers import geometry as host
from torchdrug.utils import comm

logger = logging.getLogger(__name__)

# of F.cosine_similarity, which TorchDrug uses
SMALLEST_NORM = 1e-8


@R.register("tasks.MultiviewContrastive")
class MultiviewContrastive(DrawingTask, core.Configurable):
    """
    Pretraining by multiview contrast (arXiv 2203.06125, section 3.3).

    The same loss and state dict keys as TorchDrug's ``Unsupervised`` task around ``MultiviewContrast``, and with
    ``draws="global"`` the same random draws and so the same two graphs a protein; but crops are drawn first and only
    what they keep is built, a seventh of the work on a protein of 350 residues.

    That holds for the crops ``SubsequenceNode``, ``SubspaceNode`` on residues and ``IdentityNode``, and for
    ``ResidueGraphConstruction``; others are called as they are on the whole graph. Functions other than these and the
    noise ``RandomEdgeMask`` and ``IdentityNode`` draw from wherever they draw, whatever ``draws`` is.

    Parameters:
        model (nn.Module): encoder with ``output_dim``
        crop_funcs (list of nn.Module): cropping functions
        noise_funcs (list of nn.Module): noise functions
        num_mlp_layer (int, optional): number of layers of the projection head
        activation (str or function, optional): activation function of the head
        tau (float, optional): temperature of the InfoNCE loss
        graph_construction_model (nn.Module, optional): graph construction
        draw (str, optional): ``batch``: each view takes one crop and one noise function for all proteins of a batch, as
            TorchDrug does; ``protein``: for each protein its own
        directions (int, optional): 1, as TorchDrug: the first view of each of :math:`B` proteins should find its second
            among the :math:`B` second views. 2: each of the :math:`2B` views should find its partner among the
            :math:`2B - 1` others, those of the same number included; the loss is the mean over the :math:`2B`.
        gather_negatives (bool, optional): in training, views are told from those of all ranks and not only of this one.
            Loss and gradients are those of one process with all the proteins. All ranks have to train in step, as in
            ``core.Engine``. In eval mode each rank compares within its own batch.
        draws (str, optional): ``structure``: the views of a protein are a function of it, seed and epoch (see
            :class:`~gearnet_plugin.tasks.drawing.DrawingTask`), but for the functions of ``draw="batch"``, which depend
            on what else is in the batch; ``global``: from the global generators, as TorchDrug
        seed (int, optional): seed of draws by structure; by default that of the run
    """

    def __init__(self, model, crop_funcs, noise_funcs, num_mlp_layer=2, activation="relu", tau=0.07,
                 graph_construction_model=None, draw="batch", directions=1, gather_negatives=False, draws="structure",
                 seed=None):
        super().__init__()
        for name, functions in [("crop_funcs", crop_funcs), ("noise_funcs", noise_funcs)]:
            if not functions:
                raise ValueError("%s should name at least one function, but is empty; `layers.geometry.IdentityNode` "
                                 "leaves the protein as it is" % name)
            if not isinstance(functions, (list, tuple, nn.ModuleList)):
                raise ValueError("%s should be a list of functions, but found a single `%s`"
                                 % (name, type(functions).__name__))
            for function in functions:
                views.check(function, name, draw)
        check_count("num_mlp_layer", num_mlp_layer, 1)
        check_flag("gather_negatives", gather_negatives)
        number = isinstance(tau, numbers.Real) and not isinstance(tau, bool)
        if not (number and 0 < tau < math.inf):
            raise ValueError("tau should be a positive number, but found %r" % (tau,))
        if getattr(model, "output_dim", None) is None:
            raise ValueError("model should have an `output_dim`, the width of its representations, but `%s` has none"
                             % type(model).__name__)
        if draw not in ("batch", "protein"):
            raise ValueError("draw should be `batch` or `protein`, but found `%s`" % draw)
        if directions not in (1, 2):
            raise ValueError("directions should be 1 or 2, but found %s" % directions)
        # TorchDrug's module holds encoder and head, so that checkpoints of either load in the other
        self.model = models.MultiviewContrast(model, crop_funcs, noise_funcs, num_mlp_layer, activation, tau)
        self.graph_construction_model = graph_construction_model
        self.draw = draw
        self.directions = directions
        self.gather_negatives = gather_negatives
        self._set_draws(draws, seed)
        self._has_warned = self._has_warned_of_size = False

    @property
    def encoder(self):
        """The encoder that is pretrained."""
        return self.model.model

    # === views ===

    def draw_view(self, graph, number=1):
        """
        Draw a crop and a noise function and return the view they make of every protein of the batch.

        Parameters:
            graph (PackedProtein): :math:`B` proteins
            number (int, optional): which view it is; another number is another draw

        Returns:
            PackedProtein: their views, with edges
        """
        construct, stream = self.graph_construction_model, "view %d: " % number
        crop = self.draws.choose(graph, self.model.crop_funcs, stream + "crop function", self.draw)
        noise = self.draws.choose(graph, self.model.noise_funcs, stream + "noise function", self.draw)
        if construct:
            graph = construct.apply_node_layer(graph)
        mask = self._mask(views.crop_mask, crop, self.model.crop_funcs, graph, graph.num_residues, stream + "crop")
        if mask is None:
            view = crop(construct.apply_edge_layer(graph) if construct else graph)
        elif isinstance(construct, ResidueGraphConstruction) and isinstance(graph, PackedResidueProtein):
            view = construct.apply_edge_layer(graph, keep=mask)
        else:
            view = (construct.apply_edge_layer(graph) if construct else graph).subresidue(mask)
        if type(noise) is host.IdentityNode:
            return view
        mask = self._mask(views.noise_mask, noise, self.model.noise_funcs, view, view.num_edges, stream + "noise")
        return noise(view) if mask is None else view.edge_mask(mask)

    def _mask(self, make, choice, functions, graph, sizes, stream):
        """What the chosen function keeps, or the one chosen for each protein; None if it has to be called."""
        if self.draw == "batch":
            return make(choice, graph, self.draws, stream)
        kept = [make(function, graph, self.draws, "%s %d" % (stream, i)) for i, function in enumerate(functions)]
        if any(mask is None for mask in kept):
            raise ValueError("draw=`protein` needs proteins of one node a residue, but found a `%s` of %d nodes and "
                             "%d residues; `AlphaCarbonNode` in the graph construction makes them"
                             % (type(graph).__name__, graph.num_node, graph.num_residue))
        return torch.stack(kept).gather(0, choice.repeat_interleave(sizes)[None])[0]

    # === comparison ===

    def contrast(self, batch):
        """
        Compare the two views of every protein with those of the others.

        Returns:
            (Tensor, Tensor, list of int): mutual information estimate of each protein in nats, at most 0; the share of
            its views whose partner is the most similar one; both of shape :math:`(B,)`. The number of proteins that
            were compared, of each rank.
        """
        self.begin_draws()
        heads = []
        for number in (1, 2):
            view = self.draw_view(batch["graph"], number)
            if self._is_too_small(view):
                return self._nothing(batch["graph"])
            feature = self.encoder(view, view.node_feature.float())["graph_feature"]
            heads.append(F.normalize(self.model.mlp(feature), dim=-1, eps=SMALLEST_NORM))
        first, second = heads
        size, counts, start = len(first), [len(first)], 0
        if self.gather_negatives and self.training:
            rows, counts = gather_rows(torch.cat(heads, dim=-1))
            heads = rows.chunk(2, dim=-1)
            start = sum(counts[:comm.get_rank()])
        place = torch.arange(start, start + size, device=first.device)
        if self.directions == 1:
            information, hit = _find(first, heads[1], place, None, self.model.tau)
        else:
            both = torch.cat([place, place + sum(counts)])
            information, hit = _find(torch.cat([first, second]), torch.cat(heads), both.roll(size), both,
                                     self.model.tau)
        self._warn_of_none(sum(counts))
        return information.view(-1, size).mean(dim=0), hit.to(information).view(-1, size).mean(dim=0), counts

    def _is_too_small(self, view):
        """Whether a view of the whole batch is a single row, on which BatchNorm cannot be trained."""
        return self.training and num_ranks() == 1 and (int(view.num_node) == 1 or int(view.num_edge) == 1)

    def _nothing(self, graph):
        """What :meth:`contrast` returns of a batch that teaches nothing: zeros, connected to all parameters."""
        if not self._has_warned_of_size:
            self._has_warned_of_size = True
            logger.warning("the views of a batch of %d are a single residue or edge, on which BatchNorm cannot be "
                           "trained: its loss is 0 (said once)", graph.batch_size)
        zero = 0 * sum(parameter.sum() for parameter in self.parameters())
        zeros = zero.expand(graph.batch_size)
        return zeros, torch.zeros_like(zeros), [graph.batch_size]

    def chance(self, total):
        """How often guessing finds the other view, among those of ``total`` proteins."""
        return 1 / (total if self.directions == 1 else 2 * total - 1)

    def _warn_of_none(self, total):
        if total == 1 and self.training and not self._has_warned:
            self._has_warned = True
            logger.warning("a batch of one protein has no negatives: its contrast loss is 0 and teaches nothing. Raise "
                           "`batch_size`%s", "" if self.gather_negatives else
                           ", or on several processes set `gather_negatives: true`")

    def forward(self, batch):
        """Loss of a batch, and what to log: the estimate, the retrieval accuracy and what chance would give."""
        information, hit, counts = self.contrast(batch)
        # ranks are averaged as if they had equally many proteins
        weight = len(counts) * len(information) / sum(counts)
        value = information.mean() * weight
        return -value, _metric(value, hit.mean() * weight, self.chance(sum(counts)), value)

    def predict_and_target(self, batch, all_loss=None, metric=None):
        """Estimate, hit and chance of each protein, of shape :math:`(B, 3)`; nothing to compare with."""
        information, hit, counts = self.contrast(batch)
        chance = torch.full_like(information, self.chance(sum(counts)))
        pred = torch.stack([information, hit, chance], dim=-1)
        return pred, torch.zeros(len(pred), device=pred.device)

    def evaluate(self, pred, target):
        """
        Averages over all proteins. They depend on the batch size and on the number of processes, since the proteins to
        tell from come from the batch of one process; ``chance accuracy`` says what that makes of guessing.
        """
        information, accuracy, chance = pred.mean(dim=0)
        return _metric(information, accuracy, chance, information)


def _find(query, candidate, partner, itself, tau):
    """
    How well each of Q views finds its partner among C candidates, all of length 1.

    Parameters:
        query (Tensor): of shape :math:`(Q, d)`
        candidate (Tensor): of shape :math:`(C, d)`
        partner (LongTensor): place of its partner, shape :math:`(Q,)`
        itself (LongTensor, optional): place of itself, not to be found, shape :math:`(Q,)`
        tau (float): temperature

    Returns:
        (Tensor, BoolTensor): mutual information estimate; whether the partner is the most similar one
    """
    score = query @ candidate.t() / tau
    if itself is not None:
        score = score.scatter(1, itself[:, None], float("-inf"))
    information = score.gather(1, partner[:, None])[:, 0] - score.logsumexp(dim=-1)
    return information, score.argmax(dim=-1) == partner


def _metric(information, accuracy, chance, like):
    return {"multiview mutual information": information, "retrieval accuracy": accuracy,
            "chance accuracy": torch.as_tensor(chance, device=like.device, dtype=like.dtype)}
