"""tasks.ProteinPropertyPrediction in training: class weights, labels of residues, several processes."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.tasks import ProteinPropertyPrediction, criteria
from property_runs import ARGUMENTS, SIZES, samples_of, solver_of, task, with_sites
from proteins import bundled, chain, construction, double_precision, double_weights
from torchdrug import core, data, models, tasks

NAN = math.nan


# === class weights ===


def test_balanced_classes_are_those_of_scikit_learn():
    """And their mean over the items is 1; a class that does not occur counts 1."""
    labels = torch.tensor([0, 0, 0, 1, 2, 2, 0])
    weight = criteria.balanced_classes(labels.bincount(minlength=4).double())
    assert weight[3] == 1 and float(weight[labels].mean()) == pytest.approx(1)
    utils = pytest.importorskip("sklearn.utils", reason="scikit-learn is not installed")
    expected = utils.compute_class_weight("balanced", classes=np.arange(3), y=labels.numpy())
    assert weight[:3].tolist() == pytest.approx(expected.tolist())


def test_balanced_labels():
    """Negatives by positives, in 0.1 to 10; 1 for a label that never occurs."""
    positive, labeled = torch.tensor([5.0, 1, 0, 90, 25]), torch.tensor([10.0, 100, 50, 95, 100])
    torch.testing.assert_close(criteria.balanced_labels(positive, labeled), torch.tensor([1.0, 10, 1, 0.1, 3]))


@pytest.mark.parametrize(
    "kind, class_weight, expected",
    [
        ("class", "balanced", [2 / 3, 4 / 3, 4 / 3]),
        ("class", [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]),
        ("binary", "balanced", [3.0]),
        ("binary", [5.0], [5.0]),
        ("multilabel", "balanced", [1.0, 3.0]),
        ("multilabel", [2.0, 0.5], [2.0, 0.5]),
    ],
)
def test_classes_count_in_the_loss_as_said_and_in_metrics_the_same(kind, class_weight, expected):
    """For `ce` a factor of the item, for `bce` of the positives; items without label count nowhere."""
    graphs = [chain(12 + i, i) for i in range(5)]
    if kind == "multilabel":
        targets = torch.tensor([[1.0, 1], [1, 0], [0, 0], [0, 0], [NAN, NAN]])
        samples = [{"graph": graph, "targets": row} for graph, row in zip(graphs, targets)]
        arguments = dict(task=[0, 1], criterion="bce")
    else:
        labels = [0, 1, 2, 0, NAN] if kind == "class" else [0, 1, 0, 0, NAN]
        targets = torch.tensor(labels).unsqueeze(-1)
        samples = [{"graph": graph, "a": label} for graph, label in zip(graphs, labels)]
        arguments = dict(criterion="ce" if kind == "class" else "bce")
    weighted, plain = task(**arguments, class_weight=class_weight), task(**arguments)
    for one in (weighted, plain):
        one.preprocess(samples, None, None)
    weighted.load_state_dict(plain.state_dict())
    torch.testing.assert_close(weighted.balance, torch.tensor(expected))
    batch = {"graph": ResidueProtein.pack(graphs), "targets": targets, "a": targets[:, 0]}
    pred, target = plain.train().predict_and_target(batch)
    pred, target, weight = pred[:4], target[:4], torch.tensor(expected)
    if kind == "class":
        target = target.squeeze(-1).long()
        loss = (F.cross_entropy(pred, target, reduction="none") * weight[target]).mean()
    else:
        loss = F.binary_cross_entropy_with_logits(pred, target, reduction="none")
        loss = (loss * torch.where(target == 1, weight, torch.ones(()))).mean()
    torch.testing.assert_close(weighted.train()(batch)[0], loss, rtol=1e-4, atol=1e-5)
    results = [one.evaluate(*one.eval().predict_and_target(batch)) for one in (weighted, plain)]
    torch.testing.assert_close(results[0], results[1], equal_nan=True)


def test_reweight_is_that_of_torchdrug():
    """The weight of a label is in the state dict, as there."""
    rng = torch.Generator().manual_seed(0)
    rows = (torch.rand(40, 4, generator=rng) < torch.tensor([0.5, 0.1, 0.02, 0.9])).float()
    samples = [{"graph": None, "targets": row} for row in rows]
    ours = task([0, 1, 2, 3], "bce", class_weight="reweight")
    stock = tasks.MultipleBinaryClassification(models.GearNet(21, [8], 7), [0, 1, 2, 3], reweight=True)
    for one in (ours, stock):
        one.preprocess(samples, None, None)
    assert len(ours.weight.unique()) > 2
    torch.testing.assert_close(ours.weight, stock.weight)
    names = {"a": 1, "b": 2, "c": 1, "d": 1}
    named = task(names, "bce", class_weight="reweight")
    named.preprocess([{"graph": None, **dict(zip(names, row.tolist()))} for row in rows], None, None)
    torch.testing.assert_close(named.weight, stock.weight * torch.tensor([1.0, 2, 1, 1]))


# === labels of residues ===


class AtConstruction(torch.nn.Module):
    """TorchDrug's task for nodes takes no graph construction; here its encoder makes the graph."""

    def __init__(self, model):
        super().__init__()
        self.model, self.output_dim = model, model.output_dim

    def forward(self, graph, input, all_loss=None, metric=None):
        return self.model(construction()(graph), input, all_loss, metric)


