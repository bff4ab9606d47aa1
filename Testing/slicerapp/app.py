"""The application of the harness: a real scene, the modules `slicer`, `qt` and `vtk`, and what a user does."""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
import time
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import slicer_core
import vtk
from PySide6 import QtWidgets

from Testing.slicerapp.parameters import wrapper
from Testing.slicerapp.qtfacade import Settings, make_qt
from Testing.slicerapp.uiloader import child_widgets, load_ui
from Testing.slicerapp.widgets import CLASSES

MODULE = Path(__file__).parents[2] / "FedSegExtension" / "FedSeg"


class Slicer:
    """A scene and the module, until the test ends.

    Attributes:
        scene: the vtkMRMLScene.
        layers: what the slice views were last told to show.
        questions: what the user was asked; each is answered with `answer`.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
        self.application = QtWidgets.QApplication.instance() or QtWidgets.QApplication([])
        Settings.path = str(folder / "settings.ini")
        self.scene = make_scene(folder)
        self.layers: dict[str, Any] = {}
        self.questions: list[str] = []
        self.answer = True
        self.environment = dict(os.environ)
        self._folder = folder
        self._panels: list[Any] = []
        for name, module in self._modules().items():
            monkeypatch.setitem(sys.modules, name, module)
        _forget()
        self.module = importlib.import_module("FedSeg")

    def close(self) -> None:
        """Nothing of the module outlives the application that it was loaded into."""
        for panel in self._panels:
            panel.cleanup()
        self._panels.clear()
        self.scene.Clear(1)
        _forget()

    def open(self) -> Any:
        """The module's widget, as a user opens it."""
        panel = self.module.FedSegWidget(types.SimpleNamespace(isEntered=True))
        panel.setup()
        panel.window.resize(440, 1000)
        panel.window.show()
        panel.enter()
        self._panels.append(panel)
        return panel

    def wait(self, until: Callable[[], bool], seconds: float = 20.0) -> None:
        """Let events come until something is so."""
        end = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < end, "it did not come to that in time"
            self.application.processEvents()
            time.sleep(0.01)

    def volume(self, name: str = "Patient Smith", *, matrix: Any = None) -> Any:
        """A small volume in a folder of the subject hierarchy.

        Args:
            matrix: a vtkMatrix4x4 from voxel to RAS; none given: a plain one.
        """
        image = vtk.vtkImageData()
        image.SetDimensions(4, 5, 6)
        image.AllocateScalars(vtk.VTK_SHORT, 1)
        for place in range(image.GetNumberOfPoints()):
            image.GetPointData().GetScalars().SetTuple1(place, place)
        node = self.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        node.SetAndObserveImageData(image)
        if matrix is not None:
            node.SetIJKToRASMatrix(matrix)
        node.CreateDefaultDisplayNodes()
        hierarchy = self.hierarchy()
        patient = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "patient")
        hierarchy.CreateItem(patient, node)
        return node

    def hierarchy(self) -> Any:
        """The subject hierarchy."""
        return slicer_core.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)

    def load(self, path: Path, name: str = "Patient Smith") -> Any:
        """A volume, read from a file."""
        return self._load("vtkMRMLScalarVolumeNode", str(path), {"name": name})

    def nodes(self, kind: str) -> list[Any]:
        """The scene's nodes of a class that a user sees."""
        return [node for node in self._by_class(kind) if not node.GetHideFromEditors()]

    def save(self, path: Path) -> None:
        """The scene as one file."""
        assert self.scene.WriteToMRB(str(path))

    def reopen(self, path: Path) -> None:
        """Close the scene and read one."""
        self.scene.Clear(0)
        assert self.scene.ReadFromMRB(str(path))

    def _modules(self) -> dict[str, types.ModuleType]:
        slicer = types.ModuleType("slicer")
        vars(slicer).update({name: getattr(slicer_core, name) for name in dir(slicer_core) if name[0] != "_"})
        vars(slicer).update(
            mrmlScene=self.scene,
            util=self._util(),
            app=types.SimpleNamespace(slicerUserSettingsFilePath=str(self._folder / "Slicer.ini")),
            qMRMLNodeComboBox=CLASSES["qMRMLNodeComboBox"],
            qMRMLSegmentEditorWidget=CLASSES["qMRMLSegmentEditorWidget"],
        )
        return {
            "slicer": slicer,
            "slicer.util": slicer.util,
            "slicer.i18n": _module("i18n", tr=lambda text: text, translate=lambda context, text: text),
            "slicer.parameterNodeWrapper": _module("wrapper", parameterNodeWrapper=wrapper),
            "slicer.ScriptedLoadableModule": self._scripted(),
            "qt": make_qt(),
        }

    def _util(self) -> types.ModuleType:
        return _module(
            "slicer.util",
            VTKObservationMixin=Observer,
            exportNode=self.export,
            getNodesByClass=self._by_class,
            loadSegmentation=lambda path, told=None: self._load("vtkMRMLSegmentationNode", path, told or {}),
            loadVolume=lambda path, told=None: self._load("vtkMRMLScalarVolumeNode", path, told or {}),
            loadUI=load_ui,
            childWidgetVariables=child_widgets,
            settingsValue=lambda key, default: Settings().value(key, default),
            startupEnvironment=lambda: dict(self.environment),
            setSliceViewerLayers=lambda **layers: self.layers.update(layers),
            confirmOkCancelDisplay=self._ask,
        )

    def _ask(self, question: str) -> bool:
        self.questions.append(question)
        return self.answer

    def _by_class(self, kind: str) -> list[Any]:
        nodes = [self.scene.GetNthNode(place) for place in range(self.scene.GetNumberOfNodes())]
        return [node for node in nodes if node.IsA(kind)]

    def export(
        self, node: Any, path: str, told: Mapping[str, Any] | None = None, world: bool = False
    ) -> bool:
        """A node into a file; the harness knows no transforms."""
        assert isinstance(path, str) and node.GetTransformNodeID() is None
        storage = node.CreateDefaultStorageNode()
        storage.UnRegister(None)
        storage.SetFileName(path)
        if told:
            storage.SetUseCompression(told["useCompression"])
        return bool(storage.WriteData(node))

    def _load(self, kind: str, path: str, told: Mapping[str, Any]) -> Any:
        assert isinstance(path, str)
        node = self.scene.AddNewNodeByClass(kind, told.get("name", Path(path).name.split(".")[0]))
        storage = self.scene.AddNewNodeByClass(_STORAGE[kind])
        storage.SetFileName(path)
        if not storage.ReadData(node):
            self.scene.RemoveNode(node)
            self.scene.RemoveNode(storage)
            raise RuntimeError(f"Failed to load node from file: {path}")
        node.SetAndObserveStorageNodeID(storage.GetID())
        node.CreateDefaultDisplayNodes()
        # In the application a Qt plugin does this, whenever a node is added.
        self.hierarchy().CreateItem(self.hierarchy().GetSceneItemID(), node)
        return node

    def _scripted(self) -> types.ModuleType:
        app = self

        class Module:
            def __init__(self, parent: Any) -> None:
                self.parent = parent

        class ModuleWidget:
            def __init__(self, parent: Any = None) -> None:
                self.parent = parent
                self.window = QtWidgets.QWidget()
                self.layout = QtWidgets.QVBoxLayout(self.window)

            def setup(self) -> None:
                pass

            def resourcePath(self, name: str) -> str:
                return str(MODULE / "Resources" / name)

        class Logic:
            def getParameterNode(self) -> Any:
                node = app.scene.GetSingletonNode("FedSeg", "vtkMRMLScriptedModuleNode")
                if node is None:
                    node = slicer_core.vtkMRMLScriptedModuleNode()
                    node.SetSingletonTag("FedSeg")
                    node = app.scene.AddNode(node)
                return node

        return _module(
            "scripted",
            ScriptedLoadableModule=Module,
            ScriptedLoadableModuleWidget=ModuleWidget,
            ScriptedLoadableModuleLogic=Logic,
        )


