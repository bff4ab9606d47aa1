"""FlowGIN's adversary: structure maps, pairs and losses."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from FedSegCore.learning.flow.adversary import (
    Discriminator,
    apply_remap,
    difference_loss,
    discriminator_loss,
    draw_remap,
    gradient_field,
    gradient_loss,
    structure_map,
)
from FedSegCore.learning.flow.context import context

pytestmark = pytest.mark.usefixtures("one_thread")

DIMS = pytest.mark.parametrize("dims", [2, 3])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def anatomies(rows: int = 8, *, dims: int = 2, seed: int = 0, side: int = 24) -> Tensor:
    """Smooth random organs with sharp borders and a little noise."""
    noise = torch.randn(rows, *[side] * dims, generator=seeded(seed))
    organs = (context(noise) > 0).float()
    return organs + 0.02 * torch.randn(organs.shape, generator=seeded(seed + 1))


def discriminator(dims: int = 2, seed: int = 0) -> Discriminator:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Discriminator(dims=dims)


def structure(rows: Tensor) -> Tensor:
    return structure_map(gradient_field(rows))


@DIMS
def test_a_structure_map_forgets_brightness_contrast_and_sign(dims: int) -> None:
    image = anatomies(dims=dims)
    torch.testing.assert_close(structure(-3.0 * image + 7.0), structure(image), rtol=1e-3, atol=1e-4)
    assert 0.0 <= float(structure(image).min()) < float(structure(image).max()) <= 1.0


@DIMS
def test_a_flat_image_has_an_empty_structure_map_and_finite_gradients(dims: int) -> None:
    image = torch.full((2, *[6] * dims), 4.0, requires_grad=True)
    found = structure(image)
    found.sum().backward()
    assert float(found.detach().abs().max()) < 1e-5
    assert image.grad is not None
    assert torch.isfinite(image.grad).all()


@given(seed=st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_real_pairs_are_remapped_by_rising_functions_that_keep_the_range(seed: int) -> None:
    rising = torch.linspace(-2.0, 3.0, 200).expand(4, -1)
    new = apply_remap(rising, draw_remap(seeded(seed), 4))
    assert (new.diff(dim=1) >= 0).all()
    torch.testing.assert_close(new[:, [0, -1]], torch.tensor([[0.0, 1.0]]).expand(4, -1))


def test_remapping_changes_the_contrast() -> None:
    image = context(torch.randn(4, 24, 24, generator=seeded()))
    scaled = (image - image.amin((1, 2), keepdim=True)) / (image.amax((1, 2)) - image.amin((1, 2))).view(
        -1, 1, 1
    )
    assert float((apply_remap(image, draw_remap(seeded(), 4)) - scaled).abs().mean()) > 0.01


@DIMS
def test_the_discriminator_has_three_strided_convolutions_of_bounded_gain(dims: int) -> None:
    judge = discriminator(dims)
    convolutions = [part for part in judge.modules() if isinstance(part, nn.Conv2d | nn.Conv3d)]
    assert [part.out_channels for part in convolutions] == [16, 32, 1]
    assert all(set(part.stride) == {2} for part in convolutions)
    for _ in range(50):
        judge(*anatomies(2, dims=dims)[:, None].unbind())
    for part in convolutions:
        gain = torch.linalg.matrix_norm(part.weight.detach().flatten(1), ord=2)
        assert float(gain) == pytest.approx(1.0, rel=0.05)


def test_the_discriminator_learns_to_tell_shuffled_anatomy_from_the_same_in_another_contrast() -> None:
    judge = discriminator()
    optimizer = torch.optim.Adam(judge.parameters(), lr=1e-2)
    draws = seeded(5)
    train, unseen = anatomies(32, seed=1), anatomies(32, seed=2)

    def scores(images: Tensor) -> tuple[Tensor, Tensor]:
        old, new = structure(images), structure(apply_remap(images, draw_remap(draws, len(images))))
        return judge(old, new), judge(old, new.roll(1, dims=0))

    for _ in range(100):
        loss = discriminator_loss(*scores(train))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    real, fake = (part.detach().flatten(1).mean(1) for part in scores(unseen))
    assert float((real > fake).float().mean()) > 0.9


def test_the_hinge_asks_no_more_of_scores_beyond_one() -> None:
    far, near = torch.tensor([5.0]), torch.tensor([0.25])
    assert float(discriminator_loss(far, -far)) == 0.0
    assert float(discriminator_loss(near, near)) == pytest.approx(0.75 + 1.25)


@DIMS
def test_inverted_contrast_costs_the_gradient_loss_nothing(dims: int) -> None:
    image = anatomies(dims=dims)
    same, inverted = gradient_field(image), gradient_field(-2.0 * image)
    torch.testing.assert_close(gradient_loss(same, inverted), gradient_loss(same, same))


def test_moved_anatomy_costs_the_gradient_loss_more() -> None:
    field, moved = gradient_field(anatomies()), gradient_field(anatomies().roll(5, dims=1))
    assert float(gradient_loss(field, moved)) > float(gradient_loss(field, field)) + 0.05


def test_the_difference_loss_asks_for_change_up_to_its_bound() -> None:
    image = torch.zeros(2, 4, 4)
    assert float(difference_loss(image, image + 0.05, most=0.2)) == pytest.approx(-0.05)
    assert float(difference_loss(image, image - 7.0, most=0.2)) == pytest.approx(-0.2)
