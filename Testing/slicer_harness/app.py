"""What tests do with the application: open a module, load volumes, click, wait, look."""

from __future__ import annotations

import importlib
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from .boot import boot
from .dialogs import DIALOGS, Asked

MODULE = Path(__file__).parents[2] / "FedSegExtension" / "FedSeg"
SIZE = (440, 900)
"""Of a module's panel, in pixels, about as in Slicer."""


class App:
    """The one application of the process, with an empty scene for each test.

    Args:
        folder: receives settings and temporary files.
    """

    def __init__(self, folder: Path) -> None:
        self.slicer = boot(folder, is_testing=False)
        self.errors: list[str] = []
        self._environment = dict(self.environment)

    @property
    def scene(self) -> Any:
        """The MRML scene."""
        return self.slicer.mrmlScene

    @property
    def qt(self) -> Any:
        """The module `qt`."""
        return sys.modules["qt"]

    @property
    def environment(self) -> MutableMapping[str, str]:
        """The variables of the time before Slicer started."""
        return self.slicer.app._environment

    @property
    def settings(self) -> Any:
        """The user's settings, empty at the beginning of a test."""
        return self.qt.QSettings()

    @property
    def asked(self) -> list[Asked]:
        """What dialogs told and asked so far."""
        return DIALOGS.asked

    @property
    def answers(self) -> deque[Any]:
        """What the user will answer: True or False to a question, a path, or a list of paths, to a file dialog."""
        return DIALOGS.answers

    @property
    def module(self) -> ModuleType:
        """The Python module in which FedSeg's classes stand."""
        return importlib.import_module("FedSeg")

    def open(self, name: str = "FedSeg") -> Any:
        """Goes to a module; the Python object of its panel."""
        representation = self.load_module(name).widgetRepresentation()
        representation.resize(*SIZE)
        representation.show()
        representation.enter()
        self.pump()
        return representation.self()

    def load_module(self, name: str = "FedSeg") -> Any:
        """A module of FedSegExtension as the application knows it, without its panel."""
        manager = self.slicer.app.moduleManager()
        return manager.module(name) or manager.load(MODULE.parent / name / f"{name}.py")

    def volume(self, name: str = "Patient Smith", *, matrix: Any = None) -> Any:
        """A small volume in a folder of the subject hierarchy.

        Args:
            matrix: a vtkMatrix4x4 from voxel to RAS; none given: a plain one.
        """
        voxels = np.arange(4 * 5 * 6, dtype=np.int16).reshape(6, 5, 4)
        node = self.slicer.util.addVolumeFromArray(voxels, name=name)
        if matrix is not None:
            node.SetIJKToRASMatrix(matrix)
        hierarchy = self.hierarchy()
        patient = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "patient")
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), patient)
        return node

    def load(self, path: Path, name: str = "Patient Smith") -> Any:
        """A volume, read from a file."""
        return self.slicer.util.loadVolume(str(path), {"name": name, "show": False})

    def export(self, node: Any, path: Path) -> bool:
        """Writes a node as it lies in the world."""
        return bool(self.slicer.util.exportNode(node, str(path), {}, world=True))

    def hierarchy(self) -> Any:
        """The subject hierarchy."""
        return self.slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)

    def save(self, path: Path) -> None:
        """The scene as one file."""
        assert self.slicer.util.saveScene(str(path), {})

    def close_scene(self) -> None:
        """As the user does from the menu."""
        self.scene.Clear(False)

    def reopen(self, path: Path) -> None:
        """Closes the scene and opens a saved one."""
        self.close_scene()
        self.slicer.util.loadScene(str(path), {})

    def nodes(self, kind: str) -> list[Any]:
        """The nodes of a class that a user sees."""
        return [node for node in self.slicer.util.getNodesByClass(kind) if not node.GetHideFromEditors()]

    @property
    def layers(self) -> dict[str, Any]:
        """The volume nodes, or None, that the slice views show, and the foreground's opacity."""
        view = self.scene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
        ids = {"background": view.GetBackgroundVolumeID(), "foreground": view.GetForegroundVolumeID()}
        nodes = {layer: self.scene.GetNodeByID(found) if found else None for layer, found in ids.items()}
        return {**nodes, "foregroundOpacity": view.GetForegroundOpacity()}

    def click(self, button: Any) -> None:
        """As a user would, with the mouse; one that cannot be seen or pressed is an error."""
        from PySide6.QtCore import Qt
        from PySide6.QtTest import QTest

        assert button.isVisible() and button.isEnabled(), f"{button.objectName} cannot be clicked"
        QTest.mouseClick(button, Qt.LeftButton)

    def pump(self) -> None:
        """Lets the application do what waits."""
        self.slicer.app.processEvents()

    def wait(self, until: Callable[[], Any], seconds: float = 10) -> None:
        """Lets the application run until something is true; an error if that takes too long."""
        end = time.monotonic() + seconds
        while not until():
            if time.monotonic() > end:
                raise AssertionError(f"it did not happen within {seconds} s")
            self.pump()
            time.sleep(0.002)

    @contextmanager
    def session(self) -> Iterator[App]:
        """One test: begins with an empty scene, no settings and no module; fails if a callback failed."""
        hook, sys.excepthook = sys.excepthook, self._record
        try:
            self._reset()
            yield self
            self._unload()
            errors, self.errors = self.errors, []
            assert not errors, "errors in callbacks:\n" + "\n".join(errors)
        finally:
            self._unload()
            sys.excepthook = hook

    def _record(self, kind: type[BaseException], error: BaseException, trace: Any) -> None:
        self.errors.append("".join(traceback.format_exception(kind, error, trace)))

    def _reset(self) -> None:
        self.errors.clear()
        DIALOGS.clear()
        self.settings.clear()
        self.environment.clear()
        self.environment.update(self._environment)
        self.slicer.app.emptyScene()

    def _unload(self) -> None:
        manager = self.slicer.app.moduleManager()
        for name in manager.modulesNames():
            manager.unload(name)
        self.pump()


_STARTED: list[App] = []


def start(folder: Path) -> App:
    """The application, started when it is first asked for; a process has one.

    Args:
        folder: receives its files, for as long as the process lasts.
    """
    if not _STARTED:
        _STARTED.append(App(folder))
    return _STARTED[0]
