"""Properties of proteins or residues: several labels, one of several classes, numbers, yes or no."""

import logging
import math

import torch

from gearnet_plugin import metrics
from gearnet_plugin.tasks import criteria, label_checks, targets
from gearnet_plugin.tasks import head as heads
from gearnet_plugin.tasks.prediction import check_flag
from gearnet_plugin.tasks.probe import EmbeddingCache
from gearnet_plugin.tasks.scoring import score
from torchdrug import core, tasks
from torchdrug.core import Registry as R

logger = logging.getLogger(__name__)

METRICS = {
    "multilabel": ["auprc@micro", "f1_max"],
    "class": ["acc"],
    "number": ["mae", "rmse"],
    "binary": ["auroc", "auprc"],
}

# B items: proteins, or residues at level `residue`. T labels, C outputs of all of them, D width of the encoder


@R.register("tasks.ProteinPropertyPrediction")
class ProteinPropertyPrediction(tasks.Task, core.Configurable):
    """
    Predict properties of proteins, or of their residues.

    Where ``task`` lists columns of ``targets``, arithmetic and state dict are those of
    ``tasks.MultipleBinaryClassification``; where it names labels, those of ``tasks.PropertyPrediction``. Weights go
    from either to this task and back. Other than those it

    - scores ties right, counts no item without label, and takes NaN in ``targets`` as not known
    - reads labels before training without making proteins, and says then what is wrong with them
    - takes several labels with ``ce``, and whole numbers as numbers with ``mse``
    - balances classes, keeps an encoder frozen, and predicts labels of residues

    With ``freeze_encoder`` the head alone is trained, a linear probe with ``num_mlp_layer: 1``: the encoder gets no
    gradients and stays in eval mode. Its embedding of a protein is computed once and kept in CPU memory, up to
    ``cache_limit`` bytes, see :class:`~gearnet_plugin.tasks.probe.EmbeddingCache`. It is no part of the state dict, and
    forgotten when weights are loaded or the encoder moves.

    With ``level`` ``residue`` labels are residue attributes of the graph, named as in ``task``: a number a residue, NaN
    for none. ``datasets.StructureFolder`` sets them by ``residue_labels``. Every labeled residue of a batch counts the
    same, whatever its protein, in the loss and in the metrics.

    Parameters:
        model (nn.Module): encoder
        task (list of int, str, list of str or dict): columns of ``targets``, or names of labels; a dict gives names
            their weights in the loss
        criterion (str, optional): ``bce`` for labels of 0 and 1, ``ce`` for one of several classes, ``mse`` for
            numbers
        metric (str or list of str, optional): see :mod:`gearnet_plugin.metrics`. By default ``auprc@micro`` and
            ``f1_max`` for columns of ``targets``, ``auroc`` and ``auprc`` for names with ``bce``, ``acc`` with
            ``ce``, ``mae`` and ``rmse`` with ``mse``
        level (str, optional): ``protein`` or ``residue``
        num_mlp_layer (int, optional): number of layers of the head
        num_class (int or list of int, optional): number of classes, for ``ce``. By default counted in training,
            validation and test set
        normalization (bool, optional): whether the loss of ``mse`` is in units of the standard deviation
        mlp_batch_norm (bool, optional): batch normalization between the layers of the head. A batch of one item or
            none, which has no statistics of its own, takes the running ones, where TorchDrug's tasks fail
        mlp_dropout (float, optional): dropout between the layers of the head
        class_weight (str or list of float, optional): how much classes count in the loss, never in metrics.
            ``balanced``: see :func:`~gearnet_plugin.tasks.criteria.balanced_classes` for ``ce`` and
            :func:`~gearnet_plugin.tasks.criteria.balanced_labels` for ``bce``; ``reweight``: TorchDrug's, for ``bce``,
            see :func:`~gearnet_plugin.tasks.criteria.label_weights`; a list: a number for each class of ``ce``, for
            positives of each label of ``bce``
        freeze_encoder (bool, optional): train the head alone
        graph_construction_model (nn.Module, optional): makes the graph of a batch
        verbose (int, optional): above 0, the losses of single labels are logged

    Attributes:
        kind (str): ``multilabel``, ``class``, ``number`` or ``binary``
        titles (list of str): names of the metrics
        cache_limit (int): bytes
    """

    cache_limit = 2 << 30

    def __init__(
        self,
        model,
        task=(),
        criterion="bce",
        metric=None,
        level="protein",
        num_mlp_layer=1,
        num_class=None,
        normalization=True,
        mlp_batch_norm=False,
        mlp_dropout=0,
        class_weight=None,
        freeze_encoder=False,
        graph_construction_model=None,
        verbose=0,
    ):
        super().__init__()
        self.task = heads.read_task(task)
        self.criterion = heads.read_criterion(criterion)
        self._criterion = next(iter(self.criterion))
        self.level = level
        self.kind = heads.find_kind(self.task, self._criterion, level)
        self.metric = list(metrics.check(METRICS[self.kind] if metric is None else metric, self.kind))
        self.num_class = heads.read_num_class(num_class, list(self.task), self.kind)
        heads.check_head(num_mlp_layer, mlp_batch_norm, mlp_dropout)
        check_flag("normalization", normalization)
        check_flag("freeze_encoder", freeze_encoder)
        self.num_mlp_layer = num_mlp_layer
        self.mlp_batch_norm = mlp_batch_norm
        self.mlp_dropout = mlp_dropout
        # as TorchDrug's tasks have it: for numbers alone
        self.normalization = normalization and self.kind == "number"
        criteria.check_class_weight(class_weight, self.kind, self.num_class)
        self.class_weight = class_weight
        self.freeze_encoder = freeze_encoder
        self.verbose = verbose

        width = heads.read_width(model, level)
        self.model = model
        self.graph_construction_model = graph_construction_model
        self._make_buffers()
        # the head is the last, so that `core.Engine` finds it among the new parameters if it is made later
        self.mlp = None
        self._width = width
        if self.num_class is not None:
            self._make_head()
        self._embeddings = None
        if freeze_encoder:
            model.requires_grad_(False)
            model.eval()
            self._embeddings = EmbeddingCache(model, self.cache_limit)
            for module in model.modules():
                module.register_load_state_dict_post_hook(self._forget)

    def _make_buffers(self):
        """Buffers as TorchDrug's tasks have them, and the weights of classes, which are no part of the state dict."""
        if self.kind == "multilabel":
            self.register_buffer("task_indices", torch.tensor(self.task))
            self.register_buffer("weight", torch.ones(len(self.task)))
        else:
            self.register_buffer("mean", torch.zeros(len(self.task)))
            self.register_buffer("std", torch.ones(len(self.task)))
            self.register_buffer("weight", torch.tensor(list(self.task.values()), dtype=torch.float))
        self.register_buffer("balance", None, persistent=False)
        if isinstance(self.class_weight, str) or self.class_weight is None:
            return
        self.balance = torch.tensor(list(self.class_weight), dtype=torch.float)

    def _make_head(self):
        self.mlp = heads.make_head(
            self._width, sum(self.num_class), self.num_mlp_layer, self.mlp_batch_norm, self.mlp_dropout
        ).to(self.weight.device)

    @property
    def titles(self):
        """Names of the metrics that an evaluation returns."""
        found = [metrics.title(name) for name in self.metric]
        return found if self.kind == "multilabel" else ["%s [%s]" % (t, name) for t in found for name in self.task]

    def train(self, mode=True):
        """Set training mode, of the head alone where the encoder is frozen."""
        super().train(mode)
        if self.freeze_encoder:
            self.model.eval()
        return self

    # === before training ===

    def preprocess(self, train_set, valid_set, test_set):
        """
        Read and check the labels of all sets, and make of those for training what the loss needs.

        Raises:
            ValueError: says what is wrong with the labels
        """
        sets = dict(zip(targets.SPLITS, (train_set, valid_set, test_set)))
        if not train_set:
            raise ValueError("there is nothing to train on")
        if self.kind == "multilabel":
            self._prepare_columns(sets)
        else:
            self._prepare_names(sets)

    def _prepare_columns(self, sets):
        names = getattr(targets.base_dataset(sets["training"]), "tasks", None)
        if names is not None:
            names = [names[i] for i in self.task] if max(self.task) < len(names) else None
        counts, others = None, []
        for where, dataset in sets.items():
            if where != "training" and (not dataset or targets.reader(dataset) is None):
                # making proteins of all items for a warning would take longer than the warning is worth
                continue
            found = targets.read_counts(dataset, self.task, where)
            if where == "training":
                counts = found
            else:
                others.append((where, found))
        label_checks.check_counts(counts, names, others)
        self._weigh(counts.positive, counts.labeled)

    def _prepare_names(self, sets):
        for name in self.task:
            label_checks.check_kind(name, self._criterion, sets["training"])
        found = targets.read_labels(sets, list(self.task), self.level)
        if self.kind == "number":
            moments = [label_checks.check_numbers(own, self.normalization) for own in found.values()]
        else:
            if self.kind == "class":
                given = self.num_class or [None] * len(found)
                self._fit_classes([label_checks.count_classes(own, n) for own, n in zip(found.values(), given)])
            else:
                for own in found.values():
                    label_checks.check_binary(own)
            known = [torch.from_numpy(own[0].known) for own in found.values()]
            # unused, but part of the state dict
            moments = [(float(values.mean()), float(values.std()) if len(values) > 1 else math.nan) for values in known]
            self._balance(known)
        mean, std = zip(*moments)
        self._set("mean", torch.tensor(mean))
        self._set("std", torch.tensor(std))

    def _fit_classes(self, num_class):
        if self.num_class is None:
            self.num_class = num_class
            criteria.check_class_weight(self.class_weight, self.kind, num_class)
        if self.mlp is None:
            self._make_head()

    def _balance(self, known):
        """Set the weights of classes from the known labels of the training set."""
        if not isinstance(self.class_weight, str):
            return
        if self.kind == "class":
            counts = [v.long().bincount(minlength=n).double() for v, n in zip(known, self.num_class)]
            self._set("balance", torch.cat([criteria.balanced_classes(count) for count in counts]))
        else:
            positive, labeled = torch.stack([v.sum() for v in known]), torch.tensor([float(len(v)) for v in known])
            self._weigh(positive, labeled, torch.tensor(list(self.task.values()), dtype=torch.float))

    def _weigh(self, positive, labeled, weight=1):
        """Set the weights of positives or of whole labels from how many items of the training set have them."""
        if self.class_weight == "reweight":
            self._set("weight", criteria.label_weights(positive) * weight)
        elif self.class_weight == "balanced":
            self._set("balance", criteria.balanced_labels(positive, labeled))

    def _set(self, name, value):
        setattr(self, name, value.to(self.weight))

    # === the steps ===

    def forward(self, batch):
        """Loss of a batch, and what to log."""
        all_loss = torch.zeros((), device=batch["graph"].device)
        metric = {}
        pred, target = self.predict_and_target(batch, all_loss, metric)
        ((criterion, weight),) = self.criterion.items()
        if self.normalization:
            losses = criteria.label_losses("mse", (pred - self.mean) / self.std, (target - self.mean) / self.std, [1])
        else:
            losses = criteria.label_losses(criterion, pred, target, self.num_class, self.balance)
        name = tasks._get_criterion_name(criterion)
        if self.verbose > 0 and self.kind != "multilabel":
            metric.update(("%s [%s]" % (name, label), loss) for label, loss in zip(self.task, losses))
        loss = (losses * self.weight).sum() / self.weight.sum()
        metric[name] = loss
        return all_loss + loss * weight, metric

    def predict_and_target(self, batch, all_loss=None, metric=None):
        """Predictions [B, C] and targets [B, T], NaN for what is not known; of the residues that have any label."""
        if self.level == "protein":
            return self.predict(batch, all_loss, metric), self.target(batch)
        feature, graph = self._encode(batch["graph"], all_loss, metric)
        target = self.target({"graph": graph})
        labeled = ~target.isnan().all(dim=-1)
        return self._head(feature[labeled]), target[labeled]

    def predict(self, batch, all_loss=None, metric=None):
        """Predictions of all items, of shape [B, C]: logits, or numbers in the unit of the labels."""
        feature, _ = self._encode(batch["graph"], all_loss, metric)
        return self._head(feature)

    def target(self, batch):
        """Labels of all items, of shape [B, T]; NaN for what is not known."""
        graph = batch["graph"]
        if self.level == "residue":
            return torch.stack([targets.residue_label(graph, name).float() for name in self.task], dim=-1)
        if self.kind == "multilabel":
            target = batch["targets"][:, self.task_indices]
        else:
            target = torch.stack([torch.as_tensor(batch[name]).float().to(graph.device) for name in self.task], dim=-1)
        if "labeled" in batch:
            target = target.masked_fill(~batch["labeled"].bool().unsqueeze(-1), math.nan)
        return target

    def evaluate(self, pred, target):
        """Metrics of the predictions of any number of batches; labels that are not known are left out."""
        if self.kind == "multilabel":
            return score(self.metric, self.kind, pred, target)
        scores = {}
        for name, own, labels in zip(self.task, pred.split(self.num_class, dim=-1), target.unbind(dim=-1)):
            own = own if self.kind == "class" else own.squeeze(-1)
            for title, value in score(self.metric, self.kind, own, labels).items():
                scores["%s [%s]" % (title, name)] = value
        # metric by metric, as TorchDrug's tasks
        return {title: scores[title] for title in self.titles}

    def probabilities(self, pred):
        """
        Turn predictions into probabilities: of each label for ``bce``, of the classes of each label for ``ce``. Numbers
        stay as they are.

        Parameters:
            pred (Tensor): predictions of shape :math:`(B, C)`
        """
        if self.kind == "number":
            return pred
        if self.kind == "class":
            return torch.cat([own.softmax(dim=-1) for own in pred.split(self.num_class, dim=-1)], dim=-1)
        return pred.sigmoid()

    # === encoder and head ===

    def _head(self, feature):
        if self.mlp is None:
            raise RuntimeError("the number of classes is not known yet: give num_class, or call `preprocess` first")
        with heads.statistics_for(self.mlp, feature):
            pred = self.mlp(feature)
        return pred * self.std + self.mean if self.normalization else pred

    def _encode(self, graph, all_loss=None, metric=None):
        """Features of the proteins [B, D] or residues [N, D], and the graph with these residues."""
        if not self.freeze_encoder:
            return self._run(graph, all_loss, metric)
        with torch.no_grad():
            if not self._embeddings.is_on:
                return self._run(graph, None, None)
            weight = next(self.model.parameters(), self.weight)
            state = (weight.device, weight.dtype, torch.is_autocast_enabled(weight.device.type))
            return self._embeddings.look_up(graph, self._features, state), graph

    def _features(self, graph):
        """Features of each protein of a batch: a list of tensors of shape [n, D]."""
        feature, built = self._run(graph, None, None)
        if self.level == "protein":
            return feature.split(1)
        if len(feature) != int(graph.num_residue):
            raise ValueError(
                "the graph construction leaves %d of %d residues, so that labels of residues would be those of others. "
                "With freeze_encoder, construct graphs by the transform `ConstructResidueGraph`, or take a data set of "
                "this package" % (len(feature), graph.num_residue)
            )
        return feature.split(graph.num_residues.tolist())

    def _run(self, graph, all_loss, metric):
        if self.graph_construction_model:
            graph = self.graph_construction_model(graph)
        output = self.model(graph, graph.node_feature.float(), all_loss=all_loss, metric=metric)
        if self.level == "protein":
            return output["graph_feature"], graph
        feature = output.get("residue_feature", output.get("node_feature"))
        if len(feature) != int(graph.num_residue):
            raise ValueError(
                "level is `residue`, but the encoder gives %d features for %d residues; `AlphaCarbonNode` in the graph "
                "construction makes one node a residue" % (len(feature), graph.num_residue)
            )
        return feature, graph

    # === weights ===

    def explain_mismatch(self, state, prefix=""):
        """In what the head of a state dict differs from that of this task, in words; empty if it fits."""
        return heads.explain_head(state, prefix, self.task, self.num_class)

    def _load_from_state_dict(self, state_dict, prefix, *args):
        message = self.explain_mismatch(state_dict, prefix)
        if message:
            raise ValueError("these weights do not fit: %s" % message)
        outputs = heads.num_output(state_dict, prefix)
        if self.mlp is None and outputs and len(self.task) == 1:
            # weights of a trained task tell the number of classes where no data have
            self.num_class = [outputs]
            self._make_head()
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _forget(self, module, incompatible_keys):
        """Forget embeddings when weights are loaded; they may be those of other weights."""
        self._embeddings.clear()
