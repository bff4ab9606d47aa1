"""An image on its grid: voxels, and where in the patient they lie."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from FedSegCore.errors import DataError

GRID_TOLERANCE_VOXELS = 0.1
"""Two grids whose corners lie closer than this are one grid: headers round, patients do not move by it."""


@final
@dataclass(frozen=True, eq=False)
class Volume:
    """A 3-D image in patient space.

    Args:
        array: voxels (X, Y, Z), in the order and the number type of the file.
        affine: (4, 4) float64, voxel index -> world mm, RAS+ (x to the patient's Right, y Anterior,
            z Superior).
        header: the file's own NIfTI header where it came from one, so that a result repeats its sform and
            qform bit by bit; None otherwise.

    Raises:
        DataError: the array is not 3-D, or the affine is no invertible 4 x 4 matrix.
    """

    array: np.ndarray
    affine: np.ndarray
    header: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.array.ndim != 3:
            raise DataError(f"A volume has 3 axes; this array has {self.array.ndim}: {self.array.shape}.")
        object.__setattr__(self, "affine", checked_affine(self.affine))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along each of the file's axes."""
        x, y, z = self.array.shape
        return (x, y, z)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxels along each of the file's axes, in mm."""
        return spacing_of(self.affine)

    @property
    def orientation(self) -> str:
        """Where the file's axes point, nearest first, such as "RAS" or "PSR"."""
        return orientation_of(self.affine)


def checked_affine(affine: np.ndarray) -> np.ndarray:
    """The affine as float64.

    Raises:
        DataError: it is not 4 x 4, not finite or not invertible.
    """
    affine = np.asarray(affine, dtype=np.float64)
    if affine.shape != (4, 4) or not np.all(np.isfinite(affine)):
        raise DataError(
            "A volume's affine must be a finite 4 x 4 matrix.",
            "Repair the image's header or convert it again.",
        )
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if np.any(lengths == 0.0) or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-6:
        raise DataError(
            "A volume's axes must span space; its header gives a spacing of 0 or two parallel axes.",
            "Repair the image's header or convert it again.",
        )
    return affine


def spacing_of(affine: np.ndarray) -> tuple[float, float, float]:
    """The lengths of an affine's three axes, in mm."""
    x, y, z = np.linalg.norm(affine[:3, :3], axis=0).tolist()
    return (x, y, z)


def orientation_of(affine: np.ndarray) -> str:
    """The nearest anatomical direction of each axis, as letters: "RAS", "PSR", ..."""
    from nibabel.orientations import aff2axcodes

    return "".join(aff2axcodes(affine))


def same_grid(
    shape: tuple[int, ...], affine: np.ndarray, *, other_shape: tuple[int, ...], other_affine: np.ndarray
) -> bool:
    """Whether two grids put every voxel at the same place, up to a tenth of a voxel at the corners."""
    if tuple(shape) != tuple(other_shape):
        return False
    ends = [(0, max(n - 1, 1)) for n in shape[:3]]
    corners = np.array([(x, y, z, 1) for x in ends[0] for y in ends[1] for z in ends[2]], dtype=np.float64)
    distance = np.linalg.norm(corners @ (affine - other_affine)[:3].T, axis=1).max()
    return bool(distance <= GRID_TOLERANCE_VOXELS * min(spacing_of(affine)))
