"""The automatic plan: sensible numbers, the same at every site and in any order."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from FedSegCore.data.autoplan import LONGEST_SIDE, VOXEL_BUDGET, auto_plan
from FedSegCore.data.case import read_dataset
from FedSegCore.data.histogram import EXTENT_STEP, SPACING_STEP, intensity_counts, per_million
from FedSegCore.data.passport import Passport, make_passport
from FedSegCore.data.plan import Intensity
from FedSegCore.data.pooling import Intensities, per_axis
from FedSegCore.errors import DataError, StudyError


def site(
    shape: Sequence[float],
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    *,
    cases: int = 10,
    channel: str = "MRI",
    labelled: Sequence[float] = (),
) -> Passport:
    """The passport of a site whose cases are all alike."""
    voxels = {} if not labelled else per_million(intensity_counts(np.array(labelled)))
    extent = [mm * n for mm, n in zip(spacing, shape, strict=True)]
    return Passport(
        cases={"training": cases, "validation": 0, "test": 3},
        channels=(channel,),
        licence="",
        label_voxels={"Liver": 1},
        label_cases={"Liver": 1},
        spacing_mm=per_axis([tuple(spacing)] * cases, step=SPACING_STEP),
        extent_mm=per_axis([tuple(extent)] * cases, step=EXTENT_STEP),
        sides=per_axis([tuple(shape)] * cases, step=EXTENT_STEP),
        intensity={channel: Intensities(1, {0: 1_000_000}, voxels)},
    )


def test_a_small_structure_gets_a_patch_that_holds_it() -> None:
    plan, depth = auto_plan([site((35, 50, 36))])
    assert (plan.dims, plan.orientation, plan.spacing_mm) == (3, "RAS", (1.0, 1.0, 1.0))
    assert plan.patch == (40, 56, 40)
    assert depth == 4


def test_the_real_hippocampus_gets_a_plan_that_works(real_data: Path) -> None:
    plan, depth = auto_plan([make_passport(read_dataset(real_data / "hippo_shift/north"))])
    assert (plan.spacing_mm, plan.patch, depth) == ((1.0, 1.0, 1.0), (40, 56, 40), 4)


def test_real_slices_get_a_patch_in_plane(real_data: Path) -> None:
    dataset = read_dataset(real_data / "cardiac_scd")
    few = dataclasses.replace(dataset, training=dataset.training[:4], validation=())
    plan, depth = auto_plan([make_passport(few)], dims=2)
    assert (plan.dims, plan.spacing_mm, plan.patch, depth) == (2, (1.25, 1.25), (160, 160), 5)


def test_large_volumes_are_cut_to_the_budget() -> None:
    plan, depth = auto_plan([site((512, 512, 300), (0.8, 0.8, 1.5))])
    x, y, z = plan.patch
    assert x * y * z <= VOXEL_BUDGET[3]
    assert max(plan.patch) <= LONGEST_SIDE[3]
    assert min(plan.patch) >= 64
    assert depth == 5


def test_thick_slices_keep_their_own_spacing_and_a_shallow_network() -> None:
    plan, depth = auto_plan([site((160, 160, 14), (1.4, 1.4, 8.0))])
    assert plan.spacing_mm == (1.4, 1.4, 8.0)
    assert plan.patch[2] == 16
    assert depth == 3


def test_single_slices_make_a_flat_study() -> None:
    plan, _ = auto_plan([site((200, 180, 1))])
    assert plan.dims == 2
    assert len(plan.patch) == 2


def test_every_case_weighs_the_same_whatever_its_site() -> None:
    plan, _ = auto_plan([site((60, 60, 60), (1, 1, 1), cases=30), site((60, 60, 60), (2, 2, 2), cases=4)])
    assert plan.spacing_mm == (1.0, 1.0, 1.0)


def test_the_order_of_sites_does_not_matter() -> None:
    sites = [
        site((35, 50, 36)),
        site((90, 80, 70), (2, 2, 1), channel="CT", cases=3),
        site((50, 50, 50), cases=7),
    ]
    assert auto_plan(sites) == auto_plan(sites[::-1]) == auto_plan([sites[1], sites[2], sites[0]])


def test_sites_that_only_test_do_not_count() -> None:
    outside = dataclasses.replace(site((400, 400, 400)), cases={"training": 0, "validation": 0, "test": 40})
    assert auto_plan([site((35, 50, 36)), outside]) == auto_plan([site((35, 50, 36))])


def test_without_a_training_case_there_is_nothing_to_plan_from() -> None:
    with pytest.raises(DataError, match="training case"):
        auto_plan([])


def test_each_modality_gets_its_rule() -> None:
    plan, _ = auto_plan([site((64, 64, 64), channel="CT"), site((64, 64, 64), channel="T1")])
    assert dict(plan.intensity) == {
        "CT": Intensity("window", -160.0, 240.0),
        "T1": Intensity("zscore", 0.5, 99.5),
    }


def test_a_ct_window_grows_to_hold_what_is_labelled() -> None:
    lung = [-870.0] * 500 + [-700.0] * 500
    plan, _ = auto_plan([site((64, 64, 64), channel="CT", labelled=lung)])
    rule = plan.intensity["CT"]
    assert -910 <= rule.lower <= -870
    assert rule.upper == 240.0


def test_what_the_study_gives_is_kept() -> None:
    chosen: dict[str, Any] = {
        "spacing_mm": [2.0, 2.0, 4.0],
        "patch": [32, 32, 16],
        "orientation": "LPS",
        "intensity": {"MRI": {"rule": "percentile", "lower": 1, "upper": 99}},
    }
    plan, depth = auto_plan([site((100, 100, 60))], given=chosen)
    assert plan.to_dict() == {"dims": 3, **chosen}
    assert depth == 3


def test_a_given_spacing_sets_the_voxels_that_a_patch_needs() -> None:
    plan, _ = auto_plan([site((80, 80, 80))], given={"spacing_mm": [2.0, 2.0, 2.0]})
    assert plan.patch == (40, 40, 40)


def test_without_resampling_a_patch_follows_the_images_own_voxels() -> None:
    plan, _ = auto_plan([site((80, 80, 80), (2, 2, 2))], given={"spacing_mm": None})
    assert plan.spacing_mm is None
    assert plan.patch == (80, 80, 80)


def test_another_orientation_turns_spacing_and_patch() -> None:
    plan, _ = auto_plan([site((40, 56, 72), (1, 2, 3))], given={"orientation": "PSR"})
    assert plan.spacing_mm == (2.0, 3.0, 1.0)
    assert plan.patch == (56, 72, 40)


@pytest.mark.parametrize(
    "given_",
    [
        {"pach": [8, 8, 8]},
        {"dims": 4},
        {"orientation": "RAX"},
        {"spacing_mm": [1, 1]},
        {"spacing_mm": ["a", 1, 1]},
    ],
)
def test_a_wrong_given_value_is_refused(given_: dict[str, Any]) -> None:
    with pytest.raises(StudyError):
        auto_plan([site((64, 64, 64))], given=given_)


@given(
    shape=st.tuples(*[st.integers(8, 700)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 8.0)] * 3),
    dims=st.sampled_from([2, 3]),
)
def test_any_site_gets_a_patch_that_the_network_can_halve(
    shape: tuple[int, ...], spacing: tuple[float, ...], dims: int
) -> None:
    plan, depth = auto_plan([site(shape, spacing)], dims=dims)
    step = 2 ** (depth - 1)
    assert all(side % step == 0 for side in plan.patch)
    assert depth == 3 or min(plan.patch) // step >= 4
    assert math.prod(plan.patch) <= VOXEL_BUDGET[dims]
