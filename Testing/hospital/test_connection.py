from __future__ import annotations

import base64
import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from FedSegCore.federation.invitation import Invitation, write_invitation
from FedSegCore.federation.keys import Identity
from FedSegCore.hospital import connection
from FedSegCore.hospital.connection import Hop
from FedSegCore.hospital.hubclient import HubClient
from FedSegCore.version import VERSION
from Testing.command import fedseg
from Testing.hospital.certificates import DAY, Authority
from Testing.hospital.hub import Answer, Hub, proxying, said, serving

NOW = 1_800_000_000.0
IDENTITY = base64.b64encode(b"i" * 32).decode()
DESCRIPTOR: dict[str, Any] = {
    "format": 1, "study": "liver", "fedseg": VERSION, "engine": "flwr 1.41", "identity": IDENTITY, "time": NOW,
    "state": "waiting",
}  # fmt: skip


def invited(address: str, authority: Authority) -> Invitation:
    return Invitation("north", address, {}, "t0ken", 2**31, authority.pem, "", IDENTITY, VERSION)


def walked(
    address: str, authority: Authority, *, credential: str | None = None, now: float = NOW
) -> list[Hop]:
    return connection.test_connection(
        invited(address, authority),
        credential=credential,
        client_factory=lambda *told: HubClient(*told, timeouts_s=(2.0, 2.0)),
        now=lambda: now,
    )


def failing(hops: list[Hop]) -> Hop:
    """The last hop, which must be the only one that failed."""
    assert [hop.status for hop in hops[:-1] if hop.status == "failed"] == []
    assert hops[-1].status == "failed" and hops[-1].fix, hops
    return hops[-1]


@pytest.fixture
def well(hub: Hub) -> Hub:
    """A hub that answers as it should."""
    hub.on("/hub/descriptor", said(DESCRIPTOR))
    hub.on("/hub/state", said({"state": "running"}))
    return hub


def test_a_way_without_fault_is_passed_in_order(well: Hub, authority: Authority) -> None:
    hops = walked(well.address, authority)
    assert [hop.name for hop in hops] == ["DNS", "TCP", "TLS", "gateway", "identity", "version", "clock"]
    assert {hop.status for hop in hops} == {"ok"}
    assert all("authorization" not in asked.headers for asked in well.asked)


