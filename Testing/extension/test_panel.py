"""The panel "Segment and review" as a user works with it, over the real scene and Qt, with the fake command."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from Testing.extension.test_cards import CARD, folder
from Testing.slicer_harness.app import App

SEGMENTATION, VOLUME = "vtkMRMLSegmentationNode", "vtkMRMLScalarVolumeNode"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return folder(tmp_path / "models", north=CARD | {"owned": ["MR"]}, **{"global": CARD})


def wait(app: App, panel: Any, arrived: Callable[[], bool] = lambda: False, seconds: float = 10) -> None:
    """Let events come until something arrived, or nothing runs any more."""
    app.wait(lambda: arrived() or not panel._timer.isActive(), seconds)


def items(box: Any) -> list[str]:
    """The lines of a list."""
    return [box.itemText(place) for place in range(box.count)]


def ready(app: App, models: Path, *, model: int, how: str = "") -> tuple[Any, Any]:
    """A panel with a volume, the models' folder, one line of the list and MR chosen."""
    volume = app.volume()
    app.environment["FAKE_FEDSEG"] = how
    panel = app.open()
    panel.ui.modelFolderLineEdit.currentPath = str(models)
    panel.ui.modelComboBox.currentIndex = model
    if items(panel.ui.modalityComboBox)[0] == "Choose":
        panel.ui.modalityComboBox.currentIndex = items(panel.ui.modalityComboBox).index("MR")
    wait(app, panel)
    return panel, volume


def test_an_empty_panel_says_what_it_needs_and_shows_nothing_that_cannot_be_used(app: App) -> None:
    ui = app.open().ui
    assert not ui.segmentButton.enabled and ui.missingLabel.text == "Load a volume and select it."
    assert not ui.reviewCollapsibleButton.visible and not ui.progressBar.visible
    assert not ui.messageLabel.visible


def test_a_folder_lists_its_models_and_the_mixture_and_shows_the_card(app: App, models: Path) -> None:
    app.volume()
    ui = app.open().ui
    ui.modelFolderLineEdit.currentPath = str(models)
    assert items(ui.modelComboBox) == ["global", "north", "Mixture of all, fitted to the volume"]
    assert "Liver, Kidney" in ui.cardLabel.text


def test_where_a_model_takes_several_modalities_none_is_guessed(app: App, models: Path) -> None:
    app.volume()
    ui = app.open().ui
    ui.modelFolderLineEdit.currentPath = str(models)
    assert items(ui.modalityComboBox) == ["Choose", "CT", "MR"]
    assert not ui.segmentButton.enabled and ui.missingLabel.text == "Say which modality the volume is."
    ui.modalityComboBox.currentIndex = 1
    assert ui.segmentButton.enabled and not ui.missingLabel.visible


def test_the_only_modality_of_a_model_is_taken(app: App, models: Path) -> None:
    app.volume()
    ui = app.open().ui
    ui.modelFolderLineEdit.currentPath = str(models)
    ui.modelComboBox.currentIndex = 1
    assert items(ui.modalityComboBox) == ["MR"] and ui.segmentButton.enabled


def test_a_modality_that_was_told_is_not_forgotten_for_a_model_that_takes_another_only(
    app: App, models: Path
) -> None:
    ui = ready(app, models, model=0)[0].ui
    ui.modalityComboBox.currentIndex = 1
    ui.modelComboBox.currentIndex = 1
    assert items(ui.modalityComboBox) == ["MR"] and ui.segmentButton.enabled
    ui.modelComboBox.currentIndex = 0
    assert ui.modalityComboBox.currentIndex == 1, "CT, as told, and not what the other model took"


def test_of_another_volume_the_modality_is_asked_anew(app: App, models: Path) -> None:
    panel, _volume = ready(app, models, model=0)
    assert panel.ui.segmentButton.enabled
    panel.parameterNode.volume = app.volume("another")
    assert panel.ui.modalityComboBox.currentIndex == 0 and not panel.ui.segmentButton.enabled


