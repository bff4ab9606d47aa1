from __future__ import annotations

import getpass
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from FedSegCore.errors import StorageError
from FedSegCore.hospital.consent import (
    QUESTION,
    Consent,
    give_consent,
    read_consent,
    shown_text,
    what_to_know,
)
from FedSegCore.hospital.leaving import what_leaves, what_never_leaves
from FedSegCore.study import Study, parse_study

MOMENT = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)


def study_of(*, publish: bool = False) -> Study:
    site = {"name": "north", "data": "x", "publish_personal": publish}
    return parse_study({"name": "liver", "method": "iopfl", "site": [site]}, Path())


def given(folder: Path, *, invitation: bytes = b"{}", text: str = "told", publish: bool = False) -> Consent:
    return give_consent(folder, invitation, text, publish_personal=publish, now=MOMENT)


def test_everything_is_shown_before_the_question() -> None:
    text = shown_text(study_of(), "north")
    everything = [*what_leaves(study_of(), "north"), *what_never_leaves(), *what_to_know()]
    assert all(sentence in text for sentence in everything)
    assert text.endswith(QUESTION) and "liver" in text and "north" in text


@pytest.mark.parametrize(
    "said", ["can leak", "does not erase", "stops future updates", "your hospital to decide"]
)
def test_a_hospital_is_told_what_no_software_protects_it_from(said: str) -> None:
    assert said in " ".join(what_to_know())


def test_the_question_is_whether_the_hospital_has_its_approvals() -> None:
    assert "approvals" in QUESTION and "ethics" in QUESTION and "data-use agreement" in QUESTION


def test_a_consent_is_read_back_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "mueller")
    consent = given(tmp_path / "site", publish=True)
    assert read_consent(tmp_path / "site") == consent
    assert (consent.time, consent.user, consent.publish_personal) == (
        "2026-05-04T03:02:01+00:00",
        "mueller",
        True,
    )
    assert [path.name for path in (tmp_path / "site").iterdir()] == ["consent.json"]


def test_a_consent_covers_its_own_invitation_and_text_alone(tmp_path: Path) -> None:
    consent = given(tmp_path, invitation=b"one", text="told")
    assert consent.covers(b"one", "told")
    assert not consent.covers(b"two", "told")
    assert not consent.covers(b"one", "told more")


def test_publishing_the_own_model_later_has_to_be_agreed_to_anew(tmp_path: Path) -> None:
    consent = given(tmp_path, text=shown_text(study_of(), "north"))
    assert consent.covers(b"{}", shown_text(study_of(), "north"))
    assert not consent.covers(b"{}", shown_text(study_of(publish=True), "north"))


def test_the_record_holds_neither_the_invitation_nor_its_token(tmp_path: Path) -> None:
    given(tmp_path, invitation=b'{"token": "t0ken"}')
    assert "t0ken" not in (tmp_path / "consent.json").read_text()


def test_without_a_record_there_is_no_consent(tmp_path: Path) -> None:
    assert read_consent(tmp_path) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"version": 2},
        {"version": True},
        {"user": 3},
        {"text": None},
        {"publish_personal": "yes"},
        {"more": 1},
    ],
)
def test_a_record_of_another_shape_is_no_consent(tmp_path: Path, changed: dict[str, object]) -> None:
    given(tmp_path)
    path = tmp_path / "consent.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    assert read_consent(tmp_path) is None


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_a_damaged_record_is_no_consent(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "consent.json").write_bytes(damaged)
    assert read_consent(tmp_path) is None


def test_an_account_without_a_name_is_told_by_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nameless() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert given(tmp_path).user.startswith("user ")


def test_a_consent_that_cannot_be_written_is_none(tmp_path: Path) -> None:
    (tmp_path / "site").write_text("a file")
    with pytest.raises(StorageError):
        given(tmp_path / "site")
