from __future__ import annotations

import numpy as np
import pytest

from FedSegCore.data.volume import Volume, same_grid
from FedSegCore.errors import DataError


def psr_affine() -> np.ndarray:
    return np.array([[0, 0, 3.0, -78], [-2.0, 0, 0, 82], [0, 1.5, 0, -75], [0, 0, 0, 1]])


def test_a_volume_knows_its_spacing_and_orientation_in_the_order_of_its_own_axes() -> None:
    volume = Volume(np.zeros((4, 5, 6)), psr_affine())
    assert volume.orientation == "PSR"
    assert volume.spacing_mm == (2.0, 1.5, 3.0)
    assert volume.shape == (4, 5, 6)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 6, 2)])
def test_a_volume_without_three_axes_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="3 axes"):
        Volume(np.zeros(shape), np.eye(4))


@pytest.mark.parametrize(
    "affine",
    [
        np.diag([1.0, 1.0, 0.0, 1.0]),
        np.full((4, 4), np.nan),
        np.eye(3),
        np.array([[1.0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
    ],
    ids=["zero spacing", "nan", "not 4 x 4", "parallel axes"],
)
def test_an_affine_that_does_not_span_space_is_refused(affine: np.ndarray) -> None:
    with pytest.raises(DataError):
        Volume(np.zeros((2, 2, 2)), affine)


def test_tiny_but_valid_voxels_are_accepted() -> None:
    assert Volume(np.zeros((2, 2, 2)), np.diag([1e-3, 1e-3, 1e-3, 1.0])).spacing_mm[0] == pytest.approx(1e-3)


def test_grids_are_the_same_up_to_header_rounding_and_differ_by_half_a_voxel_or_a_flip() -> None:
    affine = psr_affine()
    shifted, flipped = affine.copy(), affine.copy()
    shifted[:3, 3] += 0.8
    flipped[:3, 0] *= -1
    shape = (40, 50, 60)
    assert same_grid(shape, affine, other_shape=shape, other_affine=affine + 1e-5)
    assert not same_grid(shape, affine, other_shape=shape, other_affine=shifted)
    assert not same_grid(shape, affine, other_shape=shape, other_affine=flipped)
    assert not same_grid(shape, affine, other_shape=(40, 50, 61), other_affine=affine)
