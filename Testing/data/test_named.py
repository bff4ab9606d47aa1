from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from FedSegCore.data.io import write_label_map, write_segments
from FedSegCore.data.labels import paint
from FedSegCore.data.legend import Legend
from FedSegCore.data.named import read_named
from FedSegCore.errors import DataError
from Testing.data.test_legend import NESTED, VALUES, like, nested_regions
from Testing.slicer import write_slicer


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".seg.nrrd"])
def test_regions_come_back_by_name_from_every_format(suffix: str, tmp_path: Path) -> None:
    path, regions, legend = tmp_path / f"found{suffix}", nested_regions(), Legend(NESTED).to_text()
    if suffix == ".seg.nrrd":
        write_segments(path, regions, like=like(), segments=VALUES, legend=legend)
    else:
        write_label_map(path, paint(regions, VALUES), like=like(), segments=VALUES, legend=legend)
    named = read_named(path)
    assert named is not None and list(named.masks) == list(VALUES)
    for name, region in zip(VALUES, regions, strict=True):
        assert np.array_equal(named.masks[name], region)
    assert np.allclose(named.affine, like().affine)


def test_a_file_without_names_has_none(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "a.seg.nrrd"):
        write_label_map(tmp_path / name, np.ones((9, 8, 7)), like=like(), segments={})
        assert read_named(tmp_path / name) is None


def test_segments_that_slicer_cropped_go_back_onto_the_images_grid(tmp_path: Path) -> None:
    path = tmp_path / "found.seg.nrrd"
    write_segments(path, nested_regions(), like=like(), segments=VALUES, legend="")
    whole = sitk.ReadImage(str(path))
    cropped = whole[1:8, 1:7, 1:6]
    for key in whole.GetMetaDataKeys():
        if key.startswith("Segment"):
            cropped.SetMetaData(key, whole.GetMetaData(key))
    sitk.WriteImage(cropped, str(path))
    named = read_named(path)
    assert named is not None and named.masks["core"].shape == (7, 6, 5)
    restored = read_named(path, like=like())
    assert restored is not None
    assert np.array_equal(restored.masks["core"], nested_regions()[1])


def test_a_segment_on_a_layer_that_the_file_lacks_is_told(tmp_path: Path) -> None:
    layers = [np.ones((4, 4, 4), np.uint8)] * 2
    for layer in (-1, 2):
        write_slicer(tmp_path / "a.seg.nrrd", layers, {"A": (1, 0), "B": (1, layer)}, affine=np.eye(4))
        with pytest.raises(DataError, match=f'the segment "B" on layer {layer}'):
            read_named(tmp_path / "a.seg.nrrd")


def test_a_legend_of_a_map_that_was_painted_over_since_is_not_believed(tmp_path: Path) -> None:
    path, legend = tmp_path / "a.nii.gz", Legend({"Liver": (1,), "Tumour": (2,)}).to_text()
    write_label_map(path, np.full((9, 8, 7), 2), like=like(), segments={"Tumour": 2}, legend=legend)
    assert read_named(path) is not None
    kept = nib.load(path)
    nib.Nifti1Image(np.full((9, 8, 7), 5, np.uint8), kept.affine, kept.header).to_filename(path)
    assert read_named(path) is None
