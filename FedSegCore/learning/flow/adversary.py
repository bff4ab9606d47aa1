"""The adversary of FlowGIN's generator: it sees two structure maps and says whether they show one anatomy.

A variant of our own, NOT "FedGIN as published". A structure map shows where an image changes and forgets how
bright it is, so that one anatomy in two contrasts has two similar maps:

    n(x) = ∇x / sqrt(|∇x|² + ε²),  ε = mean |∇x|;    g(x) = |n(x)|

    real pair  (g(x), g(h(x)))   h a random increasing intensity map: anatomy kept for certain, contrast changed
    fake pair  (g(x), g(x'))     x' the generator's

    L_D   = mean max(0, 1 - D(real)) + mean max(0, 1 + D(fake))      (hinge)
    L_adv = -mean D(fake)
    L_ngf = 1 - mean <n(x), n(x')>²      blind to the sign: contrast may be inverted (Haber and Modersitzki, 2006)
    L_div = -min(mean |x' - x|, most)    keeps the generator from changing nothing
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from FedSegCore.tensors.transfer import to_device

_TINY: Final = 1e-12
"""Under roots, whose slope at 0 is infinite."""

_FEATURES: Final = (2, 16, 32, 1)
_EXPONENT_SPREAD: Final = 0.5


@final
class Discriminator(nn.Module):
    """PatchGAN (Isola et al., CVPR 2017): three strided convolutions of bounded gain, one score a patch.

    Spectral norm (Miyato et al., ICLR 2018) keeps the adversary smooth, so that the generator can learn from it.
    """

    def __init__(self, *, dims: int) -> None:
        super().__init__()
        convolution: type[nn.Conv2d] | type[nn.Conv3d] = nn.Conv2d if dims == 2 else nn.Conv3d
        self.layers = nn.ModuleList(
            spectral_norm(convolution(inside, outside, 3, stride=2, padding=1))
            for inside, outside in pairwise(_FEATURES)
        )

    def forward(self, old: Float[Tensor, "r *s"], new: Float[Tensor, "r *s"]) -> Float[Tensor, "r *p"]:
        """Scores of pairs of structure maps; above 0: one anatomy."""
        features = torch.stack([old, new], dim=1)
        for place, layer in enumerate(self.layers):
            if place > 0:
                features = nn.functional.leaky_relu(features, 0.2)
            features = layer(features)
        return features[:, 0]


@final
@dataclass(frozen=True, eq=False)
class Remap:
    """Random increasing maps h of intensities, one a row: h(t) = w t^p + (1 - w) (1 - (1 - t)^q) for t in 0..1."""

    exponents: Float[Tensor, "r 2"]
    weight: Float[Tensor, " r"]

    def to(self, device: torch.device) -> Remap:
        """The maps on a device, without waiting for the copy."""
        return Remap(to_device(self.exponents, device), to_device(self.weight, device))


def draw_remap(generator: torch.Generator, rows: int) -> Remap:
    """Draw as many increasing maps, on the CPU."""
    exponents = torch.exp(_EXPONENT_SPREAD * torch.randn(rows, 2, generator=generator))
    return Remap(exponents, torch.rand(rows, generator=generator))


@torch.no_grad()
def apply_remap(rows: Float[Tensor, "r *s"], remap: Remap) -> Float[Tensor, "r *s"]:
    """h of every row's intensities, which are scaled to 0..1 for it."""
    remap = remap.to(rows.device)
    flat = rows.flatten(1)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    t = ((flat - low) / (high - low).clamp(min=1e-6)).clamp(0.0, 1.0)
    rising, falling = t.pow(remap.exponents[:, :1]), (1.0 - t).pow(remap.exponents[:, 1:])
    weight = remap.weight[:, None]
    return (weight * rising + (1.0 - weight) * (1.0 - falling)).view_as(rows)


def gradient_field(rows: Float[Tensor, "r *s"]) -> Float[Tensor, "r d *p"]:
    """n(x): differences to the next voxel along each of the d axes, normalized; sides are one voxel shorter."""
    axes = range(1, rows.ndim)
    here = rows[(slice(None), *(slice(None, -1) for _ in axes))]
    parts = [
        rows[(slice(None), *(slice(1, None) if axis == moved else slice(None, -1) for axis in axes))] - here
        for moved in axes
    ]
    gradient = torch.stack(parts, dim=1)
    squared = gradient.square().sum(1, keepdim=True)
    mean = (squared + _TINY).sqrt().mean(tuple(range(1, squared.ndim)), keepdim=True)
    return gradient / (squared + mean.square() + _TINY).sqrt()


def structure_map(field: Float[Tensor, "r d *p"]) -> Float[Tensor, "r *p"]:
    """g(x) = |n(x)| of a `gradient_field`, 0 where the image is flat and 1 at its strongest edges."""
    return (field.square().sum(1) + _TINY).sqrt()


def discriminator_loss(real: Tensor, fake: Tensor) -> Float[Tensor, ""]:
    """L_D of scores of real and of fake pairs."""
    return torch.relu(1.0 - real).mean() + torch.relu(1.0 + fake).mean()


def gradient_loss(old: Float[Tensor, "r d *p"], new: Float[Tensor, "r d *p"]) -> Float[Tensor, ""]:
    """L_ngf of two gradient fields."""
    return 1.0 - (old * new).sum(1).square().mean()


def difference_loss(old: Tensor, new: Tensor, *, most: float) -> Float[Tensor, ""]:
    """L_div of rows (R, *S): each row's own mean change counts up to `most`."""
    return -(new - old).abs().flatten(1).mean(1).clamp(max=most).mean()
