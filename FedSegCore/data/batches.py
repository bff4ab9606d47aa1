"""From prepared cases in memory to batches of random patches.

A case is read, prepared and cached once (`cache_case`); an epoch then draws patches from memory and never
opens a file. How many steps an epoch has follows from the number of samples and the batch size alone, so
every method gets the same number of optimizer steps from the same site.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from FedSegCore.data.reading import read_labelled_case
from FedSegCore.errors import DataError, nearest
from FedSegCore.tensors.transfer import to_device

if TYPE_CHECKING:
    from FedSegCore.data.case import Case, Dataset
    from FedSegCore.data.labels import Annotation
    from FedSegCore.data.plan import Plan

_MAX_CENTRES = 4096
"""Foreground positions kept a sample and structure; more would only cost memory."""


@final
@dataclass(frozen=True, eq=False)
class CachedCase:
    """A prepared case in memory.

    Attributes:
        name: the case's name; stays at the site.
        image: one channel a network input; 0 where the site lacks the input. In a 2-D study Z counts slices.
        target: 1 inside the structure; 0 outside and where the structure is not annotated.
        annotated: which structures the site annotates.
    """

    name: str
    image: Float[Tensor, "c x y z"]
    target: UInt8[Tensor, "l x y z"]
    annotated: Bool[Tensor, " l"]


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
    """One thing an epoch visits: a volume (3-D) or a slice (2-D), at least as large as the patch.

    `centres` holds positions (N, dims) of foreground for each structure that has any; `case` is its case's number.
    """

    image: Tensor
    target: Tensor
    annotated: Tensor
    centres: tuple[Tensor, ...]
    case: int


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
        self, cases: Sequence[CachedCase], *, patch: Sequence[int], batch_size: int, dims: int
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
            _sample(*part, patch=self.patch, case=number)
            for number, case in enumerate(cases)
            for part in _parts(case, dims)
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
            yield tuple(sample.case for sample in samples), batch

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
        return [side - patch for side, patch in zip(sample.image.shape[1:], self.patch, strict=True)]

    def _cut(self, sample: _Sample, start: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        window = (slice(None), *(slice(a, a + side) for a, side in zip(start, self.patch, strict=True)))
        return sample.image[window], sample.target[window], sample.annotated

    def _start_at_foreground(self, sample: _Sample, room: list[int], generator: torch.Generator) -> list[int]:
        """The corner of a patch centred on a voxel of a random structure, moved inside the volume."""
        centres = sample.centres[int(torch.randint(len(sample.centres), (), generator=generator))]
        voxel = centres[int(torch.randint(len(centres), (), generator=generator))].tolist()
        return _corner(voxel, room, self.patch)


def input_sources(
    inputs: Sequence[str], *, owned: Sequence[str], channel_names: Sequence[str]
) -> tuple[int | None, ...]:
    """Which of a dataset's channels feeds each input of the network; None where the site has none.

    One input and one owned modality belong together whatever their names, so that a CT site and an MR site
    train one network. Otherwise names decide.

    Args:
        inputs: the study's network inputs by modality name.
        owned: the modalities that the site uses in this study.
        channel_names: the dataset's channels in file order.

    Raises:
        DataError: an owned modality that the dataset lacks, or none of the inputs owned.
    """
    for name in owned:
        if name not in channel_names:
            raise DataError(
                f'Expected modality "{name}" among the dataset\'s channels {tuple(channel_names)}.',
                nearest(name, channel_names),
            )
    if len(inputs) == 1 and len(owned) == 1:
        return (channel_names.index(owned[0]),)
    sources = tuple(channel_names.index(name) if name in owned else None for name in inputs)
    if all(source is None for source in sources):
        raise DataError(
            f"Expected one of the network's inputs {tuple(inputs)}, got a site with {tuple(owned)}.",
            "Name the site's modalities as the study's others do.",
        )
    return sources


def cache_case(
    case: Case, dataset: Dataset, plan: Plan, annotation: Annotation, *, channels: Sequence[int | None]
) -> CachedCase:
    """Read and prepare a case once, for training.

    Args and errors are those of `read_labelled_case`; for `channels` see `input_sources`.
    """
    read = read_labelled_case(case, dataset, plan, annotation, channels=channels)
    target = torch.from_numpy(plan.prepare_target(read.structures, read.geometry))
    return CachedCase(case.name, read.image, target, torch.tensor(annotation.annotated))


def _parts(case: CachedCase, dims: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The case itself in 3-D, its slices along Z in 2-D."""
    if dims == 3:
        yield case.image, case.target, case.annotated
        return
    for z in range(case.image.shape[-1]):
        yield case.image[..., z], case.target[..., z], case.annotated


def _sample(
    image: Tensor, target: Tensor, annotated: Tensor, *, patch: tuple[int, ...], case: int
) -> _Sample:
    """A case or slice, padded to the patch where it is smaller, with its foreground listed."""
    if any(want > side for want, side in zip(patch, image.shape[1:], strict=True)):
        image, target = _padded(image, target, patch=patch)
    centres = tuple(voxels for voxels in map(_centres, target[annotated]) if len(voxels))
    return _Sample(image, target, annotated, centres, case)


def _middle(sample: _Sample) -> list[int]:
    """The mean position of its foreground, or the middle where it has none."""
    if not sample.centres:
        return [side // 2 for side in sample.image.shape[1:]]
    middle: list[int] = torch.cat(sample.centres).double().mean(0).long().tolist()
    return middle


def _corner(middle: Sequence[int], room: Sequence[int], patch: Sequence[int]) -> list[int]:
    """Where the patch around a position begins, moved inside the volume."""
    return [min(max(at - side // 2, 0), free) for at, side, free in zip(middle, patch, room, strict=True)]


def _padded(image: Tensor, target: Tensor, *, patch: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Grown to the patch, centred: images with each channel's minimum, targets with 0."""
    sides = [max(want, side) for want, side in zip(patch, image.shape[1:], strict=True)]
    starts = [(whole - side) // 2 for whole, side in zip(sides, image.shape[1:], strict=True)]
    inside = tuple(slice(a, a + side) for a, side in zip(starts, image.shape[1:], strict=True))
    padded = image.flatten(1).amin(dim=1).view(-1, *[1] * len(patch)).repeat(1, *sides)
    padded[(slice(None), *inside)] = image
    structures = target.new_zeros(len(target), *sides)
    structures[(slice(None), *inside)] = target
    return padded, structures


def _centres(structure: Tensor) -> Tensor:
    """Positions (N, dims) of the structure's voxels, evenly thinned to at most `_MAX_CENTRES`."""
    voxels = structure.nonzero()
    return voxels[:: max(1, math.ceil(len(voxels) / _MAX_CENTRES))].clone()


def _endless(indices: Sequence[int], generator: torch.Generator) -> Iterator[int]:
    """The indices in random order, again and again."""
    while True:
        yield from (indices[place] for place in torch.randperm(len(indices), generator=generator).tolist())
