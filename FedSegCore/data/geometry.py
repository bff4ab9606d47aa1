"""From a file's grid to the network's grid and exactly back.

A grid is turned by permuting and flipping axes (no interpolation), then resampled along its own axes; an
oblique image stays oblique. Resampling is linear and aligned at the outer edges of the voxels, which keeps
the physical extent. Where it makes the voxels of an image larger, the kernel widens with them (spread as
the new voxel is), so that noise averages out instead of aliasing. Masks and maps are sampled without
widening: what is thin must survive, and the way back then undoes the way there best. All of it works element
by element, one axis after the other, so the bits do not depend on the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np

from FedSegCore.data.volume import spacing_of

if TYPE_CHECKING:
    from jaxtyping import Float32, Shaped

SPACING_TOLERANCE = 1e-3
"""Spacings closer than this share of each other are the same: no resampling."""
_AT_ONCE = 2**20
"""Voxels that are resampled at once; what is made on the way stays small beside the image."""


@final
@dataclass(frozen=True, eq=False)
class Geometry:
    """How an image was brought onto the network's grid.

    Args:
        shape: the file's grid (X, Y, Z).
        affine: the file's (4, 4), voxel index -> RAS+ world mm.
        axes: for each prepared axis the file axis that it runs along.
        flipped: for each prepared axis whether it runs against that file axis.
        prepared_shape: the network's grid (X', Y', Z').
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]
    prepared_shape: tuple[int, int, int]

    @property
    def oriented_shape(self) -> tuple[int, int, int]:
        """The file's grid after turning, before resampling."""
        x, y, z = (self.shape[axis] for axis in self.axes)
        return (x, y, z)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """The prepared grid's spacing: the extent over a whole number of voxels, so nearly what was asked."""
        return spacing_of(self.prepared_affine)

    @property
    def prepared_affine(self) -> np.ndarray:
        """(4, 4) of the prepared grid; a resampled axis starts (new - old spacing) / 2 further in."""
        step = np.array(self.oriented_shape) / np.array(self.prepared_shape)
        scale = np.diag([*step, 1.0])
        scale[:3, 3] = (step - 1.0) / 2.0
        prepared: np.ndarray = self.affine @ self._turn() @ scale
        return prepared

    def _turn(self) -> np.ndarray:
        """(4, 4): index on the turned grid -> index in the file."""
        turn = np.zeros((4, 4))
        turn[3, 3] = 1.0
        for new, (old, flip) in enumerate(zip(self.axes, self.flipped, strict=True)):
            turn[old, new] = -1.0 if flip else 1.0
            turn[old, 3] = self.shape[old] - 1 if flip else 0.0
        return turn


def plan_geometry(
    shape: tuple[int, int, int],
    affine: np.ndarray,
    *,
    orientation: str,
    spacing_mm: Sequence[float | None],
) -> Geometry:
    """Decides how a file's grid is turned and resampled.

    Args:
        shape: the file's grid.
        affine: the file's (4, 4), RAS+.
        orientation: where the prepared axes point, such as "RAS"; nearest axes, no rotation.
        spacing_mm: wanted spacing per prepared axis; None leaves that axis as it is.
    """
    from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

    turn = ornt_transform(io_orientation(affine), axcodes2ornt(orientation))
    axes, flipped = [0, 0, 0], [False, False, False]
    for old, (new, sign) in enumerate(turn.tolist()):
        axes[int(new)], flipped[int(new)] = old, sign < 0
    own = spacing_of(affine)
    size = [_resampled(shape[old], own[old], wanted) for old, wanted in zip(axes, spacing_mm, strict=True)]
    return Geometry(
        shape=(shape[0], shape[1], shape[2]),
        affine=affine,
        axes=(axes[0], axes[1], axes[2]),
        flipped=(flipped[0], flipped[1], flipped[2]),
        prepared_shape=(size[0], size[1], size[2]),
    )


def _resampled(voxels: int, own_mm: float, wanted_mm: float | None) -> int:
    if wanted_mm is None or abs(own_mm - wanted_mm) <= SPACING_TOLERANCE * wanted_mm:
        return voxels
    return max(1, round(voxels * own_mm / wanted_mm))


