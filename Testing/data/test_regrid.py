"""Sequences of one patient on different grids."""

from __future__ import annotations

import numpy as np
import pytest

from FedSegCore.data.regrid import on_one_grid, overlap
from FedSegCore.data.volume import Volume
from FedSegCore.errors import DataError


def ramp(shape: tuple[int, int, int], affine: np.ndarray) -> Volume:
    """x + 2 y + 3 z in mm of the world, which linear interpolation finds again exactly."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    return Volume((world @ np.array([1.0, 2.0, 3.0])).astype(np.float32), affine)


T1 = ramp((12, 10, 8), np.diag([1.0, 1.0, 1.5, 1.0]))


def moved(x: float, *, spacing: float = 0.5, shape: tuple[int, int, int] = (24, 20, 24)) -> Volume:
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[0, 3] = x
    return ramp(shape, affine)


def test_images_on_one_grid_are_left_as_they_are() -> None:
    other = Volume(T1.array * 2, T1.affine)
    found = on_one_grid({"T1": T1, "FLAIR": other}, resample=False)
    assert found["T1"] is T1 and found["FLAIR"] is other


def test_another_grid_is_refused_unless_resampling_is_asked_for() -> None:
    with pytest.raises(DataError) as caught:
        on_one_grid({"T1": T1, "FLAIR": moved(0.0)}, resample=False)
    assert "--resample" in caught.value.fix


@pytest.mark.parametrize("turned", [False, True])
def test_resampling_finds_the_values_at_the_same_places_of_the_patient(turned: bool) -> None:
    flair = moved(0.0)
    if turned:  # the same image, its axes in another order and direction
        affine = flair.affine @ np.array([[0, -1, 0, 23], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
        flair = Volume(np.ascontiguousarray(flair.array[::-1].transpose(1, 0, 2)), affine)
    found = on_one_grid({"T1": T1, "FLAIR": flair}, resample=True)["FLAIR"]
    assert found.shape == T1.shape and np.array_equal(found.affine, T1.affine)
    inside = np.s_[:11, :9, :7]
    np.testing.assert_allclose(found.array[inside], T1.array[inside], atol=1e-3)


def test_images_that_hardly_overlap_are_refused_with_the_way_to_register_them() -> None:
    with pytest.raises(DataError) as caught:
        on_one_grid({"T1": T1, "FLAIR": moved(8.0)}, resample=True)
    assert "Register" in caught.value.fix and "%" in caught.value.message


@pytest.mark.parametrize(("shift", "share"), [(0.0, 1.0), (6.0, 0.5), (100.0, 0.0)])
def test_overlap_is_the_share_of_voxels_inside_the_other(shift: float, share: float) -> None:
    affine = T1.affine.copy()
    affine[0, 3] = shift
    assert overlap(Volume(T1.array, affine), T1) == pytest.approx(share)
