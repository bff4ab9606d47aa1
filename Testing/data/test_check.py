"""Seeded faults: each damages one clean small dataset, and exactly that fault is found."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from nibabel.orientations import apply_orientation, inv_ornt_aff

from FedSegCore.data.check import check_dataset, examine_dataset
from FedSegCore.data.io import read_volume, write_label_map
from FedSegCore.data.legend import Legend
from FedSegCore.data.problem import Problem
from FedSegCore.errors import DataError

SHAPE = (20, 22, 18)
AFFINE = np.array([[-1.0, 0, 0, 9], [0, 1.2, 0, -7], [0, 0, 2.0, 30], [0, 0, 0, 1]])
TRAINING, VALIDATION, TEST = ("case_a", "case_b", "case_c"), ("case_d",), ("case_e",)


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE, **fields: Any) -> None:
    image = nib.Nifti1Image(array, affine)
    for key, value in fields.items():
        image.header[key] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)


def load(path: Path) -> np.ndarray:
    return np.asanyarray(nib.load(path).dataobj)


def image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(200, 40, SHAPE).astype(np.int16)


def label_map() -> np.ndarray:
    label = np.zeros(SHAPE, np.uint8)
    label[4:10, 5:12, 4:9] = 1
    label[10:14, 5:12, 4:9] = 2
    return label


def entry(name: str) -> dict[str, Any]:
    images = [f"./imagesTr/{name}_0000.nii.gz", f"./imagesTr/{name}_0001.nii.gz"]
    return {"image": images, "label": f"./labelsTr/{name}.nii.gz"}


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    for number, name in enumerate((*TRAINING, *VALIDATION, *TEST)):
        save(folder / f"imagesTr/{name}_0000.nii.gz", image(number))
        save(folder / f"imagesTr/{name}_0001.nii.gz", image(100 + number))
        save(folder / f"labelsTr/{name}.nii.gz", label_map())
    described = {
        "channel_names": {"0": "T1", "1": "FLAIR"},
        "labels": {"background": 0, "Liver": 1, "Spleen": 2},
        "training": [entry(name) for name in TRAINING],
        "validation": [entry(name) for name in VALIDATION],
        "test": [entry(name) for name in TEST],
    }
    (folder / "dataset.json").write_text(json.dumps(described))
    return folder


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "dataset.json"
    described = json.loads(path.read_text())
    change(described)
    path.write_text(json.dumps(described))


def moved(**to: Any) -> np.ndarray:
    affine = AFFINE.copy()
    affine[0, 3] += to["by"]
    return affine


def spoiled(array: np.ndarray, value: float, dtype: Any = np.float32) -> np.ndarray:
    array = array.astype(dtype)
    array[6, 6, 6] = value
    return array


A0, A1, LABEL_A = "imagesTr/case_a_0000.nii.gz", "imagesTr/case_a_0001.nii.gz", "labelsTr/case_a.nii.gz"


def everywhere(folder: Path, affine: np.ndarray, **fields: Any) -> None:
    """All files of case_a on one other grid."""
    for file in (A0, A1, LABEL_A):
        save(folder / file, load(folder / file), affine, **fields)


def truncate(path: Path, keep: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-6] ^= 1  # in gzip's checksum
    path.write_bytes(bytes(content))


def lose_the_last_bytes(folder: Path) -> None:
    (folder / LABEL_A).with_suffix("").write_bytes(gzip.decompress((folder / LABEL_A).read_bytes())[:-50])
    (folder / LABEL_A).unlink()
    edit(folder, lambda raw: raw["training"][0].update(label="labelsTr/case_a.nii"))


def rename(folder: Path, name: str) -> None:
    """Gives case_a's label map another name."""
    (folder / LABEL_A).rename(folder / "labelsTr" / name)
    edit(folder, lambda raw: raw["training"][0].update(label=f"labelsTr/{name}"))


def keep_in_test(folder: Path, name: str) -> None:
    """Copies case_a's voxels into a new test case under another name and header."""
    save(folder / f"imagesTr/{name}_0000.nii.gz", load(folder / A0).astype(np.float32), moved(by=50))
    save(folder / f"imagesTr/{name}_0001.nii.gz", image(555), moved(by=50))
    save(folder / f"labelsTr/{name}.nii.gz", label_map(), moved(by=50))