def test_the_loss_of_residues_is_that_of_torchdrug(tolerance):
    """Of NodePropertyPrediction on the same weights, in float64, with its gradients: every labeled residue of the
    batch counts the same. TorchDrug marks them by `mask`, and adds the loss twice, so that it is compared by its
    metric; its `bce` and `mse` fail."""
    proteins = with_sites(bundled(3, longest=130), classes=3)
    for protein in proteins:
        with protein.residue():
            protein.mask = ~protein.site.isnan()
            protein.target = protein.site.nan_to_num().long()
    samples = [{"graph": protein} for protein in proteins]
    ours = task("site", "ce", level="residue", num_mlp_layer=2)
    stock = tasks.NodePropertyPrediction(
        AtConstruction(models.GearNet(21, [8, 8], 7, **SIZES)), "ce", metric=(), num_mlp_layer=2
    )
    for one in (ours, stock):
        one.preprocess(samples, None, None)
    stock.load_state_dict(
        {
            "mean": stock.mean,
            "std": stock.std,
            **{
                name.replace("model.", "model.model.", 1): value
                for name, value in ours.state_dict().items()
                if name.startswith(("model.", "mlp."))
            },
        }
    )
    with double_precision(), double_weights():
        found = []
        for one in (stock.double().train(), ours.double().train()):
            _, metric = one({"graph": ResidueProtein.pack(proteins)})
            (loss,) = metric.values()
            loss.backward()
            found.append(
                [
                    loss,
                    {
                        name.replace("model.model.", "model."): parameter.grad
                        for name, parameter in one.named_parameters()
                    },
                ]
            )
        torch.testing.assert_close(found[1], found[0], **tolerance(torch.float64))
        assert all(grad.abs().max() > 0 for name, grad in found[1][1].items() if name.endswith("linear.weight"))


def test_residues_without_label_count_nowhere():
    """Predictions and targets are of labeled residues alone; other labels of other residues change nothing."""
    proteins = with_sites([chain(20, 1), chain(15, 2), chain(9, 3)], "site", classes=3)
    ours = task("site", level="residue", num_class=3)
    ours.preprocess([{"graph": protein} for protein in proteins], None, None)
    batch = {"graph": ResidueProtein.pack(proteins)}
    pred, target = ours.eval().predict_and_target(batch)
    known = ~batch["graph"].site.isnan()
    assert len(pred) == len(target) == int(known.sum()) > 5 and ours.predict(batch).shape == (44, 3)
    torch.testing.assert_close(pred, ours.predict(batch)[known])
    assert target.squeeze(-1).tolist() == batch["graph"].site[known].tolist()
    scores = ours.evaluate(pred, target)
    assert scores["accuracy [site]"] == (pred.argmax(dim=-1) == target.squeeze(-1)).float().mean()


