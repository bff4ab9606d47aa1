"""A dataset folder grows case by case, and `fedseg` reads it."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from FedSegLib.dataset import CaseFiles, DatasetError, SiteDataset, beginDataset, openDataset
from FedSegLib.matching import Segment

from FedSegCore.data.case import read_dataset
from FedSegCore.data.check import examine_dataset
from Testing.slicer import write_slicer

DRAWN = [Segment("Segment_1", "Liver", "SCT^10200004"), Segment("Segment_2", "Tumour", "")]


def add(dataset: SiteDataset, seed: int = 0) -> CaseFiles:
    """A case of noise, as the scene would write it."""
    case, generator = dataset.nextCase(), np.random.default_rng(seed)
    for path in (*case.images, case.drawing):
        path.parent.mkdir(parents=True, exist_ok=True)
    for path in case.images:
        voxels = generator.normal(size=(8, 9, 10)).astype(np.float32)
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)
    drawn = np.zeros((8, 9, 10), np.uint8)
    drawn[2:5, 2:5, 2:5], drawn[5:7, 2:5, 2:5] = 1, 2
    write_slicer(case.drawing, [drawn], {"Liver": (1, 0), "Tumour": (2, 0)}, affine=np.eye(4))
    dataset.record(case)
    return case


def test_cases_that_were_added_are_found_and_clean(tmp_path: Path) -> None:
    dataset = beginDataset(tmp_path / "liver", ["CT"], DRAWN)
    add(dataset, seed=1)
    add(dataset, seed=2)
    read = read_dataset(dataset.folder)
    assert [case.name for case in read.training + read.validation] == ["case_001", "case_002"]
    assert read.channel_names == ("CT",)
    examination = examine_dataset(dataset.folder)
    assert [problem for problem in examination.problems if problem.severity == "error"] == []


def test_a_dataset_is_opened_again_as_it_was_left(tmp_path: Path) -> None:
    add(beginDataset(tmp_path / "two", ["T1", "FLAIR"], DRAWN))
    dataset = openDataset(tmp_path / "two")
    assert dataset is not None and dataset.modalities == ("T1", "FLAIR") and dataset.numCases == 1
    assert dataset.structures == {"Liver": "SCT^10200004", "Tumour": ""}
    case = add(dataset, seed=3)
    assert [path.name for path in case.images] == ["case_002_0000.nii.gz", "case_002_0001.nii.gz"]
    assert len(read_dataset(dataset.folder).training) == 2


def test_nothing_is_written_before_the_first_case(tmp_path: Path) -> None:
    beginDataset(tmp_path / "liver", ["CT"], DRAWN)
    assert not (tmp_path / "liver").exists() and openDataset(tmp_path / "liver") is None


def test_a_case_that_is_recorded_again_stands_once(tmp_path: Path) -> None:
    dataset = beginDataset(tmp_path / "liver", ["CT"], DRAWN)
    dataset.record(add(dataset))
    assert dataset.numCases == 1


def test_an_unlisted_file_keeps_its_name_for_itself(tmp_path: Path) -> None:
    dataset = beginDataset(tmp_path / "liver", ["CT"], DRAWN)
    (tmp_path / "liver" / "imagesTr").mkdir(parents=True)
    (tmp_path / "liver" / "imagesTr" / "case_001.nii.gz").touch()
    assert dataset.nextCase().name == "case_002"


def test_a_case_can_be_discarded(tmp_path: Path) -> None:
    dataset = beginDataset(tmp_path / "liver", ["CT"], DRAWN)
    case = dataset.nextCase()
    case.images[0].parent.mkdir(parents=True)
    case.images[0].touch()
    case.discard()
    assert not case.images[0].exists()


def test_a_decathlon_dataset_can_be_extended(tmp_path: Path) -> None:
    facts = {
        "name": "given",
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "Liver", "2": "Tumour"},
        "training": [],
        "validation": [],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(facts))
    dataset = openDataset(tmp_path)
    assert dataset is not None and list(dataset.structures) == ["Liver", "Tumour"]
    add(dataset)
    assert json.loads((tmp_path / "dataset.json").read_text())["name"] == "given"
    assert len(read_dataset(tmp_path).training) == 1


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"labels": {"a": 1}, "channel_names": 3}'])
def test_a_dataset_that_cannot_be_understood_is_not_touched(tmp_path: Path, text: str) -> None:
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(DatasetError, match="cannot be understood"):
        openDataset(tmp_path)
    assert (tmp_path / "dataset.json").read_text() == text


def test_a_folder_of_other_things_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").touch()
    with pytest.raises(DatasetError, match="neither empty nor a dataset"):
        openDataset(tmp_path)


def test_a_folder_without_a_list_is_not_extended(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"channel_names": {"0": "CT"}, "labels": {"Liver": 1}}')
    with pytest.raises(DatasetError, match="lists no training cases"):
        openDataset(tmp_path)


@pytest.mark.parametrize(
    ("modalities", "drawn"),
    [
        (["CT"], []),
        (["CT"], [Segment("1", "Liver", ""), Segment("2", "liver", "")]),
        (["CT"], [Segment("1", "Background", "")]),
        ([""], DRAWN),
        (["CT", "CT"], DRAWN),
        ([], DRAWN),
    ],
)
def test_a_dataset_that_says_too_little_is_not_begun(
    tmp_path: Path, modalities: list[str], drawn: list[Segment]
) -> None:
    with pytest.raises(DatasetError):
        beginDataset(tmp_path / "new", modalities, drawn)
