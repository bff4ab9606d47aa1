"""Replies that arrive whole are had while another one is still on its way."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest

from FedSegCore.coordinator.pulls import Pulls
from FedSegCore.errors import RunError
from FedSegCore.federation.flower import Reply


def collected(pulls: Pulls, *wanted: str) -> list[str]:
    """What comes back for some messages until something does."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if found := [reply.message_id for reply in pulls.collect(wanted)]:
            return found
        time.sleep(0.005)
    raise AssertionError("nothing came")


def test_a_reply_that_is_still_being_sent_holds_up_no_other() -> None:
    whole = threading.Event()

    def pull(message_id: str) -> Sequence[Reply]:
        if message_id == "slow":
            whole.wait(10)
        return [Reply(message_id, {}, b"")]

    pulls = Pulls(pull)
    assert collected(pulls, "slow", "a", "b") != ["slow"]
    assert collected(pulls, "slow", "b", "c")[0] in ("b", "c")
    whole.set()
    assert collected(pulls, "slow") == ["slow"]
    pulls.stop()


def test_a_message_without_a_reply_is_looked_for_again() -> None:
    looks = []

    def pull(message_id: str) -> Sequence[Reply]:
        looks.append(message_id)
        return [Reply(message_id, {}, b"")] if len(looks) == 3 else []

    pulls = Pulls(pull)
    assert collected(pulls, "a") == ["a"] and looks == ["a"] * 3
    pulls.stop()


def test_what_is_no_longer_wanted_is_forgotten() -> None:
    pulls = Pulls(lambda message_id: [Reply(message_id, {}, b"")])
    assert list(pulls.collect(["a"])) == []
    time.sleep(0.05)
    assert collected(pulls, "b") == ["b"]
    assert list(pulls.collect(["a"])) == [], "it is looked for anew"
    pulls.stop()


def test_a_failure_is_told_where_the_reply_is_asked_for() -> None:
    def pull(message_id: str) -> Sequence[Reply]:
        raise RunError("Flower could not collect replies.")

    pulls = Pulls(pull)
    with pytest.raises(RunError, match="could not collect"):
        collected(pulls, "a")
    pulls.stop()
