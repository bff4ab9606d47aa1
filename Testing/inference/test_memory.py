"""How many copies of a volume segmenting it keeps at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from FedSegCore.data.plan import Intensity, Plan
from FedSegCore.data.volume import Volume
from FedSegCore.inference.modelfile import Model, ModelHeader
from FedSegCore.inference.segment import segment_volumes
from Testing.resident import peak_mib

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE = 220
FLOATS = 4 * SIDE**3 / 2**20
"""What one copy of the volume takes as float32, in MiB."""


class Threshold(nn.Module):
    """Two structures by grey value, as quick as a network can be."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, image: Tensor) -> Tensor:
        return torch.cat([image, -image], dim=1) * self.scale


def ct(side: int) -> Volume:
    array = np.full((side, side, side), -1000, dtype=np.int16)
    array[50:-50, 40:-40, :] = np.arange(-160, 240)[np.arange(side) % 400]
    return Volume(array, np.eye(4))


@pytest.fixture
def large(header: ModelHeader) -> ModelHeader:
    return replace(
        header,
        plan=Plan(3, patch=(64, 64, 64), intensity={"CT": Intensity("window", -160.0, 240.0)}),
    )


def test_a_volume_is_kept_a_few_times_only(large: ModelHeader) -> None:
    """Two structures' maps, one of them on the scan's grid, the largest of them, and the masks of a quarter each."""
    volume, model = ct(SIDE), Model(large, Threshold())
    assert peak_mib(lambda: segment_volumes(model, {"CT": volume})) < 5.0 * FLOATS
