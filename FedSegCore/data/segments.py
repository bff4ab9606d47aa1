"""The segments of a .seg.nrrd, 3D Slicer's segmentation file, by name.

Keys as in Slicer's vtkMRMLSegmentationStorageNode: SegmentN_ID, _Name, _LabelValue, _Layer, _Extent, _Color,
and Segmentation_... for the whole. Segments that overlap lie on several layers of the file, which has then a
fourth axis. The file's own numbers mean nothing outside it: only its names are those of dataset.json.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from FedSegCore.data.io import image_suffix, one_sentence, read_volume
from FedSegCore.data.labels import LabelSet
from FedSegCore.data.volume import Volume, checked_affine, same_grid
from FedSegCore.errors import DataError, nearest


@final
@dataclass(frozen=True)
class Segment:
    """One segment of a file: its name, and the value of its voxels on its layer, counted from 0."""

    name: str
    value: int
    layer: int


def segments_of(keys: Mapping[str, str], path: Path) -> tuple[Segment, ...]:
    """The segments that a file's header names, in the header's order; () where it names none.

    Raises:
        DataError: two segments of one name, or a value or layer that is no number.
    """
    if image_suffix(path) != ".seg.nrrd":
        return ()
    found = (re.fullmatch(r"Segment(\d+)_LabelValue", key) for key in keys)
    segments = []
    with one_sentence(path):
        for number in sorted(int(match[1]) for match in found if match):
            name = keys.get(f"Segment{number}_Name") or f"Segment_{number}"
            value, layer = keys[f"Segment{number}_LabelValue"], keys.get(f"Segment{number}_Layer", "0")
            segments.append(Segment(name, int(value), int(layer)))
    names = [segment.name for segment in segments]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f'{path} has two segments called "{name}".', "Rename one of them in 3D Slicer.")
    return tuple(segments)


def read_segments(path: Path) -> dict[str, int]:
    """The segments named in a .seg.nrrd: name -> value on its layer; {} for any other file.

    Raises:
        DataError: the file cannot be read, or two segments have one name.
    """
    return {segment.name: segment.value for segment in _header_segments(path)}


def _header_segments(path: Path) -> tuple[Segment, ...]:
    if image_suffix(path) != ".seg.nrrd":
        return ()
    from FedSegCore.data.itk import read_metadata

    with one_sentence(path):
        keys = read_metadata(path)
    return segments_of(keys, path)


def read_layers(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The voxels of a .seg.nrrd, (X, Y, Z) or, of several layers, (X, Y, Z, L), and their affine (RAS).

    A 2-D file gets a third axis of one voxel.

    Raises:
        DataError: the file cannot be read or has another number of axes.
    """
    from FedSegCore.data.itk import read

    with one_sentence(path):
        array, affine = read(path)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim not in (3, 4) or array.dtype.kind not in "biuf":
        raise DataError(
            f"{path} holds {array.dtype} voxels on {array.ndim} axes; three axes of whole numbers are expected, "
            "or four with layers.",
            "Save the segmentation again in 3D Slicer.",
        )
    try:
        return array, checked_affine(affine)
    except DataError as error:
        raise DataError(f"{path}: {error.message}", error.fix) from None


