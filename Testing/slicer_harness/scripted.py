"""Scripted modules and their manager: what lies between a module's Python classes and the application."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import slicer_core as mrml
from PySide6 import QtCore

from .ctk_widgets import kept
from .mrml_widgets import qMRMLWidget, qSlicerWidget

qt: Any = sys.modules["qt"]


_CLOSED: list[Any] = []


class qSlicerModuleManager(qt.QObject):
    """The loaded modules by name."""

    moduleLoaded = QtCore.Signal(str)
    moduleAboutToBeUnloaded = QtCore.Signal(str)
    SIGNALS = (
        "moduleLoaded(QString)",
        "moduleAboutToBeUnloaded(QString)",
    )

    def __init__(self) -> None:
        super().__init__()
        self._modules: dict[str, qSlicerScriptedLoadableModule] = {}

    def module(self, name: str) -> Any:
        return self._modules.get(name)

    def modulesNames(self) -> list[str]:
        return list(self._modules)

    def load(self, path: Path) -> Any:
        """A module file of a folder of modules, and its class of the same name."""
        slicer: Any = sys.modules["slicer"]
        if str(path.parent) not in sys.path:
            sys.path.append(str(path.parent))
        module = qSlicerScriptedLoadableModule(path)
        self._modules[path.stem] = module
        setattr(slicer.modules, path.stem.lower(), module)
        setattr(slicer.modules, f"{path.stem}Instance", module.instance())
        setattr(slicer.moduleNames, path.stem, path.stem)
        self.moduleLoaded.emit(path.stem)
        return module

    def unload(self, name: str) -> None:
        """Ends a module: its widget cleans up."""
        slicer: Any = sys.modules["slicer"]
        self.moduleAboutToBeUnloaded.emit(name)
        self._modules.pop(name).close()
        for attribute in (name.lower(), f"{name}Instance", f"{name}Widget"):
            vars(slicer.modules).pop(attribute, None)


class qSlicerLoadableModule(qt.QObject):
    """A module of Slicer's own, of which there is the logic alone."""

    name = property(lambda self: self._moduleName)

    def __init__(self, name: str, logic: Any) -> None:
        super().__init__()
        self._moduleName, self._logic = name, logic

    def logic(self) -> Any:
        return self._logic


class qSlicerScriptedLoadableModule(qt.QObject):
    """What a module's Python class has as its parent."""

    title = kept("title", "")
    categories = kept("categories", [])
    dependencies = kept("dependencies", [])
    contributors = kept("contributors", [])
    associatedNodeTypes = kept("associatedNodeTypes", [])
    helpText = kept("helpText", "")
    acknowledgementText = kept("acknowledgementText", "")
    hidden = kept("hidden", False)
    icon = kept("icon", None)
    index = kept("index", -1)
    path = property(lambda self: str(self._path))
    name = property(lambda self: self._path.stem)

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._scene = sys.modules["slicer"].mrmlScene
        self._logic = self._widget = None
        self._python = importlib.import_module(path.stem)
        self._instance = getattr(self._python, path.stem)(self)

    def instance(self) -> Any:
        return self._instance

    def logic(self) -> Any:
        """The module's logic in MRML's sense; the one in Python is made by the widget."""
        if self._logic is None:
            self._logic = mrml.vtkSlicerScriptedLoadableModuleLogic()
        return self._logic

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        """Another scene for its logic and its panel."""
        self._scene = scene
        self.logic().SetMRMLScene(scene)
        if self._widget is not None:
            self._widget.setMRMLScene(scene)

    def widgetRepresentation(self) -> Any:
        """The module's panel, made and set up when it is first asked for."""
        if self._widget is None:
            self._widget = self.createNewWidgetRepresentation()
            setattr(sys.modules["slicer"].modules, f"{self.name}Widget", self._widget.self())
        return self._widget

    def createNewWidgetRepresentation(self) -> Any:
        widget = qSlicerScriptedLoadableModuleWidget()
        widget.setMRMLScene(sys.modules["slicer"].mrmlScene)
        widget._build(getattr(self._python, f"{self.name}Widget"), self.name)
        return widget

    def close(self) -> None:
        """The panel lets go of the scene. It is not destroyed: what Python holds of a destroyed tree of widgets
        PySide6 would follow into freed memory, where PythonQt raises an error."""
        if self._widget is not None:
            self._widget.hide()
            for child in [self._widget, *self._widget.findChildren(qt.QWidget)]:
                if isinstance(child, qMRMLWidget):
                    child.setMRMLScene(None)
            _CLOSED.append(self._widget)
            self._widget = None


class qSlicerScriptedLoadableModuleWidget(qSlicerWidget):
    """What a module's widget class has as its parent; Slicer enters and leaves it as the user goes by."""

    isEntered = property(lambda self: self._isEntered)
    moduleName = property(lambda self: self._moduleName)

    def __init__(self) -> None:
        super().__init__()
        self._isEntered = False
        self._python: Any = None
        self._moduleName = ""
        qt.QVBoxLayout(self)

    def self(self) -> Any:
        """The widget object in Python."""
        return self._python

    def enter(self) -> None:
        self._isEntered = True
        if hasattr(self._python, "enter"):
            self._python.enter()

    def exit(self) -> None:
        self._isEntered = False
        if hasattr(self._python, "exit"):
            self._python.exit()

    def _build(self, cls: type, name: str) -> None:
        self._moduleName = name
        self._python = cls(self)
        self._python.setup()
