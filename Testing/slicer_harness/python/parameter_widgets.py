"""Which widgets show which types of parameters, both ways."""

import enum
import pathlib

import ctk
import qt
import slicer
from slicer.parameter_kinds import Node


class Binding:
    """How a class of widgets shows a type of values: a property, and the signal of its change."""

    def __init__(self, attribute, signal, to=lambda value: value):
        self.attribute, self.signal, self._to = attribute, signal, to

    def prepare(self, widget, kind):
        """Before the first value."""

    def read(self, widget):
        return getattr(widget, self.attribute)

    def show(self, widget, value):
        if getattr(widget, self.attribute) != self._to(value):
            setattr(widget, self.attribute, self._to(value))


class PathBinding(Binding):
    def read(self, widget):
        return pathlib.Path(super().read(widget))


class ChoiceBinding(Binding):
    def prepare(self, widget, kind):
        widget.clear()
        widget.addItems([choice.name for choice in kind.type])
        self._choices = list(kind.type)

    def read(self, widget):
        return self._choices[widget.currentIndex]

    def show(self, widget, value):
        widget.currentIndex = self._choices.index(value)


class NodeBinding(Binding):
    def read(self, widget):
        return widget.currentNode()

    def show(self, widget, value):
        widget.setCurrentNode(value)


def binding_of(widget, kind):
    """The one for a widget and a type; there is none for most pairs, in Slicer neither."""
    number = lambda: Binding("value", "valueChanged(double)")  # noqa: E731
    known = {
        (qt.QCheckBox, bool): lambda: Binding("checked", "toggled(bool)"),
        (ctk.ctkCheckBox, bool): lambda: Binding("checked", "toggled(bool)"),
        (qt.QPushButton, bool): lambda: Binding("checked", "toggled(bool)"),
        (qt.QSpinBox, int): lambda: Binding("value", "valueChanged(int)"),
        (qt.QSlider, int): lambda: Binding("value", "valueChanged(int)"),
        (qt.QDoubleSpinBox, float): number,
        (ctk.ctkSliderWidget, float): number,
        (qt.QLineEdit, str): lambda: Binding("text", "textChanged(QString)"),
        (ctk.ctkPathLineEdit, pathlib.Path): lambda: PathBinding(
            "currentPath", "currentPathChanged(QString)", str
        ),
        (ctk.ctkDirectoryButton, pathlib.Path): lambda: PathBinding(
            "directory", "directoryChanged(QString)", str
        ),
    }
    if isinstance(kind, Node) and type(widget) is slicer.qMRMLNodeComboBox:
        return NodeBinding("", "currentNodeChanged(vtkMRMLNode*)")
    if isinstance(kind.type, enum.EnumMeta) and type(widget) in (qt.QComboBox, ctk.ctkComboBox):
        return ChoiceBinding("", "currentIndexChanged(int)")
    if (type(widget), kind.type) not in known:
        raise RuntimeError(f"Unable to create GUI connector from {kind.type} to {type(widget).__name__}")
    return known[type(widget), kind.type]()
