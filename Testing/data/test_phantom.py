from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from FedSegCore.data.case import read_dataset
from FedSegCore.data.check import check_dataset
from FedSegCore.data.io import read_volume
from FedSegCore.data.phantom import STYLES, PhantomStyle, write_phantom_dataset

SHAPE = (20, 24, 20)


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)  # type: ignore[attr-defined]


def test_a_phantom_dataset_reads_as_any_other(tmp_path: Path) -> None:
    write_phantom_dataset(tmp_path, cases=3, test_cases=2, seed=0, shape=SHAPE)
    dataset = read_dataset(tmp_path)
    assert (len(dataset.training), len(dataset.test)) == (3, 2)
    assert dataset.channel_names == ("CT",)
    assert dataset.labels.names == ("Liver", "Kidney")
    assert read_volume(dataset.training[0].images[0]).shape == SHAPE


@pytest.mark.parametrize("style", STYLES)
def test_a_phantom_dataset_has_no_flaws(tmp_path: Path, style: str) -> None:
    write_phantom_dataset(tmp_path, cases=3, test_cases=1, seed=0, style=STYLES[style], shape=SHAPE)
    assert [problem for problem in check_dataset(tmp_path) if problem.severity == "error"] == []


def test_every_patient_has_every_structure(tmp_path: Path) -> None:
    names = ("A", "B", "C", "D", "E", "F")
    write_phantom_dataset(tmp_path, cases=5, seed=1, labels=names)
    for case in read_dataset(tmp_path).training:
        assert case.label is not None
        counts = np.bincount(voxels(case.label).ravel(), minlength=7)
        assert len(counts) == 7
        assert counts.min() > 50


def test_a_patient_depends_on_the_seed_and_its_number_alone(tmp_path: Path) -> None:
    write_phantom_dataset(tmp_path / "few", cases=1, test_cases=1, seed=5, shape=SHAPE)
    write_phantom_dataset(tmp_path / "many", cases=2, seed=5, shape=SHAPE)
    write_phantom_dataset(tmp_path / "other", cases=2, seed=6, shape=SHAPE)
    few = voxels(tmp_path / "few/imagesTs/phantom_001.nii.gz")
    many, other = (voxels(tmp_path / name / "imagesTr/phantom_001.nii.gz") for name in ("many", "other"))
    assert np.array_equal(few, many)
    assert not np.array_equal(many, other)


def test_styles_show_the_same_anatomy_in_their_own_contrast(tmp_path: Path) -> None:
    means = {}
    for style in ("mr", "mr_inverted"):
        folder = write_phantom_dataset(tmp_path / style, cases=1, seed=2, style=STYLES[style], shape=SHAPE)
        image = voxels(folder / "imagesTr/phantom_000.nii.gz")
        label_map = voxels(folder / "labelsTr/phantom_000.nii.gz")
        body = (image > 150) & (label_map == 0)
        means[style] = (image[label_map == 2].mean(), image[body].mean())
    assert means["mr"][0] > means["mr"][1]
    assert means["mr_inverted"][0] < means["mr_inverted"][1]


def test_orientation_is_how_the_array_is_stored_and_not_where_the_patient_lies(tmp_path: Path) -> None:
    affines, arrays = [], []
    for codes in ("RAS", "PSR", "LPI"):
        style = dataclasses.replace(PhantomStyle(), orientation=codes, spacing_mm=(1.0, 2.0, 3.0))
        folder = write_phantom_dataset(tmp_path / codes, cases=1, seed=0, style=style, shape=(10, 12, 14))
        image = nib.load(folder / "imagesTr/phantom_000.nii.gz")
        assert nib.aff2axcodes(image.affine) == tuple(codes)  # type: ignore[attr-defined]
        turned = nib.as_closest_canonical(image)
        affines.append(turned.affine)
        arrays.append(np.asarray(turned.dataobj))
    assert all(np.allclose(affine, affines[0]) for affine in affines)
    assert all(np.array_equal(array, arrays[0]) for array in arrays)


def test_several_modalities_are_channels_of_one_case(tmp_path: Path) -> None:
    styles = [STYLES[name] for name in ("t1", "t1ce", "t2", "flair")]
    write_phantom_dataset(tmp_path, cases=1, seed=0, style=styles, shape=SHAPE)
    dataset = read_dataset(tmp_path)
    assert dataset.channel_names == ("T1", "T1CE", "T2", "FLAIR")
    assert len(dataset.training[0].images) == 4


@pytest.mark.parametrize("labels", [(), tuple("ABCDEFG")])
def test_a_number_of_structures_that_the_phantom_lacks_is_refused(
    tmp_path: Path, labels: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match="1 to 6"):
        write_phantom_dataset(tmp_path, cases=1, seed=0, labels=labels)


def test_the_description_says_that_no_patient_was_imaged(tmp_path: Path) -> None:
    write_phantom_dataset(tmp_path, cases=1, seed=0, shape=SHAPE)
    raw = json.loads((tmp_path / "dataset.json").read_text())
    assert "not images of patients" in raw["description"]
    assert "test" not in raw


def test_phantoms_need_no_torch() -> None:
    code = "import sys, FedSegCore.data.phantom; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
