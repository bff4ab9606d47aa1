"""Review as a user does it: the doubtful results first, each decided by a named person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from Testing.extension.test_panel import SEGMENTATION, models, ready, wait
from Testing.slicer_harness.app import App

__all__ = ["models"]


@pytest.fixture
def reviewed(app: App, models: Path) -> Any:
    """A panel with two results: one of a mixture, and one of a single model on another volume."""
    panel, _first = ready(app, models, model=2)
    panel.ui.segmentButton.click()
    wait(app, panel)
    panel.parameterNode.volume = app.volume("another")
    panel.ui.modelComboBox.currentIndex = 0
    panel.ui.modalityComboBox.currentIndex = 2
    panel.ui.segmentButton.click()
    wait(app, panel)
    return panel


def column(panel: Any, place: int) -> list[str]:
    table = panel.ui.queueTable
    return [table.item(row, place).text() for row in range(table.rowCount)]


def current(app: App, panel: Any) -> Any:
    name = panel.ui.reviewLabel.text.splitlines()[0]
    return next(node for node in app.nodes(SEGMENTATION) if node.GetName() == name)


def test_without_results_there_is_no_queue(app: App) -> None:
    assert not app.open().ui.reviewCollapsibleButton.visible


def test_what_the_models_disagree_on_comes_first_and_the_new_result_is_shown(app: App, reviewed: Any) -> None:
    assert column(reviewed, 0) == ["Patient Smith FedSeg", "another FedSeg"]
    assert column(reviewed, 1) == ["1.00", ""] and column(reviewed, 2) == ["unreviewed", "unreviewed"]
    assert reviewed.ui.reviewLabel.text.startswith("another FedSeg")
    assert app.layers["background"].GetName() == "another" and app.layers["foreground"] is None


def test_a_click_shows_the_result_over_its_image_and_hides_the_others(app: App, reviewed: Any) -> None:
    reviewed.ui.queueTable.cellClicked.emit(0, 0)
    shown = {node.GetName(): node.GetDisplayNode().GetVisibility() for node in app.nodes(SEGMENTATION)}
    assert shown == {"Patient Smith FedSeg": 1, "another FedSeg": 0}
    assert app.layers["foreground"].GetName() == "Patient Smith FedSeg disagreement"
    assert "This scan is 57 % like the global model" in reviewed.ui.reviewLabel.text
    assert reviewed.ui.verdictLabel.text.startswith("ABSTAIN")
    assert reviewed.ui.show3DButton.segmentationNode().GetName() == "Patient Smith FedSeg"


def test_two_results_of_a_volume_have_two_names(app: App, reviewed: Any) -> None:
    reviewed.ui.modelComboBox.currentIndex = 1
    reviewed.ui.segmentButton.click()
    wait(app, reviewed)
    assert sorted(column(reviewed, 0)) == ["Patient Smith FedSeg", "another FedSeg", "another FedSeg_1"]


def test_nobody_decides_without_a_name(reviewed: Any) -> None:
    buttons = [reviewed.ui.approveButton, reviewed.ui.flagButton, reviewed.ui.rejectButton]
    assert not any(button.enabled for button in buttons) and "who reviews" in buttons[0].toolTip
    reviewed.ui.reviewerLineEdit.text = "Dr. A"
    assert all(button.enabled for button in buttons)


def test_a_decision_is_kept_with_the_scene_and_the_next_open_result_comes(
    app: App, reviewed: Any, tmp_path: Path
) -> None:
    ui = reviewed.ui
    ui.reviewerLineEdit.text, ui.commentLineEdit.text = "Dr. A", "fine"
    ui.approveButton.click()
    assert column(reviewed, 2) == ["unreviewed", "approved, Dr. A"]
    assert ui.reviewLabel.text.startswith("Patient Smith FedSeg") and ui.commentLineEdit.text == ""
    ui.flagButton.click()
    app.save(tmp_path / "scene.mrb")
    reviewed.exit()
    app.reopen(tmp_path / "scene.mrb")
    reviewed.enter()
    assert column(reviewed, 2) == ["flagged, Dr. A", "approved, Dr. A"]
    approved = next(node for node in app.nodes(SEGMENTATION) if node.GetName() == "another FedSeg")
    assert approved.GetAttribute("FedSeg.comment") == "fine" and approved.GetAttribute("FedSeg.reviewedAt")
    reviewed.ui.queueTable.cellClicked.emit(1, 0)
    assert app.layers["background"].GetName() == "another", "the result still knows its volume"


def test_a_drawing_that_changes_after_its_approval_is_unreviewed_again(app: App, reviewed: Any) -> None:
    reviewed.ui.reviewerLineEdit.text = "Dr. A"
    node = current(app, reviewed)
    reviewed.ui.approveButton.click()
    node.GetSegmentation().InvokeEvent(node.GetSegmentation().SourceRepresentationModified)
    assert node.GetAttribute("FedSeg.status") == "unreviewed" and "unreviewed" in column(reviewed, 2)


def test_a_drawing_that_changed_while_the_module_was_never_entered_is_unreviewed(
    app: App, reviewed: Any, tmp_path: Path
) -> None:
    reviewed.ui.reviewerLineEdit.text = "Dr. A"
    reviewed.ui.approveButton.click()
    reviewed.ui.approveButton.click()
    app.save(tmp_path / "scene.mrb")
    app._unload()
    app.reopen(tmp_path / "scene.mrb")
    changed = next(node for node in app.nodes(SEGMENTATION) if node.GetName() == "another FedSeg")
    drawn = changed.GetSegmentation().GetNthSegment(0).GetRepresentation("Binary labelmap")
    drawn.SetScalarComponentFromDouble(2, 2, 2, 0, 1)
    panel = app.open()
    assert dict(zip(column(panel, 0), column(panel, 2), strict=True)) == {
        "Patient Smith FedSeg": "approved, Dr. A",
        "another FedSeg": "unreviewed",
    }


def test_edit_gives_the_result_and_its_image_to_the_editor_and_leaving_takes_them_back(
    app: App, reviewed: Any
) -> None:
    reviewed.ui.editButton.click()
    editor = reviewed._review._editor
    node, volume = editor.segmentationNode(), editor.sourceVolumeNode()
    assert node is current(app, reviewed) and volume.GetName() == "another"
    assert editor.mrmlSegmentEditorNode().GetSingletonTag() == "SegmentEditor"
    assert editor.maximumNumberOfUndoStates == 10
    reviewed.exit()
    assert editor.segmentationNode() is None and not reviewed.ui.editorWidget.visible


def test_a_result_that_is_deleted_leaves_the_queue(app: App, reviewed: Any) -> None:
    app.scene.RemoveNode(current(app, reviewed))
    assert column(reviewed, 0) == ["Patient Smith FedSeg"]
    assert not reviewed.ui.editButton.enabled


def test_closing_the_scene_empties_the_queue(app: App, reviewed: Any) -> None:
    app.scene.Clear(0)
    assert not reviewed.ui.reviewCollapsibleButton.visible


def test_a_correction_is_taken_to_the_dataset_with_its_image(app: App, reviewed: Any, tmp_path: Path) -> None:
    node = current(app, reviewed)
    reviewed.parameterNode.datasetFolder = str(tmp_path / "mine")
    assert not reviewed.ui.sendButton.enabled and "Approve" in reviewed.ui.sendButton.toolTip
    reviewed.ui.reviewerLineEdit.text = "Dr. A"
    reviewed.ui.approveButton.click()
    reviewed.ui.queueTable.cellClicked.emit(1, 0)
    reviewed.ui.sendButton.click()
    assert (
        reviewed.ui.tabWidget.currentIndex == app.module.DATA_TAB
        and reviewed.parameterNode.segmentation is node
    )
    assert reviewed.ui.modalitiesLineEdit.text == "MR" and reviewed.ui.addButton.enabled
    reviewed.ui.addButton.click()
    assert reviewed.ui.addMessageLabel.text == "Added as case_001. Cases now: 1"


def test_a_result_of_the_next_scene_is_watched_though_it_has_the_id_of_the_last(
    app: App, reviewed: Any, models: Path
) -> None:
    app.scene.Clear(0)
    reviewed.ui.reviewerLineEdit.text = "Dr. A"
    app.volume("third")
    reviewed.enter()
    reviewed.ui.modelFolderLineEdit.currentPath = str(models)
    reviewed.ui.modelComboBox.currentIndex = 1
    reviewed.ui.segmentButton.click()
    wait(app, reviewed)
    node = current(app, reviewed)
    reviewed.ui.approveButton.click()
    node.GetSegmentation().RemoveSegment(node.GetSegmentation().GetNthSegmentID(0))
    assert node.GetAttribute("FedSeg.status") == "unreviewed"
