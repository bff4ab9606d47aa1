"""The tab "Federation" as a user works with it, over the real Qt, with the fake command and a recorded study."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from Testing.extension.fake_federation import SECRET
from Testing.extension.test_federation import FACTS
from Testing.slicer_harness.app import App

SETTING = "FedSeg/federation"
KEPT = Path("mine-federation") / "fedseg-liver-across-hospitals-north"


@pytest.fixture
def invitation(tmp_path: Path) -> Path:
    """An invitation; its token stands for the one of a real file."""
    path = tmp_path / "north.fedseg"
    path.write_text(json.dumps({"event": "result", "summary": FACTS, "token": SECRET}) + "\n")
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A dataset of one case, which the fake command never reads."""
    folder = tmp_path / "mine"
    folder.mkdir()
    case = {"image": "imagesTr/case_001.nii.gz", "label": "labelsTr/case_001.nii.gz"}
    facts = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "Liver": 1}, "training": [case]}
    (folder / "dataset.json").write_text(json.dumps(facts))
    return folder


def settled(
    app: App, panel: Any, arrived: Callable[[], bool] = lambda: False, *, seconds: float = 10
) -> None:
    """Let events come until something arrived, or nothing runs any more."""
    app.wait(lambda: arrived() or not panel._timer.isActive(), seconds)


def opened(app: App, invitation: Path, data: Path, seconds: float = 10) -> Any:
    """The panel with an invitation and a dataset; the real command takes more seconds to read them."""
    panel = app.open()
    panel.ui.tabWidget.currentIndex = 0
    panel.ui.invitationLineEdit.currentPath = str(invitation)
    panel.ui.siteDataLineEdit.currentPath = str(data)
    settled(app, panel, seconds=seconds)
    return panel


def joined(app: App, invitation: Path, data: Path, how: str = "") -> Any:
    """The panel after the three clicks of joining; where the study goes on, after its first round."""
    panel = opened(app, invitation, data)
    app.environment["FAKE_FEDSEG"] = how
    for button in (panel.ui.ethicsCheckBox, panel.ui.agreementCheckBox, panel.ui.joinButton):
        app.click(button)
    goesOn = how in ("wait", "turned away")
    settled(app, panel, lambda: goesOn and "is sent" in panel.ui.studyLabel.text)
    return panel


def resting(app: App, invitation: Path, data: Path) -> Any:
    """The panel of a study that was joined and stopped here."""
    panel = joined(app, invitation, data, "wait")
    app.click(panel.ui.stopButton)
    settled(app, panel)
    return panel


def rows(table: Any) -> list[str]:
    """The first two cells of each row."""
    return [f"{table.item(row, 0).text()} {table.item(row, 1).text()}" for row in range(table.rowCount)]


def test_before_an_invitation_there_is_nothing_to_agree_to(app: App) -> None:
    ui = app.open().ui
    ui.tabWidget.currentIndex = 0
    sections = (ui.leavesCollapsibleButton, ui.joinCollapsibleButton, ui.studyCollapsibleButton)
    assert not any(
        section.visible for section in (*sections, ui.sentCollapsibleButton, ui.arrivedCollapsibleButton)
    )
    assert not ui.connectionButton.visible and ui.invitationLabel.text.startswith("Open the invitation")


def test_an_invitation_says_what_it_is_and_exactly_what_leaves_and_what_never_does(
    app: App, invitation: Path, data: Path
) -> None:
    ui = opened(app, invitation, data).ui
    assert ui.invitationLabel.text.splitlines()[:5] == [
        "Study: liver across hospitals",
        "Your hospital takes part as: north",
        "Coordinated by: University of Example, at hub.example.org:443",
        "Method: fedgin, 3 rounds",
        "Structures: Liver, Kidney",
    ]
    assert ui.leavesLabel.visible and ui.leavesLabel.text == "• Weights of the network.\n\n• The mean loss."
    assert ui.neverLeavesLabel.visible and ui.neverLeavesLabel.text == "• Images.\n\n• Names of patients."
    assert ui.toKnowLabel.visible and ui.toKnowLabel.text == "• Weights can leak images."
    assert ui.siteDataLabel.text == "Cases: 1, images: MR, structures: Liver"


