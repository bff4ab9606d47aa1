"""What tells a picture apart from any other, however it is stored.

A hash of the voxels would do for copies of a file only: turned axes or rescaled intensities change every
byte, and rounding makes a rescaled copy differ somewhere even after both were scaled alike. Here a picture is
known by the means of its planes across each body axis. They follow the axes when those are turned, are the
same up to rounding when intensities are rescaled linearly, and cost less than a hash.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from nibabel.orientations import io_orientation

TOLERANCE = 2e-3
"""In standard deviations. Copies rounded to 16 bits differ by 2e-5, pictures of two patients by 0.2 and more."""

_FLAT = 1e-11
"""Plane means that spread by less than this share of their size differ by rounding only."""


@final
@dataclass(frozen=True, eq=False)
class Fingerprint:
    """A picture without its storage.

    Args:
        sides: voxels along the axes right, anterior, superior.
        means: of the planes across each of these axes in turn, shifted and scaled to mean 0 and variance 1.
    """

    sides: tuple[int, ...]
    means: np.ndarray

    def shows_the_same(self, other: Fingerprint) -> bool:
        """Whether two images are one picture up to turned axes and linearly rescaled intensities."""
        if self.sides != other.sides:
            return False
        return bool(np.abs(self.means - other.means).max() <= TOLERANCE)


def fingerprint_of(array: np.ndarray, affine: np.ndarray) -> Fingerprint | None:
    """The fingerprint of an image; None where it has none: not 3-D, or all of its planes are alike.

    Args:
        array: (X, Y, Z) finite voxels.
        affine: (4, 4), voxel index -> RAS+ world mm, invertible.
    """
    if array.ndim != 3 or array.size == 0:
        return None
    slab = array.sum(axis=2, dtype=np.float64)
    sums = (slab.sum(axis=1), slab.sum(axis=0), array.sum(axis=(0, 1), dtype=np.float64))
    means = [one * (one.size / array.size) for one in sums]
    directions = io_orientation(affine)
    stored = [int(axis) for axis in np.argsort(directions[:, 0])]
    turned = [means[axis][:: int(directions[axis, 1])] for axis in stored]
    joined = np.concatenate(turned)
    spread = float(joined.std())
    if spread <= _FLAT * float(np.abs(joined).max()):
        return None
    return Fingerprint(tuple(one.size for one in turned), (joined - joined.mean()) / spread)
