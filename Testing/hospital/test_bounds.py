"""What a coordinator may offer to a site."""

from __future__ import annotations

import pytest

from FedSegCore.hospital.answers import HubModel, NotAHub
from FedSegCore.hospital.bounds import Bounds

BOUNDS = Bounds(largest=1000, models=2, runs=frozenset({"fedavg-seed0"}))


def model(file: str = "global.safetensors", *, run: str = "fedavg-seed0", size: int = 1000) -> HubModel:
    return HubModel(run, file, size, "0" * 64, {})


def test_the_studys_own_models_are_taken() -> None:
    BOUNDS.check([model(), model("personal-north.safetensors", size=1)])


@pytest.mark.parametrize(
    ("offered", "why"),
    [
        ([model(size=1001)], "global.safetensors of fedavg-seed0 has 1,001 bytes"),
        ([model(size=10**15)], "at most 1,000"),
        ([model(run="other-seed0")], "no run of this study"),
        ([model(f"{n}.safetensors") for n in range(3)], "3 models are offered; this study has at most 2"),
    ],
)
def test_more_than_a_study_has_is_refused_before_a_byte_of_it_comes(
    offered: list[HubModel], why: str
) -> None:
    with pytest.raises(NotAHub, match=why):
        BOUNDS.check(offered)