def test_several_labels_of_residues_may_be_known_of_other_residues():
    proteins = [chain(10, 1), chain(12, 2)]
    for protein in proteins:
        length = int(protein.num_residue)
        with protein.residue():
            protein.x = torch.where(torch.arange(length) < 4, torch.arange(length) % 2, NAN)
            protein.y = torch.where(torch.arange(length) > 6, torch.arange(length) % 2, NAN)
    ours = task(["x", "y"], "bce", level="residue")
    ours.preprocess([{"graph": protein} for protein in proteins], None, None)
    pred, target = ours.predict_and_target({"graph": ResidueProtein.pack(proteins)})
    assert len(pred) == 4 + 3 + 4 + 5 and target.isnan().sum(dim=0).tolist() == [8, 8]
    assert list(ours.evaluate(pred, target)) == ["auroc [x]", "auroc [y]", "auprc [x]", "auprc [y]"]


def test_residues_are_learned():
    """Under TorchDrug's engine: whether a residue is a glycine."""
    samples = []
    for i in range(8):
        protein = chain(30, seed=i)
        with protein.residue():
            protein.glycine = (protein.residue_type == data.Protein.residue2id["GLY"]).float()
        samples.append({"graph": protein})
    ours = task("glycine", "bce", level="residue", class_weight="balanced", metric="auroc")
    solver = core.Engine(
        ours, samples[:6], samples[6:], None, torch.optim.Adam(ours.parameters(), lr=2e-2), batch_size=3
    )
    solver.train(15)
    assert float(solver.evaluate("train")["auroc [glycine]"]) > 0.95
    assert float(solver.evaluate("valid")["auroc [glycine]"]) > 0.8


def test_an_encoder_that_gives_no_residues_is_refused():
    class Pooled(torch.nn.Module):
        output_dim = 21

        def forward(self, graph, input, all_loss=None, metric=None):
            return {"node_feature": input[:3], "graph_feature": input[:1]}

    proteins = with_sites([chain(9, 1)], "site")
    ours = ProteinPropertyPrediction(Pooled(), "site", "bce", level="residue")
    with pytest.raises(ValueError, match="gives 3 features for 9 residues"):
        ours.predict({"graph": ResidueProtein.pack(proteins)})


# === training ===


@pytest.mark.parametrize("kind", ARGUMENTS)
@pytest.mark.parametrize("freeze_encoder", [False, True])
def test_it_trains_under_the_engine_of_torchdrug(kind, freeze_encoder):
    """The loss falls, parameters made in `preprocess` included; BatchNorm and dropout in the head do no harm."""
    solver = solver_of(kind, 4, freeze_encoder=freeze_encoder, num_mlp_layer=2, mlp_batch_norm=True, mlp_dropout=0.1)
    for group in solver.optimizer.param_groups:
        group["lr"] = 0.05
    with torch.no_grad():
        before = solver.evaluate("train")
    solver.train(6)
    assert solver.evaluate("train") != before and list(before) == solver.model.titles
    trained = {id(p) for group in solver.optimizer.param_groups for p in group["params"]}
    assert all(id(p) in trained for p in solver.model.parameters())


def test_a_batch_of_one_item_is_no_end_of_training():
    """
    The last batch of a set of odd size: BatchNorm in the head has nothing to take statistics of, which ends TorchDrug's
    training. It takes the running ones, as in evaluation, and leaves them alone; two items are batches as ever.
    """
    ours = task(num_class=3, num_mlp_layer=2, mlp_batch_norm=True).train()
    batch = data.graph_collate(samples_of("class", 3)[:1])
    norm = ours.mlp.batch_norms[0]
    with torch.no_grad():
        norm.running_mean.normal_(), norm.running_var.uniform_(1, 2)
        for module in ours.model.modules():  # the encoder's statistics are of residues, of which one protein has enough
            module.eval()
    before = norm.running_mean.clone()
    found = ours.predict(batch)
    assert norm.training and torch.equal(norm.running_mean, before)
    torch.testing.assert_close(found, ours.eval().predict(batch))
    ours(batch)[0].backward()
    assert all(p.grad is not None for p in ours.mlp.parameters())
    ours.train().predict(data.graph_collate(samples_of("class", 3)))
    assert not torch.equal(norm.running_mean, before)


def test_a_set_of_odd_size_trains():
    solver = solver_of("class", 7, num_mlp_layer=2, mlp_batch_norm=True)
    solver.train(1)
    assert solver.meter.batch_id == 2
