"""The names inside a .seg.nrrd, 3D Slicer's segmentation file.

Keys as in Slicer's vtkMRMLSegmentationStorageNode: SegmentN_ID, _Name, _LabelValue, _Layer, _Extent, _Color,
and Segmentation_... for the whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from FedSegCore.data.io import image_suffix, one_sentence, read_volume
from FedSegCore.data.labels import LabelSet
from FedSegCore.data.volume import Volume, same_grid
from FedSegCore.errors import DataError, nearest


def read_segments(path: Path) -> dict[str, int]:
    """The segments named in a .seg.nrrd: name -> label value; {} for any other file.

    Raises:
        DataError: two segments of one name, or segments on several layers (they overlap).
    """
    if image_suffix(path) != ".seg.nrrd":
        return {}
    from FedSegCore.data.itk import read_metadata

    with one_sentence(path):
        keys = read_metadata(path)
    segments: dict[str, int] = {}
    for key in sorted(keys):
        if not (match := re.fullmatch(r"Segment(\d+)_LabelValue", key)):
            continue
        name = keys.get(f"Segment{match[1]}_Name", f"Segment_{match[1]}")
        if name in segments:
            raise DataError(f'{path} has two segments called "{name}".', "Rename one of them in 3D Slicer.")
        if keys.get(f"Segment{match[1]}_Layer", "0") != "0":
            raise DataError(
                f"{path} holds segments that overlap, on several layers; one layer is expected.",
                "In 3D Slicer export it as a label map, or collapse its layers.",
            )
        segments[name] = int(keys[key])
    return segments


def read_label_map(path: Path, labels: LabelSet, *, like: Volume | None = None) -> Volume:
    """Reads a label map whose values are those of the dataset's label set.

    A .seg.nrrd carries its own names and values: the voxels of each name get the label set's value for that
    name. 3D Slicer crops such a file to its segments; it is put back on the image's grid.

    Args:
        path: the label file.
        labels: the dataset's label set.
        like: the image that it belongs to.

    Raises:
        DataError: the file cannot be read, or holds a segment that the label set does not have.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist.", "Check the path.")
    segments = read_segments(path)
    volume = read_volume(path)
    if segments:
        volume = Volume(_renumber(volume.array, segments, labels=labels, path=path), volume.affine)
    if like is None or not segments or _on_grid(volume, like):
        return volume
    return _uncropped(volume, like)


def _on_grid(volume: Volume, like: Volume) -> bool:
    return same_grid(volume.shape, volume.affine, other_shape=like.shape, other_affine=like.affine)


def _renumber(array: np.ndarray, segments: Mapping[str, int], *, labels: LabelSet, path: Path) -> np.ndarray:
    renumbered = np.zeros(array.shape, dtype=np.int32)
    for name, value in segments.items():
        known = labels.values.get(name)
        if known is None:
            raise DataError(
                f'{path} has the segment "{name}", which dataset.json does not name.',
                f"{nearest(name, labels.names)} Rename the segment, or add it to dataset.json's `labels`.",
            )
        renumbered[array == value] = known[0]
    return renumbered


def _uncropped(volume: Volume, like: Volume) -> Volume:
    """Puts a whole-voxel crop of the image's grid back on it; leaves any other grid as it is."""
    steps = np.linalg.inv(like.affine) @ volume.affine
    offset = np.rint(steps[:3, 3]).astype(int)
    aligned = np.allclose(steps[:3, :3], np.eye(3), atol=1e-3) and np.allclose(steps[:3, 3], offset, atol=0.1)
    if not aligned:
        return volume
    full = np.zeros(like.shape, dtype=volume.array.dtype)
    there = tuple(
        slice(max(o, 0), max(min(o + n, m), 0))
        for o, n, m in zip(offset, volume.shape, like.shape, strict=True)
    )
    here = tuple(slice(t.start - o, max(t.stop, t.start) - o) for o, t in zip(offset, there, strict=True))
    full[there] = volume.array[here]
    return Volume(full, like.affine, like.header)
