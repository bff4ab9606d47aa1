"""`slicer.parameterNodeWrapper` for the kinds of parameter that the module has: texts, yes and no, and nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_type_hints

import slicer_core
import vtk

_KINDS = {"QCheckBox": "checked", "qMRMLNodeComboBox": "node"}


def wrapper(fields: type) -> type:
    """A class whose attributes lie in a vtkMRMLScriptedModuleNode, and so are saved with the scene."""
    hints = get_type_hints(fields)

    class Wrapped:
        def __init__(self, node: Any) -> None:
            self.__dict__.update(parameterNode=node, bound=[])

        def __getattr__(self, name: str) -> Any:
            assert name in hints, f"no parameter {name}"
            if _is_node(hints[name]):
                return self.parameterNode.GetNodeReference(name)
            text = self.parameterNode.GetParameter(name)
            if not self.parameterNode.HasParameter(name):
                return getattr(fields, name)
            return text == "true" if hints[name] is bool else text

        def __setattr__(self, name: str, value: Any) -> None:
            assert name in hints, f"no parameter {name}"
            if _is_node(hints[name]):
                assert value is None or value.IsA(hints[name].__name__)
                self.parameterNode.SetNodeReferenceID(name, value.GetID() if value else None)
            else:
                assert type(value) is hints[name]
                told = str(value).lower() if hints[name] is bool else value
                self.parameterNode.SetParameter(name, told)

        def AddObserver(self, event: int, slot: Callable[..., None]) -> int:
            return int(self.parameterNode.AddObserver(event, slot))

        def RemoveObserver(self, tag: int) -> None:
            self.parameterNode.RemoveObserver(tag)

        def connectGui(self, ui: Any) -> int:
            told = {w: w.property("SlicerParameterName") for w in vars(ui).values()}
            widgets = {widget: name for widget, name in told.items() if name}
            assert set(widgets.values()) <= set(hints)
            tags = [
                self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda c, e: self.show(widgets))
            ]
            for widget, name in widgets.items():
                widget.connect(*self._listener(widget, name))
            self.bound.append((tags, widgets))
            self.show(widgets)
            return len(self.bound) - 1

        def _listener(self, widget: Any, name: str) -> tuple[str, Callable[..., None]]:
            def take(value: Any) -> None:
                if any(widget in widgets for _tags, widgets in self.bound):
                    setattr(self, name, value)

            return (
                "toggled(bool)" if hasattr(type(widget), "checked") else "currentNodeChanged(vtkMRMLNode*)",
                take,
            )

        def show(self, widgets: dict[Any, str]) -> None:
            for widget, name in widgets.items():
                if _is_node(hints[name]):
                    widget.setCurrentNode(getattr(self, name))
                else:
                    widget.checked = getattr(self, name)

        def disconnectGui(self, tag: int) -> None:
            tags, _widgets = self.bound[tag]
            for observer in tags:
                self.parameterNode.RemoveObserver(observer)
            self.bound[tag] = ([], {})

    return Wrapped


def _is_node(kind: type) -> bool:
    return issubclass(kind, slicer_core.vtkMRMLNode)
