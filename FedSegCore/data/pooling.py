"""Adds up what single cases told, so that only the sums go on: grids, labels, intensities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
from nibabel.orientations import io_orientation

from FedSegCore.data.histogram import length_bin, per_million, pool
from FedSegCore.data.labels import Annotation, LabelSet
from FedSegCore.data.rawimage import FileFacts
from FedSegCore.data.scan import CaseScan

AXES = ("right", "anterior", "superior")
Histogram = dict[int, int]


@final
@dataclass(frozen=True)
class Intensities:
    """How one modality's voxels are distributed, in parts per million of a bin.

    Args:
        voxels: how many.
        every: of all voxels.
        labelled: of the voxels that some structure covers; {} where nothing is annotated.
    """

    voxels: int
    every: Histogram
    labelled: Histogram


def label_values(labels: LabelSet | None, annotation: Annotation | None) -> dict[str, frozenset[int]]:
    """Label -> the site's label-map values; the study's annotated labels, or the dataset's own."""
    if labels is None:
        return {}
    if annotation is None:
        return {name: frozenset(values) for name, values in labels.values.items()}
    pairs = zip(annotation.labels, annotation.groups, strict=True)
    return {name: labels.numbers(group) for name, group in pairs if group}


def label_totals(
    scans: Iterable[CaseScan], values: Mapping[str, Iterable[int]]
) -> tuple[dict[str, int], dict[str, int]]:
    """Label -> voxels in all cases together, and label -> number of cases that contain it."""
    contents = [scan.label.counts for scan in scans if scan.label is not None]
    voxels = {
        name: [sum(one.get(value, 0) for value in wanted) for one in contents]
        for name, wanted in values.items()
    }
    return (
        {name: sum(counts) for name, counts in voxels.items()},
        {name: sum(count > 0 for count in counts) for name, counts in voxels.items()},
    )


def ras_grids(scans: Iterable[CaseScan]) -> tuple[list[tuple[float, ...]], list[tuple[float, ...]]]:
    """Spacing in mm and voxels a side of each case's first usable image, axes in the order R, A, S."""
    grids = []
    for scan in scans:
        images = (image.facts for image in scan.images if image is not None)
        usable = (one for one in images if len(one.shape) == 3 and one.usable and min(one.shape) > 0)
        first = next(usable, None)
        if first is not None:
            grids.append(_in_ras_order(first))
    return [spacing for spacing, _ in grids], [sides for _, sides in grids]


def _in_ras_order(facts: FileFacts) -> tuple[tuple[float, ...], tuple[float, ...]]:
    world = io_orientation(facts.affine)[:, 0].astype(int)
    order = np.argsort(world)
    return tuple(facts.spacing_mm[axis] for axis in order), tuple(float(facts.shape[axis]) for axis in order)


def per_axis(lengths: Iterable[tuple[float, ...]], *, step: float) -> tuple[Histogram, ...]:
    """One histogram an axis of lengths that come one tuple a case."""
    axes = list(zip(*lengths, strict=True)) or [()] * len(AXES)
    return tuple(pool({length_bin(length, step=step): 1} for length in axis) for axis in axes)


def pooled_intensities(scans: Iterable[CaseScan], channel: int) -> Intensities:
    """The distribution of one channel's voxels over all cases."""
    images = [scan.images[channel] for scan in scans if channel < len(scan.images)]
    every = pool(one.histogram for one in images if one is not None and one.histogram)
    labelled = pool(one.labelled for one in images if one is not None and one.labelled)
    return Intensities(sum(every.values()), per_million(every), per_million(labelled))
