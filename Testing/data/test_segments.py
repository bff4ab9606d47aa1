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
from Testing.slicer import write_slicer

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
    assert header["Segment0_Extent"] == "2 6 1 6 1 5"
    assert header["Segment1_Extent"] == "2 6 1 6 1 5"
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


def squares() -> dict[str, np.ndarray]:
    """Three masks inside each other."""
    masks = {name: np.zeros((9, 8, 7), dtype=bool) for name in ("whole", "core", "enhancing")}
    masks["whole"][1:8, 1:7, 2:6] = True
    masks["core"][2:6, 2:6, 2:5] = True
    masks["enhancing"][3:5, 3:5, 3] = True
    return masks


TUMOUR = LabelSet({"whole": (1, 2, 3), "core": (1, 3), "enhancing": (3,)})


def read_back(path: Path, labels: LabelSet, like: Volume | None = None) -> dict[str, np.ndarray]:
    array = read_label_map(path, labels, like=like).array
    return dict(zip(labels.names, labels.encode(array, [[name] for name in labels.names]), strict=True))


def equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> bool:
    return found.keys() == expected.keys() and all(np.array_equal(found[n], expected[n]) for n in found)


def test_segments_inside_each_other_come_back_as_drawn_from_one_layer(tmp_path: Path) -> None:
    painted = np.zeros((9, 8, 7), dtype=np.uint8)
    for value, mask in zip((7, 1, 2), squares().values(), strict=True):
        painted[mask] = value
    segments = {"whole": (7, 0), "core": (1, 0), "enhancing": (2, 0)}
    write_slicer(tmp_path / "a.seg.nrrd", [painted], segments, affine=AFFINE)
    assert equal(read_back(tmp_path / "a.seg.nrrd", TUMOUR), squares())


def test_segments_on_several_layers_come_back_as_drawn(tmp_path: Path) -> None:
    layers = [mask.astype(np.uint8) for mask in squares().values()]
    segments = {name: (1, layer) for layer, name in enumerate(squares())}
    write_slicer(tmp_path / "a.seg.nrrd", layers, segments, affine=AFFINE)
    assert equal(read_back(tmp_path / "a.seg.nrrd", TUMOUR), squares())


def test_cropped_layers_go_back_onto_the_images_grid(tmp_path: Path) -> None:
    layers = [mask.astype(np.uint8) for mask in squares().values()]
    segments = {name: (1, layer) for layer, name in enumerate(squares())}
    crop = (slice(1, 8), slice(1, 8), slice(2, 6))
    write_slicer(tmp_path / "a.seg.nrrd", layers, segments, affine=AFFINE, crop=crop)
    like = Volume(np.zeros((9, 8, 7)), AFFINE)
    assert equal(read_back(tmp_path / "a.seg.nrrd", TUMOUR, like), squares())


def test_a_structure_beside_the_image_is_not_cut_off(tmp_path: Path) -> None:
    mask = np.ones((9, 8, 7), np.uint8)
    write_slicer(tmp_path / "a.seg.nrrd", [mask], {"Liver": (1, 0)}, affine=AFFINE)
    smaller = Volume(np.zeros((6, 8, 7)), AFFINE)
    read = read_label_map(tmp_path / "a.seg.nrrd", LabelSet({"Liver": (1,)}), like=smaller)
    assert read.shape == (9, 8, 7) and int(read.array.sum()) == mask.size


def test_regions_that_cross_get_the_value_that_they_share_only_where_both_are(tmp_path: Path) -> None:
    masks = {"a": np.zeros((9, 8, 7), dtype=bool), "b": np.zeros((9, 8, 7), dtype=bool)}
    masks["a"][:5], masks["b"][3:] = True, True
    layers = [mask.astype(np.uint8) * 9 for mask in masks.values()]
    write_slicer(tmp_path / "a.seg.nrrd", layers, {"a": (9, 0), "b": (9, 1)}, affine=AFFINE)
    assert equal(read_back(tmp_path / "a.seg.nrrd", LabelSet({"a": (1, 3), "b": (3, 2)})), masks)


