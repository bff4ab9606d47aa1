"""Whether volumes lie on one grid, and how far they overlap; grids are 4x4 matrices from voxel to RAS and sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

LITTLE = 0.5
"""Overlap below which volumes are to be registered before anything is resampled."""

_SAME_MM = 0.01


@dataclass(frozen=True)
class Grid:
    """The voxels of a volume.

    Args:
        matrix: 4 rows of 4, voxel index to RAS in mm.
        size: voxels along each axis.
    """

    matrix: tuple[tuple[float, ...], ...]
    size: tuple[int, int, int]

    def position(self, voxel: Sequence[float]) -> tuple[float, float, float]:
        """RAS in mm of a voxel's centre."""
        x, y, z = (sum(row[k] * voxel[k] for k in range(3)) + row[3] for row in self.matrix[:3])
        return x, y, z

    def corners(self) -> list[tuple[float, float, float]]:
        """The centres of the eight outermost voxels."""
        return [self.position(voxel) for voxel in product(*((0, n - 1) for n in self.size))]


def sameGrid(first: Grid, second: Grid) -> bool:
    """Whether two volumes have the same voxels, to a hundredth of a millimetre."""
    return first.size == second.size and all(
        abs(a - b) <= _SAME_MM
        for one, other in zip(first.corners(), second.corners())
        for a, b in zip(one, other)
    )


def overlap(first: Grid, second: Grid) -> float:
    """The part of the first volume's bounding box in RAS that the second one's covers, 0 to 1."""
    share = 1.0
    for axis in range(3):
        low, high = _extent(first, axis)
        otherLow, otherHigh = _extent(second, axis)
        covered = max(0.0, min(high, otherHigh) - max(low, otherLow))
        share *= covered / (high - low) if high > low else float(otherLow <= low <= otherHigh)
    return share


def _extent(grid: Grid, axis: int) -> tuple[float, float]:
    values = [corner[axis] for corner in grid.corners()]
    return min(values), max(values)
