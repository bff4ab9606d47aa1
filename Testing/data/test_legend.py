from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from FedSegCore.data.io import read_volume, write_label_map
from FedSegCore.data.labels import paint
from FedSegCore.data.legend import Legend, make_legend, read_legend
from FedSegCore.data.volume import Volume

VALUES = {"whole": 2, "core": 1, "enhancing": 3}
NESTED = {"whole": (1, 2, 3), "core": (1, 3), "enhancing": (3,)}


def nested_regions() -> np.ndarray:
    regions = np.zeros((3, 9, 8, 7), dtype=bool)
    regions[0, 1:8, 1:7, 1:6] = True
    regions[1, 2:6, 2:6, 2:5] = True
    regions[2, 3:5, 3:5, 3] = True
    return regions


def like() -> Volume:
    return Volume(np.zeros((9, 8, 7), np.float32), np.diag([2.0, 1.5, 3.0, 1.0]))


def test_a_legend_gives_back_regions_that_lie_inside_each_other() -> None:
    regions = nested_regions()
    label_map = paint(regions, VALUES)
    legend = make_legend(regions, label_map, VALUES, slices_along="")
    assert legend.structures == NESTED
    assert np.array_equal(legend.masks(label_map), regions)


def test_a_region_that_is_wholly_painted_over_is_not_lost() -> None:
    regions = np.stack([nested_regions()[0]] * 3)
    label_map = paint(regions, VALUES)
    legend = make_legend(regions, label_map, VALUES, slices_along="")
    assert set(np.unique(label_map)) == {0, 3}
    assert np.array_equal(legend.masks(label_map), regions)


def test_what_lies_mostly_outside_another_structure_does_not_cover_it() -> None:
    regions = nested_regions()[:2]
    regions[1] = np.roll(regions[1], 5, axis=0)
    values = {"a": 1, "b": 2}
    legend = make_legend(regions, paint(regions, values), values, slices_along="")
    assert legend.structures == {"a": (1,), "b": (2,)}


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha", ".seg.nrrd"])
def test_a_legend_survives_in_every_format_with_any_name(suffix: str, tmp_path: Path) -> None:
    legend = Legend({'Läsion "A\\B"': (1, 2), "Kern": (2,)}, "S")
    path = tmp_path / f"found{suffix}"
    label_map = np.zeros((9, 8, 7))
    write_label_map(path, label_map, like=like(), segments={"Kern": 2}, legend=legend.to_text())
    assert read_legend(path) == legend
    assert sitk.ReadImage(str(path)).GetSize() == (9, 8, 7)


def test_the_same_legend_is_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.nii.gz"):
        write_label_map(
            tmp_path / name, np.ones((9, 8, 7)), like=like(), segments={}, legend=Legend(NESTED).to_text()
        )
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_a_legend_changes_neither_grid_nor_voxels(tmp_path: Path) -> None:
    label_map = paint(nested_regions(), VALUES)
    for name, legend in (("with.nii", Legend(NESTED).to_text()), ("without.nii", "")):
        write_label_map(tmp_path / name, label_map, like=like(), segments={}, legend=legend)
    one, other = (nib.load(tmp_path / name) for name in ("with.nii", "without.nii"))
    assert np.array_equal(np.asarray(one.dataobj), np.asarray(other.dataobj))
    assert np.array_equal(one.affine, other.affine)
    assert read_legend(tmp_path / "without.nii") is None


@pytest.mark.parametrize(
    "text",
    [
        "made by hand", "7", "[]", "{}", '{"fedseg": 2, "structures": {}, "slices_along": ""}',
        '{"fedseg": 1, "structures": {"a": [0]}, "slices_along": ""}', '{"fedseg": 1, "structures": []}',
        '{"fedseg": 1, "structures": {"a": 1}, "slices_along": ""}',
    ],
)  # fmt: skip
def test_what_another_program_wrote_is_no_legend(text: str) -> None:
    assert Legend.from_text(text) is None


def test_the_axis_of_slices_is_found_in_a_file_that_was_turned(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    legend = Legend({"LV": (1,)}, "S")
    write_label_map(path, np.ones((9, 8, 7)), like=like(), segments={}, legend=legend.to_text())
    turned = nib.load(path).as_reoriented(nib.orientations.axcodes2ornt(("S", "L", "P")))
    turned.to_filename(tmp_path / "turned.nii.gz")
    axes = []
    for name in ("a.nii.gz", "turned.nii.gz"):
        read = read_legend(tmp_path / name)
        assert read is not None
        axes.append(read.slice_axis(read_volume(tmp_path / name).affine))
    assert axes[0] == 2 and axes[1] != 2
    assert Legend({"LV": (1,)}).slice_axis(np.eye(4)) is None
