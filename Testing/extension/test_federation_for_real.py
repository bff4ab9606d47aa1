"""The tab "Federation" in a federation of real processes: a coordinator, a hospital without a panel, and this one."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from FedSegCore.federation.ledger import verify_ledger
from Testing.extension.test_federation_panel import opened, rows
from Testing.hospitals import Hospitals, validate, write_study
from Testing.slicer_harness.app import App

pytestmark = pytest.mark.slow
LONGEST_S = 240.0
REAL_STUDY = """
name = "two real hospitals"
method = "fedavg"
rounds = 2

[network]
channels = [4, 8]

[train]
threads = 1
"""


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Hospitals]:
    """A coordinator and sites; the study is still to be written."""
    made = Hospitals(tmp_path, tmp_path / "study.toml")
    yield made
    made.stop()


def served(federation: Hospitals) -> None:
    """The study is served, and one hospital has joined it without a panel."""
    federation.serve()
    federation.join("south")


def invited(app: App, federation: Hospitals) -> Any:
    """The panel of the other hospital, with its invitation and its dataset."""
    app.environment["OMP_NUM_THREADS"] = "1"
    app.settings.setValue("FedSeg/command", sys.executable)
    panel = opened(app, federation.invite("north"), federation.folder / "north", LONGEST_S)
    assert not panel.ui.invitationMessageLabel.visible, panel.ui.invitationMessageLabel.text
    return panel


def agree(app: App, panel: Any) -> None:
    """The three clicks of joining."""
    for button in (panel.ui.ethicsCheckBox, panel.ui.agreementCheckBox, panel.ui.joinButton):
        app.click(button)


def ended(app: App, panel: Any) -> Path:
    """Wait until the study has ended; the folder that the site keeps."""
    part = panel._federation._part
    folder = part.member.folder
    app.wait(lambda: part.isOver or not part.isRunning, LONGEST_S)
    assert panel.ui.studyMessageLabel.text.startswith("The study has ended."), panel.ui.studyMessageLabel.text
    return Path(folder)


def listed(panel: Any) -> list[str]:
    """The models that can be segmented with."""
    box = panel.ui.modelComboBox
    return [box.itemText(place) for place in range(box.count)]


def test_a_hospital_takes_part_from_its_panel_and_has_its_models_at_the_end(
    app: App, federation: Hospitals
) -> None:
    sites = {"north": "publish_personal = true", "south": ""}
    write_study(federation.folder, sites, methods=["iopfl"], rounds=4)
    validate(federation.folder / "north")
    served(federation)
    panel = invited(app, federation)
    ui, part = panel.ui, panel._federation._part
    told = ui.invitationLabel.text.splitlines()
    assert told[:2] == ["Study: two hospitals", "Your hospital takes part as: north"]
    assert told[3] == "Method: iopfl, 4 rounds"
    assert told[4:6] == [
        "Structures: those of this hospital's dataset",
        "Images: those of this hospital's dataset",
    ]
    assert ui.leavesLabel.text and ui.neverLeavesLabel.text and ui.toKnowLabel.text
    assert ui.publishCheckBox.visible and not ui.publishCheckBox.checked

    agree(app, panel)
    app.wait(lambda: "Round 2 of 4" in ui.studyLabel.text, LONGEST_S)
    assert ui.studyCurveLabel.visible and not ui.studyMessageLabel.visible
    assert rows(ui.sentTable)[0] == " join" and "1 update" in rows(ui.sentTable)
    folder = ended(app, panel)

    federation.finish()
    assert "Round 4 of 4" in ui.studyLabel.text
    assert len(rows(ui.sentTable)) == verify_ledger(folder / "ledger.jsonl"), "each message, and only those"
    assert rows(ui.arrivedTable) == ["global iopfl", "personal-north iopfl"]
    models = folder / "runs" / "iopfl-seed0" / "models"
    assert panel.parameterNode.modelFolder == str(models)
    assert panel.parameterNode.model == "global.safetensors"
    assert listed(panel) == ["global", "personal-north"]
    ui.arrivedTable.cellClicked.emit(1, 0)
    ui.tabWidget.currentIndex = 2
    assert ui.modelComboBox.currentText == "personal-north"
    app.wait(lambda: "Learnt at: north (2 cases)" in ui.cardLabel.text, LONGEST_S)
    assert not ui.messageLabel.visible, ui.messageLabel.text
    came = {told.path: told.name for told in part.models}
    assert came == {told.path: told.name for told in part.member.models()}, "as another day lists them"


def test_a_hospital_stops_and_goes_on_from_its_panel_with_real_images(
    app: App, federation: Hospitals, real_data: Path
) -> None:
    study = REAL_STUDY
    for name in ("north", "south"):
        data = real_data / "hippo_shift" / name
        (federation.folder / name).symlink_to(data, target_is_directory=True)
        case = Path(json.loads((data / "dataset.json").read_text())["test"][0]["image"]).name.split(".")[0]
        study += f'\n[[site]]\nname = "{name}"\ndata = "{name}"\nlimit = 2\ntest_cases = ["{case}"]\n'
    federation.study.write_text(study)
    served(federation)
    panel = invited(app, federation)
    ui, part = panel.ui, panel._federation._part
    agree(app, panel)
    app.wait(lambda: "1 update" in rows(ui.sentTable), LONGEST_S)
    app.click(ui.stopButton)
    app.wait(lambda: not part.isRunning)
    assert ui.studyMessageLabel.text.startswith("Stopped on this computer.")
    before = len(rows(ui.sentTable))
    app.click(ui.goOnButton)
    folder = ended(app, panel)
    federation.finish()
    assert "Round 2 of 2" in ui.studyLabel.text and "Dice of Anterior" in ui.studyLabel.text
    assert before < len(rows(ui.sentTable)) == verify_ledger(folder / "ledger.jsonl")
    assert rows(ui.arrivedTable) == ["global fedavg"] and listed(panel) == ["global"]
    assert "Anterior, Posterior" in ui.cardLabel.text


def board(federation: Hospitals) -> dict[str, Any]:
    """What the coordinator's status says."""
    facts: dict[str, Any] = json.loads((federation.out / "status.json").read_text())
    return facts


