"""Puts `slicer`, `qt`, `ctk` and their modules in place, and starts the application. Once a process.

With SLICER_SOURCE_DIR set, `slicer.util` and the other Python files come from that checkout of Slicer; otherwise they
are this folder's own, `python/`.
"""

from __future__ import annotations

import ctypes
import importlib
import logging
import os
import sys
import types
from pathlib import Path
from typing import Any

import slicer_core
import vtk
from PySide6 import QtCore

from .dialogs import DIALOGS

OWN = Path(__file__).with_name("python")
ABSENT = {
    "ctk": (
        "ctkCheckablePushButton",
        "ctkColorPickerButton",
        "ctkDoubleRangeSlider",
        "ctkDoubleSlider",
        "ctkDoubleSpinBox",
        "ctkRangeWidget",
    ),
    "slicer": ("qMRMLRangeWidget", "qMRMLSliderWidget", "qMRMLSpinBox"),
}
"""Widgets that Slicer's own Python names, and for which there is no stand-in."""
WIDGET_MODULES = ("mrml_widgets", "segment_widgets", "core_io", "scripted", "application")


def python_folder() -> Path:
    """Where `slicer.util` and the like are."""
    source = os.environ.get("SLICER_SOURCE_DIR")
    return Path(source) / "Base" / "Python" / "slicer" if source else OWN


def boot(folder: Path, *, is_testing: bool) -> Any:
    """The module `slicer` with its application, whose files go into `folder`."""
    if not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    _hold_none()
    _log_vtk()
    QtCore.qInstallMessageHandler(_log_qt)
    from .qt_module import make_qt

    sys.modules["qt"] = make_qt()
    from .ctk_widgets import make_ctk

    sys.modules["ctk"] = make_ctk()
    sys.modules["vtkSegmentationCorePython"] = slicer_core
    slicer = sys.modules["slicer"] = _make_slicer()
    for name in WIDGET_MODULES:
        module = importlib.import_module(f".{name}", __package__)
        vars(slicer).update(
            {key: value for key, value in vars(module).items() if key.startswith(("qMRML", "qSlicer"))}
        )
    slicer.app = slicer.qSlicerApplication(folder, isTesting=is_testing)
    slicer.mrmlScene = slicer.app.mrmlScene()
    for name, logic in slicer.app._logics.items():
        setattr(slicer.modules, name.lower(), slicer.qSlicerLoadableModule(name, logic))
    if python_folder() != OWN:
        _name_absent()
    for name in ("util", "i18n", "ScriptedLoadableModule", "parameterNodeWrapper", "testing"):
        importlib.import_module(f"slicer.{name}")
    # All of util's dialogs end in one function, in whatever module it stands.
    sys.modules[slicer.util.infoDisplay.__module__]._messageDisplay = _show_message
    return slicer


def _name_absent() -> None:
    def refuse(self: Any, *_words: Any) -> None:
        raise NotImplementedError(f"the harness has no stand-in for {type(self).__name__}")

    for module, names in ABSENT.items():
        for name in names:
            setattr(sys.modules[module], name, type(name, (), {"__init__": refuse}))


def _show_message(level: int, text: str, testing_value: Any, **words: Any) -> Any:
    """Records what the user is told, and lets the test answer what the user is asked."""
    qt, slicer = sys.modules["qt"], sys.modules["slicer"]
    logging.log(level, text)
    if testing_value is None:
        return DIALOGS.tell(logging.getLevelName(level).lower(), text)
    positive, negative = _buttons(qt)[int(words["standardButtons"].value)]
    return positive if slicer.app.testingEnabled() or DIALOGS.ask("question", text) else negative


def _buttons(qt: Any) -> dict[int, tuple[Any, Any]]:
    box = qt.QMessageBox
    pairs = ((box.Ok, box.Cancel), (box.Yes, box.No), (box.Retry, box.Close))
    return {int((yes | no).value): (yes, no) for yes, no in pairs}


def _make_slicer() -> Any:
    """A package of MRML's classes, whose further modules are read from the folder in use."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "slicer"]:
        del sys.modules[name]  # slicer-core's own package of this name
    slicer = types.ModuleType("slicer", "Slicer's Python package, over its stand-in")
    slicer.__path__ = [str(python_folder())]
    vars(slicer).update(
        {name: value for name, value in vars(slicer_core).items() if not name.startswith("_")}
    )
    for name in ("modules", "moduleNames"):
        module = sys.modules[f"slicer.{name}"] = types.ModuleType(name)
        setattr(slicer, name, module)
    return slicer


def _hold_none() -> None:
    """PySide6 gives back references to None that it never took. Before Python 3.12, which does not count them, None
    would be freed in the end, and the interpreter with it; a list that is never freed holds enough of them."""
    if sys.version_info < (3, 12):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object([None] * 1_000_000))


def _log_vtk() -> None:
    """VTK's errors go to the log `vtk`, as Slicer's do, in place of coloured lines on the terminal."""
    vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)
    window = vtk.vtkStringOutputWindow()

    def log(_window: Any, event: str, text: str) -> None:
        level = logging.ERROR if event == "ErrorEvent" else logging.WARNING
        logging.getLogger("vtk").log(level, "%s", text.strip())

    log.CallDataType = vtk.VTK_STRING  # type: ignore[attr-defined]
    window.AddObserver("ErrorEvent", log)
    window.AddObserver("WarningEvent", log)
    vtk.vtkOutputWindow.SetInstance(window)


def _log_qt(kind: QtCore.QtMsgType, _context: Any, text: str) -> None:
    """Qt's messages go to the log `qt`, but for what a platform without a screen says of itself."""
    if "propagateSizeHints" not in text:
        quiet = kind in (QtCore.QtMsgType.QtDebugMsg, QtCore.QtMsgType.QtInfoMsg)
        logging.getLogger("qt").log(logging.INFO if quiet else logging.WARNING, "%s", text)
