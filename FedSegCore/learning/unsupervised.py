"""Losses that need no label: how sure, how steady under rotation and noise, and how smooth a segmentation is.

Jiang et al., IOP-FL, IEEE TMI 2023: the test-time objective L = 10 · L_ent + 0.1 · L_cons + L_shape. The paper's task
is one structure; here the entropy is a mean over structures, and the two other terms look at the foreground, the most
probable structure of each voxel: a rotated body swaps left and right, and structures are named by their side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from FedSegCore.tensors.transfer import to_device


def entropy(logits: Float[Tensor, "b l *s"]) -> Float[Tensor, ""]:
    """The mean binary entropy of all outputs in bits, 0 (sure) to 1.

    The official code sums over the batch instead, so that its weight depends on the batch size.
    """
    logits = logits.float()
    return (F.softplus(logits) - logits * torch.sigmoid(logits)).mean() / math.log(2)


def foreground(logits: Float[Tensor, "b l *s"]) -> Float[Tensor, "b *s"]:
    """The probability of the most probable structure."""
    return torch.sigmoid(logits.float()).amax(1)


def shape_constraint(probability: Float[Tensor, "b *s"], *, radius: int = 1) -> Float[Tensor, ""]:
    """The mean morphological gradient, max − min over a window of 2·radius + 1 voxels a side.

    0 for a constant map; of equal volumes the one with less surface has less. The paper takes the norm, times 1e-6,
    which leaves it without effect.
    """
    return (_widest(probability, radius) + _widest(-probability, radius)).mean()


def _widest(maps: Tensor, radius: int) -> Tensor:
    """The maximum over a cubic window, axis by axis; beyond the border nothing counts."""
    side = 2 * radius + 1
    for axis in range(1, maps.ndim):
        moved = maps.movedim(axis, -1)
        pooled = F.max_pool1d(moved.reshape(1, -1, moved.shape[-1]), side, stride=1, padding=radius)
        maps = pooled.view(moved.shape).movedim(-1, axis)
    return maps


@final
@dataclass(frozen=True)
class Turn:
    """A mirroring of the first spatial axis, then quarter turns in the plane of the first two."""

    quarters: int
    flip: bool

    def apply(self, maps: Float[Tensor, "*b x y *z"], *, axis: int) -> Tensor:
        """Turn maps whose first spatial axis is `axis`."""
        maps = maps.flip(axis) if self.flip else maps
        return maps.rot90(self.quarters, (axis, axis + 1))

    def undo(self, maps: Tensor, *, axis: int) -> Tensor:
        """The inverse, exactly."""
        maps = maps.rot90(-self.quarters, (axis, axis + 1))
        return maps.flip(axis) if self.flip else maps


def draw_turn(generator: torch.Generator, *, square: bool) -> Turn:
    """One of the turns and mirrorings that keep the image's shape, all alike probable; never the one of no effect.

    Args:
        square: whether the first two axes have equal sides: seven turns, else three.
    """
    if square:
        number = int(torch.randint(1, 8, (), generator=generator))
        return Turn(number % 4, number >= 4)
    number = int(torch.randint(1, 4, (), generator=generator))
    return Turn(number % 2 * 2, number >= 2)


def disturb(
    image: Float[Tensor, "b c *s"], turn: Turn, *, noise: float, generator: torch.Generator
) -> Tensor:
    """The image with white noise of `noise` times each channel's spread, turned; absent channels stay zero."""
    white = to_device(torch.randn(image.shape, generator=generator), image.device)
    spread = image.flatten(2).std(2).view(*image.shape[:2], *[1] * (image.ndim - 2))
    return turn.apply(image + noise * spread * white, axis=2)


def consistency(
    clean: Float[Tensor, "b l *s"], turned: Float[Tensor, "b l *t"], turn: Turn
) -> Float[Tensor, ""]:
    """The mean squared difference of the foreground and of the turned image's, turned back."""
    return F.mse_loss(turn.undo(foreground(turned), axis=1), foreground(clean))
