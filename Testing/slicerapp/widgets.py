"""Stand-ins for the widgets of CTK and Slicer that the module uses; they keep what they are told and look plain."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtWidgets

from Testing.slicerapp.qtfacade import WIDGETS, mannered

_Widget: Any = WIDGETS["QWidget"]


class Collapsible(mannered(QtWidgets.QGroupBox)):  # type: ignore[misc]
    """ctkCollapsibleButton: a title that folds what is below."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._collapsed = False

    @property
    def text(self) -> str:
        return str(self.title)

    @text.setter
    def text(self, value: str) -> None:
        self.title = value

    @property
    def collapsed(self) -> bool:
        return self._collapsed

    @collapsed.setter
    def collapsed(self, value: bool) -> None:
        self._collapsed = value
        self.setMaximumHeight(24 if value else 16777215)


class PathLineEdit(_Widget):
    """ctkPathLineEdit: a path that is typed or browsed for."""

    changed = QtCore.Signal(str)
    aliases = {"currentPathChanged(QString)": "changed"}

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._edit = QtWidgets.QLineEdit(self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._edit)
        layout.addWidget(QtWidgets.QToolButton(self, text="..."))
        self._edit.textChanged.connect(self.changed)
        self._told: dict[str, Any] = {}

    @property
    def currentPath(self) -> str:
        return self._edit.text()

    @currentPath.setter
    def currentPath(self, value: str) -> None:
        assert isinstance(value, str)
        self._edit.setText(value)

    filters = settingKey = nameFilters = property(lambda self: None, lambda self, value: None)


class MRMLWidget(_Widget):
    """qMRMLWidget: hands its scene to those of its children that the .ui file connects."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._receivers: list[Any] = []

    def setMRMLScene(self, scene: Any) -> None:
        for receiver in self._receivers:
            receiver.setMRMLScene(scene)


class NodeComboBox(WIDGETS["QComboBox"]):  # type: ignore[misc, valid-type]
    """qMRMLNodeComboBox over the real scene."""

    changed = QtCore.Signal(object)
    aliases = {"currentNodeChanged(vtkMRMLNode*)": "changed"}
    nodeTypes: Any = ()
    showChildNodeTypes = noneEnabled = True
    addEnabled = removeEnabled = True

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._ids: list[str | None] = []
        self._tags: list[int] = []
        self.currentIndexChanged.connect(lambda place: self.changed.emit(self.currentNode()))

    def setMRMLScene(self, scene: Any) -> None:
        assert self._scene is None and self.noneEnabled and not self.addEnabled and not self.removeEnabled
        self._scene = scene
        for event in (
            scene.NodeAddedEvent,
            scene.NodeRemovedEvent,
            scene.EndCloseEvent,
            scene.EndImportEvent,
        ):
            scene.AddObserver(event, lambda caller, event: self._fill())
        self._fill()

    def currentNode(self) -> Any:
        place = self.currentIndex
        chosen = self._ids[place] if 0 <= place < len(self._ids) else None
        return self._scene.GetNodeByID(chosen) if chosen else None

    def setCurrentNode(self, node: Any) -> None:
        chosen = node.GetID() if node is not None else None
        self.setCurrentIndex(self._ids.index(chosen) if chosen in self._ids else 0)

    def _fill(self) -> None:
        before = self.currentNode()
        nodes = [self._scene.GetNthNode(place) for place in range(self._scene.GetNumberOfNodes())]
        found = [n for n in nodes if n.GetClassName() in self.nodeTypes and not n.GetHideFromEditors()]
        blocked = self.blockSignals(True)
        self.clear()
        self._ids = [None, *(node.GetID() for node in found)]
        self.addItems(["None", *(node.GetName() for node in found)])
        self.setCurrentNode(before)
        self.blockSignals(blocked)
        if before is not self.currentNode():
            self.changed.emit(self.currentNode())


class Show3DButton(WIDGETS["QPushButton"]):  # type: ignore[misc, valid-type]
    """qMRMLSegmentationShow3DButton, which remembers its node."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._node: Any = None

    def setSegmentationNode(self, node: Any) -> None:
        self._node = node


class SegmentEditor(WIDGETS["QLabel"]):  # type: ignore[misc, valid-type]
    """qMRMLSegmentEditorWidget, which remembers what it is to edit; it has no effects."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__("(Segment Editor)", parent)
        self._told: dict[str, Any] = {}

    def setMRMLScene(self, scene: Any) -> None:
        self._told["scene"] = scene

    def setMaximumNumberOfUndoStates(self, number: int) -> None:
        self._told["undo"] = number

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        assert self._told.get("scene") is not None
        self._told["editor"] = node

    def setSegmentationNode(self, node: Any) -> None:
        assert node is None or self._told.get("editor") is not None
        self._told["segmentation"] = node

    def setSourceVolumeNode(self, node: Any) -> None:
        assert node is None or self._told.get("segmentation") is not None
        self._told["volume"] = node

    def setActiveEffect(self, effect: Any) -> None:
        assert effect is None


CLASSES: dict[str, type] = WIDGETS | {
    "ctkCollapsibleButton": Collapsible,
    "ctkPathLineEdit": PathLineEdit,
    "qMRMLWidget": MRMLWidget,
    "qMRMLNodeComboBox": NodeComboBox,
    "qMRMLSegmentationShow3DButton": Show3DButton,
    "qMRMLSegmentEditorWidget": SegmentEditor,
}
