"""From the features of any subset of modalities to one map a level, and from coarse to fine.

Departures from FedMEPD's network, which is RFNet's: the subset meets in a gated mean and a maximum instead of in
RFNet's region-aware fusion, so that no layer's shape depends on the number of modalities; and a level's probability
map is read off its fused features, where RFNet makes it first and fuses with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, final

import torch
from monai.networks.blocks import Convolution, UnetResBlock, UnetrUpBlock
from torch import Tensor, nn
from torch.nn import functional as F

from FedSegCore.nets.blocks import LEAKY, RARE, Layer

PLAIN: Final[Layer] = ("instance", {"affine": False})
"""Norm layers without any weight, so that a filter is nothing but its kernel and bias."""

Levels = Sequence[Tensor]
"""Features (B, channels[i], *S / 2**i) of the levels i = 0, 1, ..., finest first."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """What the decoder makes of an image.

    Args:
        fused: the features F_l of every level, finest first, before calibration.
        finest: what the head sees: F_1, calibrated where there is a calibration.
    """

    fused: tuple[Tensor, ...]
    finest: Tensor


@final
class Fusion(nn.Module):
    """One level's features of any modalities, in any order, into one map of as many channels.

    y = conv[ mean over m of σ(w · pool(X_m) + b) X_m , max over m of X_m ]
    """

    def __init__(self, channels: int, *, dims: int) -> None:
        super().__init__()
        self.gate = Convolution(dims, channels, 1, kernel_size=1, conv_only=True)
        self.merge = Convolution(
            dims, 2 * channels, channels, kernel_size=1, bias=False, norm=PLAIN, act=LEAKY, adn_ordering="NA"
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Features (B, C, *S) of each modality that there is -> (B, C, *S)."""
        space = tuple(range(2, features[0].ndim))
        mean, largest = torch.zeros_like(features[0]), features[0]
        for one in features:
            gate = torch.sigmoid(self.gate(one.mean(space, keepdim=True)))
            mean = mean + gate * one / len(features)
            largest = torch.maximum(largest, one)
        fused: Tensor = self.merge(torch.cat([mean, largest], 1))
        return fused


@final
class FusionDecoder(nn.Module):
    """Fuses the modalities level by level and comes up; every level has a map of logits of its own."""

    def __init__(self, channels: Sequence[int], *, dims: int, out_channels: int) -> None:
        super().__init__()
        pairs = list(zip(channels[1:], channels[:-1], strict=True))
        self.fusions = nn.ModuleList(Fusion(number, dims=dims) for number in channels)
        self.bottom = UnetResBlock(dims, channels[-1], channels[-1], 3, 1, PLAIN)
        self.levels = nn.ModuleList(
            UnetrUpBlock(dims, coarse, fine, 3, 2, PLAIN, res_block=True) for coarse, fine in reversed(pairs)
        )
        self.maps = nn.ModuleList(
            Convolution(dims, number, out_channels, kernel_size=1, conv_only=True) for number in channels
        )
        for layer in self.maps:
            nn.init.constant_(layer.conv.bias, RARE)  # type: ignore[union-attr, arg-type]

    def forward(self, encoded: Sequence[Levels], calibrate: Callable[[int, Tensor], Tensor]) -> Decoded:
        """Decode the features of one or more encoders.

        Args:
            calibrate: what becomes of level i's features before they go on to the next finer one.
        """
        skips = [fuse([levels[i] for levels in encoded]) for i, fuse in enumerate(self.fusions)]
        coarsest = len(skips) - 1
        fused = [self.bottom(skips[-1])]
        x = calibrate(coarsest, fused[0])
        for up, level in zip(self.levels, reversed(range(coarsest)), strict=True):
            fused.append(up(x, skips[level]))
            x = calibrate(level, fused[-1])
        return Decoded(tuple(reversed(fused)), x)

    def map(self, fused: Levels) -> tuple[Tensor, ...]:
        """Logits (B, L, *S / 2**i) of every level i."""
        return tuple(layer(features) for layer, features in zip(self.maps, fused, strict=True))


@final
class SeparateDecoder(nn.Module):
    """One encoder's features alone to logits; the same weights for every encoder of a site.

    It only sees to it that each encoder learns to segment, so it is slight: each level is brought to the finest
    one's channels, the coarser ones are enlarged and added, and one convolution follows.
    """

    def __init__(self, channels: Sequence[int], *, dims: int, out_channels: int) -> None:
        super().__init__()
        width = channels[0]
        self.levels = nn.ModuleList(
            Convolution(dims, number, width, kernel_size=1, conv_only=True) for number in channels
        )
        self.smooth = Convolution(dims, width, width, bias=False, norm=PLAIN, act=LEAKY, adn_ordering="NA")
        self.head = Convolution(dims, width, out_channels, kernel_size=1, conv_only=True)
        nn.init.constant_(self.head.conv.bias, RARE)

    def forward(self, features: Levels) -> Tensor:
        """Logits (B, L, *S)."""
        sides = [level(one) for level, one in zip(self.levels, features, strict=True)]
        x = sides[-1]
        for side in reversed(sides[:-1]):
            x = side + F.interpolate(x, scale_factor=2.0, mode="nearest")
        logits: Tensor = self.head(self.smooth(x))
        return logits
