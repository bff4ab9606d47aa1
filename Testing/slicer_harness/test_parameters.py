"""Parameters with types, kept in a node of the scene and bound to widgets."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import Any

import pytest

from Testing.slicer_harness.app import App


class Device(enum.Enum):
    AUTO = 1
    CPU = 2


@pytest.fixture
def parameters(app: App) -> Any:
    """A class of parameters of every type, made as a module makes it."""
    return sys.modules["slicer.parameterNodeWrapper"].parameterNodeWrapper(
        type(
            "Parameters",
            (),
            {
                "__annotations__": {
                    "text": str,
                    "yes": bool,
                    "number": int,
                    "share": float,
                    "path": Path,
                    "device": Device,
                    "names": list[str],
                    "volume": app.slicer.vtkMRMLScalarVolumeNode,
                },
                "number": 3,
            },
        )
    )


def node(app: App) -> Any:
    """The module's node, which a saved scene brings back."""
    found = app.scene.GetSingletonNode("Harness", "vtkMRMLScriptedModuleNode")
    if found is None:
        made = app.slicer.vtkMRMLScriptedModuleNode()
        made.SetSingletonTag("Harness")
        found = app.scene.AddNode(made)
    return found


def test_what_was_never_set_has_its_default(app: App, parameters: Any) -> None:
    told = parameters(node(app))
    assert (told.text, told.yes, told.number, told.share, told.device) == ("", False, 3, 0.0, Device.AUTO)
    assert told.path == Path() and list(told.names) == [] and told.volume is None


def test_a_saved_scene_brings_all_of_them_back(app: App, parameters: Any, tmp_path: Path) -> None:
    told = parameters(node(app))
    told.text, told.yes, told.number, told.share = "é, 1", True, -7, 0.25
    told.path, told.device, told.names, told.volume = tmp_path, Device.CPU, ["a", "b"], app.volume("image")
    app.save(tmp_path / "scene.mrb")
    app.reopen(tmp_path / "scene.mrb")
    told = parameters(node(app))
    assert (told.text, told.yes, told.number, told.share) == ("é, 1", True, -7, 0.25)
    assert (told.path, told.device, list(told.names)) == (tmp_path, Device.CPU, ["a", "b"])
    assert told.volume.GetName() == "image"


@pytest.mark.parametrize(("name", "value"), [("text", 1), ("number", "1"), ("yes", 1), ("volume", "image")])
def test_a_value_of_another_type_is_refused(app: App, parameters: Any, name: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        setattr(parameters(node(app)), name, value)


def widget(name: str, qt: Any, ctk: Any, app: App) -> tuple[Any, str, Any, Any]:
    """A widget for a parameter, its property, and a value there and in the node."""
    if name == "path":
        return ctk.ctkPathLineEdit(), "currentPath", "/data", Path("/data")
    if name == "device":
        return qt.QComboBox(), "currentIndex", 1, Device.CPU
    kinds = {
        "text": (qt.QLineEdit, "text", "words"),
        "yes": (qt.QCheckBox, "checked", True),
        "number": (qt.QSpinBox, "value", 5),
        "share": (qt.QDoubleSpinBox, "value", 0.5),
    }
    kind, attribute, value = kinds[name]
    return kind(), attribute, value, value


@pytest.mark.parametrize("name", ["text", "yes", "number", "share", "path", "device"])
def test_a_widget_and_its_parameter_follow_each_other(
    app: App, parameters: Any, qt: Any, ctk: Any, name: str
) -> None:
    told = parameters(node(app))
    bound, attribute, shown, value = widget(name, qt, ctk, app)
    first = getattr(told, name)
    tag = told.connectParametersToGui({name: bound})
    setattr(bound, attribute, shown)
    assert getattr(told, name) == value
    setattr(told, name, first)
    assert getattr(bound, attribute) != shown
    told.disconnectGui(tag)
    setattr(bound, attribute, shown)
    assert getattr(told, name) == first


def test_a_selector_and_its_parameter_follow_each_other(app: App, parameters: Any) -> None:
    told, box, volume = parameters(node(app)), app.slicer.qMRMLNodeComboBox(), app.volume()
    box.noneEnabled = True
    box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    box.setMRMLScene(app.scene)
    told.connectParametersToGui({"volume": box})
    box.setCurrentNode(volume)
    assert told.volume is volume
    told.volume = None
    assert box.currentNode() is None


def test_a_widget_that_cannot_show_a_type_is_refused(app: App, parameters: Any, ctk: Any) -> None:
    with pytest.raises(RuntimeError, match="Unable to create GUI connector"):
        parameters(node(app)).connectParametersToGui({"text": ctk.ctkPathLineEdit()})
