from __future__ import annotations

import pytest
import torch
from torch import nn

from FedSegCore.inference.windows import between, count_windows, watched
from FedSegCore.learning.predict import predict

pytestmark = pytest.mark.usefixtures("one_thread")


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
    net = (nn.Conv3d if len(patch) == 3 else nn.Conv2d)(1, 2, 1)
    image, shares = torch.zeros(1, *sides), list[float]()
    with watched(net, image, patch, shares.append):
        predict(net, image, patch=patch)
    assert shares == sorted(set(shares)) and shares[-1] == 1.0
    assert shares[0] <= 16 / count_windows(sides, patch)
    predict(net, image, patch=patch)
    assert shares[-1:] == [1.0] == [share for share in shares if share == 1.0], "nothing is told afterwards"


def test_a_part_is_told_as_a_part_of_the_whole() -> None:
    told: list[float] = []
    inner = between(told.append, 0.5, 0.75)
    for share in (0.0, 0.5, 1.0):
        inner(share)
    assert told == [0.5, 0.625, 0.75]
