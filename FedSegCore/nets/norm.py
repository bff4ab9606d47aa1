"""Instance norm that keeps the tensors' memory layout on CPUs."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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


def _normalise(norm: nn.InstanceNorm2d | nn.InstanceNorm3d, input: Tensor) -> Tensor:
    if input.device.type != "cpu":
        return F.instance_norm(input, weight=norm.weight, bias=norm.bias, eps=norm.eps)
    samples = [
        F.batch_norm(sample, None, None, norm.weight, norm.bias, True, 0.0, norm.eps)
        for sample in input.split(1)
    ]
    return torch.cat(samples)
