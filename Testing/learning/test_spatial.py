from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from FedSegCore.learning.spatial import SpatialDraw, SpatialRanges, _theta, apply_spatial, draw_spatial

STILL = SpatialRanges(0.0, 0.0, 0.0, 0.0, flip_axes=(), flip_probability=0.0, probability=1.0)


def scene(sides: tuple[int, ...] = (12, 10, 8), batch: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.zeros(batch, 2, *sides, dtype=torch.uint8)
    target[(slice(None), 0, *[slice(2, 6)] * len(sides))] = 1
    target[(slice(None), 1, *[slice(4, 7)] * len(sides))] = 1
    return torch.randn(batch, 2, *sides, generator=generator), target


def drawn(image: Tensor, *, seed: int = 0, **ranges: object) -> SpatialDraw:
    own = dataclasses.replace(STILL, **ranges)  # type: ignore[arg-type]
    return draw_spatial(torch.Generator().manual_seed(seed), image.shape, ranges=own)


@pytest.mark.parametrize("sides", [(12, 10), (12, 10, 8)])
def test_a_move_by_nothing_gives_everything_back(sides: tuple[int, ...]) -> None:
    image, target = scene(sides)
    new_image, new_target = apply_spatial(image, target, drawn(image))
    torch.testing.assert_close(new_image, image, rtol=1e-4, atol=1e-4)
    assert torch.equal(new_target, target)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_flip_is_exact_and_along_the_asked_axis(axis: int) -> None:
    image, target = scene()
    draw = drawn(image, flip_axes=(axis,), flip_probability=1.0, probability=0.0)
    new_image, new_target = apply_spatial(image, target, draw)
    assert torch.equal(new_image, image.flip(axis + 2))
    assert torch.equal(new_target, target.flip(axis + 2))


def test_flips_are_left_to_right_alone_unless_asked() -> None:
    draw = draw_spatial(torch.Generator().manual_seed(0), (200, 1, 4, 4, 4))
    assert len(draw.flipped[1]) == len(draw.flipped[2]) == 0


@given(seed=st.integers(0, 2**31), dims=st.sampled_from([2, 3]))
@settings(max_examples=20, deadline=None)
def test_image_and_target_move_alike(seed: int, dims: int) -> None:
    _, target = scene((12, 10, 8)[:dims])
    image = target.float()
    draw = draw_spatial(torch.Generator().manual_seed(seed), image.shape)
    new_image, new_target = apply_spatial(image, target, draw)
    assert new_target.dtype == torch.uint8
    assert torch.equal(new_image > 0.5, new_target.bool())
    assert new_image.shape == image.shape


@given(seed=st.integers(0, 2**31))
@settings(max_examples=10, deadline=None)
def test_absent_channels_and_empty_targets_stay_empty_and_no_intensity_is_invented(seed: int) -> None:
    image, target = scene()
    image[:, 1], target[:, 1] = 0, 0
    draw = draw_spatial(torch.Generator().manual_seed(seed), image.shape)
    new_image, new_target = apply_spatial(image, target, draw)
    assert torch.all(new_image[:, 1] == 0)
    assert torch.all(new_target[:, 1] == 0)
    assert new_image.min() >= image.min() - 1e-4
    assert new_image.max() <= image.max() + 1e-4


@pytest.mark.parametrize("sides", [(21, 33), (21, 33, 15)])
def test_a_quarter_turn_turns_voxels_about_the_centre_even_in_an_oblong_patch(sides: tuple[int, ...]) -> None:
    image = torch.zeros(1, 1, *sides)
    centre = [side // 2 for side in sides]
    image[(0, 0, centre[0] + 5, *centre[1:])] = 1
    draw = drawn(image)
    turn = torch.eye(len(sides))
    turn[:2, :2] = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    half = torch.tensor(sides) / 2
    theta = torch.zeros(1, len(sides), len(sides) + 1)
    theta[0, :, :-1] = (turn * half[None] / half[:, None]).flip(0, 1)
    torch.testing.assert_close(_theta(turn[None], torch.zeros(1, len(sides)), sides), theta)
    new, _ = apply_spatial(image, image.to(torch.uint8), dataclasses.replace(draw, theta=theta))
    peak = (new[0, 0] > 0.9).nonzero().tolist()
    assert peak == [[centre[0], centre[1] - 5, *centre[2:]]]


def test_a_translation_moves_by_whole_voxels() -> None:
    image, target = scene((12, 10, 8))
    shift = torch.tensor([[2.0, 0.0, -1.0]]).repeat(2, 1)
    draw = dataclasses.replace(
        drawn(image), theta=_theta(torch.eye(3).repeat(2, 1, 1), shift, image.shape[2:])
    )
    new, _ = apply_spatial(image, target, draw)
    torch.testing.assert_close(new[:, :, :10, :, 1:], image[:, :, 2:, :, :-1], rtol=1e-4, atol=1e-4)


def test_growth_enlarges_and_stays_within_its_range() -> None:
    image, _ = scene((16, 16, 16), batch=50)
    growth = drawn(image, scale=0.2).theta.diagonal(dim1=1, dim2=2)
    assert growth.log().abs().max() <= 0.2 + 1e-6
    assert growth.log().abs().max() > 0.1
    torch.testing.assert_close(growth, growth[:, :1].expand_as(growth))


def test_rotations_are_rotations_within_their_range() -> None:
    image, _ = scene((16, 16), batch=50)
    turns = drawn(image, rotation_degrees=15.0).theta[:, :, :2]
    torch.testing.assert_close(turns @ turns.mT, torch.eye(2).expand_as(turns))
    angles = torch.atan2(turns[:, 1, 0], turns[:, 0, 0]).abs()
    assert math.radians(7) < angles.max() <= math.radians(15) + 1e-6


def test_samples_that_are_not_moved_pass_bit_for_bit() -> None:
    image, target = scene(batch=20)
    draw = drawn(image, probability=0.5, rotation_degrees=15.0)
    new, _ = apply_spatial(image, target, draw)
    changed = (new != image).flatten(1).any(1).nonzero().flatten()
    assert changed.tolist() == draw.moved.tolist()
    assert 3 < len(changed) < 17


def test_spatial_augmentation_runs_on_the_meta_device() -> None:
    image, target = scene()
    draw = drawn(image, flip_axes=(0,), flip_probability=1.0)
    new_image, new_target = apply_spatial(image.to("meta"), target.to("meta"), draw)
    assert (new_image.shape, new_target.shape) == (image.shape, target.shape)
