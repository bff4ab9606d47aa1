"""What breaks while the panel works: what its user is told, and that nothing half-done is left."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from FedSegCore.inference.modelfile import ModelHeader
from Testing.extension.test_data_panel import add
from Testing.extension.test_data_panel import panel as data_panel
from Testing.extension.test_panel import SEGMENTATION, models, ready, wait
from Testing.inference.conftest import MakeBank
from Testing.slicer_harness.app import App

__all__ = ["data_panel", "models"]

REST = "Free some memory and try again; the Python console and the application log say more."
REAL_S = 60
"""How long the real command may take to say something."""
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/tmp/FedSeg-1")


def begun(app: App, models: Path, *, model: int = 0) -> Any:
    """A panel that segments and will not end by itself."""
    panel, _volume = ready(app, models, model=model, how="wait")
    panel.ui.segmentButton.click()
    wait(app, panel, lambda: panel.ui.progressBar.maximum == 100)
    return panel


def check_rests(app: App, panel: Any, temporary: Path, told: str) -> None:
    """The user is told this, the scene has nothing new, and another try is possible."""
    ui = panel.ui
    assert ui.messageLabel.text == told and ui.messageLabel.visible
    assert not app.nodes(SEGMENTATION) and len(app.nodes("vtkMRMLVolumeNode")) == 1
    assert not app.nodes("vtkMRMLStorageNode") and not list(temporary.iterdir())
    assert ui.segmentButton.text == "Segment" and ui.segmentButton.enabled
    assert ui.inputsCollapsibleButton.enabled and not ui.progressBar.visible
    assert not ui.reviewCollapsibleButton.visible


def test_a_segmentation_that_the_system_kills_is_told_and_can_be_tried_again(
    app: App, models: Path, temporary: Path
) -> None:
    panel = begun(app, models)
    os.killpg(panel._segmenting._run.job._process.pid, signal.SIGKILL)
    wait(app, panel)
    check_rests(app, panel, temporary, f"FedSeg was stopped by the system (signal 9).\n{REST}")
    app.environment["FAKE_FEDSEG"] = ""
    panel.ui.segmentButton.click()
    wait(app, panel)
    assert app.nodes(SEGMENTATION) and not panel.ui.messageLabel.visible


def fill_folders(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_words: Any) -> str:
        raise FULL

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)


def fill_files(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.slicer.util, "exportNode", lambda *words, **told: False)


@pytest.mark.parametrize(
    ("fill", "told"),
    [(fill_folders, "/tmp/FedSeg-1: No space left on device."), (fill_files, "could not be written to")],
)
def test_a_full_disk_is_told_once_for_all_volumes(
    app: App, models: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch,
    fill: Callable[[App, pytest.MonkeyPatch], None], told: str,
) -> None:  # fmt: skip
    panel, _volume = ready(app, models, model=1)
    app.volume("another")
    panel.parameterNode.allVolumes = True
    fill(app, monkeypatch)
    panel.ui.segmentButton.click()
    text = panel.ui.messageLabel.text
    assert told in text and text.count("Check the disk's space and your rights.") == 1 and "Errno" not in text
    assert panel.ui.segmentButton.text == "Segment" and not panel._timer.isActive()
    assert not list(temporary.iterdir())


def test_a_result_that_is_cut_off_leaves_no_half_of_it_in_the_scene(
    app: App, models: Path, temporary: Path
) -> None:
    panel, _volume = ready(app, models, model=2, how="cut")
    panel.ui.segmentButton.click()
    wait(app, panel)
    told = panel.ui.messageLabel.text
    assert told.startswith("Failed to load node from file: ") and told.endswith("Segment the volume again.")
    check_rests(app, panel, temporary, told)


def test_closing_the_scene_ends_what_waits_too(app: App, models: Path, temporary: Path) -> None:
    panel, _volume = ready(app, models, model=1, how="wait")
    app.volume("another")
    panel.parameterNode.allVolumes = True
    panel.ui.segmentButton.click()
    wait(app, panel, lambda: panel.ui.progressBar.maximum == 100)
    process = panel._segmenting._run.job._process
    app.close_scene()
    assert process.poll() == -signal.SIGKILL, "it was asked for its end, not only left alone"
    wait(app, panel)
    assert not app.nodes(SEGMENTATION) and not list(temporary.iterdir())
    assert not panel.ui.messageLabel.visible


def test_a_volume_deleted_in_the_middle_leaves_the_others_their_turn(app: App, models: Path) -> None:
    panel, volume = ready(app, models, model=1)
    other = app.volume("another")
    panel.parameterNode.allVolumes = True
    panel.ui.segmentButton.click()
    app.scene.RemoveNode(volume)
    wait(app, panel)
    assert "was removed while it was segmented" in panel.ui.messageLabel.text
    (made,) = app.nodes(SEGMENTATION)
    assert made.GetNodeReference("FedSeg.volume.MR") is other


def test_unloading_the_module_ends_a_segmentation_and_leaves_nothing(
    app: App, models: Path, temporary: Path
) -> None:
    panel = begun(app, models)
    process = panel._segmenting._run.job._process
    app.slicer.app.moduleManager().unload("FedSeg")
    assert process.poll() is not None and not list(temporary.iterdir())


def write_cut(path: Path, whole: bytes) -> None:
    path.write_bytes(whole[: len(whole) // 2])


def write_foreign(path: Path, _whole: bytes) -> None:
    path.write_bytes((2).to_bytes(8, "little") + b"{}")


def write_letter(path: Path, _whole: bytes) -> None:
    path.write_text("Dear colleague,")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "told"),
    [(write_cut, "is truncated"), (write_foreign, "not a FedSeg file"), (write_letter, "not a FedSeg file")],
)
def test_a_model_that_is_none_is_told_by_the_real_command_and_cannot_be_used(
    app: App, header: ModelHeader, bank_of: MakeBank, spoil: Callable[[Path, bytes], None], told: str
) -> None:
    model = bank_of(header) / "global.safetensors"
    spoil(model, model.read_bytes())
    app.settings.setValue("FedSeg/command", sys.executable)
    app.volume()
    panel = app.open()
    panel.ui.modelFolderLineEdit.currentPath = str(model.parent)
    wait(app, panel, seconds=REAL_S)
    text = panel.ui.messageLabel.text
    assert "global.safetensors" in text and told in text and "Traceback" not in text
    assert len(text.splitlines()) == 2 and not panel.ui.segmentButton.enabled


def without_torch(folder: Path) -> Path:
    """A Python that has FedSeg, and none of the packages that it needs."""
    path = folder / "python-bare"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    path.chmod(0o755)
    return path


def test_without_torch_setup_opens_and_a_segmentation_says_where_to_install_it(
    app: App, models: Path, temporary: Path, tmp_path: Path
) -> None:
    panel, _volume = ready(app, models, model=0)
    panel.ui.commandLineEdit.currentPath = str(without_torch(tmp_path))
    wait(app, panel, seconds=REAL_S)
    assert not panel.ui.setupCollapsibleButton.collapsed
    assert "Missing or too old: " in panel.ui.installationLabel.text
    assert "torch" in panel.ui.installationLabel.text
    panel.ui.segmentButton.click()
    wait(app, panel, seconds=REAL_S)
    check_rests(app, panel, temporary, panel.ui.messageLabel.text)
    assert "lacks the Python package" in panel.ui.messageLabel.text
    assert "in 3D Slicer under Setup" in panel.ui.messageLabel.text


def train(app: App, panel: Any, how: str) -> Any:
    """A dataset of one case and the training of it that was begun."""
    add(app, panel)
    app.environment["FAKE_FEDSEG"] = how
    panel.ui.trainButton.click()
    return panel


def test_a_training_that_the_system_kills_is_told_and_goes_on_where_it_was(
    app: App, data_panel: Any, tmp_path: Path
) -> None:
    panel = train(app, data_panel, "wait")
    app.wait(lambda: "Round 1 of 2" in panel.ui.trainLabel.text)
    os.killpg(panel._training._job._process.pid, signal.SIGKILL)
    app.wait(lambda: panel.ui.trainButton.text == "Train")
    assert panel.ui.trainMessageLabel.text == f"FedSeg was stopped by the system (signal 9).\n{REST}"
    app.environment["FAKE_FEDSEG"] = ""
    panel.ui.trainButton.click()
    app.wait(lambda: panel.ui.trainButton.text == "Train")
    assert panel.ui.trainMessageLabel.text.startswith("Trained: ")
    assert [path.name for path in (tmp_path / "mine-training").iterdir()] == ["training-001"]


def test_a_training_that_fails_says_why_in_the_commands_words(app: App, data_panel: Any) -> None:
    panel = train(app, data_panel, "error")
    app.wait(lambda: panel.ui.trainButton.text == "Train")
    assert panel.ui.trainMessageLabel.text == "The disk is full.\nMake room."


def test_closing_the_scene_does_not_stop_a_training_which_is_none_of_its(app: App, data_panel: Any) -> None:
    panel = train(app, data_panel, "wait")
    app.wait(lambda: "Round 1 of 2" in panel.ui.trainLabel.text)
    app.close_scene()
    app.pump()
    assert panel.ui.trainButton.text == "Cancel" and panel.ui.trainButton.enabled
    panel.ui.trainButton.click()
    app.wait(lambda: panel.ui.trainMessageLabel.text.startswith("Cancelled."))


def test_a_dataset_that_vanished_is_told_before_a_training_of_it_begins(
    app: App, data_panel: Any, tmp_path: Path
) -> None:
    panel = train(app, data_panel, "wait")
    app.wait(lambda: "Round 1 of 2" in panel.ui.trainLabel.text)
    panel.ui.trainButton.click()
    app.wait(lambda: panel.ui.trainButton.text == "Train")
    shutil.rmtree(tmp_path / "mine")
    panel.ui.trainButton.click()
    told = f"{tmp_path / 'mine' / 'dataset.json'}: No such file or directory."
    assert panel.ui.trainMessageLabel.text.startswith(told) and panel.ui.trainButton.text == "Train"


def test_unloading_the_module_ends_a_training(app: App, data_panel: Any) -> None:
    panel = train(app, data_panel, "wait")
    app.wait(lambda: "Round 1 of 2" in panel.ui.trainLabel.text)
    process = panel._training._job._process
    app.slicer.app.moduleManager().unload("FedSeg")
    assert process.poll() is not None


def test_a_check_that_dies_is_told_and_can_be_asked_for_again(app: App, data_panel: Any) -> None:
    add(app, data_panel)
    app.environment["FAKE_FEDSEG"] = "crash"
    data_panel.ui.checkButton.click()
    app.wait(lambda: data_panel.ui.checkMessageLabel.visible)
    assert data_panel.ui.checkMessageLabel.text == f"FedSeg ended without a result (exit code 9).\n{REST}"
    assert data_panel.ui.checkButton.enabled and not data_panel.ui.problemsTable.visible
