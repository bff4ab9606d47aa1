from __future__ import annotations

import pytest
import torch
from torch import Tensor

from FedSegCore.learning import unsupervised
from FedSegCore.learning.unsupervised import Turn
from Testing.phantoms import seeded

TURNS = [Turn(quarters, flip) for quarters in range(4) for flip in (False, True)]


@pytest.mark.parametrize("turn", TURNS, ids=str)
@pytest.mark.parametrize("shape", [(2, 3, 4, 6), (2, 3, 4, 6, 5), (1, 1, 8, 8)])
def test_a_turn_and_its_inverse_are_the_identity(turn: Turn, shape: tuple[int, ...]) -> None:
    maps = torch.randn(shape, generator=seeded())
    assert torch.equal(turn.undo(turn.apply(maps, axis=2), axis=2), maps)


def test_the_turns_are_eight_different_ones() -> None:
    maps = torch.arange(12.0).view(1, 1, 3, 4)
    results = {tuple(turn.apply(maps, axis=2).flatten().tolist()) for turn in TURNS}
    assert len(results) == 8


def test_the_drawn_turns_all_do_something_and_keep_the_images_shape() -> None:
    generator = seeded()
    drawn = {unsupervised.draw_turn(generator, square=True) for _ in range(200)}
    assert drawn == set(TURNS) - {Turn(0, False)}
    drawn = {unsupervised.draw_turn(generator, square=False) for _ in range(200)}
    assert drawn == {Turn(2, False), Turn(0, True), Turn(2, True)}


@pytest.mark.parametrize(("logit", "bits"), [(0.0, 1.0), (50.0, 0.0), (-50.0, 0.0)])
def test_entropy_is_that_of_a_yes_or_no_in_bits(logit: float, bits: float) -> None:
    assert float(unsupervised.entropy(torch.full((2, 3, 4, 4), logit))) == pytest.approx(bits, abs=1e-6)


def test_entropy_does_not_depend_on_the_batch_size() -> None:
    logits = torch.randn(1, 2, 4, 4, generator=seeded())
    once, often = unsupervised.entropy(logits), unsupervised.entropy(logits.expand(5, -1, -1, -1))
    torch.testing.assert_close(once, often)
    p = torch.sigmoid(logits)
    expected = -(p * p.log2() + (1 - p) * (1 - p).log2()).mean()
    torch.testing.assert_close(once, expected)


def blob(*corners: tuple[int, int], side: int) -> Tensor:
    image = torch.zeros(1, 32, 32)
    for x, y in corners:
        image[:, x : x + side, y : y + side] = 1.0
    return image


def test_the_shape_constraint_of_a_constant_map_is_zero() -> None:
    assert float(unsupervised.shape_constraint(torch.full((2, 8, 8, 8), 0.3), radius=2)) == 0.0


def test_two_blobs_cost_more_than_one_of_equal_area() -> None:
    one, two = blob((10, 10), side=8), blob((4, 4), (20, 4), (4, 20), (20, 20), side=4)
    assert one.sum() == two.sum()
    assert unsupervised.shape_constraint(two) > 1.5 * unsupervised.shape_constraint(one)


def test_the_window_is_a_cube_of_twice_the_radius_and_one() -> None:
    image = torch.zeros(1, 15, 15, 15)
    image[:, 7, 7, 7] = 1.0
    for radius in (1, 2, 3):
        found = float(unsupervised.shape_constraint(image, radius=radius)) * 15**3
        assert found == pytest.approx((2 * radius + 1) ** 3)


def test_consistency_is_zero_where_the_turned_image_gets_the_turned_answer() -> None:
    logits = torch.randn(2, 3, 4, 6, generator=seeded())
    for turn in TURNS:
        turned = turn.apply(logits, axis=2)
        assert float(unsupervised.consistency(logits, turned, turn)) == pytest.approx(0.0, abs=1e-12)
    assert float(unsupervised.consistency(logits, logits, Turn(2, False))) > 1e-3


def test_structures_that_swap_names_under_a_turn_are_consistent() -> None:
    logits = torch.randn(1, 2, 4, 4, generator=seeded())
    turn = Turn(0, True)
    swapped = turn.apply(logits, axis=2).flip(1)
    assert float(unsupervised.consistency(logits, swapped, turn)) == pytest.approx(0.0, abs=1e-12)


def test_noise_is_relative_to_each_channels_spread_and_absent_channels_stay_zero() -> None:
    image = torch.zeros(1, 3, 40, 40)
    image[:, 0] = torch.randn(40, 40, generator=seeded())
    image[:, 1] = 100.0 * torch.randn(40, 40, generator=seeded())
    noisy = unsupervised.disturb(image, Turn(0, False), noise=0.5, generator=seeded(1))
    added = (noisy - image).std((2, 3))[0]
    assert added[0] == pytest.approx(0.5, rel=0.1) and added[1] == pytest.approx(50.0, rel=0.1)
    assert not noisy[:, 2].any()


def test_the_losses_run_on_the_meta_device_and_lead_gradients_back() -> None:
    logits = torch.zeros(1, 2, 8, 8, device="meta", requires_grad=True)
    total = unsupervised.entropy(logits) + unsupervised.shape_constraint(unsupervised.foreground(logits))
    (total + unsupervised.consistency(logits, logits, Turn(1, True))).backward()
    assert logits.grad is not None and logits.grad.shape == logits.shape
