"""Classic intensity augmentation: contrast, brightness, gamma, blur and noise, on whole batches.

The baseline that GIN has to beat. All strengths are relative to each channel's own spread, so a channel that
is zero throughout (a modality the site lacks) stays zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import torch
from jaxtyping import Float
from torch import Tensor

from FedSegCore.tensors.transfer import to_device

_TINY: Final = 1e-6


@final
@dataclass(frozen=True)
class IntensityRanges:
    """How strong each change may be, and how often it happens to an augmented sample.

    Attributes:
        contrast: a channel's deviation from its mean is multiplied by exp(U(-contrast, contrast)).
        brightness: U(-brightness, brightness) standard deviations are added.
        gamma: intensities scaled to 0..1 are raised to exp(U(-gamma, gamma)), mean and spread kept.
        noise: white noise of U(0, noise) standard deviations.
        blur: weight of each neighbour in a three-voxel kernel along every axis, U(0, blur), at most 1/3.
        share: chance of each change, given that the sample is augmented at all.
    """

    contrast: float = 0.25
    brightness: float = 0.2
    gamma: float = 0.4
    noise: float = 0.15
    blur: float = 0.3
    share: float = 0.5


@final
@dataclass(frozen=True, eq=False)
class IntensityDraw:
    """Everything random about one application; a sample or change that was not drawn holds neutral values.

    `strength` holds one row a change (log contrast, brightness, log gamma, blur weight), one column a sample.
    `noise` is scaled white noise for the whole batch.
    """

    strength: Float[Tensor, "4 b"]
    noise: Float[Tensor, "b c *s"]

    def to(self, device: torch.device) -> IntensityDraw:
        """The draw on a device, without waiting for the copy."""
        return IntensityDraw(to_device(self.strength, device), to_device(self.noise, device))


def draw_intensity(
    generator: torch.Generator,
    shape: Sequence[int],
    *,
    probability: float = 0.5,
    ranges: IntensityRanges | None = None,
) -> IntensityDraw:
    """Draw the changes of one batch of shape (B, C, *S), on the CPU.

    Args:
        generator: a CPU generator.
        shape: the batch's shape.
        probability: chance of each sample to be augmented.
        ranges: strengths and the chance of each change; None for the defaults.
    """
    ranges = ranges or IntensityRanges()
    batch = shape[0]
    augmented = torch.rand(batch, generator=generator) < probability
    chosen = augmented & (torch.rand(5, batch, generator=generator) < ranges.share)
    uniform = torch.rand(5, batch, generator=generator)
    signed = 2.0 * uniform - 1.0
    changes = (
        signed[0] * ranges.contrast,
        signed[1] * ranges.brightness,
        signed[2] * ranges.gamma,
        uniform[3] * ranges.blur,
    )
    level = (uniform[4] * ranges.noise * chosen[4]).view(-1, *[1] * (len(shape) - 1))
    noise = torch.zeros(tuple(shape))
    noisy = chosen[4].nonzero().flatten()
    noise[noisy] = level[noisy] * torch.randn(len(noisy), *shape[1:], generator=generator)
    return IntensityDraw(torch.stack(changes) * chosen[:4], noise)


@torch.no_grad()
def apply_intensity(image: Float[Tensor, "b c *s"], draw: IntensityDraw) -> Float[Tensor, "b c *s"]:
    """Images changed as drawn; without waiting for the device."""
    draw = draw.to(image.device)
    contrast, brightness, gamma, blur = draw.strength.view(4, -1, *[1] * (image.ndim - 1))
    axes = tuple(range(2, image.ndim))
    mean, spread = image.mean(axes, keepdim=True), image.std(axes, keepdim=True)
    changed = (image - mean) * torch.exp(contrast) + mean + brightness * spread
    changed = torch.where(gamma != 0, _gamma(changed, torch.exp(gamma)), changed)
    changed = torch.where(blur != 0, _blur(changed, blur), changed)
    return changed + draw.noise * spread


def _gamma(image: Tensor, gamma: Tensor) -> Tensor:
    """Intensities scaled to 0..1, raised to `gamma`, then given back their channel's mean and spread."""
    axes = tuple(range(2, image.ndim))
    low, high = image.amin(axes, keepdim=True), image.amax(axes, keepdim=True)
    bent = ((image - low) / (high - low).clamp(min=_TINY)).pow(gamma)
    centred = bent - bent.mean(axes, keepdim=True)
    spread = image.std(axes, keepdim=True) / bent.std(axes, keepdim=True).clamp(min=_TINY)
    return centred * spread + image.mean(axes, keepdim=True)


def _blur(image: Tensor, weight: Tensor) -> Tensor:
    """Along every axis, each voxel mixed with its two neighbours of the given weight; edges repeat."""
    for axis in range(2, image.ndim):
        side = image.shape[axis]
        before = torch.cat([image.narrow(axis, 0, 1), image.narrow(axis, 0, side - 1)], dim=axis)
        after = torch.cat([image.narrow(axis, 1, side - 1), image.narrow(axis, side - 1, 1)], dim=axis)
        image = (1.0 - 2.0 * weight) * image + weight * (before + after)
    return image
