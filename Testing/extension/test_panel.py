"""The panel as a user works with it, over strict stand-ins for Qt and the scene, with the fake command."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from Testing.extension.standins import Node, Slicer
from Testing.extension.test_cards import CARD, folder

SEGMENTATION, VOLUME = "vtkMRMLSegmentationNode", "vtkMRMLScalarVolumeNode"


@pytest.fixture
def app(slicer_app: Slicer, fake_fedseg: Path, temporary: Path) -> Slicer:
    slicer_app.settings["FedSeg/command"] = str(fake_fedseg)
    return slicer_app


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return folder(tmp_path / "models", north=CARD | {"owned": ["MR"]}, **{"global": CARD})


def wait(panel: Any, arrived: Callable[[], bool] = lambda: False) -> None:
    """Let the timer tick until something arrived, or nothing runs any more."""
    end = time.monotonic() + 10
    while panel._timer.running and not arrived():
        assert time.monotonic() < end
        panel._timer.emit("timeout()")
        time.sleep(0.01)


def ready(app: Slicer, models: Path, *, model: int, how: str = "") -> tuple[Any, Node]:
    """A panel with a volume, the models' folder, one line of the list and MR chosen."""
    volume = app.volume()
    app.environment["FAKE_FEDSEG"] = how
    panel = app.panel()
    panel.ui.modelFolderLineEdit.currentPath = str(models)
    panel.ui.modelComboBox.currentIndex = model
    if panel.ui.modalityComboBox.items[0] == "Choose":
        panel.ui.modalityComboBox.currentIndex = panel.ui.modalityComboBox.items.index("MR")
    return panel, volume


def test_an_empty_panel_says_what_it_needs_and_shows_nothing_that_cannot_be_used(app: Slicer) -> None:
    ui = app.panel().ui
    assert not ui.segmentButton.enabled and ui.missingLabel.text == "Load a volume and select it."
    assert not ui.resultCollapsibleButton.visible and not ui.progressBar.visible
    assert not ui.messageLabel.visible


def test_a_folder_lists_its_models_and_the_mixture_and_shows_the_card(app: Slicer, models: Path) -> None:
    app.volume()
    ui = app.panel().ui
    ui.modelFolderLineEdit.currentPath = str(models)
    assert ui.modelComboBox.items == ["global", "north", "Mixture of all, fitted to the volume"]
    assert "Liver, Kidney" in ui.cardLabel.text


def test_where_a_model_takes_several_modalities_none_is_guessed(app: Slicer, models: Path) -> None:
    app.volume()
    ui = app.panel().ui
    ui.modelFolderLineEdit.currentPath = str(models)
    assert ui.modalityComboBox.items == ["Choose", "CT", "MR"]
    assert not ui.segmentButton.enabled and ui.missingLabel.text == "Say which modality the volume is."
    ui.modalityComboBox.currentIndex = 1
    assert ui.segmentButton.enabled and not ui.missingLabel.visible


def test_the_only_modality_of_a_model_is_taken(app: Slicer, models: Path) -> None:
    app.volume()
    ui = app.panel().ui
    ui.modelFolderLineEdit.currentPath = str(models)
    ui.modelComboBox.currentIndex = 1
    assert ui.modalityComboBox.items == ["MR"] and ui.segmentButton.enabled


def test_a_modality_that_was_told_is_not_forgotten_for_a_model_that_takes_another_only(
    app: Slicer, models: Path
) -> None:
    ui = ready(app, models, model=0)[0].ui
    ui.modalityComboBox.currentIndex = 1
    ui.modelComboBox.currentIndex = 1
    assert ui.modalityComboBox.items == ["MR"] and ui.segmentButton.enabled
    ui.modelComboBox.currentIndex = 0
    assert ui.modalityComboBox.currentIndex == 1, "CT, as told, and not what the other model took"


def test_of_another_volume_the_modality_is_asked_anew(app: Slicer, models: Path) -> None:
    panel, _volume = ready(app, models, model=0)
    assert panel.ui.segmentButton.enabled
    panel._parameterNode.volume = app.volume("another")
    assert panel.ui.modalityComboBox.currentIndex == 0 and not panel.ui.segmentButton.enabled


def test_one_model_segments_the_volume_and_the_result_is_unreviewed(
    app: Slicer, models: Path, tmp_path: Path
) -> None:
    panel, volume = ready(app, models, model=0)
    app.environment["FAKE_FEDSEG_WORDS"] = str(tmp_path / "words")
    panel.ui.segmentButton.click()
    wait(panel)
    [segmentation] = app.scene.of(SEGMENTATION)
    assert segmentation.name == "Patient Smith FedSeg" and segmentation.reference is volume
    assert segmentation.attributes == {"FedSeg.status": "unreviewed", "FedSeg.model": "global.safetensors"}
    assert app.exported == [volume]
    words = json.loads((tmp_path / "words").read_text())
    assert words[words.index("--model") + 1] == str(models / "global.safetensors")
    assert words[words.index("--image") + 1].startswith("MR=")
    ui = panel.ui
    assert ui.resultCollapsibleButton.visible and "unreviewed" in ui.statusLabel.text
    assert not ui.verdictLabel.visible and ui.show3DButton.node is segmentation and not app.layers


