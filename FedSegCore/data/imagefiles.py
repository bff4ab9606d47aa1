"""Image files by their names: which they are, which case and channel they hold, and what a folder holds."""

from __future__ import annotations

import re
from pathlib import Path

from FedSegCore.errors import DataError

NIFTI_SUFFIXES = (".nii.gz", ".nii")
ITK_SUFFIXES = (".seg.nrrd", ".nrrd", ".mha", ".mhd")
IMAGE_SUFFIXES = (*NIFTI_SUFFIXES, *ITK_SUFFIXES)
"""Known image files; a folder with a DICOM series is an image too."""

_DICOM_MAGIC_OFFSET = 128


def image_suffix(path: Path) -> str:
    """The known suffix of a file name (".seg.nrrd" rather than ".nrrd"), or ""."""
    name = path.name.lower()
    return next((suffix for suffix in IMAGE_SUFFIXES if name.endswith(suffix)), "")


def image_stem(path: Path) -> str:
    """An image's name without its known suffix; a DICOM folder's own name."""
    suffix = image_suffix(path)
    return path.name[: -len(suffix)] if suffix else path.name


def channel_of(path: Path) -> tuple[str, int | None]:
    """The case and the channel number of an nnU-Net style name: CASE_0002.nii.gz; None for any other name."""
    stem = image_stem(path)
    match = re.fullmatch(r"(.+)_(\d{4})", stem)
    return (match[1], int(match[2])) if match else (stem, None)


def is_dicom_folder(path: Path) -> bool:
    """Whether a folder directly holds at least one DICOM file."""
    return path.is_dir() and any(_is_dicom_file(one) for one in sorted(path.iterdir()))


def _is_dicom_file(path: Path) -> bool:
    if not path.is_file() or path.name.startswith(".") or image_suffix(path):
        return False
    if path.suffix.lower() == ".dcm":
        return True
    with path.open("rb") as file:
        return file.read(_DICOM_MAGIC_OFFSET + 4)[_DICOM_MAGIC_OFFSET:] == b"DICM"


def find_images(folder: Path) -> list[Path]:
    """The images directly inside a folder, sorted by name: image files and folders with a DICOM series.

    A folder that is itself a DICOM series is the one image found. Hidden files are left out.

    Raises:
        DataError: the folder does not exist.
    """
    if not folder.is_dir():
        raise DataError(f"The folder {folder} does not exist.", "Check the path.")
    if is_dicom_folder(folder):
        return [folder]
    visible = (path for path in sorted(folder.iterdir()) if not path.name.startswith("."))
    return [path for path in visible if (path.is_file() and image_suffix(path)) or is_dicom_folder(path)]
