from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from FedSegCore.learning.intensity import IntensityRanges, apply_intensity, draw_intensity

NOTHING = IntensityRanges(contrast=0.0, brightness=0.0, gamma=0.0, noise=0.0, blur=0.0, share=1.0)


def images(batch: int = 3, channels: int = 2, sides: tuple[int, ...] = (8, 9, 10)) -> Tensor:
    return torch.randn(batch, channels, *sides, generator=torch.Generator().manual_seed(0)) + 2.0


def changed(image: Tensor, *, seed: int = 0, probability: float = 1.0, **ranges: float) -> Tensor:
    own = dataclasses.replace(NOTHING, **ranges)
    generator = torch.Generator().manual_seed(seed)
    return apply_intensity(image, draw_intensity(generator, image.shape, probability=probability, ranges=own))


@given(seed=st.integers(0, 2**31), dims=st.sampled_from([2, 3]), channels=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_images_stay_finite_keep_their_shape_and_absent_channels_stay_zero(
    seed: int, dims: int, channels: int
) -> None:
    image = images(3, channels, (6, 7, 8)[:dims])
    image[1, 0] = 0
    before = image.clone()
    draw = draw_intensity(torch.Generator().manual_seed(seed), image.shape, probability=1.0)
    new = apply_intensity(image, draw)
    assert new.shape == image.shape
    assert torch.isfinite(new).all()
    assert torch.all(new[1, 0] == 0)
    assert torch.equal(image, before)


def test_probability_zero_changes_nothing() -> None:
    image = images()
    torch.testing.assert_close(changed(image, probability=0.0, contrast=1.0, noise=1.0, blur=0.3), image)


def test_the_same_seed_gives_the_same_images_and_another_seed_others() -> None:
    image = images()
    assert torch.equal(changed(image, noise=0.1, gamma=0.5), changed(image, noise=0.1, gamma=0.5))
    assert not torch.equal(changed(image, noise=0.1), changed(image, noise=0.1, seed=1))


def test_samples_change_each_by_its_own_amount() -> None:
    image = images(1).repeat(2, 1, 1, 1, 1)
    new = changed(image, brightness=1.0)
    assert not torch.allclose(new[0], new[1])


def test_contrast_keeps_the_mean_and_scales_the_spread() -> None:
    image = images()
    new = changed(image, contrast=0.5)
    torch.testing.assert_close(new.mean((2, 3, 4)), image.mean((2, 3, 4)))
    ratio = (new.std((2, 3, 4)) / image.std((2, 3, 4))).log()
    assert 0.01 < ratio.abs().max() <= 0.5001


def test_gamma_keeps_order_mean_and_spread() -> None:
    image = images()
    new = changed(image, gamma=0.7)
    torch.testing.assert_close(new.mean((2, 3, 4)), image.mean((2, 3, 4)), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(new.std((2, 3, 4)), image.std((2, 3, 4)), rtol=1e-3, atol=1e-3)
    order = image.flatten(2).argsort(dim=2)
    assert torch.all(new.flatten(2).gather(2, order).diff(dim=2) >= -1e-4)
    assert not torch.allclose(new, image, atol=0.05)


@pytest.mark.parametrize("sides", [(8, 9), (8, 9, 10)])
def test_blur_smooths_and_leaves_a_constant_alone(sides: tuple[int, ...]) -> None:
    image = images(sides=sides)
    axes = tuple(range(2, image.ndim))
    assert torch.all(changed(image, blur=0.33).std(axes) < image.std(axes))
    constant = torch.full_like(image, 3.0)
    torch.testing.assert_close(changed(constant, blur=0.33), constant)


def test_noise_has_the_drawn_spread_relative_to_the_channel() -> None:
    image = images(8, 1, (16, 16, 16)) * 100
    added = (changed(image, noise=0.2) - image).std((1, 2, 3, 4)) / image.std((1, 2, 3, 4))
    assert added.max() < 0.22
    assert added.max() > 0.1


def test_classic_augmentation_runs_on_the_meta_device() -> None:
    image = images()
    draw = draw_intensity(torch.Generator(), image.shape, probability=1.0)
    assert apply_intensity(image.to("meta"), draw).shape == image.shape
