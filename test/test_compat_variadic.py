"""TorchDrug's functions over sets of different sizes, through compat, against plain loops."""
import pytest
import torch

from torchdrug.layers import functional

# an empty set in the middle, and one of a single element
SIZE = torch.tensor([3, 1, 0, 5])


@pytest.fixture(params=[(), (2,)], ids=["numbers", "rows"])
def input(request):
    torch.manual_seed(0)
    return torch.randn(int(SIZE.sum()), *request.param)


def sets(input):
    return input.split(SIZE.tolist())


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)


def test_sum_and_mean(input):
    empty = torch.zeros(input.shape[1:])
    close(functional.variadic_sum(input, SIZE), torch.stack([x.sum(0) for x in sets(input)]))
    means = [x.mean(0) if len(x) else empty for x in sets(input)]
    close(functional.variadic_mean(input, SIZE), torch.stack(means))


def test_max(input):
    value, index = functional.variadic_max(input, SIZE)
    for i, x in enumerate(sets(input)):
        if len(x):
            assert torch.equal(value[i], x.max(0).values)
            assert torch.equal(index[i], x.max(0).indices)
        else:
            assert torch.equal(value[i], torch.zeros(input.shape[1:]))


def test_softmax(input):
    close(functional.variadic_softmax(input, SIZE), torch.cat([x.softmax(0) for x in sets(input)]))
    close(functional.variadic_log_softmax(input, SIZE), torch.cat([x.log_softmax(0) for x in sets(input)]))


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_cross_entropy(reduction):
    torch.manual_seed(0)
    size = torch.tensor([3, 1, 5])
    input = torch.randn(9, requires_grad=True)
    target = torch.tensor([2, 0, 1])
    loss = functional.variadic_cross_entropy(input, target, size, reduction)
    by_set = torch.stack([-x.log_softmax(0)[t] for x, t in zip(input.split(size.tolist()), target)])
    expected = {"none": by_set, "sum": by_set.sum(), "mean": by_set.mean()}[reduction]
    close(loss, expected)
    gradient, = torch.autograd.grad(loss.sum(), input, retain_graph=True)
    close(gradient, torch.autograd.grad(expected.sum(), input)[0])


@pytest.mark.parametrize("descending", [False, True])
def test_sort(input, descending):
    value, index = functional.variadic_sort(input, SIZE, descending)
    expected = [x.sort(0, descending=descending) for x in sets(input) if len(x)]
    assert torch.equal(value, torch.cat([e.values for e in expected]))
    assert torch.equal(index, torch.cat([e.indices for e in expected]))


@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize("k", [1, 3])
def test_topk_repeats_the_last_of_a_small_set(k, largest):
    torch.manual_seed(0)
    size = torch.tensor([3, 1, 5])
    input = torch.randn(9)
    value, index = functional.variadic_topk(input, size, k, largest)
    rows, places = value.view(3, k), index.view(3, k)
    for row, place, x in zip(rows, places, input.split(size.tolist())):
        expected = x.topk(min(k, len(x)), largest=largest)
        padding = k - len(expected.values)
        assert torch.equal(row, torch.cat([expected.values, expected.values[-1:].expand(padding)]))
        assert torch.equal(place, torch.cat([expected.indices, expected.indices[-1:].expand(padding)]))


def test_topk_of_different_k():
    size, k = torch.tensor([3, 4]), torch.tensor([2, 3])
    input = torch.tensor([1.0, 3, 2, 7, 9, 8, 6])
    value, index = functional.variadic_topk(input, size, k)
    assert value.tolist() == [3, 2, 9, 8, 7]
    assert index.tolist() == [1, 2, 1, 2, 0]


def test_arange_and_randperm():
    assert functional.variadic_arange(SIZE).tolist() == [0, 1, 2, 0, 0, 1, 2, 3, 4]
    torch.manual_seed(0)
    permutation = functional.variadic_randperm(SIZE)
    for x in permutation.split(SIZE.tolist()):
        assert sorted(x.tolist()) == list(range(len(x)))


def test_sample_stays_in_its_set():
    torch.manual_seed(0)
    size = torch.tensor([2, 3])
    sample = functional.variadic_sample(torch.arange(5), size, 50)
    assert sample.shape == (2, 50)
    assert set(sample[0].tolist()) == {0, 1} and set(sample[1].tolist()) == {2, 3, 4}


def test_meshgrid():
    size1, size2 = torch.tensor([2, 1]), torch.tensor([2, 3])
    first, second = functional.variadic_meshgrid(torch.arange(3), size1, torch.arange(10, 15), size2)
    pairs = list(zip(first.tolist(), second.tolist()))
    assert pairs == [(0, 10), (0, 11), (1, 10), (1, 11), (2, 12), (2, 13), (2, 14)]


def test_padding_and_back(input):
    padded, mask = functional.variadic_to_padded(input, SIZE, value=-7)
    assert padded.shape == (4, 5, *input.shape[1:])
    for row, inside, x in zip(padded, mask, sets(input)):
        assert torch.equal(row[:len(x)], x) and (row[len(x):] == -7).all()
        assert inside.tolist() == [True] * len(x) + [False] * (5 - len(x))
    assert torch.equal(functional.padded_to_variadic(padded, SIZE), input)


def test_extend():
    value, size = functional._extend(torch.arange(5), torch.tensor([3, 2]), -torch.arange(1, 4), torch.tensor([1, 2]))
    assert value.tolist() == [0, 1, 2, -1, 3, 4, -2, -3]
    assert size.tolist() == [4, 4]


def test_slices_and_masks():
    mask = functional.multi_slice_mask(torch.tensor([0, 1, 4]), torch.tensor([2, 3, 6]), 7)
    assert mask.tolist() == [True, True, True, False, True, True, False]
    assert functional.as_mask(torch.tensor([0, 2]), 4).tolist() == [True, False, True, False]
    assert functional.one_hot(torch.tensor([1, 0]), 3).tolist() == [[0, 1, 0], [1, 0, 0]]
    numbers = torch.tensor([[1.0, float("nan")], [3.0, 5.0]])
    assert functional.mean_with_nan(numbers, dim=0).tolist() == [2, 5]
