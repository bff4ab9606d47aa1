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
    """A batch norm without memory: every batch is normalised by its own statistics, in evaluation too.

    Args:
        like: the layer whose scale and shift it takes over.
    """

    def __init__(self, like: _BatchNorm) -> None:
        super().__init__(like.num_features, eps=like.eps, affine=False, track_running_stats=False)
        self.weight, self.bias = like.weight, like.bias
        self.views = 1
        """How many views of the same images lie one after the other in the batch; each has its own statistics."""

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of axes."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, *S)."""
        parts = input.chunk(self.views)
        done = [F.batch_norm(part, None, None, self.weight, self.bias, True, 0.0, self.eps) for part in parts]
        return torch.cat(done) if self.views > 1 else done[0]


def _normalise(norm: nn.InstanceNorm2d | nn.InstanceNorm3d, input: Tensor) -> Tensor:
    if input.device.type != "cpu":
        return F.instance_norm(input, weight=norm.weight, bias=norm.bias, eps=norm.eps)
    samples = [
        F.batch_norm(sample, None, None, norm.weight, norm.bias, True, 0.0, norm.eps)
        for sample in input.split(1)
    ]
    return torch.cat(samples)