def test_a_mixture_tells_whom_the_scan_is_like_abstains_plainly_and_overlays_the_disagreement(
    app: Slicer, models: Path
) -> None:
    panel, _volume = ready(app, models, model=2)
    panel.ui.segmentButton.click()
    wait(panel)
    resembles, verdict = panel.ui.verdictLabel.text.splitlines()
    assert resembles == "This scan is 57 % like the global model, 43 % like site mr."
    assert verdict.startswith("ABSTAIN: do not use this segmentation unseen. No structure was found")
    assert not panel.ui.messageLabel.visible, "the verdict is not told twice"
    overlay = app.layers["foreground"]
    assert overlay.name == "Patient Smith FedSeg disagreement" and "background" not in app.layers
    assert overlay.display.told["SetWindowLevelMinMax"] == (0.0, 1.0)
    [segmentation] = app.scene.of(SEGMENTATION)
    assert segmentation.attributes["FedSeg.mixture"] == "57 % like the global model, 43 % like site mr"
    assert segmentation.attributes["FedSeg.verdict"].startswith("abstain: ")


def test_results_stand_beside_their_volume_and_forget_the_temporary_files(
    app: Slicer, models: Path, temporary: Path
) -> None:
    panel, _volume = ready(app, models, model=2)
    panel.ui.segmentButton.click()
    wait(panel)
    results = [*app.scene.of(SEGMENTATION), app.layers["foreground"]]
    assert all(node.storage is None and app.scene.folders[node.id] == 7 for node in results)
    assert not app.scene.of("storage") and not list(temporary.iterdir())


def test_what_the_command_is_told_holds_no_name_of_a_patient(
    app: Slicer, models: Path, tmp_path: Path
) -> None:
    panel, _volume = ready(app, models, model=2)
    app.environment["FAKE_FEDSEG_WORDS"] = str(tmp_path / "words")
    panel.ui.segmentButton.click()
    wait(panel)
    assert "Smith" not in (tmp_path / "words").read_text()


def test_while_it_runs_the_button_cancels_and_the_choices_rest(app: Slicer, models: Path) -> None:
    panel, _volume = ready(app, models, model=0, how="wait")
    panel.ui.segmentButton.click()
    ui = panel.ui
    assert ui.segmentButton.text == "Cancel" and not ui.inputsCollapsibleButton.enabled
    assert ui.progressBar.visible and ui.progressBar.maximum == 0
    wait(panel, lambda: ui.progressBar.maximum == 100)
    assert ui.progressBar.value == 25
    panel.cleanup()


def test_cancel_leaves_scene_and_disk_as_they_were(app: Slicer, models: Path, temporary: Path) -> None:
    panel, volume = ready(app, models, model=2, how="wait")
    panel.ui.segmentButton.click()
    wait(panel, lambda: panel.ui.progressBar.maximum == 100)
    before = time.monotonic()
    panel.ui.segmentButton.click()
    wait(panel)
    assert time.monotonic() - before < 2
    assert panel.ui.messageLabel.text == "Cancelled; the scene is unchanged."
    assert list(app.scene.nodes.values()) == [volume] and not list(temporary.iterdir())
    assert panel.ui.segmentButton.text == "Segment" and panel.ui.segmentButton.enabled


@pytest.mark.parametrize(
    ("how", "text"), [("error", "The image is empty.\nGive another one."), ("crash", "code 9")]
)
def test_a_failure_is_told_with_its_fix_and_leaves_nothing(
    app: Slicer, models: Path, temporary: Path, how: str, text: str
) -> None:
    panel, _volume = ready(app, models, model=0, how=how)
    panel.ui.segmentButton.click()
    wait(panel)
    assert text in panel.ui.messageLabel.text and panel.ui.messageLabel.visible
    assert not app.scene.of(SEGMENTATION) and not list(temporary.iterdir())
    assert not panel.ui.resultCollapsibleButton.visible


def test_the_next_try_clears_the_last_message(app: Slicer, models: Path) -> None:
    panel, _volume = ready(app, models, model=0, how="error")
    panel.ui.segmentButton.click()
    wait(panel)
    app.environment["FAKE_FEDSEG"] = ""
    panel.ui.segmentButton.click()
    wait(panel)
    assert not panel.ui.messageLabel.visible and panel.ui.resultCollapsibleButton.visible