def test_a_name_that_nobody_knows_fails_at_dns(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*asked: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    hop = failing(walked("hub.example:443", authority))
    assert hop.name == "DNS" and "hub.example" in hop.seen


def test_nobody_at_the_port_fails_at_tcp(authority: Authority) -> None:
    with serving(None) as gone:
        address = gone.address
    hop = failing(walked(address, authority))
    assert hop.name == "TCP" and "refuses" in hop.seen and address.rpartition(":")[2] in hop.fix


def test_a_firewall_that_drops_packets_fails_at_tcp(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*asked: object, **options: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", silent)
    hop = failing(walked("127.0.0.1:443", authority))
    assert hop.name == "TCP" and "firewall" in hop.seen


def test_a_proxy_stands_in_the_place_of_a_connection(
    well: Hub, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxying() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
        hops = walked(well.address, authority)
    assert [hop.name for hop in hops][:3] == ["DNS", "proxy", "TLS"]
    assert hops[-1].status == "ok" and proxy.address in hops[1].seen
    assert all(head.startswith(f"CONNECT {well.address} ") for head in proxy.heads)


def test_a_proxy_that_no_proxy_excepts_is_not_tested(
    well: Hub, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert [hop.name for hop in walked(well.address, authority)][:2] == ["DNS", "TCP"]


@pytest.mark.parametrize(
    ("refusal", "seen", "fix"),
    [
        ("403 Forbidden", "403", "allow CONNECT"),
        ("407 Proxy Authentication Required", "login", "USER:PASSWORD"),
        ("503 Nope\x1b[2J", "503", "allow CONNECT"),
    ],
)
def test_a_proxy_that_says_no_is_named(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, refusal: str, seen: str, fix: str
) -> None:
    with proxying(refusal) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:secret@{proxy.address}")
        hop = failing(walked("127.0.0.1:9", authority))
    assert hop.name == "proxy" and seen in hop.seen and fix in hop.fix
    assert proxy.address in hop.seen
    assert "secret" not in hop.seen + hop.fix and hop.seen.isprintable()
    assert "Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=" in proxy.heads[0]


@pytest.mark.parametrize(
    ("url", "seen"), [("http://127.0.0.1:9", "cannot be reached"), ("socks5://127.0.0.1:9", "socks5")]
)
def test_a_proxy_that_is_not_there_or_of_another_kind_fails_at_the_proxy(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, url: str, seen: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", url)
    hop = failing(walked("127.0.0.1:443", authority))
    assert hop.name == "proxy" and seen in hop.seen


def test_a_proxy_that_reads_traffic_is_known_by_who_issued_what_it_shows(
    authority: Authority, stranger: Authority
) -> None:
    with serving(stranger.server()) as inspecting:
        hop = failing(walked(inspecting.address, authority))
        assert inspecting.asked == []
    assert hop.name == "TLS" and "Hospital inspection" in hop.seen and "inspection" in hop.fix


def test_a_certificate_of_another_name_fails_at_tls(authority: Authority) -> None:
    with serving(authority.server("hub.example")) as other:
        hop = failing(walked(other.address, authority))
    assert hop.name == "TLS" and "not for 127.0.0.1" in hop.seen


@pytest.mark.parametrize(
    ("begins", "ends", "seen"), [(-9 * DAY, -3 * DAY, "expired on"), (3 * DAY, 9 * DAY, "valid only from")]
)
def test_a_certificate_out_of_its_time_is_told_with_both_clocks(
    authority: Authority, begins: timedelta, ends: timedelta, seen: str
) -> None:
    with serving(authority.server(begins=begins, ends=ends)) as late:
        hop = failing(walked(late.address, authority))
    assert hop.name == "TLS" and seen in hop.seen and "clock" in hop.seen
    assert "2027-01-15" in hop.seen, "this computer's time stands beside the certificate's"


def test_a_server_without_tls_fails_at_tls(authority: Authority) -> None:
    with serving(None) as plain:
        hop = failing(walked(plain.address, authority))
    assert hop.name == "TLS" and "does not speak TLS" in hop.seen


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b"<html>It works!</html>"),
        Answer(404, b"<html>"),
        Answer(302, b"", {"Location": "/login"}),
    ],
)
def test_a_plain_web_server_fails_at_the_gateway(hub: Hub, authority: Authority, answer: Answer) -> None:
    hub.on("/hub/descriptor", answer)
    hop = failing(walked(hub.address, authority))
    assert hop.name == "gateway" and "no FedSeg hub" in hop.seen


def test_a_gateway_without_its_hub_is_told_as_such(hub: Hub, authority: Authority) -> None:
    hub.on("/hub/descriptor", Answer(502))
    hop = failing(walked(hub.address, authority))
    assert hop.name == "gateway" and "502" in hop.seen


def test_another_coordinators_hub_fails_at_the_identity(hub: Hub, authority: Authority) -> None:
    hub.on("/hub/descriptor", said({**DESCRIPTOR, "identity": base64.b64encode(b"o" * 32).decode()}))
    hop = failing(walked(hub.address, authority))
    assert hop.name == "identity" and "Do not join" in hop.fix


@pytest.mark.parametrize(
    ("theirs", "older"), [("0.0.9", "coordinator"), ("99.0.0", "this computer"), ("x", "coordinator")]
)
def test_one_minor_version_apart_says_who_has_to_update(
    hub: Hub, authority: Authority, theirs: str, older: str
) -> None:
    hub.on("/hub/descriptor", said({**DESCRIPTOR, "fedseg": theirs}))
    hop = failing(walked(hub.address, authority))
    assert hop.name == "version" and theirs in hop.seen and VERSION in hop.seen and older in hop.fix


def test_another_patch_version_passes(hub: Hub, authority: Authority) -> None:
    hub.on("/hub/descriptor", said({**DESCRIPTOR, "fedseg": VERSION.rpartition(".")[0] + ".99"}))
    assert walked(hub.address, authority)[-1].status == "ok"


@pytest.mark.parametrize(
    ("off", "status", "seen"),
    [(-3600, "warning", "3600 s behind"), (61, "warning", "61 s ahead"), (59, "ok", "59 s")],
)
def test_clocks_more_than_a_minute_apart_are_a_warning(
    well: Hub, authority: Authority, off: int, status: str, seen: str
) -> None:
    hop = walked(well.address, authority, now=NOW + off)[-1]
    assert (hop.name, hop.status) == ("clock", status) and seen in hop.seen


def test_a_credential_that_the_hub_does_not_know_fails_at_the_enrolment(
    well: Hub, authority: Authority
) -> None:
    well.on("/hub/state", said({"message": "This site has left.", "fix": ""}, 401))
    hop = failing(walked(well.address, authority, credential="c"))
    assert hop.name == "enrolment" and "This site has left." in hop.seen


def test_a_warning_does_not_end_the_way(well: Hub, authority: Authority) -> None:
    hops = walked(well.address, authority, credential="c", now=NOW + 999)
    assert [(hop.name, hop.status) for hop in hops[-2:]] == [("clock", "warning"), ("enrolment", "ok")]


@pytest.mark.usefixtures("trusted_here")
def test_an_https_proxy_carries_tls_within_tls(
    well: Hub, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxying(context=authority.server()) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"https://{proxy.address}")
        hops = walked(well.address, authority)
    assert [(hop.name, hop.status) for hop in hops if hop.status != "ok"] == []


@pytest.fixture
def file(well: Hub, authority: Authority, tmp_path: Path) -> Path:
    """A real invitation to the hub."""
    identity = Identity(tmp_path / "identity.key")
    study = {"name": "liver", "methods": ["fedavg"], "site": [{"name": "north", "data": "/secret"}]}
    written = write_invitation(
        tmp_path / "north.fedseg", identity, site="north", address=well.address, study=study, token="t0ken",
        expires=4e9, ca=authority.pem,
    )  # fmt: skip
    well.on("/hub/descriptor", said({**DESCRIPTOR, "identity": written.identity}))
    return tmp_path / "north.fedseg"


def test_the_verb_prints_a_line_for_each_hop(file: Path) -> None:
    outcome = fedseg("test-connection", file)
    assert outcome.code == 0, outcome
    lines = outcome.out.splitlines()
    assert [line.split()[1] for line in lines] == [
        "DNS",
        "TCP",
        "TLS",
        "gateway",
        "identity",
        "version",
        "clock",
    ]
    assert lines[-1].startswith("warning"), "the hub's clock stands still"


def test_the_verb_tells_machines_each_hop_as_it_is_passed_and_all_at_the_end(file: Path) -> None:
    outcome = fedseg("test-connection", file, "--json")
    passed = outcome.told("progress")
    assert {event["stage"] for event in passed} == {"connect"}
    assert [event["value"] for event in passed] == sorted(event["value"] for event in passed)
    assert outcome.result["summary"]["hops"] == [event["hop"] for event in passed]


def test_the_verb_ends_with_the_hop_that_fails(file: Path, well: Hub) -> None:
    well.on("/hub/descriptor", Answer(200, b"<html>"))
    outcome = fedseg("test-connection", file, "--json")
    assert outcome.code == 1
    last = outcome.events[-1]
    assert last["event"] == "error" and "gateway" in last["message"] and last["fix"]
    assert outcome.told("progress")[-1]["hop"]["status"] == "failed"


def test_the_verb_tests_the_enrolment_of_a_site_that_has_one(file: Path, well: Hub) -> None:
    file.with_name("credential").write_text("cr3d\n")
    outcome = fedseg("test-connection", file)
    assert "enrolment" in outcome.out and "cr3d" not in outcome.out + outcome.err
    assert well.asked[-1].headers["authorization"] == "Bearer cr3d"


def test_the_verb_refuses_what_is_no_invitation(tmp_path: Path) -> None:
    (tmp_path / "x.fedseg").write_text("{}")
    assert fedseg("test-connection", tmp_path / "x.fedseg").code == 2
