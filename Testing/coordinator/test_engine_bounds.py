"""A site's engine and a coordinator that sends more than a study has."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from FedSegCore.federation import flower
from FedSegCore.federation.bounds import TOO_LARGE, BoundedTransport, Tally


class Flooded(Exception):
    """Stands for the end of the process."""


def refuse(what: str) -> None:
    raise Flooded(what)


class Paper(httpx.BaseTransport):
    """A server of one answer; counts what was taken of it."""

    def __init__(self, pieces: Callable[[], Iterator[bytes]], **headers: str) -> None:
        self.pieces, self.headers, self.taken = pieces, headers, 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        def stream() -> Iterator[bytes]:
            for piece in self.pieces():
                self.taken += len(piece)
                yield piece

        return httpx.Response(200, headers=self.headers, stream=_Stream(stream()))


class _Stream(httpx.SyncByteStream):
    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return self.pieces


def endless() -> Iterator[bytes]:
    while True:
        yield bytes(1000)


def asked(paper: Paper, call: str = "pull-object") -> bytes:
    transport = BoundedTransport(paper, {"pull-object": 10_000}, 2000, refuse)
    with httpx.Client(transport=transport) as client:
        return client.post(f"https://hub/engine/{call}", content=b"").content


def test_an_answer_of_the_largest_size_comes_whole() -> None:
    assert asked(Paper(lambda: iter([bytes(1000)] * 10))) == bytes(10_000)


@pytest.mark.parametrize(("call", "most"), [("pull-object", 10_000), ("get-run", 2000), ("anything", 2000)])
def test_an_endless_answer_is_read_no_further_than_it_may_be(call: str, most: int) -> None:
    paper = Paper(endless)
    with pytest.raises(Flooded, match=f"more than {most} bytes to {call}"):
        asked(paper, call)
    assert paper.taken <= most + 1000


def test_a_packed_answer_is_not_unpacked() -> None:
    paper = Paper(endless, **{"content-encoding": "gzip"})
    with pytest.raises(Flooded, match="packed"):
        asked(paper)
    assert paper.taken == 0


def test_pieces_add_up_to_no_more_than_a_message_may_be() -> None:
    tally = Tally(100, refuse)
    tally.add(60)
    tally.add(40)
    with pytest.raises(Flooded, match="more than 100 bytes"):
        tally.add(1)


def supernode(monkeypatch: pytest.MonkeyPatch, largest: int) -> Any:
    """Flower's SuperNode, told to take no more in a message."""
    from flwr.supernode import fleet_http_client, start_client_internal

    monkeypatch.setattr(start_client_internal, "pull_objects", start_client_internal.pull_objects)
    monkeypatch.setattr(
        fleet_http_client.FleetHttpClient, "__init__", fleet_http_client.FleetHttpClient.__init__
    )
    monkeypatch.setattr(flower, "Tally", lambda most: Tally(most, refuse))
    flower._take_no_more_than(largest)
    return start_client_internal


def objects(body: bytes) -> dict[str, bytes]:
    """A message's objects as Flower sends them, by their names."""
    from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

    record = flower._packed({"run": "r"}, body)
    return {name: one.deflate() for name, one in get_all_nested_objects(record).items()}


def test_a_message_that_a_study_can_have_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = objects(bytes(3_000_000))
    pull = supernode(monkeypatch, 3 * 3_000_000 + 32 * 2**20).pull_objects
    assert pull(list(sent), pull_object_fn=sent.__getitem__) == sent


def test_what_a_larger_message_brings_ends_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = objects(bytes(3_000_000))
    pull = supernode(monkeypatch, 1_000_000).pull_objects
    with pytest.raises(Flooded):
        pull(list(sent), pull_object_fn=sent.__getitem__)


def test_an_array_that_names_one_piece_a_million_times_is_counted_before_it_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent = objects(bytes(1000))
    (name,) = (name for name, content in sent.items() if b"arraychunk_ids" in content)
    head, _, rest = sent[name].partition(b'"arraychunk_ids"')
    chunk = rest[rest.index(b"[") + 1 : rest.index(b"]")]
    many = head + b'"arraychunk_ids": [' + b",".join([chunk] * 100) + rest[rest.index(b"]") :]
    sent[name] = _resized(many)
    pull = supernode(monkeypatch, 100 * 2**20).pull_objects
    with pytest.raises(Flooded):
        pull([name], pull_object_fn=sent.__getitem__)


def _resized(content: bytes) -> bytes:
    """An object whose head tells its body's length."""
    head, _, body = content.partition(b"\x00")
    words = head.split(b" ")
    return b" ".join([*words[:-1], str(len(body)).encode()]) + b"\x00" + body


def test_a_flooded_engine_ends_with_a_code_of_its_own() -> None:
    words = "from FedSegCore.federation.bounds import Tally; Tally(1).add(2)"
    ended = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=False)
    assert ended.returncode == TOO_LARGE and "more than 1 bytes" in ended.stderr
