"""
What the self-prediction objectives share: build the graph, hide a part of it, encode the rest, predict what was hidden,
and score the prediction.

N nodes, E edges, B proteins, S samples, D width of the encoder.
"""

import dataclasses
import logging
import numbers

import torch
from torch.nn import functional as F

from gearnet_plugin.graphs.crops import subsequence_mask
from gearnet_plugin.tasks.drawing import DrawingTask
from gearnet_plugin.tasks.picking import pick
from torchdrug import layers
from torchdrug.utils import comm

logger = logging.getLogger(__name__)

# proteins that are looked at before training for one that can be used
LOOKED_AT = 32


@dataclasses.dataclass
class Hidden:
    """
    What is left of a graph, and what was hidden.

    Parameters:
        graph (PackedProtein): what the encoder sees
        input (Tensor): its node features, shape :math:`(N, d)`
        nodes (LongTensor): nodes whose representations predict each sample, shape :math:`(S, n)`
        target (Tensor): what is to be predicted, shape :math:`(S,)`
    """

    graph: object
    input: torch.Tensor
    nodes: torch.Tensor
    target: torch.Tensor


class SelfPrediction(DrawingTask):
    """
    Base of the self-prediction objectives; to be subclassed, and not registered itself.

    A subclass says what there is to predict (:meth:`pool`), how many samples of it are drawn (:meth:`number`), and what
    it hides from the encoder (:meth:`hide`). Its constructor calls :meth:`_set_up`.

    A protein that has nothing to predict is skipped and counted in the metric ``skipped proteins``. A batch in which
    no protein can be used has the loss 0, connected to all parameters, and metrics of 0; the first one is logged. In
    evaluation such proteins just contribute nothing.

    Attributes:
        stream (str): name of its random numbers
        needs (str): what a protein has to have, for messages
    """

    stream = None
    needs = None

    def _set_up(self, model, num_node, num_output, num_mlp_layer, graph_construction_model, replacement, draws, seed):
        """
        Parameters:
            model (nn.Module): encoder
            num_node (int): number of nodes that predict a sample
            num_output (int): width of a prediction; 1 for a number
        """
        check_count("num_mlp_layer", num_mlp_layer, 1)
        check_flag("replacement", replacement)
        width = getattr(model, "node_output_dim", None) or getattr(model, "output_dim", None)
        if width is None:
            raise ValueError(
                "model should have an `output_dim`, the width of its representations, but `%s` has none"
                % type(model).__name__
            )
        self.model = model
        self.graph_construction_model = graph_construction_model
        self.replacement = replacement
        self.num_output = num_output
        self.mlp = layers.MLP(num_node * width, [width] * (num_mlp_layer - 1) + [num_output])
        self._set_draws(draws, seed)
        self._warned = set()

    def _set_max_length(self, max_length):
        """Truncate longer proteins at random, a ``max_length`` of None none."""
        if max_length is not None:
            check_count("max_length", max_length, 1)
        self.max_length = max_length

    # === what a subclass defines ===

    def build(self, graph):
        """Return the graph whose parts are predicted; the graph of the batch is left as it is."""
        return self.graph_construction_model(graph) if self.graph_construction_model else graph

    def pool(self, graph):
        """Return what there is to predict: an object with ``sizes``, the number of items of each protein."""
        raise NotImplementedError

    def number(self, pool):
        """Return how many samples to draw from each protein: int, or LongTensor of shape :math:`(B,)`."""
        raise NotImplementedError

    def hide(self, graph, pool, index):
        """
        Hide samples.

        Parameters:
            graph (PackedProtein): what :meth:`build` returned
            pool (object): what :meth:`pool` returned
            index (LongTensor): numbers of the samples in it, shape :math:`(S,)`

        Returns:
            Hidden: the rest, and the samples
        """
        raise NotImplementedError

    # === the steps ===

    def preprocess(self, train_set, valid_set, test_set):
        """Raise, before training, what makes a set useless for this objective; mostly one item of each is read."""
        for name, items in [("training", train_set), ("validation", valid_set), ("test", test_set)]:
            size = len(items or ())
            places = range(size) if size <= LOOKED_AT else [i * size // LOOKED_AT for i in range(LOOKED_AT)]
            if size and not any(self._is_usable(items[i]["graph"]) for i in places):
                raise ValueError(
                    "%s needs proteins with %s, but in the %s set %s has it"
                    % (
                        type(self).__name__,
                        self.needs,
                        name,
                        "none of %d" % size
                        if size <= LOOKED_AT
                        else "none of %d taken from all over its %d" % (LOOKED_AT, size),
                    )
                )

    def _is_usable(self, graph):
        return int(self.pool(self.build(graph.pack([graph]))).sizes) > 0

    def predict_and_target(self, batch, all_loss=None, metric=None):
        """
        Hide, encode and predict.

        Parameters:
            batch (dict): ``graph``: proteins, left unchanged
            all_loss (Tensor, optional): for losses of the encoder's own
            metric (dict, optional): for metrics; gets ``skipped proteins``

        Returns:
            (Tensor, Tensor): predictions, of shape :math:`(S, C)` for classes and :math:`(S,)` for numbers; targets of
            shape :math:`(S,)`
        """
        draws = self.begin_draws()
        graph = batch["graph"]
        if self.max_length is not None:
            graph = graph.subresidue(subsequence_mask(graph, self.max_length, draws, self.stream + " truncate"))
        graph = self.build(graph)
        pool = self.pool(graph)
        # numbers are keyed by the proteins as they came
        index = pick(draws, batch["graph"], pool.sizes, self.number(pool), self.stream, self.replacement)
        hidden = self.hide(graph, pool, index)
        skipped = int((pool.sizes == 0).sum())
        reason = self._useless(hidden)
        if reason:
            skipped = len(pool.sizes)
            self._warn_once("nothing is learned from a batch: %s. `skipped proteins` counts them" % reason)
            hidden.nodes, hidden.target = hidden.nodes[:0], hidden.target[:0]
        if metric is not None:
            metric["skipped proteins"] = torch.tensor(float(skipped), device=graph.device)
        # ranks wait for each other inside a synchronised BatchNorm, so that all of them have to get there
        if not len(hidden.target) and not (self.training and comm.get_world_size() > 1):
            weight = self.mlp.layers[-1].weight
            pred = weight.new_zeros(0, self.num_output)
        else:
            output = self.model(hidden.graph, hidden.input, all_loss, metric)
            feature = output.get("residue_feature", output.get("node_feature"))
            pred = self.mlp(feature[hidden.nodes].flatten(1))  # [S, n, D] -> [S, C]
        return (pred.squeeze(-1) if self.num_output == 1 else pred), hidden.target

    def forward(self, batch):
        """Loss of a batch, and what to log."""
        graph = batch["graph"]
        all_loss = torch.zeros((), device=graph.device)
        metric = {}
        pred, target = self.predict_and_target(batch, all_loss, metric)
        scores = self._scores(pred, target)
        if not len(target):
            scores = {name: torch.zeros_like(all_loss) for name in scores}
            return all_loss + pred.sum() + 0 * sum(p.sum() for p in self.parameters()), {**scores, **metric}
        return all_loss + scores[self.criterion], {**scores, **metric}

    def evaluate(self, pred, target):
        """Metrics of the predictions of any number of batches."""
        if not len(target):
            raise ValueError("there is nothing to evaluate: no protein has %s" % self.needs)
        return self._scores(pred, target)

    @property
    def criterion(self):
        """Which of the metrics is the loss."""
        return "mean squared error" if self.num_output == 1 else "cross entropy"

    def _scores(self, pred, target):
        return score_numbers(pred, target) if self.num_output == 1 else score_classes(pred, target)

    def _useless(self, hidden):
        """Why nothing can be learned from a batch, or None."""
        if not len(hidden.target):
            return "no protein has %s" % self.needs
        alone = self.training and comm.get_world_size() == 1
        if alone and (int(hidden.graph.num_node) == 1 or int(hidden.graph.num_edge) == 1):
            # it would end the run
            return "what is not hidden is a single residue or edge, on which BatchNorm cannot be trained"
        return None

    def _warn_once(self, message):
        if message not in self._warned:
            logger.warning("%s: %s (said once)", type(self).__name__, message)
            self._warned.add(message)


def check_count(name, value, least):
    """Raise ValueError unless an argument is a whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ValueError("%s should be a whole number of at least %d, but found %r" % (name, least, value))


def check_flag(name, value):
    """Raise ValueError unless an argument is true or false; the text ``"false"`` would count as true."""
    if not isinstance(value, bool):
        raise ValueError("%s should be true or false, but found %r" % (name, value))


# === scores ===


def score_classes(pred, target):
    """
    Score predicted classes beside what needs no protein: to say the most frequent class of these targets, and to say
    their frequencies.

    Parameters:
        pred (Tensor): logits of shape :math:`(S, C)`
        target (LongTensor): classes of shape :math:`(S,)`
    """
    dtype = torch.promote_types(pred.dtype, torch.float32)
    frequency = target.bincount(minlength=pred.shape[-1]).to(dtype) / max(len(target), 1)
    return {
        "accuracy": (pred.argmax(dim=-1) == target).to(dtype).mean(),
        "cross entropy": F.cross_entropy(pred, target),
        "majority accuracy": frequency.max(),
        "frequency cross entropy": -torch.xlogy(frequency, frequency).sum(),
    }


def score_numbers(pred, target):
    """
    Score predicted numbers beside what needs no protein: to say the mean of these targets.

    Parameters:
        pred (Tensor): shape :math:`(S,)`
        target (Tensor): shape :math:`(S,)`
    """
    dtype = torch.promote_types(pred.dtype, target.dtype)
    pred, target = pred.to(dtype), target.to(dtype)
    return {
        "mean squared error": F.mse_loss(pred, target),
        "mean predictor error": F.mse_loss(target.mean().expand_as(target), target),
    }
