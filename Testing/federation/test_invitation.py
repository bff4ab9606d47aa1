from __future__ import annotations

import base64
import json
import re
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from FedSegCore.errors import InputError
from FedSegCore.federation.invitation import (
    Invitation,
    new_token,
    read_invitation,
    token_digest,
    write_invitation,
)
from FedSegCore.federation.keys import Identity, fingerprint, make_tls
from FedSegCore.study import parse_study, study_tables
from FedSegCore.version import VERSION

NOW = time.time()
EXPIRES = int(NOW) + 86400
STUDY = parse_study(
    {
        "name": "Leber über zwei Häuser",
        "method": "fedgin",
        "rounds": 3,
        "site": [
            {
                "name": "north",
                "data": "/srv/planted/north",
                "cases": ["anna"],
                "limit": 4,
                "labels": ["Liver"],
            },
            {"name": "south", "data": "/srv/planted/south", "cases": ["berta"], "test_cases": ["carl"]},
        ],
    },
    Path("/"),
)


class Coordinator:
    """A coordinator with its keys, and a way to sign what `write_invitation` would not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.identity = Identity(folder / "identity.key")
        self.ca = make_tls(folder / "tls", ["hub"]).ca

    def invite(self, name: str = "north.fedseg", **other: Any) -> tuple[Path, Invitation]:
        told: dict[str, Any] = {
            "site": "north",
            "address": "hub.example.org:8443",
            "study": study_tables(STUDY),
            "token": "a token",
            "expires": EXPIRES,
            "ca": self.ca,
        }
        path = self.folder / name
        return path, write_invitation(path, self.identity, **(told | other))

    def sign(self, **other: Any) -> Path:
        """An invitation with other facts than a coordinator writes, but well signed; "absent" takes one out."""
        path, _ = self.invite("signed.fedseg")
        told = json.loads(path.read_text()) | other
        del told["signature"]
        told = {key: value for key, value in told.items() if value != "absent"}
        signature = self.identity.sign(json.dumps(told, sort_keys=True, separators=(",", ":")).encode())
        told["signature"] = base64.b64encode(signature).decode()
        path.write_text(json.dumps(told, sort_keys=True, indent=2) + "\n")
        return path


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Coordinator:
    return Coordinator(tmp_path_factory.mktemp("coordinator"))


@pytest.fixture(scope="module")
def file(coordinator: Coordinator) -> Path:
    return coordinator.invite()[0]


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        read_invitation(path, **options)
    assert caught.value.fix, "a refusal says what to do"
    return str(caught.value)


def test_an_invitation_comes_back_as_it_was_written(coordinator: Coordinator) -> None:
    path, written = coordinator.invite()
    assert read_invitation(path) == written
    assert (written.site, written.address, written.token) == ("north", "hub.example.org:8443", "a token")
    assert (written.expires, written.fedseg) == (EXPIRES, VERSION)
    assert (written.identity, written.ca) == (coordinator.identity.public, coordinator.ca)
    assert written.ca_sha256 == fingerprint(coordinator.ca)


def test_the_file_is_the_json_that_was_agreed_on_and_the_signature_covers_all_else(
    file: Path, coordinator: Coordinator
) -> None:
    told = json.loads(file.read_text())
    signature = base64.b64decode(told.pop("signature"))
    assert told["format"] == 1
    assert signature == coordinator.identity.sign(
        json.dumps(told, sort_keys=True, separators=(",", ":")).encode()
    )


def test_the_study_is_the_coordinators_but_for_the_folders(file: Path) -> None:
    study = parse_study(read_invitation(file).tables(), Path("here"))
    assert (study.name, study.methods, study.rounds) == (STUDY.name, STUDY.methods, STUDY.rounds)
    assert study.train == STUDY.train
    assert study.sites[0].limit == 4 and study.sites[0].labels == ("Liver",)


def test_no_folder_of_the_coordinators_is_in_the_file(file: Path) -> None:
    assert "planted" not in file.read_text()


def test_a_sites_names_of_cases_are_told_to_that_site_alone(file: Path) -> None:
    text = file.read_text()
    assert "anna" in text
    assert "berta" not in text and "carl" not in text


def test_without_an_authority_of_its_own_there_is_no_fingerprint(coordinator: Coordinator) -> None:
    path, _ = coordinator.invite("public.fedseg", ca="")
    assert (read_invitation(path).ca, read_invitation(path).ca_sha256) == ("", "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_the_file_is_for_its_owner_alone(file: Path) -> None:
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_token_is_not_shown_where_an_invitation_is_printed(coordinator: Coordinator) -> None:
    assert "a token" not in repr(coordinator.invite()[1])


def test_tokens_differ_and_their_digests_tell_nothing_of_them() -> None:
    one, other = new_token(), new_token()
    assert one != other and len(base64.urlsafe_b64decode(one + "=")) == 32
    assert token_digest(one) == token_digest(one) != token_digest(other)
    assert one not in token_digest(one)


@settings(max_examples=300)
@given(place=st.integers(0, 1_000_000), bit=st.integers(0, 7))
def test_one_bit_changed_anywhere_is_refused(file: Path, place: int, bit: int) -> None:
    data = bytearray(file.read_bytes())
    data[place % len(data)] ^= 1 << bit
    changed = file.with_name("changed.fedseg")
    changed.write_bytes(data)
    refusal(changed)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(":8443", ":9443"),
        lambda text: text.replace("north", "south"),
        lambda text: text.replace('"rounds": 3', '"rounds": 3 '),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace('"format": 1', '"format": 1, "format": 1'),
        lambda text: re.sub(
            r'"signature": "(.)', lambda found: f'"signature": "{"AB"[found[1] == "A"]}', text
        ),
        lambda text: text.replace('"ca_sha256": "', '"ca_sha256": "0'),
    ],
    ids=["address", "site", "space", "line ends", "twice", "signature", "fingerprint"],
)
def test_an_altered_invitation_says_so(file: Path, change: Callable[[str], str]) -> None:
    changed = file.with_name("changed.fedseg")
    changed.write_bytes(change(file.read_text()).encode())
    assert changed.read_bytes() != file.read_bytes()
    assert "was altered after the coordinator signed it. Ask the coordinator" in refusal(changed)


def test_the_last_bits_of_a_signature_that_base64_ignores_count_too(file: Path) -> None:
    told = json.loads(file.read_text())
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = told["signature"][-3]
    twin = told["signature"][:-3] + letters[letters.index(last) ^ 1] + "=="
    assert base64.b64decode(twin) == base64.b64decode(told["signature"])
    changed = file.with_name("changed.fedseg")
    changed.write_text(file.read_text().replace(told["signature"], twin))
    assert "was altered" in refusal(changed)


def test_an_expired_invitation_says_when(file: Path) -> None:
    end = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(EXPIRES))
    assert f"expired on {end}. Ask the coordinator for a new invitation." in refusal(file, now=float(EXPIRES))
    assert read_invitation(file, now=EXPIRES - 1.0).site == "north"


def test_a_site_that_enrolled_reads_its_expired_copy(coordinator: Coordinator) -> None:
    assert read_invitation(coordinator.sign(expires=int(NOW) - 9), now=0).site == "north"


def test_another_coordinators_signature_is_refused_where_the_site_knows_its_own(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    path, _ = Coordinator(tmp_path).invite()
    assert read_invitation(path).site == "north"
    assert "another coordinator" in refusal(path, expected_identity=coordinator.identity.public)
    own, _ = coordinator.invite()
    assert read_invitation(own, expected_identity=coordinator.identity.public).site == "north"


@pytest.mark.parametrize(
    ("version", "who"),
    [("0.0.9", "Ask the coordinator to update to 0.1"), ("0.2.0", "Update FedSeg here, to 0.2")],
)
def test_an_invitation_of_another_minor_version_says_who_has_to_update(
    coordinator: Coordinator, version: str, who: str
) -> None:
    assert who in refusal(coordinator.sign(fedseg=version))


def test_an_invitation_of_another_patch_is_read(coordinator: Coordinator) -> None:
    assert read_invitation(coordinator.sign(fedseg="0.1.99")).fedseg == "0.1.99"


def test_a_later_format_is_of_a_later_version_whatever_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "later.fedseg"
    path.write_text('{"format": 2, "fedseg": "0.3.1"}')
    assert "written by FedSeg 0.3.1" in refusal(path) and "Update FedSeg here" in refusal(path)


@pytest.mark.parametrize(
    "content",
    ["", "no JSON", "[]", "{}", '{"format": true}', '{"format": "1"}', "[" * 100_000, "9" * 10_000, "ä"],
)
def test_what_is_no_invitation_says_so(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.fedseg"
    path.write_bytes(content.encode("latin-1"))
    assert "is not an invitation" in refusal(path)


def test_a_file_of_more_than_a_megabyte_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "x.fedseg"
    path.write_bytes(b" " * 1_000_001)
    assert "larger than 1 MB" in refusal(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "none.fedseg cannot be read: No such file" in refusal(tmp_path / "none.fedseg")


@pytest.mark.parametrize(
    "other",
    [
        {"token": "absent"},
        {"more": 1},
        {"expires": 1.5},
        {"expires": True},
        {"study": []},
        {"ca": None},
        {"site": 3},
    ],
    ids=str,
)
def test_missing_further_and_mistyped_facts_are_refused(
    coordinator: Coordinator, other: dict[str, Any]
) -> None:
    assert "not a whole invitation" in refusal(coordinator.sign(**other))


@pytest.mark.parametrize("version", ["0", "newest", "0.1\n", 1, "0." + "1" * 99])
def test_an_invitation_of_no_known_version_is_refused(coordinator: Coordinator, version: object) -> None:
    assert "does not say which FedSeg wrote it" in refusal(coordinator.sign(fedseg=version))


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"address": "hub"}, "expected host:port"),
        ({"address": "https://hub:8443"}, "expected host:port"),
        ({"address": "hub:8443@evil:1"}, "expected host:port"),
        ({"address": "hub:65536"}, "expected host:port"),
        ({"address": "\x1b]0;hub:1"}, "expected host:port"),
        ({"expires": 0}, "does not say when it expires"),
        ({"expires": 10**30}, "does not say when it expires"),
        ({"token": ""}, "has no token"),
        ({"ca_sha256": "0" * 64}, "another certificate"),
        ({"ca": ""}, "another certificate"),
        ({"ca": "words"}, "another certificate"),
        ({"study": {"site": [], "name": "\x1b[2J"}}, "control characters"),
        ({"study": {"site": [], "\ud800": 1}}, "control characters"),
        ({"study": {}}, "holds no study"),
        ({"study": {"site": [{}]}}, "holds no study"),
        ({"site": "west"}, "is none of its study"),
    ],
    ids=str,
)
def test_what_no_coordinator_should_have_signed_is_refused_all_the_same(
    coordinator: Coordinator, other: dict[str, Any], words: str
) -> None:
    text = refusal(coordinator.sign(**other))
    assert words in text and text.isprintable()


def test_a_signed_invitation_nested_beyond_measure_is_refused(coordinator: Coordinator) -> None:
    nested: Any = 1
    for _ in range(800):
        nested = [nested]
    told = json.loads(coordinator.invite()[0].read_text())
    del told["signature"]
    told["study"]["deep"] = nested
    signature = coordinator.identity.sign(json.dumps(told, sort_keys=True, separators=(",", ":")).encode())
    path = coordinator.folder / "deep.fedseg"
    path.write_text(json.dumps(told | {"signature": base64.b64encode(signature).decode()}))
    assert "was altered" in refusal(path)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"site": "west"}, "none of its study"),
        ({"expires": NOW - 1}, "expired"),
        ({"address": "hub"}, "host:port"),
    ],
)
def test_an_invitation_that_nobody_could_use_is_not_written(
    coordinator: Coordinator, other: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        coordinator.invite("useless.fedseg", **other)
    assert not (coordinator.folder / "useless.fedseg").exists()
