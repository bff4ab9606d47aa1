"""The application for the harness's own tests."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from Testing.slicer_harness.app import App
from Testing.slicer_harness.fixtures import app, application

__all__ = ["app", "application"]


@pytest.fixture
def qt(app: App) -> Any:
    return app.qt


@pytest.fixture
def ctk(app: App) -> Any:
    return sys.modules["ctk"]
