"""The Python files ask only for what Slicer, CTK, Qt and VTK have."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from Testing.conformance import check_code, check_texts, facts, module

PARTS = facts.load()
PLATFORMS = {" and ".join(pair): facts.platform(*pair, PARTS) for pair in facts.PLATFORMS}
WIDGETS = {"button": "QPushButton", "path": "ctkPathLineEdit", "show": "qMRMLSegmentationShow3DButton"}
SMALL = """
import csv
import qt, slicer, vtk
from slicer import vtkMRMLScalarVolumeNode
from slicer.util import VTKObservationMixin

class Panel:
    def setup(self):
        self._timer = qt.QTimer()
        self._timer.connect("timeout()", self.poll)
        self.ui.button.connect("clicked(bool)", self.press)
        self.ui.button.text = "x"
        for widget in (self.ui.button, self.ui.path):
            widget.enabled = False
        self.ui.show.setSegmentationNode(None)
        slicer.util.exportNode(self.node, "file", {}, world=True)
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        node.GetSegmentation().GetSegmentIDs()
        matrix = vtk.vtkMatrix4x4()
        self.node.GetIJKToRASMatrix(matrix)
        matrix.GetElement(0, slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY)
        csv.DictReader(self.file)
        self._editor = slicer.qMRMLSegmentEditorWidget()
        self._editor.setMRMLScene(slicer.mrmlScene)
        self.label.setAlignment(qt.Qt.AlignLeft)

    def poll(self):
        self._timer.stop()
"""


def problems(text: str, known: facts.Facts) -> list[str]:
    return list(check_code.problems("f", ast.parse(text), known, widgets=WIDGETS))


@pytest.mark.parametrize("known", PLATFORMS.values(), ids=list(PLATFORMS))
@pytest.mark.parametrize("path", module.SCRIPTS, ids=lambda path: path.name)
def test_a_file_names_nothing_that_is_not_there(path: Path, known: facts.Facts) -> None:
    widgets = module.widgets()
    assert not list(check_code.problems(path.name, module.tree(path), known, widgets=widgets))


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("", "", ""),
        ("import vtkMRMLScalarVolumeNode", "import vtkMRMLScalarVolume", "slicer has no vtkMRMLScalarVolume"),
        ("VTKObservationMixin", "ObservationMixin", "slicer.util has no ObservationMixin"),
        ("slicer.util import", "slicer.utils import", "there is no slicer.utils"),
        ("qt.QTimer", "qt.QClock", "qt has no QClock"),
        ("timeout()", "timedOut()", "QTimer has no signal timedOut()"),
        ("clicked(bool)", "clicked(int)", "QPushButton has no signal clicked(int)"),
        ("ui.button.text", "ui.button.caption", "QPushButton has no caption"),
        ("ui.button.text", "ui.button.setText", "QPushButton.setText cannot be set"),
        ("ui.button.text", "ui.knob.text", "the interface has no knob"),
        ("widget.enabled", "widget.collapsed", "QPushButton has no collapsed"),
        ("setSegmentationNode", "setMRMLScene", "qMRMLSegmentationShow3DButton has no setMRMLScene"),
        ("util.exportNode", "util.writeNode", "slicer.util has no writeNode"),
        ("world=True", "inWorld=True", "slicer.util.exportNode takes no inWorld"),
        ("{}, world", "{}, 1, 2, world", "slicer.util.exportNode takes at most 4 arguments in order"),
        ("qt.QTimer()", "qt.QTimer(parent=self)", "QTimer takes no arguments by name"),
        ('connect("clicked(bool)", ', 'connect("clicked(bool)", slot=', "connect takes no arguments by name"),
        (
            "_editor.setMRMLScene(",
            "_other.setMRMLScene(",
            "self._editor, a qMRMLSegmentEditorWidget, is never given the scene",
        ),
        ("AddNewNodeByClass", "AddNewNode", "vtkMRMLScene has no AddNewNode"),
        ("node.GetSegmentation()", "node.GetSegments()", "vtkMRMLSegmentationNode has no GetSegments"),
        ("GetSegmentIDs", "GetAllSegmentIDs", "the scene has no GetAllSegmentIDs"),
        ("GetIJKToRASMatrix", "GetIjkToRasMatrix", "the scene has no GetIjkToRasMatrix"),
        ("matrix.GetElement", "matrix.Element", "vtkMatrix4x4 has no Element"),
        ("EXTENT_REFERENCE_GEOMETRY", "EXTENT_REFERENCE", "slicer.vtkSegmentation has no EXTENT_REFERENCE"),
        ("AlignLeft", "AlignStart", "qt.Qt has no AlignStart"),
        ("_timer.stop", "_timer.halt", "QTimer has no halt"),
        ("_timer.stop()", "_timer.interval()", "QTimer.interval is a property, which PythonQt does not call"),
    ],
    ids=lambda value: value,
)
def test_each_mistake_in_a_file_is_found(before: str, after: str, told: str) -> None:
    text = SMALL.replace(before, after, 1) if before else SMALL
    for known in PLATFORMS.values():
        found = [problem.split(": ", 1)[1] for problem in problems(text, known)]
        assert told in found if told else not found


def test_what_one_version_alone_has_is_found() -> None:
    older = facts.platform("Slicer 5.10", "Qt 5.15", PARTS)
    newer = facts.platform("Slicer 5.12", "Qt 6", PARTS)
    text = "from slicer.packaging import pip_ensure"
    assert problems(text, older) == ["f:1: there is no slicer.packaging"]
    assert not problems(text, newer)
    assert not problems(f"try:\n    {text}\nexcept ImportError:\n    pass", older)


@pytest.mark.parametrize("path", module.SCRIPTS, ids=lambda path: path.name)
def test_every_text_that_is_shown_can_be_translated(path: Path) -> None:
    told = [text for text in check_texts.problems(path.name, module.tree(path)) if '"FedSeg"' not in text]
    assert not told


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("label.text = 'Ready'", True),
        ("label.text = _('Ready')", False),
        ("label.text = f'{name}: {count}'", False),
        ("label.text = f'Ready: {count}'", True),
        ("label.toolTip = _('Stop') if running else 'Start'", True),
        ("label.setText('Ready {n}'.format(n=n))", True),
        ("label.setText(_('Ready {n}').format(n=n))", False),
        ("table.setHorizontalHeaderLabels([_('Case'), 'State'])", True),
        ("tell(Message('It failed.', ''))", True),
        ("tell(Message(_('It failed.'), texts['key']))", False),
        ("slicer.util.errorDisplay('It failed.')", True),
        ("label.text = ', '.join(names)", False),
        ("x = _(f'Ready {n}')", True),
        ("logging.info('Ready')", False),
    ],
)
def test_a_text_that_is_not_translated_is_found(code: str, told: bool) -> None:
    assert bool(list(check_texts.problems("f", ast.parse(code)))) == told
