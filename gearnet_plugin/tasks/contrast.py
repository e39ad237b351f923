"""Multiview contrast: two crops of one protein should be told from crops of other proteins."""
import random

import torch
from torch.nn import functional as F

from gearnet_plugin.graphs import PackedResidueProtein, crops
from gearnet_plugin.layers import ResidueGraphConstruction
from torchdrug import core, models, tasks
from torchdrug.core import Registry as R
from torchdrug.layers import geometry as host


@R.register("tasks.MultiviewContrastive")
class MultiviewContrastive(tasks.Task, core.Configurable):
    """
    Pretraining by multiview contrast (arXiv 2203.06125, section 3.3).

    The same loss, state dict keys and random draws as TorchDrug's ``Unsupervised`` task around ``MultiviewContrast``,
    and the same two graphs a protein; but crops are drawn first and only what they keep is built, a seventh of the
    work on a protein of 350 residues. Crops other than ``SubsequenceNode``, ``SubspaceNode`` on residues and
    ``IdentityNode``, and graph construction other than ``ResidueGraphConstruction``, take TorchDrug's way.

    As in TorchDrug one crop function and one noise function are drawn for a whole batch, by Python's ``random``.

    Parameters:
        model (nn.Module): encoder with ``output_dim``
        crop_funcs (list of nn.Module): cropping functions
        noise_funcs (list of nn.Module): noise functions
        num_mlp_layer (int, optional): number of layers of the projection head
        activation (str or function, optional): activation function of the head
        tau (float, optional): temperature of the InfoNCE loss
        graph_construction_model (nn.Module, optional): graph construction
    """

    def __init__(self, model, crop_funcs, noise_funcs, num_mlp_layer=2, activation="relu", tau=0.07,
                 graph_construction_model=None):
        super().__init__()
        for name, functions in [("crop_funcs", crop_funcs), ("noise_funcs", noise_funcs)]:
            if not functions:
                raise ValueError("%s should name at least one function, but is empty; `layers.geometry.IdentityNode` "
                                 "leaves the protein as it is" % name)
        if tau <= 0:
            raise ValueError("tau should be positive, but found %s" % tau)
        # TorchDrug's module holds encoder and head, so that checkpoints of either load in the other
        self.model = models.MultiviewContrast(model, crop_funcs, noise_funcs, num_mlp_layer, activation, tau)
        self.graph_construction_model = graph_construction_model

    @property
    def encoder(self):
        """The encoder that is pretrained."""
        return self.model.model

    def draw_view(self, graph):
        """
        Draw a crop and a noise function and return the view they make of every protein of the batch.

        Parameters:
            graph (PackedProtein): :math:`B` proteins

        Returns:
            PackedProtein: their views, with edges
        """
        crop = random.sample(self.model.crop_funcs, 1)[0]
        noise = random.sample(self.model.noise_funcs, 1)[0]
        construct = self.graph_construction_model
        mask = None
        if isinstance(construct, ResidueGraphConstruction) and isinstance(graph, PackedResidueProtein):
            graph = construct.apply_node_layer(graph)
            mask = _crop_mask(crop, graph)
        if mask is not None:
            view = construct.apply_edge_layer(graph, keep=mask)
        else:
            view = crop(construct(graph) if construct else graph)
        return noise(view)

    def contrast(self, batch):
        """
        Compare the two views of every protein with those of the others in the batch.

        Returns:
            (Tensor, Tensor): mutual information estimate of each protein in nats, at most 0;
            whether its other view is the most similar one. Both of shape :math:`(B,)`.
        """
        heads = []
        for _ in range(2):
            view = self.draw_view(batch["graph"])
            feature = self.encoder(view, view.node_feature.float())["graph_feature"]
            heads.append(self.model.mlp(feature))
        first, second = heads
        score = F.cosine_similarity(first.unsqueeze(1), second.unsqueeze(0), dim=-1) / self.model.tau  # [B, B]
        information = score.diagonal() - score.logsumexp(dim=-1)
        hit = score.argmax(dim=-1) == torch.arange(len(score), device=score.device)
        return information, hit

    def forward(self, batch):
        """Loss of a batch, and what to log: the estimate, the retrieval accuracy and what chance would give."""
        information, hit = self.contrast(batch)
        value = information.mean()
        return -value, _metric(value, hit.float().mean(), 1 / len(hit), value)

    def predict_and_target(self, batch, all_loss=None, metric=None):
        """Estimate, hit and chance of each protein, of shape :math:`(B, 3)`; nothing to compare with."""
        information, hit = self.contrast(batch)
        chance = torch.full_like(information, 1 / len(hit))
        pred = torch.stack([information, hit.to(information), chance], dim=-1)
        return pred, torch.zeros(len(pred), device=pred.device)

    def evaluate(self, pred, target):
        """
        Averages over all proteins. They depend on the batch size and on the number of processes, since the proteins to
        tell from come from the batch of one process; ``chance accuracy`` says what that makes of guessing.
        """
        information, accuracy, chance = pred.mean(dim=0)
        return _metric(information, accuracy, chance, information)


def _metric(information, accuracy, chance, like):
    return {"multiview mutual information": information, "retrieval accuracy": accuracy,
            "chance accuracy": torch.as_tensor(chance, device=like.device, dtype=like.dtype)}


def _crop_mask(crop, graph):
    """Residues that a stock crop keeps, or None for one that is not known."""
    if type(crop) is host.IdentityNode:
        return torch.ones(int(graph.num_residue), dtype=torch.bool, device=graph.device)
    if type(crop) is host.SubsequenceNode:
        return crops.subsequence_mask(graph, crop.max_length)
    if type(crop) is host.SubspaceNode and crop.entity_level == "residue":
        return crops.subspace_mask(graph, crop.min_radius, crop.min_neighbor)
    return None
