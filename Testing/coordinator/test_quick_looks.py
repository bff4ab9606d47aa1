"""Flower waits for whole seconds between two looks; a round has many of them."""

from __future__ import annotations

import inspect
import itertools
import time

from flwr.supercore.inflatable import inflatable_utils as flowers
from flwr.supernode import start_client_internal as supernode

from FedSegCore.federation import flower


def test_a_piece_that_comes_a_moment_late_is_asked_for_again_soon() -> None:
    asked = itertools.count()

    def pull(piece: str) -> bytes:
        if next(asked) < 2:
            raise flowers.ObjectUnavailableError(piece)
        return b"piece"

    started = time.monotonic()
    assert flower.pull_objects(["id"], pull) == {"id": b"piece"}
    assert time.monotonic() - started < 1.0, "Flower's own pace would take 3 s"


def test_a_piece_is_waited_for_as_long_as_flower_does() -> None:
    for asks in (flower.pull_objects, flower.pull_and_inflate_object_from_tree):
        told = {name: one.default for name, one in inspect.signature(asks).parameters.items()}
        assert told["max_time"] == flowers.PULL_MAX_TIME and told["max_tries_per_object"] is None


def test_a_node_looks_for_a_reply_and_for_messages_without_sleeping_long() -> None:
    flower._look_often()
    started = time.monotonic()
    supernode.time.sleep(3)  # type: ignore[attr-defined]
    assert time.monotonic() - started < 1.0