def turn_in_test(folder: Path) -> None:
    """Makes case_e of case_a: the axes in another order, one of them mirrored, intensities rescaled."""
    order = np.array([[1.0, -1.0], [2.0, 1.0], [0.0, 1.0]])
    affine = AFFINE @ inv_ornt_aff(order, SHAPE)
    rescaled = (load(folder / A0) * 0.013 - 4).astype(np.float32)
    for file, array in (
        ("imagesTr/case_e_0000.nii.gz", rescaled),
        ("imagesTr/case_e_0001.nii.gz", image(555)),
        ("labelsTr/case_e.nii.gz", label_map()),
    ):
        save(folder / file, apply_orientation(array, order), affine)


def state(**texts: Any) -> Callable[[Path], object]:
    """Writes texts into dataset.json."""
    return lambda folder: edit(folder, lambda raw: raw.update(texts))


def flatten(folder: Path) -> None:
    """Case_a's files get an sform without extent along the second axis; nibabel itself would not write it."""
    for file in (A0, A1, LABEL_A):
        content = bytearray(gzip.decompress((folder / file).read_bytes()))
        content[296:312] = bytes(16)  # srow_y
        content[252:254] = bytes(2)  # qform_code
        (folder / file).write_bytes(gzip.compress(bytes(content)))


def add_extension(path: Path, code: int, content: bytes) -> None:
    loaded = nib.load(path)
    copy = nib.Nifti1Image(np.asanyarray(loaded.dataobj), loaded.affine, loaded.header)
    copy.header.extensions.append(nib.nifti1.Nifti1Extension(code, content))
    nib.save(copy, path)


