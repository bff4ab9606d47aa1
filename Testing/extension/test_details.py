"""The details of an error that are copied for others: enough to help, and nothing of a patient."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from FedSegLib.details import detailsOf, tracebackLines, withoutNames
from FedSegLib.events import Message

from Testing.extension.test_panel import models, ready, wait
from Testing.slicer_harness.app import App

__all__ = ["models"]

MARKER = "Smith"
LOG = f"""a library says something of Patient {MARKER}
Traceback (most recent call last):
  File "/home/{MARKER}/venv/lib/python3.12/site-packages/FedSegCore/data/io.py", line 41, in read_volume
    raise ImageError(path)
FedSegCore.errors.ImageError: /data/{MARKER}/scan.nii.gz is torn
"""


@pytest.mark.parametrize(
    "told",
    [
        "/data/Jane Smith/scan.nii.gz is torn.",
        "There is no file /home/dr/Studies/SMITH JANE 1950/inv.fedseg.",
        r"C:\Users\Anna Jane Smith\Desktop\x y.fedseg cannot be read.",
        "//nas/rad/SMITH JANE ANNA scan 3",
        r"\\nas\rad\SMITH JANE",
        "Torn: ~/St. Mary/Dr. Smith Jane",
        "'/data/O'Neil, Jane Smith/scan' is torn.",
        "imagesTr/Smith Jane.nii.gz is torn.",
        "Smith Jane/scan is torn.",
        "Smith J. Jane/scan is torn in /data.",
        "SMITH JANE scan.nii.gz cannot be read.",
        "Smith, Jane.nii.gz is not in /data.",
        "Smith Jane 'x/y' is torn.",
    ],
)
def test_no_path_or_file_is_left_though_none_of_its_names_is_known(told: str) -> None:
    left = withoutNames(told, []).lower()
    assert "<path>" in left and not any(word in left for word in ("smith", "jane", "anna", "mary", "dr"))


@pytest.mark.parametrize(
    ("told", "left"),
    [
        ("The case SMITH JANE has no image.", "The case <name> has no image."),
        ("Smith Jane FedSeg was drawn on smith jane.", "<name> FedSeg was drawn on <name>."),
        ("/data/My Mary/a b.json: Input/output error.", "<path>: Input/output error."),
        (r"D:\x\Dr. Y lacks a label. Mend dataset.json.", "<path> lacks a label. Mend dataset.json."),
        ("There is nothing in /data/My Mary/Smith.", "There is nothing in <path>"),
    ],
)
def test_of_what_is_known_no_more_is_taken_out_than_that(told: str, left: str) -> None:
    assert withoutNames(told, ["Smith Jane", "/data/My Mary/a b.json", "/data/My Mary", "D:/x/Dr. Y"]) == left


def test_a_sentence_without_names_stays_whole() -> None:
    told = 'The image is empty: give another one, at 1.5 mm, or say "MR".'
    assert withoutNames(told, ["", "MR", MARKER]) == told


def test_of_a_traceback_places_and_kinds_stay() -> None:
    assert tracebackLines(LOG) == [
        "Traceback:",
        "  site-packages/FedSegCore/data/io.py:41, in read_volume",
        "FedSegCore.errors.ImageError",
    ]


def test_cause_fix_and_versions_are_told() -> None:
    told = detailsOf(Message("The disk is full.", "Make room."), slicer="5.10.0", trace=LOG)
    assert told.startswith("Error: The disk is full.\nWhat to do: Make room.\nFedSeg 0.")
    assert "Slicer 5.10.0, Python 3." in told and told.endswith("ImageError\n") and MARKER not in told


def copied(app: App, button: Any) -> str:
    app.click(button)
    return str(app.slicer.app.clipboard().text())


def test_a_failed_segmentation_offers_its_details_and_a_success_does_not(app: App, models: Path) -> None:
    panel, _volume = ready(app, models, model=0, how="crash")
    assert not panel.ui.messageCopyButton.visible
    panel.ui.segmentButton.click()
    wait(app, panel)
    told = copied(app, panel.ui.messageCopyButton)
    assert "code 9" in told and "Command: fedseg segment, exit code 9" in told and "What to do: Free" in told
    assert MARKER not in told and str(models) not in told
    app.environment["FAKE_FEDSEG"] = ""
    panel.ui.segmentButton.click()
    wait(app, panel)
    assert not panel.ui.messageCopyButton.visible


def test_the_details_of_a_dataset_name_no_case_of_it(app: App, tmp_path: Path) -> None:
    data = tmp_path / MARKER
    data.mkdir()
    case = {"image": f"imagesTr/{MARKER}Case.nii.gz", "label": f"labelsTr/{MARKER}Case.nii.gz"}
    facts = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "Liver": 1}, "training": [case]}
    (data / "dataset.json").write_text(json.dumps(facts))
    panel = app.open()
    panel.ui.tabWidget.currentIndex = app.module.DATA_TAB
    panel.ui.datasetLineEdit.currentPath = str(data)
    panel._data._addNotice.fail(Message(f"The case {MARKER}Case is torn in {data}.", "Export it again."))
    told = copied(app, panel.ui.addMessageCopyButton)
    assert "Export it again." in told and MARKER not in told


def test_the_details_of_an_invitation_and_of_the_setup_name_no_file(app: App, tmp_path: Path) -> None:
    panel = app.open()
    panel.ui.tabWidget.currentIndex = 0
    panel.ui.invitationLineEdit.currentPath = str(tmp_path / f"{MARKER} Jane 1950" / "John Doe")
    told = copied(app, panel.ui.invitationMessageCopyButton)
    assert "There is no file <path>.\nWhat to do: Choose the invitation again." in told
    panel._federation._invitation._notice.fail(Message("John Doe is no invitation.", ""))
    assert "<name> is no invitation." in copied(app, panel.ui.invitationMessageCopyButton)
    app.slicer.app.settings().setValue("FedSeg/command", f"/{MARKER} Jane/fedseg")
    panel._setup.check()
    told = copied(app, panel.ui.installationCopyButton)
    assert "There is no program <path>." in told
