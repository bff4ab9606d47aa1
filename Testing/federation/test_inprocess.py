from __future__ import annotations

import errno
from pathlib import Path

import pytest

from FedSegCore.errors import SiteError, StorageError
from FedSegCore.federation.client import Client
from FedSegCore.federation.inprocess import InProcess
from FedSegCore.federation.method import ClientInfo, Round
from FedSegCore.methods.averaging import Averaging
from Testing.phantoms import Federation, make_site

ROUND = Round(2, 5)


def transport(folder: Path) -> InProcess:
    sites = [make_site(name, cases=1) for name in ("south", "east", "north")]
    return InProcess(Federation(folder, Averaging(), sites).clients)


def answers(monkeypatch: pytest.MonkeyPatch, **failing: Exception) -> None:
    """Every site answers with its own message and name, but for those that fail."""

    def handle(client: Client, data: bytes) -> bytes:
        if client.info.name in failing:
            raise failing[client.info.name]
        return data + client.info.name.encode()

    monkeypatch.setattr(Client, "handle", handle)


def test_sites_answer_in_the_order_of_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch)
    found = transport(tmp_path)
    assert [client.name for client in found.clients()] == ["east", "north", "south"]
    replies = [(client.name, data) for client, data in found.exchange(lambda client: b"to ", ROUND)]
    assert replies == [("east", b"to east"), ("north", b"to north"), ("south", b"to south")]


def test_a_message_is_made_when_it_is_its_sites_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch)
    made: list[str] = []

    def outbox(client: ClientInfo) -> bytes:
        made.append(client.name)
        return b""

    replies = transport(tmp_path).exchange(outbox, ROUND)
    next(replies)
    assert made == ["east"]


def test_a_failing_site_is_yielded_as_its_error_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = SiteError("out of memory", site="north", round_number=2)
    answers(monkeypatch, north=failed)
    replies = [reply for _, reply in transport(tmp_path).exchange(lambda client: b"", ROUND)]
    assert replies == [b"east", failed, b"south"]


def test_a_full_disk_ends_the_exchange_for_it_would_hit_every_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, east=StorageError("state", OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(StorageError):
        list(transport(tmp_path).exchange(lambda client: b"", ROUND))


def test_an_interrupt_is_not_a_failing_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(client: Client, data: bytes) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "handle", interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(transport(tmp_path).exchange(lambda client: b"", ROUND))
