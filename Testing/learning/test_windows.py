from __future__ import annotations

import itertools

import pytest
import torch
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

from FedSegCore.learning.predict import predict
from FedSegCore.learning.windows import OVERLAP, between, starts
from Testing.phantoms import seeded, small_net

pytestmark = pytest.mark.usefixtures("one_thread")


class Counting(nn.Module):
    """Counts the windows that go through a network."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.windows, self.batches = net, 0, list[int]()

    def forward(self, image: Tensor) -> Tensor:
        self.windows += len(image)
        self.batches.append(len(image))
        logits: Tensor = self.net(image)
        return logits


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=seeded(7))


@pytest.mark.parametrize(
    ("sides", "patch"),
    [
        ((8, 8, 8), (8, 8, 8)),
        ((5, 6, 3), (8, 8, 8)),
        ((21, 9, 8), (8, 8, 8)),
        ((17, 18, 19), (8, 8, 6)),
        ((13, 7, 9), (5, 7, 3)),
        ((10, 12, 20), (8, 8)),
        ((8, 8, 33), (8, 8)),
        ((5, 6, 1), (8, 8)),
    ],
)
def test_shares_rise_from_window_to_window_up_to_the_whole(
    sides: tuple[int, ...], patch: tuple[int, ...]
) -> None:
    net, told = Counting((nn.Conv3d if len(patch) == 3 else nn.Conv2d)(1, 2, 1)), list[float]()
    predict(net, noise(1, *sides), patch=patch, tell=told.append)
    assert told == sorted(set(told)) and told[-1] == 1.0
    assert told == [done / net.windows for done in itertools.accumulate(net.batches)]


def test_a_part_is_told_as_a_part_of_the_whole() -> None:
    told: list[float] = []
    inner = between(told.append, 0.5, 0.75)
    for share in (0.0, 0.5, 1.0):
        inner(share)
    assert told == [0.5, 0.625, 0.75]


def test_whoever_is_told_ends_the_work_between_two_windows() -> None:
    net = Counting(small_net(dims=3))

    def stop(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(net, noise(1, 40, 40, 40), patch=(8, 8, 8), tell=stop)
    assert 0 < net.windows < 20


@pytest.mark.parametrize("side", [1, 5, 8])
def test_windows_reach_from_border_to_border_and_overlap_enough(side: int) -> None:
    for whole in range(8, 60):
        begins = starts(whole, side, overlap=OVERLAP)
        assert (begins[0], begins[-1] + side) == (0, whole)
        steps = [second - first for first, second in itertools.pairwise(begins)]
        assert all(0 < step <= side - int(OVERLAP * side) for step in steps)


def test_there_are_never_more_windows_than_at_monais_fixed_step() -> None:
    for whole, side in itertools.product(range(8, 80), (8, 12, 16)):
        if whole >= side:
            fixed = -(-(whole - side) // int(side * (1 - OVERLAP))) + 1
            assert len(starts(whole, side, overlap=OVERLAP)) <= fixed


def test_answers_are_the_means_weighted_by_bells_around_the_windows_middles() -> None:
    """MONAI's blending with these weights, where both put the same windows: two along each axis."""
    net, image = small_net(dims=3).eval(), noise(1, 14, 13, 12)
    bell = torch.exp(-0.5 * (torch.arange(8) - 3.5).square())
    weights = bell[:, None, None] * bell[:, None] * bell
    with torch.no_grad():
        logits = sliding_window_inference(image[None], (8, 8, 8), 2, net, roi_weight_map=weights[None, None])
    found = predict(net, image, patch=(8, 8, 8))
    torch.testing.assert_close(found, torch.sigmoid(logits[0]), rtol=0, atol=1e-5)


def test_a_volume_of_one_window_is_answered_as_by_the_network_itself() -> None:
    net, image = small_net(dims=3).eval(), noise(1, 8, 8, 8)
    with torch.no_grad():
        expected = torch.sigmoid(net(image[None]))[0]
    assert torch.equal(predict(net, image, patch=(8, 8, 8)), expected)


def air_around_a_body(air: float = -2.0) -> Tensor:
    """Noise in a box from (20, 4, 0) to (29, 12, 10) of a larger volume."""
    image = torch.full((1, 48, 16, 12), air)
    image[:, 20:29, 4:12, :10] = noise(1, 9, 8, 10)
    return image


def test_a_body_in_air_is_answered_as_without_the_air_beyond_a_margin() -> None:
    image, net = air_around_a_body(), Counting(small_net(dims=3))
    found, windows = predict(net, image, patch=(8, 8, 8)), net.windows
    box = (slice(None), slice(18, 31), slice(2, 14), slice(0, 12))
    torch.testing.assert_close(found[box], predict(net, image[box], patch=(8, 8, 8)), rtol=0, atol=0)
    assert windows < 3 * 2 * 2 + 3, "the windows of the box, and one of air twice"


def test_air_beyond_the_margin_gets_the_networks_answer_to_air() -> None:
    image, net = air_around_a_body(), small_net(dims=3)
    found = predict(net, image, patch=(8, 8, 8))
    of_air = predict(net, torch.full((1, 8, 8, 8), -2.0), patch=(8, 8, 8))[:, 4, 4, 4]
    beyond = found[:, :18].flatten(1)
    torch.testing.assert_close(beyond, of_air[:, None].expand_as(beyond), rtol=0, atol=1e-6)


def test_a_border_plane_with_one_other_voxel_is_body() -> None:
    image, seen = air_around_a_body(), list[Tensor]()

    class Seeing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, windows: Tensor) -> Tensor:
            seen.extend(windows)
            return windows * self.scale

    image[0, 47, 0, 0] = -1.9
    predict(Seeing(), image, patch=(8, 8, 8))
    assert any((window == -1.9).any() for window in seen)


def test_a_volume_of_air_alone_is_one_window() -> None:
    net = Counting(small_net(dims=3))
    found = predict(net, torch.full((1, 40, 30, 20), -2.0), patch=(8, 8, 8))
    assert found.shape == (2, 40, 30, 20) and net.windows <= 3
