"""The panel is quick: it opens, segments, trains and stops without keeping its user waiting."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from Testing.extension import figures
from Testing.extension.test_cards import CARD, folder
from Testing.slicer_harness.app import App

OPENS_S, SEGMENTS_S, STALLS_S, CANCELS_S = 1.0, 1.5, 0.1, 2.0
MUTE_S = 60
"""For how long the fake command says nothing."""


def test_the_module_opens_within_a_second(app: App) -> None:
    _seconds, worked = figures.opening(app)
    assert worked < OPENS_S, "of work: other programs may take the processor meanwhile"


def test_the_module_opens_though_the_command_does_not_answer(app: App) -> None:
    app.environment["FAKE_FEDSEG"] = "mute"
    seconds, _worked = figures.opening(app)
    assert seconds < MUTE_S


def test_from_click_to_segmentation_the_panel_itself_takes_little_time(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.module, "POLL_MS", 100)  # as users have it
    (tmp_path / "models").mkdir()
    scan, _model = figures.write_scan(tmp_path / "scan")
    panel = figures.Segmenting(app, scan, folder(tmp_path / "models", only=CARD | {"owned": ["CT"]}))
    assert min(panel.click() for _time in range(3)) < SEGMENTS_S, "with a command that takes no time"


@pytest.mark.slow
def test_the_window_never_stalls_while_a_training_runs(app: App, tmp_path: Path) -> None:
    training = figures.Training(app, tmp_path, Path(sys.executable))
    with figures.heartbeat(app) as heart:
        training.begin()
        training.end()
    assert training.panel.ui.trainMessageLabel.text.startswith("Trained: ")
    assert training.panel.ui.curveLabel.visible, "the curve was drawn meanwhile"
    assert heart.beats > 500 and heart.longest < STALLS_S


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_cancelled_training_ends_with_all_its_processes_in_two_seconds_and_nothing_is_half_written(
    app: App, tmp_path: Path
) -> None:
    training = figures.Training(app, tmp_path, figures.launcher(tmp_path))
    training.begin()
    seconds, processes = training.cancel()
    assert processes == 2 and seconds < CANCELS_S
    assert training.panel.ui.trainMessageLabel.text.startswith("Cancelled.")
    assert not training.broken() and list(training.out.rglob("checkpoint.safetensors"))
    training.begin()
    training.end()
    assert list(training.out.glob("models/local-mine.safetensors")), "it went on where it stopped"
