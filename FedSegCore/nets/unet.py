"""A residual U-Net whose parts have names, `encoder`, `decoder`, `head`; and the making of any network.

Built from MONAI's blocks (`UnetResBlock` going down, `UnetrUpBlock` coming up), in 2-D and 3-D. Federated
methods keep some parts at the sites and share others, so the network says which tensor belongs where:
see `FedSegCore.nets.parts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from monai.networks.blocks import Convolution, UnetrUpBlock
from torch import Tensor, nn

from FedSegCore.errors import StudyError
from FedSegCore.nets.blocks import RARE, Encoder, Layer, check_sides
from FedSegCore.nets.layout import keep_layout, memory_format
from FedSegCore.nets.multiencoder import MultiEncoderNet
from FedSegCore.nets.network import KINDS as KINDS
from FedSegCore.nets.network import Network as Network
from FedSegCore.nets.network import Norm as Norm
from FedSegCore.nets.network import default_channels as default_channels


@final
class SegmentationNet(nn.Module):
    """A U-Net in three named parts; maps images (B, C, *S) to logits (B, L, *S) at the input's resolution."""

    def __init__(self, network: Network, *, dims: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.divisor = network.divisor
        self.dims = dims
        self.encoder = Encoder(network.channels, dims=dims, in_channels=in_channels, norm=_norm(network))
        self.decoder = Decoder(network, dims=dims)
        self.head = Convolution(dims, network.channels[0], out_channels, kernel_size=1, conv_only=True)
        nn.init.constant_(self.head.conv.bias, RARE)

    def forward(self, image: Float[Tensor, "b c *s"]) -> Float[Tensor, "b l *s"]:
        """Logits, one channel a structure; a probability is their sigmoid.

        Raises:
            DataError: a side of the image that the network cannot halve often enough.
        """
        check_sides(image, dims=self.dims, divisor=self.divisor)
        image = image.contiguous(memory_format=memory_format(self.dims))
        logits: Tensor = self.head(self.decoder(self.encoder(image)))
        return logits


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
    network: Network,
    *,
    dims: int,
    in_channels: int,
    out_channels: int,
    generator: torch.Generator,
    modalities: Sequence[str] = (),
) -> SegmentationNet | MultiEncoderNet:
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
        modalities: the modality of each input channel; only a network of several encoders asks for it.

    Raises:
        StudyError: other dims than 2 and 3; several encoders without a modality for each input channel.
    """
    if dims not in (2, 3):
        raise StudyError(f"Expected dims = 2 or dims = 3, got {dims!r}.", "Set dims in the study's [plan].")
    seed = int(torch.randint(2**62, (), generator=generator))
    net: SegmentationNet | MultiEncoderNet
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if network.kind == "multiencoder":
            if len(modalities) != in_channels:
                raise StudyError(
                    f"A network of one encoder for each modality takes {in_channels} input channels, but was told "
                    f"the modality of {len(modalities)}.",
                    "Name the modality of every channel.",
                )
            net = MultiEncoderNet(network, dims=dims, modalities=modalities, out_channels=out_channels)
        else:
            net = SegmentationNet(network, dims=dims, in_channels=in_channels, out_channels=out_channels)
        keep_layout(net)
    return net.to(memory_format=memory_format(dims))  # type: ignore[call-overload, no-any-return]


def _norm(network: Network) -> Layer:
    """MONAI's name and arguments of the norm layers; instance norm learns scale and shift like batch norm."""
    return (network.norm, {"affine": True})
