from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from FedSegCore.data.geometry import Geometry, orient, plan_geometry, resample, resample_image, unorient
from FedSegCore.data.volume import orientation_of

ORIENTATIONS = [
    "".join(letters)
    for axes in itertools.permutations(("LR", "PA", "IS"))
    for letters in itertools.product(*axes)
]


def affine_of(orientation: str, *, spacing: tuple[float, float, float], turn_degrees: float) -> np.ndarray:
    """An affine whose axes point where the letters say, then turned obliquely about a skew axis."""
    rows = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
    axes = np.zeros((3, 3))
    for column, letter in enumerate(orientation):
        row, sign = rows[letter]
        axes[row, column] = sign * spacing[column]
    k = np.array([1.0, 2.0, -1.5]) / np.linalg.norm([1.0, 2.0, -1.5])
    cross = np.array([[0, -k[2], k[1]], [k[2], 0, -k[0]], [-k[1], k[0], 0]])
    angle = np.deg2rad(turn_degrees)
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross) @ axes
    affine[:3, 3] = (-31.5, 12.25, 87.0)
    return affine


spacings = st.tuples(*[st.floats(0.4, 4.0)] * 3)
shapes = st.tuples(*[st.integers(1, 9)] * 3)
turns = st.floats(-25.0, 25.0)


def test_there_are_48_orientations() -> None:
    assert len(set(ORIENTATIONS)) == 48


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_orientation_is_turned_and_turned_back_exactly(orientation: str) -> None:
    affine = affine_of(orientation, spacing=(1.0, 2.0, 3.0), turn_degrees=12.0)
    assert orientation_of(affine) == orientation
    geometry = plan_geometry((3, 4, 5), affine, orientation="RAS", spacing_mm=(None, None, None))
    array = np.arange(120).reshape(2, 3, 4, 5)
    turned = orient(array, geometry)
    assert turned.shape[1:] == geometry.prepared_shape == geometry.oriented_shape
    assert orientation_of(geometry.prepared_affine) == "RAS"
    assert np.array_equal(unorient(turned, geometry), array)


@given(
    source=st.sampled_from(ORIENTATIONS),
    target=st.sampled_from(ORIENTATIONS),
    shape=shapes,
    spacing=spacings,
    turn=turns,
    seed=st.integers(0, 99),
)
def test_a_voxel_keeps_its_place_in_the_world(
    source: str,
    target: str,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    turn: float,
    seed: int,
) -> None:
    affine = affine_of(source, spacing=spacing, turn_degrees=turn)
    geometry = plan_geometry(shape, affine, orientation=target, spacing_mm=(None, None, None))
    index = np.random.default_rng(seed).integers(0, shape)
    marked = np.zeros(shape)
    marked[tuple(index)] = 1
    (found,) = np.argwhere(orient(marked, geometry))
    here, there = affine @ [*index, 1], geometry.prepared_affine @ [*found, 1]
    assert np.allclose(here, there, atol=1e-9)


@given(
    source=st.sampled_from(ORIENTATIONS),
    shape=st.tuples(*[st.integers(6, 16)] * 3),
    spacing=spacings,
    wanted=spacings,
    turn=turns,
)
def test_a_ramp_along_the_world_stays_the_same_ramp_after_resampling(
    source: str,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    wanted: tuple[float, float, float],
    turn: float,
) -> None:
    affine = affine_of(source, spacing=spacing, turn_degrees=turn)
    geometry = plan_geometry(shape, affine, orientation="RAS", spacing_mm=wanted)
    slope = np.array([0.7, -1.1, 0.4, 3.0])
    ramp = (slope @ affine @ grid_points(shape)).reshape(shape).astype(np.float32)
    expected = (slope @ geometry.prepared_affine @ grid_points(geometry.prepared_shape)).reshape(
        geometry.prepared_shape
    )
    inner = inside(geometry)
    rounding = 1e-5 * (1 + np.abs(expected).max())
    for way in (resample, resample_image):
        got = way(orient(ramp, geometry), geometry.prepared_shape)
        assert np.abs(got - expected)[inner].max(initial=0.0) <= rounding