def test_who_lets_the_own_model_be_published_reads_that_it_leaves_before_agreeing(
    app: App, invitation: Path, data: Path
) -> None:
    ui = opened(app, invitation, data).ui
    app.click(ui.publishCheckBox)
    assert ui.leavesLabel.text.endswith("• This site's own model.")
    app.click(ui.publishCheckBox)
    assert ui.leavesLabel.text == "• Weights of the network.\n\n• The mean loss."


def test_nobody_joins_without_a_dataset_and_both_approvals(app: App, invitation: Path, data: Path) -> None:
    panel = opened(app, invitation, data)
    ui = panel.ui
    assert not ui.joinButton.enabled and ui.joinMissingLabel.text == "Confirm both approvals first."
    app.click(ui.ethicsCheckBox)
    assert not ui.joinButton.enabled
    app.click(ui.agreementCheckBox)
    assert ui.joinButton.enabled and not ui.joinMissingLabel.visible
    ui.siteDataLineEdit.currentPath = ""
    assert not ui.joinButton.enabled and ui.joinMissingLabel.text.startswith("Choose the folder")


def test_from_an_opened_invitation_to_joined_it_takes_three_clicks(
    app: App, invitation: Path, data: Path, tmp_path: Path
) -> None:
    panel = opened(app, invitation, data)
    buttons = [panel.ui.ethicsCheckBox, panel.ui.agreementCheckBox, panel.ui.joinButton]
    assert len(buttons) == 3 and not (tmp_path / KEPT).exists()
    for button in buttons:
        app.click(button)
    settled(app, panel, lambda: (tmp_path / KEPT / "credential").exists())
    settled(app, panel)
    assert rows(panel.ui.sentTable)[0] == " join" and not app.asked


def test_what_was_confirmed_for_one_invitation_says_nothing_of_another(
    app: App, invitation: Path, data: Path, tmp_path: Path
) -> None:
    panel = opened(app, invitation, data)
    app.click(panel.ui.ethicsCheckBox)
    app.click(panel.ui.agreementCheckBox)
    other = tmp_path / "other.fedseg"
    other.write_bytes(invitation.read_bytes())
    panel.ui.invitationLineEdit.currentPath = str(other)
    settled(app, panel)
    assert not panel.ui.ethicsCheckBox.checked and not panel.ui.joinButton.enabled


def test_a_file_that_is_none_is_told_and_offers_nothing(app: App, invitation: Path, data: Path) -> None:
    invitation.write_text('{"event": "result", "summary": {"kind": "model"}}\n')
    ui = opened(app, invitation, data).ui
    assert ui.invitationMessageLabel.text.startswith("north.fedseg is no invitation.")
    assert not ui.joinCollapsibleButton.visible and not ui.leavesCollapsibleButton.visible
    ui.invitationLineEdit.currentPath = "nowhere.fedseg"
    assert ui.invitationMessageLabel.text.startswith("There is no file nowhere.fedseg.")


def test_the_folder_of_the_data_is_that_of_the_other_tab(app: App, invitation: Path, data: Path) -> None:
    panel = opened(app, invitation, data)
    assert panel.ui.datasetLineEdit.currentPath == str(data)
    panel.ui.datasetLineEdit.currentPath = "elsewhere"
    assert panel.ui.siteDataLineEdit.currentPath == "elsewhere"


def test_a_connection_that_fails_names_the_hop_and_what_to_do(app: App, invitation: Path, data: Path) -> None:
    panel = opened(app, invitation, data)
    app.click(panel.ui.connectionButton)
    settled(app, panel)
    assert panel.ui.connectionLabel.text.splitlines()[0].startswith("DNS: ")
    assert "can be reached" in panel.ui.connectionLabel.text
    app.environment["FAKE_FEDSEG"] = "refuse"
    app.click(panel.ui.connectionButton)
    settled(app, panel)
    told = panel.ui.connectionLabel.text
    assert "gateway: another server answers" in told and "can be reached" not in told
    assert told.endswith(
        "The gateway does not answer as one.\nAsk your IT whether a proxy stands in between."
    )


