"""What happens to a training batch before the network sees it: spatial moves, then new intensities.

The ingredient of a study's `augment` key. Each kind draws first and applies afterwards: `gin`, `intensity`
and `spatial` hold the pairs. Targets change with spatial moves only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, final

import torch
from torch import Tensor

from FedSegCore.data.batches import Batch
from FedSegCore.errors import StudyError, nearest
from FedSegCore.learning.gin import apply_gin, draw_gin
from FedSegCore.learning.intensity import apply_intensity, draw_intensity
from FedSegCore.learning.spatial import SpatialRanges, apply_spatial, draw_spatial


@final
@dataclass(frozen=True)
class Gin:
    """The random networks of "gin"; see `learning.gin.draw_gin`."""

    kernels: tuple[int, ...] = (1, 3)
    balance: bool = False


Augment = Callable[[Tensor, torch.Generator, float, Gin], Tensor]


def _gin(image: Tensor, generator: torch.Generator, probability: float, gin: Gin) -> Tensor:
    draw = draw_gin(generator, image.shape, probability=probability, kernels=gin.kernels, balance=gin.balance)
    return apply_gin(image, draw)


def _classic(image: Tensor, generator: torch.Generator, probability: float, _: Gin) -> Tensor:
    return apply_intensity(image, draw_intensity(generator, image.shape, probability=probability))


def _none(image: Tensor, generator: torch.Generator, probability: float, _: Gin) -> Tensor:
    return image


AUGMENTS: Final[Mapping[str, Augment]] = MappingProxyType({"gin": _gin, "classic": _classic, "none": _none})
FOREIGN: Final = frozenset({"gin"})
"""The kinds that give an image the looks of scanners that its site does not have."""


def augment(
    batch: Batch,
    kind: str,
    *,
    generator: torch.Generator,
    probability: float,
    spatial: bool,
    flips: bool = False,
    gin: Gin | None = None,
) -> Batch:
    """A batch as the network is to see it; on the batch's device, drawn on the CPU.

    Args:
        batch: clean patches.
        kind: intensity augmentation: "gin", "classic" or "none".
        generator: a CPU generator.
        probability: chance of each sample to get new intensities.
        spatial: whether to rotate, scale and translate.
        flips: whether to mirror left to right, half of the samples.
        gin: the random networks of "gin"; none given: as published.

    Raises:
        StudyError: an unknown kind, with the nearest known one.
    """
    if kind not in AUGMENTS:
        raise StudyError(f'Expected augment among {tuple(AUGMENTS)}, got "{kind}".', nearest(kind, AUGMENTS))
    image, target = batch.image, batch.target
    if spatial or flips:
        ranges = SpatialRanges(flip_probability=0.5 * flips, probability=0.9 * spatial)
        image, target = apply_spatial(image, target, draw_spatial(generator, image.shape, ranges=ranges))
    image = AUGMENTS[kind](image, generator, probability, gin or Gin())
    return dataclasses.replace(batch, image=image, target=target)
