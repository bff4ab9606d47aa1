"""What one round of flow training learns from: voxel pairs and crops of a few random patches.

Blurring and drawing happen once a round and not once a step, so that a step costs the flow alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from FedSegCore.data.batches import Batches
from FedSegCore.errors import DataError
from FedSegCore.learning.flow.context import context
from FedSegCore.learning.flow.settings import FlowSettings
from FedSegCore.tensors.transfer import to_device


@final
@dataclass(frozen=True, eq=False)
class Pool:
    """Rows R are single channels of patches; channels that are zero throughout are left out.

    Attributes:
        pairs: intensity and context of V random voxels a row.
        crops: intensity and context of one random crop a row.
        modality: the channel that each row was.
        channels: how many channels the images have.
    """

    pairs: Float[Tensor, "r v 2"]
    crops: Float[Tensor, "r 2 *s"]
    modality: Int[Tensor, " r"]
    channels: int

    def to(self, device: torch.device) -> Pool:
        """The pool on a device."""
        return self._map(lambda part: to_device(part, device))

    def select(self, rows: Int[Tensor, " n"]) -> Pool:
        """Some of the rows, chosen by a CPU tensor, without waiting for the device."""
        rows = to_device(rows, self.modality.device)
        return self._map(lambda part: part.index_select(0, rows))

    def _map(self, change: Callable[[Tensor], Tensor]) -> Pool:
        return replace(
            self, pairs=change(self.pairs), crops=change(self.crops), modality=change(self.modality)
        )


def draw_pool(batches: Batches, settings: FlowSettings, *, generator: torch.Generator) -> Pool:
    """`settings.images` random patches of clean images, on the CPU, in the images' own intensities.

    Raises:
        DataError: every channel of these patches is zero.
    """
    side = int(settings.crop_voxels ** (1.0 / batches.dims) + 1e-6)
    sides = tuple(min(side, patch) for patch in batches.patch)
    pairs, crops, modality = [], [], []
    for image in _images(batches, settings.images, generator):
        channels = (image != 0).flatten(1).any(1).nonzero().flatten()
        if len(channels) == 0:
            continue
        rows = image[channels].float()
        both = torch.stack([rows, context(rows)], dim=1)
        places = torch.randint(rows[0].numel(), (len(rows), 1, settings.voxels), generator=generator)
        pairs.append(both.flatten(2).gather(2, places.expand(-1, 2, -1)).movedim(1, 2))
        crops.append(_crop(both, sides, generator))
        modality.append(channels)
    if not modality:
        raise DataError(
            "Expected images with intensities to train the flow on, got zeros only.",
            'Look at the site\'s images, or choose another `augment`, such as "gin".',
        )
    return Pool(torch.cat(pairs), torch.cat(crops), torch.cat(modality), len(image))


def _images(batches: Batches, number: int, generator: torch.Generator) -> Iterator[Tensor]:
    """As many patches (C, *S), epoch after epoch."""
    left = number
    while left > 0:
        for batch in batches.epoch(generator):
            yield from batch.image[:left]
            left -= len(batch.image)
            if left <= 0:
                return


def _crop(both: Tensor, sides: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """The same random window of every row (R, 2, *S)."""
    for axis, side in enumerate(sides, start=2):
        start = int(torch.randint(both.shape[axis] - side + 1, (), generator=generator))
        both = both.narrow(axis, start, side)
    return both
