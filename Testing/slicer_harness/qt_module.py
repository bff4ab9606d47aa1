"""The module `qt`: PySide6's classes under one name, with PythonQt's manners and dialogs that do not wait."""

from __future__ import annotations

import types
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from .dialogs import DIALOGS
from .manners import facade, give_properties
from .ui_file import UiLoader


def make_qt() -> types.ModuleType:
    """The module as Slicer's Python sees it. Names that PySide6 alone has, such as Signal, are not in it."""
    module = types.ModuleType("qt", "Qt, as Slicer's Python sees it")
    found = {
        name: getattr(source, name)  # PySide6 makes its types when they are asked for
        for source in (QtCore, QtGui, QtWidgets)
        for name in dir(source)
        if name.startswith("Q")
    }
    objects = {
        name: cls for name, cls in found.items() if isinstance(cls, type) and issubclass(cls, QtCore.QObject)
    }
    for cls in objects.values():
        give_properties(cls)
    vars(module).update(found)
    vars(module).update({name: facade(cls) for name, cls in objects.items()})
    _answer_dialogs(module)
    module.QUiLoader = UiLoader
    return module


def _answer_dialogs(qt: Any) -> None:
    """A dialog is answered by the test. PythonQt gives the chosen file alone, without the filter that it passed."""
    for name in ("getOpenFileName", "getOpenFileNames", "getSaveFileName", "getExistingDirectory"):
        setattr(qt.QFileDialog, name, staticmethod(_asker(f"QFileDialog.{name}")))
    for name in ("information", "warning", "critical", "question"):
        setattr(qt.QMessageBox, name, staticmethod(_asker(f"QMessageBox.{name}")))
    for name, cls in vars(qt).items():
        if isinstance(cls, type) and issubclass(cls, QtWidgets.QDialog):
            cls.exec_ = _execute
            cls.exec = None  # a word of PySide6 and of Python 2, which PythonQt does not know
            assert name == cls.__name__


def _asker(kind: str) -> Any:
    def ask(_parent: Any = None, *words: Any, **_rest: Any) -> Any:
        return DIALOGS.ask(kind, " ".join(str(word) for word in words))

    return ask


def _execute(dialog: Any) -> Any:
    text = dialog.text if isinstance(dialog, QtWidgets.QMessageBox) else dialog.windowTitle
    return DIALOGS.ask(dialog.className(), text)
