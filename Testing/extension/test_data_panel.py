"""My data and training as a user works with them: cases out of the scene, their check, a training."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer_core
import vtk

from FedSegCore.data.case import read_dataset
from FedSegCore.data.check import examine_dataset
from FedSegCore.data.io import read_volume
from FedSegCore.data.segments import read_label_map
from Testing.extension.test_cards import CARD, folder
from Testing.slicer_harness.app import App

LIVER = "SCT^10200004^Liver"
OBLIQUE = [[1.6, -1.2, 0, 9.0], [1.2, 1.6, 0, -4.0], [0, 0, 2.0, 7.0], [0, 0, 0, 1.0]]
SHIFTED = [[1.0, 0, 0, 1.0], [0, 1.0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1.0]]
FAR = [[1.0, 0, 0, 500.0], [0, 1.0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1.0]]


def matrix(rows: list[list[float]]) -> Any:
    made = vtk.vtkMatrix4x4()
    for place, value in enumerate(np.ravel(rows)):
        made.SetElement(place // 4, place % 4, value)
    return made


def draw(app: App, volume: Any, **voxels: tuple[int, int, int]) -> Any:
    """A segmentation of one voxel a structure, on the volume's grid."""
    node = app.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawing")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    grid = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(grid)
    for name, voxel in voxels.items():
        image = slicer_core.vtkOrientedImageData()
        image.SetDimensions(volume.GetImageData().GetDimensions())
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        image.GetPointData().GetScalars().Fill(0)
        image.SetScalarComponentFromDouble(*voxel, 0, 1)
        image.SetImageToWorldMatrix(grid)
        node.AddSegmentFromBinaryLabelmapRepresentation(image, name, [1.0, 0.0, 0.0], name)
    return node


@pytest.fixture
def panel(app: App, tmp_path: Path) -> Any:
    """The panel with an empty dataset folder."""
    widget = app.open()
    widget.ui.tabWidget.currentIndex = app.module.DATA_TAB
    widget.ui.datasetLineEdit.currentPath = str(tmp_path / "mine")
    return widget


def add(app: App, panel: Any, *, grid: list[list[float]] = OBLIQUE, name: str = "Patient Smith") -> Any:
    """One more case of one image, with a liver and a tumour."""
    volume = app.volume(name, matrix=matrix(grid))
    panel.parameterNode.segmentation = draw(app, volume, Liver=(1, 2, 3), Tumour=(2, 2, 3))
    panel.ui.modalitiesLineEdit.text = "CT"
    panel.ui.modalitiesLineEdit.editingFinished.emit()
    panel._data._rows.select("CT", volume)
    panel.ui.addButton.click()
    return volume


def test_the_panel_says_step_by_step_what_it_needs(app: App, panel: Any) -> None:
    ui = panel.ui
    assert "first case" in ui.datasetLabel.text and not ui.checkButton.enabled and not ui.trainButton.enabled
    assert ui.addMissingLabel.text.startswith("Say what the images of a case are")
    ui.modalitiesLineEdit.text = "CT"
    ui.modalitiesLineEdit.editingFinished.emit()
    assert ui.addMissingLabel.text == "Select the volume that is the CT."
    volume = app.volume()
    assert ui.addMissingLabel.text == "Select a segmentation.", (
        "the only volume is taken, for the user to see"
    )
    panel.parameterNode.segmentation = draw(app, volume, Liver=(0, 0, 0))
    assert ui.addMissingLabel.text == "" and ui.addButton.enabled and "Adds: Liver" in ui.matchLabel.text


def test_an_oblique_case_is_written_where_it_lies_and_is_clean(app: App, panel: Any, tmp_path: Path) -> None:
    add(app, panel)
    add(app, panel, grid=SHIFTED, name="another")
    dataset = read_dataset(tmp_path / "mine")
    first, second = sorted((*dataset.training, *dataset.validation), key=lambda case: case.name)
    image = read_volume(first.images[0])
    np.testing.assert_allclose(image.affine, OBLIQUE, atol=1e-5)
    assert image.array[1, 2, 3] == 1 + 2 * 4 + 3 * 20
    labels = read_label_map(first.label, dataset.labels, like=image)  # type: ignore[arg-type]
    assert {tuple(v) for v in np.argwhere(labels.array == 1)} == {(1, 2, 3)}
    assert {tuple(v) for v in np.argwhere(labels.array == 2)} == {(2, 2, 3)}
    assert second.name == "case_002" and panel.ui.addMessageLabel.text == "Added as case_002. Cases now: 2"
    assert panel.ui.checkButton.enabled and panel.ui.trainButton.enabled
    problems = examine_dataset(tmp_path / "mine").problems
    assert not [problem for problem in problems if problem.severity == "error"]


