"""Which proxy a site's process leaves to the engine's client, which has rules of its own."""

from __future__ import annotations

import os

import httpx
import pytest

from FedSegCore.hospital.tls import keep_one_proxy

HUB = "hub.example.org:8443"
LOOPBACK = "http://127.0.0.1:9094/"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    monkeypatch.setattr(os, "environ", kept)
    return kept


def goes_straight(url: str) -> bool:
    """Whether the HTTP client that Flower uses would ask no proxy."""
    with httpx.Client() as client:
        return client._transport_for_url(httpx.URL(url)) is client._transport


def test_the_way_to_the_hub_keeps_its_proxy_and_this_machine_needs_none(environment: dict[str, str]) -> None:
    environment.update(
        HTTPS_PROXY="http://proxy:3128", HTTP_PROXY="http://proxy:3128", ALL_PROXY="http://p:1"
    )
    keep_one_proxy(HUB)
    assert environment["https_proxy"] == "http://proxy:3128"
    assert goes_straight(LOOPBACK) and not goes_straight(f"https://{HUB}/")


def test_a_hub_that_is_excepted_is_reached_straight(environment: dict[str, str]) -> None:
    environment.update(
        HTTPS_PROXY="http://proxy:3128", HTTP_PROXY="http://proxy:3128", NO_PROXY=".example.org"
    )
    keep_one_proxy(HUB)
    assert goes_straight(LOOPBACK) and goes_straight(f"https://{HUB}/")


def test_a_proxy_of_the_systems_settings_reaches_the_engine_too(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"https": "http://proxy:3128", "http": "http://proxy:3128"}
    monkeypatch.setattr("FedSegCore.hospital.tls.get_environ_proxies", lambda url: told)
    keep_one_proxy(HUB)
    assert environment["https_proxy"] == "http://proxy:3128" and "http_proxy" not in environment
