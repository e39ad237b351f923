"""tasks.ProteinPropertyPrediction: what TorchDrug's tasks compute, on the same weights."""

import copy
import math

import pytest
import torch

from gearnet_plugin import metrics
from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.models import GearNetEncoder
from gearnet_plugin.tasks import ProteinPropertyPrediction
from proteins import bundled, construction, double_precision, double_weights
from torchdrug import core, data, models, tasks

ITEMS = 8
NAN = math.nan


@pytest.fixture(scope="module")
def proteins():
    return bundled(ITEMS, longest=130)


def labels(kind, number=ITEMS):
    """Labels of each item, some not known, in the columns that the tasks below want."""
    rng = torch.Generator().manual_seed(3)
    if kind == "multilabel":
        return [{"targets": row.float()} for row in torch.randint(2, (number, 6), generator=rng)]
    if kind == "class":
        return [{"fold": [0, 2, 1, 3, NAN, 1, 0, 3][i % 8]} for i in range(number)]
    if kind == "binary":
        return [{"a": [0.0, 1.0, NAN][i % 3], "b": float(i % 2)} for i in range(number)]
    return [{"x": NAN if i == 2 else 3.5 * i - 7, "y": (i * 0.37) % 1} for i in range(number)]


# task and criterion of each kind, and the metrics of TorchDrug
ARGUMENTS = {
    "multilabel": dict(task=[4, 0, 5], criterion="bce", metric=["auprc@micro", "f1_max", "auroc@micro"]),
    "class": dict(task="fold", criterion="ce", num_class=4, metric=["acc", "mcc"]),
    "binary": dict(task=["a", "b"], criterion="bce", metric=["auroc", "auprc"]),
    "number": dict(task={"x": 1, "y": 0.5}, criterion="mse", metric=["mae", "rmse", "r2", "pearsonr", "spearmanr"]),
}
KINDS = list(ARGUMENTS)


def encoder(kind=GearNetEncoder):
    torch.manual_seed(0)
    return kind(21, [8, 8], 7, edge_input_dim=59, num_angle_bin=8, short_cut=True, batch_norm=True, concat_hidden=True)


def stock_task(kind, **kwargs):
    cls = tasks.MultipleBinaryClassification if kind == "multilabel" else tasks.PropertyPrediction
    return cls(
        encoder(models.GearNet),
        graph_construction_model=construction(),
        num_mlp_layer=2,
        **{**ARGUMENTS[kind], **kwargs},
    )


def our_task(kind, **kwargs):
    arguments = dict(graph_construction_model=construction(), num_mlp_layer=2)
    return ProteinPropertyPrediction(encoder(), **{**arguments, **ARGUMENTS[kind], **kwargs})


def items(proteins, kind):
    return [{"graph": graph, **own} for graph, own in zip(proteins, labels(kind))]


