"""The stand-ins for CTK's and Slicer's classes behave as a module expects, and have nothing that those lack."""

from __future__ import annotations

import inspect
import sys
from typing import Any

import pytest
from PySide6 import QtWidgets

from Testing.conformance.facts import PLATFORMS, load, platform
from Testing.slicer_harness.app import App
from Testing.slicer_harness.manners import MANNERS

BESIDE_THE_FACTS = {
    *("qMRMLSegmentEditorWidget.calls", "qSlicerApplication.emptyScene", "qSlicerApplication.exitCode"),
    *("qSlicerModuleManager.load", "qSlicerModuleManager.unload", "qSlicerScriptedLoadableModule.instance"),
    # Slicer's Python reaches these through decorators, which no header shows.
    "qSlicerApplication.testingEnabled",
    "qSlicerScriptedLoadableModule.createNewWidgetRepresentation",
    "qSlicerScriptedLoadableModule.setMRMLScene",
    "qSlicerScriptedLoadableModule.widgetRepresentation",
    *("qSlicerScriptedLoadableModuleWidget.mrmlScene", "qSlicerWidget.mrmlScene"),
}
"""What the harness has for itself, and what is known otherwise."""
PACKAGE = App.__module__.rpartition(".")[0]


@pytest.fixture
def selector(app: App) -> Any:
    box = app.slicer.qMRMLNodeComboBox()
    box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    box.setMRMLScene(app.scene)
    return box


def names(selector: Any) -> list[str]:
    return [selector.nodeFromIndex(place).GetName() for place in range(selector.nodeCount())]


def test_a_selector_lists_the_nodes_of_its_types_as_they_come_and_go(app: App, selector: Any) -> None:
    first = app.volume("first")
    app.volume("second")
    app.scene.AddNewNodeByClass("vtkMRMLTextNode", "text")
    hidden = app.volume("hidden")
    hidden.SetHideFromEditors(True)
    app.scene.RemoveNode(first)
    assert names(selector) == ["second"]


def test_without_none_the_first_node_is_selected(app: App, selector: Any) -> None:
    first = app.volume("first")
    app.volume("second")
    assert selector.currentNode() is first


def test_with_none_nothing_is_selected_until_the_user_does(app: App, selector: Any) -> None:
    got: list[Any] = []
    selector.noneEnabled = True
    selector.connect("currentNodeChanged(vtkMRMLNode*)", got.append)
    node = app.volume()
    assert selector.currentNode() is None and not got
    selector.setCurrentNode(node)
    app.scene.RemoveNode(node)
    assert got == [node, None] and selector.currentNode() is None


def test_children_of_a_type_are_listed_on_request(app: App, selector: Any) -> None:
    app.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    assert names(selector) == ["labels"]
    selector.showChildNodeTypes = False
    assert names(selector) == []


def test_a_collapsed_section_hides_what_it_holds_and_shows_it_again(qt: Any, ctk: Any) -> None:
    section = ctk.ctkCollapsibleButton("Setup")
    layout = qt.QVBoxLayout(section)
    shown, hidden, late = qt.QLabel("a"), qt.QLabel("b"), qt.QLabel("c")
    for label in (shown, hidden, late):
        layout.addWidget(label)
    section.show()
    hidden.visible = late.visible = False
    section.collapsed = True
    late.visible = True
    assert not (shown.visible or hidden.visible or late.visible)
    section.collapsed = False
    assert shown.visible and late.visible and not hidden.visible


@pytest.mark.parametrize(
    ("filters", "dialog"), [("Dirs", "getExistingDirectory"), ("Files", "getOpenFileName")]
)
def test_a_path_is_browsed_for(app: App, ctk: Any, filters: str, dialog: str) -> None:
    got: list[str] = []
    line = ctk.ctkPathLineEdit()
    line.filters = getattr(ctk.ctkPathLineEdit, filters)
    line.connect("currentPathChanged(QString)", got.append)
    app.answers.append("/data")
    line.browse()
    assert got == ["/data"] and line.currentPath == "/data" and app.asked[0].kind == f"QFileDialog.{dialog}"


def test_the_segment_editor_wants_its_node_first(app: App) -> None:
    editor = app.slicer.qMRMLSegmentEditorWidget()
    with pytest.raises(AssertionError, match="setMRMLSegmentEditorNode must come first"):
        editor.setSegmentationNode(app.scene.AddNewNodeByClass("vtkMRMLSegmentationNode"))


def stand_ins() -> list[type]:
    found = [*vars(sys.modules["ctk"]).values(), *vars(sys.modules["slicer"]).values()]
    return [cls for cls in found if inspect.isclass(cls) and hasattr(cls, "staticMetaObject")]


@pytest.mark.parametrize("versions", PLATFORMS, ids=" and ".join)
def test_stand_ins_have_only_what_the_real_classes_have(app: App, versions: tuple[str, str]) -> None:
    known = platform(*versions, load())
    extra = set()
    for cls in stand_ins():
        own = {
            name
            for base in cls.__mro__
            if base.__module__.startswith(PACKAGE)
            for name, value in vars(base).items()
            if not (name.startswith("_") or name in MANNERS or hasattr(QtWidgets.QWidget, name))
            and (isinstance(value, property) or inspect.isfunction(value))
        }
        kinds = ("properties", "callables", "values")
        real = {entry for kind in kinds for entry in known.of(cls.__name__, kind)}
        extra |= {f"{cls.__name__}.{name}" for name in own - real}
        signals = set(getattr(cls, "SIGNALS", ())) - known.of(cls.__name__, "signals")
        extra |= {f"{cls.__name__}.{name}" for name in signals}
    assert extra == BESIDE_THE_FACTS
