"""The one public port: who gets in, how far, and how much."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from httpx import Response
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from FedSegCore.coordinator import bodies, gateway
from FedSegCore.coordinator.gateway import make_app
from FedSegCore.errors import StudyError
from FedSegCore.version import VERSION
from Testing.coordinator.doors import ANSWER, FakeSuperLink, House, Visitor, joining

FOR_SITES = [
    ("POST", "/hub/join"), ("GET", "/hub/study"), ("POST", "/hub/attach"), ("GET", "/hub/state"),
    ("POST", "/hub/leave"), ("POST", "/hub/received"), ("GET", "/hub/models"),
    ("GET", "/hub/models/r/global.safetensors"),
]  # fmt: skip
FLEET = "/v1/fleet/pull-object"
TELLTALES = ("Traceback", 'File "', ".py", "/srv", "/home", "/tmp", "uvicorn", "starlette", "h11", "Error(")


@pytest.fixture
def door(house: House) -> Iterator[TestClient]:
    with TestClient(make_app(house.hub, []), raise_server_exceptions=False) as client:
        yield client


def refused(answer: Response, status: int) -> str:
    """The sentence of a refusal; checks that it is one and tells nothing about the machine."""
    assert answer.status_code == status, answer.text
    told = json.loads(answer.text)
    assert set(told) == {"message", "fix"} and told["message"]
    assert not any(word in answer.text for word in TELLTALES), answer.text
    assert "server" not in answer.headers
    return str(told["message"])


def strange(house: House) -> list[dict[str, str]]:
    """Ways to come without a right to."""
    credential = house.north.credential
    shown = [
        "",
        f"Basic {credential}",
        credential,
        "Bearer",
        "Bearer ",
        "Bearer token of north",
        "Bearer \xff",
    ]
    shown += [f"Bearer {other}" for other in (credential + "x", credential[:-1], credential.swapcase())]
    return [{}, *({"authorization": value} for value in shown)]


@pytest.mark.parametrize(("method", "path"), FOR_SITES)
def test_without_a_sites_credential_nothing_is_told(
    door: TestClient, house: House, method: str, path: str
) -> None:
    for headers in strange(house):
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        refused(door.request(method, path, headers=raw, content=b"{}" if method == "POST" else None), 401)
    assert house.link.attached == [] and house.roster.entry("north").state == "enrolled"  # type: ignore[union-attr]


@pytest.mark.parametrize(("method", "path"), FOR_SITES)
def test_a_site_that_has_left_is_out(door: TestClient, house: House, method: str, path: str) -> None:
    house.roster.leave("north")
    assert "left" in refused(door.request(method, path, headers=house.north.bearer), 401)


def test_with_it_a_site_gets_what_it_asks_for(door: TestClient, house: House) -> None:
    assert door.post("/hub/join", headers=house.north.bearer, content=joining()).json() == {}
    assert door.get("/hub/state", headers=house.north.bearer).json()["engine"] == "first"
    assert door.get("/hub/study", headers=house.north.bearer).status_code == 204
    assert door.post("/hub/attach", headers=house.north.bearer).json() == {}
    assert house.link.attached == ["north"]


def test_what_cannot_be_agreed_on_is_refused_and_not_kept(door: TestClient, house: House) -> None:
    house.refusal = StudyError("The site has none of the study's modalities.", "See the study.")
    refused(door.post("/hub/join", headers=house.north.bearer, content=joining()), 409)
    assert house.roster.joined() == {}


@pytest.mark.parametrize(
    "asked",
    [b"", b"{", b"[1]", b"null", b'"x"', b"\xff\xfe", b"[" * 60_000, b'{"site": 1, "token": "t", "engine_key": "k"}',
     b'{"site": "north"}', b'{"site": "n\\ud800", "token": "t", "engine_key": "k"}',
     b'{"site": "north", "token": "\\udfff", "engine_key": "k"}',
     b'{"site": "north", "token": "t", "engine_key": ""}',
     json.dumps({"site": "s" * 2000, "token": "t", "engine_key": "k"}).encode(),
     b'{"site": "south", "token": "token of south", "engine_key": "ssh-rsa AAAA"}',
     b'{"site": "south", "token": "token of south", "engine_key": "ecdsa-sha2-nistp384 AAAA"}'],
    ids=lambda value: repr(value[:40]),
)  # fmt: skip
def test_an_enrolment_that_cannot_be_read_is_refused(door: TestClient, house: House, asked: bytes) -> None:
    refused(door.post("/hub/enrol", content=asked), 400)
    assert house.roster.entry("south").state == "invited"  # type: ignore[union-attr]


def enrolment(site: str, token: str, visitor: Visitor) -> dict[str, str]:
    return {"site": site, "token": token, "engine_key": visitor.engine_key, "fedseg": VERSION}


def test_tokens_that_are_foreign_expired_or_used_are_refused_with_the_reason(
    door: TestClient, house: House
) -> None:
    asked = enrolment("south", "token of south", house.south)
    assert "not of this study" in refused(door.post("/hub/enrol", json={**asked, "token": "x"}), 401)
    assert "not of this study" in refused(door.post("/hub/enrol", json={**asked, "site": "north"}), 401)
    assert "used already" in refused(
        door.post("/hub/enrol", json=enrolment("north", "token of north", house.stranger)), 401
    )
    house.now += 101
    assert "expired" in refused(door.post("/hub/enrol", json=asked), 401)


def test_a_key_that_another_site_has_is_refused(door: TestClient, house: House) -> None:
    refused(door.post("/hub/enrol", json=enrolment("south", "token of south", house.north)), 409)


@pytest.mark.parametrize("call", ["pull-object", "push-object", "push-messages", "send-node-heartbeat"])
def test_a_call_to_the_engine_without_a_sites_signature_does_not_reach_it(
    door: TestClient, house: House, call: str
) -> None:
    good = house.north.signed()
    ways: list[dict[str, str]] = [
        {}, house.north.bearer, house.stranger.signed(), house.south.signed(),
        {**good, "flwr-signature": house.stranger.signed(good["flwr-timestamp"])["flwr-signature"]},
        {**good, "flwr-public-key": house.stranger.signed()["flwr-public-key"]},
        {**good, "flwr-timestamp": good["flwr-timestamp"] + "0"},
        {**good, "flwr-public-key": "A" * 4000}, {**good, "flwr-signature": "no base64"},
    ]  # fmt: skip
    for headers in ways:
        refused(door.post(f"/v1/fleet/{call}", headers=headers, content=b"x"), 401)
    house.roster.leave("north")
    refused(door.post(f"/v1/fleet/{call}", headers=house.north.signed(), content=b"x"), 401)
    assert house.link.calls == []


def test_a_sites_call_goes_on_with_flowers_headers_alone(door: TestClient, house: House) -> None:
    headers = {**house.north.signed(), **house.north.bearer, "cookie": "c", "content-type": "application/x"}
    answer = door.post(FLEET, headers=headers, content=b"question")
    assert (answer.status_code, answer.content) == (200, ANSWER)
    ((path, body, told),) = house.link.calls
    assert (path, body) == (FLEET, b"question")
    assert told["flwr-public-key"] == headers["flwr-public-key"]
    assert not {"authorization", "cookie"} & told.keys()
    assert not {"server", "x-secret"} & answer.headers.keys()


def test_who_shows_two_keys_is_known_and_handed_on_by_the_first(door: TestClient, house: House) -> None:
    own, other = house.north.signed(), house.south.signed()
    both = [*own.items(), *other.items()]
    assert door.post(FLEET, headers=both, content=b"x").status_code == 200
    assert house.link.calls[0][2]["flwr-public-key"] == own["flwr-public-key"]
    refused(door.post(FLEET, headers=both[::-1], content=b"x"), 401)


def test_what_breaks_in_the_engine_is_told_in_a_sentence(door: TestClient, house: House) -> None:
    house.link.status, house.link.body = 500, b'Traceback: File "/srv/flower.py"'
    refused(door.post(FLEET, headers=house.north.signed(), content=b"x"), 503)


@pytest.mark.parametrize(
    "path",
    ["/v1/control/list-nodes", "/v1/control/start-run", "/v1/runtime/acquire-task", "/v1/runtime/push-object",
     "/docs", "/openapi.json", "/health", "/", "/v1/fleet", "/v1/fleet/", "/v1/fleet/register-node",
     "/v1/fleet/unregister-node", "/v1/fleet/nothing", "/v1/fleet/PULL-OBJECT", "/v1/fleet/pull-object/x",
     "/v1/fleet/%2e%2e%2fcontrol%2flist-nodes", "/v1/fleet/..%5ccontrol", "/v1/fleet//../control/list-nodes",
     "/hub", "/hub/nothing", "/hub/state/x", "/status.json.bak"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_every_other_door_is_shut(door: TestClient, house: House, method: str, path: str) -> None:
    headers = {**house.north.signed(), **house.north.bearer}
    refused(door.request(method, path, headers=headers), 403)
    assert house.link.calls == []


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "JUNK"])
def test_other_methods_are_refused_in_a_sentence(door: TestClient, method: str) -> None:
    refused(door.request(method, "/hub/state"), 405)


def test_head_tells_no_more_than_get(door: TestClient, house: House) -> None:
    assert door.head("/hub/state").status_code == 401
    assert door.head("/hub/descriptor").content == b""


LARGEST = [
    ("/hub/enrol", bodies.LARGEST_JSON), ("/hub/join", gateway.LARGEST_JOINING),
    ("/v1/fleet/push-object", 6 * 2**20), ("/v1/fleet/push-messages", 2**20),
    ("/v1/fleet/pull-object", 64 * 1024),
]  # fmt: skip


@pytest.mark.parametrize(("path", "largest"), LARGEST)
@pytest.mark.parametrize("told", [True, False], ids=["of told length", "in chunks"])
def test_what_is_too_large_is_refused_at_its_limit(
    door: TestClient, house: House, path: str, largest: int, told: bool
) -> None:
    taken = 0

    def chunks() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(largest // 4096 + 100):
            taken += 4096
            yield b"x" * 4096

    content: Any = b"x" * (largest + 1) if told else chunks()
    headers = {**house.north.signed(), **house.north.bearer}
    assert f"{largest}" in refused(door.post(path, headers=headers, content=content), 413)
    assert house.link.calls == []


def piece(size: int) -> bytes:
    """A `push-object` call of so many bytes."""
    from flwr.app.message.arraychunk import ArrayChunk
    from flwr.proto.message_pb2 import PushObjectRequest

    def call(inner: int) -> bytes:
        content = ArrayChunk(memoryview(b"x" * inner)).deflate()
        return bytes(PushObjectRequest(object_content=content).SerializeToString())

    return call(size - len(call(size)) + size)


def test_a_site_pushes_no_more_than_an_answer_can_be(
    door: TestClient, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("FedSegCore.coordinator.quota.SPARE", 1000)

    def push(size: int) -> int:
        answer = door.post("/v1/fleet/push-object", headers=house.north.signed(), content=piece(size))
        return answer.status_code

    assert push(100) == 413, "it was asked nothing"
    house.link.quota.asked("north", 100)
    assert [push(700), push(700), push(701)] == [200, 200, 413]
    house.link.quota.asked("north", 10)
    assert push(1400) == 200, "the next question is a new one, and its answer as large as the largest so far"
    assert sum(len(body) for _, body, _ in house.link.calls) == 2800


@pytest.mark.parametrize(("times", "status"), [(3, 200), (10**6, 413)])
def test_an_array_that_names_one_piece_a_million_times_is_too_large(
    door: TestClient, house: House, times: int, status: int
) -> None:
    """Put together, five megabytes would fill five terabytes of the coordinator's memory."""
    house.link.quota.asked("north", 10**6)
    answer = door.post("/v1/fleet/push-object", headers=house.north.signed(), content=array(times))
    assert answer.status_code == status


