from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from FedSegCore.learning.losses import LOSSES, Loss, decode

EVERY_LOSS = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def problem(seed: int = 0, *, sides: tuple[int, ...] = (4, 5, 6)) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 4, *sides, generator=generator).requires_grad_()
    target = (torch.rand(3, 4, *sides, generator=generator) < 0.3).to(torch.uint8)
    annotated = torch.rand(3, 4, generator=generator) < 0.5
    annotated[0] = torch.tensor([True, False, False, True])
    return logits, target, annotated


def spread(annotated: Tensor, like: Tensor) -> Tensor:
    return annotated[:, :, None, None, None].expand_as(like)


@EVERY_LOSS
@given(seed=st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_the_gradient_of_an_unannotated_channel_is_exactly_zero_and_of_an_annotated_one_is_not(
    loss: Loss, seed: int
) -> None:
    logits, target, annotated = problem(seed)
    loss(logits, target, annotated).backward()
    assert logits.grad is not None
    assert torch.all(logits.grad[~spread(annotated, logits)] == 0)
    assert torch.all(logits.grad[spread(annotated, logits)] != 0)


@EVERY_LOSS
@given(seed=st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_what_stands_in_unannotated_channels_does_not_change_the_loss(loss: Loss, seed: int) -> None:
    logits, target, annotated = problem(seed)
    hidden = ~spread(annotated, logits)
    other = torch.where(hidden, torch.full_like(logits, math.nan), logits)
    assert torch.equal(loss(logits, target, annotated), loss(other, target ^ hidden, annotated))


@EVERY_LOSS
def test_not_even_nan_logits_of_an_unannotated_channel_reach_the_gradient(loss: Loss) -> None:
    logits, target, annotated = problem()
    broken = torch.where(spread(annotated, logits), logits, torch.nan).detach().requires_grad_()
    loss(broken, target, annotated).backward()
    assert broken.grad is not None
    assert torch.isfinite(broken.grad).all()


@EVERY_LOSS
def test_a_batch_without_annotations_has_loss_zero_and_a_gradient_of_zeros(loss: Loss) -> None:
    logits, target, annotated = problem()
    value = loss(logits, target, torch.zeros_like(annotated))
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None
    assert torch.all(logits.grad == 0)


@EVERY_LOSS
def test_a_structure_that_nobody_annotates_changes_nothing(loss: Loss) -> None:
    logits, target, annotated = problem()
    more = (torch.cat([tensor, tensor[:, :1]], dim=1) for tensor in (logits, target))
    known = torch.cat([annotated, torch.zeros(3, 1, dtype=torch.bool)], dim=1)
    torch.testing.assert_close(loss(*more, known), loss(logits, target, annotated))


@EVERY_LOSS
def test_a_confident_correct_prediction_costs_nearly_nothing_and_a_wrong_one_much(loss: Loss) -> None:
    _, target, annotated = problem()
    right = (target.float() * 2 - 1) * 20
    assert loss(right, target, annotated) < 1e-3
    assert loss(-right, target, annotated) > 0.5


@EVERY_LOSS
def test_losses_do_not_depend_on_the_number_of_annotated_structures(loss: Loss) -> None:
    logits, target, _ = problem()
    twice = (torch.cat([tensor[:, :1]] * 2, dim=1) for tensor in (logits, target))
    once = loss(logits[:, :1], target[:, :1], torch.ones(3, 1, dtype=torch.bool))
    torch.testing.assert_close(loss(*twice, torch.ones(3, 2, dtype=torch.bool)), once)


@EVERY_LOSS
def test_losses_run_on_the_meta_device_and_in_low_precision(loss: Loss) -> None:
    logits, target, annotated = problem()
    loss(
        *(
            tensor.detach().to("meta").requires_grad_(tensor is logits)
            for tensor in (logits, target, annotated)
        )
    ).backward()
    assert loss(logits.to(torch.bfloat16), target, annotated).dtype == torch.float32


@EVERY_LOSS
def test_losses_take_slices_as_well_as_volumes(loss: Loss) -> None:
    assert torch.isfinite(loss(*problem(sides=(6, 8))))


def test_dice_focal_is_the_formula_of_fedgin_with_an_unweighted_pt() -> None:
    logits, target, _ = problem()
    truth = target.double()
    p = torch.sigmoid(logits.detach().double())
    plain = -(truth * p.log() + (1 - truth) * (1 - p).log())
    weighted = -(3 * truth * p.log() + (1 - truth) * (1 - p).log())
    focal = (0.25 * (1 - torch.exp(-plain)) ** 2 * weighted).mean()
    axes = (2, 3, 4)
    dice = (2 * (p * truth).sum(axes) + 1e-5) / ((p + truth).sum(axes) + 1e-5)
    expected = 0.5 * focal + 0.5 * (1 - dice).mean()
    value = LOSSES["dice_focal"](logits, target, torch.ones(3, 4, dtype=torch.bool))
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)


def test_dice_ce_pools_annotated_voxels_over_the_batch() -> None:
    logits, target, annotated = problem()
    mask = spread(annotated, logits).double()
    truth, p = target * mask, torch.sigmoid(logits.detach().double())
    axes = (0, 2, 3, 4)
    dice = 1 - (2 * (p * truth).sum(axes) + 1) / ((p * mask + truth).sum(axes) + 1)
    bce = -(truth * p.log() + (1 - truth) * (1 - p).log()).mean((2, 3, 4))
    expected = dice[annotated.any(0)].mean() + bce[annotated].mean()
    assert LOSSES["dice_ce"](logits, target, annotated).item() == pytest.approx(expected.item(), rel=1e-5)


def test_decoding_exclusive_structures_takes_the_most_probable_above_one_half() -> None:
    probabilities = torch.tensor([[0.6, 0.9, 0.4, 0.7], [0.8, 0.6, 0.45, 0.7]])
    expected = torch.tensor([[False, True, False, True], [True, False, False, False]])
    assert torch.equal(decode(probabilities, overlapping=False), expected)


def test_decoding_overlapping_structures_takes_each_above_one_half() -> None:
    probabilities = torch.tensor([[0.6, 0.9, 0.5], [0.8, 0.6, 0.45]])
    assert torch.equal(decode(probabilities, overlapping=True), probabilities > 0.5)


@given(seed=st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_exclusive_decoding_never_puts_two_structures_in_a_voxel(seed: int) -> None:
    probabilities = torch.rand(3, 4, 5, 6, generator=torch.Generator().manual_seed(seed))
    decoded = decode(probabilities, overlapping=False)
    assert torch.equal(decoded.any(0), (probabilities > 0.5).any(0))
    assert decoded.sum(0).max() <= 1
