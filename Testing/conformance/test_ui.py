"""The .ui files ask only for what Slicer, CTK and Qt have."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from Testing.conformance import check_ui, facts, module

PARTS = facts.load()
PLATFORMS = {" and ".join(pair): facts.platform(*pair, PARTS) for pair in facts.PLATFORMS}
SMALL = """
<ui><widget class="qMRMLWidget" name="Top">
 <widget class="QLabel" name="label"><property name="text"><string>a</string></property></widget>
 <widget class="QLabel" name="other"><property name="textFormat"><enum>Qt::PlainText</enum></property></widget>
 <widget class="ctkPathLineEdit" name="path">
  <property name="filters"><set>ctkPathLineEdit::Files</set></property></widget>
 <widget class="qMRMLNodeComboBox" name="volumes">
  <property name="nodeTypes"><stringlist/></property>
  <property name="SlicerParameterName" stdset="0"><string>volume</string></property>
 </widget></widget><connections><connection>
 <sender>Top</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
 <receiver>volumes</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections></ui>
"""


def problems(root: ElementTree.Element, known: facts.Facts) -> list[str]:
    return list(check_ui.problems(root, known, parameters={"volume": "node", "name": "str"}, in_code=set()))


@pytest.mark.parametrize("known", PLATFORMS.values(), ids=list(PLATFORMS))
@pytest.mark.parametrize("path", module.UIS, ids=lambda path: path.name)
def test_a_ui_file_asks_for_nothing_that_is_not_there(path: Path, known: facts.Facts) -> None:
    fields = module.parameters(module.tree(module.MODULE / "FedSeg.py"))
    in_code = module.with_scene_in_code()
    assert not list(check_ui.problems(module.ui(path), known, parameters=fields, in_code=in_code))


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("", "", []),
        ('"ctkPathLineEdit"', '"ctkPathEdit"', ["path: there is no class ctkPathEdit"]),
        ('name="text"', 'name="caption"', ["label: QLabel has no property caption"]),
        ('name="filters"', 'name="filter"', ["path: ctkPathLineEdit has no property filter"]),
        ("PlainText", "AsIs", ["other: there is no value Qt::AsIs"]),
        ("Edit::Files", "Edit::File", ["path: there is no value ctkPathLineEdit::File"]),
        ('"other"', '"label"', ["two widgets share a name"]),
        (">volume<", ">image<", ["volumes: the parameter node has no field image"]),
        (">volume<", ">name<", ["volumes: a qMRMLNodeComboBox cannot be bound to name, which is a str"]),
        ("mrmlSceneChanged", "sceneChanged", [
            "Top: qMRMLWidget has no signal sceneChanged(vtkMRMLScene*)",
            "volumes (qMRMLNodeComboBox) is never given the scene",
        ]),
        ("setMRMLScene", "setScene", [
            "volumes: qMRMLNodeComboBox has no slot setScene(vtkMRMLScene*)",
            "volumes (qMRMLNodeComboBox) is never given the scene",
        ]),
        ("<receiver>volumes", "<receiver>volume", [
            "a connection names volume, which is no widget",
            "volumes (qMRMLNodeComboBox) is never given the scene",
        ]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_each_mistake_in_a_ui_file_is_found(before: str, after: str, told: list[str]) -> None:
    text = SMALL.replace(before, after) if before else SMALL
    for known in PLATFORMS.values():
        assert problems(ElementTree.fromstring(text), known) == told


def test_no_two_files_have_widgets_of_one_name() -> None:
    """The module keeps the widgets of all files in one place, where the later would hide the earlier."""
    names = [name for path in module.UIS for name in check_ui.widgets(module.ui(path))]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("path", module.UIS, ids=lambda path: path.name)
def test_a_property_misspelt_in_the_files_themselves_is_found(path: Path) -> None:
    root = module.ui(path)
    widgets = (widget for widget in root.iter("widget") if widget.find("property") is not None)
    told = next(part for widget in widgets for part in widget.findall("property") if len(part.attrib) == 1)
    told.attrib["name"] += "s"
    for known in PLATFORMS.values():
        assert any(f"no property {told.attrib['name']}" in text for text in problems(root, known))
