"""A synchronised BatchNorm that also takes CPU tensors (gloo)."""
import torch
from torch import distributed as dist
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class SyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """
    torch's SyncBatchNorm on CUDA; on CPU the same over gloo.

    Statistics and gradients equal those of one process that holds the rows of all ranks. A large
    mean costs no digits. A rank may hold no row.

    It is no subclass of torch's: DistributedDataParallel refuses those on CPU.
    """

    def __init__(self, *arguments, process_group=None, **options):
        super().__init__(*arguments, **options)
        self.process_group = process_group

    _check_input_dim = nn.SyncBatchNorm._check_input_dim
    _check_non_zero_input_channels = nn.SyncBatchNorm._check_non_zero_input_channels

    def forward(self, input):
        """Normalise the channels (dimension 1) of ``input`` [N, C, ...]."""
        if input.device.type != "cpu":
            return nn.SyncBatchNorm.forward(self, input)
        self._check_input_dim(input)

        momentum = self._count_batch()
        tracked = self.running_mean is not None and self.running_var is not None
        use_batch = self.training or not tracked
        if not (use_batch and self.training and self._world_size() > 1):
            running = self.running_mean, self.running_var
            if use_batch and not self.track_running_stats:
                running = None, None
            return F.batch_norm(input, *running, self.weight, self.bias, use_batch, momentum, self.eps)

        group = self.process_group or dist.group.WORLD
        output, mean, variance, count = _Normalise.apply(input, self.weight, self.bias, self.eps, group)
        if tracked and self.track_running_stats:
            with torch.no_grad():
                self.running_mean.lerp_(mean.to(self.running_mean), momentum)
                self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var), momentum)
        return output

    def _world_size(self):
        if not (dist.is_available() and dist.is_initialized()):
            return 1
        return dist.get_world_size(self.process_group or dist.group.WORLD)

    def _count_batch(self):
        """Count this batch and return the weight of its statistics in the running ones."""
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                return 1.0 / float(self.num_batches_tracked)
        return 0.0 if self.momentum is None else self.momentum

    @classmethod
    def convert_sync_batchnorm(cls, module, process_group=None):
        """Like ``nn.SyncBatchNorm.convert_sync_batchnorm``, to this class, with the state dict unchanged."""
        module = nn.SyncBatchNorm.convert_sync_batchnorm(module, process_group)
        for child in module.modules():
            if type(child) is nn.SyncBatchNorm:
                child.__class__ = cls
        return module


class _Normalise(torch.autograd.Function):
    """
    Normalise the channels (dimension 1) of ``input`` by the statistics of all ranks of ``group``.

    Returns the output, and for the running statistics the mean and biased variance [C] and the row count, in
    float64. Sums over rows are taken of deviations from this rank's own mean, ``near``, in the precision of
    the input; what is done per channel, and between the ranks, is in float64.
    """

    @staticmethod
    def forward(ctx, input, weight, bias, eps, group):
        dims = [d for d in range(input.dim()) if d != 1]
        shape = [1, -1] + [1] * (input.dim() - 2)
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        rows = x.numel() // x.shape[1]
        near = x.mean(dims) if rows else x.new_zeros(x.shape[1])
        deviation = x - near.view(shape)

        # what rounding left of the own mean
        own_mean = near.double() + deviation.sum(dims).double() / max(rows, 1)
        total = torch.cat([own_mean.new_tensor([rows]), own_mean * rows])
        dist.all_reduce(total, group=group)
        count, mean = total[0], total[1:] / total[0]
        if count < 2:
            raise ValueError("Training needs more than 1 row over all ranks, but found %d" % count)
        variance = deviation.square().sum(dims).double() + rows * ((own_mean - mean) ** 2 - (own_mean - near) ** 2)
        dist.all_reduce(variance, group=group)
        variance = (variance / count).clamp(min=0)

        scale = torch.rsqrt(variance + eps)
        slope = scale if weight is None else scale * weight
        intercept = (near - mean) * slope + (0 if bias is None else bias)
        output = torch.addcmul(intercept.to(x).view(shape), deviation, slope.to(x).view(shape))
        ctx.save_for_backward(input, weight, near, mean, scale, count)
        ctx.dims, ctx.shape, ctx.group = dims, shape, group
        ctx.mark_non_differentiable(mean, variance, count)
        return output.to(input.dtype), mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, *unused):
        input, weight, near, mean, scale, count = ctx.saved_tensors
        x, grad_output = input.to(near.dtype), grad.to(near.dtype)
        deviation = x - near.view(ctx.shape)

        grad_bias = grad_output.sum(ctx.dims).double()
        grad_weight = ((grad_output * deviation).sum(ctx.dims).double() + (near - mean) * grad_bias) * scale
        # what the common mean and variance carry back to every row of every rank
        sums = torch.stack([grad_bias, grad_weight])
        dist.all_reduce(sums, group=ctx.group)
        by_mean, by_variance = sums / count

        slope = scale if weight is None else scale * weight
        tilt = -slope * scale * by_variance
        level = -slope * by_mean + tilt * (near - mean)
        grad_input = torch.addcmul(level.to(x).view(ctx.shape), deviation, tilt.to(x).view(ctx.shape))
        grad_input.addcmul_(grad_output, slope.to(x).view(ctx.shape))
        if weight is None:
            return grad_input.to(input.dtype), None, None, None, None
        return grad_input.to(input.dtype), grad_weight.to(weight.dtype), grad_bias.to(weight.dtype), None, None