def test_joining_tells_the_command_exactly_what_was_agreed_to(
    app: App, invitation: Path, data: Path, tmp_path: Path
) -> None:
    app.environment["FAKE_FEDSEG_WORDS"] = str(tmp_path / "words")
    joined(app, invitation, data)
    told = [
        "join",
        "--json",
        str(invitation),
        "--data",
        str(data),
        "--site-dir",
        str(tmp_path / KEPT),
        "--accept",
    ]
    assert json.loads((tmp_path / "words").read_text()) == told


def test_this_hospitals_own_model_is_published_only_where_the_user_says_so(
    app: App, invitation: Path, data: Path, tmp_path: Path
) -> None:
    panel = opened(app, invitation, data)
    app.environment["FAKE_FEDSEG_WORDS"] = str(tmp_path / "words")
    ui = panel.ui
    for button in (ui.publishCheckBox, ui.ethicsCheckBox, ui.agreementCheckBox, ui.joinButton):
        app.click(button)
    settled(app, panel)
    assert "--publish-personal" in json.loads((tmp_path / "words").read_text())


def test_nobody_is_asked_to_publish_what_the_coordinator_does_not_want(
    app: App, invitation: Path, data: Path
) -> None:
    invitation.write_text(invitation.read_text().replace('"publish_personal_asked": true', '"more": 1'))
    assert not opened(app, invitation, data).ui.publishCheckBox.visible


def test_a_study_is_followed_to_its_end_and_its_model_is_selected(
    app: App, invitation: Path, data: Path, tmp_path: Path
) -> None:
    panel = joined(app, invitation, data)
    ui, models = panel.ui, tmp_path / KEPT / "runs" / "fedgin-seed0" / "models"
    assert ui.studyMessageLabel.text.startswith("The study has ended.")
    assert "Round 3 of 3" in ui.studyLabel.text and "Dice of Kidney: 0.66" in ui.studyLabel.text
    assert ui.studyCurveLabel.visible and not ui.studyCurveLabel.pixmap.isNull()
    assert rows(ui.arrivedTable) == ["global fedgin", "personal-north fedgin"]
    assert (
        panel.parameterNode.modelFolder == str(models) and panel.parameterNode.model == "global.safetensors"
    )
    listed = [ui.modelComboBox.itemText(place) for place in range(ui.modelComboBox.count)]
    assert listed == ["global", "personal-north"] and ui.modelComboBox.currentIndex == 0
    ui.arrivedTable.cellClicked.emit(1, 0)
    assert panel.parameterNode.model == "../sites/north/personal.safetensors"
    assert ui.modelComboBox.currentIndex == 1
    buttons = (ui.goOnButton, ui.stopButton, ui.pauseButton, ui.leaveButton, ui.joinButton)
    assert not any(button.visible for button in buttons) and not app.settings.contains(SETTING)


def test_everything_that_was_sent_is_listed_and_a_click_shows_what_it_held(
    app: App, invitation: Path, data: Path
) -> None:
    ui = joined(app, invitation, data).ui
    assert rows(ui.sentTable) == [" join", "1 update", "2 update", "3 update", "3 publish"]
    assert ui.sentLabel.text.startswith("Messages: 5, 7.6 MB in all.") and not ui.sentDetails.visible
    ui.sentTable.cellClicked.emit(1, 0)
    assert ui.sentDetails.visible and "head.weight: 3 x 16 x 1 x 1 x 1" in ui.sentDetails.plainText


def test_a_running_study_shows_state_round_curve_and_what_it_agreed_to(
    app: App, invitation: Path, data: Path
) -> None:
    ui = joined(app, invitation, data, "wait").ui
    assert ui.studyLabel.text.splitlines() == [
        "This round's update is sent. Waiting for the other hospitals.",
        "Round 1 of 3",
        "Dice of Liver: 0.31",
        "Dice of Kidney: 0.18",
        "About 2 hours left",
    ]
    assert ui.studyProgressBar.value == 17 and ui.studyCurveLabel.visible
    assert not ui.joinCollapsibleButton.visible and not ui.invitationLineEdit.enabled
    assert ui.leavesLabel.text.startswith("• Once, when joining:"), (
        "the words that were kept with the consent"
    )
    assert ui.toKnowLabel.text == "• Weights can leak images.", "what the stream does not repeat stays"