class Observer:
    """VTKObservationMixin."""

    def __init__(self) -> None:
        self._observations: list[tuple[Any, Any, Callable[..., None], int]] = []

    def addObserver(self, caller: Any, event: Any, slot: Callable[..., None]) -> None:
        assert not any(told[:3] == (caller, event, slot) for told in self._observations)
        self._observations.append((caller, event, slot, caller.AddObserver(event, slot)))

    def removeObserver(self, caller: Any, event: Any, slot: Callable[..., None]) -> None:
        for told in [told for told in self._observations if told[:3] == (caller, event, slot)]:
            caller.RemoveObserver(told[3])
            self._observations.remove(told)

    def removeObservers(self) -> None:
        for caller, _event, _slot, tag in self._observations:
            caller.RemoveObserver(tag)
        self._observations.clear()


_STORAGE = {
    "vtkMRMLScalarVolumeNode": "vtkMRMLVolumeArchetypeStorageNode",
    "vtkMRMLSegmentationNode": "vtkMRMLSegmentationStorageNode",
}
_LOGICS = (
    "vtkSlicerSubjectHierarchyModuleLogic",
    "vtkSlicerSegmentationsModuleLogic",
    "vtkSlicerVolumesLogic",
)
_KEPT: list[Any] = []
"""VTK objects that the one scene needs; a new scene for each test would register every class anew."""


def make_scene(folder: Path) -> Any:
    """The process's one scene, empty."""
    if not _KEPT:
        scene, application = slicer_core.vtkMRMLScene(), slicer_core.vtkSlicerApplicationLogic()
        _KEPT.extend((scene, application))
        application.SetMRMLScene(scene)
        cache, manager = slicer_core.vtkCacheManager(), slicer_core.vtkDataIOManager()
        manager.SetCacheManager(cache)
        scene.SetCacheManager(cache)
        scene.SetDataIOManager(manager)
        _KEPT.extend((cache, manager))
        for name in _LOGICS:
            logic = getattr(slicer_core, name)()
            logic.SetMRMLApplicationLogic(application)
            logic.SetMRMLScene(scene)
            _KEPT.append(logic)
    scene = _KEPT[0]
    scene.GetCacheManager().SetRemoteCacheDirectory(str(folder))
    scene.Clear(1)
    return scene


def _module(name: str, **values: Any) -> types.ModuleType:
    module = types.ModuleType(name)
    vars(module).update(values)
    return module


def _forget() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in ("FedSeg", "FedSegLib")]:
        if name == "FedSeg" or name == "FedSegLib.scene" or name.startswith("FedSegLib.panels"):
            module = sys.modules.pop(name)
            parent = sys.modules.get(name.rpartition(".")[0])
            if parent is not None:
                vars(parent).pop(name.rpartition(".")[2], None)
            del module


vtk.vtkObject.GlobalWarningDisplayOff()

# PySide gives back references to None that it never took. From Python 3.12 on that is harmless; before, None would be
# freed in the end, which kills the interpreter. A list that is never freed holds enough of them.
ctypes.pythonapi.Py_IncRef(ctypes.py_object([None] * 1_000_000))
