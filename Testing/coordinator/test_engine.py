"""The engine behind the gateway outlives what is done to its SuperLink: with one of paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from FedSegCore.coordinator import engine as module
from FedSegCore.coordinator.engine import Engine
from FedSegCore.errors import RunError
from FedSegCore.federation.keys import TlsFiles, make_tls


@pytest.fixture
def tls(tmp_path: Path) -> TlsFiles:
    return make_tls(tmp_path / "tls", ())


def ended_while_starting(monkeypatch: pytest.MonkeyPatch, times: int) -> list[str]:
    """Let the next starts fail; returns where each start writes itself down."""
    started: list[str] = []

    class PaperLink:
        alive = True

        def __init__(self, folder: Path, tls: Any) -> None:
            started.append(folder.name)
            if len(started) <= times:
                raise RunError("Flower's SuperLink did not start.")

        def pull(self, message_id: str) -> list[Any]:
            return []

        def stop(self) -> None:
            """Nothing runs."""

    monkeypatch.setattr(module, "SuperLink", PaperLink)
    return started


def test_a_superlink_that_is_ended_while_it_starts_is_started_again(
    tmp_path: Path, tls: TlsFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = ended_while_starting(monkeypatch, times=2)
    Engine(tmp_path, tls).stop()
    assert len(started) == 3


def test_one_that_never_starts_is_an_error(
    tmp_path: Path, tls: TlsFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended_while_starting(monkeypatch, times=99)
    with pytest.raises(RunError, match="did not start"):
        Engine(tmp_path, tls)
