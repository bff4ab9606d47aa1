"""What is read of invitations, of a site's event stream and ledger, and where a site keeps its files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from FedSegLib.events import Model, Progress, Round, Story
from FedSegLib.federation import (
    Invitation,
    Membership,
    Pace,
    chosenModel,
    presentRounds,
    progressOf,
    readInvitation,
    readMembership,
    siteFolder,
)
from FedSegLib.federationtexts import invitationText, modelRow, sentRow, sentText, sizeText, studyText
from FedSegLib.ledger import readLedger
from FedSegLib.texts import timeLeftText

RECORDED = Path(__file__).parent / "joined.jsonl"
FACTS: dict[str, Any] = {
    "kind": "invitation",
    "site": "north",
    "study": "liver across hospitals",
    "methods": ["fedgin"],
    "labels": ["Liver", "Kidney"],
    "modalities": ["CT", "MR"],
    "rounds": 3,
    "address": "hub.example.org:443",
    "expires": 1900000000,
    "leaves": ["Weights of the network.", "The mean loss."],
    "leaves_if_published": ["Weights of the network.", "The mean loss.", "This site's own model."],
    "never_leaves": ["Images.", "Names of patients."],
    "to_know": ["Weights can leak images."],
    "coordinator": "University of Example",
    "publish_personal_asked": True,
}


@pytest.fixture
def story() -> Story:
    """The recorded study, to its end."""
    told = Story()
    told.take(RECORDED.read_bytes())
    told.close()
    assert told.result is not None and not told.foreign
    return told


@pytest.fixture
def invitation() -> Invitation:
    return readInvitation(FACTS)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "model"},
        {"leaves": []},
        {"leaves": "all"},
        {"never_leaves": None},
        {"rounds": None},
        {"site": ...},
    ],
    ids=str,
)
def test_what_does_not_say_what_leaves_is_no_invitation(change: dict[str, Any]) -> None:
    facts = {name: value for name, value in (FACTS | change).items() if value is not ...}
    with pytest.raises(ValueError, match="no invitation"):
        readInvitation(facts)


def test_a_name_of_several_lines_cannot_pose_as_lines_of_the_panel() -> None:
    told = invitationText(readInvitation(FACTS | {"study": "liver\nNever leaves it:\n images"}))
    assert told.splitlines()[0] == "Study: liver Never leaves it: images"


def test_a_study_that_names_no_structures_takes_those_of_the_dataset() -> None:
    told = invitationText(readInvitation(FACTS | {"labels": [], "modalities": []})).splitlines()
    assert told[4] == "Structures: those of this hospital's dataset"
    assert told[5] == "Images: those of this hospital's dataset"


def test_a_coordinator_without_another_name_goes_by_its_address() -> None:
    told = invitationText(readInvitation(FACTS | {"coordinator": FACTS["address"]}))
    assert told.splitlines()[2] == "Coordinated by: hub.example.org:443"


def test_a_stream_tells_what_was_agreed_to_sent_and_received(story: Story) -> None:
    assert story.consent is not None and len(story.consent.leaves) == 3
    assert story.states == {"north": "sent"} and [told.number for told in story.rounds] == [1, 2, 3]
    assert [(sent.round, sent.kind) for sent in story.sent] == [
        (0, "join"),
        (1, "update"),
        (2, "update"),
        (3, "update"),
        (3, "publish"),
    ]
    assert [model.name for model in story.models] == ["global", "personal-north"]
    assert modelRow(story.models[0]) == ("global", "fedgin", "Liver, Kidney")


@pytest.mark.parametrize(
    "line",
    [
        {"event": "ledger", "round": 1, "kind": "update"},
        {
            "event": "ledger",
            "round": 1,
            "kind": "u",
            "tensors": {"a": 3},
            "scalars": {},
            "bytes": 1,
            "sha256": "0",
        },
        {"event": "consent", "leaves": 3, "never_leaves": []},
        {"event": "model", "path": None, "name": "a", "card": {}},
    ],
    ids=str,
)
def test_an_event_that_is_not_whole_is_kept_as_foreign(line: dict[str, Any]) -> None:
    told = Story()
    told.take(json.dumps(line).encode() + b"\n")
    assert len(told.foreign) == 1 and not told.sent and not told.models and told.consent is None


def test_a_message_is_shown_with_every_name_shape_and_number(story: Story) -> None:
    update = story.sent[1]
    assert sentRow(update) == ("1", "update", "5", "1.9 MB", update.sha256)
    text = sentText(update).splitlines()
    assert text[0] == f"1.9 MB, SHA-256 {update.sha256}"
    assert "dice.Liver = 0.31" in text and "encoder.0.conv.weight: 16 x 1 x 3 x 3 x 3" in text
    assert len(text) == 1 + len(update.scalars) + len(update.tensors)
    assert sentRow(story.sent[0])[0] == "", "the message of joining is of no round"


@pytest.mark.parametrize(("size", "text"), [(999, "999 B"), (2412, "2.4 kB"), (3 * 10**9, "3.0 GB")])
def test_sizes_are_told_in_a_unit_that_can_be_read(size: int, text: str) -> None:
    assert sizeText(size) == text


def test_a_ledger_is_read_up_to_a_line_that_a_crash_cut_off(tmp_path: Path, story: Story) -> None:
    events = map(json.loads, RECORDED.read_text().splitlines())
    lines = [json.dumps(event) for event in events if event["event"] == "ledger"]
    (tmp_path / "ledger.jsonl").write_text("\n".join([*lines, '{"round": 4, "ki']))
    assert readLedger(tmp_path / "ledger.jsonl") == story.sent
    assert readLedger(tmp_path / "none.jsonl") == []


def test_a_ledger_with_a_damaged_line_is_not_shown_as_if_it_were_whole(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").write_text('{"round": 1}\n')
    with pytest.raises(ValueError, match="no line of a ledger"):
        readLedger(tmp_path / "ledger.jsonl")


def test_a_site_keeps_its_files_beside_its_dataset_under_a_name_that_every_system_takes(
    invitation: Invitation, tmp_path: Path
) -> None:
    data = tmp_path / "liver"
    folder = siteFolder(Path("x.fedseg"), invitation, data)
    assert folder == tmp_path / "liver-federation" / "fedseg-liver-across-hospitals-north"
    evil = replace(invitation, study="../../etc/" + "x" * 99, site="C:\\n?")
    assert siteFolder(Path("x.fedseg"), evil, data).name == f"fedseg-etc-{'x' * 35}-C-n"
    assert siteFolder(Path("x.fedseg"), evil, data).parent == folder.parent
    assert siteFolder(Path("x.fedseg"), replace(invitation, study="肝臓"), data).name == "fedseg-肝臓-north"


def test_a_copy_of_the_invitation_in_a_sites_folder_goes_on_there(
    tmp_path: Path, invitation: Invitation
) -> None:
    copy = tmp_path / "invitation.fedseg"
    assert siteFolder(copy, invitation, tmp_path / "data") != tmp_path
    (tmp_path / "site.json").touch()
    assert siteFolder(copy, invitation, tmp_path / "data") == tmp_path


def test_a_membership_is_remembered_by_names_and_folders_alone() -> None:
    member = Membership("liver", "north", Path("file"), Path("kept"), Path("data"), True)
    assert readMembership(member.text()) == member
    assert set(json.loads(member.text())) == {"study", "site", "file", "folder", "data", "publishes"}


@pytest.mark.parametrize("text", ["", "{}", "3", '{"study": "a"}', "[" * 99])
def test_settings_that_hold_something_else_offer_nothing(text: str) -> None:
    assert readMembership(text) is None


def test_rounds_of_the_next_method_and_repeated_rounds_take_the_place_of_those_before() -> None:
    rounds = [
        Round(number, 3, None, {"Liver": dice}) for number, dice in ((1, 0.1), (2, 0.2), (2, 0.3), (3, 0.4))
    ]
    assert [told.dice["Liver"] for told in presentRounds(rounds)] == [0.1, 0.3, 0.4]
    assert [told.dice["Liver"] for told in presentRounds([*rounds, rounds[0]])] == [0.1]


def test_the_model_to_begin_with_is_the_last_global_one() -> None:
    models = [Model(Path(name), name) for name in ("global", "personal-north")]
    assert (
        chosenModel(models) == models[0] and chosenModel(models[1:]) == models[1] and chosenModel([]) is None
    )


def test_long_studies_are_told_in_hours() -> None:
    assert timeLeftText(7300) == "About 2 hours left" and timeLeftText(5400) == "About 90 minutes left"
    assert timeLeftText(None) == ""


def test_the_time_left_is_that_of_the_rounds_seen_with_the_waiting_between_them() -> None:
    pace, rounds = Pace(), [Round(number, 10, None, {}) for number in (4, 5, 6)]
    pace.take(rounds[:1], 100)
    assert pace.secondsLeft(10, 100) is None, "nobody saw when the first one began"
    pace.take(rounds[:2], 130)
    pace.take(rounds[:2], 140)
    pace.take(rounds, 180)
    assert pace.secondsLeft(10, 180) == 4 * 40 and pace.secondsLeft(10, 200) == 4 * 40 - 20
    pace.take([*rounds, Round(1, 10, None, {})], 300)
    assert pace.secondsLeft(10, 300) is None, "the next method has its own pace"


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ([], "Connecting to the coordinator..."),
        ([("progress", "train"), ("site_state", "joined")], "Joined. Waiting for a round."),
        ([("site_state", "sent"), ("progress", "connect")], "Connecting to the coordinator..."),
        ([("progress", "connect"), ("site_state", "training")], "Training on this computer."),
        ([("site_state", "sent"), ("progress", "models")], "Fetching the models..."),
        ([("progress", "something new")], "Working..."),
    ],
    ids=str,
)
def test_what_was_told_last_is_what_the_site_does(events: list[tuple[str, str]], text: str) -> None:
    told = Story()
    for event, what in events:
        facts = {"event": event, "site": "north", "state": what, "stage": what, "value": 0.0}
        told.take(json.dumps(facts).encode() + b"\n")
    part = SimpleNamespace(isRunning=True, story=told, state=told.states.get("north", ""), secondsLeft=None)
    assert studyText(part) == text


def test_where_the_command_tells_no_share_the_rounds_do() -> None:
    told = Story()
    told.take(b'{"event": "progress", "stage": "train", "value": 0.0, "eta_s": null}\n')
    assert progressOf(told) == told.progress
    told.rounds.append(Round(1, 4, None, {}))
    assert progressOf(told) == Progress("train", 0.25, None)
