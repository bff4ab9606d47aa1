"""`slicer.app`: one Qt application with a scene, logics, settings and modules, without a main window."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import slicer_core as mrml
from PySide6 import QtCore
from vtkmodules.util.misc import calldata_type
from vtkmodules.vtkCommonCore import VTK_OBJECT

from .core_io import qSlicerCoreIOManager
from .scripted import qSlicerModuleManager

qt: Any = sys.modules["qt"]
ctk: Any = sys.modules["ctk"]

LOGICS = {
    "Colors": mrml.vtkSlicerColorLogic,
    "Volumes": mrml.vtkSlicerVolumesLogic,
    "Segmentations": mrml.vtkSlicerSegmentationsModuleLogic,
    "SubjectHierarchy": mrml.vtkSlicerSubjectHierarchyModuleLogic,
    "Models": mrml.vtkSlicerModelsLogic,
    "Transforms": mrml.vtkSlicerTransformLogic,
    "Tables": mrml.vtkSlicerTablesLogic,
    "Texts": mrml.vtkSlicerTextsLogic,
    "Markups": mrml.vtkSlicerMarkupsLogic,
}


COLORS = "0 background 0 0 0 0\n1 tissue 128 174 128 255\n2 bone 241 214 145 255\n"
"""The beginning of the colour table that label maps are shown in."""


class SubjectHierarchy:
    """Gives each node that a user sees its item and takes it away again, as Slicer's plugins do."""

    def __init__(self, scene: Any) -> None:
        mrml.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        for event in (scene.NodeAddedEvent, scene.EndImportEvent):
            scene.AddObserver(event, self._complete)
        scene.AddObserver(scene.NodeAboutToBeRemovedEvent, self._forget)

    def _complete(self, scene: Any, _event: str) -> None:
        if scene.IsImporting():
            return  # the file has the items
        hierarchy = mrml.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        for place in range(scene.GetNumberOfNodesByClass("vtkMRMLDisplayableNode")):
            node = scene.GetNthNodeByClass(place, "vtkMRMLDisplayableNode")
            if not node.GetHideFromEditors() and not hierarchy.GetItemByDataNode(node):
                hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

    @calldata_type(VTK_OBJECT)
    def _forget(self, scene: Any, _event: str, node: Any) -> None:
        if scene.IsClosing() or node.IsA("vtkMRMLSubjectHierarchyNode"):
            return
        hierarchy = scene.GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode")
        item = hierarchy.GetItemByDataNode(node) if hierarchy else 0
        if item:
            hierarchy.RemoveItem(item, False, False)


class qSlicerApplication(qt.QApplication):
    """The application, as far as a module without a main window sees it."""

    startupCompleted = QtCore.Signal()
    mrmlSceneChanged = QtCore.Signal(object)
    SIGNALS = (
        "startupCompleted()",
        "mrmlSceneChanged(vtkMRMLScene*)",
    )

    def __init__(self, folder: Path, *, isTesting: bool) -> None:
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
        QtCore.QSettings.setPath(
            QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, str(folder / "settings")
        )
        super().__init__(["Slicer"])
        self.setOrganizationName("slicer.org")
        self.setApplicationName("Slicer")
        self._folder, self._isTesting = folder, isTesting
        self._options = SimpleNamespace(runPythonAndExit=isTesting, noMainWindow=True)
        self._environment = dict(os.environ)  # of the time before Slicer started; tests change it
        self._scene, self._logic = mrml.vtkMRMLScene(), mrml.vtkSlicerApplicationLogic()
        self._boot()
        self._io = qSlicerCoreIOManager(self)
        self._modules = qSlicerModuleManager()
        self._exitCode: int | None = None

    slicerHome = property(lambda self: str(self._folder / "home"))
    cachePath = property(lambda self: str(self._folder / "cache"))
    temporaryPath = property(lambda self: str(self._folder / "temporary"))
    slicerUserSettingsFilePath = property(lambda self: qt.QSettings().fileName())
    slicerRevisionUserSettingsFilePath = property(lambda self: qt.QSettings().fileName())
    documentationBaseUrl = property(lambda self: "https://slicer.readthedocs.io/en/latest/")
    exitCode = property(lambda self: self._exitCode)

    def mrmlScene(self) -> Any:
        return self._scene

    def applicationLogic(self) -> Any:
        return self._logic

    def moduleLogic(self, name: str) -> Any:
        return self._logics.get(name)

    def coreIOManager(self) -> Any:
        return self._io

    ioManager = coreIOManager

    def moduleManager(self) -> Any:
        return self._modules

    def layoutManager(self) -> None:
        """The main window sets it, and there is none."""

    def testingEnabled(self) -> bool:
        return self._isTesting

    def commandOptions(self) -> Any:
        return self._options

    def settings(self) -> Any:
        return ctk.ctkSettings()

    userSettings = revisionUserSettings = settings

    def startupEnvironment(self) -> Any:
        told = qt.QProcessEnvironment()
        for key, value in self._environment.items():
            told.insert(key, value)
        return told

    def moduleDocumentationUrl(self, name: str) -> str:
        return f"{self.documentationBaseUrl}user_guide/modules/{name.lower()}.html"

    def exit(self, code: int = 0) -> None:
        """Asks the application to end; what runs goes on to its end."""
        self._exitCode = code
        QtCore.QCoreApplication.exit(code)

    quit = exit

    def restart(self) -> None:
        raise AssertionError("the application would start anew")

    def emptyScene(self) -> None:
        """A scene as at the start, for the next test: closing leaves singletons, which belong to modules too."""
        self._scene.Clear(False)
        nodes = [self._scene.GetNthNode(place) for place in range(self._scene.GetNumberOfNodes())]
        for node in nodes:
            if node.GetID() not in self._ownNodes:
                self._scene.RemoveNode(node)

    def _boot(self) -> None:
        for name in ("home/share/ColorFiles", "temporary", "cache", "settings"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        (self._folder / "home/share/ColorFiles/GenericColors.txt").write_text(COLORS)
        self._scene.SetRootDirectory(str(self._folder))
        self._logic.SetHomeDirectory(self.slicerHome)
        self._logic.SetShareDirectory("share")
        self._logic.SetTemporaryPath(self.temporaryPath)
        self._logic.SetMRMLScene(self._scene)
        self._logics = {
            name: make() for name, make in LOGICS.items()
        }  # the application's logic does not keep them
        for name, logic in self._logics.items():
            logic.SetMRMLApplicationLogic(self._logic)
            self._logic.SetModuleLogic(name, logic)
            logic.SetMRMLScene(self._scene)
        # Without them a scene cannot be read from a bundle.
        cache, files = mrml.vtkCacheManager(), mrml.vtkDataIOManager()
        cache.SetRemoteCacheDirectory(str(self._folder / "cache"))
        files.SetCacheManager(cache)
        self._scene.SetCacheManager(cache)
        self._scene.SetDataIOManager(files)
        # What the slice views show is kept in one such node a view; the views themselves are the main window's.
        view = self._scene.CreateNodeByClass("vtkMRMLSliceCompositeNode")
        view.UnRegister(None)
        view.SetLayoutName("Red")
        view.SetSingletonTag("Red")
        self._scene.AddNode(view)
        self._hierarchy = SubjectHierarchy(self._scene)
        count = self._scene.GetNumberOfNodes()
        self._ownNodes = {self._scene.GetNthNode(place).GetID() for place in range(count)}