@pytest.mark.parametrize("body", [b"x" * 700, b"", b"\x1a\x05junk"])
def test_what_is_no_object_is_not_pushed(door: TestClient, house: House, body: bytes) -> None:
    house.link.quota.asked("north", 10**6)
    refused(door.post("/v1/fleet/push-object", headers=house.north.signed(), content=body), 403)
    assert house.link.calls == []


def array(times: int) -> bytes:
    from flwr.proto.message_pb2 import PushObjectRequest

    facts = {"dtype": "uint8", "shape": [1], "stype": "fedseg", "arraychunk_ids": [0] * times}
    told = json.dumps(facts).encode()
    content = f"Array {'a' * 64} {len(told)}".encode() + b"\x00" + told
    return bytes(PushObjectRequest(object_content=content).SerializeToString())


@pytest.mark.parametrize("other", ["source", "no question", "two", "none", "junk"])
def test_a_site_speaks_in_its_own_name_alone(door: TestClient, house: House, other: str) -> None:
    house.link.quota.asked("north", 10**6)
    refused(door.post("/v1/fleet/push-messages", headers=house.north.signed(), content=reply(other)), 403)
    assert house.link.calls == []
    assert (
        door.post("/v1/fleet/push-messages", headers=house.north.signed(), content=reply("")).status_code
        == 200
    )


