"""A site that lost power in a study's last minute and comes back when the coordinator has gone is told what to do."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from FedSegCore.hospital import guest as module
from FedSegCore.hospital.answers import HubUnreachable
from FedSegCore.hospital.guest import Guest, told_when_too_late
from FedSegCore.hospital.home import Home


def home(folder: Path, state: str) -> Home:
    made = Home(folder)
    made.tell({"state": state})
    return made


def silent(made: Home) -> HubUnreachable:
    with pytest.raises(HubUnreachable) as caught, told_when_too_late(made):
        raise HubUnreachable("No answer.", "Ask the coordinator.")
    return caught.value


def test_after_the_end_it_reads_how_to_get_its_models(tmp_path: Path) -> None:
    error = silent(home(tmp_path, "finished"))
    assert error.message.startswith("The study has ended") and "--keep" in error.fix


def test_before_the_end_a_silent_hub_is_only_that(tmp_path: Path) -> None:
    assert silent(home(tmp_path, "running")).message == "No answer."
    assert silent(Home(tmp_path / "new")).message == "No answer."


@pytest.mark.parametrize(
    ("state", "patience_s"), [("running", module.PATIENCE_S), ("finished", module.GOODBYE_S)]
)
def test_it_waits_a_day_for_a_coordinator_but_not_after_the_end(
    tmp_path: Path, state: str, patience_s: float
) -> None:
    invitation: Any = SimpleNamespace(address="127.0.0.1:1", ca="")
    nobody: Any = None
    guest = Guest(invitation, nobody, home(tmp_path, state), nobody, lambda event, **fields: None)
    with guest.hub() as hub:
        assert hub.patience_s == patience_s
