from __future__ import annotations

from pathlib import Path

import pytest

from FedSegCore.data.check import check_dataset
from FedSegCore.study import read_study
from FedSegCore.verbs import demo
from Testing.command import fedseg, refused


def test_the_generated_hospitals_are_a_valid_study_without_flaws(tmp_path: Path) -> None:
    study = read_study(demo.write_hospitals(tmp_path / "demo"))
    assert [site.name for site in study.sites] == ["north", "south", "island"]
    for site in study.sites:
        assert [one for one in check_dataset(site.data) if one.severity == "error"] == []


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert "not empty" in refused(fedseg("demo", "--out", tmp_path))
    assert "not empty" in refused(fedseg("demo", "--out", tmp_path / "notes.txt"))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.slow
def test_the_demo_ends_with_a_model_that_segments_and_a_report(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    outcome = fedseg("demo", "--out", out, "--json")
    assert outcome.code == 0, outcome
    assert outcome.result["summary"]["dice"]["fedgin/global"] > 0.6
    assert (out / "report.html").is_file() and (out / "models" / "global.safetensors").is_file()
    scan = next((out / "hospitals" / "island" / "imagesTs").iterdir())
    told = fedseg(
        "segment", "--image", f"MR={scan}", "--model", out / "models" / "global.safetensors", "-o", tmp_path
    )
    assert told.code == 0, told
    again = fedseg("simulate", out / "hospitals" / "study.toml", "--out", out, "--resume")
    assert again.code == 0
