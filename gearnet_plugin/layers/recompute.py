"""Activations that are made again in backward instead of being kept: a third of what an encoder would hold."""

import contextlib
import weakref

import torch
from torch import nn
from torch.nn import functional as F

# elements of the rows that are normalized at once: small enough to stay in the cache
BLOCK_ELEMENTS = 1 << 20


class Recomputed:
    """
    Context of a forward pass in which the results of :meth:`normalize` are not kept for backward.

    Batch normalization keeps its input anyway, and its output after ReLU follows from that; operations inside the
    context that save this output for their own backward save how to make it instead. Made once a layer, bit for bit
    the same, in about 2 % of the time of a layer.

    Of nested hooks for saved tensors torch asks the innermost only. So where somebody else's are in place, such as
    those of ``torch.utils.checkpoint`` or ``save_on_cpu``, this context leaves them to their work and does nothing.

    Parameters:
        twice (bool, optional): leave normalization to torch, whose gradients have gradients
    """

    def __init__(self, twice=False):
        self._made = {}
        self._hooks = contextlib.nullcontext()
        self._active = torch.is_grad_enabled() and not _others_hooks()
        self._twice = twice
        if self._active:
            self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, _unpack)

    def __enter__(self):
        self._hooks.__enter__()
        return self

    def __exit__(self, *error):
        self._made.clear()
        return self._hooks.__exit__(*error)

    def can_normalize(self, norm, activation):
        """Whether this is what :meth:`normalize` computes: statistics of this process's batch, then ReLU."""
        if not self._active or self._twice:
            return False
        return type(norm) is nn.BatchNorm1d and norm.training and norm.affine and activation is F.relu

    def normalize(self, input, norm):
        """Return ``relu(norm(input))``, shape [E, D]; differentiable once."""
        made = _Made(input.detach(), norm)
        output = _NormalizeReLU.apply(input, norm.weight, norm.bias, norm, made)
        # by address, as what is saved may be another Python object; while `output` lives no other tensor has it
        self._made[output.data_ptr()] = weakref.ref(output), made
        return output

    def _pack(self, tensor):
        output, made = self._made.get(tensor.data_ptr(), (None, None))
        output = output and output()
        same = output is not None and output.shape == tensor.shape and output.stride() == tensor.stride()
        return made if same and output.dtype == tensor.dtype else tensor


def _others_hooks():
    """Whether hooks for saved tensors are in place already, or forbidden."""
    autograd = torch._C._autograd
    if not autograd._saved_tensors_hooks_is_enabled():
        return True
    # torch has no public question for it, and no other name since 2.3; before, only the innermost worked, as ever
    top = getattr(autograd, "_top_saved_tensors_default_hooks", None)
    return top is not None and top(False) is not None


def _unpack(saved):
    return saved.output() if isinstance(saved, _Made) else saved


class _Made:
    """How to make the output of a normalization again, and the last time it was made."""

    def __init__(self, input, norm):
        self.input, self.weight, self.bias, self.eps = input, norm.weight.detach(), norm.bias.detach(), norm.eps
        self.versions = self.weight._version, self.bias._version
        self.statistics = None
        self._output = None

    def output(self):
        if self._output is None:
            if self.input is None:
                raise RuntimeError("backward through the encoder a second time needs retain_graph=True the first time")
            if (self.weight._version, self.bias._version) != self.versions:
                raise RuntimeError("the weights of a batch normalization were changed between forward and backward")
            with torch.no_grad():
                output, *self.statistics = torch.native_batch_norm(
                    self.input, self.weight, self.bias, None, None, True, 0.0, self.eps
                )
                self._output = output.relu_()
        return self._output

    def forget(self, for_good):
        self._output = None
        if for_good:
            self.input = None


class _NormalizeReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, input, weight, bias, norm, made):
        ctx.made = made
        ctx.save_for_backward(input, weight)
        # the module itself keeps its running statistics
        return norm(input).relu_()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        input, weight = ctx.saved_tensors
        grad = torch.ops.aten.threshold_backward(grad, ctx.made.output(), 0)
        mean, inverse = ctx.made.statistics
        # all that needed the output stands behind this in backward's order
        ctx.made.forget(_is_last_pass())
        return *_normalize_backward(grad, input, weight, mean, inverse), None, None


def _normalize_backward(grad, input, weight, mean, inverse):
    """
    Gradients of input, weight and bias of batch normalization, the first one in place of ``grad``.

    In blocks of rows, because the operation of torch takes as much memory again as its input.
    """
    kind, own = weight.dtype, torch.promote_types(weight.dtype, torch.float32)
    mean, inverse, weight = mean.to(own), inverse.to(own), weight.to(own)
    step = max(1, BLOCK_ELEMENTS // input.shape[1])
    pairs = list(zip(grad.split(step), input.split(step)))
    grad_bias, grad_weight = torch.zeros_like(weight), torch.zeros_like(weight)
    for some, rows in pairs:
        grad_bias += some.sum(dim=0, dtype=weight.dtype)
        grad_weight += ((rows - mean) * some).sum(dim=0)
    grad_weight *= inverse
    scale, shift = weight * inverse, grad_bias / len(input)
    slope = grad_weight * inverse / len(input)
    for some, rows in pairs:
        some.copy_((some - shift - (rows - mean) * slope) * scale)
    return grad, grad_weight.to(kind), grad_bias.to(kind)


def _is_last_pass():
    """Whether backward frees what was kept; not so if it shall retain the graph, or where torch does not tell."""
    keeps = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return keeps is not None and not keeps()
