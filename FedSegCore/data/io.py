"""Image files in and out: NIfTI with nibabel; NRRD, MetaImage and DICOM series with SimpleITK.

Everything becomes a `Volume`: RAS+ world coordinates in mm, whatever the file's convention. What is written
lies on exactly the grid of the image that it belongs to, and appears whole or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np

from FedSegCore.data.imagefiles import IMAGE_SUFFIXES as IMAGE_SUFFIXES
from FedSegCore.data.imagefiles import NIFTI_SUFFIXES as NIFTI_SUFFIXES
from FedSegCore.data.imagefiles import find_images as find_images
from FedSegCore.data.imagefiles import image_stem as image_stem
from FedSegCore.data.imagefiles import image_suffix as image_suffix
from FedSegCore.data.imagefiles import is_dicom_folder
from FedSegCore.data.volume import Volume, checked_affine
from FedSegCore.errors import DataError, FedSegError, StorageError

if TYPE_CHECKING:
    from jaxtyping import Bool

LEGEND_KEY = "FedSeg"
"""Where a label map's legend stands among a header's keys; see `FedSegCore.data.legend`."""


@final
@dataclass(frozen=True, eq=False)
class Header:
    """What a file says about its image, without the voxels.

    Args:
        shape: voxels along each axis as in the file: 2, 3 or more axes.
        affine: (4, 4) float64, voxel index -> RAS+ world mm.
        dtype: the voxels' number type.
    """

    shape: tuple[int, ...]
    affine: np.ndarray
    dtype: np.dtype


def read_volume(path: Path) -> Volume:
    """Reads one image.

    NIfTI: nibabel's best affine (sform, else qform), slope and intercept applied. Other formats: LPS turned
    to RAS. A 2-D image gets a third axis of one voxel.

    Raises:
        DataError: the file does not exist, cannot be read, or does not hold one 3-D image of plain numbers.
    """
    path = Path(path)
    with one_sentence(path):
        if is_nifti(path):
            from FedSegCore.data import nifti

            array, affine, header = nifti.read(path)
        else:
            from FedSegCore.data import itk

            array, affine = itk.read(path)
            header = None
        return Volume(_three_axes(array, path), _affine_of(affine, path), header)


def read_header(path: Path) -> Header:
    """Reads shape, affine and number type of one image without its voxels.

    Raises:
        DataError: the file does not exist or its header cannot be read.
    """
    path = Path(path)
    with one_sentence(path):
        if is_nifti(path):
            from FedSegCore.data import nifti

            shape, affine, dtype = nifti.read_header(path)
        else:
            from FedSegCore.data import itk

            shape, affine, dtype = itk.read_header(path)
        return Header(shape, _affine_of(affine, path), dtype)


def write_label_map(
    path: Path, label_map: np.ndarray, *, like: Volume, segments: Mapping[str, int], legend: str = ""
) -> None:
    """Writes a label map on exactly the grid of an image.

    Args:
        path: .nii.gz, .nii, .nrrd, .mha, or .seg.nrrd, which 3D Slicer opens as a segmentation.
        label_map: (X, Y, Z) whole numbers 0..255; written as uint8.
        like: the image that was segmented.
        segments: structure name -> value, in order; stored in .seg.nrrd.
        legend: what the file is to say of its values and slices, stored in every format; "" for nothing.

    Raises:
        DataError: shape or values do not fit, or the suffix is unknown.
        InputError: the file cannot be written (disk full, no permission).
    """
    if label_map.shape != like.shape:
        raise DataError(f"A label map for {like.shape} voxels has the shape {label_map.shape}.")
    values = np.asarray(label_map).astype(np.uint8)
    if not np.array_equal(values, label_map):
        raise DataError("A label map's values must be whole numbers from 0 to 255.")
    metadata = {LEGEND_KEY: legend} if legend else {}
    if image_suffix(Path(path)) == ".seg.nrrd":
        from FedSegCore.data.segmentkeys import segmentation_metadata

        metadata |= segmentation_metadata(values[None], segments, dict.fromkeys(segments, 0))
    _write(Path(path), [Volume(values, like.affine, like.header)], metadata)


def write_segments(
    path: Path,
    regions: Bool[np.ndarray, "l x y z"],
    *,
    like: Volume,
    segments: Mapping[str, int],
    legend: str,
) -> None:
    """Writes a .seg.nrrd that holds each structure whole, on as many layers as they overlap.

    Args:
        path: .seg.nrrd.
        regions: L masks on the image's grid.
        like: the image that was segmented.
        segments: name -> value of each of the masks, 1..255.
        legend: as for `write_label_map`.

    Raises:
        InputError: the file cannot be written (disk full, no permission).
    """
    from FedSegCore.data.segmentkeys import segmentation_metadata, stack_layers

    layers, places = stack_layers(regions, segments)
    metadata = {LEGEND_KEY: legend, **segmentation_metadata(layers, segments, places)}
    _write(Path(path), [Volume(layer, like.affine, like.header) for layer in layers], metadata)


def write_volume(path: Path, volume: Volume) -> None:
    """Writes an image or a map as float32.

    Raises:
        DataError: the suffix is unknown.
        InputError: the file cannot be written (disk full, no permission).
    """
    _write(Path(path), [Volume(volume.array.astype(np.float32), volume.affine, volume.header)], {})


def _write(path: Path, layers: Sequence[Volume], metadata: Mapping[str, str]) -> None:
    """Writes beside the target, then renames: a reader sees the whole file or none."""
    suffix = image_suffix(path)
    if not suffix or suffix == ".mhd":
        raise DataError(
            f'The result "{path.name}" must end in .nii.gz, .nii, .nrrd, .seg.nrrd or .mha.',
            "Rename the result.",
        )
    if suffix in NIFTI_SUFFIXES:
        from FedSegCore.data.nifti import write
    else:
        from FedSegCore.data.itk import write
    replace_file(path, lambda part: write(part, layers, metadata), suffix=suffix)


def replace_file(path: Path, write: Callable[[Path], None], *, suffix: str = "") -> None:
    """Lets `write` fill a temporary file in the target's folder, then renames it over the target.

    Raises:
        StorageError: the file cannot be written (disk full, no permission); nothing is left behind.
    """
    part = path.parent / f".{os.getpid()}-part-{path.name.removesuffix(suffix)}{suffix}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        part.replace(path)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "the image library could not write it"
        raise StorageError(path, OSError(0, reason)) from error
    finally:
        part.unlink(missing_ok=True)


def is_nifti(path: Path) -> bool:
    """Raises DataError where there is nothing readable at all."""
    if not path.exists():
        raise DataError(f"{path} does not exist.", "Check the path.")
    suffix = image_suffix(path)
    if not suffix and not path.is_dir():
        raise DataError(
            f"{path} is no known image file ({', '.join(IMAGE_SUFFIXES)} or a folder with a DICOM series).",
            "Convert it to NIfTI or NRRD; of a DICOM series give the folder.",
        )
    if suffix and path.is_dir() and not is_dicom_folder(path):
        raise DataError(f"{path} is a folder, not an image file.", "Give the file inside it.")
    return suffix in NIFTI_SUFFIXES and path.is_file()


@contextmanager
def one_sentence(path: Path) -> Iterator[None]:
    """Turns whatever a reading library throws at a broken file into one sentence about that file."""
    try:
        yield
    except FedSegError:
        raise
    except MemoryError as error:
        raise DataError(
            f"{path} does not fit into memory; its header may be damaged.",
            "Check the file, or crop the image.",
        ) from error
    except PermissionError as error:
        raise DataError(f"{path} may not be read: permission denied.", "Change its permissions.") from error
    except Exception as error:
        # no closed list is documented: OSError, EOFError, zlib.error, ValueError, RuntimeError, ...
        raise DataError(
            f"{path} cannot be read as an image; it is truncated, damaged or of another format.",
            "Copy or export it again.",
        ) from error


def _three_axes(array: np.ndarray, path: Path) -> np.ndarray:
    """(X, Y, Z) of native plain numbers; trailing axes of one voxel are dropped, a missing third is added."""
    if array.dtype.names is not None or array.dtype.kind not in "biuf":
        raise DataError(
            f"{path} holds {array.dtype} voxels, not plain numbers.", "Save it as a grey-value image."
        )
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim > 3:
        raise DataError(
            f"{path} has {array.ndim} axes, {' x '.join(map(str, array.shape))}; a 3-D image is expected.",
            "Save each time point or channel as a 3-D file; list channels in dataset.json's `image`.",
        )
    if 0 in array.shape:
        raise DataError(f"{path} has no voxels: its shape is {array.shape}.", "Export it again.")
    array = array.reshape(array.shape + (1,) * (3 - array.ndim))
    narrow = array.dtype.newbyteorder("=") if array.dtype.itemsize <= 8 else np.dtype(np.float64)
    return np.ascontiguousarray(array, dtype=narrow)


def _affine_of(affine: np.ndarray, path: Path) -> np.ndarray:
    try:
        return checked_affine(affine)
    except DataError as error:
        raise DataError(f"{path}: {error.message}", error.fix) from None
