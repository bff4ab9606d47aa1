"""What a study says about its network, and the channels where it says nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, final, get_args

from FedSegCore.errors import StudyError, nearest

Norm = Literal["instance", "batch"]

KINDS: Final = ("unet", "multiencoder")
_OF_ENCODERS: Final = ("anchors", "residual")
"""What only a network of several encoders has to say; a U-Net's table does not hold it."""


@final
@dataclass(frozen=True)
class Network:
    """What a study's `[network]` table says about the network.

    Attributes:
        kind: the architecture: "unet", or "multiencoder", one encoder for each modality (FedMEPD).
        channels: feature channels a level, finest first; as many levels as entries. Every level but
            the first halves the resolution.
        norm: "instance" (affine, no statistics kept) or "batch"; a network of several encoders has instance norms
            without any weights whatever this says.
        anchors: of "multiencoder" alone: anchors a class that features are calibrated with; 0 leaves that out.
        residual: of "multiencoder" alone: whether calibration adds to the features instead of replacing them.
    """

    kind: str = "unet"
    channels: tuple[int, ...] = (16, 32, 64, 128)
    norm: Norm = "instance"
    anchors: int = 0
    residual: bool = False

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
        if type(self.anchors) is not int or self.anchors < 0:
            raise StudyError(f"Expected 0 or more anchors a class, got {self.anchors!r}.", "The paper has 4.")

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
        table = {**dataclasses.asdict(self), "channels": list(self.channels)}
        silent = _OF_ENCODERS if self.kind == "unet" else ()
        return {key: value for key, value in table.items() if key not in silent}

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


def _whole_numbers(raw: Any) -> tuple[Any, ...]:
    """A tuple from a list; anything else goes on as it came, for the check of `channels` to name it."""
    return tuple(raw) if isinstance(raw, list | tuple) else (raw,)
