"""TorchDrug's sparse products and embedding scores without its C++ extensions."""
import itertools

import pytest
import torch

from torchdrug import utils
from torchdrug.layers import functional
from torchdrug.utils import torch as torch_utils


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(3, 4), (5, 3, 2), (6,)])
def test_sparse_tensor_equals_torchs(size, dtype):
    torch.manual_seed(0)
    indices = torch.stack([torch.randint(n, (20,)) for n in size])
    values = torch.randn(20, dtype=dtype, requires_grad=True)
    expected = torch.sparse_coo_tensor(indices, values.detach(), size, check_invariants=True)
    # sizes may be tensors, as those of graphs are
    actual = utils.sparse_coo_tensor(indices, values, [torch.tensor(n) for n in size])
    assert torch.equal(actual.to_dense(), expected.to_dense())
    weight = torch.randn(size, dtype=dtype)
    (actual.to_dense() * weight).sum().backward()
    assert torch.equal(values.grad, weight[tuple(indices)])


def test_sparse_product_has_gradients_on_both_sides():
    torch.manual_seed(0)
    indices = torch.tensor([[0, 1, 1, 0], [2, 0, 2, 2]])
    values = torch.randn(4, dtype=torch.float64, requires_grad=True)
    x = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)

    def product(values, x):
        return torch.sparse.mm(utils.sparse_coo_tensor(indices, values, (2, 3)), x)

    assert torch.autograd.gradcheck(product, (values, x))


def test_extension_says_why_it_is_not_there():
    loader = torch_utils.load_extension("something", [])
    with pytest.raises(NotImplementedError, match="`something` does not compile on torch >= 2.0"):
        loader.function  # noqa: B018


SUM = {"add": sum, "min": lambda values: torch.stack(values).amin(0), "max": lambda values: torch.stack(values).amax(0)}
MUL = {"add": torch.add, "mul": torch.mul}
OPERATORS = list(itertools.product(SUM, MUL))
EMPTY = {"add": 0, "min": torch.finfo(torch.float64).max, "max": torch.finfo(torch.float64).min}


def make_sparse(*size):
    """A sparse tensor with a repeated entry and without any in its last row."""
    torch.manual_seed(0)
    indices = torch.stack([torch.randint(n - (i == 0), (12,)) for i, n in enumerate(size)])
    indices = torch.cat([indices, indices[:, :1]], dim=1)
    return indices, torch.randn(13, dtype=torch.float64), size


def by_row(entries, num_row, sum, dim):
    rows = [[value for row, value in entries if row == i] for i in range(num_row)]
    empty = torch.full((dim,), EMPTY[sum], dtype=torch.float64)
    return torch.stack([SUM[sum](row) if row else empty for row in rows])


def check(product, definition, arguments):
    """Values and gradients of a product and of its definition; rows without an entry count in neither."""
    arguments = [argument.clone().requires_grad_() for argument in arguments]
    actual, expected = product(*arguments), definition(*arguments)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
    weight = torch.randn(expected.shape, dtype=torch.float64) * (expected.abs() < 1e9)
    for a, b in zip(torch.autograd.grad(actual, arguments, weight), torch.autograd.grad(expected, arguments, weight)):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sum, mul", OPERATORS)
def test_generalized_spmm(sum, mul):
    indices, values, size = make_sparse(5, 4)

    def product(values, input):
        return functional.generalized_spmm(utils.sparse_coo_tensor(indices, values, size), input, sum, mul)

    def definition(values, input):
        sparse = torch.sparse_coo_tensor(indices, values, size, check_invariants=True).coalesce()
        entries = [(i, MUL[mul](v, input[j])) for (i, j), v in zip(sparse.indices().T.tolist(), sparse.values())]
        return by_row(entries, size[0], sum, 3)

    check(product, definition, [values, torch.randn(4, 3, dtype=torch.float64)])


@pytest.mark.parametrize("sum, mul", OPERATORS)
def test_generalized_rspmm(sum, mul):
    indices, values, size = make_sparse(5, 4, 2)

    def product(values, relation, input):
        return functional.generalized_rspmm(utils.sparse_coo_tensor(indices, values, size), relation, input, sum, mul)

    def definition(values, relation, input):
        sparse = torch.sparse_coo_tensor(indices, values, size, check_invariants=True).coalesce()
        entries = [(i, v * MUL[mul](relation[k], input[j]))
                   for (i, j, k), v in zip(sparse.indices().T.tolist(), sparse.values())]
        return by_row(entries, size[0], sum, 3)

    check(product, definition, [values, torch.randn(2, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)])


def test_every_winner_gets_the_gradient():
    sparse = torch.ones(1, 3).to_sparse()
    input = torch.tensor([[2.0], [5.0], [5.0]], requires_grad=True)
    functional.generalized_spmm(sparse, input, sum="max").sum().backward()
    assert input.grad.flatten().tolist() == [0, 1, 1]


def test_unknown_operators():
    sparse = torch.eye(2).to_sparse()
    with pytest.raises(ValueError, match="summation `mean` and multiplication `mul`. Summations are"):
        functional.generalized_spmm(sparse, torch.eye(2), sum="mean")
    with pytest.raises(ValueError, match="rspmm implementation found for summation `add` and multiplication `sub`"):
        functional.generalized_rspmm(sparse, torch.eye(2), torch.eye(2), mul="sub")


def test_embedding_scores():
    torch.manual_seed(0)
    entity, relation = torch.randn(5, 4, requires_grad=True), torch.randn(3, 4)
    h, t, r = torch.tensor([0, 1]), torch.tensor([2, 4]), torch.tensor([1, 0])
    score = functional.transe_score(entity, relation, h, t, r)
    torch.testing.assert_close(score, (entity[h] + relation[r] - entity[t]).abs().sum(-1))
    score = functional.distmult_score(entity, relation, h, t, r)
    torch.testing.assert_close(score, (entity[h] * relation[r] * entity[t]).sum(-1))
    score.sum().backward()
    assert entity.grad[[0, 1, 2, 4]].abs().sum() > 0 and entity.grad[3].abs().sum() == 0