def test_adding_a_case_leaves_nothing_in_the_scene(app: App, panel: Any) -> None:
    add(app, panel)  # what the scene has once, such as the colours of label maps, is there now
    volume = app.volume("another")
    panel.parameterNode.segmentation = draw(app, volume, Liver=(1, 2, 3), Tumour=(2, 2, 3))
    panel._data._rows.select("CT", volume)
    before = {node.GetID() for node in app.slicer.util.getNodesByClass("vtkMRMLNode")}
    panel.ui.addButton.click()
    assert panel.ui.addMessageLabel.text.startswith("Added as case_002")
    assert {node.GetID() for node in app.slicer.util.getNodesByClass("vtkMRMLNode")} == before


def test_no_name_of_a_patient_enters_the_dataset(app: App, panel: Any, tmp_path: Path) -> None:
    add(app, panel)
    files = [path for path in (tmp_path / "mine").rglob("*") if path.is_file()]
    assert len(files) == 3
    for path in files:
        told = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        assert "Smith" not in path.name and b"Smith" not in told


def test_a_corrected_case_replaces_itself(app: App, panel: Any, tmp_path: Path) -> None:
    volume = add(app, panel)
    panel.parameterNode.segmentation = draw(app, volume, Tumour=(0, 0, 0), Liver=(3, 3, 3))
    panel.ui.addButton.click()
    dataset = read_dataset(tmp_path / "mine")
    (case,) = (*dataset.training, *dataset.validation)
    like = read_volume(case.images[0])
    labels = read_label_map(case.label, dataset.labels, like=like)  # type: ignore[arg-type]
    assert labels.array[3, 3, 3] == 1 and labels.array[0, 0, 0] == 2 and labels.array[1, 2, 3] == 0


def test_a_segment_is_found_by_its_terminology_whatever_it_is_called(app: App, panel: Any) -> None:
    volume = app.volume()
    drawing = draw(app, volume, Liver=(0, 0, 0))
    entry = f"list~SCT^123037004^Anatomical Structure~{LIVER}~^^~regions~^^~^^"
    drawing.GetSegmentation().GetNthSegment(0).SetTag("TerminologyEntry", entry)
    panel.parameterNode.segmentation = drawing
    panel.ui.modalitiesLineEdit.text = "CT"
    panel.ui.modalitiesLineEdit.editingFinished.emit()
    panel.ui.addButton.click()
    other = draw(app, volume, Foie=(1, 1, 1), Rate=(2, 2, 2))
    other.GetSegmentation().GetSegment("Foie").SetTag("TerminologyEntry", entry)
    panel.parameterNode.segmentation = other
    assert panel.ui.matchLabel.text == "Adds: Liver (Foie)\nLeaves out: Rate"


def two_sequences(app: App, panel: Any, grid: list[list[float]]) -> None:
    one, two = app.volume("T1"), app.volume("FLAIR", matrix=matrix(grid))
    panel.parameterNode.segmentation = draw(app, one, Lesion=(1, 1, 1))
    panel.ui.modalitiesLineEdit.text = "T1, FLAIR"
    panel.ui.modalitiesLineEdit.editingFinished.emit()
    assert panel._data._rows.volumes() == {"T1": one, "FLAIR": two}, "names speak for modalities"


def test_sequences_on_other_grids_are_resampled_only_when_asked(app: App, panel: Any, tmp_path: Path) -> None:
    two_sequences(app, panel, SHIFTED)
    panel.ui.addButton.click()
    assert "lies on another grid" in panel.ui.addMessageLabel.text and not (tmp_path / "mine").exists()
    panel.ui.resampleCheckBox.click()
    panel.ui.addButton.click()
    (case,) = read_dataset(tmp_path / "mine").training
    t1, flair = map(read_volume, case.images)
    np.testing.assert_allclose(flair.affine, t1.affine)
    np.testing.assert_allclose(flair.array[1:], t1.array[:-1], atol=1e-5)


def test_sequences_that_hardly_overlap_are_to_be_registered(app: App, panel: Any) -> None:
    two_sequences(app, panel, FAR)
    panel.ui.resampleCheckBox.click()
    panel.ui.addButton.click()
    assert "covers only 0 %" in panel.ui.addMessageLabel.text and "Register" in panel.ui.addMessageLabel.text


