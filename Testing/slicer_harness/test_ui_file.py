"""What is wrong in a .ui file, and passed over by Qt's own loader, is an error here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from Testing.slicer_harness.app import App

GOOD = """<ui version="4.0"><class>Top</class>
<widget class="qMRMLWidget" name="Top"><layout class="QVBoxLayout">
 <item><widget class="QLabel" name="label">
  <property name="textFormat"><enum>Qt::PlainText</enum></property>
  <property name="wordWrap"><bool>true</bool></property></widget></item>
 <item><widget class="ctkPathLineEdit" name="path">
  <property name="filters"><set>ctkPathLineEdit::Dirs|ctkPathLineEdit::Readable</set></property>
  <property name="SlicerParameterName" stdset="0"><string>folder</string></property></widget></item>
 <item><widget class="qMRMLNodeComboBox" name="selector">
  <property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
  <property name="noneEnabled"><bool>true</bool></property></widget></item>
</layout></widget>
<connections><connection><sender>Top</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
 <receiver>selector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections></ui>
"""


def load(app: App, text: str, folder: Path) -> Any:
    (folder / "Top.ui").write_text(text)
    return app.slicer.util.loadUI(str(folder / "Top.ui"))


def test_properties_and_connections_are_made(app: App, tmp_path: Path) -> None:
    top = load(app, GOOD, tmp_path)
    ui = app.slicer.util.childWidgetVariables(top)
    volume = app.volume()
    top.setMRMLScene(app.scene)
    assert ui.label.wordWrap and ui.selector.noneEnabled
    assert ui.path.property("SlicerParameterName") == "folder"
    assert ui.selector.nodeCount() == 1 and ui.selector.nodeFromIndex(0) is volume


def test_children_are_no_attributes_of_the_widget(app: App, tmp_path: Path) -> None:
    assert not hasattr(load(app, GOOD, tmp_path), "label")


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('class="QLabel"', 'class="QLable"'),
        ('"wordWrap"', '"wordwrap"'),
        ('"noneEnabled"', '"noneAllowed"'),
        ("Qt::PlainText", "Qt::PlainTxt"),
        ("ctkPathLineEdit::Readable", "ctkPathLineEdit::Legible"),
        ('name="path"', 'name="label"'),
        ("mrmlSceneChanged(vtkMRMLScene*)", "sceneChanged(vtkMRMLScene*)"),
        ("<receiver>selector", "<receiver>selecter"),
        ("<slot>setMRMLScene", "<slot>setScene"),
    ],
)
def test_a_wrong_name_is_an_error(app: App, tmp_path: Path, right: str, wrong: str) -> None:
    with pytest.raises(RuntimeError, match=r"Top\.ui|there is no widget"):
        load(app, GOOD.replace(right, wrong), tmp_path)


def test_a_file_that_is_not_there_is_an_error(app: App, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="file not found"):
        app.slicer.util.loadUI(str(tmp_path / "none.ui"))
