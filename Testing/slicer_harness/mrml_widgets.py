"""Stand-ins for Slicer's MRML widgets, over the real scene."""

from __future__ import annotations

import sys
from typing import Any

import slicer_core as mrml
from PySide6 import QtCore

from .ctk_widgets import kept

qt: Any = sys.modules["qt"]

SCENE_EVENTS = (
    mrml.vtkMRMLScene.NodeAddedEvent,
    mrml.vtkMRMLScene.NodeRemovedEvent,
    mrml.vtkMRMLScene.EndImportEvent,
    mrml.vtkMRMLScene.EndCloseEvent,
    mrml.vtkMRMLScene.EndBatchProcessEvent,
)


class qMRMLWidget(qt.QWidget):
    """A widget that knows the scene."""

    mrmlSceneChanged = QtCore.Signal(object)
    SIGNALS = ("mrmlSceneChanged(vtkMRMLScene*)",)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene = None

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


class qSlicerWidget(qMRMLWidget):
    pass


class qMRMLNodeComboBox(qMRMLWidget):
    """The nodes of some classes, of which one is selected."""

    currentNodeChanged = QtCore.Signal(object)
    currentNodeIDChanged = QtCore.Signal(str)
    nodeActivated = QtCore.Signal(object)
    nodeAddedByUser = QtCore.Signal(object)
    SIGNALS = (
        "currentNodeChanged(vtkMRMLNode*)",
        "currentNodeIDChanged(QString)",
        "nodeActivated(vtkMRMLNode*)",
        "nodeAddedByUser(vtkMRMLNode*)",
    )
    addEnabled = kept("addEnabled", True)
    editEnabled = kept("editEnabled", False)
    removeEnabled = kept("removeEnabled", True)
    renameEnabled = kept("renameEnabled", False)
    selectNodeUponCreation = kept("selectNodeUponCreation", True)
    baseName = kept("baseName", "")
    sizeAdjustPolicy = kept("sizeAdjustPolicy", 0)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._nodeTypes: list[str] = []
        self._attributes: list[tuple[str, str, Any]] = []
        self._noneEnabled, self._noneDisplay = False, "None"
        self._showChildNodeTypes, self._hideChildNodeTypes, self._showHidden = True, [], False
        self._nodes: list[Any] = []
        self._currentID = ""
        self._observed: tuple[Any, list[int]] = (None, [])
        self._box = qt.QComboBox()
        layout = qt.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self._box.connect("activated(int)", self._onActivated)
        self.connect("destroyed()", self._leaveScene)

    nodeTypes = property(
        lambda self: self._nodeTypes, lambda self, value: self._filter("_nodeTypes", list(value))
    )
    noneEnabled = property(
        lambda self: self._noneEnabled, lambda self, value: self._filter("_noneEnabled", value)
    )
    noneDisplay = property(
        lambda self: self._noneDisplay, lambda self, value: self._filter("_noneDisplay", value)
    )
    showHidden = property(
        lambda self: self._showHidden, lambda self, value: self._filter("_showHidden", value)
    )
    showChildNodeTypes = property(
        lambda self: self._showChildNodeTypes, lambda self, value: self._filter("_showChildNodeTypes", value)
    )
    hideChildNodeTypes = property(
        lambda self: self._hideChildNodeTypes, lambda self, value: self._filter("_hideChildNodeTypes", value)
    )
    currentNodeID = property(lambda self: self._currentID, lambda self, value: self.setCurrentNodeID(value))

    def setMRMLScene(self, scene: Any) -> None:
        if scene is self._scene:
            return
        self._leaveScene()
        super().setMRMLScene(scene)
        if scene is not None:
            # A node can already be found in the scene when it says that it was added.
            self._observed = (scene, [scene.AddObserver(event, self._onScene) for event in SCENE_EVENTS])
        self._list()

    def addAttribute(self, nodeType: str, name: str, value: Any = None) -> None:
        self._attributes.append((nodeType, name, value))
        self._list()

    def currentNode(self) -> Any:
        return self._scene.GetNodeByID(self._currentID) if self._scene and self._currentID else None

    def setCurrentNode(self, node: Any) -> None:
        self.setCurrentNodeID(node.GetID() if node is not None else "")

    def setCurrentNodeID(self, nodeID: str | None) -> None:
        """Selects a node; one that is not listed, or None where none is not allowed, selects nothing."""
        known = nodeID if nodeID in [node.GetID() for node in self._nodes] else ""
        changed, self._currentID = known != self._currentID, known
        self._showCurrent()
        if changed:
            self._tellChange()

    def nodeCount(self) -> int:
        return len(self._nodes)

    def nodeFromIndex(self, index: int) -> Any:
        return self._nodes[index]

    def addNode(self, nodeType: str = "") -> Any:
        node = self._scene.AddNewNodeByClass(nodeType or self._nodeTypes[0], self.baseName)
        self.nodeAddedByUser.emit(node)
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        return node

    def removeCurrentNode(self) -> None:
        self._scene.RemoveNode(self.currentNode())

    def _filter(self, field: str, value: Any) -> None:
        setattr(self, field, value)
        self._list()

    def _leaveScene(self) -> None:
        scene, tags = self._observed
        for tag in tags:
            scene.RemoveObserver(tag)
        self._observed = (None, [])

    def _onScene(self, scene: Any, _event: str) -> None:
        if not scene.IsBatchProcessing():
            self._list()

    def _list(self) -> None:
        nodes = []
        if self._scene is not None:
            nodes = [self._scene.GetNthNode(place) for place in range(self._scene.GetNumberOfNodes())]
        self._nodes = [node for node in nodes if self._isListed(node)]
        labels = [node.GetName() or "" for node in self._nodes]
        wasBlocked = self._box.blockSignals(True)
        self._box.clear()
        self._box.addItems([self._noneDisplay, *labels] if self._noneEnabled else labels)
        self._box.blockSignals(wasBlocked)
        ids = [node.GetID() for node in self._nodes]
        lost = self._currentID != "" and self._currentID not in ids
        if lost or (not self._currentID and ids and not self._noneEnabled):
            self.setCurrentNodeID("" if self._noneEnabled or not ids else ids[0])
        else:
            self._showCurrent()

    def _isListed(self, node: Any) -> bool:
        if node.GetHideFromEditors() and not self._showHidden:
            return False
        kinds = [kind for kind in self._nodeTypes if node.IsA(kind)]
        if not self._showChildNodeTypes:
            kinds = [kind for kind in kinds if kind == node.GetClassName()]
        if any(node.IsA(kind) and kind not in kinds for kind in self._hideChildNodeTypes):
            return False
        wanted = [(name, value) for kind, name, value in self._attributes if node.IsA(kind)]
        return bool(kinds) and all(
            node.GetAttribute(name) is not None and value in (None, node.GetAttribute(name))
            for name, value in wanted
        )

    def _showCurrent(self) -> None:
        ids = ([""] if self._noneEnabled else []) + [node.GetID() for node in self._nodes]
        wasBlocked = self._box.blockSignals(True)
        self._box.currentIndex = ids.index(self._currentID) if self._currentID in ids else -1
        self._box.blockSignals(wasBlocked)

    def _onActivated(self, index: int) -> None:
        """The user chose a line."""
        place = index - int(self._noneEnabled)
        self.setCurrentNode(self._nodes[place] if place >= 0 else None)
        self.nodeActivated.emit(self.currentNode())

    def _tellChange(self) -> None:
        self.currentNodeChanged.emit(self.currentNode())
        self.currentNodeIDChanged.emit(self._currentID)
