"""Rounds across hospitals outlive connections and sites: over an engine of paper, with a clock that runs fast."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from FedSegCore.coordinator import transport as module
from FedSegCore.coordinator.transport import AcrossHospitals
from FedSegCore.errors import RunError, SiteError
from FedSegCore.federation import wire
from FedSegCore.federation.flower import Head, Reply
from FedSegCore.federation.ledger import Ledger, read_lines
from FedSegCore.federation.method import ClientInfo, Offer, Round

ROUND = Round(1, 3)
Answer = Callable[[str, bytes], Reply | None]


class PaperEngine:
    """Sites answer at once, by a function of their name and the message; None: they never do."""

    def __init__(self, sites: Iterable[str], answer: Answer) -> None:
        self.here = set(sites)
        self.answer = answer
        self.connections = dict.fromkeys(sites, 1)
        self.posted: list[str] = []
        self._mail: dict[str, tuple[str, bytes]] = {}
        self._ids = itertools.count()

    def heal(self) -> bool:
        return False

    def online(self) -> set[str]:
        return set(self.here)

    def node(self, site: str) -> str:
        return f"{self.connections[site]}" if site in self.here else ""

    def post(self, site: str, head: Head, body: bytes) -> str:
        message = f"message {next(self._ids)}"
        self.posted.append(site)
        self._mail[message] = site, body
        return message

    def collect(self, message_ids: Iterable[str]) -> Iterator[Reply]:
        for message in message_ids:
            site, body = self._mail[message]
            if (reply := self.answer(site, body)) is not None:
                yield replace(reply, message_id=message)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every look at the engine takes a second, without waiting for it."""
    now = itertools.count()
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(now)) / 4)
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    yield


def offer() -> bytes:
    return wire.encode(Offer())


def said(head: Head | None = None, body: bytes = b"") -> Reply:
    return Reply("", head or {"run": "run"}, body)


def infos(*names: str) -> list[ClientInfo]:
    return [ClientInfo(name, ("CT",), ("Liver",), 3) for name in names]


def across(folder: Path, engine: Any, *names: str, **options: Any) -> AcrossHospitals:
    given = {"members": lambda: infos(*names), "min_sites": 1, "timeout": 100.0, **options}
    return AcrossHospitals(
        engine, "run", ledger=Ledger(folder / "ledger.jsonl"), folder=folder / "replies",
        emit=lambda event, **fields: None, **given,
    )  # fmt: skip


def round_of(transport: AcrossHospitals) -> dict[str, bytes | str]:
    """Each site's reply, or the reason why there is none, in the order that they come in."""
    replies = transport.exchange(lambda info: info.name.encode(), ROUND)
    return {i.name: reply.reason if isinstance(reply, SiteError) else reply for i, reply in replies}


def test_replies_come_in_the_order_of_the_names_and_into_the_ledger(tmp_path: Path) -> None:
    engine = PaperEngine(["b", "a"], lambda site, body: said(body=offer()))
    assert list(round_of(across(tmp_path, engine, "a", "b"))) == ["a", "b"]
    lines = read_lines(tmp_path / "ledger.jsonl")
    assert [(line["site"], line["kind"]) for line in lines] == [("a", "publish"), ("b", "publish")]
    assert not (tmp_path / "replies").exists()


def test_a_slow_site_is_left_out_when_its_time_is_over(tmp_path: Path) -> None:
    engine = PaperEngine(["a", "slow"], lambda site, body: None if site == "slow" else said(body=offer()))
    found = round_of(across(tmp_path, engine, "a", "slow"))
    assert found == {"a": offer(), "slow": "no answer within round_timeout = 100 s."}


def test_a_site_that_is_not_connected_is_left_out_after_a_minute(tmp_path: Path) -> None:
    engine = PaperEngine(["a"], lambda site, body: said(body=offer()))
    found = round_of(across(tmp_path, engine, "a", "far"))
    assert found == {"a": offer(), "far": "it is not connected."}


def test_a_round_waits_for_a_site_that_it_needs_and_that_comes_back(tmp_path: Path) -> None:
    engine = PaperEngine(["a"], lambda site, body: said(body=offer()))
    looks = itertools.count()

    def online() -> set[str]:
        if next(looks) == 500:
            engine.here.add("b")
            engine.connections["b"] = 2
        return set(engine.here)

    engine.online = online  # type: ignore[method-assign]
    found = round_of(across(tmp_path, engine, "a", "b", min_sites=2, timeout=1e6))
    assert found == {"a": offer(), "b": offer()}


def test_a_site_that_connects_anew_is_sent_its_message_again(tmp_path: Path) -> None:
    engine = PaperEngine(
        ["a"], lambda site, body: said(body=offer()) if engine.connections["a"] == 3 else None
    )
    looks = itertools.count()

    def heal() -> bool:
        if next(looks) in (10, 20):
            engine.connections["a"] += 1
        return False

    engine.heal = heal  # type: ignore[method-assign]
    assert round_of(across(tmp_path, engine, "a")) == {"a": offer()}
    assert engine.posted == ["a", "a", "a"]


def test_a_message_that_the_engine_lost_goes_out_again(tmp_path: Path) -> None:
    tries = itertools.count()

    def answer(site: str, body: bytes) -> Reply:
        gone = Reply("", {"failed": "lost"}, b"", lost=True)
        return gone if next(tries) == 0 else said(body=offer())

    engine = PaperEngine(["a"], answer)
    assert round_of(across(tmp_path, engine, "a")) == {"a": offer()}
    assert len(engine.posted) == 2


def test_an_engine_that_fails_for_a_while_ends_no_round(tmp_path: Path) -> None:
    engine = PaperEngine(["a"], lambda site, body: said(body=offer()))
    looks = itertools.count()

    def heal() -> bool:
        if next(looks) < 5:
            raise RunError("Flower's SuperLink did not start.")
        return False

    engine.heal = heal  # type: ignore[method-assign]
    assert round_of(across(tmp_path, engine, "a")) == {"a": offer()}


def test_a_site_that_leaves_in_mid_round_is_waited_for_no_longer(tmp_path: Path) -> None:
    engine = PaperEngine(["a", "b"], lambda site, body: said(body=offer()) if site == "a" else None)
    present = [infos("a", "b")] * 3 + [infos("a")] * 1000
    found = round_of(across(tmp_path, engine, members=iter(present).__next__))
    assert found == {"a": offer(), "b": "it has left the study."}


def test_what_a_site_says_of_its_failure_is_one_short_printable_line(tmp_path: Path) -> None:
    rude = {"failed": "no\x1b[31m\n" + "x" * 10_000, "fix": "\r\nretry"}
    engine = PaperEngine(["a"], lambda site, body: said(rude))
    found = round_of(across(tmp_path, engine, "a"))["a"]
    assert isinstance(found, str) and found.isprintable() and len(found) <= 300


def test_what_replies_take_in_memory_does_not_grow_with_the_number_of_sites(tmp_path: Path) -> None:
    size, peaks = 2**20, []
    for number in (2, 12):
        names = [f"site{place:02}" for place in range(number)]

        def answer(site: str, body: bytes) -> Reply:
            return said(body=wire.encode(Offer({"w": torch.full((size,), float(site[4:]))})))

        transport = across(tmp_path / f"{number}", PaperEngine(names, answer), *names)
        tracemalloc.start()
        for _, reply in transport.exchange(lambda info: info.name.encode(), ROUND):
            assert isinstance(reply, bytes) and len(reply) > 4 * size
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 4 * size / 2, f"{peaks} bytes"
