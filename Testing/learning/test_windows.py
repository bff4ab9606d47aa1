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


def air_around_a_body() -> Tensor:
    image = torch.full((1, 48, 16, 16), -2.0)
    image[:, 40:] = noise(1, 8, 16, 16)
    return image


def test_constant_windows_are_asked_once_and_answered_as_if_each_were_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image, net = air_around_a_body(), Counting(small_net(dims=3))
    found, few = predict(net, image, patch=(8, 8, 8)), net.windows
    monkeypatch.setattr("FedSegCore.learning.windows._constant", lambda *_: None)
    net.windows = 0
    every = predict(net, image, patch=(8, 8, 8))
    torch.testing.assert_close(found, every, rtol=0, atol=1e-6)
    assert few < net.windows / 2


def test_windows_that_hold_one_voxel_more_than_air_are_asked() -> None:
    image = torch.full((1, 24, 8, 8), -2.0)
    image[0, 12, 4, 4] = -1.9
    net = Counting(small_net(dims=3))
    alone = predict(net, image, patch=(8, 8, 8))
    assert net.windows > 2
    assert not torch.equal(alone[:, 12], predict(net, torch.full_like(image, -2.0), patch=(8, 8, 8))[:, 12])
