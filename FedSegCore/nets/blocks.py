"""What the networks are built of: the way down, and the sizes that it can halve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, final

from monai.networks.blocks import UnetResBlock
from torch import Tensor, nn

from FedSegCore.errors import DataError

Layer = tuple[str, dict[str, Any]]
"""MONAI's name and arguments of a norm or activation layer."""

RARE: Final = -2.0
"""First bias of the logits: a structure fills an eighth of the image or less, not half of it."""

LEAKY: Final[Layer] = ("leakyrelu", {"inplace": True, "negative_slope": 0.01})


@final
class Encoder(nn.Module):
    """Residual blocks going down; returns the features of every level, finest first."""

    def __init__(
        self, channels: Sequence[int], *, dims: int, in_channels: int, norm: Layer, activation: Layer = LEAKY
    ) -> None:
        super().__init__()
        before = (in_channels, *channels[:-1])
        self.levels = nn.ModuleList(
            UnetResBlock(dims, inside, outside, 3, 1 if level == 0 else 2, norm, activation)
            for level, (inside, outside) in enumerate(zip(before, channels, strict=True))
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Features (B, channels[i], *S / 2**i), i = 0, 1, ..."""
        features = []
        for level in self.levels:
            image = level(image)
            features.append(image)
        return features


def check_sides(image: Tensor, *, dims: int, divisor: int) -> None:
    """See that the network can halve every side of an image often enough.

    Raises:
        DataError: it cannot.
    """
    sides = tuple(image.shape[2:])
    coarsest = math.prod(side // divisor for side in sides)
    if len(sides) != dims or any(side % divisor for side in sides) or coarsest < 2:
        raise DataError(
            f"Expected an image of {dims} sides, each a multiple of {divisor} voxels and "
            f"together more than one such block, got {'x'.join(map(str, sides))}.",
            f"Choose a patch whose sides are multiples of {divisor}, or fewer network levels.",
        )
