"""Who may take part: tokens, keys and credentials."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from FedSegCore.coordinator.roster import Refused, Roster
from FedSegCore.errors import ModelFileError
from FedSegCore.federation import wire
from FedSegCore.federation.calibration import BankCounts
from Testing.coordinator.doors import joining


class Clock:
    """The time, as a test wants it."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def roster(tmp_path: Path, clock: Clock) -> Roster:
    made = Roster(tmp_path / "roster", ("north", "south"), now=clock)
    made.invite("north", "token", expires=2000.0)
    return made


def status(call: Any, *arguments: Any) -> int:
    with pytest.raises(Refused) as caught:
        call(*arguments)
    return caught.value.status


def test_a_token_opens_the_door_once_and_the_credential_from_then_on(roster: Roster) -> None:
    credential = roster.enrol("north", "token", "key")
    assert roster.by_credential(credential).site == "north"


@pytest.mark.parametrize(
    ("site", "token"), [("north", "other"), ("north", ""), ("south", "token"), ("../north", "token"), ("", "token")]
)  # fmt: skip
def test_a_token_of_nobody_or_of_another_site_is_refused(roster: Roster, site: str, token: str) -> None:
    assert status(roster.enrol, site, token, "key") == 401


def test_an_expired_token_is_refused(roster: Roster, clock: Clock) -> None:
    clock.now = 2000.1
    with pytest.raises(Refused, match="expired"):
        roster.enrol("north", "token", "key")


def test_a_lost_answer_is_given_again_to_the_same_key_even_after_the_invitation_expired(
    roster: Roster, clock: Clock
) -> None:
    first = roster.enrol("north", "token", "key")
    clock.now = 9999.0
    second = roster.enrol("north", "token", "key")
    assert roster.by_credential(second).site == "north"
    assert status(roster.by_credential, first) == 401


def test_a_used_token_is_no_good_with_another_key(roster: Roster) -> None:
    credential = roster.enrol("north", "token", "key")
    with pytest.raises(Refused, match="used already"):
        roster.enrol("north", "token", "other key")
    assert roster.by_credential(credential).engine_key == "key"


def test_a_key_is_one_sites_alone(roster: Roster) -> None:
    roster.enrol("north", "token", "key")
    roster.invite("south", "token of south", expires=2000.0)
    assert status(roster.enrol, "south", "token of south", "key") == 409
    assert roster.entry("south").state == "invited"  # type: ignore[union-attr]


def test_a_site_that_has_left_does_not_come_back_with_its_token(roster: Roster) -> None:
    roster.enrol("north", "token", "key")
    roster.leave("north")
    with pytest.raises(Refused, match="has left"):
        roster.enrol("north", "token", "key")


def test_a_site_that_has_enrolled_is_not_invited_over(roster: Roster) -> None:
    roster.enrol("north", "token", "key")
    assert status(roster.invite, "north", "new", 3000.0) == 401


def test_an_invitation_that_nobody_used_is_replaced_by_a_later_one(roster: Roster) -> None:
    roster.invite("north", "new", expires=3000.0)
    assert status(roster.enrol, "north", "token", "key") == 401
    assert roster.enrol("north", "new", "key")


def test_neither_token_nor_credential_stands_on_the_disk(roster: Roster) -> None:
    roster.invite("south", "sesame-open", expires=2000.0)
    credential = roster.enrol("south", "sesame-open", "key")
    written = b"".join(path.read_bytes() for path in roster.folder.iterdir())
    assert b"sesame-open" not in written and credential.encode() not in written


def test_the_first_word_of_a_site_holds(roster: Roster) -> None:
    roster.enrol("north", "token", "key")
    roster.join("north", joining())
    roster.join("north", joining())
    assert status(roster.join, "north", joining(num_cases=4)) == 409
    assert roster.joined()["north"].num_cases == 3


def test_a_site_that_has_left_or_was_never_invited_does_not_join(roster: Roster) -> None:
    roster.enrol("north", "token", "key")
    roster.leave("north")
    assert status(roster.join, "north", joining()) == 401
    assert status(roster.join, "south", joining("south")) == 401
    assert roster.joined() == {}


@pytest.mark.parametrize(
    "data",
    [
        b"", b"junk", b"\xff" * 40, joining()[:-5], joining("south"), wire.encode(BankCounts([1], [1])),
        joining(num_cases=0), joining(num_cases=-3), joining(num_cases=10**9), joining(labels=["Liver\x1b[2J"]),
        joining(modalities=["CT\x00"]), joining(values={"\u202eLiver": [1]}),
    ],
    ids=["empty", "junk", "huge header", "cut", "another site", "another type", "no case", "fewer than none",
         "a billion cases", "control letters", "a zero byte", "turned letters"],
)  # fmt: skip
def test_what_no_site_tells_is_refused(roster: Roster, data: bytes) -> None:
    with pytest.raises(Refused) as caught:
        roster.decode("north", data)
    assert caught.value.status == 400 and "\n" not in str(caught.value)


def test_a_damaged_entry_is_not_taken_for_an_absent_one(roster: Roster) -> None:
    (roster.folder / "north.json").write_text(json.dumps({"site": "north"}))
    with pytest.raises((TypeError, ModelFileError)):
        roster.enrol("north", "token", "key")
