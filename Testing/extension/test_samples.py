"""Sample data: offered by Slicer's module, made on this computer by the command, and loaded."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from Testing.slicer_harness.app import App


@pytest.fixture
def download(app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the button of the module Sample Data calls; the cache is empty."""
    found: list[dict[str, Any]] = []
    sampleData = ModuleType("SampleData")
    register = staticmethod(lambda **told: found.append(told))
    sampleData.SampleDataLogic = SimpleNamespace(  # type: ignore[attr-defined]
        registerCustomSampleDataSource=register.__func__
    )
    monkeypatch.setitem(sys.modules, "SampleData", sampleData)
    monkeypatch.setattr(type(app.slicer.app), "cachePath", str(tmp_path / "cache"))
    app.load_module()
    app.slicer.app.startupCompleted.emit()
    source = found[-1]
    assert (
        source["category"] == "FedSeg"
        and source["uris"] == ""
        and Path(source["thumbnailFileName"]).is_file()
    )
    return lambda: source["customDownloader"](source)


def test_a_click_loads_a_scan_and_offers_the_models(app: App, download: Any, tmp_path: Path) -> None:
    (node,) = download()
    assert node.GetName() == "FedSegDemo" and app.nodes("vtkMRMLScalarVolumeNode") == [node]
    ui = app.open().ui
    assert ui.modelFolderLineEdit.currentPath == str(tmp_path / "cache" / "FedSegDemo" / "models")


def test_what_was_made_once_is_loaded_again_without_the_command(app: App, download: Any) -> None:
    download()
    app.environment["FAKE_FEDSEG"] = "error"
    assert len(download()) == 1 and not app.asked


def test_a_failure_is_told_and_leaves_nothing(app: App, download: Any, tmp_path: Path) -> None:
    app.environment["FAKE_FEDSEG"] = "error"
    assert download() == [] and app.asked[-1].text == "The disk is full.\nMake room."
    assert not (tmp_path / "cache" / "FedSegDemo").exists()


def test_while_it_is_made_nothing_else_can_be_clicked_and_a_second_press_leaves_it_alone(
    app: App, download: Any, tmp_path: Path
) -> None:
    from PySide6.QtCore import QTimer
    from PySide6.QtWidgets import QApplication, QProgressDialog

    app.environment["FAKE_FEDSEG"] = "wait"
    folder = tmp_path / "cache" / "FedSegDemo" / "hospitals"
    seen: list[Any] = []

    def press_again() -> None:
        if not folder.is_dir():
            return
        timer.stop()
        isModal = isinstance(QApplication.activeModalWidget(), QProgressDialog)
        app.environment["FAKE_FEDSEG"] = ""
        seen.extend([isModal, download(), folder.is_dir()])
        for widget in QApplication.topLevelWidgets():
            if isinstance(widget, QProgressDialog):
                widget.cancel()

    timer = QTimer()
    timer.timeout.connect(press_again)
    timer.start(10)
    assert download() == [] and seen == [True, [], True]
    assert not folder.exists(), "it was cancelled"
    assert len(download()) == 1, "it can be made another time"