def test_a_volume_that_changes_while_another_module_is_open_does_not_inherit_the_modality(
    app: App, models: Path
) -> None:
    panel, _volume = ready(app, models, model=0)
    parameters = panel.parameterNode
    panel.exit()
    parameters.volume = app.volume("another")
    panel.enter()
    assert panel.ui.modalityComboBox.currentIndex == 0 and not panel.ui.segmentButton.enabled


def test_one_model_segments_the_volume_and_the_result_is_unreviewed(
    app: App, models: Path, tmp_path: Path
) -> None:
    panel, volume = ready(app, models, model=0)
    app.environment["FAKE_FEDSEG_WORDS"] = str(tmp_path / "words")
    panel.ui.segmentButton.click()
    wait(app, panel)
    [segmentation] = app.nodes(SEGMENTATION)
    assert segmentation.GetName() == "Patient Smith FedSeg"
    assert segmentation.GetNodeReference("referenceImageGeometryRef") is volume
    told = {name: segmentation.GetAttribute(f"FedSeg.{name}") for name in ("status", "model", "modalities")}
    assert told == {"status": "unreviewed", "model": "global.safetensors", "modalities": "MR"}
    assert segmentation.GetNodeReference("FedSeg.volume.MR") is volume
    words = json.loads((tmp_path / "words").read_text())
    assert words[words.index("--model") + 1] == str(models / "global.safetensors")
    assert words[words.index("--image") + 1].startswith("MR=")
    ui = panel.ui
    assert ui.reviewCollapsibleButton.visible and "Status: unreviewed" in ui.reviewLabel.text
    assert not ui.verdictLabel.visible and ui.show3DButton._node is segmentation
    assert app.layers["background"] is volume and app.layers["foreground"] is None


def test_a_mixture_tells_whom_the_scan_is_like_abstains_plainly_and_overlays_the_disagreement(
    app: App, models: Path
) -> None:
    panel, volume = ready(app, models, model=2)
    panel.ui.segmentButton.click()
    wait(app, panel)
    assert "This scan is 57 % like the global model, 43 % like site mr." in panel.ui.reviewLabel.text
    assert panel.ui.verdictLabel.text.startswith(
        "ABSTAIN: do not use this segmentation unseen. No structure was found"
    )
    assert panel.ui.verdictLabel.font.bold() and not panel.ui.messageLabel.visible, (
        "the verdict is not told twice"
    )
    overlay = app.layers["foreground"]
    display = overlay.GetDisplayNode()
    assert overlay.GetName() == "Patient Smith FedSeg disagreement" and app.layers["background"] is volume
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0.0, 1.0)
    [segmentation] = app.nodes(SEGMENTATION)
    assert segmentation.GetAttribute("FedSeg.mixture") == "57 % like the global model, 43 % like site mr"
    assert segmentation.GetAttribute("FedSeg.verdict").startswith("abstain: ")


def test_a_result_is_seen_in_3d_at_once(app: App, models: Path) -> None:
    panel, _volume = ready(app, models, model=0)
    panel.ui.segmentButton.click()
    wait(app, panel)
    (segmentation,) = app.nodes(SEGMENTATION)
    surface = segmentation.GetClosedSurfaceInternalRepresentation("Segment_1")
    assert surface.GetNumberOfPolys() > 0 and panel.ui.show3DButton.checked


