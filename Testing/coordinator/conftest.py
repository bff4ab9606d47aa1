"""Flower's parts and the test client, imported without their own warnings; a coordinator's port for each test."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")

    import starlette.testclient  # noqa: F401

    import FedSegCore.federation.flower  # noqa: F401

from Testing.coordinator.doors import FakeSuperLink, House, superlink


@pytest.fixture(scope="session")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeSuperLink]:
    """What stands behind the gateway."""
    with superlink(tmp_path_factory.mktemp("link")) as running:
        yield running


@pytest.fixture
def house(tmp_path: Path, link: FakeSuperLink) -> House:
    """A hub whose site `north` is enrolled."""
    return House(tmp_path, link)