def grid_points(shape: tuple[int, ...]) -> np.ndarray:
    return np.stack([*np.meshgrid(*map(np.arange, shape), indexing="ij"), np.ones(shape)]).reshape(4, -1)


def inside(geometry: Geometry) -> tuple[slice, ...]:
    """Voxels whose kernel does not reach beyond the image."""
    inner = []
    for old, new in zip(geometry.oriented_shape, geometry.prepared_shape, strict=True):
        step = old / new
        margin = int(np.ceil((max(step, 1.0) + 0.5) / step)) + 1
        inner.append(slice(margin, max(new - margin, margin)))
    return tuple(inner)


def test_the_physical_extent_is_kept_and_the_origin_moves_by_half_the_difference() -> None:
    geometry = plan_geometry(
        (10, 10, 12), np.diag([1, 1, 1, 1.0]), orientation="RAS", spacing_mm=(2.0, 0.5, 1)
    )
    assert geometry.prepared_shape == (5, 20, 12)
    assert geometry.spacing_mm == (2.0, 0.5, 1.0)
    assert geometry.prepared_affine[:3, 3].tolist() == [0.5, -0.25, 0.0]


@pytest.mark.parametrize("own", [1.0, 1.0009, 0.9991])
def test_spacings_that_agree_to_a_thousandth_are_not_resampled(own: float) -> None:
    geometry = plan_geometry(
        (600, 5, 5), np.diag([own, 1, 1, 1]), orientation="RAS", spacing_mm=(1.0, 1.0, 1.0)
    )
    assert geometry.prepared_shape == (600, 5, 5)


def test_a_short_axis_keeps_at_least_one_voxel() -> None:
    geometry = plan_geometry(
        (1, 4, 4), np.diag([1, 1, 1, 1.0]), orientation="RAS", spacing_mm=(9.0, 9.0, 9.0)
    )
    assert geometry.prepared_shape == (1, 1, 1)
    assert resample(np.ones((1, 4, 4), np.float32), (1, 1, 1)).item() == 1.0


@given(st.tuples(*[st.integers(1, 12)] * 3), st.tuples(*[st.integers(1, 12)] * 3))
def test_resampling_masks_and_maps_is_torchs_trilinear_interpolation(
    old: tuple[int, ...], new: tuple[int, ...]
) -> None:
    array = np.random.default_rng(0).random((2, *old), dtype=np.float32)
    expected = torch.nn.functional.interpolate(torch.from_numpy(array)[None], size=new, mode="trilinear")[0]
    assert np.allclose(resample(array, new), expected.numpy(), atol=1e-5)


def test_an_image_made_coarser_averages_noise_where_a_mask_is_sampled() -> None:
    noise = np.random.default_rng(0).standard_normal((40, 40, 40)).astype(np.float32)
    coarse = (10, 10, 10)
    assert resample_image(noise, coarse).std() < 0.4 * resample(noise, coarse).std()
    ones = resample_image(np.ones_like(noise), coarse)
    assert np.allclose(ones, 1.0, atol=1e-6)


def test_axes_that_keep_their_size_keep_their_bits() -> None:
    array = np.random.default_rng(0).random((3, 4, 5, 6), dtype=np.float32)
    assert resample(array, (4, 5, 6)) is array
    flat = np.repeat(array[:, :1], 4, axis=1)
    assert np.array_equal(resample(flat, (8, 5, 6))[:, 0], array[:, 0])


def test_resampling_slab_by_slab_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.random.default_rng(0).normal(size=(2, 11, 7, 9)).astype(np.float32)
    whole = [way(array, (5, 13, 9)) for way in (resample, resample_image)]
    monkeypatch.setattr("FedSegCore.data.geometry._AT_ONCE", 60)
    slabs = [way(array, (5, 13, 9)) for way in (resample, resample_image)]
    assert all(np.array_equal(*pair) for pair in zip(whole, slabs, strict=True))
