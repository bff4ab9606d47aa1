from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from FedSegCore.data.io import read_volume, write_label_map
from Testing.command import Finished, fedseg, refused


@pytest.fixture
def labels(finished: Finished) -> Path:
    return finished.study.parent / "mr" / "labelsTr"


def test_references_compared_with_themselves_are_perfect(labels: Path, tmp_path: Path) -> None:
    table = tmp_path / "scores.csv"
    outcome = fedseg("evaluate", labels, labels, "--csv", table, "--json")
    assert outcome.code == 0, outcome
    summary = outcome.result["summary"]
    assert summary["cases"] == 3 and set(summary["means"]) == {"Liver", "Kidney"}
    assert all(mean == {"dice": 1.0, "hd95_mm": 0.0, "nsd_1mm": 1.0} for mean in summary["means"].values())
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["case", "label", "dice", "hd95_mm", "nsd_1mm"]
    assert len(rows) == 6 and {float(row["dice"]) for row in rows} == {1.0}


def test_one_file_against_another_is_scored_by_the_names_of_the_dataset(labels: Path, tmp_path: Path) -> None:
    reference = labels / "mr_000.nii.gz"
    like = read_volume(reference)
    moved = np.roll(like.array.astype(np.uint8), 1, axis=0)
    write_label_map(tmp_path / "found.nii.gz", moved, like=like, segments={"Liver": 1, "Kidney": 2})
    outcome = fedseg("evaluate", tmp_path / "found.nii.gz", reference, "--json")
    liver = outcome.result["summary"]["means"]["Liver"]
    assert 0 < liver["dice"] < 1 and liver["hd95_mm"] == pytest.approx(2.0)
    text = fedseg("evaluate", tmp_path / "found.nii.gz", reference).out
    assert "Liver" in text and "HD95" in text and "1 cases" in text


def test_a_slicer_segmentation_brings_its_own_names(tmp_path: Path, labels: Path) -> None:
    like = read_volume(labels / "mr_000.nii.gz")
    for name in ("found", "truth"):
        (tmp_path / name).mkdir()
        write_label_map(
            tmp_path / name / "a.seg.nrrd",
            like.array.astype(np.uint8),
            like=like,
            segments={"One": 1, "Two": 2},
        )
    outcome = fedseg("evaluate", tmp_path / "found", tmp_path / "truth", "--json")
    assert outcome.result["summary"]["means"]["Two"]["dice"] == 1.0


def test_what_the_reference_does_not_name_is_scored_by_its_value(tmp_path: Path, labels: Path) -> None:
    shutil.copy(labels / "mr_000.nii.gz", tmp_path / "a.nii.gz")
    outcome = fedseg("evaluate", tmp_path / "a.nii.gz", tmp_path / "a.nii.gz", "--json")
    assert set(outcome.result["summary"]["means"]) == {"1", "2"}


def test_a_structure_that_both_lack_is_undefined_not_zero(tmp_path: Path, labels: Path) -> None:
    like = read_volume(labels / "mr_000.nii.gz")
    liver = (like.array == 1).astype(np.uint8)
    for name in ("found", "labelsTr"):
        (tmp_path / name).mkdir()
        write_label_map(tmp_path / name / "a.nii.gz", liver, like=like, segments={})
    shutil.copy(labels.parent / "dataset.json", tmp_path)
    table = tmp_path / "scores.csv"
    outcome = fedseg("evaluate", tmp_path / "found", tmp_path / "labelsTr", "--csv", table, "--json")
    summary = outcome.result["summary"]
    assert summary["undefined"] == 1 and summary["means"]["Kidney"]["dice"] is None
    assert "a,Kidney,,," in table.read_text()
    assert "nan" in fedseg("evaluate", tmp_path / "found", tmp_path / "labelsTr").out
    assert not math.isnan(summary["means"]["Liver"]["dice"])


def test_what_cannot_be_compared_is_refused(labels: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    image = nib.load(labels / "mr_000.nii.gz")
    nib.Nifti1Image(np.asarray(image.dataobj)[1:], image.affine).to_filename(other / "mr_000.nii.gz")
    (tmp_path / "empty").mkdir()
    assert "grids" in refused(fedseg("evaluate", other / "mr_000.nii.gz", labels))
    assert "no segmentation" in refused(fedseg("evaluate", tmp_path / "empty", labels))
    assert "/nowhere" in refused(fedseg("evaluate", "/nowhere", labels))
    shutil.move(other / "mr_000.nii.gz", other / "stranger.nii.gz")
    assert "stranger.nii.gz" in refused(fedseg("evaluate", other, labels))


def test_a_reference_that_was_not_segmented_is_told(labels: Path, tmp_path: Path) -> None:
    shutil.copy(labels / "mr_000.nii.gz", tmp_path)
    said = refused(fedseg("evaluate", tmp_path, labels))
    assert "2 of 3 references" in said and "mr_001.nii.gz, mr_002.nii.gz." in said
    assert fedseg("evaluate", tmp_path / "mr_000.nii.gz", labels).code == 0


def test_an_evaluation_of_segmented_images_runs_from_end_to_end(finished: Finished, tmp_path: Path) -> None:
    images = finished.study.parent / "ct"
    (case,) = json.loads((images / "dataset.json").read_text())["test"]
    out = tmp_path / "found" / Path(case["label"]).name
    scan = images / case["image"]
    assert fedseg("segment", "--image", f"CT={scan}", "--model", finished.model, "-o", out).code == 0
    outcome = fedseg("evaluate", out.parent, images / "labelsTs", "--json")
    assert outcome.code == 0 and set(outcome.result["summary"]["means"]) == {"Liver", "Kidney"}
