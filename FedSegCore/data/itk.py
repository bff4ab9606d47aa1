"""NRRD, MetaImage and DICOM series through SimpleITK, whose world is LPS (Left, Posterior, Superior)."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813

from FedSegCore.data.volume import Volume
from FedSegCore.errors import DataError

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_POSITION, _UNIFORM_FRACTION = "0020|0032", 0.01
"""DICOM's Image Position (Patient); slice distances may differ by this share of the mean distance."""


_one_at_a_time = threading.RLock()
"""The switch below is the whole process's, and images are read and written in threads."""


@contextmanager
def _quiet() -> Iterator[None]:
    """ITK and GDCM print to stderr; what is wrong is raised, what is not needs no noise."""
    with _one_at_a_time:
        before = sitk.ProcessObject.GetGlobalWarningDisplay()
        sitk.ProcessObject.SetGlobalWarningDisplay(False)
        try:
            yield
        finally:
            sitk.ProcessObject.SetGlobalWarningDisplay(before)


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels in index order (X, Y, Z, ...) and affine (RAS)."""
    with _quiet():
        if not path.is_dir():
            image = sitk.ReadImage(str(path))
            return _voxels(image), _affine(image)
        files = _series(path)
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(files)
        image = reader.Execute()
        return _voxels(image), _series_affine(path, files, _affine(image))


def read_header(path: Path) -> tuple[tuple[int, ...], np.ndarray, np.dtype]:
    """Shape as in the file, affine (RAS) and number type."""
    with _quiet():
        files = _series(path) if path.is_dir() else [str(path)]
        reader = _information(files[0])
        shape = tuple(int(n) for n in reader.GetSize())
        affine = _affine(reader)
        if path.is_dir() and len(files) > 1:
            shape = (*shape[:2], len(files))
            affine = _series_affine(path, files, affine)
        if reader.GetNumberOfComponents() > 1:
            shape = (*shape, reader.GetNumberOfComponents())
        one = sitk.Image([1] * reader.GetDimension(), reader.GetPixelID(), reader.GetNumberOfComponents())
        return shape, affine, sitk.GetArrayViewFromImage(one).dtype


def read_metadata(path: Path) -> dict[str, str]:
    """The header's free key-value pairs (of a DICOM folder: the first slice's tags, as "gggg|eeee")."""
    with _quiet():
        reader = _information(_series(path)[0] if path.is_dir() else str(path))
        return {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}


def write(path: Path, layers: Sequence[Volume], metadata: Mapping[str, str]) -> None:
    """Writes a volume with its grid in LPS, compressed; several layers become a 4-D NRRD, layers first."""
    stacked = np.stack([layer.array.transpose(2, 1, 0) for layer in layers], axis=-1)
    several = len(layers) > 1
    image = sitk.GetImageFromArray(np.ascontiguousarray(stacked if several else stacked[..., 0]), several)
    _place(image, layers[0])
    for key, value in metadata.items():
        image.SetMetaData(key, value)
    with _quiet():
        sitk.WriteImage(image, str(path), True)
    if several:
        _call_layers_a_list(path)


def resample(volume: Volume, like: Volume) -> np.ndarray:
    """The volume's values, linear in between, at the voxels of another grid; its least value where it has none."""
    resampler = sitk.ResampleImageFilter()
    resampler.SetReferenceImage(_image(like))
    resampler.SetInterpolator(sitk.sitkLinear)
    resampler.SetDefaultPixelValue(float(volume.array.min()))
    return _voxels(resampler.Execute(_image(Volume(volume.array.astype(np.float32), volume.affine))))


def _image(volume: Volume) -> Any:
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array.transpose(2, 1, 0)))
    _place(image, volume)
    return image


def _place(image: Any, volume: Volume) -> None:
    """Give an image a volume's grid, in LPS."""
    affine, spacing = _LPS_TO_RAS @ volume.affine, np.array(volume.spacing_mm)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())


def _call_layers_a_list(path: Path) -> None:
    """ITK calls the first axis a vector, whose numbers would turn with the patient; 3D Slicer writes a list."""
    header, blank, voxels = path.read_bytes().partition(b"\n\n")
    path.write_bytes(header.replace(b"\nkinds: vector ", b"\nkinds: list ", 1) + blank + voxels)


def _information(file: str) -> Any:
    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    reader.LoadPrivateTagsOff()
    reader.ReadImageInformation()
    return reader


def _voxels(image: Any) -> np.ndarray:
    """Index order, components (a vector image's channels) last."""
    array: np.ndarray = sitk.GetArrayFromImage(image)
    components = image.GetNumberOfComponentsPerPixel() > 1
    axes = tuple(reversed(range(image.GetDimension())))
    return array.transpose((*axes, array.ndim - 1) if components else axes)


def _affine(image: Any) -> np.ndarray:
    """Direction x spacing and origin, LPS to RAS; of an image with more axes the first three."""
    n = image.GetDimension()
    direction = np.array(image.GetDirection()).reshape(n, n)
    m = min(n, 3)
    affine = np.eye(4)
    affine[:m, :m] = (direction * np.array(image.GetSpacing()))[:m, :m]
    affine[:m, 3] = np.array(image.GetOrigin())[:m]
    return _LPS_TO_RAS @ affine


def _series(folder: Path) -> Sequence[str]:
    """The sorted slice files of the one series in a folder."""
    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if not series:
        raise DataError(
            f"The folder {folder} holds no DICOM series.", "Give an image file, or the series' folder."
        )
    if len(series) > 1:
        raise DataError(
            f"The folder {folder} holds {len(series)} DICOM series; one is expected.",
            "Put each series into a folder of its own.",
        )
    files: Sequence[str] = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0])
    return files


def _series_affine(folder: Path, files: Sequence[str], affine: np.ndarray) -> np.ndarray:
    """The affine with its slice axis from the slices' own positions, which also holds for a tilted gantry.

    Raises:
        DataError: the slices are not evenly spaced: one is missing, or several share a place (time series).
    """
    if len(files) < 2:
        return affine
    positions = np.array([_position(file) for file in files])
    step = (positions[-1] - positions[0]) / (len(files) - 1)
    distance = float(np.linalg.norm(step))
    off = np.linalg.norm(np.diff(positions, axis=0) - step, axis=1).max()
    if distance == 0.0 or off > max(_UNIFORM_FRACTION * distance, 1e-3):
        raise DataError(
            f"The slices of the DICOM series in {folder} are not evenly spaced (off by up to {off:.2f} mm): "
            "one is missing, or the folder mixes time points.",
            "Export the series again, complete and one time point to a folder.",
        )
    corrected = affine.copy()
    corrected[:3, 2] = _LPS_TO_RAS[:3, :3] @ step
    corrected[:3, 3] = _LPS_TO_RAS[:3, :3] @ positions[0]
    return corrected


def _position(file: str) -> list[float]:
    reader = _information(file)
    if not reader.HasMetaDataKey(_POSITION):
        raise DataError(
            f"{file} does not say where its slice lies (Image Position, 0020,0032).",
            "Export the series again with its geometry.",
        )
    return [float(value) for value in reader.GetMetaData(_POSITION).split("\\")]
