from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813

from FedSegCore.data.io import write_segments
from FedSegCore.data.segmentkeys import stack_layers
from FedSegCore.data.volume import Volume

SEGMENTS = {"whole": 2, "core": 1, "enhancing": 3, "cyst": 4, "nothing": 5}


def crossing_regions() -> np.ndarray:
    """Three regions inside each other, one apart, and an empty one."""
    regions = np.zeros((5, 9, 8, 7), dtype=bool)
    regions[0, 1:7, 1:7, 1:6] = True
    regions[1, 2:6, 2:6, 2:5] = True
    regions[2, 3:5, 3:5, 3] = True
    regions[3, 8, 2:4, 1:3] = True
    return regions


def write(path: Path, regions: np.ndarray) -> sitk.Image:
    like = Volume(np.zeros((9, 8, 7), np.float32), np.diag([2.0, 1.5, 3.0, 1.0]))
    segments = dict(list(SEGMENTS.items())[: len(regions)])
    write_segments(path, regions, like=like, segments=segments, legend="")
    return sitk.ReadImage(str(path))


def test_each_structure_goes_onto_the_first_layer_where_it_covers_none() -> None:
    layers, places = stack_layers(crossing_regions(), SEGMENTS)
    assert layers.shape == (3, 9, 8, 7)
    assert places == {"whole": 0, "core": 1, "enhancing": 2, "cyst": 0, "nothing": 0}


def test_a_segment_is_whole_on_its_own_layer_and_value(tmp_path: Path) -> None:
    image = write(tmp_path / "a.seg.nrrd", crossing_regions())
    assert image.GetDimension() == 3 and image.GetNumberOfComponentsPerPixel() == 3
    layers = sitk.GetArrayFromImage(image)
    for number, (name, region) in enumerate(zip(SEGMENTS, crossing_regions(), strict=True)):
        assert image.GetMetaData(f"Segment{number}_Name") == name
        layer = int(image.GetMetaData(f"Segment{number}_Layer"))
        value = int(image.GetMetaData(f"Segment{number}_LabelValue"))
        assert np.array_equal(layers[..., layer].transpose(2, 1, 0) == value, region)
    assert np.allclose(image.GetSpacing(), (2.0, 1.5, 3.0))


def test_the_layers_are_a_list_before_the_three_axes_of_space(tmp_path: Path) -> None:
    write(tmp_path / "a.seg.nrrd", crossing_regions())
    header = (tmp_path / "a.seg.nrrd").read_bytes().partition(b"\n\n")[0].decode()
    assert "sizes: 3 9 8 7\n" in header
    assert "kinds: list domain domain domain\n" in header
    assert "space directions: none (" in header


def test_structures_that_do_not_overlap_stay_on_one_layer_of_three_axes(tmp_path: Path) -> None:
    regions = crossing_regions()
    regions[0] &= ~regions[1]
    regions[1] &= ~regions[2]
    image = write(tmp_path / "a.seg.nrrd", regions)
    assert image.GetNumberOfComponentsPerPixel() == 1
    assert {image.GetMetaData(f"Segment{number}_Layer") for number in range(5)} == {"0"}


def test_all_segments_of_a_layer_have_the_extent_to_which_slicer_crops_it(tmp_path: Path) -> None:
    image = write(tmp_path / "a.seg.nrrd", crossing_regions())
    extents = [image.GetMetaData(f"Segment{number}_Extent") for number in range(5)]
    assert extents[0] == extents[3] == extents[4] == "1 8 1 6 1 5"
    assert extents[1:3] == ["2 5 2 5 2 4", "3 4 3 4 3 3"]
    nothing = write(tmp_path / "empty.seg.nrrd", np.zeros_like(crossing_regions()))
    assert nothing.GetMetaData("Segment0_Extent") == "0 -1 0 -1 0 -1"
