from __future__ import annotations

import json
from pathlib import Path

import pytest

from Testing.command import SmallSite, fedseg, refused, write_study

LONG = "a_case_with_a_name_that_is_longer_than_any_terminal_would_like_to_show_in_one_line_of_its_own_" * 2


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_study(tmp_path, [SmallSite("north", cases=3)])


def test_clean_data_exit_with_0_and_tell_the_passport(study: Path) -> None:
    outcome = fedseg("check", study.parent / "north", "--json")
    assert outcome.code == 0 and outcome.told("problem") == []
    summary = outcome.result["summary"]
    assert summary["errors"] == 0 and any("Liver" in line for line in summary["passport"])
    assert "0 errors" in fedseg("check", study.parent / "north").out


def test_each_problem_is_one_line_with_the_full_file_name_and_the_exit_code_is_1(study: Path) -> None:
    folder = study.parent / "north"
    broken = folder / "imagesTr" / f"{LONG}.nii.gz"
    broken.write_bytes(b"no image")
    (folder / "labelsTr" / "north_001.nii.gz").unlink()
    raw = json.loads((folder / "dataset.json").read_text())
    raw["training"].append({"image": f"imagesTr/{LONG}.nii.gz", "label": "labelsTr/north_000.nii.gz"})
    (folder / "dataset.json").write_text(json.dumps(raw))
    outcome = fedseg("check", folder)
    assert outcome.code == 1
    errors = [line for line in outcome.out.splitlines() if line.startswith("error: ")]
    assert any(f"imagesTr/{LONG}.nii.gz" in line for line in errors)
    assert any("labelsTr/north_001.nii.gz" in line for line in errors)
    events = fedseg("check", folder, "--json")
    assert events.code == 1 and events.result["summary"]["errors"] == len(errors)
    for event in events.told("problem"):
        assert set(event) == {"event", "file", "severity", "message", "fix"} and event["fix"]


def test_warnings_alone_exit_with_0(study: Path) -> None:
    folder = study.parent / "north"
    raw = json.loads((folder / "dataset.json").read_text())
    raw["labels"]["Spleen"] = 3
    (folder / "dataset.json").write_text(json.dumps(raw))
    outcome = fedseg("check", folder, "--json")
    assert {event["severity"] for event in outcome.told("problem")} == {"warning"}
    assert outcome.code == 0


def test_with_a_study_the_sites_own_keys_are_checked_too(study: Path) -> None:
    study.write_text(study.read_text() + 'cases = ["nobody"]\n')
    outcome = fedseg("check", study.parent / "north", "--study", study, "--site", "north", "--json")
    assert outcome.code == 1
    assert any("nobody" in event["message"] for event in outcome.told("problem"))


def test_a_site_that_the_study_does_not_have_is_refused(study: Path) -> None:
    folder = study.parent / "north"
    assert '"north"' in refused(fedseg("check", folder, "--study", study, "--site", "nort"))
    assert "belong together" in refused(fedseg("check", folder, "--site", "north"))
    assert "/nowhere" in refused(fedseg("check", "/nowhere"))
    assert "study.toml" in refused(fedseg("check", study))


def test_it_tells_how_many_cases_are_read_and_names_none(study: Path) -> None:
    outcome = fedseg("check", study.parent / "north", "--json")
    told = outcome.told("progress")
    assert [event["message"] for event in told] == [f"{number} of 4 cases read" for number in (1, 2, 3, 4)]
    assert [event["value"] for event in told] == [0.25, 0.5, 0.75, 1.0]
    assert {event["stage"] for event in told} == {"data"}
    at_a_site = fedseg("check", study.parent / "north", "--study", study, "--site", "north", "--json")
    assert at_a_site.told("progress") == told
