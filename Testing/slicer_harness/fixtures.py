"""Fixtures for a conftest.py: the application, and one test in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from Testing.slicer_harness.app import App, start


@pytest.fixture(scope="session")
def application(tmp_path_factory: pytest.TempPathFactory) -> App:
    """The one application of the process; a test of it opens a session."""
    return start(tmp_path_factory.mktemp("slicer"))


@pytest.fixture
def app(application: App) -> Iterator[App]:
    """The application with an empty scene and no settings."""
    with application.session() as app:
        yield app
