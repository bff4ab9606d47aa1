"""Strict stand-ins for the few names of `slicer`, `qt` and `vtk` that the module uses.

They are no Qt and no MRML: they run the module's code and refuse what the real classes lack, an unknown property,
signal or method. The names were read from the headers of Slicer 5.10 and 5.13, CTK and Qt. What only the application
can show, such as layout, transforms and the reading of a segmentation, is not tested here.
"""

from __future__ import annotations

import importlib
import os
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_type_hints
from xml.etree import ElementTree

import FedSegLib
import pytest

MODULE = Path(__file__).parents[2] / "FedSegExtension" / "FedSeg"

WIDGET = ("enabled", "visible", "toolTip")
PROPERTIES: dict[str, tuple[str, ...]] = {
    "QLabel": ("text", "textFormat", "wordWrap", "textInteractionFlags"),
    "QPushButton": ("text",),
    "QComboBox": ("currentIndex",),
    "QProgressBar": ("value", "maximum"),
    "ctkCollapsibleButton": ("text", "collapsed"),
    "ctkPathLineEdit": ("currentPath", "filters", "settingKey"),
    "qMRMLNodeComboBox": ("nodeTypes", "showChildNodeTypes", "noneEnabled", "addEnabled", "removeEnabled"),
    "qMRMLSegmentationShow3DButton": ("text",),
    "qMRMLWidget": (),
}
SIGNALS: dict[str, tuple[str, ...]] = {
    "QPushButton": ("clicked(bool)",),
    "QComboBox": ("currentIndexChanged(int)",),
    "ctkPathLineEdit": ("currentPathChanged(QString)",),
    "qMRMLNodeComboBox": ("currentNodeChanged(vtkMRMLNode*)",),
    "qMRMLWidget": ("mrmlSceneChanged(vtkMRMLScene*)",),
    "QTimer": ("timeout()",),
}
CHANGES = {"currentIndex": "currentIndexChanged(int)", "currentPath": "currentPathChanged(QString)"}


class Sender:
    """What has signals."""

    def __init__(self, kind: str) -> None:
        self.__dict__.update(kind=kind, slots={}, blocked=False)

    def connect(self, signal: str, slot: Callable[..., None]) -> None:
        assert signal in SIGNALS.get(self.kind, ()), f"{self.kind} has no signal {signal}"
        self.slots.setdefault(signal, []).append(slot)

    def emit(self, signal: str, *values: Any) -> None:
        if not self.blocked:
            for slot in self.slots.get(signal, []):
                slot(*values)


class Timer(Sender):
    """A timer whose time is when the test says so."""

    def __init__(self) -> None:
        super().__init__("QTimer")
        self.running = False

    def setInterval(self, milliseconds: int) -> None:
        assert milliseconds <= 100

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False


class Widget(Sender):
    """A widget of the .ui file."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(kind)
        values = {"enabled": True, "visible": True, "currentPath": "", "text": "", "currentIndex": -1}
        self.__dict__.update(name=name, values=values, dynamic={}, items=[], node=None)

    def __getattr__(self, name: str) -> Any:
        assert name in WIDGET + PROPERTIES[self.kind], f"{self.kind} has no property {name}"
        return self.values[name]

    def __setattr__(self, name: str, value: Any) -> None:
        assert name in WIDGET + PROPERTIES[self.kind], f"{self.kind} has no property {name}"
        changed = self.values.get(name) != value
        self.values[name] = value
        if changed and name in CHANGES:
            self.emit(CHANGES[name], value)

    def property(self, name: str) -> Any:
        return self.dynamic.get(name)

    def blockSignals(self, block: bool) -> bool:
        before, self.__dict__["blocked"] = self.blocked, block
        return before

    def _only(self, kind: str) -> None:
        assert self.kind == kind, f"{self.kind} is no {kind}"

    def clear(self) -> None:
        self._only("QComboBox")
        self.items.clear()
        self.currentIndex = -1

    def addItems(self, names: list[str]) -> None:
        self._only("QComboBox")
        assert all(isinstance(name, str) for name in names)
        self.items.extend(names)
        if self.currentIndex < 0 and names:
            self.currentIndex = 0

    def setSegmentationNode(self, node: Any) -> None:
        self._only("qMRMLSegmentationShow3DButton")
        self.__dict__["node"] = node

    def setMRMLScene(self, scene: Any) -> None:
        self._only("qMRMLWidget")

    def click(self) -> None:
        """As a user would."""
        assert self.enabled and self.visible, f"{self.name} cannot be clicked"
        self.emit("clicked(bool)", False)


class Display:
    """A volume's display node."""

    def __init__(self) -> None:
        self.told: dict[str, tuple[Any, ...]] = {}

    def __getattr__(self, name: str) -> Callable[..., None]:
        assert name in {
            "SetAndObserveColorNodeID",
            "SetAutoWindowLevel",
            "SetWindowLevelMinMax",
            "SetAutoThreshold",
            "SetThreshold",
            "SetApplyThreshold",
        }, name
        return lambda *values: self.told.__setitem__(name, values)