def test_a_pause_and_its_end_take_effect_with_a_round(app: App, invitation: Path, data: Path) -> None:
    panel = joined(app, invitation, data, "wait")
    ui = panel.ui
    app.click(ui.pauseButton)
    settled(app, panel, lambda: ui.studyLabel.text.startswith("Paused."))
    assert ui.pauseButton.text == "Resume" and not ui.studyProgressBar.visible
    app.wait(lambda: ui.pauseButton.enabled)
    app.click(ui.pauseButton)
    settled(app, panel, lambda: ui.studyLabel.text.startswith("Training"))
    assert ui.pauseButton.text == "Pause" and not ui.studyMessageLabel.visible


@pytest.mark.parametrize("how", ["wait", "turned away"])
def test_leaving_is_asked_about_and_ends_for_good(app: App, invitation: Path, data: Path, how: str) -> None:
    panel = joined(app, invitation, data, how)
    app.answers.append(False)
    app.click(panel.ui.leaveButton)
    assert "stays part of the study's models" in app.asked[-1].text and panel._federation._part.isRunning
    app.answers.append(True)
    app.click(panel.ui.leaveButton)
    settled(app, panel)
    assert panel.ui.studyMessageLabel.text.startswith("This hospital has left the study.")
    assert not panel.ui.goOnButton.visible and not app.settings.contains(SETTING)
    assert panel.parameterNode.modelFolder == "", "what the user has selected stays"


def test_a_study_that_stops_here_can_be_gone_on_with_and_its_ledger_stays_whole(
    app: App, invitation: Path, data: Path, tmp_path: Path
) -> None:
    panel = joined(app, invitation, data, "wait")
    before = time.monotonic()
    app.click(panel.ui.stopButton)
    settled(app, panel)
    assert time.monotonic() - before < 2
    assert panel.ui.studyMessageLabel.text.startswith("Stopped on this computer.")
    app.environment.update(FAKE_FEDSEG="", FAKE_FEDSEG_WORDS=str(tmp_path / "words"))
    app.click(panel.ui.goOnButton)
    settled(app, panel)
    words = json.loads((tmp_path / "words").read_text())
    assert words[2] == str(tmp_path / KEPT / "invitation.fedseg") and "--accept" not in words
    assert len(rows(panel.ui.sentTable)) == 2 + 5, "those of before, and those that followed"


def test_the_study_ends_with_the_application_and_is_offered_the_next_time(
    app: App, invitation: Path, data: Path
) -> None:
    panel = joined(app, invitation, data, "wait")
    process = panel._federation._part._joining._process
    app._unload()
    assert process.poll() is not None
    panel = app.open()
    panel.ui.tabWidget.currentIndex = 0
    settled(app, panel)
    ui = panel.ui
    assert ui.studyLabel.text.splitlines()[:2] == [
        "This computer takes part in liver across hospitals as north. It rests now.",
        "Last known: round 2 of 3",
    ]
    assert ui.goOnButton.visible and rows(ui.sentTable) == [" join", "1 update"]
    assert not ui.joinCollapsibleButton.visible and ui.leavesCollapsibleButton.visible


def test_a_damaged_ledger_is_told_and_not_shown_as_if_it_were_whole(
    app: App, invitation: Path, data: Path, tmp_path: Path
) -> None:
    panel = resting(app, invitation, data)
    (tmp_path / KEPT / "ledger.jsonl").write_text("torn\n")
    app.click(panel.ui.goOnButton)
    settled(app, panel, lambda: "is sent" in panel.ui.studyLabel.text)
    assert "ledger.jsonl cannot be read" in panel.ui.studyMessageLabel.text


