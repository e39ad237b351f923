"""Sums over segments equal their definition, forward and backward."""
import pytest
import torch

from gearnet_plugin.ops import Segments, gather_sum, reference


def random_segments(num_term, num_row, num_source, seed=0):
    generator = torch.Generator().manual_seed(seed)
    row = torch.randint(max(num_row, 1), (num_term,), generator=generator)
    index = torch.randint(max(num_source, 1), (num_term,), generator=generator)
    return Segments(row, index, num_row, num_source)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-6), (torch.float64, 1e-14)])
@pytest.mark.parametrize("num_term, num_row, num_source, width", [
    (0, 5, 3, 4), (1, 1, 1, 1), (63, 7, 100, 5), (2000, 50, 30, 63), (500, 1, 40, 16), (10, 1000, 8, 3), (0, 0, 4, 2),
])
def test_equals_definition(num_term, num_row, num_source, width, dtype, tolerance):
    """Output and gradient of the fast sum equal those of the plain one, at awkward sizes."""
    segments = random_segments(num_term, num_row, num_source)
    fast = torch.randn(num_source, width, dtype=dtype, requires_grad=True)
    plain = fast.detach().clone().requires_grad_()
    output, expected = gather_sum(fast, segments), reference.gather_sum(plain, segments)
    assert output.shape == (num_row, width)
    scale = max(1.0, float(expected.detach().abs().max())) if expected.numel() else 1.0
    assert torch.allclose(output, expected, atol=tolerance * scale, rtol=0)
    seed = torch.randn_like(output)
    output.backward(seed)
    expected.backward(seed)
    scale = max(1.0, float(plain.grad.abs().max())) if plain.grad.numel() else 1.0
    assert torch.allclose(fast.grad, plain.grad, atol=tolerance * scale, rtol=0)


def test_by_hand():
    """A table worked out by hand: row 0 takes sources 1 and 2, row 2 takes source 0 twice, row 1 nothing."""
    segments = Segments(torch.tensor([2, 0, 2, 0]), torch.tensor([0, 2, 0, 1]), 3, 3)
    source = torch.tensor([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]])
    assert gather_sum(source, segments).tolist() == [[6.0, 60.0], [0.0, 0.0], [2.0, 20.0]]


def test_gradients_of_gradients():
    """First and second derivatives agree with finite differences."""
    segments = random_segments(40, 6, 9)
    source = torch.randn(9, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: gather_sum(x, segments).tanh(), (source,))
    assert torch.autograd.gradgradcheck(lambda x: gather_sum(x, segments).tanh(), (source,))


def test_non_contiguous_and_repeatable():
    """A transposed view gives what its copy gives, and twice the same bits."""
    segments = random_segments(3000, 70, 90)
    view = torch.randn(16, 90).t()
    first = gather_sum(view, segments)
    assert torch.equal(first, gather_sum(view.contiguous(), segments))
    assert torch.equal(first, gather_sum(view, segments))


def test_empty_rows_are_zero_not_garbage():
    """Rows without a term are zero even where the source holds NaN."""
    segments = Segments(torch.tensor([3]), torch.tensor([0]), 5, 2)
    source = torch.tensor([[1.0], [float("nan")]])
    assert gather_sum(source, segments).flatten().tolist() == [0, 0, 0, 1, 0]


def test_wrong_number_of_rows():
    """An input for another graph is refused."""
    with pytest.raises(ValueError, match="should have 9 rows.*found 8"):
        gather_sum(torch.zeros(8, 2), random_segments(5, 3, 9))
