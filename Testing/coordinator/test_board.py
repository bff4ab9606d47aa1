"""The board: what it hears, keeps over a restart, and leaves to others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from FedSegCore.coordinator.board import Board, Tallied
from FedSegCore.coordinator.roster import Entry, Roster
from FedSegCore.errors import StorageError
from FedSegCore.federation.ledger import append_line
from FedSegCore.federation.method import ClientInfo, Round
from FedSegCore.federation.transport import Outbox

NORTH = ClientInfo("north", ("CT",), ("Liver",), 3)


class Stage:
    """A board over a folder; `told` is what it passed on."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.told = folder, list[tuple[str, dict[str, Any]]]()
        self.roster = Roster(folder / "roster", ("north", "south"))
        self.log = folder / "rounds.jsonl"
        self.board = self.anew()

    def anew(self) -> Board:
        """As after a restart of the coordinator."""
        return Board(
            self.folder / "status.json", study="s", runs=["r"], total=9, members=("south", "north"), min_sites=2,
            emit=lambda event, **fields: self.told.append((event, fields)), entries=self.roster.entries,
        )  # fmt: skip

    def line(self, number: int, left_out: dict[str, str]) -> None:
        append_line(self.log, {"round": number, "sites": {}, "left_out": left_out})

    @property
    def facts(self) -> dict[str, Any]:
        return self.board.snapshot()

    @property
    def file(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "status.json").read_text())
        return found


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_every_member_is_on_it_before_it_comes_and_an_invitation_is_seen(stage: Stage) -> None:
    assert {name: one["state"] for name, one in stage.facts["sites"].items()} == dict.fromkeys(
        ("north", "south"), "uninvited"
    )
    stage.roster.invite("north", "token", 99.0)
    assert stage.facts["sites"]["north"] == stage.facts["sites"]["north"] | {
        "state": "invited",
        "expires": 99.0,
    }


def test_sites_are_told_only_of_those_that_have_come(stage: Stage) -> None:
    stage.roster.invite("south", "token", 99.0)
    stage.board.emit("site_state", site="north", state="joined")
    assert stage.board.brief()["sites"] == {"north": "joined"}
    assert not set(stage.board.brief()) & {"folder", "lost", "rounds"}


def test_the_file_and_the_snapshot_have_the_same_fields(stage: Stage) -> None:
    stage.board.put(state="running")
    assert set(stage.file) == set(stage.facts) and stage.file["state"] == "running"


def test_messages_and_bytes_are_counted_by_site(stage: Stage) -> None:
    for size in (10, 20):
        stage.board.emit("ledger", site="north", bytes=size)
    north = stage.facts["sites"]["north"]
    assert (north["messages"], north["bytes_up"], north["bytes_down"]) == (2, 30, 0)
    assert [event for event, _ in stage.told] == ["ledger", "ledger"]


def test_each_message_to_a_site_counts_when_it_is_made(stage: Stage) -> None:
    class Twice:
        """Sends each message twice, as after a break."""

        def clients(self) -> list[ClientInfo]:
            return [NORTH]

        def exchange(self, outbox: Outbox, round: Round) -> Iterator[tuple[ClientInfo, bytes]]:
            yield NORTH, outbox(NORTH) + outbox(NORTH)

        def close(self) -> None:
            """Nothing is held."""

    replies = list(Tallied(Twice(), stage.board).exchange(lambda client: b"model", Round(4, 9)))
    north = stage.facts["sites"]["north"]
    assert replies == [(NORTH, b"modelmodel")] and north["bytes_down"] == 10 and north["round"] == 4


def test_who_was_left_out_of_a_round_is_kept_with_the_reason(stage: Stage) -> None:
    stage.board.follow("r", stage.log)
    stage.line(1, {"north": "it is not connected."})
    stage.board.emit("round", number=1)
    assert stage.facts["round"] == 1 and stage.facts["lost"] == [
        {"run": "r", "round": 1, "site": "north", "reason": "it is not connected.", "times": 1}
    ]


def test_a_round_that_is_tried_again_and_again_is_one_entry(stage: Stage) -> None:
    stage.board.follow("r", stage.log)
    stage.line(1, {"north": "no."})
    for _ in range(3):
        stage.board.emit("warning", message="Round 1: 0 of 2 sites gave a usable update", fix="")
    assert [one["times"] for one in stage.facts["lost"]] == [3] and stage.facts["round"] == 0


def test_a_warning_of_something_else_leaves_nobody_out(stage: Stage) -> None:
    stage.line(1, {"north": "no."})
    stage.board.follow("r", stage.log)
    stage.board.emit("warning", message="The disk is slow.", fix="")
    assert stage.facts["lost"] == []


def test_after_a_restart_counts_and_losses_stand_and_states_come_from_the_roster(stage: Stage) -> None:
    stage.roster.invite("north", "token", 1e12)
    stage.roster.enrol("north", "token", "key")
    stage.board.emit("ledger", site="north", bytes=10)
    stage.board.emit("site_state", site="north", state="training")
    stage.board.follow("r", stage.log)
    stage.line(1, {"south": "no."})
    stage.board.emit("round", number=1)
    again = stage.anew().snapshot()
    assert again["sites"]["north"]["bytes_up"] == 10 and again["sites"]["north"]["state"] == "enrolled"
    assert [one["site"] for one in again["lost"]] == ["south"] and again["round"] == 1


