"""From prepared cases to batches of random patches.

An epoch draws patches from cases that were read and prepared once (`FedSegCore.data.prepared`). How many steps an
epoch has follows from the number of samples and the batch size alone, so every method gets the same number of
optimizer steps from the same site.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from FedSegCore.data.prepared import CachedCase as CachedCase
from FedSegCore.data.prepared import PreparedCase
from FedSegCore.errors import DataError
from FedSegCore.tensors.transfer import to_device

_MAX_CENTRES = 4096
"""Foreground positions kept a sample and structure; more would only cost memory."""


@final
@dataclass(frozen=True, eq=False)
class Batch:
    """What one optimizer step sees; S is the patch, two sides in a 2-D study and three in a 3-D one."""

    image: Float[Tensor, "b c *s"]
    target: UInt8[Tensor, "b l *s"]
    annotated: Bool[Tensor, "b l"]

    def to(self, device: torch.device | str) -> Batch:
        """The batch on a device; towards CUDA from pinned memory, without waiting for the copy."""
        return Batch(*(to_device(tensor, device) for tensor in (self.image, self.target, self.annotated)))


@dataclass(frozen=True, eq=False)
class _Sample:
    """One thing an epoch visits: a volume (3-D) or a slice (2-D), thought of as at least as large as the patch.

    Attributes:
        case, number: whose it is, and that case's number.
        z: which slice; None for the volume.
        centres: positions (N, dims) of foreground for each structure that has any, on the padded grid.
        begins: where on the padded grid the image begins.
        lowest: each channel's minimum, with which a smaller image is padded; empty where none is needed.
    """

    case: PreparedCase
    number: int
    z: int | None
    sides: tuple[int, ...]
    begins: tuple[int, ...]
    lowest: Tensor
    centres: tuple[Tensor, ...]

    @property
    def image(self) -> Tensor:
        """(C, *S), without padding."""
        return self.case.image if self.z is None else self.case.image[..., self.z]

    @property
    def target(self) -> Tensor:
        """(L, *S), without padding."""
        return self.case.target if self.z is None else self.case.target[..., self.z]

    def cut(self, start: Sequence[int], patch: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Image and target of the patch that begins there on the padded grid: images are padded with each
        channel's minimum, targets with 0."""
        image, target = self.image, self.target
        if not self.lowest.numel():
            window = (slice(None), *(slice(a, a + side) for a, side in zip(start, patch, strict=True)))
            return image[window], target[window]
        here, there = [slice(None)], [slice(None)]
        for at, side, begin, whole in zip(start, patch, self.begins, image.shape[1:], strict=True):
            first, last = max(at - begin, 0), min(at + side - begin, whole)
            here.append(slice(first, last))
            there.append(slice(first + begin - at, last + begin - at))
        padded = self.lowest.view(-1, *[1] * len(patch)).repeat(1, *patch)
        padded[tuple(there)] = image[tuple(here)]
        structures = target.new_zeros(len(target), *patch)
        structures[tuple(there)] = target[tuple(here)]
        return padded, structures