def to_nrrd(folder: Path, file: str, metadata: dict[str, str]) -> None:
    """Case_a's first channel as NRRD with header fields, on the same grid."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ AFFINE
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    copy = sitk.GetImageFromArray(load(folder / A0).transpose(2, 1, 0).copy())
    copy.SetSpacing(spacing.tolist())
    copy.SetOrigin(lps[:3, 3].tolist())
    copy.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    for key, value in metadata.items():
        copy.SetMetaData(key, value)
    sitk.WriteImage(copy, str(folder / file))
    (folder / A0).unlink()
    edit(folder, lambda raw: raw["training"][0].update(image=[file, A1]))


@dataclass(frozen=True)
class Fault:
    """One damage, and the one problem that it should give."""

    name: str
    damage: Callable[[Path], object]
    file: str
    severity: str
    says: str


AXIAL = AFFINE * np.array([1, -1, 1, 1])
SHEARED = AFFINE + np.array([[0, 0.3, 0, 0], [0] * 4, [0] * 4, [0] * 4])
TILTED = np.array(
    [[np.cos(0.05), -np.sin(0.05), 0, 0], [np.sin(0.05), np.cos(0.05), 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
)

FAULTS = [
    Fault("no dataset.json", lambda f: (f / "dataset.json").unlink(), "dataset.json", "error", "missing"),
    Fault(
        "broken JSON", lambda f: truncate(f / "dataset.json", 0.9), "dataset.json", "error", "not valid JSON"
    ),
    Fault("a JSON list", lambda f: (f / "dataset.json").write_text("[]"), "dataset.json", "error", "object"),
    Fault("no labels key", lambda f: edit(f, lambda r: r.pop("labels")), "dataset.json", "error", "labels"),
    Fault(
        "no channel names",
        lambda f: edit(f, lambda r: r.pop("channel_names")),
        "dataset.json",
        "error",
        "channel",
    ),
    Fault(
        "two labels of one value",
        lambda f: edit(f, lambda r: r["labels"].update(Kidney=2)),
        "dataset.json",
        "error",
        "same label value",
    ),
    Fault(
        "an entry without an image",
        lambda f: edit(f, lambda r: r["training"].append({"picture": "x"})),
        "dataset.json",
        "error",
        "Entry 4",
    ),
    Fault(
        "wrong numTraining",
        lambda f: edit(f, lambda r: r.update(numTraining=50)),
        "dataset.json",
        "warning",
        "numTraining",
    ),
    Fault("missing image", lambda f: (f / A1).unlink(), A1, "error", "missing"),
    Fault("missing label map", lambda f: (f / LABEL_A).unlink(), LABEL_A, "error", "missing"),
    Fault("empty file", lambda f: (f / A0).write_bytes(b""), A0, "error", "0 bytes"),
    Fault("truncated image", lambda f: truncate(f / A1, 0.6), A1, "error", "truncated"),
    Fault("not an image", lambda f: (f / A1).write_bytes(b"hello" * 200), A1, "error", "not compressed"),
    Fault("a wrong checksum", lambda f: flip_a_bit(f / A1), A1, "error", "damaged"),
    Fault("truncated uncompressed file", lose_the_last_bytes, "labelsTr/case_a.nii", "error", "truncated"),
    Fault(
        "a Git LFS pointer",
        lambda f: (
            (f / A0).write_bytes(gzip.compress(b"")) and (f / A0).write_bytes(b"version https://git-lfs\n")
        ),
        A0,
        "error",
        "LFS",
    ),
    Fault(
        "label map of another shape",
        lambda f: save(f / LABEL_A, label_map()[:-2]),
        LABEL_A,
        "error",
        "18 x 22 x 18 voxels",
    ),
    Fault(
        "label map with swapped axes",
        lambda f: save(f / LABEL_A, label_map().transpose(2, 1, 0).copy()),
        LABEL_A,
        "error",
        "swapped",
    ),
    Fault("channel of another shape", lambda f: save(f / A1, image(7)[:, :-1]), A1, "error", "20 x 21 x 18"),
    Fault(
        "label map moved by 5 mm",
        lambda f: save(f / LABEL_A, label_map(), moved(by=5.0)),
        LABEL_A,
        "error",
        "up to 5 mm off",
    ),
    Fault(
        "label map moved by a hair",
        lambda f: save(f / LABEL_A, label_map(), moved(by=0.02)),
        LABEL_A,
        "warning",
        "0.02 mm off",
    ),
    Fault(
        "channel mirrored in its header",
        lambda f: save(f / A1, load(f / A1), AFFINE * np.array([-1, 1, 1, 1])),
        A1,
        "error",
        "RAS",
    ),
    Fault(
        "channel with another spacing",
        lambda f: save(f / A1, load(f / A1), AFFINE * np.array([1, 1, 1.5, 1])),
        A1,
        "error",
        "spacing is 1 x 1.2 x 3 mm",
    ),
    Fault("channel rotated", lambda f: save(f / A1, load(f / A1), TILTED @ AFFINE), A1, "error", "rotated"),
    Fault(
        "label value that dataset.json lacks",
        lambda f: save(f / LABEL_A, spoiled(label_map(), 9, np.uint8)),
        LABEL_A,
        "error",
        "9 (1 voxels)",
    ),
    Fault(
        "label value that is not whole",
        lambda f: save(f / LABEL_A, spoiled(label_map(), 0.5)),
        LABEL_A,
        "error",
        "0.5",
    ),
    Fault(
        "NaN in a label map",
        lambda f: save(f / LABEL_A, spoiled(label_map(), np.nan)),
        LABEL_A,
        "error",
        "NaN",
    ),
    Fault("empty label map", lambda f: save(f / LABEL_A, 0 * label_map()), LABEL_A, "warning", "empty"),
    Fault(
        "a label in no case",
        lambda f: edit(f, lambda r: r["labels"].update(Kidney=3)),
        "dataset.json",
        "warning",
        '"Kidney"',
    ),
    Fault("NaN in an image", lambda f: save(f / A0, spoiled(image(0), np.nan)), A0, "error", "1 NaN"),
    Fault(
        "infinity in an image", lambda f: save(f / A0, spoiled(image(0), np.inf)), A0, "error", "1 infinite"
    ),
    Fault("constant image", lambda f: save(f / A0, 0 * image(0) + 7), A0, "error", "every voxel is 7"),
    Fault(
        "wrapped negative numbers",
        lambda f: save(f / A0, (image(0) - 210).astype(np.uint16)),
        A0,
        "warning",
        "unsigned",
    ),
    Fault(
        "a scale gone wild",
        lambda f: save(f / A0, image(0).astype(np.float32) * 1e9),
        A0,
        "warning",
        "beyond a million",
    ),
    Fault(
        "a colour image",
        lambda f: save(f / A0, np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])),
        A0,
        "error",
        "colour",
    ),
    Fault(
        "one channel too few",
        lambda f: edit(f, lambda r: r["training"][0].update(image=A0)) or (f / A1).unlink(),
        A0,
        "error",
        "1 image file(s)",
    ),
    Fault(
        "spacing in metres", lambda f: everywhere(f, AFFINE * 0.001), A0, "error", "0.001 x 0.0012 x 0.002 mm"
    ),
    Fault(
        "spacing in micrometres",
        lambda f: everywhere(f, AFFINE * 1000, xyzt_units=3),
        A0,
        "error",
        "unit is µm",
    ),
    Fault("sheared axes", lambda f: everywhere(f, SHEARED), A0, "error", "not orthogonal"),
    Fault("a spacing of 0", flatten, A0, "error", "affine"),
    Fault(
        "sform against qform",
        lambda f: save(f / A0, image(0), qoffset_x=200.0, qform_code=1, sform_code=1),
        A0,
        "warning",
        "disagree",
    ),
    Fault(
        "4-D image",
        lambda f: save(f / A0, np.stack([image(0), image(1000)], axis=-1)),
        A0,
        "error",
        "4 axes (20 x 22 x 18 x 2)",
    ),
    Fault(
        "the same case twice",
        lambda f: edit(f, lambda r: r["training"].append(entry("case_a"))),
        A0,
        "error",
        "twice in training",
    ),
    Fault(
        "a case in training and in test",
        lambda f: edit(f, lambda r: r["test"].append(entry("case_a"))),
        A0,
        "error",
        "in training and in test",
    ),
    Fault(
        "the same image twice",
        lambda f: save(f / "imagesTr/case_b_0000.nii.gz", load(f / A0)),
        "imagesTr/case_b_0000.nii.gz",
        "warning",
        "same as imagesTr/case_a_0000.nii.gz",
    ),
    Fault(
        "the same image in training and test",
        lambda f: keep_in_test(f, "case_e"),
        "imagesTr/case_e_0000.nii.gz",
        "error",
        "leak",
    ),
    Fault(
        "the same image in training and, turned and rescaled, in test",
        turn_in_test,
        "imagesTr/case_e_0000.nii.gz",
        "error",
        "leak",
    ),
    Fault(
        "the same image as two channels", lambda f: save(f / A1, load(f / A0)), A1, "warning", "Two channels"
    ),
    Fault(
        "a training case without a label",
        lambda f: edit(f, lambda r: r["training"][0].pop("label")) or (f / LABEL_A).unlink(),
        A0,
        "error",
        "no label",
    ),
    Fault(
        "an image that is not listed",
        lambda f: save(f / "imagesTr/case_z_0000.nii.gz", image(9)),
        "imagesTr/case_z_0000.nii.gz",
        "warning",
        "belongs to no case",
    ),
    Fault(
        "a label map that is not listed",
        lambda f: save(f / "labelsTr/case_z.nii.gz", label_map()),
        "labelsTr/case_z.nii.gz",
        "warning",
        "belongs to no case",
    ),
    Fault(
        "a person's name in a file name",
        lambda f: rename(f, "DOE^JOHN.nii.gz"),
        "labelsTr/DOE^JOHN.nii.gz",
        "warning",
        "name",
    ),
    Fault(
        "a given name in a file name",
        lambda f: rename(f, "DOE_JOHN.nii.gz"),
        "labelsTr/DOE_JOHN.nii.gz",
        "warning",
        "name",
    ),
    Fault(
        "a birth date in a file name",
        lambda f: rename(f, "abd_19610423.nii.gz"),
        "labelsTr/abd_19610423.nii.gz",
        "warning",
        "date",
    ),
    Fault(
        "a hospital number in a file name",
        lambda f: rename(f, "MRN0048213.nii.gz"),
        "labelsTr/MRN0048213.nii.gz",
        "warning",
        "number",
    ),
    Fault(
        "a person's name in descrip",
        lambda f: save(f / A0, image(0), descrip=b"Doe^Jane"),
        A0,
        "warning",
        "descrip holds a person's name",
    ),
    Fault(
        "a birth date in db_name",
        lambda f: save(f / A0, image(0), db_name=b"1961-04-23"),
        A0,
        "warning",
        "db_name holds a date",
    ),
    Fault(
        "a patient's name in a header extension",
        lambda f: add_extension(f / A0, 6, b'{"PatientName": "Jane Doe", "EchoTime": 30}'),
        A0,
        "warning",
        "field about the patient",
    ),
    Fault(
        "a DICOM header in a NIfTI extension",
        lambda f: add_extension(f / A0, 2, b"\x08\x00\x16\x00UI\x02\x001\x00"),
        A0,
        "warning",
        "DICOM header",
    ),
    Fault(
        "DICOM tags in an NRRD file",
        lambda f: to_nrrd(f, "imagesTr/a.nrrd", {"0010|0010": "DOE^JANE", "0010|0020": "ANON"}),
        "imagesTr/a.nrrd",
        "warning",
        "PatientName",
    ),
    Fault(
        "a patient's number in an NRRD key",
        lambda f: to_nrrd(f, "imagesTr/a.nrrd", {"PatientID": "00481237"}),
        "imagesTr/a.nrrd",
        "warning",
        "PatientID",
    ),
    Fault(
        "a person in the licence",
        state(licence="on request: Dr Hans Mueller, MRN 123456"),
        "dataset.json",
        "warning",
        "The licence seems to hold a person's name",
    ),
    Fault(
        "a birth date in the licence",
        state(license="of the patient born 1961-04-23"),
        "dataset.json",
        "warning",
        "The licence seems to hold a date",
    ),
    Fault(
        "a hospital number in a label's name",
        state(labels={"background": 0, "Liver": 1, "Spleen of MRN 0048213": 2}),
        "dataset.json",
        "warning",
        "The label seems to hold a patient or accession number",
    ),
    Fault(
        "a person's name in a channel's name",
        state(channel_names={"0": "T1 of Jane Doe", "1": "FLAIR"}),
        "dataset.json",
        "warning",
        "The channel seems to hold a person's name",
    ),
    Fault(
        "a case that the dataset calls suspect",
        lambda f: edit(f, lambda r: r.update(suspect_cases={"case_a": "4 slices"})),
        LABEL_A,
        "warning",
        "suspect: 4 slices",
    ),
]


def test_a_clean_dataset_has_no_problem(clean: Path) -> None:
    assert check_dataset(clean) == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_seeded_fault_is_found_and_nothing_else(clean: Path, fault: Fault) -> None:
    fault.damage(clean)
    problems = check_dataset(clean)
    assert [(one.file, one.severity) for one in problems] == [(fault.file, fault.severity)], problems
    assert fault.says in problems[0].message
    assert problems[0].fix.strip()
    assert "\n" not in problems[0].line()


def test_five_faults_at_once_are_all_found(clean: Path) -> None:
    for name in ("no labels key", "truncated image", "NaN in an image"):
        next(fault for fault in FAULTS if fault.name == name).damage(clean)
    save(clean / LABEL_A, label_map()[:-2])
    (clean / "labelsTr/case_b.nii.gz").unlink()
    found = {(one.file, one.severity) for one in check_dataset(clean)}
    assert found == {
        ("dataset.json", "error"),
        (A1, "error"),
        (A0, "error"),
        (LABEL_A, "error"),
        ("labelsTr/case_b.nii.gz", "error"),
    }


def test_errors_come_before_warnings(clean: Path) -> None:
    save(clean / LABEL_A, 0 * label_map())
    (clean / "imagesTr/case_e_0000.nii.gz").unlink()
    assert [one.severity for one in check_dataset(clean)] == ["error", "warning"]


def test_without_dataset_json_the_images_are_still_looked_at(clean: Path) -> None:
    (clean / "dataset.json").unlink()
    truncate(clean / A0, 0.5)
    assert {"dataset.json", A0} == {one.file for one in check_dataset(clean)}


def test_a_folder_that_does_not_exist_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        check_dataset(tmp_path / "nowhere")


def test_an_empty_folder_gets_a_problem_and_no_traceback(tmp_path: Path) -> None:
    examined = examine_dataset(tmp_path)
    assert examined.has_errors
    assert examined.passport.lines()


def test_an_empty_json_object_names_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text("{}")
    said = " ".join(one.message for one in check_dataset(tmp_path))
    assert "channel_names" in said
    assert "labels" in said


def nnunet(folder: Path) -> None:
    """Turns the clean dataset into nnU-Net raw style: no lists, cases by their file names."""
    edit(folder, lambda raw: [raw.pop(split) for split in ("training", "validation", "test")])


def test_nnunet_raw_style_is_clean(clean: Path) -> None:
    nnunet(clean)
    assert check_dataset(clean) == []


def test_nnunet_raw_style_misses_a_channel_by_its_file_name(clean: Path) -> None:
    nnunet(clean)
    (clean / A1).unlink()
    (problem,) = check_dataset(clean)
    assert (problem.file, problem.severity) == (A1, "error")


def test_nnunet_raw_style_finds_a_channel_too_many(clean: Path) -> None:
    nnunet(clean)
    save(clean / "imagesTr/case_a_0002.nii.gz", image(77))
    (problem,) = check_dataset(clean)
    assert (problem.file, problem.severity) == (A0, "error")
    assert "3 image file(s)" in problem.message


def test_label_maps_outside_the_folder_are_named_relative_to_it(clean: Path) -> None:
    save(clean.parent / "shared/case_a.nii.gz", spoiled(label_map(), 9, np.uint8))
    (clean / LABEL_A).unlink()
    edit(clean, lambda raw: raw["training"][0].update(label="../shared/case_a.nii.gz"))
    assert [one.file for one in check_dataset(clean)] == ["../shared/case_a.nii.gz"]


def test_rounding_of_an_affine_to_float32_is_no_problem(clean: Path) -> None:
    oblique = TILTED @ AFFINE
    everywhere(clean, oblique)
    save(clean / LABEL_A, label_map(), oblique.astype(np.float32).astype(np.float64))
    assert check_dataset(clean) == []


def test_slices_without_a_plausible_distance_are_no_problem_where_there_is_one(clean: Path) -> None:
    affine = AFFINE * np.array([1, 1, 100, 1])
    for file in (A0, A1, LABEL_A):
        save(clean / file, load(clean / file)[:, :, 5:6], affine)
    assert check_dataset(clean) == []


def test_regions_of_several_values_are_known_values(clean: Path) -> None:
    edit(clean, lambda raw: raw.update(labels={"background": 0, "whole": [1, 2], "core": 2}))
    assert check_dataset(clean) == []


def test_a_channel_that_the_study_does_not_use_is_not_read(clean: Path) -> None:
    (clean / A1).write_bytes(b"")
    assert check_dataset(clean, modalities=["T1"]) == []
    assert [one.file for one in check_dataset(clean, modalities=["FLAIR"])] == [A1]


def test_a_label_that_the_study_does_not_use_may_be_absent(clean: Path) -> None:
    edit(clean, lambda raw: raw["labels"].update(Kidney=3))
    assert check_dataset(clean, labels=["Liver", "Spleen"]) == []


@pytest.mark.parametrize(
    "name",
    [
        "IXI012-HH-1211",
        "SC-HF-I-01",
        "BraTS20_Training_001",
        "left_kidney_2019",
        "sub-01_ses-02_T1w",
        "VS_12345",
    ],
)
def test_usual_pseudonyms_are_let_pass(clean: Path, name: str) -> None:
    rename(clean, f"{name}.nii.gz")
    assert check_dataset(clean) == []


@pytest.mark.parametrize(
    "text", [b"5.0.10", b"FSL6.0.4:b2f", b"TE=30;Time=131245.600", b"SPM12: spm_write_vol"]
)
def test_what_programs_write_into_descrip_is_let_pass(clean: Path, text: bytes) -> None:
    save(clean / A0, image(0), descrip=text, aux_file=b"none")
    assert check_dataset(clean) == []


@pytest.mark.parametrize(
    "licence",
    [
        "CC0 1.0",
        "CC-BY-SA 4.0 (derived from MSD Task04 Hippocampus)",
        "CC BY (Lesjak et al.)",
        "Attribution, Noncommercial",
        "CC BY 4.0 (Zenodo 7960856); source repo README says CC BY-SA 4.0 - keep both notices",
        "https://creativecommons.org/licenses/by-nc-sa/4.0/",
        "restricted: not to be shared, see the data use agreement of 2021",
    ],
)
def test_usual_licences_are_let_pass(clean: Path, licence: str) -> None:
    state(licence=licence)(clean)
    assert check_dataset(clean) == []


def test_anatomy_with_a_comma_is_no_persons_name(clean: Path) -> None:
    state(labels={"background": 0, "Kidney, Left": 1, "Circle of Willis": 2})(clean)
    assert check_dataset(clean) == []


def test_the_names_in_a_label_map_that_fedseg_wrote_are_no_identifiers(clean: Path) -> None:
    edit(clean, lambda raw: raw.update(labels={"background": 0, "Kidney, Left": 1, "Spleen": 2}))
    path = clean / LABEL_A
    legend = Legend({"Kidney, Left": (1,), "Spleen": (2,)}).to_text()
    write_label_map(path, label_map(), like=read_volume(path), segments={}, legend=legend)
    assert list(check_dataset(clean)) == []


def test_slicer_segment_fields_in_an_nrrd_header_are_no_identifiers(clean: Path) -> None:
    fields = {"Segment0_Name": "Anna, Left", "Segment0_Tags": "Segmentation.Category:SCT^85756007^Tissue|"}
    to_nrrd(clean, "imagesTr/a.nrrd", fields)
    assert check_dataset(clean) == []


def write_dicom(folder: Path, **tags: str) -> None:
    """Case_a's first channel as a DICOM series."""
    folder.mkdir()
    voxels = load(folder.parent / "case_a_0000.nii.gz")
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ AXIAL
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number in range(voxels.shape[2]):
        part = sitk.GetImageFromArray(voxels[:, :, number].T.copy()[None])
        part.SetSpacing((1.0, 1.2, 2.0))
        position = lps @ [0, 0, number, 1]
        part.SetMetaData("0020|0032", "\\".join(f"{x:g}" for x in position[:3]))
        part.SetMetaData("0020|0037", "1\\0\\0\\0\\1\\0")
        part.SetMetaData("0020|000e", "1.2.826.0.1.3680043.2.1125.1")
        part.SetMetaData("0020|000d", "1.2.826.0.1.3680043.2.1125.2")
        part.SetMetaData("0008|0018", f"1.2.826.0.1.3680043.2.1125.3.{number}")
        part.SetMetaData("0020|0013", str(number))
        for key, value in tags.items():
            part.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{number:03d}.dcm"))
        writer.Execute(part)


