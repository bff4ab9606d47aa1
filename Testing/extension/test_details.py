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
        f"/data/{MARKER}/scan.nii.gz is torn.",
        f"C:\\Users\\{MARKER}\\scan.nrrd is torn.",
        f"imagesTr/{MARKER}_01.nii.gz is torn.",
        f"{MARKER}_01.nii.gz is torn.",
        f"'/my data/{MARKER}, John/scan' is torn.",
        f"The case {MARKER.upper()} has no image.",
        f"{MARKER} FedSeg was drawn on {MARKER}.",
    ],
)
def test_no_path_file_or_name_is_left(told: str) -> None:
    assert MARKER.lower() not in withoutNames(told, [MARKER]).lower()


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