def test_a_result_whose_surface_would_take_long_waits_for_the_button(
    app: App, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("FedSegLib.scene.MOST_VOXELS_IN_3D", 1)
    panel, _volume = ready(app, models, model=0)
    panel.ui.segmentButton.click()
    wait(app, panel)
    (segmentation,) = app.nodes(SEGMENTATION)
    assert segmentation.GetClosedSurfaceInternalRepresentation("Segment_1") is None
    assert not panel.ui.show3DButton.checked and panel.ui.show3DButton.enabled


def test_from_a_loaded_volume_to_its_segmentation_it_takes_three_clicks(app: App, models: Path) -> None:
    app.volume()
    app.settings.setValue("FedSeg/models", str(models))
    panel = app.open()
    clicks = 0

    def click(act: Callable[[], None]) -> None:
        nonlocal clicks
        clicks += 1
        act()

    assert panel.ui.modelFolderLineEdit.currentPath == str(models), "the folder of the last time is offered"
    click(lambda: setattr(panel.ui.modelComboBox, "currentIndex", 0))
    click(lambda: setattr(panel.ui.modalityComboBox, "currentIndex", 2))
    click(lambda: app.click(panel.ui.segmentButton))
    wait(app, panel)
    assert clicks <= 3 and len(app.nodes(SEGMENTATION)) == 1 and panel.ui.show3DButton.checked


def test_results_stand_beside_their_volume_and_forget_the_temporary_files(
    app: App, models: Path, temporary: Path
) -> None:
    panel, _volume = ready(app, models, model=2)
    panel.ui.segmentButton.click()
    wait(app, panel)
    results, hierarchy = [*app.nodes(SEGMENTATION), app.layers["foreground"]], app.hierarchy()
    assert all(node.GetStorageNode() is None for node in results) and not app.nodes("vtkMRMLStorageNode")
    items_of = [hierarchy.GetItemByDataNode(node) for node in results]
    assert {hierarchy.GetItemName(hierarchy.GetItemParent(item)) for item in items_of} == {"patient"}
    assert not list(temporary.iterdir())


def test_what_the_command_is_told_holds_no_name_of_a_patient(app: App, models: Path, tmp_path: Path) -> None:
    panel, _volume = ready(app, models, model=2)
    app.environment["FAKE_FEDSEG_WORDS"] = str(tmp_path / "words")
    panel.ui.segmentButton.click()
    wait(app, panel)
    assert "Smith" not in (tmp_path / "words").read_text()


def test_while_it_runs_the_button_cancels_and_the_choices_rest(app: App, models: Path) -> None:
    panel, _volume = ready(app, models, model=0, how="wait")
    panel.ui.segmentButton.click()
    ui = panel.ui
    assert ui.segmentButton.text == "Cancel" and not ui.inputsCollapsibleButton.enabled
    assert ui.progressBar.visible and ui.progressBar.maximum == 0
    wait(app, panel, lambda: ui.progressBar.maximum == 100)
    assert ui.progressBar.value == 25
    panel.cleanup()


def test_cancel_leaves_scene_and_disk_as_they_were(app: App, models: Path, temporary: Path) -> None:
    panel, volume = ready(app, models, model=2, how="wait")
    panel.ui.segmentButton.click()
    wait(app, panel, lambda: panel.ui.progressBar.maximum == 100)
    before = time.monotonic()
    panel.ui.segmentButton.click()
    wait(app, panel)
    assert time.monotonic() - before < 2
    assert panel.ui.messageLabel.text == "Cancelled; the scene is unchanged."
    assert app.nodes("vtkMRMLVolumeNode") == [volume] and not app.nodes(SEGMENTATION)
    assert not list(temporary.iterdir())
    assert panel.ui.segmentButton.text == "Segment" and panel.ui.segmentButton.enabled


@pytest.mark.parametrize(
    ("how", "text"), [("error", "The image is empty.\nGive another one."), ("crash", "code 9")]
)
def test_a_failure_is_told_with_its_fix_and_leaves_nothing(
    app: App, models: Path, temporary: Path, how: str, text: str
) -> None:
    panel, _volume = ready(app, models, model=0, how=how)
    panel.ui.segmentButton.click()
    wait(app, panel)
    assert text in panel.ui.messageLabel.text and panel.ui.messageLabel.visible
    assert not app.nodes(SEGMENTATION) and not list(temporary.iterdir())
    assert not panel.ui.reviewCollapsibleButton.visible


def test_the_next_try_clears_the_last_message(app: App, models: Path) -> None:
    panel, _volume = ready(app, models, model=0, how="error")
    panel.ui.segmentButton.click()
    wait(app, panel)
    app.environment["FAKE_FEDSEG"] = ""
    panel.ui.segmentButton.click()
    wait(app, panel)
    assert not panel.ui.messageLabel.visible and panel.ui.reviewCollapsibleButton.visible


def test_without_fedseg_the_panel_opens_and_says_what_to_do(
    app: App, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.settings.clear()
    app.environment["PATH"] = ""
    monkeypatch.setenv("PATH", "")
    panel, _volume = ready(app, models, model=0)
    panel.ui.segmentButton.click()
    assert "Install FedSeg" in panel.ui.messageLabel.text
    assert panel.ui.segmentButton.text == "Segment"


def test_a_volume_deleted_meanwhile_is_told_and_its_result_discarded(app: App, models: Path) -> None:
    panel, volume = ready(app, models, model=0)
    panel.ui.segmentButton.click()
    app.scene.RemoveNode(volume)
    wait(app, panel)
    assert "was removed" in panel.ui.messageLabel.text and not app.nodes(SEGMENTATION)


def test_closing_the_scene_ends_what_runs(app: App, models: Path, temporary: Path) -> None:
    panel, _volume = ready(app, models, model=0, how="wait")
    panel.ui.segmentButton.click()
    app.scene.Clear(0)
    assert not list(temporary.iterdir())
    wait(app, panel)
    assert panel.ui.missingLabel.text == "Load a volume and select it."
    assert panel.ui.inputsCollapsibleButton.enabled and not panel.ui.progressBar.visible


def test_leaving_the_module_does_not_stop_a_segmentation(app: App, models: Path) -> None:
    panel, _volume = ready(app, models, model=0)
    panel.ui.segmentButton.click()
    panel.exit()
    wait(app, panel)
    assert app.nodes(SEGMENTATION)
    panel.enter()
    assert panel.ui.segmentButton.enabled and panel.ui.reviewCollapsibleButton.visible


def test_choices_are_found_again_in_a_saved_scene(app: App, models: Path, tmp_path: Path) -> None:
    ready(app, models, model=2)[0].ui.modalityComboBox.currentIndex = 1
    app.save(tmp_path / "scene.mrb")
    app.reopen(tmp_path / "scene.mrb")
    ui = app.open().ui
    assert ui.modelFolderLineEdit.currentPath == str(models)
    assert ui.modelComboBox.currentIndex == 2
    assert items(ui.modalityComboBox)[ui.modalityComboBox.currentIndex] == "CT" and ui.segmentButton.enabled


def test_models_that_came_while_another_module_was_open_are_listed(app: App, models: Path) -> None:
    panel, _volume = ready(app, models, model=0)
    panel.exit()
    (models / "south.safetensors").touch()
    panel.enter()
    assert "south" in items(panel.ui.modelComboBox)


def test_a_model_without_an_index_is_asked_for_its_card(app: App, tmp_path: Path) -> None:
    app.volume()
    (tmp_path / "only.safetensors").write_text(
        json.dumps({"event": "result", "summary": CARD | {"owned": ["CT"]}})
    )
    panel = app.open()
    panel.ui.modelFolderLineEdit.currentPath = str(tmp_path)
    assert panel.ui.missingLabel.text == "The model's card is being read."
    wait(app, panel)
    assert "Liver, Kidney" in panel.ui.cardLabel.text and panel.ui.segmentButton.enabled


def test_a_file_that_is_no_model_is_told_and_cannot_be_used(app: App, tmp_path: Path) -> None:
    app.volume()
    told = {"event": "error", "message": "only.safetensors is damaged.", "fix": "Fetch it again."}
    (tmp_path / "only.safetensors").write_text(json.dumps(told))
    panel = app.open()
    panel.ui.modelFolderLineEdit.currentPath = str(tmp_path)
    wait(app, panel)
    assert panel.ui.messageLabel.text == "only.safetensors is damaged.\nFetch it again."
    assert not panel.ui.segmentButton.enabled


def test_a_model_of_several_images_is_not_fed_with_one(app: App, tmp_path: Path) -> None:
    app.volume()
    folder(tmp_path, both=CARD | {"inputs": [["T1"], ["FLAIR"]], "owned": ["T1", "FLAIR"]})
    ui = app.open().ui
    ui.modelFolderLineEdit.currentPath = str(tmp_path)
    assert not ui.segmentButton.enabled
    assert ui.missingLabel.text == "Select the volume that is the T1, FLAIR."


def test_a_case_of_several_images_is_segmented_from_a_volume_for_each(app: App, tmp_path: Path) -> None:
    told = {"T1": app.volume("one"), "FLAIR": app.volume("two")}
    both = folder(tmp_path, both=CARD | {"inputs": [["T1"], ["FLAIR"]], "owned": ["T1", "FLAIR"]})
    panel = app.open()
    panel.ui.modelFolderLineEdit.currentPath = str(both)
    assert not panel.ui.volumeSelector.visible
    layout = panel.ui.inputsCollapsibleButton.layout()
    for row, volume in enumerate(told.values(), start=3):
        layout.itemAt(row, layout.ItemRole.FieldRole).widget().setCurrentNode(volume)
    app.environment["FAKE_FEDSEG_WORDS"] = str(tmp_path / "words")  # not of what the panel asks when it opens
    panel.ui.segmentButton.click()
    wait(app, panel)
    (segmentation,) = app.nodes(SEGMENTATION)
    assert {name: segmentation.GetNodeReference(f"FedSeg.volume.{name}") for name in told} == told
    words = json.loads((tmp_path / "words").read_text())
    assert [word.split("=")[0] for word in words if "image_" in word] == ["T1", "FLAIR"]


def test_every_volume_of_the_scene_is_segmented_once(app: App, models: Path) -> None:
    panel, first = ready(app, models, model=0)
    second = app.volume("another MR")
    app.volume("mystery")
    panel.ui.modalityComboBox.currentIndex = 2
    panel.ui.allVolumesCheckBox.click()
    panel.ui.segmentButton.click()
    wait(app, panel)
    made = {node.GetNodeReference("FedSeg.volume.MR").GetName() for node in app.nodes(SEGMENTATION)}
    assert made == {first.GetName(), second.GetName()} and panel.ui.queueTable.rowCount == 2
    assert "what these volumes are, and they were left out: mystery." in panel.ui.messageLabel.text
    panel.ui.segmentButton.click()
    wait(app, panel)
    assert len(app.nodes(SEGMENTATION)) == 2 and "2 volumes have a result" in panel.ui.messageLabel.text


def test_the_command_is_remembered_for_this_computer_not_for_the_scene(app: App) -> None:
    app.open().ui.commandLineEdit.currentPath = "/opt/fedseg"
    assert app.settings.value("FedSeg/command") == "/opt/fedseg"
    node = app.scene.GetSingletonNode("FedSeg", "vtkMRMLScriptedModuleNode")
    assert "/opt/fedseg" not in [node.GetParameter(name) for name in node.GetParameterNames()]


def test_setup_shows_no_button_that_cannot_be_used_when_it_is_expanded(app: App) -> None:
    panel = app.open()
    wait(app, panel)
    panel.ui.setupCollapsibleButton.collapsed = False
    assert panel.ui.checkInstallationButton.visible and panel.ui.installationLabel.visible
    assert not panel.ui.installButton.visible and not panel.ui.installationCopyButton.visible


def test_a_command_that_is_chosen_while_another_one_is_looked_at_is_looked_at_itself(app: App) -> None:
    panel = app.open()
    panel.ui.commandLineEdit.currentPath = "/nowhere/fedseg"
    wait(app, panel)
    assert panel.ui.installationLabel.text.startswith("There is no program /nowhere/fedseg.")


def test_scripts_segment_with_one_blocking_call(app: App, models: Path, temporary: Path) -> None:
    result = app.module.FedSegLogic().segment({"MR": app.volume()}, models)
    assert result.segmentation.GetAttribute("FedSeg.status") == "unreviewed"
    assert result.mixture.abstain is True and not list(temporary.iterdir())


def test_scripts_get_an_error_with_its_fix(app: App, models: Path) -> None:
    app.environment["FAKE_FEDSEG"] = "error"
    with pytest.raises(RuntimeError, match=r"The image is empty. Give another one."):
        app.module.FedSegLogic().segment({"MR": app.volume()}, models / "global.safetensors")


def test_scripts_are_told_that_there_is_no_volume(app: App, models: Path) -> None:
    with pytest.raises(ValueError, match="no volume"):
        app.module.FedSegLogic().segment({"MR": None}, models)


def test_a_panel_that_is_unloaded_no_longer_shows_parameters(app: App) -> None:
    panel = app.open()
    parameters = panel.parameterNode
    panel.cleanup()
    parameters.allVolumes = True
    assert not panel.ui.allVolumesCheckBox.checked
