"""PythonQt's manners over PySide6: properties are attributes, and `connect("signal(types)", f)` checks the signal.

PySide6 offers properties as methods and signals as attributes; PythonQt, through which Slicer's modules see Qt, has
properties as attributes, and refuses what a class lacks. Both live in one process here: the properties are put onto
PySide6's own classes, and `connect`, which PySide6 looks up in an object's very class alone, onto a subclass of each.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from inspect import CO_VARARGS
from types import FunctionType, MethodType
from typing import Any

import shiboken6
from PySide6 import QtCore

STAY_METHODS = {"sizeHint", "minimumSizeHint", "parent", "singleShot"}
"""Properties whose name is that of a virtual or static method that modules call."""

_PACKAGE = __name__.rpartition(".")[0]


def give_properties(cls: type) -> None:
    """Lets the properties of a PySide6 class be read and set as attributes."""
    meta = cls.staticMetaObject
    for place in range(meta.propertyCount()):
        told = meta.property(place)
        name = told.name()
        if name in STAY_METHODS or not (place >= meta.propertyOffset() or name in vars(cls)):
            continue
        setter = partial(
            _set_property, _method(cls, f"set{name[0].upper()}{name[1:]}"), name, told.typeName()
        )
        getters = (_method(cls, known) for known in (name, f"is{name[0].upper()}{name[1:]}"))
        getter = next((found for found in getters if found), partial(_get_property, name))
        setattr(cls, name, _Property(getter, setter if told.isWritable() else None))


class _Property(property):
    """A Qt property; a class of its own so that it is not mistaken for another."""


def _method(cls: type, name: str) -> Callable[..., Any] | None:
    if issubclass(cls, QtCore.QCoreApplication):
        return None  # its accessors are static
    found = getattr(cls, name, None)
    return found.fget if isinstance(found, _Property) else found


def _get_property(name: str, owner: QtCore.QObject) -> Any:
    return QtCore.QObject.property(owner, name)


def _set_property(
    method: Callable[..., None] | None, name: str, kind: str, owner: QtCore.QObject, value: Any
) -> None:
    if kind == "bool":
        value = bool(value)  # PythonQt takes anything for a truth
    if method is not None:
        method(owner, value)
    elif not QtCore.QObject.setProperty(owner, name, value):
        raise ValueError(f"property {name} of type {kind} does not accept {value!r}")


class FacadeType(type(QtCore.QObject)):
    """Makes the class of a facade stand for PySide6's in isinstance, whatever made the object."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, cls.__dict__.get("_stands_for", ())) or super().__instancecheck__(
            instance
        )

    def __subclasscheck__(cls, subclass: type) -> bool:
        stands_for = cls.__dict__.get("_stands_for")
        return (stands_for is not None and issubclass(subclass, stands_for)) or super().__subclasscheck__(
            subclass
        )


def facade(cls: type) -> type:
    """The class that modules see instead of PySide6's; it is called the same."""

    def set_attribute(self: Any, name: str, value: Any) -> None:
        if self._is_strict:
            _check_attribute(type(self), name)
        cls.__setattr__(self, name, value)

    def find_children(self: Any, kind: Any = QtCore.QObject, *words: Any) -> list[Any]:
        return cls.findChildren(self, vars(kind).get("_stands_for", kind), *words)

    def find_child(self: Any, kind: Any = QtCore.QObject, *words: Any) -> Any:
        return cls.findChild(self, vars(kind).get("_stands_for", kind), *words)

    found = {"findChildren": find_children, "findChild": find_child, "__setattr__": set_attribute}
    members = {**MANNERS, "_stands_for": cls, "_is_strict": True, **found}
    return FacadeType(cls.__name__, (cls,), members)


def _init_subclass(cls: type, **_words: Any) -> None:
    for name in ("connect", "disconnect"):
        if name not in vars(cls):
            setattr(cls, name, MANNERS[name])
    # PythonQt refuses new attributes of Qt's own classes alone; a class that a module derives is Python's.
    cls._is_strict = cls.__module__.startswith(_PACKAGE)


def _check_attribute(cls: type, name: str) -> None:
    known = getattr(cls, name, None)
    if known is None and not name.startswith("_"):
        raise AttributeError(f"{cls.__name__} has no property {name}")
    if not name.startswith("_") and not isinstance(known, property):
        raise AttributeError(f"{name} of {cls.__name__} is no property and cannot be overwritten")


def _connect(self: Any, signal: str, slot: Callable[..., Any]) -> bool:
    """Calls `slot` on each signal, with as many of the signal's arguments as it takes."""
    if not callable(slot):
        raise TypeError(f"{slot!r} cannot be called")
    wanted = _accepted(slot)

    def deliver(*values: Any) -> None:
        try:
            slot(*values[:wanted])
        except Exception:
            sys.excepthook(*sys.exc_info())

    found = _find_signal(self, signal)
    if isinstance(found, str):
        QtCore.QObject.connect(self, found, deliver)
    else:
        found.connect(deliver)
    self.__dict__.setdefault("_deliveries", []).append((signal, slot, found, deliver))
    return True


def _disconnect(self: Any, signal: str, slot: Callable[..., Any] | None = None) -> bool:
    """Ends what `connect` began; without a slot, for all of them."""
    _find_signal(self, signal)
    kept, ended = [], False
    for entry in self.__dict__.get("_deliveries", []):
        if entry[0] == signal and slot in (None, entry[1]):
            ended = True
            if isinstance(entry[2], str):
                QtCore.QObject.disconnect(self, entry[2], entry[3])
            else:
                entry[2].disconnect(entry[3])
        else:
            kept.append(entry)
    self.__dict__["_deliveries"] = kept
    return ended


def _find_signal(owner: Any, signal: str) -> Any:
    """PySide6's own signal for one of a stand-in, else Qt's code for it."""
    wanted = bytes(QtCore.QMetaObject.normalizedSignature(signal).data()).decode()
    if wanted in getattr(type(owner), "SIGNALS", ()):
        return getattr(owner, wanted.partition("(")[0])
    if owner.metaObject().indexOfSignal(wanted) < 0:
        raise ValueError(f"{type(owner).__name__} has no signal {signal}")
    return QtCore.SIGNAL(wanted)


def _accepted(slot: Callable[..., Any]) -> int | None:
    """How many positional arguments PythonQt gives it; None: all that there are."""
    function = slot.__func__ if isinstance(slot, MethodType) else slot
    if not isinstance(function, FunctionType) or function.__code__.co_flags & CO_VARARGS:
        return None
    return function.__code__.co_argcount - isinstance(slot, MethodType)


MANNERS: dict[str, Any] = {
    "connect": _connect,
    "disconnect": _disconnect,
    "className": lambda self: self.metaObject().className(),
    "delete": lambda self: shiboken6.delete(self),
    "name": property(lambda self: self.objectName, lambda self, value: self.setObjectName(value)),
    "__init_subclass__": classmethod(_init_subclass),
}
"""What a facade has beside PySide6's."""