@final
class Batches:
    """Batches of random patches from cached cases, drawn anew every epoch.

    Each sample is visited about once an epoch. In every batch at least a third of the patches is centred on
    a foreground voxel, as far as the volume's border allows. In 2-D studies a sample is a slice, and every
    batch of two or more holds a slice with and one without foreground if the site has both.

    Args:
        cases: the site's training cases.
        patch: sides of a patch in voxels, `dims` of them.
        batch_size: patches a batch; the last batch of an epoch may be smaller in 3-D.
        dims: 2 or 3.

    Raises:
        DataError: no cases.
    """

    def __init__(
        self, cases: Sequence[PreparedCase], *, patch: Sequence[int], batch_size: int, dims: int
    ) -> None:
        if not cases:
            raise DataError("Expected at least one training case, got none.", "Give the site training cases.")
        if len(patch) != dims or batch_size < 1:
            raise ValueError(
                f"expected {dims} patch sides and batches of 1 or more, got {patch}, {batch_size}"
            )
        self.cases = tuple(cases)
        self.patch = tuple(patch)
        self.batch_size = batch_size
        self.dims = dims
        self._samples = [
            _sample(case, number, z, patch=self.patch)
            for number, case in enumerate(cases)
            for z in (range(case.image.shape[-1]) if dims == 2 else [None])
        ]
        self._foreground = [index for index, sample in enumerate(self._samples) if sample.centres]
        self._empty = [index for index, sample in enumerate(self._samples) if not sample.centres]

    @property
    def num_cases(self) -> int:
        """How many cases the samples are of."""
        return len(self.cases)

    @property
    def num_samples(self) -> int:
        """Volumes in a 3-D study, slices in a 2-D one."""
        return len(self._samples)

    @property
    def steps(self) -> int:
        """Batches an epoch."""
        return math.ceil(self.num_samples / self.batch_size)

    def epoch(self, generator: torch.Generator) -> Iterator[Batch]:
        """One epoch of batches, on the CPU; equal generators give equal batches."""
        for indices in self._order(generator):
            centred = math.ceil(len(indices) / 3)
            patches = [
                self._crop(self._samples[index], generator, centred=place < centred)
                for place, index in enumerate(indices)
            ]
            images, targets, annotated = zip(*patches, strict=True)
            yield Batch(torch.stack(images), torch.stack(targets), torch.stack(annotated))

    def sweep(self) -> Iterator[tuple[tuple[int, ...], Batch]]:
        """Every sample once, always the same patch of it: the one around the middle of its foreground.

        Yields:
            The number of each patch's case, counted from 0, and the batch.
        """
        for start in range(0, self.num_samples, self.batch_size):
            samples = self._samples[start : start + self.batch_size]
            patches = [
                self._cut(sample, _corner(_middle(sample), self._room(sample), self.patch))
                for sample in samples
            ]
            images, targets, annotated = zip(*patches, strict=True)
            batch = Batch(torch.stack(images), torch.stack(targets), torch.stack(annotated))
            yield tuple(sample.number for sample in samples), batch

    def _order(self, generator: torch.Generator) -> Iterator[list[int]]:
        """The samples of each batch; those with foreground first, since the first third is centred on it."""
        if self.dims == 2 and self.batch_size > 1 and self._foreground and self._empty:
            yield from self._balanced_order(generator)
            return
        order: list[int] = torch.randperm(self.num_samples, generator=generator).tolist()
        for start in range(0, self.num_samples, self.batch_size):
            chosen = order[start : start + self.batch_size]
            yield sorted(chosen, key=lambda index: not self._samples[index].centres)

    def _balanced_order(self, generator: torch.Generator) -> Iterator[list[int]]:
        """Two pools, mixed by prevalence but never without one of each; a pool that runs out starts anew."""
        foreground, empty = _endless(self._foreground, generator), _endless(self._empty, generator)
        share = self.batch_size * len(self._foreground) / self.num_samples
        for step in range(self.steps):
            wanted = math.floor((step + 1) * share) - math.floor(step * share)
            filled = min(max(wanted, math.ceil(self.batch_size / 3)), self.batch_size - 1)
            yield [next(foreground if place < filled else empty) for place in range(self.batch_size)]

    def _crop(
        self, sample: _Sample, generator: torch.Generator, *, centred: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A random patch of a sample; around one of its foreground voxels if asked and there is one."""
        room = self._room(sample)
        start = [0] * self.dims
        if any(room) and centred and sample.centres:
            start = self._start_at_foreground(sample, room, generator)
        elif any(room):
            start = [int(torch.randint(free + 1, (), generator=generator)) for free in room]
        return self._cut(sample, start)

    def _room(self, sample: _Sample) -> list[int]:
        """How far a patch can be moved along each axis."""
        return [side - patch for side, patch in zip(sample.sides, self.patch, strict=True)]

    def _cut(self, sample: _Sample, start: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        return *sample.cut(start, self.patch), sample.case.annotated

    def _start_at_foreground(self, sample: _Sample, room: list[int], generator: torch.Generator) -> list[int]:
        """The corner of a patch centred on a voxel of a random structure, moved inside the volume."""
        centres = sample.centres[int(torch.randint(len(sample.centres), (), generator=generator))]
        voxel = centres[int(torch.randint(len(centres), (), generator=generator))].tolist()
        return _corner(voxel, room, self.patch)


def _sample(case: PreparedCase, number: int, z: int | None, *, patch: tuple[int, ...]) -> _Sample:
    """A case or slice, with its foreground listed."""
    whole = _Sample(case, number, z, (), (), torch.empty(0), ())
    image, target = whole.image, whole.target
    inner = tuple(image.shape[1:])
    sides = tuple(max(want, side) for want, side in zip(patch, inner, strict=True))
    begins = tuple((outer - side) // 2 for outer, side in zip(sides, inner, strict=True))
    centres = tuple(voxels for voxels in map(_centres, target[case.annotated]) if len(voxels))
    if sides == inner:
        return replace(whole, sides=sides, begins=begins, centres=centres)
    moved = tuple(voxels + torch.tensor(begins) for voxels in centres)
    lowest = image.flatten(1).amin(dim=1)
    return replace(whole, sides=sides, begins=begins, lowest=lowest, centres=moved)


def _middle(sample: _Sample) -> list[int]:
    """The mean position of its foreground, or the middle where it has none."""
    if not sample.centres:
        return [side // 2 for side in sample.sides]
    middle: list[int] = torch.cat(sample.centres).double().mean(0).long().tolist()
    return middle


def _corner(middle: Sequence[int], room: Sequence[int], patch: Sequence[int]) -> list[int]:
    """Where the patch around a position begins, moved inside the volume."""
    return [min(max(at - side // 2, 0), free) for at, side, free in zip(middle, patch, room, strict=True)]


def _centres(structure: Tensor) -> Tensor:
    """Positions (N, dims) of the structure's voxels, evenly thinned to at most `_MAX_CENTRES`."""
    places = torch.from_numpy(np.flatnonzero(structure.numpy()))
    chosen = places[:: max(1, math.ceil(len(places) / _MAX_CENTRES))]
    return torch.stack(torch.unravel_index(chosen, structure.shape), dim=1)


def _endless(indices: Sequence[int], generator: torch.Generator) -> Iterator[int]:
    """The indices in random order, again and again."""
    while True:
        yield from (indices[place] for place in torch.randperm(len(indices), generator=generator).tolist())