def test_a_study_that_rests_can_be_left_without_going_on(app: App, invitation: Path, data: Path) -> None:
    panel = resting(app, invitation, data)
    app.answers.append(True)
    app.click(panel.ui.leaveButton)
    settled(app, panel)
    assert panel.ui.studyMessageLabel.text.startswith("This hospital has left the study.")


def test_an_agreement_that_no_longer_holds_is_asked_for_anew(
    app: App, invitation: Path, data: Path, tmp_path: Path
) -> None:
    panel = resting(app, invitation, data)
    (tmp_path / KEPT / "consent.json").unlink()
    app.click(panel.ui.goOnButton)
    settled(app, panel)
    assert panel.ui.studyMessageLabel.text.startswith("Nobody has agreed")
    assert panel.ui.joinCollapsibleButton.visible


def test_a_study_that_is_refused_says_which_file_is_at_fault_and_is_not_remembered(
    app: App, invitation: Path, data: Path
) -> None:
    ui = joined(app, invitation, data, "refuse").ui
    assert ui.studyMessageLabel.text == (
        "The dataset has an error.\nCorrect it and join again.\n\nimagesTr/a.nii.gz: Torn.\nMend."
    )
    assert ui.joinCollapsibleButton.visible and ui.joinButton.enabled and not app.settings.contains(SETTING)


def test_a_process_that_dies_is_told_and_can_be_gone_on_with(app: App, invitation: Path, data: Path) -> None:
    ui = joined(app, invitation, data, "crash").ui
    assert "exit code 9" in ui.studyMessageLabel.text and ui.goOnButton.visible
    assert rows(ui.sentTable) == [" join", "1 update"]


def test_closing_the_scene_does_not_touch_the_study(app: App, invitation: Path, data: Path) -> None:
    panel = joined(app, invitation, data, "wait")
    app.close_scene()
    app.pump()
    assert panel._federation._part.isRunning and panel.ui.pauseButton.visible


def test_neither_scene_nor_settings_hold_a_secret_or_the_study(
    app: App, invitation: Path, data: Path, tmp_path: Path
) -> None:
    panel = joined(app, invitation, data, "wait")
    app.settings.sync()
    settings = Path(app.settings.fileName()).read_text()
    assert "fedseg-liver-across-hospitals-north" in settings and SECRET not in settings
    app.slicer.util.saveScene(str(tmp_path / "scene.mrml"), {})
    scene = (tmp_path / "scene.mrml").read_text()
    assert SECRET not in scene and "fedseg-liver" not in scene and "north" not in scene
    panel.cleanup()


def test_another_study_is_joined_only_after_asking(
    app: App, invitation: Path, data: Path, tmp_path: Path
) -> None:
    panel = resting(app, invitation, data)
    other = tmp_path / "other.fedseg"
    other.write_text(invitation.read_text().replace("liver across", "spleen across"))
    panel.ui.invitationLineEdit.currentPath = str(other)
    settled(app, panel)
    app.answers.extend([False, True])
    app.click(panel.ui.ethicsCheckBox)
    app.click(panel.ui.agreementCheckBox)
    app.click(panel.ui.joinButton)
    assert panel._federation._part.member.study == "liver across hospitals"
    app.click(panel.ui.joinButton)
    settled(app, panel, lambda: "is sent" in panel.ui.studyLabel.text)
    assert panel._federation._part.member.study == "spleen across hospitals"
    assert rows(panel.ui.sentTable) == [" join", "1 update"], "only those of this study"


def test_without_the_command_joining_says_what_to_install(app: App, invitation: Path, data: Path) -> None:
    panel = opened(app, invitation, data)
    panel.ui.commandLineEdit.currentPath = "no-such-program"
    settled(app, panel)
    for button in (panel.ui.ethicsCheckBox, panel.ui.agreementCheckBox, panel.ui.joinButton):
        app.click(button)
    assert panel.ui.studyMessageLabel.text.startswith("There is no program no-such-program.")
    assert panel.ui.joinCollapsibleButton.visible and not app.settings.contains(SETTING)
