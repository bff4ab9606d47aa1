"""Volumes and segmentations on their way between the scene and files, on grids that are easily got wrong."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import vtk

from FedSegCore.data.io import read_volume, write_label_map
from FedSegCore.data.volume import Volume
from Testing.slicer_harness.app import App

GRIDS = {
    "oblique": [[-1.6, 1.2, 0, 9.0], [1.2, 1.6, 0, -4.0], [0, 0, -2.0, 7.0], [0, 0, 0, 1.0]],
    "flipped": [[-1.0, 0, 0, 30.0], [0, -1.5, 0, 20.0], [0, 0, 3.0, -10.0], [0, 0, 0, 1.0]],
    "left-handed": [[1.0, 0, 0, 3.0], [0, 1.5, 0, 2.0], [0, 0, -3.0, 1.0], [0, 0, 0, 1.0]],
}


def matrix(rows: Any) -> Any:
    made = vtk.vtkMatrix4x4()
    made.DeepCopy(np.ravel(rows).tolist())
    return made


@pytest.fixture(params=GRIDS.values(), ids=GRIDS.keys())
def grid(request: pytest.FixtureRequest) -> np.ndarray:
    return np.array(request.param)


@pytest.fixture
def scene(app: App) -> Any:
    return importlib.import_module("FedSegLib.scene")


def voxels(app: App, volume: Any) -> np.ndarray:
    """I J K."""
    found: np.ndarray = app.slicer.util.arrayFromVolume(volume).T
    return found


def test_a_volume_is_written_with_its_voxels_and_its_place(
    app: App, scene: Any, grid: np.ndarray, tmp_path: Path
) -> None:
    volume = app.volume(matrix=matrix(grid))
    scene.exportVolume(volume, tmp_path / "image.nrrd")
    written = read_volume(tmp_path / "image.nrrd")
    np.testing.assert_array_equal(written.array, voxels(app, volume))
    np.testing.assert_allclose(written.affine, grid, atol=1e-6)


def test_a_volume_under_a_transform_is_written_where_it_is_seen(
    app: App, scene: Any, grid: np.ndarray, tmp_path: Path
) -> None:
    moved = np.array([[0, -1.0, 0, 5.0], [1.0, 0, 0, 6.0], [0, 0, 1.0, 7.0], [0, 0, 0, 1.0]])
    volume = app.volume(matrix=matrix(grid))
    transform = app.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(matrix(moved))
    volume.SetAndObserveTransformNodeID(transform.GetID())
    scene.exportVolume(volume, tmp_path / "image.nrrd")
    np.testing.assert_allclose(read_volume(tmp_path / "image.nrrd").affine, moved @ grid, atol=1e-6)
    assert scene.gridOf(volume).matrix == tuple(map(tuple, grid)), "the volume itself stays where it was"


def test_what_the_core_segments_covers_the_same_voxels_in_the_scene(
    app: App, scene: Any, grid: np.ndarray, tmp_path: Path
) -> None:
    volume = app.volume(matrix=matrix(grid))
    labels = np.zeros(voxels(app, volume).shape, np.uint8)
    labels[1, 2:4, 3], labels[2:, 0, 5] = 1, 2
    image = Volume(voxels(app, volume).astype(np.float32), grid, None)
    segments = {"Liver": 1, "Kidney": 2}
    write_label_map(tmp_path / "found.seg.nrrd", labels, like=image, segments=segments)
    node = scene.loadSegmentation(tmp_path / "found.seg.nrrd", volume, {})
    for segment in scene.segmentsOf(node):
        drawn = app.slicer.util.arrayFromSegmentBinaryLabelmap(node, segment.segmentId, volume).T
        np.testing.assert_array_equal(drawn > 0, labels == segments[segment.name])


def test_a_drawing_is_written_back_onto_its_volumes_grid(
    app: App, scene: Any, grid: np.ndarray, tmp_path: Path
) -> None:
    volume = app.volume(matrix=matrix(grid))
    labels = (voxels(app, volume) % 7 == 0).astype(np.uint8)
    image = Volume(voxels(app, volume).astype(np.float32), grid, None)
    write_label_map(tmp_path / "found.seg.nrrd", labels, like=image, segments={"Liver": 1})
    node = scene.loadSegmentation(tmp_path / "found.seg.nrrd", volume, {})
    (segment,) = scene.segmentsOf(node)
    scene.exportDrawing(node, {segment.segmentId: "liver"}, volume, tmp_path / "drawn.seg.nrrd")
    written = read_volume(tmp_path / "drawn.seg.nrrd")
    corner = np.linalg.inv(grid) @ written.affine  # from the cropped file's voxels to the volume's
    found = np.argwhere(written.array > 0) @ corner[:3, :3].T + corner[:3, 3]
    assert {*map(tuple, found.round(4).astype(int))} == {*map(tuple, np.argwhere(labels > 0))}


def test_a_file_that_is_shown_twice_is_loaded_once(app: App, scene: Any, tmp_path: Path) -> None:
    app.export(app.volume(), tmp_path / "image.nrrd")
    app.close_scene()
    for _time in range(2):
        scene.showFile(tmp_path / "image.nrrd")
    (volume,) = app.nodes("vtkMRMLScalarVolumeNode")
    assert app.layers["background"] is volume


def test_a_drawing_is_written_whatever_was_written_before_it(app: App, scene: Any, tmp_path: Path) -> None:
    volume = app.volume()
    app.slicer.util.exportNode(volume, str(tmp_path / "image.nii.gz"))
    drawing = app.scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    scene.exportDrawing(drawing, {}, volume, tmp_path / "drawn.seg.nrrd")
    assert (tmp_path / "drawn.seg.nrrd").exists()
