"""The effective number of images: methods 1.8, item 13."""

from __future__ import annotations

import dataclasses
import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from FedSegCore.data.batches import CachedCase
from FedSegCore.learning.flow import effective
from FedSegCore.learning.flow.effective import describe, effective_images, vendi
from FedSegCore.learning.flow.settings import FlowSettings
from FedSegCore.learning.flow.style import StyledFlow

pytestmark = pytest.mark.usefixtures("one_thread")

WIDTH = FlowSettings().kernel_width


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def described(images: int, *, seed: int = 0, spread: float = 0.3) -> Tensor:
    return spread * torch.randn(images, 32, generator=seeded(seed))


def model(channels: int = 1, **options: object) -> StyledFlow:
    return StyledFlow(FlowSettings(**options), modalities=channels)  # type: ignore[arg-type]


def case(seed: int = 0, *, channels: int = 1, shift: float = 0.0) -> CachedCase:
    image = torch.randn(channels, 9, 8, 7, generator=seeded(seed)) + shift
    target = torch.zeros(2, 9, 8, 7, dtype=torch.uint8)
    target[0, 2:5, 3:6, 2:4] = 1
    return CachedCase(str(seed), image, target, torch.tensor([True, False]))


@pytest.mark.parametrize("images", [1, 2, 7])
def test_copies_of_one_image_count_as_one(images: int) -> None:
    assert vendi(described(1).expand(images, -1), width=WIDTH) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("images", [1, 2, 7])
def test_images_far_from_each_other_count_each(images: int) -> None:
    far = 1e3 * torch.eye(32)[:images]
    assert vendi(far, width=WIDTH) == pytest.approx(images, rel=1e-6)


@given(images=st.integers(1, 12), seed=st.integers(0, 2**31), spread=st.sampled_from([0.05, 0.3, 2.0]))
@settings(max_examples=25, deadline=None)
def test_order_and_duplicates_do_not_matter_and_the_count_is_within_its_bounds(
    images: int, seed: int, spread: float
) -> None:
    points = described(images, seed=seed, spread=spread)
    found = vendi(points, width=WIDTH)
    order = torch.randperm(images, generator=seeded(seed))
    assert 1.0 <= found <= images
    assert vendi(points[order], width=WIDTH) == pytest.approx(found, rel=1e-6)
    assert vendi(torch.cat([points, points]), width=WIDTH) == pytest.approx(found, rel=1e-6)


def test_more_different_images_count_more() -> None:
    near, far = (vendi(described(8, spread=spread), width=WIDTH) for spread in (0.1, 0.5))
    assert far > near + 0.5


def test_the_kernel_is_the_settings_constant_and_not_the_sites_own_distances() -> None:
    assert pytest.approx(1.414, abs=0.001) == WIDTH
    assert vendi(10.0 * described(8), width=WIDTH) > 2.0 * vendi(0.1 * described(8), width=WIDTH)


def test_a_descriptor_is_sixteen_rising_quantiles_of_each_coordinate() -> None:
    one = describe(model(), case(), dims=3)
    assert one.shape == (32,)
    assert (one[:16].diff() > 0).all()
    assert (one[16:].diff() > 0).all()


def test_a_descriptor_sees_the_foreground_alone() -> None:
    first = case()
    far = first.image.clone()
    far[:, 8, 7, 6] += 100.0
    changed = dataclasses.replace(first, image=far)
    inside = first.image + 1.0 * first.target[:1]
    assert torch.equal(describe(model(), changed, dims=2), describe(model(), first, dims=2))
    assert not torch.equal(
        describe(model(), dataclasses.replace(first, image=inside), dims=2), describe(model(), first, dims=2)
    )


def test_a_case_without_foreground_is_described_by_all_its_voxels() -> None:
    empty = dataclasses.replace(case(), target=torch.zeros(2, 9, 8, 7, dtype=torch.uint8))
    assert torch.isfinite(describe(model(), empty, dims=3)).all()


def test_in_two_dimensions_slices_do_not_blur_into_each_other() -> None:
    first = case()
    other = first.image.clone()
    other[..., 4:] = 50.0
    changed = dataclasses.replace(first, image=other)
    assert torch.equal(describe(model(), changed, dims=2), describe(model(), first, dims=2))
    assert not torch.equal(describe(model(), changed, dims=3), describe(model(), first, dims=3))


def test_an_absent_channel_changes_no_distance() -> None:
    first, second = case(0, channels=2), case(1, channels=2)
    for one in (first, second):
        one.image[1] = 0.0
    both = describe(model(2), first, dims=3) - describe(model(2), second, dims=3)
    alone = [dataclasses.replace(one, image=one.image[:1]) for one in (first, second)]
    single = describe(model(), alone[0], dims=3) - describe(model(), alone[1], dims=3)
    torch.testing.assert_close(both.norm(), single.norm())


def test_a_sites_copied_images_count_once_and_shifted_ones_each() -> None:
    copies, apart = [case()] * 5, [case(shift=30.0 * place) for place in range(5)]
    assert effective_images(model(), copies, dims=3, generator=seeded()) == pytest.approx(1.0, abs=1e-6)
    assert effective_images(model(), apart, dims=3, generator=seeded()) == pytest.approx(5.0, abs=1e-3)


def test_more_images_than_the_public_cap_are_drawn_from_by_the_generator() -> None:
    small, cases = model(most_images=3), [case(shift=30.0 * place) for place in range(6)]
    assert effective_images(small, cases, dims=3, generator=seeded()) == pytest.approx(3.0, abs=1e-3)
    untouched = seeded()
    effective_images(small, cases[:3], dims=3, generator=untouched)
    assert torch.equal(untouched.get_state(), seeded().get_state())


def test_a_sites_effective_images_are_one_number() -> None:
    assert inspect.signature(effective.effective_images).return_annotation == "float"
    assert type(effective_images(model(), [case()], dims=3, generator=seeded())) is float