def reply(other: str) -> bytes:
    """A `push-messages` call of node 7, right but for one thing."""
    from flwr.proto.fleet_pb2 import PushMessagesRequest

    if other == "junk":
        return b"\xff\xff\xff"
    told = PushMessagesRequest()
    told.node.node_id = 7
    for _ in range({"two": 2, "none": 0}.get(other, 1)):
        facts = told.messages_list.add().metadata
        facts.src_node_id = 1 if other == "source" else 7
        facts.reply_to_message_id = "" if other == "no question" else "question"
        told.message_object_trees.add()
    return bytes(told.SerializeToString())


@pytest.fixture
def model(house: House) -> Path:
    path = house.folder / "models" / "global.safetensors"
    path.parent.mkdir()
    path.write_bytes(bytes(range(200)))
    house.hub.publish("r", {"global.safetensors": (path, {})})
    return path


@pytest.mark.parametrize(
    "path",
    ["r/../../status.json", "r/..%2F..%2Fstatus.json", "r/..%252F..%252Fstatus.json", "r/..%5C..%5Cstatus.json",
     "%2Fetc/passwd", "r/%2Fetc%2Fpasswd", "../roster/north.json", "r/global.safetensors%00.json", "r/.", "./r",
     "r/global.safetensors/", "R/global.safetensors", "r/global.safetensors%20", "r/index.json"],
)  # fmt: skip
def test_only_published_names_lead_to_a_file(door: TestClient, house: House, model: Path, path: str) -> None:
    answer = door.get(f"/hub/models/{path}", headers=house.north.bearer)
    assert answer.status_code in (403, 404)
    refused(answer, answer.status_code)