def test_without_fedseg_the_panel_opens_and_says_what_to_do(
    app: Slicer, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.settings.clear()
    app.environment["PATH"] = ""
    monkeypatch.setenv("PATH", "")
    panel, _volume = ready(app, models, model=0)
    panel.ui.segmentButton.click()
    assert "Install FedSeg" in panel.ui.messageLabel.text
    assert panel.ui.segmentButton.text == "Segment"


def test_a_volume_deleted_meanwhile_is_told_and_its_result_discarded(app: Slicer, models: Path) -> None:
    panel, volume = ready(app, models, model=0)
    panel.ui.segmentButton.click()
    app.scene.RemoveNode(volume)
    wait(panel)
    assert "was removed" in panel.ui.messageLabel.text and not app.scene.nodes


def test_closing_the_scene_ends_what_runs(app: Slicer, models: Path, temporary: Path) -> None:
    panel, _volume = ready(app, models, model=0, how="wait")
    panel.ui.segmentButton.click()
    app.closeScene()
    assert not panel._timer.running and not list(temporary.iterdir())
    assert panel.ui.missingLabel.text == "Load a volume and select it."
    assert panel.ui.inputsCollapsibleButton.enabled and not panel.ui.progressBar.visible


def test_leaving_the_module_does_not_stop_a_segmentation(app: Slicer, models: Path) -> None:
    panel, _volume = ready(app, models, model=0)
    panel.ui.segmentButton.click()
    panel.exit()
    wait(panel)
    assert app.scene.of(SEGMENTATION)
    panel.enter()
    assert panel.ui.segmentButton.enabled and panel.ui.resultCollapsibleButton.visible


def test_choices_are_found_again_in_a_saved_scene(app: Slicer, models: Path) -> None:
    app.volume()
    app.parameters.update(modelFolder=str(models), model=".", modality="CT")
    ui = app.panel().ui
    assert ui.modelFolderLineEdit.currentPath == str(models)
    assert ui.modelComboBox.currentIndex == 2
    assert ui.modalityComboBox.items[ui.modalityComboBox.currentIndex] == "CT" and ui.segmentButton.enabled


def test_models_that_came_while_another_module_was_open_are_listed(app: Slicer, models: Path) -> None:
    panel, _volume = ready(app, models, model=0)
    panel.exit()
    (models / "south.safetensors").touch()
    panel.enter()
    assert "south" in panel.ui.modelComboBox.items


def test_a_model_without_an_index_is_asked_for_its_card(app: Slicer, tmp_path: Path) -> None:
    app.volume()
    (tmp_path / "only.safetensors").write_text(
        json.dumps({"event": "result", "summary": CARD | {"owned": ["CT"]}})
    )
    panel = app.panel()
    panel.ui.modelFolderLineEdit.currentPath = str(tmp_path)
    assert panel.ui.missingLabel.text == "The model's card is being read."
    wait(panel)
    assert "Liver, Kidney" in panel.ui.cardLabel.text and panel.ui.segmentButton.enabled


def test_a_file_that_is_no_model_is_told_and_cannot_be_used(app: Slicer, tmp_path: Path) -> None:
    app.volume()
    told = {"event": "error", "message": "only.safetensors is damaged.", "fix": "Fetch it again."}
    (tmp_path / "only.safetensors").write_text(json.dumps(told))
    panel = app.panel()
    panel.ui.modelFolderLineEdit.currentPath = str(tmp_path)
    wait(panel)
    assert panel.ui.messageLabel.text == "only.safetensors is damaged.\nFetch it again."
    assert not panel.ui.segmentButton.enabled


def test_a_model_of_several_images_is_not_fed_with_one(app: Slicer, tmp_path: Path) -> None:
    app.volume()
    folder(tmp_path, both=CARD | {"inputs": [["T1"], ["FLAIR"]], "owned": ["T1", "FLAIR"]})
    ui = app.panel().ui
    ui.modelFolderLineEdit.currentPath = str(tmp_path)
    assert not ui.segmentButton.enabled and "takes 2 images" in ui.missingLabel.text


def test_the_command_is_remembered_for_this_computer_not_for_the_scene(app: Slicer) -> None:
    app.panel().ui.commandLineEdit.currentPath = "/opt/fedseg"
    assert app.settings["FedSeg/command"] == "/opt/fedseg" and "/opt/fedseg" not in app.parameters.values()


def test_scripts_segment_with_one_blocking_call(app: Slicer, models: Path, temporary: Path) -> None:
    result = app.module.FedSegLogic().segment(app.volume(), models, "MR")
    assert result.segmentation.attributes["FedSeg.status"] == "unreviewed"
    assert result.mixture.abstain is True and not list(temporary.iterdir())


def test_scripts_get_an_error_with_its_fix(app: Slicer, models: Path) -> None:
    app.environment["FAKE_FEDSEG"] = "error"
    with pytest.raises(RuntimeError, match=r"The image is empty. Give another one."):
        app.module.FedSegLogic().segment(app.volume(), models / "global.safetensors", "MR")


def test_scripts_are_told_that_there_is_no_volume(app: Slicer, models: Path) -> None:
    with pytest.raises(ValueError, match="no volume"):
        app.module.FedSegLogic().segment(None, models, "MR")
