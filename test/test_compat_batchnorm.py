"""SyncBatchNorm on CPU: several ranks equal one process that holds all their rows."""
import copy

import pytest
import torch
from torch import nn

import ranks
from conftest import TOLERANCE
from gearnet_plugin.compat import batchnorm
from gearnet_plugin.compat.batchnorm import SyncBatchNorm

# rows of each rank, in each of two batches; a rank may have none
ROWS = [(7, 0), (2, 5)]

# name: dtype, dimensions behind the channels, arguments of BatchNorm, mean of the input, batches in training
CASES = {
    "float32": (torch.float32, (), {}, 0, 2),
    "float64": (torch.float64, (), {}, 0, 2),
    "images": (torch.float64, (3, 2), {}, 0, 2),
    "momentum_none": (torch.float64, (), {"momentum": None}, 0, 2),
    "no_affine": (torch.float64, (), {"affine": False}, 0, 2),
    "no_statistics": (torch.float64, (), {"track_running_stats": False}, 0, 2),
    "large_mean": (torch.float64, (), {}, 1e7, 2),
    "large_mean_float32": (torch.float32, (), {}, 1e3, 2),
    "evaluation": (torch.float64, (), {}, 0, 1),
}


def make(name):
    """The normalisation with random weights, and per batch and rank an input and a gradient of the output."""
    dtype, behind, arguments, mean, _ = CASES[name]
    torch.manual_seed(0)
    norm = (nn.BatchNorm2d if behind else nn.BatchNorm1d)(4, **arguments).to(dtype)
    for parameter in norm.parameters():
        nn.init.uniform_(parameter, 0.5, 2)

    def draw(rows):
        return torch.randn(rows, 4, *behind, dtype=dtype)

    return norm, [[(draw(rows[b]) * 3 + mean, draw(rows[b])) for rows in ROWS] for b in range(2)]


def steps(norm, batches, train_batches):
    """Forward and backward over (input, gradient) pairs; everything that may differ."""
    result = {}
    for b, (x, cotangent) in enumerate(batches):
        norm.train(b < train_batches)
        x = x.clone().requires_grad_()
        y = norm(x)
        y.backward(cotangent)
        result.update({"output%d" % b: y.detach(), "grad%d" % b: x.grad})
    result.update({"grad_" + name: p.grad for name, p in norm.named_parameters()})
    result.update(norm.state_dict())
    return result


def worker(rank):
    results = {}
    for name in CASES:
        norm, batches = make(name)
        norm = SyncBatchNorm.convert_sync_batchnorm(norm)
        results[name] = steps(norm, [batch[rank] for batch in batches], CASES[name][-1])
    try:
        SyncBatchNorm(4)(torch.randn(int(rank == 0), 4))
    except ValueError as error:
        results["one_row"] = str(error)
    return results


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return ranks.run(worker, len(ROWS), tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", CASES)
def test_ranks_equal_one_process(results, name):
    norm, batches = make(name)
    joint = [tuple(torch.cat(part) for part in zip(*batch)) for batch in batches]
    expected = steps(norm, joint, CASES[name][-1])
    by_rank = [result[name] for result in results]
    assert all(result.keys() == expected.keys() for result in by_rank)
    tolerance = dict(TOLERANCE[CASES[name][0]])
    if "large" in name:
        # the input's own digits, as many as its mean takes
        tolerance["atol"] = CASES[name][3] * torch.finfo(CASES[name][0]).eps * 4
    for key, value in expected.items():
        if key.startswith("grad_"):
            actual = sum(result[key] for result in by_rank)
        elif key[:-1] in ("output", "grad"):
            actual = torch.cat([result[key] for result in by_rank])
        else:
            for result in by_rank:
                assert torch.equal(result[key], by_rank[0][key]), "%s differs between the ranks" % key
            actual = by_rank[0][key]
        torch.testing.assert_close(actual, value, **tolerance)


def test_large_mean_costs_no_digits(results):
    """Against the exact statistics of these very numbers, where a sum of squares would leave nothing."""
    _, batches = make("large_mean")
    x = torch.cat([x for x, _ in batches[0]])
    shifted = x - 1e7  # exact
    expected = (shifted - shifted.mean(0)) / (shifted.var(0, unbiased=False) + 1e-5).sqrt()
    norm = make("large_mean")[0]
    actual = torch.cat([result["large_mean"]["output0"] for result in results])
    expected = expected * norm.weight.detach() + norm.bias.detach()
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-8)


def test_one_row_over_all_ranks_is_refused(results):
    assert all("more than 1 row over all ranks, but found 1" in result["one_row"] for result in results)


def test_conversion_leaves_state_dict():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Sequential(nn.BatchNorm1d(4, affine=False)))
    model(torch.randn(5, 3))
    before = copy.deepcopy(model.state_dict())
    after = SyncBatchNorm.convert_sync_batchnorm(model).state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_one_process_is_plain_batchnorm():
    torch.manual_seed(0)
    plain = nn.BatchNorm1d(4)
    synced = SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(plain))
    assert type(synced) is SyncBatchNorm
    x = torch.randn(5, 4)
    for training in (True, True, False):
        assert torch.equal(synced.train(training)(x), plain.train(training)(x))
    assert all(torch.equal(a, b) for a, b in zip(synced.state_dict().values(), plain.state_dict().values()))


def test_other_devices_go_to_torch(monkeypatch):
    seen = []
    monkeypatch.setattr(nn.SyncBatchNorm, "forward", lambda self, input: seen.append(self) or input)
    norm = SyncBatchNorm(4).to("meta")
    norm(torch.zeros(3, 4, device="meta"))
    assert seen == [norm]
    monkeypatch.undo()
    # all that torch's own method asks of the module is there
    assert norm(torch.zeros(3, 4, device="meta")).shape == (3, 4)


def test_gradient_by_finite_differences(monkeypatch):
    monkeypatch.setattr(batchnorm.dist, "all_reduce", lambda tensor, group: None)
    x, weight, bias = (torch.rand(shape, dtype=torch.float64, requires_grad=True) for shape in ((5, 3), 3, 3))

    def normalise(*inputs):
        return batchnorm._Normalise.apply(*inputs, 1e-5, None)[0]

    assert torch.autograd.gradcheck(normalise, (x, weight, bias))
