"""Instance norm that keeps the tensors' memory layout on CPUs."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm


@final
class SampleNorm2d(nn.InstanceNorm2d):
    """`torch.nn.InstanceNorm2d`, computed as in `SampleNorm3d`."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, X, Y)."""
        return _normalise(self, input)


@final
class SampleNorm3d(nn.InstanceNorm3d):
    """`torch.nn.InstanceNorm3d`, on CPUs as one batch norm a sample.

    Both are the same formula. torch's instance norm copies channels-last tensors to the default layout and back,
    which costs small networks a third of their step.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, X, Y, Z)."""
        return _normalise(self, input)


@final
class ScanNorm(_BatchNorm):
    """A batch norm for one scan: normalised by the batch's own statistics, in evaluation too, or by held ones.

    Args:
        like: the layer whose scale and shift it takes over.

    Attributes:
        views: how many views of the same images lie one after the other in the batch; each has its own statistics.
        seen: while a list, every batch's mean and mean square are added to it.
        held: the mean and variance of a whole scan; none: each batch's.
    """

    def __init__(self, like: _BatchNorm) -> None:
        super().__init__(like.num_features, eps=like.eps, affine=False, track_running_stats=False)
        self.weight, self.bias = like.weight, like.bias
        self.views = 1
        self.seen: list[tuple[Tensor, Tensor]] | None = None
        self.held: tuple[Tensor, Tensor] | None = None

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of axes."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, *S)."""
        if self.seen is not None:
            self.seen.append(_moments(input))
        if self.held is not None:
            return F.batch_norm(input, *self.held, self.weight, self.bias, False, 0.0, self.eps)
        parts = input.chunk(self.views)
        done = [F.batch_norm(part, None, None, self.weight, self.bias, True, 0.0, self.eps) for part in parts]
        return torch.cat(done) if self.views > 1 else done[0]

    def hold(self) -> None:
        """From now on normalise by the mean over what was seen."""
        assert self.seen
        mean, square = (torch.stack(parts).mean(0) for parts in zip(*self.seen, strict=True))
        self.held, self.seen = (mean, (square - mean.square()).clamp(min=0.0)), None


def _moments(input: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and mean square of each channel."""
    axes = [axis for axis in range(input.ndim) if axis != 1]
    return input.mean(axes), input.square().mean(axes)


def _normalise(norm: nn.InstanceNorm2d | nn.InstanceNorm3d, input: Tensor) -> Tensor:
    if input.device.type != "cpu":
        return F.instance_norm(input, weight=norm.weight, bias=norm.bias, eps=norm.eps)
    samples = [
        F.batch_norm(sample, None, None, norm.weight, norm.bias, True, 0.0, norm.eps)
        for sample in input.split(1)
    ]
    return torch.cat(samples)
