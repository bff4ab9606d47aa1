from __future__ import annotations

import pytest

from FedSegCore.hospital.answers import HubUnreachable
from FedSegCore.hospital.patience import Patience

FAILED = HubUnreachable("silent", "")


class Clock:
    """Time that passes only in sleep."""

    def __init__(self) -> None:
        self.time = 0.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


def endured(patience: Patience) -> int:
    tries = 0
    with pytest.raises(HubUnreachable):
        while True:
            patience.endure(FAILED)
            tries += 1
    return tries


def test_waits_double_from_half_a_second_to_half_a_minute_and_are_never_all_alike() -> None:
    clock = Clock()
    endured(Patience(1000, wait=clock.sleep, clock=clock.now))
    longest = [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert all(most / 2 <= slept <= most for slept, most in zip(clock.slept, longest, strict=False))
    assert len({slept / most for slept, most in zip(clock.slept, longest, strict=False)}) > 1


def test_no_try_begins_after_the_deadline() -> None:
    clock = Clock()
    endured(Patience(10, wait=clock.sleep, clock=clock.now))
    assert 0 < clock.time <= 10


def test_without_patience_the_first_failure_is_final() -> None:
    assert endured(Patience(0)) == 0


def test_what_has_been_gained_renews_it() -> None:
    clock = Clock()
    patience = Patience(10, wait=clock.sleep, clock=clock.now)
    endured(patience)
    patience.renew()
    clock.slept.clear()
    assert endured(patience) > 2
    assert clock.slept[0] <= 0.5