def orient(array: Shaped[np.ndarray, "*c x y z"], geometry: Geometry) -> Shaped[np.ndarray, "*c u v w"]:
    """Permutes and flips the last three axes into the prepared order; a view, exact."""
    lead = array.ndim - 3
    turned = array.transpose((*range(lead), *(lead + axis for axis in geometry.axes)))
    flipped: np.ndarray = turned[_flips(geometry.flipped)]
    return flipped


def unorient(array: Shaped[np.ndarray, "*c u v w"], geometry: Geometry) -> Shaped[np.ndarray, "*c x y z"]:
    """The exact inverse of `orient`; a view."""
    lead = array.ndim - 3
    back = np.argsort(geometry.axes).tolist()
    flipped: np.ndarray = array[_flips(geometry.flipped)]
    return flipped.transpose((*range(lead), *(lead + axis for axis in back)))


def _flips(flipped: Sequence[bool]) -> tuple[Any, ...]:
    return (..., *(slice(None, None, -1 if flip else 1) for flip in flipped))


def resample(array: Float32[np.ndarray, "*c x y z"], shape: Sequence[int]) -> Float32[np.ndarray, "*c u v w"]:
    """Linear resampling of the last three axes onto `shape` voxels over the same extent, for masks and maps.

    An axis that keeps its number of voxels keeps its bits. Beyond the outermost voxel centres values are
    those of the outermost voxels. The same as torch's `interpolate(mode="trilinear", align_corners=False)`.
    """
    return _along_axes(array, shape, widest=1.0)


def resample_image(
    array: Float32[np.ndarray, "*c x y z"], shape: Sequence[int]
) -> Float32[np.ndarray, "*c u v w"]:
    """As `resample`, with a kernel as wide as the new voxels where these are larger, for grey values."""
    return _along_axes(array, shape, widest=math.inf)


def _along_axes(array: np.ndarray, shape: Sequence[int], *, widest: float) -> np.ndarray:
    lead = array.ndim - 3
    for axis, size in enumerate(shape, start=lead):
        if array.shape[axis] != size:
            array = _along_axis(array, axis, size=size, widest=widest)
    return array


def _along_axis(array: np.ndarray, axis: int, *, size: int, widest: float) -> np.ndarray:
    taps, weights = _kernel(array.shape[axis], size, widest=widest)
    shape = [1] * array.ndim
    shape[axis] = size
    total = np.zeros((*array.shape[:axis], size, *array.shape[axis + 1 :]), dtype=np.float32)
    other = axis - 1 if axis == array.ndim - 1 else axis + 1
    step = max(1, _AT_ONCE * array.shape[other] // total.size)
    for start in range(0, array.shape[other], step):
        slab = (*(slice(None),) * other, slice(start, start + step))
        part, into = array[slab], total[slab]
        for tap, weight in zip(taps, weights, strict=True):
            into += np.take(part, tap, axis=axis) * weight.reshape(shape)
    return total


def _kernel(voxels: int, size: int, *, widest: float) -> tuple[np.ndarray, np.ndarray]:
    """Which old voxels make up each new one: indices and weights (taps, size); weights add up to 1.

    The weights integrate the linear interpolant over a box. The box has no width where voxels do not grow; where
    they grow s-fold its width √(2(s² - 1)) gives kernel and new voxel the same spread, s²/6. Unlike a wide triangle
    sampled at the voxels, that leaves a ramp exactly where it was.
    """
    step = voxels / size
    box = math.sqrt(2.0 * (min(max(step, 1.0), widest) ** 2 - 1.0))
    reach = 1.0 + 0.5 * box
    centre = (np.arange(size) + 0.5) * step - 0.5
    first = np.floor(centre - reach).astype(np.int64) + 1
    taps = first + np.arange(int(np.ceil(2.0 * reach)))[:, None]
    away = taps - centre
    if box > 0.0:
        weights = (_hat_below(0.5 * box - away) - _hat_below(-0.5 * box - away)) / box
    else:
        weights = np.clip(1.0 - np.abs(away), 0.0, None)
    weights /= weights.sum(axis=0)
    used = weights.any(axis=1)
    return np.clip(taps, 0, voxels - 1)[used], weights[used].astype(np.float32)


def _hat_below(x: np.ndarray) -> np.ndarray:
    """The area below linear interpolation's hat function, from -1 to x."""
    inner = np.clip(x, -1.0, 1.0)
    area: np.ndarray = np.where(inner < 0.0, 0.5 * (1.0 + inner) ** 2, 1.0 - 0.5 * (1.0 - inner) ** 2)
    return area
