"""A residual U-Net whose parts have names: `encoder`, `decoder`, `head`.

Built from MONAI's blocks (`UnetResBlock` going down, `UnetrUpBlock` coming up), in 2-D and 3-D. Federated
methods keep some parts at the sites and share others, so the network says which tensor belongs where:
see `FedSegCore.nets.parts`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, final, get_args

import torch
from jaxtyping import Float
from monai.networks.blocks import Convolution, UnetResBlock, UnetrUpBlock
from torch import Tensor, nn

from FedSegCore.errors import DataError, StudyError, nearest
from FedSegCore.nets.layout import keep_layout, memory_format

Norm = Literal["instance", "batch"]

KINDS = ("unet",)

_RARE = -2.0
"""First bias of the logits: a structure fills an eighth of the image or less, not half of it."""


@final
@dataclass(frozen=True)
class Network:
    """What a study's `[network]` table says about the network.

    Attributes:
        kind: the architecture; "unet" is the only one here.
        channels: feature channels a level, finest first; as many levels as entries. Every level but
            the first halves the resolution.
        norm: "instance" (affine, no statistics kept) or "batch".
    """

    kind: str = "unet"
    channels: tuple[int, ...] = (16, 32, 64, 128)
    norm: Norm = "instance"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise StudyError(
                f'Expected a network kind among {KINDS}, got "{self.kind}".', nearest(str(self.kind), KINDS)
            )
        if self.norm not in get_args(Norm):
            known = get_args(Norm)
            raise StudyError(
                f'Expected a norm among {known}, got "{self.norm}".', nearest(str(self.norm), known)
            )
        if len(self.channels) < 2 or any(type(c) is not int or c < 1 for c in self.channels):
            raise StudyError(
                f"Expected network channels as two or more positive whole numbers, got {self.channels!r}.",
                "Write for example channels = [16, 32, 64, 128].",
            )

    @property
    def depth(self) -> int:
        """Number of resolution levels."""
        return len(self.channels)

    @property
    def divisor(self) -> int:
        """Every side of an input must be a multiple of this many voxels."""
        return int(2 ** (self.depth - 1))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dict that `from_dict` turns back into an equal Network."""
        return {**dataclasses.asdict(self), "channels": list(self.channels)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Network:
        """A Network from a study's or a file header's table; an unknown key is a StudyError."""
        names = [field.name for field in dataclasses.fields(cls)]
        for key in raw:
            if key not in names:
                raise StudyError(f'Unknown key "{key}" for a network.', nearest(key, names))
        values = dict(raw)
        if "channels" in values:
            values["channels"] = _whole_numbers(values["channels"])
        return cls(**values)


def default_channels(*, dims: int, depth: int) -> tuple[int, ...]:
    """Channels where the study gives none: the finest level's 16, or 8 in 3-D, then 32, 64, ... to 256.

    In 3-D the finest level holds seven eighths of all voxels; with 16 channels it costs more than all the others.
    """
    channels = [min(16 * 2**level, 256) for level in range(depth)]
    return (8 if dims == 3 else 16, *channels[1:])


@final
class SegmentationNet(nn.Module):
    """A U-Net in three named parts; maps images (B, C, *S) to logits (B, L, *S) at the input's resolution."""

    def __init__(self, network: Network, *, dims: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.divisor = network.divisor
        self.dims = dims
        self.encoder = Encoder(network, dims=dims, in_channels=in_channels)
        self.decoder = Decoder(network, dims=dims)
        self.head = Convolution(dims, network.channels[0], out_channels, kernel_size=1, conv_only=True)
        nn.init.constant_(self.head.conv.bias, _RARE)

    def forward(self, image: Float[Tensor, "b c *s"]) -> Float[Tensor, "b l *s"]:
        """Logits, one channel a structure; a probability is their sigmoid.

        Raises:
            DataError: a side of the image that the network cannot halve often enough.
        """
        sides = tuple(image.shape[2:])
        coarsest = math.prod(side // self.divisor for side in sides)
        if len(sides) != self.dims or any(side % self.divisor for side in sides) or coarsest < 2:
            raise DataError(
                f"Expected an image of {self.dims} sides, each a multiple of {self.divisor} voxels and "
                f"together more than one such block, got {'x'.join(map(str, sides))}.",
                f"Choose a patch whose sides are multiples of {self.divisor}, or fewer network levels.",
            )
        image = image.contiguous(memory_format=memory_format(self.dims))
        logits: Tensor = self.head(self.decoder(self.encoder(image)))
        return logits


@final
class Encoder(nn.Module):
    """Residual blocks going down; returns the features of every level, finest first."""

    def __init__(self, network: Network, *, dims: int, in_channels: int) -> None:
        super().__init__()
        before = (in_channels, *network.channels[:-1])
        self.levels = nn.ModuleList(
            UnetResBlock(dims, inside, outside, 3, 1 if level == 0 else 2, _norm(network))
            for level, (inside, outside) in enumerate(zip(before, network.channels, strict=True))
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Features (B, channels[i], *S / 2**i), i = 0, 1, ..."""
        features = []
        for level in self.levels:
            image = level(image)
            features.append(image)
        return features


@final
class Decoder(nn.Module):
    """Up-convolutions with skip connections; from every level's features to the finest resolution's."""

    def __init__(self, network: Network, *, dims: int) -> None:
        super().__init__()
        pairs = list(zip(network.channels[1:], network.channels[:-1], strict=True))
        self.levels = nn.ModuleList(
            UnetrUpBlock(dims, coarse, fine, 3, 2, _norm(network), res_block=True)
            for coarse, fine in reversed(pairs)
        )

    def forward(self, features: list[Tensor]) -> Tensor:
        """Features (B, channels[0], *S)."""
        x = features[-1]
        for level, skip in zip(self.levels, reversed(features[:-1]), strict=True):
            x = level(x, skip)
        return x


def build(
    network: Network, *, dims: int, in_channels: int, out_channels: int, generator: torch.Generator
) -> SegmentationNet:
    """A network with fresh weights, on the CPU.

    The layers of torch and MONAI draw their first weights from torch's global CPU generator and cannot be
    handed another one. So that global state is set aside, seeded with a number drawn from `generator`,
    and put back: equal generators give equal weights on every site and nothing else is disturbed.

    Args:
        network: the study's `[network]`.
        dims: 2 for slices, 3 for volumes.
        in_channels: input channels C.
        out_channels: structures L, one logit channel each, no background channel.
        generator: a CPU generator; advances by one draw.
    """
    if dims not in (2, 3):
        raise StudyError(f"Expected dims = 2 or dims = 3, got {dims!r}.", "Set dims in the study's [plan].")
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        net = SegmentationNet(network, dims=dims, in_channels=in_channels, out_channels=out_channels)
        keep_layout(net)
    return net.to(memory_format=memory_format(dims))  # type: ignore[call-overload, no-any-return]


def _norm(network: Network) -> tuple[str, dict[str, Any]]:
    """MONAI's name and arguments of the norm layers; instance norm learns scale and shift like batch norm."""
    return (network.norm, {"affine": True})


def _whole_numbers(raw: Any) -> tuple[Any, ...]:
    """A tuple from a list; anything else goes on as it came, for the check of `channels` to name it."""
    return tuple(raw) if isinstance(raw, list | tuple) else (raw,)
