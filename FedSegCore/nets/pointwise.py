"""Convolutions of one voxel, computed on CPUs as the matrix products that they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from torch import Tensor, nn
from torch.nn import functional as F


@final
class Pointwise2d(nn.Conv2d):
    """`torch.nn.Conv2d` of one pixel, computed as in `Pointwise3d`."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, in, X, Y) -> (B, out, X / stride, Y / stride), rounded up."""
        return _forward(self, input) if input.device.type == "cpu" else super().forward(input)


@final
class Pointwise3d(nn.Conv3d):
    """`torch.nn.Conv3d` of one voxel, on CPUs as one matrix product over all voxels, or over every second.

    Both are the same sum. For kernels of one voxel torch leaves its fast path and copies channels-last tensors to
    the default layout and back, forwards and backwards: a quarter of a small network's step. And on processors
    with AVX2 alone the backward pass of the strided ones writes past its memory (oneDNN in torch 2.13, where
    channels are fewer than eight).
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B, in, X, Y, Z) -> (B, out, X / stride, Y / stride, Z / stride), rounded up."""
        return _forward(self, input) if input.device.type == "cpu" else super().forward(input)


def is_pointwise(layer: nn.Conv2d | nn.Conv3d) -> bool:
    """One voxel, one group, no padding; any stride."""
    return set(layer.kernel_size) == {1} and layer.groups == 1 and layer.padding == (0,) * len(layer.stride)


def project(input: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int]) -> Tensor:
    """W x + b at every voxel that the stride meets; a channels-last tensor is already the matrix.

    Args:
        weight: (out, in), or (B, out, in) where every sample has its own; then `bias` is (B, out).
    """
    for axis, step in enumerate(stride, start=2):
        if step > 1:
            input = input[(slice(None),) * axis + (slice(None, None, step),)]
    last = input.movedim(1, -1)
    if weight.ndim == 2:
        return F.linear(last, weight, bias).movedim(-1, 1)
    output = last.flatten(1, -2) @ weight.mT
    output = output if bias is None else output + bias[:, None]
    return output.view(*last.shape[:-1], weight.shape[1]).movedim(-1, 1)


def _forward(layer: nn.Conv2d | nn.Conv3d, input: Tensor) -> Tensor:
    return project(input, layer.weight.flatten(1), layer.bias, layer.stride)
