"""Reads a .ui file as Slicer does; an unknown class, property, signal or receiver fails."""

from __future__ import annotations

import types
from typing import Any
from xml.etree import ElementTree

from PySide6 import QtCore, QtUiTools, QtWidgets

from Testing.slicerapp.widgets import CLASSES, MRMLWidget

_OWN = {name for name in CLASSES if name.startswith(("ctk", "qMRML"))}


class Loader(QtUiTools.QUiLoader):
    """Makes the facade's classes; PySide would lose those that nothing in Python holds."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[Any] = []

    def createWidget(self, name: str, parent: Any = None, objectName: str = "") -> Any:
        widget = CLASSES[name](parent)
        widget.setObjectName(objectName)
        self.made.append(widget)
        return widget


def load_ui(path: str) -> Any:
    """The top-level widget; every other one is its descendant."""
    root = ElementTree.parse(path).getroot()
    later = []
    for element in root.iter("widget"):
        if element.attrib["class"] in _OWN:
            for told in [p for p in element.findall("property") if p.attrib.get("stdset") != "0"]:
                if told.attrib["name"] != "toolTip":
                    element.remove(told)
                    later.append((element.attrib["name"], told.attrib["name"], _value(told[0])))
    connections = root.find("connections")
    wired = [] if connections is None else [{c.tag: c.text for c in wire} for wire in connections]
    if connections is not None:
        root.remove(connections)
    unknown = {element.attrib["class"] for element in root.iter("widget")} - set(CLASSES)
    assert not unknown, f"the harness has no {unknown}"
    loader, buffer = Loader(), QtCore.QBuffer()
    buffer.setData(ElementTree.tostring(root))
    buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
    top = loader.load(buffer)
    assert top is not None, loader.errorString()
    top._made = loader.made
    names = {widget.objectName(): widget for widget in loader.made}
    for name, key, value in later:
        setattr(names[name], key, value)
    for wire in wired:
        assert (
            wire["signal"] == "mrmlSceneChanged(vtkMRMLScene*)"
            and wire["slot"] == "setMRMLScene(vtkMRMLScene*)"
        )
        sender = names[str(wire["sender"])]
        assert isinstance(sender, MRMLWidget)
        sender._receivers.append(names[str(wire["receiver"])])
    return top


def child_widgets(top: QtWidgets.QWidget) -> types.SimpleNamespace:
    """The descendants by name."""
    return types.SimpleNamespace(**{w.objectName(): w for w in top._made if w.objectName()})  # type: ignore[attr-defined]


def _value(element: ElementTree.Element) -> Any:
    if element.tag == "bool":
        return element.text == "true"
    if element.tag == "stringlist":
        return [item.text for item in element]
    return element.text
