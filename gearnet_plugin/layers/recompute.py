"""Activations that are made again in backward instead of being kept: a third of what an encoder would hold."""

import weakref

import torch
from torch import nn
from torch.nn import functional as F


class Recomputed:
    """
    Context of a forward pass in which the results of :meth:`normalize` are not kept for backward.

    Batch normalization keeps its input anyway, and its output after ReLU follows from that; operations inside the
    context that save this output for their own backward save how to make it instead. Made once a layer, bit for bit
    the same, in about 2 % of the time of a layer.
    """

    def __init__(self):
        self._made = {}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, _unpack)

    def __enter__(self):
        self._hooks.__enter__()
        return self

    def __exit__(self, *error):
        self._made.clear()
        return self._hooks.__exit__(*error)

    @staticmethod
    def can_normalize(norm, activation):
        """Whether this is what :meth:`normalize` computes: statistics of this process's batch, then ReLU."""
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
            if (self.weight._version, self.bias._version) != self.versions:
                raise RuntimeError("the weights of a batch normalization were changed between forward and backward")
            with torch.no_grad():
                output, *self.statistics = torch.native_batch_norm(
                    self.input, self.weight, self.bias, None, None, True, 0.0, self.eps
                )
                self._output = output.relu_()
        return self._output

    def forget(self):
        self._output = None


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
        output = ctx.made.output()
        mean, inverse = ctx.made.statistics
        grad = torch.ops.aten.threshold_backward(grad, output, 0)
        # all that needed the output stands behind this in backward's order
        del output
        ctx.made.forget()
        grads = torch.ops.aten.native_batch_norm_backward(
            grad, input, weight, None, None, mean, inverse, True, ctx.made.eps, [True, True, True]
        )
        return *grads, None, None
