"""The fake command and the application for the extension's tests."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from Testing.inference.conftest import bank_of, header, weights_of
from Testing.slicer_harness.app import App
from Testing.slicer_harness.fixtures import application

__all__ = ["application", "bank_of", "header", "weights_of"]  # fixtures; the models have learnt nothing

FAKE = Path(__file__).parent / "fake_fedseg.py"


@pytest.fixture
def fake_fedseg(tmp_path: Path) -> Path:
    """An executable that behaves as FAKE_FEDSEG says."""
    if os.name == "nt":
        pytest.skip("the fake command is a shell script")
    path = tmp_path / "bin" / "fedseg"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{FAKE}" "$@"\n')
    path.chmod(0o755)
    return path


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made, to see what is left in it."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def app(
    application: App, fake_fedseg: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[App]:
    """An application with an empty scene, whose `fedseg` is the fake one."""
    with application.session() as app:
        monkeypatch.setattr(app.module, "POLL_MS", 10)  # a panel listens as often as a test can wait
        app.settings.setValue("FedSeg/command", str(fake_fedseg))
        yield app
