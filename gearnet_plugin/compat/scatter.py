"""
The functions of torch-scatter that TorchDrug uses, in plain PyTorch, with the same signatures and results.

They stand in only where the compiled package is missing. ``out=`` is not supported: TorchDrug never passes
it. Ties of :func:`scatter_max` and :func:`scatter_min` go to the lowest index, as in torch-scatter on CPU.
"""
import torch


def _expand(index, src, dim):
    """Return ``index`` in the shape of ``src``: 1D along ``dim``, else its missing dimensions at the end."""
    if index.dim() == 1:
        index = index.view([1] * (dim % src.dim()) + [len(index)])
    while index.dim() < src.dim():
        index = index.unsqueeze(-1)
    return index.expand_as(src)


def _empty_slots(src, index, dim, dim_size, fill=0):
    """Return a tensor like ``src`` with ``dim_size`` slots along ``dim``, by default those of ``index``."""
    if dim_size is None:
        dim_size = index.max() + 1 if index.numel() else 0
    shape = list(src.shape)
    shape[dim] = int(dim_size)
    return torch.full(shape, fill, dtype=src.dtype, device=src.device)


def _no_out(out):
    if out is not None:
        raise NotImplementedError("out= needs torch-scatter: pip install torch-scatter")


def scatter_add(src, index, dim=-1, out=None, dim_size=None):
    """Sum ``src`` into slots ``index`` along ``dim``."""
    _no_out(out)
    index = _expand(index, src, dim)
    return _empty_slots(src, index, dim, dim_size).scatter_add_(dim, index, src)


scatter_sum = scatter_add


def scatter_mean(src, index, dim=-1, out=None, dim_size=None):
    """Average ``src`` over slots ``index``; an empty slot is 0. Integers are divided with floor."""
    total = scatter_add(src, index, dim, out, dim_size)
    ones = torch.ones_like(src, requires_grad=False)
    count = scatter_add(ones, index, dim, dim_size=total.shape[dim]).clamp(min=1)
    if total.is_floating_point():
        return total / count
    return torch.div(total, count, rounding_mode="floor")


def _scatter_extreme(src, index, dim, out, dim_size, reduce):
    _no_out(out)
    index = _expand(index, src, dim)
    info = torch.finfo(src.dtype) if src.is_floating_point() else torch.iinfo(src.dtype)
    worst = info.min if reduce == "amax" else info.max
    values = src.detach()
    # as in torch-scatter, what is not better than the worst finite number (an infinity, NaN) does not count
    counted = values > worst if reduce == "amax" else values < worst
    best = _empty_slots(src, index, dim, dim_size, fill=worst)
    best = best.scatter_reduce(dim, index, torch.where(counted, values, worst), reduce)

    size = src.shape[dim]
    position = torch.arange(size, device=src.device).view([-1] + [1] * (src.dim() - 1 - dim % src.dim()))
    winner = counted & (values == best.gather(dim, index))
    arg = torch.full_like(best, size, dtype=torch.long)
    arg = arg.scatter_reduce(dim, index, torch.where(winner, position.expand_as(src), size), "amin")
    if size == 0:
        # no row to gather from; the sum keeps the result differentiable
        return scatter_add(src, index, dim, dim_size=best.shape[dim]), arg
    # one winner a slot, so that the gradient goes to it alone
    value = src.gather(dim, arg.clamp(max=size - 1))
    return torch.where(arg < size, value, torch.zeros_like(value)), arg


def scatter_max(src, index, dim=-1, out=None, dim_size=None):
    """Return the maximum of every slot and where it stands; an empty slot is (0, ``src.shape[dim]``)."""
    return _scatter_extreme(src, index, dim, out, dim_size, "amax")


def scatter_min(src, index, dim=-1, out=None, dim_size=None):
    """Return the minimum of every slot and where it stands; an empty slot is (0, ``src.shape[dim]``)."""
    return _scatter_extreme(src, index, dim, out, dim_size, "amin")


def _centred(src, index, dim, dim_size):
    """``src`` minus the largest of its slot, and ``index`` in its shape."""
    if not src.is_floating_point():
        raise ValueError("scatter_softmax and scatter_log_softmax take floating point numbers, but found %s"
                         % src.dtype)
    index = _expand(index, src, dim)
    # the gradient flows through the largest too, as in torch-scatter: with ``eps`` it is not quite zero
    top = scatter_max(src, index, dim, dim_size=dim_size)[0]
    return src - top.gather(dim, index), index


def scatter_softmax(src, index, dim=-1, dim_size=None):
    """Softmax of ``src`` within every slot."""
    centred, index = _centred(src, index, dim, dim_size)
    exp = centred.exp()
    return exp / scatter_add(exp, index, dim, dim_size=dim_size).gather(dim, index)


def scatter_log_softmax(src, index, dim=-1, eps=1e-12, dim_size=None):
    """Logarithm of the softmax of ``src`` within every slot; the sum gets ``eps`` as in torch-scatter."""
    centred, index = _centred(src, index, dim, dim_size)
    total = scatter_add(centred.exp(), index, dim, dim_size=dim_size)
    return centred - (total + eps).log().gather(dim, index)
