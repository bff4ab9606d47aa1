"""What happens to a training batch before the network sees it: spatial moves, then new intensities.

The ingredient of a study's `augment` key. Each kind draws first and applies afterwards: `gin`, `flow`,
`intensity` and `spatial` hold the pairs. Targets change with spatial moves only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, final

import torch
from torch import Tensor

from FedSegCore.data.batches import Batch
from FedSegCore.errors import StudyError, nearest
from FedSegCore.learning.flow.style import StyledFlow, apply_flow, draw_flow
from FedSegCore.learning.gin import apply_gin, draw_gin
from FedSegCore.learning.intensity import apply_intensity, draw_intensity
from FedSegCore.learning.spatial import SpatialRanges, apply_spatial, draw_spatial


@final
@dataclass(frozen=True)
class Gin:
    """The random networks of "gin"; see `learning.gin.draw_gin`."""

    kernels: tuple[int, ...] = (1, 3)
    balance: bool = False


@final
@dataclass(frozen=True, eq=False)
class Looks:
    """What new intensities are made with, beside chance.

    Args:
        gin: the random networks of "gin".
        flow: the site's own flow, on the images' device; of "flow" alone.
    """

    gin: Gin = field(default_factory=Gin)
    flow: StyledFlow | None = None


Augment = Callable[[Tensor, torch.Generator, float, Looks], Tensor]


def _gin(image: Tensor, generator: torch.Generator, probability: float, looks: Looks) -> Tensor:
    kernels, balance = looks.gin.kernels, looks.gin.balance
    draw = draw_gin(generator, image.shape, probability=probability, kernels=kernels, balance=balance)
    return apply_gin(image, draw)


def _flow(image: Tensor, generator: torch.Generator, probability: float, looks: Looks) -> Tensor:
    assert looks.flow is not None, "a site trains its flow before it trains with it"
    return apply_flow(image, draw_flow(generator, image.shape, probability=probability), looks.flow)


def _either(image: Tensor, generator: torch.Generator, probability: float, looks: Looks) -> Tensor:
    """GIN or the flow, whichever a coin says for the batch: each touches half of what is touched."""
    chosen = _gin if float(torch.rand((), generator=generator)) < 0.5 else _flow
    return chosen(image, generator, probability, looks)


def _classic(image: Tensor, generator: torch.Generator, probability: float, _: Looks) -> Tensor:
    return apply_intensity(image, draw_intensity(generator, image.shape, probability=probability))


def _none(image: Tensor, generator: torch.Generator, probability: float, _: Looks) -> Tensor:
    return image


AUGMENTS: Final[Mapping[str, Augment]] = MappingProxyType(
    {"gin": _gin, "flow": _flow, "gin+flow": _either, "classic": _classic, "none": _none}
)
WITH_FLOW: Final = frozenset({"flow", "gin+flow"})
"""The kinds that a site trains a flow of its own for."""
FOREIGN: Final = frozenset({"gin", *WITH_FLOW})
"""The kinds that give an image the looks of scanners that its site does not have."""


def augment(
    batch: Batch,
    kind: str,
    *,
    generator: torch.Generator,
    probability: float,
    spatial: bool,
    flips: bool = False,
    looks: Looks | None = None,
) -> Batch:
    """A batch as the network is to see it; on the batch's device, drawn on the CPU.

    Args:
        batch: clean patches.
        kind: intensity augmentation: "gin", "flow", "gin+flow", "classic" or "none".
        generator: a CPU generator.
        probability: chance of each sample to get new intensities.
        spatial: whether to rotate, scale and translate.
        flips: whether to mirror left to right, half of the samples.
        looks: the networks of "gin" and "flow"; none given: GIN as published.

    Raises:
        StudyError: an unknown kind, with the nearest known one.
    """
    if kind not in AUGMENTS:
        raise StudyError(f'Expected augment among {tuple(AUGMENTS)}, got "{kind}".', nearest(kind, AUGMENTS))
    image, target = batch.image, batch.target
    if spatial or flips:
        ranges = SpatialRanges(flip_probability=0.5 * flips, probability=0.9 * spatial)
        image, target = apply_spatial(image, target, draw_spatial(generator, image.shape, ranges=ranges))
    image = AUGMENTS[kind](image, generator, probability, looks or Looks())
    return dataclasses.replace(batch, image=image, target=target)
