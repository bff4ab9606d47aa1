from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from FedSegCore.data.io import read_volume, write_label_map
from FedSegCore.data.labels import LabelSet
from FedSegCore.data.segments import read_label_map, read_segments
from FedSegCore.data.volume import Volume
from FedSegCore.errors import DataError

AFFINE = np.array([[0, 0, 2.0, -78.16], [-2.0, 0, 0, 82.23], [0, 1.5, 0, -75.27], [0, 0, 0, 1]])


def two_structures() -> np.ndarray:
    label_map = np.zeros((9, 8, 7), dtype=np.uint8)
    label_map[2:5, 1:3, 4] = 1
    label_map[6, 6, 1:6] = 4
    return label_map


def write_segmentation(path: Path, segments: dict[str, int]) -> Volume:
    like = Volume(np.zeros((9, 8, 7)), AFFINE)
    write_label_map(path, two_structures(), like=like, segments=segments)
    return like


def test_a_segmentation_keeps_voxels_grid_names_and_values(tmp_path: Path) -> None:
    like = write_segmentation(tmp_path / "a.seg.nrrd", {"Left kidney": 1, "Tumour": 4})
    back = read_volume(tmp_path / "a.seg.nrrd")
    assert np.array_equal(back.array, two_structures())
    assert back.array.dtype == np.uint8
    assert np.allclose(back.affine, like.affine, atol=1e-12)
    assert read_segments(tmp_path / "a.seg.nrrd") == {"Left kidney": 1, "Tumour": 4}


def test_the_header_has_what_slicer_looks_for(tmp_path: Path) -> None:
    write_segmentation(tmp_path / "a.seg.nrrd", {"Left kidney": 1, "Nothing": 2, "Tumour": 4})
    image = sitk.ReadImage(str(tmp_path / "a.seg.nrrd"))
    header = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    assert header["Segmentation_MasterRepresentation"] == "Binary labelmap"
    assert header["Segment0_ID"] == "Segment_1"
    assert header["Segment0_Name"] == "Left kidney"
    assert header["Segment0_Layer"] == "0"
    assert header["Segment0_Extent"] == "2 4 1 2 4 4"
    assert header["Segment1_Extent"] == "0 -1 0 -1 0 -1"
    assert header["Segment2_LabelValue"] == "4"
    assert len(header["Segment2_Color"].split()) == 3


def test_other_files_have_no_segments(tmp_path: Path) -> None:
    write_segmentation(tmp_path / "a.nrrd", {"Tumour": 1})
    assert read_segments(tmp_path / "a.nrrd") == {}


def test_segment_names_decide_over_segment_values(tmp_path: Path) -> None:
    write_segmentation(tmp_path / "a.seg.nrrd", {"Tumour": 1, "Kidney": 4})
    labels = LabelSet.parse({"background": 0, "Kidney": 1, "Tumour": 2})
    array = read_label_map(tmp_path / "a.seg.nrrd", labels).array
    assert np.array_equal(array == 2, two_structures() == 1)
    assert np.array_equal(array == 1, two_structures() == 4)


def test_a_segment_that_the_dataset_does_not_name_is_refused(tmp_path: Path) -> None:
    write_segmentation(tmp_path / "a.seg.nrrd", {"Tumor": 1, "Kidney": 4})
    labels = LabelSet.parse({"background": 0, "Kidney": 1, "Tumour": 2})
    with pytest.raises(DataError, match='"Tumor"') as caught:
        read_label_map(tmp_path / "a.seg.nrrd", labels)
    assert '"Tumour"' in caught.value.fix


def test_two_segments_of_one_name_are_refused(tmp_path: Path) -> None:
    write_segmentation(tmp_path / "a.seg.nrrd", {"A": 1, "B": 4})
    image = sitk.ReadImage(str(tmp_path / "a.seg.nrrd"))
    image.SetMetaData("Segment1_Name", "A")
    sitk.WriteImage(image, str(tmp_path / "a.seg.nrrd"))
    with pytest.raises(DataError, match='two segments called "A"'):
        read_segments(tmp_path / "a.seg.nrrd")


def test_overlapping_layers_are_refused_with_the_way_out(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.zeros((4, 4, 4, 2), np.uint8), isVector=True)
    for number in (0, 1):
        image.SetMetaData(f"Segment{number}_LabelValue", "1")
        image.SetMetaData(f"Segment{number}_Layer", str(number))
    sitk.WriteImage(image, str(tmp_path / "a.seg.nrrd"))
    with pytest.raises(DataError, match="overlap") as caught:
        read_label_map(tmp_path / "a.seg.nrrd", LabelSet.parse({"A": 1}))
    assert "3D Slicer" in caught.value.fix


def test_a_damaged_or_missing_segmentation_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.seg.nrrd").write_text("not a segmentation")
    for name in ("a.seg.nrrd", "missing.seg.nrrd"):
        with pytest.raises(DataError, match=name):
            read_label_map(tmp_path / name, LabelSet.parse({"A": 1}))


def test_a_segmentation_that_slicer_cropped_goes_back_onto_the_images_grid(tmp_path: Path) -> None:
    like = write_segmentation(tmp_path / "whole.seg.nrrd", {"A": 1, "B": 4})
    cropped = sitk.ReadImage(str(tmp_path / "whole.seg.nrrd"))[2:7, 1:7, 1:6]
    for number, (name, value) in enumerate({"A": 1, "B": 4}.items()):
        cropped.SetMetaData(f"Segment{number}_Name", name)
        cropped.SetMetaData(f"Segment{number}_LabelValue", str(value))
    sitk.WriteImage(cropped, str(tmp_path / "crop.seg.nrrd"))
    labels = LabelSet.parse({"A": 1, "B": 4})
    restored = read_label_map(tmp_path / "crop.seg.nrrd", labels, like=like)
    assert np.array_equal(restored.array, two_structures())
    assert np.array_equal(restored.affine, like.affine)


def test_a_nifti_label_map_is_read_as_it_is(tmp_path: Path) -> None:
    nib.Nifti1Image(two_structures(), AFFINE).to_filename(tmp_path / "l.nii.gz")
    like = Volume(np.zeros((5, 5, 5)), AFFINE)
    read = read_label_map(tmp_path / "l.nii.gz", LabelSet.parse({"A": 1, "B": 4}), like=like)
    assert np.array_equal(read.array, two_structures())
