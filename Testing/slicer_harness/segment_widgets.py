"""Stand-ins for Slicer's segmentation widgets: they record what they are given, and draw nothing."""

from __future__ import annotations

import sys
from typing import Any

import slicer_core as mrml
from PySide6 import QtCore

from .mrml_widgets import kept, qMRMLWidget

qt: Any = sys.modules["qt"]
ctk: Any = sys.modules["ctk"]


class qMRMLSegmentationShow3DButton(ctk.ctkMenuButton):
    """Shows a segmentation in 3D; here it makes the surface, as Slicer's does."""

    locked = kept("locked", False)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._node = None
        self._tags: list[int] = []
        self.text = "Show 3D"
        self.checkable = True
        self.setSegmentationNode(None)
        self.connect("toggled(bool)", self._show)

    def segmentationNode(self) -> Any:
        return self._node

    def setSegmentationNode(self, node: Any) -> None:
        segmentation = self._node.GetSegmentation() if self._node else None
        for tag in self._tags:
            segmentation.RemoveObserver(tag)
        self._node, self._tags = node, []
        if node is not None:
            events = (mrml.vtkSegmentation.ContainedRepresentationNamesModified,)
            self._tags = [node.GetSegmentation().AddObserver(event, self._update) for event in events]
        self._update()

    def setLocked(self, locked: bool) -> None:
        self.locked = locked

    def _update(self, *_event: Any) -> None:
        """Pressed while the segmentation has a surface."""
        segmentation = self._node.GetSegmentation() if self._node else None
        self.enabled = segmentation is not None and segmentation.GetNumberOfSegments() > 0
        surface = mrml.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
        wasBlocked = self.blockSignals(True)
        self.checked = segmentation is not None and segmentation.ContainsRepresentation(surface)
        self.blockSignals(wasBlocked)

    def _show(self, isShown: bool) -> None:
        if self._node is not None and isShown:
            self._node.CreateClosedSurfaceRepresentation()
        elif self._node is not None:
            self._node.RemoveClosedSurfaceRepresentation()


class qMRMLSegmentEditorWidget(qMRMLWidget):
    """The Segment Editor without effects; `calls` is what it was told, in order."""

    segmentationNodeChanged = QtCore.Signal(object)
    sourceVolumeNodeChanged = QtCore.Signal(object)
    currentSegmentIDChanged = QtCore.Signal(str)
    SIGNALS = (
        *qMRMLWidget.SIGNALS,
        "segmentationNodeChanged(vtkMRMLSegmentationNode*)",
        "sourceVolumeNodeChanged(vtkMRMLVolumeNode*)",
        "currentSegmentIDChanged(QString)",
    )
    addRemoveSegmentButtonsVisible = kept("addRemoveSegmentButtonsVisible", True)
    autoShowSourceVolumeNode = kept("autoShowSourceVolumeNode", True)
    maskingSectionVisible = kept("maskingSectionVisible", True)
    readOnly = kept("readOnly", False)
    segmentationNodeSelectorVisible = kept("segmentationNodeSelectorVisible", True)
    sourceVolumeNodeSelectorVisible = kept("sourceVolumeNodeSelectorVisible", True)
    show3DButtonVisible = kept("show3DButtonVisible", True)
    specifyGeometryButtonVisible = kept("specifyGeometryButtonVisible", True)
    switchToSegmentationsButtonVisible = kept("switchToSegmentationsButtonVisible", True)
    unorderedEffectsVisible = kept("unorderedEffectsVisible", True)
    undoEnabled = kept("undoEnabled", True)
    maximumNumberOfUndoStates = kept("maximumNumberOfUndoStates", 10)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._calls: list[tuple[str, Any]] = []
        self._node = self._effect = None
        qt.QVBoxLayout(self).addWidget(qt.QLabel("Segment Editor (stand-in)"))

    calls = property(lambda self: self._calls)

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        self._record("setMRMLSegmentEditorNode", node)
        self._node = node

    def mrmlSegmentEditorNode(self) -> Any:
        return self._node

    def setSegmentationNode(self, node: Any) -> None:
        self._record("setSegmentationNode", node)
        if self._hasNode(node):
            self._node.SetAndObserveSegmentationNode(node)
        self.segmentationNodeChanged.emit(node)

    def segmentationNode(self) -> Any:
        return self._node.GetSegmentationNode() if self._node else None

    def setSourceVolumeNode(self, node: Any) -> None:
        self._record("setSourceVolumeNode", node)
        if self._hasNode(node):
            self._node.SetAndObserveSourceVolumeNode(node)
        self.sourceVolumeNodeChanged.emit(node)

    def sourceVolumeNode(self) -> Any:
        return self._node.GetSourceVolumeNode() if self._node else None

    def setCurrentSegmentID(self, segmentID: str) -> None:
        self._record("setCurrentSegmentID", segmentID)
        if self._hasNode(segmentID):
            self._node.SetSelectedSegmentID(segmentID)
        self.currentSegmentIDChanged.emit(segmentID)

    def currentSegmentID(self) -> str:
        return self._node.GetSelectedSegmentID() or "" if self._node else ""

    def setActiveEffect(self, effect: Any) -> None:
        if effect is not None:
            raise NotImplementedError("the stand-in has no effects")
        self.setActiveEffectByName("")

    def setActiveEffectByName(self, name: str) -> None:
        self._record("setActiveEffectByName", name)
        self._effect = name or None

    def activeEffect(self) -> Any:
        return self._effect

    def setMaximumNumberOfUndoStates(self, number: int) -> None:
        self.maximumNumberOfUndoStates = number

    def setReadOnly(self, readOnly: bool) -> None:
        self.readOnly = readOnly

    def installKeyboardShortcuts(self, _parent: Any = None) -> None:
        self._record("installKeyboardShortcuts", None)

    def uninstallKeyboardShortcuts(self) -> None:
        self._record("uninstallKeyboardShortcuts", None)

    def _record(self, name: str, value: Any) -> None:
        self._calls.append((name, value))

    def _hasNode(self, value: Any) -> bool:
        if self._node is None and value:
            raise AssertionError(
                "setMRMLSegmentEditorNode must come first"
            )  # Slicer's logs an error, and is lost
        return self._node is not None


class qMRMLSegmentsTableView(qMRMLWidget):
    """The segments' names."""

    readOnly = kept("readOnly", False)
    headerVisible = kept("headerVisible", True)
    colorColumnVisible = kept("colorColumnVisible", True)
    opacityColumnVisible = kept("opacityColumnVisible", True)
    statusColumnVisible = kept("statusColumnVisible", False)
    visibilityColumnVisible = kept("visibilityColumnVisible", True)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._node = None
        self._list = qt.QListWidget()
        qt.QVBoxLayout(self).addWidget(self._list)

    def segmentationNode(self) -> Any:
        return self._node

    def setSegmentationNode(self, node: Any) -> None:
        self._node = node
        self._list.clear()
        if node is not None:
            segments = node.GetSegmentation()
            self._list.addItems([segments.GetSegment(name).GetName() for name in segments.GetSegmentIDs()])

    segmentCount = property(lambda self: self._list.count)

    def selectedSegmentIDs(self) -> list[str]:
        ids = self._node.GetSegmentation().GetSegmentIDs() if self._node else []
        return [ids[self._list.row(item)] for item in self._list.selectedItems()]
