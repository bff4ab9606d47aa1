from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from FedSegCore.data.batches import CachedCase
from FedSegCore.learning.predict import predict, validate
from Testing.phantoms import seeded, small_net

pytestmark = pytest.mark.usefixtures("one_thread")


class Pointwise(nn.Module):
    """Logits that are the image's first channel and its negative: what is predicted is known voxel by voxel."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.seen: list[tuple[int, ...]] = []

    def forward(self, image: Tensor) -> Tensor:
        assert not self.training
        self.seen.append(tuple(image.shape))
        return torch.cat([image[:, :1], -image[:, :1]], dim=1) * self.scale


def image_of(*shape: int, channels: int = 1) -> Tensor:
    return torch.randn(channels, *shape, generator=seeded(sum(shape)))


SHAPES = st.tuples(*[st.integers(1, 13)] * 3)


@given(shape=SHAPES, dims=st.sampled_from([2, 3]))
@settings(max_examples=25)
def test_every_voxel_gets_its_own_probability_whatever_the_size(shape: tuple[int, ...], dims: int) -> None:
    image = image_of(*shape)
    found = predict(Pointwise(), image, patch=(4, 6, 8)[:dims])
    expected = torch.sigmoid(torch.cat([image, -image]))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_smaller_images_are_padded_with_each_channels_minimum_as_in_training() -> None:
    seen: list[Tensor] = []

    class Seeing(Pointwise):
        def forward(self, image: Tensor) -> Tensor:
            seen.append(image.clone())
            return super().forward(image)

    image = image_of(3, 4, 5, channels=2)
    predict(Seeing(), image, patch=(8, 8, 8))
    (padded,) = seen
    assert padded.shape == (1, 2, 8, 8, 8)
    assert torch.equal(padded[0, :, 2:5, 2:6, 1:6], image)
    for channel in (0, 1):
        outside = padded[0, channel].flatten().tolist()
        inside = image[channel].flatten().tolist()
        assert outside.count(min(inside)) >= 8**3 - 3 * 4 * 5 + 1


def test_slices_of_a_two_dimensional_study_are_independent() -> None:
    net, image = small_net().eval(), image_of(8, 8, 5)
    whole = predict(net, image, patch=(8, 8))
    alone = torch.cat([predict(net, image[..., z : z + 1], patch=(8, 8)) for z in range(5)], dim=-1)
    torch.testing.assert_close(whole, alone, rtol=1e-4, atol=1e-5)


def test_many_slices_go_through_in_parts() -> None:
    model = Pointwise()
    assert predict(model, image_of(4, 4, 40), patch=(4, 4)).shape == (2, 4, 4, 40)
    assert sum(shape[0] for shape in model.seen) == 40
    assert max(shape[0] for shape in model.seen) < 40


def test_windows_are_no_larger_than_the_patch() -> None:
    model = Pointwise()
    predict(model, image_of(20, 9, 8), patch=(8, 8, 8))
    assert {shape[2:] for shape in model.seen} == {(8, 8, 8)}


def test_the_result_may_be_changed_and_carries_no_gradient() -> None:
    found = predict(small_net(), image_of(8, 8, 2), patch=(8, 8))
    assert not found.requires_grad
    assert not found.is_inference()
    found[0] = 0.0


def case(image: Tensor, target: Tensor, annotated: Sequence[bool] = (True, True)) -> CachedCase:
    return CachedCase("case", image, target.to(torch.uint8), torch.tensor(annotated))


def dice(*cases: CachedCase) -> dict[str, float]:
    return validate(Pointwise(), cases, labels=("Liver", "Kidney"), patch=(4, 4, 4))


def halves() -> tuple[Tensor, Tensor]:
    """An image whose one half is Liver and the other Kidney, and their masks."""
    image = torch.ones(1, 4, 4, 4)
    image[:, 2:] = -1.0
    return image, torch.stack([image[0] > 0, image[0] < 0])


def test_a_perfect_prediction_has_a_dice_of_one() -> None:
    image, target = halves()
    assert dice(case(image, target)) == {"Liver": 1.0, "Kidney": 1.0}


def test_dice_is_twice_the_overlap_by_the_sum_of_sizes_averaged_over_cases() -> None:
    image, target = halves()
    wrong = target.clone()
    wrong[0, :1] = False  # 16 of the 32 voxels that are predicted
    assert dice(case(image, wrong), case(image, target)) == {
        "Liver": pytest.approx((2 * 16 / 48 + 1) / 2),
        "Kidney": 1.0,
    }


def test_unannotated_structures_and_cases_empty_in_both_say_nothing() -> None:
    image, target = halves()
    assert dice(case(image, target, (True, False))) == {"Liver": 1.0}
    nothing = torch.ones(1, 4, 4, 4)
    empty = torch.stack([nothing[0] > 0, nothing[0] < 0])
    assert dice(case(nothing, empty)) == {"Liver": 1.0}
    assert dice() == {}


def test_a_structure_predicted_where_there_is_none_counts_as_zero() -> None:
    image, target = halves()
    target[1] = False
    assert dice(case(image, target)) == {"Liver": 1.0, "Kidney": 0.0}
