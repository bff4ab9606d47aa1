"""One encoder for each modality, and one decoder that takes the features of whichever there are.

The network of FedMEPD (for the paper see `FedSegCore.methods.fedmepd`). Its parts are `encoder`, one for each
modality and called by the modality's name; `decoder` and `head`; `attention`, which calibrates features by anchors;
and `auxiliary`, a slight decoder of each encoder alone that only training uses. Which modalities there are is said
with `own` and never read off the image: what stands in the channels of another modality has no effect.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final
from urllib.parse import quote

import torch
from jaxtyping import Float
from monai.networks.blocks import Convolution
from torch import Tensor, nn

from FedSegCore.errors import StudyError, nearest
from FedSegCore.nets.attention import Calibration
from FedSegCore.nets.blocks import RARE, Encoder, check_sides
from FedSegCore.nets.fusion import PLAIN, Decoded, FusionDecoder, SeparateDecoder
from FedSegCore.nets.layout import memory_format
from FedSegCore.nets.network import Network

_HEADS: Final = 8
_HEADS_FINEST: Final = 4
"""The finest level holds most of the voxels."""


@dataclass(frozen=True, eq=False)
class Outputs:
    """Everything that training looks at.

    Args:
        logits: (B, L, *S).
        maps: logits of every level, (B, L, *S / 2**i), finest first.
        separate: logits (B, L, *S) of each owned modality alone.
    """

    logits: Tensor
    maps: tuple[Tensor, ...]
    separate: Mapping[str, Tensor]


@final
class MultiEncoderNet(nn.Module):
    """Maps images (B, C, *S) to logits (B, L, *S) at the input's resolution, from the owned modalities alone.

    Args:
        modalities: the modality of each input channel; several channels may have the same.
        out_channels: structures L.

    Attributes:
        modalities: each once, in the order of the channels.
        owned: those that are computed; all to begin with.
        calibrated: whether features are calibrated by the anchors; None: if the weights hold any. Asking the
            weights waits for the device, so training says it.
    """

    def __init__(self, network: Network, *, dims: int, modalities: Sequence[str], out_channels: int) -> None:
        super().__init__()
        self.divisor = network.divisor
        self.dims = dims
        self.modalities = tuple(dict.fromkeys(modalities))
        self.owned = self.modalities
        self.calibrated: bool | None = None
        self._channels = {name: _places(name, modalities) for name in self.modalities}
        channels = network.channels
        self.encoder = nn.ModuleDict(
            {
                self._key(name): Encoder(channels, dims=dims, in_channels=len(places), norm=PLAIN)
                for name, places in self._channels.items()
            }
        )
        self.decoder = FusionDecoder(channels, dims=dims, out_channels=out_channels)
        self.head = Convolution(dims, channels[0], out_channels, kernel_size=1, conv_only=True)
        nn.init.constant_(self.head.conv.bias, RARE)
        self.attention = nn.ModuleList(
            Calibration(
                number, heads=_HEADS if level else _HEADS_FINEST, classes=1 + out_channels,
                anchors=network.anchors, residual=network.residual,
            )
            for level, number in enumerate(channels)
            if network.anchors
        )  # fmt: skip
        self.auxiliary = SeparateDecoder(channels, dims=dims, out_channels=out_channels)
        self.anchors = network.anchors
        self.residual = network.residual

    def own(self, modalities: Collection[str]) -> None:
        """Say which modalities there are; the encoders of the others are not computed any more.

        Raises:
            StudyError: none, or one that the network does not know.
        """
        for name in modalities:
            if name not in self.modalities:
                raise StudyError(
                    f'The network has no encoder for the modality "{name}".', nearest(name, self.modalities)
                )
        if not modalities:
            raise StudyError(
                f"Expected one or more of the modalities {', '.join(self.modalities)}, got none.",
                "Give the site a modality of the study, or leave it out.",
            )
        self.owned = tuple(name for name in self.modalities if name in modalities)

    def forward(self, image: Float[Tensor, "b c *s"]) -> Float[Tensor, "b l *s"]:
        """Logits, one channel a structure; a probability is their sigmoid.

        Raises:
            DataError: a side of the image that the network cannot halve often enough.
        """
        logits: Tensor = self.head(self._decode(self._encode(image)).finest)
        return logits

    def outputs(self, image: Float[Tensor, "b c *s"]) -> Outputs:
        """The logits with those of every level and of each modality alone."""
        encoded = self._encode(image)
        decoded = self._decode(encoded)
        separate = {name: self.auxiliary(levels) for name, levels in encoded.items()}
        return Outputs(self.head(decoded.finest), self.decoder.map(decoded.fused), separate)

    def fused(self, image: Float[Tensor, "b c *s"]) -> tuple[Tensor, ...]:
        """The fused features F_l of every level, (B, channels[i], *S / 2**i), finest first."""
        return self._decode(self._encode(image)).fused

    def attention_entropy(self, image: Float[Tensor, "b c *s"]) -> Float[Tensor, ""]:
        """How evenly voxels look at all anchors, from 0 (at one) to 1 (at all alike); the mean over the levels."""
        pairs = zip(self.attention, self.fused(image), strict=True)
        return torch.stack([level.entropy(features) for level, features in pairs]).mean()  # type: ignore[operator]

    def encoder_keys(self, modalities: Collection[str]) -> frozenset[str]:
        """The names, in the network's state, of the encoders of some modalities."""
        keys = [self._key(name) for name in self.modalities if name in modalities]
        return frozenset(
            name for key in keys for name in self.encoder[key].state_dict(prefix=f"encoder.{key}.")
        )

    def model_keys(self, modalities: Collection[str]) -> frozenset[str]:
        """The names of all that a model of some modalities is used with: not other encoders, not `auxiliary`."""
        parts = {name: getattr(self, name) for name in ("decoder", "head", "attention")}
        rest = {key for name, part in parts.items() for key in part.state_dict(prefix=f"{name}.")}
        return self.encoder_keys(modalities) | rest

    @property
    def logit_layers(self) -> tuple[str, ...]:
        """The shared layers with one filter a structure, by their name among the modules."""
        return ("head.conv", *(f"decoder.maps.{level}.conv" for level in range(len(self.decoder.maps))))

    def _encode(self, image: Tensor) -> dict[str, list[Tensor]]:
        """Every owned modality's features, finest level first."""
        check_sides(image, dims=self.dims, divisor=self.divisor)
        encoded = {}
        for name in self.owned:
            own = torch.stack([image[:, place] for place in self._channels[name]], 1)
            own = own.contiguous(memory_format=memory_format(self.dims))
            encoded[name] = self.encoder[self._key(name)](own)
        return encoded

    def _decode(self, encoded: Mapping[str, list[Tensor]]) -> Decoded:
        calibrated = self._has_anchors() if self.calibrated is None else self.calibrated

        def calibrate(level: int, features: Tensor) -> Tensor:
            return self.attention[level](features) if calibrated else features

        decoded: Decoded = self.decoder(list(encoded.values()), calibrate)
        return decoded

    def settle_calibration(self) -> None:
        """Say once whether the weights hold anchors, so that using the network does not ask the device."""
        self.calibrated = self._has_anchors()

    def _has_anchors(self) -> bool:
        return any(bool(level.anchors.any()) for level in self.attention)  # type: ignore[operator]

    def _key(self, modality: str) -> str:
        """The encoder's name: a module's may hold no dot, nor be an attribute's."""
        return f"{self.modalities.index(modality)}-{quote(modality, safe='').replace('.', '%2E')}"


def see(net: nn.Module, modalities: Collection[str]) -> None:
    """Tell a network of several encoders which modalities its next images have; others need not know."""
    if isinstance(net, MultiEncoderNet):
        net.own(modalities)


def usable_keys(net: nn.Module, modalities: Collection[str]) -> frozenset[str]:
    """The names of all that a model of some modalities is used with: of a network of one encoder, everything."""
    if not isinstance(net, MultiEncoderNet):
        return frozenset(net.state_dict())
    return net.model_keys([name for name in modalities if name in net.modalities])


def _places(modality: str, modalities: Sequence[str]) -> tuple[int, ...]:
    return tuple(place for place, name in enumerate(modalities) if name == modality)