def collate(samples):
    """A batch; TorchDrug would take the type of the first label for that of all."""
    batch = {"graph": ResidueProtein.pack([sample["graph"] for sample in samples])}
    for name in samples[0].keys() - {"graph"}:
        batch[name] = torch.stack([torch.as_tensor(sample[name], dtype=torch.float64) for sample in samples])
    return batch


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("verbose", [0, 1])
def test_loss_gradients_and_metrics_are_those_of_torchdrug(proteins, kind, verbose, tolerance):
    """With the weights that TorchDrug's task has, in float64, on real structures, in training and evaluation."""
    samples = items(proteins, kind)
    stock, ours = stock_task(kind, verbose=verbose), our_task(kind, verbose=verbose)
    for task in (stock, ours):
        task.preprocess(samples, samples[:3], samples[3:])
    ours.load_state_dict(stock.state_dict(), strict=True)
    stock, ours = stock.double(), ours.double()
    results = {}
    with double_precision(), double_weights():
        for name, task in [("stock", stock), ("ours", ours)]:
            batch = collate(samples)
            loss, metric = task.train()(batch)
            loss.backward()
            pred, target = task.eval().predict_and_target(collate(samples))
            results[name] = (loss, metric, pred, target, {n: p.grad for n, p in task.named_parameters()})
    (_, *expected), (_, *found) = results["stock"], results["ours"]
    # TorchDrug adds the loss up in float32
    torch.testing.assert_close(results["ours"][0].float(), results["stock"][0].float())
    torch.testing.assert_close(found, expected, equal_nan=True, **tolerance(torch.float64))
    assert any(grad.abs().max() > 0 for name, grad in found[-1].items() if name.startswith("model."))
    pred, target = found[1].detach(), found[2]
    expected = stock.evaluate(pred, target)
    scores = ours.evaluate(pred, target)
    assert list(scores) == ours.titles == list(expected)
    torch.testing.assert_close(
        {k: v.double() for k, v in scores.items()}, {k: v.double() for k, v in expected.items()}, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("kind", KINDS)
def test_weights_go_both_ways(proteins, kind):
    """The state dicts have the same names and shapes; after exchange both predict the same."""
    samples = items(proteins, kind)
    stock, ours = stock_task(kind), our_task(kind)
    for task in (stock, ours):
        task.preprocess(samples, None, None)
    before = {name: tuple(value.shape) for name, value in stock.state_dict().items()}
    assert {name: tuple(value.shape) for name, value in ours.state_dict().items()} == before
    with torch.no_grad():
        for parameter in ours.mlp.parameters():
            parameter.add_(0.1)
    stock.load_state_dict(ours.state_dict(), strict=True)
    batch = collate(samples)
    torch.testing.assert_close(ours.eval().predict(batch), stock.eval().predict(batch))


@pytest.mark.parametrize("kind", ["multilabel", "class"])
def test_what_torchdrug_trained_scores_the_same_here(proteins, kind, tmp_path):
    """A checkpoint of TorchDrug's engine, loaded by it into our task, has the same metrics to 1e-5."""
    samples = items(proteins, kind)
    if kind == "class":
        samples = [{**sample, "fold": 1 if math.isnan(sample["fold"]) else sample["fold"]} for sample in samples]
    solvers = []
    for make in (stock_task, our_task):
        task = make(kind)
        solvers.append(
            core.Engine(task, samples, samples, samples, torch.optim.Adam(task.parameters(), lr=1e-2), batch_size=3)
        )
    stock, ours = solvers
    stock.train(2)
    stock.save(tmp_path / "stock.pth")
    ours.load(str(tmp_path / "stock.pth"), load_optimizer=False)
    expected, found = stock.evaluate("test"), ours.evaluate("test")
    expected, found = ({name: float(value) for name, value in scores.items()} for scores in (expected, found))
    assert found == pytest.approx(expected, abs=1e-5)


def test_several_labels_of_classes_stand_side_by_side(proteins, tolerance):
    """Each has its part of the outputs, and loss and metrics of TorchDrug's task for it alone."""
    own = labels("class")
    samples = [
        {"graph": graph, "fold": row["fold"], "other": i % 2} for i, (graph, row) in enumerate(zip(proteins, own))
    ]
    task = our_task("class", task=["fold", "other"], num_class=None, verbose=1)
    task.preprocess(samples, None, None)
    assert task.num_class == [4, 2] and task.titles == [
        "accuracy [fold]",
        "accuracy [other]",
        "matthews correlation coefficient [fold]",
        "matthews correlation coefficient [other]",
    ]
    loss, metric = task.train()(collate(samples))
    parts = task.predict(collate(samples)).detach().split([4, 2], dim=-1)
    losses = []
    for logits, name in zip(parts, ["fold", "other"]):
        target = torch.tensor([float(sample[name]) for sample in samples])
        known = ~target.isnan()
        losses.append(torch.nn.functional.cross_entropy(logits[known], target[known].long()))
        torch.testing.assert_close(metric["cross entropy [%s]" % name], losses[-1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loss, sum(losses) / 2, rtol=1e-4, atol=1e-5)
    scores = task.probabilities(torch.cat(parts, dim=-1)).split([4, 2], dim=-1)
    for own in scores:
        torch.testing.assert_close(own.sum(dim=-1), torch.ones(len(samples)))


def test_whole_numbers_are_numbers_with_mse(proteins):
    """TorchDrug makes an output for each of them as if they were classes."""
    samples = [{"graph": graph, "x": i} for i, graph in enumerate(proteins)]
    task = our_task("number", task="x")
    task.preprocess(samples, None, None)
    assert task.num_class == [1] and task.predict(collate(samples)).shape == (ITEMS, 1)
    assert float(task.mean) == pytest.approx(3.5) and float(task.std) == pytest.approx(math.sqrt(6))


ALL = ["f1_max", "f1_max@cafa", "auprc@micro", "auprc@macro", "auroc@micro", "auroc@macro"]


def partly_known():
    """Predictions, targets of three labels, and which of them are known."""
    torch.manual_seed(2)
    pred, target = torch.randn(20, 3), torch.randint(2, (20, 3)).float()
    known = torch.rand(20, 3) > 0.3
    known[4] = False
    return pred, target.masked_fill(~known, NAN), known


def test_metrics_of_partly_known_targets():
    """By definition: of the pairs that are known, of labels one by one, of labels that no protein is predicted to
    have where they are not known."""
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    pred, target, known = partly_known()
    found = our_task("multilabel", metric=ALL).evaluate(pred, target)
    flat = target[known].numpy(), pred[known].numpy()
    assert float(found["auprc@micro"]) == pytest.approx(sklearn.average_precision_score(*flat))
    assert float(found["auroc@micro"]) == pytest.approx(sklearn.roc_auc_score(*flat))
    columns = [(target[k, i].numpy(), pred[k, i].numpy()) for i, k in enumerate(known.t())]
    for name, score in [("auprc", sklearn.average_precision_score), ("auroc", sklearn.roc_auc_score)]:
        assert float(found[name + "@macro"]) == pytest.approx(sum(score(*column) for column in columns) / 3)
    rows = known.any(dim=-1)
    lowest = pred.masked_fill(~known, -1e6)[rows]
    assert float(found["f1_max"]) == pytest.approx(metrics.fmax(lowest, target[rows].nan_to_num())[0])


def test_unknown_targets_count_nowhere(proteins):
    """NaN in `targets` changes neither loss nor metric of the other values, whatever is predicted for it."""
    task = our_task("multilabel", metric=ALL)
    pred, target, known = partly_known()
    first = task.evaluate(pred, target)
    second = task.evaluate(torch.where(known, pred, torch.randn(20, 3) * 9), target)
    assert first == second and list(first) == task.titles
    targets = torch.tensor([[1.0, 0] * 3, [NAN] * 6, [0.0, 1] * 3])
    batch = {"graph": ResidueProtein.pack(proteins[:3]), "targets": targets}
    loss, _ = task.eval()(batch)
    rest = {"graph": ResidueProtein.pack([proteins[0], proteins[2]]), "targets": batch["targets"][[0, 2]]}
    torch.testing.assert_close(loss, task(rest)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_without_labels_has_loss_0_and_trains_nothing(proteins, kind):
    task = our_task(kind)
    task.preprocess(items(proteins, kind), None, None)
    samples = [
        {key: value if key == "graph" else value * NAN for key, value in item.items()}
        for item in items(proteins, kind)[:3]
    ]
    loss, _ = task.train()(collate(samples))
    loss.backward()
    assert loss == 0 and all((p.grad == 0).all() for p in task.parameters())
    scores = task.evaluate(*task.eval().predict_and_target(collate(samples)))
    assert list(scores) == task.titles and all(math.isnan(value) for value in scores.values())


def test_items_marked_as_unlabeled_are_left_out(proteins):
    """`labeled` of an item, as TorchDrug's data sets for semi-supervised learning have it."""
    samples = [{**item, "labeled": i != 1} for i, item in enumerate(items(proteins, "class"))]
    samples[1]["fold"] = 77
    task = our_task("class", num_class=None)
    task.preprocess(samples, None, None)
    assert task.num_class == [4]
    batch = collate(samples)
    batch["labeled"] = batch["labeled"].bool()
    assert task.target(batch).isnan().flatten().tolist() == [i in (1, 4) for i in range(ITEMS)]


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities(kind):
    task = our_task(kind)
    pred = torch.randn(5, sum(task.num_class))
    found = task.probabilities(pred)
    expected = {"number": pred, "class": pred.softmax(dim=-1)}.get(kind, pred.sigmoid())
    torch.testing.assert_close(found, expected)


def test_the_head_has_what_its_arguments_say(proteins):
    """As wide as the encoder, with batch normalization and dropout between its layers; in the constructor where the
    number of outputs is known, else in `preprocess`, where the engine finds its parameters."""
    task = our_task("class", num_mlp_layer=3, mlp_batch_norm=True, mlp_dropout=0.25)
    widths = [tuple(layer.weight.shape) for layer in task.mlp.layers]
    assert widths == [(16, 16), (16, 16), (4, 16)] and len(task.mlp.batch_norms) == 2 and task.mlp.dropout.p == 0.25
    later = our_task("class", num_class=None)
    assert later.mlp is None
    before = list(later.parameters())
    later.preprocess(items(proteins, "class"), None, None)
    after = list(later.parameters())
    assert [id(p) for p in after[: len(before)]] == [id(p) for p in before]
    assert sum(p.numel() for p in after[len(before) :]) == 16 * 16 + 16 + 4 * 16 + 4
    again = later.mlp
    later.preprocess(items(proteins, "class"), None, None)
    assert later.mlp is again


def test_the_head_of_a_checkpoint_needs_no_data(proteins):
    """A task without num_class takes the number of classes of the weights it loads."""
    trained = our_task("class")
    task = our_task("class", num_class=None)
    with pytest.raises(RuntimeError, match="give num_class, or call `preprocess` first"):
        task.predict(collate(items(proteins, "class")[:2]))
    task.load_state_dict(trained.state_dict())
    assert task.num_class == [4]
    batch = collate(items(proteins, "class"))
    torch.testing.assert_close(task.eval().predict(batch), trained.eval().predict(batch))


def test_it_builds_on_the_meta_device():
    with torch.device("meta"):
        for kind in KINDS:
            task = our_task(kind, freeze_encoder=True, class_weight=[1.0] * 3 if kind == "multilabel" else None)
            assert all(p.is_meta for p in task.parameters())


def test_it_is_copied_with_its_class_weights():
    task = our_task("multilabel", class_weight=[1.0, 2.0, 3.0], freeze_encoder=True)
    other = copy.deepcopy(task)
    assert other.balance.tolist() == [1, 2, 3] and "balance" not in other.state_dict()
    assert other._embeddings is not task._embeddings


def test_batches_of_the_loader_have_the_labels(proteins):
    """Labels as TorchDrug's loader collates them: numbers, classes, vectors."""
    for kind in KINDS:
        samples = items(proteins, kind)
        task = our_task(kind)
        batch = next(iter(data.DataLoader(samples, 4)))
        expected = collate(samples[:4])
        torch.testing.assert_close(task.target(batch), task.target(expected), equal_nan=True, check_dtype=False)