def read_label_map(path: Path, labels: LabelSet, *, like: Volume | None = None) -> Volume:
    """Reads a label map whose values are those of the dataset's label set.

    A .seg.nrrd carries its own names and values: each voxel gets the label set's value for the segments that
    cover it (`named_values`). 3D Slicer crops such a file to its segments; it is put back on the image's grid.

    Args:
        path: the label file.
        labels: the dataset's label set.
        like: the image that it belongs to.

    Raises:
        DataError: the file cannot be read, or the label set has no value for one of its segments.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist.", "Check the path.")
    segments = _header_segments(path)
    if not segments:
        return read_volume(path)
    layers, affine = read_layers(path)
    volume = Volume(named_values(layers, segments, labels=labels, path=path), affine)
    return volume if like is None else uncropped(volume, shape=like.shape, affine=like.affine)


def named_values(
    layers: np.ndarray, segments: Sequence[Segment], *, labels: LabelSet, path: Path
) -> np.ndarray:
    """A segmentation in the label set's values, so that the label set's masks are the segments as drawn.

    A voxel gets a value that belongs to exactly the structures whose segments cover it. A structure inside
    another by the label set (core [1, 3] inside whole [1, 2, 3]) brings the outer one with it: on one layer,
    what is painted core cannot be painted whole as well.

    Args:
        layers: (X, Y, Z), or (X, Y, Z, L) of several layers.
        segments: as the file's header names them.
        labels: the dataset's label set.
        path: how messages call the file.

    Returns:
        (X, Y, Z) int32.

    Raises:
        DataError: a segment that the label set does not have, voxels of no segment, or voxels of segments
            for which the label set has no value.
    """
    shape = layers.shape[:3]
    flat = np.ascontiguousarray(np.moveaxis(layers.reshape(*shape, -1), 3, 0)).reshape(-1, np.prod(shape))
    _refuse_unknown(segments, labels=labels, path=path)
    refuse_lacking_layers(segments, len(flat), path=path)
    codes, covering = _covered(flat, segments)
    if stray := int(np.count_nonzero((flat != 0).any(axis=0) & (codes == 0))):
        raise DataError(
            f"{path} holds {stray} voxels with values that belong to none of its segments.",
            "Save the segmentation again in 3D Slicer.",
        )
    values = np.zeros(len(covering), dtype=np.int32)
    for code, count in enumerate(np.bincount(codes)):
        if count:
            values[code] = _value(covering[code], labels, path=path, voxels=int(count))
    named: np.ndarray = values[codes].reshape(shape)
    return named


def _refuse_unknown(segments: Iterable[Segment], *, labels: LabelSet, path: Path) -> None:
    """Raises DataError for names that the label set lacks."""
    unknown = [segment.name for segment in segments if segment.name not in labels.values]
    if unknown:
        listed = ", ".join(f'"{name}"' for name in unknown)
        what = "the segment" if len(unknown) == 1 else "the segments"
        raise DataError(
            f"{path} has {what} {listed}, which dataset.json does not name.",
            f"{nearest(unknown[0], labels.names)} Rename the segment, or add it to dataset.json's `labels`.",
        )


def refuse_lacking_layers(segments: Iterable[Segment], layers: int, *, path: Path) -> None:
    """Raises DataError for a segment on a layer that the file lacks."""
    for segment in segments:
        if not 0 <= segment.layer < layers:
            raise DataError(
                f'{path} has {layers} layer(s), and the segment "{segment.name}" on layer {segment.layer}, '
                "counted from 0.",
                "Save the segmentation again in 3D Slicer.",
            )


def _covered(layers: np.ndarray, segments: Iterable[Segment]) -> tuple[np.ndarray, list[tuple[str, ...]]]:
    """For each voxel of layers (L, N) a code (N,), and for each code the segments that cover it; 0: none."""
    codes = np.zeros(layers.shape[1], dtype=np.int32)
    covering: list[tuple[str, ...]] = [()]
    for segment in segments:
        places = np.flatnonzero(layers[segment.layer] == segment.value)
        before = codes[places]
        for code in np.flatnonzero(np.bincount(before)):
            codes[places[before == code]] = len(covering)
            covering.append((*covering[code], segment.name))
    return codes, covering


def _value(names: Sequence[str], labels: LabelSet, *, path: Path, voxels: int) -> int:
    """The first value that belongs to these structures, to those around them, and to no other."""
    if not names:
        return 0
    inner = [set(labels.values[name]) for name in names]
    wanted = {outer for outer, values in labels.values.items() if any(one <= set(values) for one in inner)}
    for value in labels.values[names[0]]:
        if {name for name, values in labels.values.items() if value in values} == wanted:
            return value
    listed = " and ".join(f'"{name}"' for name in names)
    raise DataError(
        f"{path} has {voxels} voxels inside {listed} and no other segment, and dataset.json has no value that "
        "belongs to just these.",
        f"Add such a value to {listed} in dataset.json's `labels`, or correct the segments in 3D Slicer.",
    )


def uncropped(volume: Volume, *, shape: tuple[int, ...], affine: np.ndarray) -> Volume:
    """Puts a whole-voxel crop of an image's grid back on it; leaves alone what lies beside it or on another grid."""
    if same_grid(volume.shape, volume.affine, other_shape=shape, other_affine=affine):
        return volume
    steps = np.linalg.inv(affine) @ volume.affine
    offset = np.rint(steps[:3, 3]).astype(int)
    aligned = np.allclose(steps[:3, :3], np.eye(3), atol=1e-3) and np.allclose(steps[:3, 3], offset, atol=0.1)
    if not aligned:
        return volume
    if not _inside(volume.array, offset, shape):
        return volume  # cutting a structure off would hide that this is another image's
    full = np.zeros(shape, dtype=volume.array.dtype)
    there = tuple(
        slice(max(o, 0), max(min(o + n, m), 0)) for o, n, m in zip(offset, volume.shape, shape, strict=True)
    )
    here = tuple(slice(t.start - o, max(t.stop, t.start) - o) for o, t in zip(offset, there, strict=True))
    full[there] = volume.array[here]
    return Volume(full, affine)


def _inside(array: np.ndarray, offset: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether all voxels but those of 0 lie on a grid that this one begins at `offset` of."""
    for axis, (start, side) in enumerate(zip(offset, shape, strict=True)):
        filled = np.flatnonzero(array.any(axis=tuple(other for other in range(3) if other != axis)))
        if filled.size and not 0 <= filled[0] + start <= filled[-1] + start < side:
            return False
    return True