class Node:
    """A node of the scene."""

    def __init__(self, kind: str, name: str, *, file: Path | None = None) -> None:
        self.kind, self.name, self.file = kind, name, file
        self.attributes: dict[str, str] = {}
        self.display, self.storage, self.reference, self.image = Display(), None, None, object()
        self.id = ""

    def GetID(self) -> str:
        return self.id

    def GetName(self) -> str:
        return self.name

    def GetImageData(self) -> object:
        return self.image

    def GetDisplayNode(self) -> Display:
        return self.display

    def GetStorageNode(self) -> Node | None:
        return self.storage

    def SetAttribute(self, key: str, value: str) -> None:
        assert isinstance(value, str)
        self.attributes[key] = value

    def SetReferenceImageGeometryParameterFromVolumeNode(self, volume: Node) -> None:
        assert self.kind == "vtkMRMLSegmentationNode"
        self.reference = volume


class Scene:
    """Nodes by their ids, and the two events of closing."""

    StartCloseEvent, EndCloseEvent = 1, 2

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.folders: dict[str, int] = {}

    def add(self, node: Node) -> Node:
        node.id = f"{node.kind}{len(self.nodes) + 1}"
        self.nodes[node.id] = node
        return node

    def of(self, kind: str) -> list[Node]:
        return [node for node in self.nodes.values() if node.kind == kind]

    def GetNodeByID(self, name: str) -> Node | None:
        return self.nodes.get(name)

    def GetFirstNodeByClass(self, kind: str) -> Node | None:
        return next(iter(self.of(kind)), None)

    def RemoveNode(self, node: Node) -> None:
        del self.nodes[node.id]
        for other in self.nodes.values():
            if other.storage is node:
                other.storage = None

    # The subject hierarchy's three methods; an item is known by its node.
    def GetItemByDataNode(self, node: Node) -> str:
        return node.id

    def GetItemParent(self, item: str) -> int:
        return self.folders.get(item, 0)

    def SetItemParent(self, item: str, parent: int) -> None:
        self.folders[item] = parent