def test_a_model_comes_whole_or_in_one_range(door: TestClient, house: House, model: Path) -> None:
    url = "/hub/models/r/global.safetensors"
    assert door.get(url, headers=house.north.bearer).content == model.read_bytes()
    part = door.get(url, headers={**house.north.bearer, "range": "bytes=150-"})
    assert (part.status_code, part.content) == (206, model.read_bytes()[150:])


@pytest.mark.parametrize(
    "asked", ["bytes=0-1,3-4", "bytes=" + ",".join(["0-"] * 500), "bytes=-5", "bytes=5-2", "lines=0-1", "bytes=x-",
              "bytes=500-", "", "bytes=99999999999999999999999-"]
)  # fmt: skip
def test_odd_ranges_are_refused_in_a_sentence(
    door: TestClient, house: House, model: Path, asked: str
) -> None:
    answer = door.get("/hub/models/r/global.safetensors", headers={**house.north.bearer, "range": asked})
    assert answer.status_code == 416 and len(answer.content) < 400
    refused(answer, 416)


def test_a_model_that_went_away_is_told_without_its_path(door: TestClient, house: House, model: Path) -> None:
    model.unlink()
    refused(door.get("/hub/models/r/global.safetensors", headers=house.north.bearer), 404)


def test_waits_are_bounded(door: TestClient, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "_LONGEST_WAIT_S", 0.2)
    house.hub.join("north", joining())
    started = time.monotonic()
    for wait in ("inf", "1e300", "nan", "-5", "x", "9" * 400):
        assert door.get(f"/hub/study?wait={wait}", headers=house.north.bearer).status_code == 204
    assert time.monotonic() - started < 3


PIECES = st.sampled_from(
    ["v1", "fleet", "hub", "models", "state", "enrol", "join", "..", ".", "", "%2e%2e", "\u00e9", "pull-messages",
     "push-object", "r", "global.safetensors", "status", "a" * 300]
)  # fmt: skip


@settings(max_examples=120)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "X"]),
    pieces=st.lists(st.one_of(PIECES, st.text(max_size=8)), max_size=5),
    known=st.sampled_from(["", *dict.fromkeys(path for _, path in FOR_SITES), "/hub/enrol", FLEET]),
    body=st.one_of(st.binary(max_size=300), st.recursive(
        st.none() | st.integers() | st.text(max_size=5), lambda inner: st.dictionaries(st.text(max_size=8), inner),
        max_leaves=5).map(lambda value: json.dumps(value).encode())),
    query=st.text(max_size=10),
    names=st.sets(st.sampled_from(["bearer", "signed", "odd"])),
)  # fmt: skip
def test_whatever_is_asked_the_answer_is_a_sentence(
    fuzzed: tuple[TestClient, House], method: str, pieces: list[str], known: str, body: bytes, query: str,
    names: set[str],
) -> None:  # fmt: skip
    door, house = fuzzed
    headers: dict[str, str] = {"range": "bytes=9-1"} if "odd" in names else {}
    headers |= house.stranger.bearer if "bearer" in names else {}
    headers |= house.stranger.signed() if "signed" in names else {}
    path = known or "/" + quote("/".join(pieces), safe="/%", errors="replace")
    answer = door.request(
        method, f"http://testserver{path}", params={"wait": query}, headers=headers, content=body
    )
    assert 400 <= answer.status_code < 500, answer.text
    if method != "HEAD":
        refused(answer, answer.status_code)


@pytest.fixture(scope="module")
def fuzzed(
    tmp_path_factory: pytest.TempPathFactory, link: FakeSuperLink
) -> Iterator[tuple[TestClient, House]]:
    house = House(tmp_path_factory.mktemp("fuzzed"), link)
    with TestClient(make_app(house.hub, []), raise_server_exceptions=False) as client:
        yield client, house
