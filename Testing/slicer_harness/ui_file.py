"""Reads a .ui file and refuses what Slicer's loader passes over in silence.

The widgets are made by name from `qt`, `ctk` and `slicer`. Each property must be one of the widget's class, each
connection must have both ends, a signal and a slot; Qt's own loader would drop what it does not know.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from PySide6 import QtCore, QtUiTools, QtWidgets


class UiLoader(QtUiTools.QUiLoader):
    """What `slicer.util.loadUI` loads with."""

    def __init__(self) -> None:
        super().__init__()
        self._made: list[Any] = []

    def load(self, file: QtCore.QFile) -> QtWidgets.QWidget:
        """The top-level widget of a file that is open for reading."""
        name = Path(file.fileName()).name
        root = ElementTree.fromstring(bytes(file.readAll().data()))
        _check_names(root, name)
        _check_values(root, name)
        connections, own = _take_connections(root), _take_own_properties(root)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(root))
        top = super().load(buffer)
        if top is None:
            raise RuntimeError(f"{name}: {self.errorString()}")
        children = {widget.objectName: widget for widget in self._made}
        for widget_name, property_name, value in own:
            _set_own(children[widget_name], property_name, value, name)
        for sender, signal, receiver, slot in connections:
            _connect(children, (sender, signal), (receiver, slot), name)
        for widget in self._made:
            del widget._is_strict
        for child in top.findChildren(QtCore.QObject):
            vars(top).pop(
                child.objectName, None
            )  # PySide6 offers the children as attributes, PythonQt does not
        top._children = children  # Python's half of each widget lives as long as the whole
        return top

    def createWidget(
        self, class_name: str, parent: QtWidgets.QWidget | None = None, name: str = ""
    ) -> QtWidgets.QWidget:
        """The widget of the class that modules know by this name."""
        widget = find_class(class_name)(parent)
        widget._is_strict = False
        widget.setObjectName(name)
        self._made.append(widget)
        return widget


def find_class(name: str) -> type:
    """A widget's class, from the module that Slicer has it in."""
    source = "ctk" if name.startswith("ctk") else "slicer" if name.startswith("q") else "qt"
    cls = getattr(sys.modules[source], name, None)
    if cls is None:
        raise RuntimeError(f"there is no widget {source}.{name}")
    return cls


def _check_names(root: ElementTree.Element, file: str) -> None:
    names = [element.attrib["name"] for element in root.iter("widget")]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise RuntimeError(f"{file}: several widgets are called {', '.join(sorted(twice))}")


def _take_connections(root: ElementTree.Element) -> list[tuple[str, str, str, str]]:
    """The connections, removed from the file: Qt cannot connect to what is written in Python."""
    found = []
    for section in root.findall("connections"):
        for wire in section.findall("connection"):
            found.append(tuple(wire.findtext(key, "") for key in ("sender", "signal", "receiver", "slot")))
        root.remove(section)
    return found


def _take_own_properties(root: ElementTree.Element) -> list[tuple[str, str, Any]]:
    """The properties of stand-ins, removed from the file: Qt cannot set what is written in Python."""
    found = []
    for element in root.iter("widget"):
        cls = find_class(element.attrib["class"])
        for told in element.findall("property"):
            name = told.attrib["name"]
            if told.attrib.get("stdset") != "0" and _base(cls).staticMetaObject.indexOfProperty(name) < 0:
                found.append((element.attrib["name"], name, _value(told[0])))
                element.remove(told)
    return found


def _base(cls: type) -> type:
    """The class of PySide6 below a stand-in, whose meta object is made once and stays."""
    return next(base for base in cls.__mro__ if base.__module__.startswith("PySide6"))


def _value(told: ElementTree.Element) -> Any:
    """The value of a property in its Python type; names of enumerations stay text."""
    if told.tag == "stringlist":
        return [item.text or "" for item in told]
    text = told.text or ""
    kinds = {"bool": lambda: text == "true", "number": lambda: int(text), "double": lambda: float(text)}
    return kinds.get(told.tag, lambda: text)()


def _set_own(widget: Any, name: str, value: Any, file: str) -> None:
    if not isinstance(getattr(type(widget), name, None), property):
        raise RuntimeError(f"{file}: {widget.objectName} ({type(widget).__name__}) has no property {name}")
    setattr(widget, name, value)


def _check_values(root: ElementTree.Element, file: str) -> None:
    """Every name of a value is known; Qt does not say when it cannot make sense of one."""
    for element in root.iter("widget"):
        for told in element.findall("property"):
            text = told[0].text or ""
            if told[0].tag in ("set", "enum") and not all(map(_knows, text.split("|"))):
                widget, name = element.attrib["name"], told.attrib["name"]
                raise RuntimeError(f"{file}: {widget} has no value {text} of {name}")


def _knows(value: str) -> bool:
    """Whether there is a value such as `Qt::PlainText`."""
    place, *words = value.split("::")
    source: Any = find_class(place)
    for word in words:
        source = getattr(source, word, None)
    return source is not None


def _connect(children: dict[str, Any], source: tuple[str, str], target: tuple[str, str], file: str) -> None:
    for name, _text in (source, target):
        if name not in children:
            raise RuntimeError(f"{file}: a connection of {name}, which is no widget of the file")
    slot = getattr(children[target[0]], target[1].partition("(")[0], None)
    if not callable(slot):
        raise RuntimeError(f"{file}: {target[0]} has no slot {target[1]}")
    try:
        children[source[0]].connect(source[1], slot)
    except ValueError as error:
        raise RuntimeError(f"{file}: {error}") from error