@pytest.mark.parametrize(
    ("tags", "fields"),
    [
        ({}, []),
        ({"0010|0010": "Anonymous", "0010|0020": "case_a_dicom"}, []),
        ({"0010|0010": "SUBJ^X", "0010|0020": "77", "0012|0062": "YES"}, []),
        ({"0010|0010": "DOE^JANE", "0010|0030": "19610423"}, ["PatientName", "PatientBirthDate"]),
    ],
    ids=["no tags", "anonymous", "identity removed", "name and birth date"],
)
def test_dicom_tags_that_name_a_person_are_found(
    clean: Path, tags: dict[str, str], fields: list[str]
) -> None:
    everywhere(clean, AXIAL)
    write_dicom(clean / "imagesTr/case_a_dicom", **tags)
    (clean / A0).unlink()
    edit(clean, lambda raw: raw["training"][0].update(image=["imagesTr/case_a_dicom", A1]))
    found = check_dataset(clean)
    assert [one.message.split()[2] for one in found if "holds what a DICOM" in one.message] == fields, found
    assert len(found) == len(fields), found
    assert not any("DOE" in one.message or "1961" in one.message for one in found)


def labelled_sets() -> list[str]:
    parts = {
        "hippo_shift": ["north", "east", "south", "west", "island"],
        "hippo_partial": ["clinic_a", "clinic_b", "clinic_c", "clinic_d", "everything_test"],
        "hippo_modalities": ["server", "c1", "c2", "c3", "c4", "c5", "test"],
    }
    whole = ["hippocampus", "brain_ixi_hh10", "brain_ms_4mod", "stroke_isles_1case"]
    return [*whole, *(f"{parent}/{part}" for parent, names in parts.items() for part in names)]


@pytest.mark.parametrize("name", labelled_sets())
def test_no_false_alarm_on_real_images(real_data: Path, name: str) -> None:
    assert check_dataset(real_data / name) == []


def test_only_the_case_that_its_makers_call_suspect_is_named(real_data: Path) -> None:
    (problem,) = check_dataset(real_data / "cardiac_scd")
    assert (problem.file, problem.severity) == ("labelsTr/SC-N-06.nii.gz", "warning")


def test_a_problem_is_one_line() -> None:
    problem = Problem("imagesTr/a.nii.gz", "error", "The file is missing.", "Copy it.")
    assert problem.line() == "error: imagesTr/a.nii.gz: The file is missing. Copy it."
    assert os.linesep not in problem.line()
