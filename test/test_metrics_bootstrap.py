"""Intervals of metrics by resampling."""
import math

import pytest
import torch

from gearnet_plugin import metrics
from gearnet_plugin.metrics.evaluation import Evaluation
from gearnet_plugin.metrics.resampling import draws
from test_metrics import example

kinds = pytest.mark.parametrize("kind", metrics.KINDS)


@kinds
@pytest.mark.parametrize("ties", [True, False])
def test_weights_stand_for_rows_drawn_several_times(kind, ties):
    """A metric of a sample is the metric of the rows that it holds, computed anew."""
    pred, target = example(kind, rows=30, ties=ties)
    evaluation = Evaluation(kind, pred, target)
    for rows in draws(30, 10, seed=0):
        anew = metrics.compute(metrics.names(kind), kind, pred[rows], target[rows])
        weight = rows.bincount(minlength=30)
        for name in metrics.names(kind):
            expected = float(anew[metrics.title(name)])
            assert evaluation.value(name, weight) == pytest.approx(expected, rel=1e-6, abs=1e-7, nan_ok=True), name


@kinds
def test_intervals_are_those_of_naive_resampling(kind):
    """Quantiles of the metrics over the same draws, each computed on the rows themselves."""
    pred, target = example(kind, rows=25)
    names = metrics.names(kind)
    anew = [metrics.compute(names, kind, pred[rows], target[rows]) for rows in draws(25, 40, seed=3)]
    found = metrics.bootstrap(names, kind, pred, target, samples=40, level=0.8, seed=3)
    for title, interval in found.items():
        values = torch.stack([sample[title].double() for sample in anew])
        values = values[~values.isnan()]
        expected = values.quantile(torch.tensor([0.1, 0.9], dtype=torch.float64)).tolist()
        assert interval == pytest.approx(expected, abs=1e-6), title
        assert interval[0] < interval[1]


def test_a_seed_gives_the_same_interval():
    case = ["f1_max", "auprc@micro"], "multilabel", *example("multilabel")
    first = metrics.bootstrap(*case, samples=20, seed=5)
    assert metrics.bootstrap(*case, samples=20, seed=5) == first
    assert metrics.bootstrap(*case, samples=20, seed=6) != first


def test_the_global_generator_is_left_alone():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    metrics.bootstrap("acc", "class", *example("class"), samples=5)
    assert torch.equal(torch.get_rng_state(), state)


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Of 150 test sets with a true accuracy of 0.7, about 90 % of the 90 % intervals hold it."""
    generator, inside = torch.Generator().manual_seed(0), 0
    for _ in range(150):
        right = torch.rand(80, generator=generator) < 0.7
        pred = torch.stack([right.float(), 1 - right.float()], dim=1)
        low, high = metrics.bootstrap("acc", "class", pred, torch.zeros(80), samples=100, level=0.9)["accuracy"]
        inside += low <= 0.7 <= high
    assert 0.83 < inside / 150 < 0.96


def test_more_proteins_make_narrower_intervals():
    def width(rows):
        low, high = metrics.bootstrap("mae", "number", *example("number", rows=rows, ties=False))["mean absolute error"]
        return high - low

    assert width(1600) < 0.4 * width(100)


def test_samples_without_a_value_are_left_out():
    """One annotated protein of six: in samples without it CAFA's Fmax has no value."""
    target = torch.zeros(6, 2)
    target[0, 0] = 1
    pred = target + 0.5
    assert metrics.bootstrap("f1_max@cafa", "multilabel", pred, target)["f1_max@cafa"] == (1, 1)
    low, _ = metrics.bootstrap("f1_max", "multilabel", pred, target)["f1_max"]
    assert low == 0
    found = metrics.bootstrap("auprc@micro", "multilabel", pred, torch.zeros(6, 2))["auprc@micro"]
    assert all(math.isnan(end) for end in found)


def test_wrong_settings_are_refused():
    case = "acc", "class", *example("class")
    with pytest.raises(ValueError, match="samples is 1, but an interval needs at least 2"):
        metrics.bootstrap(*case, samples=1)
    with pytest.raises(ValueError, match="level is 95, but it is a share"):
        metrics.bootstrap(*case, level=95)
    with pytest.raises(ValueError, match="Did you mean `acc`"):
        metrics.bootstrap("accu", *case[1:])


@pytest.mark.slow
def test_memory_at_the_size_of_gene_ontology(python):
    """All metrics and samples of 3,416 proteins x 1,943 labels (GO-BP's test set) stay below 1 GB above the start."""
    done = python("-c", """
import resource, torch
from gearnet_plugin import metrics
target = torch.rand(3416, 1943) < 0.013
pred = torch.randn(3416, 1943) + target
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
start = peak()
metrics.compute(metrics.names("multilabel"), "multilabel", pred, target)
metrics.bootstrap(metrics.names("multilabel"), "multilabel", pred, target, samples=2)
few = peak()
metrics.bootstrap(metrics.names("multilabel"), "multilabel", pred, target, samples=12)
print(peak() - start, peak() - few)
""", GEARNET_PLUGIN_LIGHT="1")
    whole, more = map(float, done.stdout.split())
    assert whole < 1 and more < 0.1
