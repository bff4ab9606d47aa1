from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from FedSegCore.data.case import read_dataset
from FedSegCore.data.io import read_volume
from FedSegCore.data.labels import annotate
from FedSegCore.data.plan import Intensity, Plan, undo
from FedSegCore.data.volume import Volume
from FedSegCore.errors import DataError, StudyError

OBLIQUE = np.array(
    [
        [-1.99662268, -0.11613927, 0.00309402, 118.68132],
        [-0.11422966, 1.95268106, -0.41711903, -79.137924],
        [-0.02120128, 0.41659138, 1.95601690, -57.67998],
        [0, 0, 0, 1],
    ]
)
PSR = np.array([[0, 0, 2.0, -78.0], [-2.0, 0, 0, 82.0], [0, 2.0, 0, -75.0], [0, 0, 0, 1]])
FLIPPED = np.diag([-1.0, -1.5, 2.0, 1.0])
GRIDS = {"oblique": OBLIQUE, "PSR": PSR, "flipped": FLIPPED}


def plan3(**keys: Any) -> Plan:
    return Plan(3, **{"patch": (16, 16, 16), **keys})


def ball(shape: tuple[int, int, int], radius: float, *, shift: float = 0.0) -> np.ndarray:
    centre = (np.array(shape) - 1) / 2 + shift
    points = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return np.linalg.norm(points - centre, axis=-1) < radius


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS.keys())
@pytest.mark.parametrize("own_spacing", [False, True])
def test_without_resampling_the_way_there_and_back_is_exact(affine: np.ndarray, own_spacing: bool) -> None:
    volume = Volume(np.random.default_rng(0).random((9, 10, 11), dtype=np.float32), affine)
    free = plan3()
    spacing = free.geometry(volume.shape, affine).spacing_mm
    plan = plan3(spacing_mm=spacing) if own_spacing else free
    prepared = plan.prepare([volume], ["T1"])
    masks = np.stack([ball(volume.shape, 3), ball(volume.shape, 2)])
    target = plan.prepare_target(masks, prepared.geometry)
    assert target.dtype == np.uint8
    assert prepared.image.shape[1:] == target.shape[1:] == prepared.geometry.prepared_shape
    assert np.array_equal(undo(target.astype(np.float32), prepared.geometry), masks)
    assert np.array_equal(undo(prepared.image, prepared.geometry)[0], plan.rule("T1").apply(volume.array))


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS.keys())
@pytest.mark.parametrize("finer", [0.6, 1.4])
def test_with_resampling_the_way_there_and_back_is_nearly_exact(affine: np.ndarray, finer: float) -> None:
    shape = (24, 26, 28)
    own = plan3().geometry(shape, affine).spacing_mm
    geometry = plan3(spacing_mm=tuple(finer * s for s in own)).geometry(shape, affine)
    mask = ball(shape, 9)
    target = plan3().prepare_target(mask[None], geometry)
    back = undo(target.astype(np.float32), geometry)[0] > 0.5
    assert dice(back, mask) > 0.96
    smooth = np.cos(np.linspace(0, 3, 24))[:, None, None] * np.ones(shape)
    there = undo_of_smooth(smooth.astype(np.float32), geometry)
    assert np.abs(there - smooth)[2:-2].max() < 0.02


def undo_of_smooth(smooth: np.ndarray, geometry: Any) -> np.ndarray:
    from FedSegCore.data.geometry import orient, resample

    return undo(resample(orient(smooth, geometry), geometry.prepared_shape)[None], geometry)[0]


@given(
    spacing=st.tuples(*[st.floats(0.8, 3.5)] * 3),
    corner=st.tuples(*[st.integers(4, 12)] * 3),
    affine=st.sampled_from(list(GRIDS.values())),
)
def test_a_landmark_stays_where_it_is_in_the_world(
    spacing: tuple[float, float, float], corner: tuple[int, int, int], affine: np.ndarray
) -> None:
    shape = (24, 24, 24)
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(c, c + 8) for c in corner)] = True
    plan = plan3(spacing_mm=spacing)
    geometry = plan.geometry(shape, affine)
    target = plan.prepare_target(mask[None], geometry)[0]
    here = affine @ [*np.argwhere(mask).mean(axis=0), 1]
    there = geometry.prepared_affine @ [*np.argwhere(target).mean(axis=0), 1]
    assert np.linalg.norm(here - there) <= 0.5 * np.linalg.norm(geometry.spacing_mm) + 1e-6