def test_a_disk_that_is_full_leaves_the_dataset_as_it_was(
    app: App, panel: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(app, panel)
    before = {path: path.read_bytes() for path in (tmp_path / "mine").rglob("*") if path.is_file()}
    monkeypatch.setattr("slicer.util.exportNode", lambda *words, **told: False)
    add(app, panel, name="another")
    assert "could not be written" in panel.ui.addMessageLabel.text
    after = {path: path.read_bytes() for path in (tmp_path / "mine").rglob("*") if path.is_file()}
    assert after == before and not list((tmp_path / "mine").glob(".adding*"))


def test_a_check_lists_each_problem_with_its_fix(app: App, panel: Any) -> None:
    add(app, panel)
    panel.ui.checkButton.click()
    app.wait(lambda: panel.ui.problemsTable.visible)
    table = panel.ui.problemsTable
    assert [table.item(0, place).text() for place in range(2)] == ["Error: imagesTr/a.nii.gz\nTorn.", "Mend."]
    assert panel.ui.checkMessageLabel.text.startswith("Errors: 1, warnings: 0.")


def test_a_training_shows_its_curve_and_its_model_is_selected(app: App, panel: Any, tmp_path: Path) -> None:
    add(app, panel)
    panel.ui.trainButton.click()
    app.wait(lambda: panel.ui.trainButton.text == "Train")
    assert panel.ui.trainMessageLabel.text.startswith("Trained: local-mine.safetensors.")
    assert panel.ui.curveLabel.visible and not panel.ui.curveLabel.pixmap.isNull()
    assert panel.parameterNode.model == "local-mine.safetensors"
    assert panel.ui.modelFolderLineEdit.currentPath == str(
        tmp_path / "mine-training" / "training-001" / "models"
    )


def test_a_training_starts_from_a_published_model_that_is_chosen_by_its_card(
    app: App, panel: Any, tmp_path: Path
) -> None:
    add(app, panel)
    ui = panel.ui
    assert not ui.initComboBox.visible and not ui.initCardLabel.visible, (
        "from scratch, unless a folder is named"
    )
    (tmp_path / "models").mkdir()
    ui.initFolderLineEdit.currentPath = str(folder(tmp_path / "models", north=CARD, **{"global": CARD}))
    assert [ui.initComboBox.itemText(place) for place in range(ui.initComboBox.count)] == ["global", "north"]
    ui.initComboBox.currentIndex = 1
    for told in (
        "Segments: Liver, Kidney",
        "Takes: CT or MR",
        "Learnt at: north (20 cases)",
        "north 0.93 / ?",
    ):
        assert told in ui.initCardLabel.text
    app.environment["FAKE_FEDSEG_WORDS"] = str(tmp_path / "words")
    app.click(ui.trainButton)
    app.wait(lambda: ui.trainButton.text == "Train")
    words = json.loads((tmp_path / "words").read_text())
    assert words[words.index("--init") + 1] == str(tmp_path / "models" / "north.safetensors")
    assert panel.parameterNode.initModel == "north.safetensors", "the new model is for the other panel"


def test_a_training_is_cancelled_within_two_seconds_and_can_be_gone_on_with(
    app: App, panel: Any, tmp_path: Path
) -> None:
    add(app, panel)
    app.environment["FAKE_FEDSEG"] = "wait"
    panel.ui.trainButton.click()
    app.wait(lambda: "Round 1 of 2" in panel.ui.trainLabel.text)
    assert panel.ui.trainButton.text == "Cancel" and panel.ui.trainProgressBar.value == 50
    assert "Dice of Liver: 0.40" in panel.ui.trainLabel.text and "minutes left" in panel.ui.trainLabel.text
    panel.ui.trainButton.click()
    app.wait(lambda: panel.ui.trainButton.text == "Train", seconds=2)
    assert panel.ui.trainMessageLabel.text == "Cancelled.\nTrain again to go on where it stopped."
    assert [path.name for path in (tmp_path / "mine-training").iterdir()] == ["training-001"]


def test_a_folder_of_something_else_is_told_and_not_touched(app: App, panel: Any, tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "letter.txt").touch()
    panel.ui.datasetLineEdit.currentPath = str(tmp_path / "letters")
    assert "neither empty nor a dataset" in panel.ui.datasetLabel.text and not panel.ui.addButton.enabled


def test_the_dataset_is_found_again_in_a_saved_scene(app: App, panel: Any, tmp_path: Path) -> None:
    add(app, panel)
    app.save(tmp_path / "scene.mrb")
    panel.exit()
    app.reopen(tmp_path / "scene.mrb")
    panel.enter()
    assert (
        panel.ui.datasetLineEdit.currentPath == str(tmp_path / "mine")
        and "Cases: 1" in panel.ui.datasetLabel.text
    )
    assert panel._data._rows.volumes()["CT"].GetName() == "Patient Smith"
    panel.ui.addButton.click()
    assert len(json.loads((tmp_path / "mine" / "dataset.json").read_text())["training"]) == 1


def test_a_drawing_of_another_volume_is_not_paired_with_this_one(
    app: App, panel: Any, tmp_path: Path
) -> None:
    add(app, panel)
    other = app.volume("another")
    panel.parameterNode.segmentation = draw(app, other, Liver=(0, 0, 0), Tumour=(1, 1, 1))
    panel.ui.addButton.click()
    assert "was drawn on another, not on Patient Smith" in panel.ui.addMessageLabel.text
    assert len(read_dataset(tmp_path / "mine").training) == 1


def test_a_replacement_that_fails_half_way_leaves_the_case_as_it_was(
    app: App, panel: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = add(app, panel)
    before = {path: path.read_bytes() for path in (tmp_path / "mine").rglob("*") if path.is_file()}
    panel.parameterNode.segmentation = draw(app, volume, Liver=(3, 3, 3))
    real = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if target.name == "case_001.seg.nrrd" and self.name == target.name:
            raise OSError("the file is open elsewhere")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    panel.ui.addButton.click()
    assert "open elsewhere" in panel.ui.addMessageLabel.text
    assert before == {path: path.read_bytes() for path in (tmp_path / "mine").rglob("*") if path.is_file()}
