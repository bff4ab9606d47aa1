"""A picture is known again however it is stored, and no other picture is taken for it."""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

from FedSegCore.data.fingerprint import Fingerprint, fingerprint_of

SHAPE = (20, 22, 18)
AFFINE = np.array([[0, 0, 2.0, -78.16], [-2.0, 0, 0, 82.23], [0, 1.5, 0, -75.27], [0, 0, 0, 1]])


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2.0, 60.0, SHAPE).astype(np.int16)


def print_of(array: np.ndarray, affine: np.ndarray = AFFINE) -> Fingerprint:
    found = fingerprint_of(array, affine)
    assert found is not None
    return found


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, 1), (1, -1, -1), (-1, -1, -1)])
def test_turned_and_mirrored_axes_are_the_same_picture(
    order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    turn = np.array(list(zip(order, signs, strict=True)), dtype=float)
    turned = apply_orientation(picture(), turn)
    affine = AFFINE @ inv_ornt_aff(turn, SHAPE)
    assert print_of(turned, affine).shows_the_same(print_of(picture()))


@pytest.mark.parametrize(
    "copy",
    [
        lambda a: a.astype(np.float64),
        lambda a: 3 * a + 11,
        lambda a: ((a - a.mean()) / a.std()).astype(np.float32),
        lambda a: (a * np.float32(1e-6) + np.float32(0.5)).astype(np.float32),
        lambda a: np.rint((a - a.min()) / np.ptp(a) * 65535).astype(np.uint16),
    ],
    ids=["float64", "another slope", "z-scores", "a small slope", "16 bits"],
)
def test_linearly_rescaled_intensities_are_the_same_picture(copy: object) -> None:
    assert callable(copy)
    assert print_of(copy(picture().astype(np.float64))).shows_the_same(print_of(picture()))


def test_voxels_mirrored_without_their_header_are_another_picture() -> None:
    assert not print_of(picture()[::-1]).shows_the_same(print_of(picture()))


def test_no_two_of_forty_noise_images_are_the_same_picture() -> None:
    prints = [print_of(picture(seed)) for seed in range(40)]
    assert not any(one.shows_the_same(other) for one, other in itertools.combinations(prints, 2))


def test_a_small_lesion_makes_another_picture() -> None:
    other = picture()
    other[5:8, 5:8, 5:8] += 100
    assert not print_of(other).shows_the_same(print_of(picture()))


def test_masks_of_two_lesions_in_one_place_are_two_pictures() -> None:
    small, large = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    small[5:7, 5:7, 5:7] = 1
    large[5:8, 5:8, 5:8] = 1
    assert not print_of(small).shows_the_same(print_of(large))


def test_a_bright_artefact_does_not_make_two_pictures_the_same() -> None:
    first, second = picture(1).astype(np.float32), picture(2).astype(np.float32)
    first[0, 0, 0] = second[0, 0, 0] = 1e5
    assert not print_of(first).shows_the_same(print_of(second))


@pytest.mark.parametrize("value", [0.0, 0.1, 7.0, 1e9])
def test_what_does_not_vary_has_no_fingerprint(value: float) -> None:
    assert fingerprint_of(np.full(SHAPE, value, np.float32), AFFINE) is None


def test_four_axes_have_no_fingerprint() -> None:
    assert fingerprint_of(np.stack([picture(1), picture(2)], axis=-1), AFFINE) is None


def test_sides_stand_in_the_order_right_anterior_superior() -> None:
    assert nib.aff2axcodes(AFFINE) == ("P", "S", "R")
    assert print_of(picture()).sides == (18, 20, 22)
    assert io_orientation(AFFINE).tolist() == [[1, -1], [2, 1], [0, 1]]
