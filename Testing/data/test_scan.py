"""What the preflight and the passport see of a .seg.nrrd is what training learns from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

import FedSegCore.data.itk as itk
import FedSegCore.data.rawimage as rawimage
from FedSegCore.data.case import read_dataset
from FedSegCore.data.check import check_dataset, examine_dataset
from FedSegCore.data.passport import Passport, make_passport
from Testing.slicer import write_slicer

SHAPE = (20, 22, 18)
AFFINE = np.array([[-1.0, 0, 0, 9], [0, 1.2, 0, -7], [0, 0, 2.0, 30], [0, 0, 0, 1]])
LABELS = {"background": 0, "whole": [1, 2], "core": 2}
CROP = (slice(2, 14), slice(4, 15), slice(3, 12))
LABEL = "labelsTr/a.seg.nrrd"


def masks() -> tuple[np.ndarray, np.ndarray]:
    whole, core = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    whole[4:12, 5:12, 4:9] = 1
    core[6:9, 6:9, 5:8] = 1
    return whole, core


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """One case whose segmentation lies cropped, on two layers, both with the value 1."""
    image = np.random.default_rng(0).normal(200, 40, SHAPE).astype(np.int16)
    (tmp_path / "imagesTr").mkdir()
    nib.save(nib.Nifti1Image(image, AFFINE), tmp_path / "imagesTr/a.nii.gz")
    write_slicer(tmp_path / LABEL, masks(), {"whole": (1, 0), "core": (1, 1)}, affine=AFFINE, crop=CROP)
    describe(tmp_path, labels=LABELS)
    return tmp_path


def describe(folder: Path, *, labels: dict[str, Any]) -> None:
    described = {
        "channel_names": {"0": "T1"},
        "labels": labels,
        "training": [{"image": "imagesTr/a.nii.gz", "label": LABEL}],
        "validation": [],
    }
    (folder / "dataset.json").write_text(json.dumps(described))


def as_nifti(folder: Path) -> Passport:
    """The passport of the same site with its label map as NIfTI."""
    whole, core = masks()
    nib.save(nib.Nifti1Image(whole + core, AFFINE), folder / "labelsTr/a.nii.gz")
    described = (folder / "dataset.json").read_text().replace(LABEL, "labelsTr/a.nii.gz")
    (folder / "dataset.json").write_text(described)
    return make_passport(read_dataset(folder))


def test_a_segmentation_as_slicer_saves_it_has_no_problem(site: Path) -> None:
    assert check_dataset(site) == []


def test_its_passport_is_that_of_the_same_label_map_as_nifti(site: Path) -> None:
    checked, made = examine_dataset(site).passport, make_passport(read_dataset(site))
    assert checked == made == as_nifti(site)
    assert made.label_voxels == {"whole": 8 * 7 * 5, "core": 27}
    assert made.intensity["T1"].labelled


def test_one_layer_with_the_segments_own_numbers_has_no_problem(site: Path) -> None:
    whole, core = masks()
    painted = np.where(core, 1, 5 * whole).astype(np.uint8)
    write_slicer(site / LABEL, [painted], {"whole": (5, 0), "core": (1, 0)}, affine=AFFINE, crop=CROP)
    assert check_dataset(site) == []
    assert make_passport(read_dataset(site)).label_voxels == {"whole": 8 * 7 * 5, "core": 27}


def test_a_segment_that_dataset_json_does_not_name_is_one_error(site: Path) -> None:
    write_slicer(site / LABEL, masks(), {"whole": (1, 0), "kernel": (1, 1)}, affine=AFFINE)
    (problem,) = check_dataset(site)
    assert (problem.file, problem.severity) == (LABEL, "error")
    assert problem.message.startswith('The label map has the segment "kernel"')
    assert "Rename" in problem.fix


def test_an_overlap_without_a_value_is_one_error(site: Path) -> None:
    describe(site, labels={"background": 0, "whole": 1, "core": 2})
    (problem,) = check_dataset(site)
    assert (problem.file, problem.severity) == (LABEL, "error")
    assert '27 voxels inside "whole" and "core"' in problem.message


def test_a_segmentation_off_the_images_grid_is_one_error(site: Path) -> None:
    moved = AFFINE.copy()
    moved[0, 3] += 0.5
    write_slicer(site / LABEL, masks(), {"whole": (1, 0), "core": (1, 1)}, affine=moved)
    (problem,) = check_dataset(site)
    assert (problem.file, problem.severity) == (LABEL, "error")
    assert "0.5 mm off" in problem.message


def test_labels_that_cannot_be_understood_are_the_only_problem(site: Path) -> None:
    describe(site, labels={"whole": "one"})
    assert [problem.file for problem in check_dataset(site)] == ["dataset.json"]


def test_each_file_is_read_once(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    voxels, nifti = itk.read, rawimage._read_nifti

    def heard_voxels(path: Path) -> Any:
        read.append(path.name)
        return voxels(path)

    def heard_nifti(path: Path, *, compressed: bool) -> Any:
        read.append(path.name)
        return nifti(path, compressed=compressed)

    monkeypatch.setattr(itk, "read", heard_voxels)
    monkeypatch.setattr(rawimage, "_read_nifti", heard_nifti)
    check_dataset(site)
    assert sorted(read) == ["a.nii.gz", "a.seg.nrrd"]


@pytest.mark.parametrize("copied", [False, True], ids=["the same file", "another file"])
def test_a_label_map_as_its_own_image_is_one_error(site: Path, copied: bool) -> None:
    as_nifti(site)
    image = "labelsTr/a.nii.gz"
    if copied:
        image = "imagesTr/b.nii.gz"
        (site / image).write_bytes((site / "labelsTr/a.nii.gz").read_bytes())
    (site / "imagesTr/a.nii.gz").unlink()
    described = (site / "dataset.json").read_text().replace("imagesTr/a.nii.gz", image)
    (site / "dataset.json").write_text(described)
    errors = [problem for problem in check_dataset(site) if problem.severity == "error"]
    assert [(problem.file, problem.message) for problem in errors] == [
        (image, "The image is the case's own label map: the same file, or the same voxels.")
    ]


def test_a_segmentation_as_its_own_image_is_an_error_whatever_its_numbers(site: Path) -> None:
    whole, _ = masks()
    write_slicer(site / LABEL, [7 * whole], {"whole": (7, 0)}, affine=AFFINE)
    (site / "dataset.json").write_text(
        (site / "dataset.json").read_text().replace("imagesTr/a.nii.gz", LABEL)
    )
    errors = [problem.message for problem in check_dataset(site) if problem.severity == "error"]
    assert ["own label map" in message for message in errors] == [True]