class Slicer:
    """The application: its modules stand in `sys.modules` until the test ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.scene, self.settings, self.layers = Scene(), {}, {}
        self.observers: list[tuple[Any, Any, Callable[..., None]]] = []
        self.parameters: dict[str, Any] = {}
        self.environment = dict(os.environ)
        self.exported: list[Node] = []
        for name, module in self._modules().items():
            monkeypatch.setitem(sys.modules, name, module)
        _forget()
        self.module = importlib.import_module("FedSeg")

    def close(self) -> None:
        """Nothing of the module outlives the stand-ins that it was loaded over."""
        _forget()

    def volume(self, name: str = "Patient Smith") -> Node:
        """A volume in the scene, in folder 7 of the subject hierarchy."""
        node = self.scene.add(Node("vtkMRMLScalarVolumeNode", name))
        self.scene.folders[node.id] = 7
        return node

    def panel(self) -> Any:
        """The module's widget, open."""
        widget = self.module.FedSegWidget()
        widget.setup()
        return widget

    def invoke(self, caller: Any, event: Any) -> None:
        for observed, awaited, slot in list(self.observers):
            if observed is caller and awaited == event:
                slot(caller, event)

    def closeScene(self) -> None:
        self.invoke(self.scene, Scene.StartCloseEvent)
        self.scene.nodes.clear()
        self.parameters.clear()
        self.invoke(self.scene, Scene.EndCloseEvent)

    def _modules(self) -> dict[str, types.ModuleType]:
        modified = "ModifiedEvent"
        return {
            "slicer": _module(
                "slicer",
                mrmlScene=self.scene,
                util=self._util(),
                vtkMRMLScalarVolumeNode=Node,
                vtkMRMLSubjectHierarchyNode=_Names(GetSubjectHierarchyNode=lambda scene: scene),
            ),
            "slicer.util": self._util(),
            "slicer.i18n": _module("i18n", tr=lambda text: text, translate=lambda context, text: text),
            "slicer.parameterNodeWrapper": _module("wrapper", parameterNodeWrapper=self._wrap),
            "slicer.ScriptedLoadableModule": self._scripted(),
            "qt": _module("qt", QTimer=Timer, QSettings=lambda: _Names(setValue=self.settings.__setitem__)),
            "vtk": _module("vtk", vtkCommand=_Names(ModifiedEvent=modified)),
        }

    def _util(self) -> types.ModuleType:
        app = self

        class VTKObservationMixin:
            def addObserver(self, caller: Any, event: Any, slot: Callable[..., None]) -> None:
                assert (caller, event, slot) not in app.observers
                app.observers.append((caller, event, slot))

            def removeObserver(self, caller: Any, event: Any, slot: Callable[..., None]) -> None:
                app.observers.remove((caller, event, slot))

            def removeObservers(self) -> None:
                app.observers.clear()

        return _module(
            "slicer.util",
            VTKObservationMixin=VTKObservationMixin,
            exportNode=self._export,
            loadSegmentation=lambda path, told: self._load("vtkMRMLSegmentationNode", path, told),
            loadVolume=lambda path, told: self._load("vtkMRMLScalarVolumeNode", path, told),
            loadUI=read_ui,
            childWidgetVariables=lambda ui: _Names(**ui.dynamic["children"]),
            settingsValue=self.settings.get,
            startupEnvironment=lambda: dict(self.environment),
            setSliceViewerLayers=lambda **layers: self.layers.update(layers),
        )

    def _export(self, node: Node, path: str, told: Mapping[str, Any], world: bool) -> bool:
        assert isinstance(path, str) and world
        self.exported.append(node)
        Path(path).write_bytes(b"voxels" if node.file is None else node.file.read_bytes())
        return True

    def _load(self, kind: str, path: str, told: Mapping[str, Any]) -> Node:
        assert isinstance(path, str)
        if not Path(path).is_file():
            raise RuntimeError(f"Failed to load node from file: {path}")
        node = self.scene.add(Node(kind, told["name"]))
        node.image = Path(path).read_bytes()
        node.storage = self.scene.add(Node("storage", path))
        if kind == "vtkMRMLScalarVolumeNode":
            assert told["show"] is False, "loading must not replace what the user looks at"
        return node

    def _scripted(self) -> types.ModuleType:
        app = self

        class Module:
            def __init__(self, parent: Any) -> None:
                self.parent = parent

        class ModuleWidget:
            def __init__(self, parent: Any = None) -> None:
                self.parent = parent or _Names(isEntered=True)
                self.layout = _Names(addWidget=lambda widget: None)

            def setup(self) -> None:
                pass

            def resourcePath(self, name: str) -> str:
                return str(MODULE / "Resources" / name)

        class Logic:
            def getParameterNode(self) -> dict[str, Any]:
                return app.parameters

        return _module(
            "scripted",
            ScriptedLoadableModule=Module,
            ScriptedLoadableModuleWidget=ModuleWidget,
            ScriptedLoadableModuleLogic=Logic,
        )

    def _wrap(self, fields: type) -> type:
        """The parameters as attributes; who observes them hears of every change."""
        app, names = self, get_type_hints(fields)

        class Wrapped:
            def __init__(self, stored: dict[str, Any]) -> None:
                self.__dict__["stored"] = stored

            def __getattr__(self, name: str) -> Any:
                assert name in names, f"no parameter {name}"
                return self.stored.get(name, getattr(fields, name, None))

            def __setattr__(self, name: str, value: Any) -> None:
                assert name in names, f"no parameter {name}"
                assert value is None or isinstance(value, names[name])
                if self.stored.get(name, getattr(fields, name, None)) != value:
                    self.stored[name] = value
                    app.invoke(self, "ModifiedEvent")

            def connectGui(self, ui: Any) -> int:
                bound = [w.property("SlicerParameterName") for w in vars(ui).values()]
                assert {name for name in bound if name} <= set(names)
                return 1

            def disconnectGui(self, tag: int) -> None:
                assert tag == 1

        return Wrapped


def _forget() -> None:
    for name in ("FedSeg", "FedSegLib.scene"):
        sys.modules.pop(name, None)
    vars(FedSegLib).pop("scene", None)


class _Names:
    """Whatever was given, under its names."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


def _module(name: str, **values: Any) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__dict__.update(values)
    return module


def read_ui(path: str) -> Widget:
    """The .ui file's widgets; an unknown class, property or signal fails."""
    root = ElementTree.parse(path).getroot()
    children = {}
    for element in root.iter("widget"):
        widget = Widget(element.attrib["class"], element.attrib["name"])
        for told in element.findall("property"):
            value = told[0].text
            if told.attrib.get("stdset") == "0":
                widget.dynamic[told.attrib["name"]] = value
            elif told[0].tag in ("string", "set", "enum"):
                setattr(widget, told.attrib["name"], value)
            else:
                assert told.attrib["name"] in WIDGET + PROPERTIES[widget.kind]
        assert widget.name not in children, f"two widgets are called {widget.name}"
        children[widget.name] = widget
    for wire in root.iter("connection"):
        sender = children[wire.findtext("sender", "")]
        assert wire.findtext("signal") in SIGNALS[sender.kind]
        assert wire.findtext("receiver") in children
    top = children[root.findtext("class", "")]
    top.dynamic["children"] = children
    return top
