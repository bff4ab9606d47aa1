"""`qt` over PySide6 with PythonQt's manners: properties are attributes, signals are connected by their signature.

Only the classes that the module uses. A name, property or signal that the real class lacks is an error here too.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

_LEFT = {"sizeHint", "minimumSizeHint", "parent", "layout", "pos", "rect", "childrenRect", "objectName"}
"""Properties that Qt itself calls as methods, or that PythonQt gives as methods."""


class Manners:
    """What PythonQt adds to every QObject."""

    aliases: dict[str, str] = {}
    """Signals of stand-ins whose signature names a type that PySide does not know -> the Python signal."""

    def __init_subclass__(cls) -> None:
        # PySide looks for `connect` in the class itself, not in what it inherits.
        cls.connect = Manners.connect  # type: ignore[method-assign]

    def connect(self, signal: str, slot: Callable[..., Any]) -> bool:
        if signal in self.aliases:
            getattr(self, self.aliases[signal]).connect(slot)
            return True
        normalized = QtCore.QMetaObject.normalizedSignature(signal)
        normalized = bytes(normalized.data()).decode() if hasattr(normalized, "data") else str(normalized)
        assert self.metaObject().indexOfSignal(normalized) >= 0, (
            f"{type(self).__name__} has no signal {signal}"
        )
        return bool(QtCore.QObject.connect(self, QtCore.SIGNAL(normalized), slot))

    def __setattr__(self, name: str, value: Any) -> None:
        # PySide's loader of .ui files makes children attributes of the top-level widget.
        known = hasattr(type(self), name) or name.startswith("_") or isinstance(value, QtCore.QObject)
        assert known, f"{type(self).__name__} has no property {name}"
        super().__setattr__(name, value)


def mannered(kind: type, **more: Any) -> type:
    """A class of Qt whose properties are attributes."""
    meta = kind.staticMetaObject
    names = {meta.property(place).name() for place in range(meta.propertyCount())} - _LEFT
    attributes = {name: _attribute(name) for name in names}
    return type(kind.__name__, (Manners, kind), attributes | more)


def _attribute(name: str) -> property:
    def read(self: Any) -> Any:
        return QtCore.QObject.property(self, name)

    def write(self: Any, value: Any) -> None:
        assert QtCore.QObject.setProperty(self, name, value), f"{type(self).__name__} has no property {name}"

    return property(read, write)


WIDGETS = {
    name: mannered(getattr(QtWidgets, name))
    for name in (
        "QWidget", "QLabel", "QPushButton", "QComboBox", "QProgressBar", "QCheckBox", "QLineEdit", "QTabWidget",
    )
}  # fmt: skip


WIDGETS["QTableWidget"] = mannered(QtWidgets.QTableWidget)


class Settings(QtCore.QSettings):
    """The user's settings, in a file of the test's own."""

    path = ""

    def __init__(self) -> None:
        super().__init__(Settings.path, QtCore.QSettings.Format.IniFormat)


def make_qt() -> types.ModuleType:
    """The module `qt`."""
    qt = types.ModuleType("qt")
    plain = {
        name: getattr(module, name)
        for module, names in (
            (QtGui, ("QPixmap", "QPainter", "QColor", "QPen", "QPalette")),
            (QtWidgets, ("QTableWidgetItem",)),
            (QtCore, ("Qt",)),
        )
        for name in names
    }
    vars(qt).update(WIDGETS, **plain, QTimer=mannered(QtCore.QTimer), QSettings=Settings)
    return qt
