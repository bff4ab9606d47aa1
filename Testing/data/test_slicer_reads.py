"""A .seg.nrrd as 3D Slicer's own storage node reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from FedSegCore.data.io import write_label_map, write_segments
from FedSegCore.data.terminology import UNKNOWN, term_of
from FedSegCore.data.volume import Volume
from Testing.data.test_segmentkeys import crossing_regions

vtk = pytest.importorskip("vtk")
numpy_support = pytest.importorskip("vtk.util.numpy_support")
slicer_core = pytest.importorskip("slicer_core")

AFFINE = np.array([[0, 0, 2.0, -78.16], [-2.0, 0, 0, 82.23], [0, 1.5, 0, -75.27], [0, 0, 0, 1]])
LIKE = Volume(np.zeros((9, 8, 7), np.float32), AFFINE)
SEGMENTS = {"Whole tumour": 2, "necrosis": 1, "Kidney_left": 3, "Anterior": 4, "Posterior": 5}


def read(path: Path) -> object:
    """The segmentation node, in a scene of its own."""
    scene = slicer_core.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    return node


def mask_of(node: object, segment: object) -> np.ndarray:
    """A segment on the grid of the image."""
    found = slicer_core.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(segment, found)
    start, shape = found.GetExtent()[::2], tuple(found.GetDimensions())
    whole = np.zeros((9, 8, 7), dtype=bool)
    if 0 not in shape and found.GetPointData().GetScalars():
        part = numpy_support.vtk_to_numpy(found.GetPointData().GetScalars()).reshape(shape, order="F") != 0
        whole[tuple(slice(s, s + n) for s, n in zip(start, shape, strict=True))] = part
    return whole


def test_slicer_reads_each_segments_name_colour_and_terminology(tmp_path: Path) -> None:
    write_segments(tmp_path / "a.seg.nrrd", crossing_regions(), like=LIKE, segments=SEGMENTS, legend="")
    segmentation = read(tmp_path / "a.seg.nrrd").GetSegmentation()
    segments = [segmentation.GetNthSegment(place) for place in range(5)]
    assert [segment.GetName() for segment in segments] == list(SEGMENTS)
    for name, segment in zip(SEGMENTS, segments, strict=True):
        term, entry = term_of(name), vtk.reference("")
        assert segment.GetTag("TerminologyEntry", entry) and str(entry) == term.entry
        assert segment.GetTerminology() == term.entry
        if term.colour is not None:
            assert segment.GetColor() == pytest.approx(term.colour, abs=1e-4)
    assert [term_of(name) is UNKNOWN for name in SEGMENTS] == [False, False, False, True, True]
    assert len({segment.GetColor() for segment in segments}) == 5


@pytest.mark.parametrize("layers", ["one", "several"])
def test_slicer_reads_each_segments_voxels(layers: str, tmp_path: Path) -> None:
    regions, path = crossing_regions(), tmp_path / "a.seg.nrrd"
    if layers == "one":
        regions[0] &= ~regions[1]
        regions[1] &= ~regions[2]
        label_map = sum(region * value for region, value in zip(regions, SEGMENTS.values(), strict=True))
        write_label_map(path, label_map, like=LIKE, segments=SEGMENTS)
    else:
        write_segments(path, regions, like=LIKE, segments=SEGMENTS, legend="")
    node = read(path)
    for place, region in enumerate(regions):
        segment = node.GetSegmentation().GetNthSegmentID(place)
        assert np.array_equal(mask_of(node, segment), region)
