"""Convolutions whose kernel is handed in: one for a batch, or one for each of its samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from FedSegCore.nets.pointwise import is_pointwise, project

Convolution: TypeAlias = nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d
CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@final
@dataclass(frozen=True)
class Shape:
    """What a convolution does besides its kernel: the layer's own arguments, without the layer."""

    dims: int
    transposed: bool
    pointwise: bool
    stride: tuple[int, ...]
    padding: Any
    output_padding: tuple[int, ...]
    dilation: tuple[int, ...]

    @classmethod
    def of(cls, layer: Convolution) -> Shape:
        """A layer's shape.

        Raises:
            ValueError: a layer in groups, or one that pads with anything but zeros.
        """
        if layer.groups != 1 or layer.padding_mode != "zeros":
            raise ValueError(f"expected one group and zero padding, got {layer}")
        transposed = isinstance(layer, nn.ConvTranspose2d | nn.ConvTranspose3d)
        pointwise = not isinstance(layer, nn.ConvTranspose2d | nn.ConvTranspose3d) and is_pointwise(layer)
        return cls(len(layer.stride), transposed, pointwise, layer.stride, layer.padding,
                   tuple(layer.output_padding), layer.dilation)  # fmt: skip


def convolve(
    shape: Shape, input: Float[Tensor, "b c *s"], weight: Tensor, bias: Tensor | None
) -> Float[Tensor, "b o *t"]:
    """Convolve with one kernel, as torch's layer does, or with one a sample.

    Args:
        weight: as the layer has it, (out, in, *k), transposed (in, out, *k); with another axis in front, sample
            b's own.
        bias: (out), or (B, out) where the weight has a sample axis.
    """
    if weight.ndim == shape.dims + 2:
        return _convolve(shape, input, weight, bias, groups=1)
    if shape.pointwise and input.device.type == "cpu":
        return project(input, weight.flatten(2), bias, shape.stride)
    # One convolution in as many groups as there are samples; a Python loop over them runs B small ones.
    samples = len(input)
    stacked = input.reshape(1, samples * input.shape[1], *input.shape[2:])
    flat = None if bias is None else bias.flatten()
    output = _convolve(shape, stacked, weight.flatten(0, 1), flat, groups=samples)
    return output.view(samples, -1, *output.shape[2:])


def _convolve(shape: Shape, input: Tensor, weight: Tensor, bias: Tensor | None, *, groups: int) -> Tensor:
    if shape.transposed:
        up = F.conv_transpose2d if shape.dims == 2 else F.conv_transpose3d
        result: Tensor = up(input, weight, bias, shape.stride, shape.padding, shape.output_padding, groups,
                            shape.dilation)  # fmt: skip
        return result
    if shape.pointwise and input.device.type == "cpu":
        return project(input, weight.flatten(1), bias, shape.stride)
    along = F.conv2d if shape.dims == 2 else F.conv3d
    down: Tensor = along(input, weight, bias, shape.stride, shape.padding, shape.dilation, groups)
    return down


def mixed(rho: Float[Tensor, "*b e"], experts: Float[Tensor, "e *k"]) -> Float[Tensor, "*b *k"]:
    """Σ ρ_e K_e, for one set of gates or for one a sample."""
    kernel: Tensor = torch.tensordot(rho, experts, dims=1)
    return kernel
