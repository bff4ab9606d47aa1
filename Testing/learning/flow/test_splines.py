"""Rational-quadratic splines: increasing, inverted in closed form, with their true slope."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from FedSegCore.learning.flow import splines

pytestmark = pytest.mark.usefixtures("one_thread")

BINS, TAIL = 8, 5.0
PROPERTY = settings(max_examples=20, deadline=None)


def raw(seed: int, strength: float, count: int = 1) -> Tensor:
    return strength * torch.randn(count, 3 * BINS - 1, generator=torch.Generator().manual_seed(seed))


def line(points: int = 401, *, reach: float = 8.0) -> Tensor:
    return torch.linspace(-reach, reach, points)


@given(seed=st.integers(0, 2**31), strength=st.sampled_from([0.1, 1.0, 5.0]))
@PROPERTY
def test_a_spline_rises_strictly(seed: int, strength: float) -> None:
    one = splines.spline(raw(seed, strength).expand(401, -1), tail=TAIL)
    assert (splines.forward(one, line())[0].diff() > 0).all()


@given(seed=st.integers(0, 2**31), strength=st.sampled_from([0.1, 1.0, 5.0]))
@PROPERTY
def test_the_inverse_gives_every_point_back(seed: int, strength: float) -> None:
    one = splines.spline(raw(seed, strength).double().expand(401, -1), tail=TAIL)
    point = line().double()
    torch.testing.assert_close(splines.inverse(one, splines.forward(one, point)[0]), point, rtol=0, atol=1e-9)


def test_the_log_slope_is_autograds() -> None:
    point = line().double().requires_grad_()
    image, log_slope = splines.forward(splines.spline(raw(0, 1.0, 401).double(), tail=TAIL), point)
    (slope,) = torch.autograd.grad(image.sum(), point)
    torch.testing.assert_close(log_slope, slope.log())


def test_raw_zeros_mean_the_identity() -> None:
    image, log_slope = splines.forward(splines.spline(torch.zeros(401, 3 * BINS - 1), tail=TAIL), line())
    torch.testing.assert_close(image, line(), rtol=0, atol=1e-5)
    torch.testing.assert_close(log_slope, torch.zeros(401), rtol=0, atol=1e-5)


def test_outside_the_tails_nothing_moves() -> None:
    outside = torch.tensor([-100.0, -TAIL, TAIL, 100.0])
    image, log_slope = splines.forward(splines.spline(raw(0, 3.0, 4), tail=TAIL), outside)
    assert torch.equal(image, outside)
    assert torch.equal(log_slope, torch.zeros(4))