def test_channels_of_different_modality_get_their_own_rule() -> None:
    array = np.linspace(-1000, 1000, 125, dtype=np.float32).reshape(5, 5, 5)
    prepared = plan3().prepare([Volume(array, np.eye(4)), Volume(array, np.eye(4))], ["CT", "T1"])
    ct, mr = prepared.image
    assert (ct.min(), ct.max()) == (-2.0, 2.0)
    assert abs(mr.mean()) < 1e-5
    assert mr.std() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    ("modality", "rule"),
    [
        ("CT", Intensity("window", -160, 240)),
        ("ct", Intensity("window", -160, 240)),
        ("MRI", Intensity("zscore", 0.5, 99.5)),
        ("T1", Intensity("percentile", 1, 99)),
    ],
)
def test_the_rule_hangs_on_the_modality(modality: str, rule: Intensity) -> None:
    plan = plan3(intensity={"T1": Intensity("percentile", 1, 99)})
    assert plan.rule(modality) == rule


def test_a_window_maps_its_middle_to_zero_and_clips() -> None:
    image = np.array([-1000, -160, 40, 240, 3000], dtype=np.int16).reshape(5, 1, 1)
    assert Intensity("window", -160, 240).apply(image).ravel().tolist() == [-2.0, -2.0, 0.0, 2.0, 2.0]


def test_percentiles_map_to_the_same_range_as_a_window() -> None:
    image = np.arange(101, dtype=np.uint8).reshape(101, 1, 1)
    got = Intensity("percentile", 10, 90).apply(image).ravel()
    assert (got[0], got[50], got[100]) == (-2.0, 0.0, 2.0)


@pytest.mark.parametrize("rule", ["zscore", "percentile", "window"])
@pytest.mark.parametrize("value", [0.0, 7.3, 1e6])
def test_a_constant_image_stays_finite(rule: str, value: float) -> None:
    got = Intensity(rule, 0.5, 99.5).apply(np.full((4, 4, 4), value))
    assert np.isfinite(got).all()
    assert rule == "window" or not got.any()


@pytest.mark.parametrize("rule", ["zscore", "percentile"])
def test_a_few_bright_voxels_survive_percentiles_that_coincide(rule: str) -> None:
    image = np.zeros((20, 20, 20), dtype=np.float32)
    image[3, 4, 5] = 9.0
    got = Intensity(rule, 0.5, 99.5).apply(image)
    assert got[3, 4, 5] > got[0, 0, 0]


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
def test_rules_give_the_bits_of_their_formulas(dtype: type) -> None:
    image = np.random.default_rng(1).normal(40, 300, (9, 8, 7)).astype(dtype)
    single = image.astype(np.float32)
    unit = (np.clip(single, np.float32(-160), np.float32(240)) - np.float32(-160)) / np.float32(400)
    windowed = (unit - np.float32(0.5)) / np.float32(0.25)
    assert np.array_equal(Intensity("window", -160.0, 240.0).apply(image), windowed)
    low, high = (np.float32(value) for value in np.percentile(single, [0.5, 99.5]))
    clipped = np.clip(single, low, high)
    mean, deviation = clipped.mean(dtype=np.float64), clipped.std(dtype=np.float64)
    scored = (clipped - np.float32(mean)) / np.float32(deviation)
    assert np.array_equal(Intensity("zscore", 0.5, 99.5).apply(image), scored)
    assert image.dtype == dtype and np.array_equal(image.astype(np.float32), single), "the scan is as it was"


def test_integer_images_are_not_changed_in_place() -> None:
    array = np.arange(27, dtype=np.float32).reshape(3, 3, 3)
    plan3().prepare([Volume(array, np.eye(4))], ["T1"])
    assert np.array_equal(array, np.arange(27).reshape(3, 3, 3))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_values_that_no_network_can_take_are_refused(bad: float) -> None:
    array = np.zeros((3, 3, 3))
    array[1, 1, 1] = bad
    with pytest.raises(DataError, match="FLAIR image contains NaN or infinite"):
        plan3().prepare([Volume(array, np.eye(4))], ["FLAIR"])


def test_channels_on_different_grids_are_refused() -> None:
    a, b = Volume(np.zeros((3, 3, 3)), np.eye(4)), Volume(np.zeros((3, 3, 3)), PSR)
    with pytest.raises(DataError, match="T2 image's grid"):
        plan3().prepare([a, b], ["T1", "T2"])
    with pytest.raises(DataError, match="label map has"):
        plan3().prepare_target(np.zeros((1, 2, 2, 2), bool), plan3().geometry(a.shape, a.affine))


