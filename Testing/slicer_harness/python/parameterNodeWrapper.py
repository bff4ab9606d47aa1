"""A module's parameters with types, kept in a node of the scene and bound to widgets.

What is stored, and how, is Slicer's: `SetParameter` with text, node references under the parameter's name.
"""

import typing

import qt
import slicer
import vtk
from slicer.parameter_kinds import Kind
from slicer.parameter_widgets import binding_of

__all__ = ["parameterNodeWrapper"]

PROPERTY = "SlicerParameterName"
"""A widget's dynamic property that names its parameter."""


def parameterNodeWrapper(cls=None):
    """Makes the annotated fields of a class those of a node."""
    if cls is None:
        return parameterNodeWrapper
    fields = {}
    for name, told in typing.get_type_hints(cls).items():
        kind = Kind.of(told)
        fields[name] = (kind, getattr(cls, name, kind.default))
        setattr(cls, name, property(_reader(name, kind), _writer(name, kind)))
    cls._fields = fields
    cls.__init__ = initialize
    for method in (
        connectGui,
        disconnectGui,
        connectParametersToGui,
        getValue,
        setValue,
        AddObserver,
        RemoveObserver,
        StartModify,
        EndModify,
        Modified,
    ):
        setattr(cls, method.__name__, method)
    return cls


def initialize(self, parameterNode):
    """What the node lacks gets its default."""
    self.parameterNode = parameterNode
    self._guis, self._isShowing = {}, False
    for name, (kind, default) in self._fields.items():
        if not parameterNode.HasParameter(name):
            kind.write(parameterNode, name, default)


def getValue(self, name):
    return getattr(self, name)


def setValue(self, name, value):
    if name not in self._fields:
        raise ValueError(f"Cannot find a param with the given name: {name}")
    setattr(self, name, value)


def AddObserver(self, event, callback, priority=0.0):
    return self.parameterNode.AddObserver(event, callback, priority)


def RemoveObserver(self, tag):
    self.parameterNode.RemoveObserver(tag)


def StartModify(self):
    return self.parameterNode.StartModify()


def EndModify(self, wasModifying):
    self.parameterNode.EndModify(wasModifying)


def Modified(self):
    self.parameterNode.Modified()


def connectGui(self, gui):
    """Binds the widgets of an object's attributes, or those below a widget, to the parameters that they name."""
    widgets = gui.findChildren(qt.QWidget) if isinstance(gui, qt.QWidget) else vars(gui).values()
    return connectParametersToGui(self, {w.property(PROPERTY): w for w in widgets if w.property(PROPERTY)})


def connectParametersToGui(self, mapping):
    """Binds widgets to parameters, both ways."""
    bound = {}
    for name, widget in mapping.items():
        if name not in self._fields:
            raise ValueError(f"Cannot find a param with the given name: {name}")
        bound[name] = (widget, binding_of(widget, self._fields[name][0]))
    ends = []
    for name, (widget, binding) in bound.items():
        binding.prepare(widget, self._fields[name][0])
        binding.show(widget, getattr(self, name))
        slot = _on_user(self, name, widget, binding)
        widget.connect(binding.signal, slot)
        ends.append((widget, binding.signal, slot))
    tag = max(self._guis, default=-1) + 1
    observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda _caller, _event: _show(self, bound))
    self._guis[tag] = (observer, ends)
    return tag


def disconnectGui(self, tag):
    """Ends what `connectGui` began."""
    observer, ends = self._guis.pop(tag)
    self.RemoveObserver(observer)
    for widget, signal, slot in ends:
        widget.disconnect(signal, slot)


def _on_user(self, name, widget, binding):
    def slot():
        if not self._isShowing:
            setattr(self, name, binding.read(widget))

    return slot


def _show(self, bound):
    if self._isShowing:
        return
    self._isShowing = True
    try:
        for name, (widget, binding) in bound.items():
            binding.show(widget, getattr(self, name))
    finally:
        self._isShowing = False


def _reader(name, kind):
    return lambda self: kind.read(self.parameterNode, name)


def _writer(name, kind):
    def write(self, value):
        if not kind.accepts(value):
            raise TypeError(f"{name} must be {kind.type}, not {value!r}")
        with slicer.util.NodeModify(self.parameterNode):
            kind.write(self.parameterNode, name, value)

    return write