def test_the_time_left_runs_down_between_rounds(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("FedSegCore.coordinator.board.time.monotonic", lambda: now)
    stage.board.emit("progress", stage="train", eta_s=50.0)
    now = 130.0
    assert stage.facts["eta_s"] == 20.0
    now = 200.0
    assert stage.facts["eta_s"] == 0.0


def test_at_the_end_nobody_trains(stage: Stage) -> None:
    stage.board.emit("site_state", site="north", state="training")
    stage.board.emit("site_state", site="south", state="left")
    stage.board.put(state="finished")
    assert {name: one["state"] for name, one in stage.facts["sites"].items()} == {
        "north": "sent",
        "south": "left",
    }


def test_a_site_that_only_asks_keeps_the_file_fresh_but_not_with_every_question(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = stage.board._saved
    monkeypatch.setattr("FedSegCore.coordinator.board.time.monotonic", lambda: now)
    stage.board.seen("north")
    assert "seen" not in stage.file["sites"]["north"]
    now += 3
    stage.board.seen("north")
    assert "seen" in stage.file["sites"]["north"]


def test_what_is_learnt_of_a_site_is_in_the_file_at_once(stage: Stage) -> None:
    stage.board.seen("north", models=True)
    assert stage.file["sites"]["north"]["models"] is True


def test_a_study_goes_on_where_its_status_cannot_be_written(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise StorageError(path, OSError(28, "No space left on device"))

    monkeypatch.setattr("FedSegCore.coordinator.board.write_atomic", full)
    stage.board.put(state="running")
    assert stage.facts["state"] == "running"


def test_a_site_that_has_left_is_not_lost_besides(stage: Stage) -> None:
    for state in ("training", "left", "lost"):
        stage.board.emit("site_state", site="south", state=state)
    assert stage.board.brief()["sites"]["south"] == "left"
    stage.board.emit("site_state", site="south", state="joined")
    assert stage.board.brief()["sites"]["south"] == "joined", "with a new invitation"


def test_an_entry_of_the_roster_that_left_has_left(tmp_path: Path) -> None:
    left = Entry("north", "digest", 1.0, state="left")
    board = Board(tmp_path / "status.json", study="s", runs=[], total=1, emit=print, entries=lambda: [left])
    assert board.snapshot()["sites"]["north"]["state"] == "left"


def warnings(stage: Stage) -> list[str]:
    return [fields["message"] for event, fields in stage.told if event == "warning"]


def ahead(stage: Stage, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let the board be asked again some time from now."""
    monkeypatch.setattr(stage.board, "_saved", stage.board._saved - seconds)
    stage.board.beat()


def test_a_study_that_nobody_was_invited_to_yet_is_short_of_nobody(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead(stage, monkeypatch, 9)
    stage.roster.invite("north", "token", 1e12)
    ahead(stage, monkeypatch, 9)
    assert warnings(stage) == []


def test_that_too_few_sites_can_still_come_is_told_once_with_the_way_out(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.roster.invite("north", "token", 1e12)
    stage.roster.invite("south", "token", 5.0)
    for _ in range(3):
        ahead(stage, monkeypatch, 9)
    (message,) = warnings(stage)
    assert message == (
        "The study needs 2 sites, and only 1 can take part: south did not use its invitation before it expired."
    )
    fix = stage.told[-1][1]["fix"]
    assert "fedseg invite SITE --from" in fix and "The port stays open" in fix and "min_sites" in fix


def test_a_new_invitation_ends_the_shortage_and_the_next_is_told_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.roster.invite("north", "token", 1e12)
    for expires in (5.0, 1e12, 5.0):
        stage.roster.invite("south", "token", expires)
        ahead(stage, monkeypatch, 9)
    assert len(warnings(stage)) == 2


def test_sites_that_left_while_the_study_runs_are_missed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("north", "south"):
        stage.roster.invite(name, "token", 1e12)
        stage.roster.enrol(name, "token", f"key of {name}")
    stage.board.put(state="running")
    for name in ("north", "south"):
        stage.roster.leave(name)
        ahead(stage, monkeypatch, 9)
    assert warnings(stage) == [
        "The study needs 2 sites, and only 1 can take part: north has left.",
        "The study needs 2 sites, and none can take part: north has left; south has left.",
    ]


def test_why_a_site_was_refused_is_kept_until_it_has_joined(stage: Stage) -> None:
    stage.roster.invite("north", "token", 1e12)
    stage.roster.enrol("north", "token", "key")
    for _ in range(2):
        stage.board.refuse("north", "It annotates Spleen.", "Name the structures.")
    assert warnings(stage) == ["north was refused: It annotates Spleen."]
    assert stage.anew().snapshot()["sites"]["north"]["refused"] == "It annotates Spleen."
    stage.board.emit("site_state", site="north", state="joined")
    assert "refused" not in stage.facts["sites"]["north"]
