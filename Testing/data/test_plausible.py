"""Passports that are of no images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from FedSegCore.data.case import read_dataset
from FedSegCore.data.histogram import EXTENT_STEP, SPACING_STEP, length_bin
from FedSegCore.data.passport import Passport, make_passport
from FedSegCore.data.phantom import write_phantom_dataset
from FedSegCore.data.plausible import implausible

CASES = 3


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("site")
    write_phantom_dataset(folder, cases=CASES, test_cases=0, seed=0, shape=(16, 16, 16))
    return make_passport(read_dataset(folder)).to_dict()


def odd(honest: dict[str, Any], told: int = CASES, **other: Any) -> str:
    return implausible(Passport.from_dict({**honest, **other}), cases=told)


def axes(length: float, step: float, count: int = CASES) -> list[list[list[int]]]:
    return [[[length_bin(length, step=step), count]]] * 3


def test_what_a_dataset_tells_of_itself_is_plausible(honest: dict[str, Any]) -> None:
    assert odd(honest) == ""


@pytest.mark.parametrize("cases", [1, 2, 4, 1_000_000])
def test_another_number_of_cases_than_the_passports_is_told_with_both(
    honest: dict[str, Any], cases: int
) -> None:
    assert odd(honest, cases) == f"it tells of {cases} training cases and its passport of {CASES}"


def test_cases_that_do_not_train_give_no_weight(honest: dict[str, Any]) -> None:
    assert odd(honest, cases={"training": CASES, "validation": 10**6, "test": 0})


LIES: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "a voxel of a kilometre": (lambda: {"spacing_mm": axes(1e6, SPACING_STEP)}, "voxel size"),
    "a voxel of an atom": (lambda: {"spacing_mm": axes(1e-7, SPACING_STEP)}, "voxel size"),
    "a body of a mile": (lambda: {"extent_mm": axes(1.6e6, EXTENT_STEP)}, "field of view"),
    "a number that no float holds": (lambda: {"sides": [[[10**400, CASES]]] * 3}, "number of voxels"),
    "a billion voxels a side": (lambda: {"sides": axes(1e9, EXTENT_STEP)}, "number of voxels"),
    "a million spacings": (lambda: {"spacing_mm": axes(1.0, SPACING_STEP, 10**6)}, "does not count its 3"),
    "less than no case": (lambda: {"sides": axes(16, EXTENT_STEP, -1)}, "does not count its 3"),
    "livers in more cases than there are": (lambda: {"label_cases": {"Liver": 4}}, "in more than its 3"),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_no_images_are_like_is_told(honest: dict[str, Any], lie: str) -> None:
    change, expected = LIES[lie]
    assert expected in odd(honest, **change())


@pytest.mark.parametrize("mm", [0.002, 0.5, 10.0])
def test_microscopes_and_thick_slices_are_plausible(honest: dict[str, Any], mm: float) -> None:
    assert odd(honest, spacing_mm=axes(mm, SPACING_STEP), extent_mm=axes(40 * mm, EXTENT_STEP)) == ""