def test_an_overlap_that_the_label_set_has_no_value_for_is_refused(tmp_path: Path) -> None:
    layers = [mask.astype(np.uint8) for mask in list(squares().values())[:2]]
    write_slicer(tmp_path / "a.seg.nrrd", layers, {"Liver": (1, 0), "Cyst": (1, 1)}, affine=AFFINE)
    with pytest.raises(DataError, match='48 voxels inside "Liver" and "Cyst" and no other') as caught:
        read_label_map(tmp_path / "a.seg.nrrd", LabelSet.parse({"Liver": 1, "Cyst": 2}))
    assert "`labels`" in caught.value.fix


def test_a_region_painted_where_none_of_its_parts_is_has_no_value(tmp_path: Path) -> None:
    whole = squares()["whole"].astype(np.uint8)
    write_slicer(tmp_path / "a.seg.nrrd", [whole], {"whole": (1, 0)}, affine=AFFINE)
    parts = LabelSet({"whole": (1, 2), "left": (1,), "right": (2,)})
    with pytest.raises(DataError, match='168 voxels inside "whole" and no other'):
        read_label_map(tmp_path / "a.seg.nrrd", parts)


def test_all_segments_that_the_dataset_does_not_name_are_told_at_once(tmp_path: Path) -> None:
    write_segmentation(tmp_path / "a.seg.nrrd", {"Tumor": 1, "Kidny": 4})
    with pytest.raises(DataError, match='segments "Tumor", "Kidny"'):
        read_label_map(tmp_path / "a.seg.nrrd", LabelSet.parse({"Kidney": 1, "Tumour": 2}))


def test_voxels_of_no_segment_are_refused(tmp_path: Path) -> None:
    write_segmentation(tmp_path / "a.seg.nrrd", {"A": 1})
    with pytest.raises(DataError, match="5 voxels with values that belong to none of its segments"):
        read_label_map(tmp_path / "a.seg.nrrd", LabelSet.parse({"A": 1}))


def test_a_segment_on_a_layer_that_the_file_lacks_is_refused(tmp_path: Path) -> None:
    write_slicer(tmp_path / "a.seg.nrrd", [two_structures()], {"A": (1, 0), "B": (4, 1)}, affine=AFFINE)
    with pytest.raises(DataError, match=r'1 layer\(s\), and the segment "B" on layer 1'):
        read_label_map(tmp_path / "a.seg.nrrd", LabelSet.parse({"A": 1, "B": 2}))


def test_a_segment_value_that_is_no_number_is_one_sentence(tmp_path: Path) -> None:
    write_segmentation(tmp_path / "a.seg.nrrd", {"A": 1, "B": 4})
    image = sitk.ReadImage(str(tmp_path / "a.seg.nrrd"))
    image.SetMetaData("Segment1_LabelValue", "four")
    sitk.WriteImage(image, str(tmp_path / "a.seg.nrrd"))
    with pytest.raises(DataError, match="cannot be read"):
        read_segments(tmp_path / "a.seg.nrrd")


def test_a_segmentation_of_one_slice_in_two_axes_gets_a_third(tmp_path: Path) -> None:
    slice_of_a = (two_structures()[:, :, 4] == 1).astype(np.uint8)
    image = sitk.GetImageFromArray(slice_of_a.T.copy())
    image.SetMetaData("Segment0_Name", "A")
    image.SetMetaData("Segment0_LabelValue", "1")
    sitk.WriteImage(image, str(tmp_path / "a.seg.nrrd"))
    array = read_label_map(tmp_path / "a.seg.nrrd", LabelSet.parse({"A": 3})).array
    assert np.array_equal(array, 3 * slice_of_a[:, :, None])


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