def test_in_2d_the_slices_are_left_alone() -> None:
    affine = np.diag([-1.25, -1.25, 8.0, 1.0])
    plan = Plan(2, spacing_mm=(2.5, 2.5), patch=(32, 32))
    volume = Volume(np.random.default_rng(0).random((16, 20, 7), dtype=np.float32), affine)
    prepared = plan.prepare([volume], ["MRI"])
    assert prepared.image.shape == (1, 8, 10, 7)
    assert prepared.geometry.spacing_mm == (2.5, 2.5, 8.0)
    assert undo(prepared.image, prepared.geometry).shape == (1, 16, 20, 7)


def test_a_plan_survives_json_exactly() -> None:
    for plan in (
        plan3(spacing_mm=(1 / 3, 0.1, 2), intensity={"CT": Intensity("window", -1024, 0.1)}),
        Plan(2, patch=(64, 48), orientation="LPI"),
    ):
        assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"dims": 3}, "needs `patch`"),
        ({"dims": 4, "patch": [1, 1, 1, 1]}, "`dims` must be 2 or 3"),
        ({"dims": 3, "patch": [8, 8]}, "`patch` must list 3"),
        ({"dims": 2, "patch": [8, 0]}, "whole numbers"),
        ({"dims": 2, "patch": [8, 8.5]}, "whole numbers"),
        ({"dims": 2, "patch": 8}, "must list 2"),
        ({"dims": 2, "patch": [8, 8], "spacing_mm": [1, -1]}, "positive"),
        ({"dims": 2, "patch": [8, 8], "spacing_mm": [1, "1"]}, "must be a number"),
        ({"dims": 2, "patch": [8, 8], "orientation": "RAR"}, "orientation"),
        ({"dims": 2, "patch": [8, 8], "orientation": 3}, "orientation"),
        ({"dims": 2, "patch": [8, 8], "spacing": [1, 1]}, "spacing_mm"),
        ({"dims": 2, "patch": [8, 8], "intensity": 3}, "intensity"),
        ({"dims": 2, "patch": [8, 8], "intensity": {"CT": "window"}}, "CT"),
        (
            {"dims": 2, "patch": [8, 8], "intensity": {"CT": {"rule": "windw", "lower": 0, "upper": 1}}},
            "window",
        ),
        (
            {"dims": 2, "patch": [8, 8], "intensity": {"CT": {"rule": "window", "lower": 1, "upper": 0}}},
            "lower",
        ),
        (
            {"dims": 2, "patch": [8, 8], "intensity": {"T1": {"rule": "zscore", "lower": 1, "upper": 101}}},
            "100",
        ),
        ({"dims": 2, "patch": [8, 8], "intensity": {"T1": {"rule": "zscore", "lower": 1}}}, "`upper`"),
    ],
)
def test_a_wrong_plan_is_one_sentence(raw: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError) as caught:
        Plan.from_dict(raw)
    assert said in str(caught.value)


@pytest.mark.parametrize("spacing", [None, (2.0, 2.0, 2.0)])
def test_a_real_psr_head_comes_back_exactly_at_its_own_spacing(real_data: Path, spacing: Any) -> None:
    assert min(round_trip(real_data / "brain_ixi_hh10", plan3(spacing_mm=spacing))) == 1.0


def test_a_real_psr_head_comes_back_nearly_exactly_from_a_finer_grid(real_data: Path) -> None:
    assert min(round_trip(real_data / "brain_ixi_hh10", plan3(spacing_mm=(1.5, 1.5, 1.5)))) > 0.97


def test_a_real_oblique_stroke_scan_comes_back(real_data: Path) -> None:
    assert round_trip(real_data / "stroke_isles_1case", plan3()) == [1.0]


def test_a_real_cine_stack_comes_back_through_a_2d_plan(real_data: Path) -> None:
    plan = Plan(2, spacing_mm=(1.0, 1.0), patch=(64, 64))
    assert round_trip(real_data / "cardiac_scd", plan)[0] > 0.97


def round_trip(folder: Path, plan: Plan) -> list[float]:
    """Dice per structure of the first case's label map, there and back."""
    dataset = read_dataset(folder)
    case = dataset.training[0]
    assert case.label is not None
    images = [read_volume(path) for path in case.images]
    prepared = plan.prepare(images, dataset.channel_names)
    groups = annotate(dataset.labels.names, dataset.labels).groups
    masks = dataset.labels.encode(read_volume(case.label).array, groups)
    back = undo(plan.prepare_target(masks, prepared.geometry).astype(np.float32), prepared.geometry) > 0.5
    assert back.shape[1:] == images[0].shape
    return [dice(a, b) for a, b in zip(back, masks, strict=True)]