def test_a_hospital_pauses_resumes_and_leaves_from_its_panel_and_the_coordinator_sees_it(
    app: App, federation: Hospitals
) -> None:
    sites = {"north": "", "south": ""}
    write_study(federation.folder, sites, methods=["fedavg"], rounds=14, more="min_sites = 1")
    federation.serve()
    panel = invited(app, federation)
    ui, part = panel.ui, panel._federation._part
    agree(app, panel)
    app.wait(lambda: "1 update" in rows(ui.sentTable), LONGEST_S)

    app.click(ui.pauseButton)
    app.wait(lambda: "Paused. The study goes on without this hospital." in ui.studyLabel.text, LONGEST_S)
    assert ui.pauseButton.text == "Resume" and not ui.studyProgressBar.visible
    federation.join("south")  # now, so that the study cannot have ended before it is paused
    messages, paused_at = len(rows(ui.sentTable)), board(federation)["round"]
    app.wait(lambda: board(federation)["round"] > paused_at + 1, LONGEST_S)
    assert board(federation)["rounds"][-1]["left_out"] == {"north": "it pauses."}
    assert len(rows(ui.sentTable)) == messages, "nothing leaves meanwhile"

    app.click(ui.pauseButton)
    app.wait(lambda: len(rows(ui.sentTable)) > messages, LONGEST_S)
    app.wait(lambda: "north" in board(federation)["rounds"][-1]["sites"], LONGEST_S)
    assert ui.pauseButton.text == "Pause" and not ui.studyMessageLabel.visible

    app.answers.append(True)
    app.click(ui.leaveButton)
    app.wait(lambda: not part.isRunning, LONGEST_S)
    assert ui.studyMessageLabel.text.startswith("This hospital has left the study. Nothing more is sent.")
    assert not ui.goOnButton.visible and not ui.leaveButton.visible
    folder = Path(part.member.folder)
    sent = verify_ledger(folder / "ledger.jsonl")
    assert sent == len(rows(ui.sentTable))
    federation.finish()
    facts = board(federation)
    assert facts["sites"]["north"]["state"] == "left" and list(facts["rounds"][-1]["sites"]) == ["south"]
    assert facts["round"] == 14 and verify_ledger(folder / "ledger.jsonl") == sent


def test_a_hospital_that_lets_others_use_its_model_publishes_it_once_at_the_end(
    app: App, federation: Hospitals
) -> None:
    sites = {"north": "publish_personal = true", "south": "publish_personal = true"}
    write_study(federation.folder, sites, methods=["iopfl"])
    served(federation)
    panel = invited(app, federation)
    ui = panel.ui
    stays = "this site's own model stays here."
    assert stays in ui.leavesLabel.text
    app.click(ui.publishCheckBox)
    assert stays not in ui.leavesLabel.text, "who agrees has read that it leaves"
    agree(app, panel)
    folder = ended(app, panel)
    federation.finish()
    (place,) = (place for place, row in enumerate(rows(ui.sentTable)) if row.endswith("publish"))
    ui.sentTable.cellClicked.emit(place, 0)
    assert "head." in ui.sentDetails.plainText, "the message's tensors can be read"
    assert verify_ledger(folder / "ledger.jsonl") == ui.sentTable.rowCount
    for kept in (federation.out, federation.home("south")):
        names = {path.stem for path in kept.glob("**/models/*.safetensors")}
        assert names == {"global", "personal-north"}, "south agreed to nothing of the kind"
    assert sorted(listed(panel)) == ["Mixture of all, fitted to the volume", "global", "personal-north"]
