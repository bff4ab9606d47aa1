"""The application for the harness's own tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from Testing.slicer_harness.app import App, started


@pytest.fixture
def app() -> Iterator[App]:
    """An application with an empty scene."""
    with started().session() as app:
        yield app


@pytest.fixture
def qt(app: App) -> Any:
    return sys.modules["qt"]


@pytest.fixture
def ctk(app: App) -> Any:
    return sys.modules["ctk"]
