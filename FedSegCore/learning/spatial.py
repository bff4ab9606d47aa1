"""Spatial augmentation: flips, rotation, scaling and translation of image and target together.

The patch is rotated and scaled in voxels, about its centre. Flips are exact; everything else is one linear
resampling of image and target at once, the target then cut at one half.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F

from FedSegCore.tensors.transfer import to_device


@final
@dataclass(frozen=True)
class SpatialRanges:
    """How far a patch may move.

    Attributes:
        rotation_degrees: each angle is U(-rotation, rotation); one angle in 2-D, three in 3-D.
        scale: the patch is scaled by exp(U(-scale, scale)) as a whole,
        stretch: and by exp(U(-stretch, stretch)) along each axis.
        translation: U(-translation, translation) of the patch's side along each axis.
        flip_axes: spatial axes that may be mirrored; in RAS the first is left to right.
        flip_probability: chance of each of them.
        probability: chance of a sample to be rotated, scaled and translated.
    """

    rotation_degrees: float = 15.0
    scale: float = 0.15
    stretch: float = 0.05
    translation: float = 0.08
    flip_axes: tuple[int, ...] = (0,)
    flip_probability: float = 0.0
    probability: float = 0.9


@final
@dataclass(frozen=True, eq=False)
class SpatialDraw:
    """Everything random about one application.

    Attributes:
        flipped: for each spatial axis, the samples that are mirrored along it.
        moved: the samples that are resampled.
        theta: for each of them the map from output to input positions, in `affine_grid`'s convention.
    """

    flipped: tuple[Int[Tensor, " _"], ...]
    moved: Int[Tensor, " n"]
    theta: Float[Tensor, "n d d+1"]

    def to(self, device: torch.device) -> SpatialDraw:
        """The draw on a device, without waiting for the copy."""
        flipped = tuple(to_device(samples, device) for samples in self.flipped)
        return SpatialDraw(flipped, to_device(self.moved, device), to_device(self.theta, device))


def draw_spatial(
    generator: torch.Generator, shape: Sequence[int], *, ranges: SpatialRanges | None = None
) -> SpatialDraw:
    """Draw the moves of one batch of shape (B, C, *S), on the CPU.

    Args:
        generator: a CPU generator.
        shape: the batch's shape.
        ranges: how far and how often; None for the defaults.
    """
    ranges = ranges or SpatialRanges()
    batch, sides = shape[0], shape[2:]
    dims = len(sides)
    chances = torch.rand(dims, batch, generator=generator)
    flipped = tuple(
        (chances[axis] < ranges.flip_probability * (axis in ranges.flip_axes)).nonzero().flatten()
        for axis in range(dims)
    )
    moved = (torch.rand(batch, generator=generator) < ranges.probability).nonzero().flatten()
    signed = 2.0 * torch.rand(len(moved), 4, 3, generator=generator) - 1.0
    rotation = _rotation(signed[:, 0] * math.radians(ranges.rotation_degrees), dims)
    growth = torch.exp(signed[:, 1, :1] * ranges.scale + signed[:, 2, :dims] * ranges.stretch)
    shift = signed[:, 3, :dims] * ranges.translation * torch.tensor(sides)
    return SpatialDraw(flipped, moved, _theta(rotation / growth[:, None, :], shift, sides))


@torch.no_grad()
def apply_spatial(
    image: Float[Tensor, "b c *s"], target: UInt8[Tensor, "b l *s"], draw: SpatialDraw
) -> tuple[Float[Tensor, "b c *s"], UInt8[Tensor, "b l *s"]]:
    """Image and target moved alike; what comes in from outside is each channel's minimum, and no structure.

    A channel or target that is zero throughout stays so. Without waiting for the device.
    """
    on_device = draw.to(image.device)
    for axis, samples in enumerate(draw.flipped):
        if len(samples):
            where = on_device.flipped[axis]
            image = image.index_copy(0, where, image.index_select(0, where).flip(axis + 2))
            target = target.index_copy(0, where, target.index_select(0, where).flip(axis + 2))
    if len(draw.moved):
        where = on_device.moved
        new = _resample(image.index_select(0, where), target.index_select(0, where), on_device.theta)
        image, target = image.index_copy(0, where, new[0]), target.index_copy(0, where, new[1])
    return image, target


def _resample(image: Tensor, target: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Image and target through one linear resampling."""
    lowest = image.amin(tuple(range(2, image.ndim)), keepdim=True)
    both = torch.cat([image - lowest, target.to(image.dtype)], dim=1)
    grid = F.affine_grid(theta.to(image.dtype), list(both.shape), align_corners=False)
    both = F.grid_sample(both, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    channels = image.shape[1]
    return both[:, :channels] + lowest, (both[:, channels:] > 0.5).to(target.dtype)


def _rotation(angles: Tensor, dims: int) -> Tensor:
    """Rotations (N, dims, dims) in voxel axes from angles (N, 3); in the plane by the last angle in 2-D."""
    cos, sin = torch.cos(angles), torch.sin(angles)
    turn = torch.eye(dims).repeat(len(angles), 1, 1)
    for axis in range(3) if dims == 3 else (2,):
        first, second = [(1, 2), (0, 2), (0, 1)][axis]
        one = torch.eye(dims).repeat(len(angles), 1, 1)
        one[:, first, first] = one[:, second, second] = cos[:, axis]
        one[:, first, second], one[:, second, first] = -sin[:, axis], sin[:, axis]
        turn = turn @ one
    return turn


def _theta(matrix: Tensor, shift: Tensor, sides: Sequence[int]) -> Tensor:
    """`affine_grid`'s theta of a map given in voxels about the centre.

    `affine_grid` counts each axis from -1 to 1 and lists the last axis first.
    """
    half = torch.tensor(sides, dtype=torch.float32) / 2.0
    normal = matrix * half[None, None, :] / half[None, :, None]
    return torch.cat([normal.flip(1, 2), (shift / half).flip(1)[:, :, None]], dim=2)
