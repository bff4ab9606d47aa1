"""A site and a hub that are one minor version apart, or whose clocks are; both ends are the real ones."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from FedSegCore.coordinator.gateway import Gateway
from FedSegCore.federation import flower
from FedSegCore.federation.invitation import Invitation
from FedSegCore.federation.keys import make_tls
from FedSegCore.hospital.answers import HubError, HubRefused
from FedSegCore.hospital.clock import clock_ahead_s
from FedSegCore.hospital.handshake import greet
from FedSegCore.hospital.hubclient import HubClient
from FedSegCore.version import VERSION
from Testing.coordinator.doors import House

NEWER, OLDER = "0.2.0", "0.0.9"
assert OLDER < VERSION < NEWER


@pytest.fixture
def hub(house: House) -> Iterator[HubClient]:
    """A site's client of a hub that is served over TLS."""
    tls = make_tls(house.folder / "tls", ("127.0.0.1",))
    gateway = Gateway(house.hub, host="127.0.0.1", port=0, certificate=tls.certificate, key=tls.key)
    with HubClient(f"127.0.0.1:{gateway.port}", tls.ca) as client:
        yield client
    gateway.stop()


def invitation(**other: Any) -> Invitation:
    """The invitation of `south`, with the facts that the handshake looks at."""
    facts: dict[str, Any] = dict.fromkeys(Invitation.__dataclass_fields__, "")
    return Invitation(**{**facts, "identity": "identity", "site": "south", "expires": 0, **other})


def greeted(hub: HubClient, ahead_s: float = 0.0, **other: Any) -> list[dict[str, Any]]:
    """The warnings of a handshake by a computer whose clock is ahead."""
    told: list[dict[str, Any]] = []
    greet(
        hub,
        invitation(**other),
        lambda event, **fields: told.append(fields),
        now=lambda: time.time() + ahead_s,
    )
    return told


def enrol(hub: HubClient, house: House, version: str) -> str:
    return hub.enrol("south", token="token of south", engine_key=house.south.engine_key, fedseg=version)


def refusal(hub: HubClient, house: House, version: str) -> tuple[int, str, str]:
    """Why a site of another version is not enrolled. The error is not kept: its traceback holds the connection."""
    try:
        enrol(hub, house, version)
    except HubRefused as refused:
        return refused.status, refused.message, refused.fix
    raise AssertionError("it was enrolled")


def test_equal_versions_and_clocks_need_no_word(hub: HubClient, house: House) -> None:
    assert greeted(hub) == []
    assert enrol(hub, house, VERSION)


@pytest.mark.parametrize(("theirs", "older"), [(NEWER, "this computer's"), (OLDER, "the coordinator's")])
def test_a_site_reads_before_it_tells_anything_that_the_hub_is_of_another_minor_version(
    hub: HubClient, house: House, theirs: str, older: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("FedSegCore.coordinator.hub.VERSION", theirs)
    with pytest.raises(HubError) as caught:
        greeted(hub)
    assert theirs in caught.value.message and VERSION in caught.value.message
    assert caught.value.fix == f"The older one must be updated: {older}."
    entry = house.roster.entry("south")
    assert entry is not None and entry.state == "invited"


@pytest.mark.parametrize(("site", "update"), [(NEWER, NEWER), (OLDER, VERSION)])
def test_a_hub_refuses_a_site_of_another_minor_version_with_the_reason(
    hub: HubClient, house: House, site: str, update: str
) -> None:
    status, message, fix = refusal(hub, house, site)
    assert (status, fix) == (409, f"The older one must be updated, to {update}.")
    assert f"The site has FedSeg {site}, the coordinator {VERSION}" in message
    assert enrol(hub, house, VERSION), "its invitation is still good"


def test_another_patch_version_joins(hub: HubClient, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("FedSegCore.coordinator.hub.VERSION", f"{VERSION}9")
    assert greeted(hub) == [] and enrol(hub, house, VERSION)


def test_the_hub_of_another_coordinator_is_told_nothing(hub: HubClient) -> None:
    with pytest.raises(HubError, match="another coordinator"):
        greeted(hub, identity="somebody else")


@pytest.mark.parametrize(("ahead_s", "way"), [(3600.0, "3600 s ahead of"), (-3600.0, "3600 s behind")])
def test_a_clock_an_hour_off_is_told_with_the_fix(hub: HubClient, ahead_s: float, way: str) -> None:
    (warning,) = greeted(hub, ahead_s)
    assert way in warning["message"] and "NTP" in warning["fix"]


@pytest.mark.parametrize("ahead_s", [3600.0, -3600.0])
def test_calls_of_an_engine_an_hour_off_bear_the_hubs_time(
    hub: HubClient, ahead_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flwr.supercore.date import now
    from flwr.supernode import node_auth_http_interceptor as signing

    off = clock_ahead_s(hub, now=lambda: time.time() + ahead_s)
    assert off == pytest.approx(ahead_s, abs=5.0)
    monkeypatch.setattr(signing, "now", lambda: now() + flower.timedelta(seconds=ahead_s))
    flower._sign_by_clock(off)
    assert abs((signing.now() - now()).total_seconds()) < 5.0, "what Flower's server bears"


def test_the_networks_delay_moves_no_clock(hub: HubClient) -> None:
    assert clock_ahead_s(hub) == 0.0
