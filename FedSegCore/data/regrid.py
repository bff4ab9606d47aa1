"""Sequences of one patient on different grids, brought onto one grid on request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from FedSegCore.data.volume import Volume, same_grid
from FedSegCore.errors import DataError

_LEAST_OVERLAP: Final = 0.5
"""Of the first image's voxels, the share that another image must cover."""


def on_one_grid(volumes: Mapping[str, Volume], *, resample: bool) -> dict[str, Volume]:
    """A case's images on the grid of the first, resampled in world space where that is asked for.

    The patient's world coordinates are trusted: images are resampled, not registered.

    Raises:
        DataError: grids differ and resampling was not asked for, an oblique grid that cannot be resampled, or two
            images that hardly overlap.
    """
    name, first = next(iter(volumes.items()))
    result = {}
    for other, volume in volumes.items():
        if same_grid(volume.shape, volume.affine, other_shape=first.shape, other_affine=first.affine):
            result[other] = volume
            continue
        if not resample:
            raise DataError(
                f"The {other} image's grid ({volume.shape}) is not that of the {name} image ({first.shape}).",
                "Give --resample to bring them onto one grid, if the patient did not move in between.",
            )
        result[other] = _resampled(volume, first, names=(other, name))
    return result


def overlap(volume: Volume, like: Volume) -> float:
    """The share of a grid's voxels that lie inside another image, told from at most 64 along each axis."""
    some = (np.unique(np.linspace(0, side - 1, min(side, 64)).round()) for side in like.shape)
    index = np.stack(np.meshgrid(*some, indexing="ij"), axis=-1)
    to_other = np.linalg.inv(volume.affine) @ like.affine
    places = index @ to_other[:3, :3].T + to_other[:3, 3]
    inside = np.all((places >= -0.5) & (places <= np.array(volume.shape) - 0.5), axis=-1)
    return float(inside.mean())


def _resampled(volume: Volume, like: Volume, *, names: tuple[str, str]) -> Volume:
    from FedSegCore.data import itk

    shared = overlap(volume, like)
    if shared < _LEAST_OVERLAP:
        raise DataError(
            f"The {names[0]} image covers {shared:.0%} of the {names[1]} image: they do not lie at the same place.",
            "Register them first, in 3D Slicer with General Registration (BRAINS) or the SlicerElastix extension, "
            "and give the registered image.",
        )
    try:
        array = itk.resample(volume, like)
    except RuntimeError:
        raise DataError(
            f"The {names[0]} or {names[1]} image has axes that are not at right angles.",
            "Resample them onto one grid in 3D Slicer (Resample Scalar/Vector/DWI Volume).",
        ) from None
    return Volume(array, like.affine, like.header)
