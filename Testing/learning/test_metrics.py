from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion, distance_transform_edt

from FedSegCore.learning.metrics import score_case


def boxes(*corners: tuple[int, int]) -> np.ndarray:
    mask = np.zeros((len(corners), 20, 18, 16), bool)
    for channel, (low, high) in zip(mask, corners, strict=True):
        channel[low:high, low:high, low:high] = True
    return mask


def surface_distances(one: np.ndarray, other: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """By definition: from each surface voxel of one to the nearest surface voxel of the other."""
    edges = [mask & ~binary_erosion(mask) for mask in (one, other)]
    return np.asarray(distance_transform_edt(~edges[1], sampling=spacing))[edges[0]]


def test_a_perfect_segmentation_scores_perfectly() -> None:
    (score,) = score_case(boxes((4, 9)), boxes((4, 9)), labels=["A"], spacing_mm=(1, 1, 1))
    assert (score.label, score.dice, score.hd95_mm, score.nsd_1mm) == ("A", 1.0, 0.0, 1.0)


def test_a_structure_in_neither_is_undefined() -> None:
    (score,) = score_case(boxes((0, 0)), boxes((0, 0)), labels=["A"], spacing_mm=(1, 1, 1))
    assert all(math.isnan(value) for value in (score.dice, score.hd95_mm, score.nsd_1mm))


@pytest.mark.parametrize("swap", [False, True])
def test_a_missed_or_an_invented_structure_scores_zero_without_a_distance(swap: bool) -> None:
    pair = [boxes((4, 9)), boxes((0, 0))]
    (score,) = score_case(*(pair[::-1] if swap else pair), labels=["A"], spacing_mm=(1, 1, 1))
    assert (score.dice, score.nsd_1mm) == (0.0, 0.0)
    assert math.isnan(score.hd95_mm)


def test_structures_are_scored_one_by_one_under_their_names() -> None:
    scores = score_case(boxes((4, 9), (0, 0)), boxes((4, 9), (2, 4)), labels=["A", "B"], spacing_mm=(1, 1, 1))
    assert [(score.label, score.dice) for score in scores] == [("A", 1.0), ("B", 0.0)]


def test_distances_are_in_millimetres() -> None:
    truth, shifted = boxes((4, 9)), np.roll(boxes((4, 9)), 1, axis=3)
    (near,) = score_case(shifted, truth, labels=["A"], spacing_mm=(1, 1, 1))
    (far,) = score_case(shifted, truth, labels=["A"], spacing_mm=(1, 1, 5))
    assert (near.hd95_mm, near.nsd_1mm) == (1.0, 1.0)
    assert far.hd95_mm == 5.0
    assert far.nsd_1mm < 1.0


@given(seed=st.integers(0, 2**31), spacing=st.tuples(*[st.sampled_from([0.4, 0.7, 1.0, 2.5])] * 3))
@settings(max_examples=15, deadline=None)
def test_cropping_changes_no_score_and_scores_are_those_of_the_definition(
    seed: int, spacing: tuple[float, float, float]
) -> None:
    rng = np.random.default_rng(seed)
    pair = np.zeros((2, 14, 13, 12), bool)
    for mask in pair:
        low = rng.integers(0, 6, 3)
        mask[tuple(slice(a, a + rng.integers(2, 8)) for a in low)] = True
    found, truth = pair
    (score,) = score_case(found[None], truth[None], labels=["A"], spacing_mm=spacing)
    there, back = surface_distances(found, truth, spacing), surface_distances(truth, found, spacing)
    assert score.dice == pytest.approx(2 * (found & truth).sum() / (found.sum() + truth.sum()))
    assert score.hd95_mm == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)), rel=1e-4)
    within = np.concatenate([there, back]) <= 1.0
    assert score.nsd_1mm == pytest.approx(within.mean(), abs=1e-5)


def test_a_structure_that_fills_the_volume_is_scored() -> None:
    (score,) = score_case(np.ones((1, 6, 6, 6)), np.ones((1, 6, 6, 6)), labels=["A"], spacing_mm=(1, 1, 1))
    assert (score.dice, score.hd95_mm) == (1.0, 0.0)


def test_masks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        score_case(boxes((4, 9)), boxes((4, 9)), labels=["A", "B"], spacing_mm=(1, 1, 1))


def test_across_a_list_of_slices_surfaces_are_measured_in_each_plane() -> None:
    reference = torch.zeros(1, 12, 12, 3, dtype=torch.bool)
    reference[:, 3:9, 3:9, :2] = True
    prediction = torch.zeros_like(reference)
    prediction[:, 5:11, 3:9, 0] = True  # moved by two voxels of 1.5 mm
    prediction[:, 3:9, 3:9, 2] = True  # where the reference has nothing
    (score,) = score_case(prediction, reference, labels=["LV"], spacing_mm=[1.5, 1.5, 8.0], slices=2)
    assert score.hd95_mm == pytest.approx(3.0)
    assert 0.0 < score.nsd_1mm < 1 / 3, "one of three slices shares some of its surface"
    (thick,) = score_case(prediction, reference, labels=["LV"], spacing_mm=[1.5, 1.5, 80.0], slices=2)
    assert thick == score, "the third spacing means nothing"


def test_without_a_common_slice_no_distance_is_defined() -> None:
    reference = torch.zeros(1, 8, 8, 2, dtype=torch.bool)
    prediction = torch.zeros_like(reference)
    reference[:, 2:5, 2:5, 0] = True
    prediction[:, 2:5, 2:5, 1] = True
    (score,) = score_case(prediction, reference, labels=["LV"], spacing_mm=[1.0, 1.0, 1.0], slices=2)
    assert (score.dice, score.nsd_1mm) == (0.0, 0.0)
    assert math.isnan(score.hd95_mm)
