"""One image file for the preflight: its header as it stands, its voxels, and why it cannot be read if so.

`io.read_volume` gives an image that training can trust or raises; here a sheared, 4-D or otherwise odd image
is still returned, so that everything wrong with it can be told at once. Compressed files are read to their
end, so that their checksum counts.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from FedSegCore.data.io import NIFTI_SUFFIXES, image_suffix, read_volume
from FedSegCore.data.nifti import read_header as _quiet_nibabel  # noqa: F401  its import silences nibabel's log
from FedSegCore.data.segments import read_layers
from FedSegCore.errors import DataError

_AGAIN = "Copy or export it again."
_NIFTI_TEXTS = ("descrip", "aux_file", "intent_name", "db_name")
_NIFTI2_HEADER_BYTES = 540
_LFS_START = b"version https://git-lfs"


@dataclass(frozen=True, eq=False)
class FileFacts:
    """What a file's header says, as it says it.

    Args:
        path: the file, or the folder of a DICOM series.
        shape: voxels along each axis, at least three; trailing axes of one voxel are dropped.
        affine: (4, 4) float64, voxel index -> RAS+ world mm; may be singular or not finite.
        stored: the voxels' number type in the file.
        texts: the header's free text by field.
        unit: the NIfTI header's length unit, "" where not stated.
        codes: NIfTI's (sform, qform) codes; None for other formats.
        form_offset_mm: how far sform and qform disagree at a corner; 0 where not both are given.
    """

    path: Path
    shape: tuple[int, ...]
    affine: np.ndarray
    stored: np.dtype[Any]
    texts: Mapping[str, str]
    unit: str = ""
    codes: tuple[int, int] | None = None
    form_offset_mm: float = 0.0

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """The lengths of the affine's three axes, in mm."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return (x, y, z)

    @property
    def usable(self) -> bool:
        """Whether the affine is finite and its axes span space."""
        if not np.all(np.isfinite(self.affine)) or not all(self.spacing_mm):
            return False
        return bool(abs(np.linalg.det(self.affine[:3, :3] / self.spacing_mm)) >= 1e-6)


@dataclass(frozen=True, eq=False)
class RawImage:
    """A file's header and its voxels (X, Y, Z, ...), slope and intercept applied; a 2-D image has Z = 1."""

    facts: FileFacts
    array: np.ndarray


class UnreadableError(Exception):
    """A file that holds no image; `message` and `fix` are one sentence each."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.message, self.fix = message, fix


def read_raw(path: Path) -> RawImage:
    """Reads one file whole.

    Raises:
        UnreadableError: it is missing, empty, truncated, damaged or no image.
    """
    if not path.exists():
        raise UnreadableError(_missing(path), "Copy the file there, or correct its name in dataset.json.")
    suffix = image_suffix(path)
    if path.is_file() and path.stat().st_size == 0:
        raise UnreadableError("The file is empty (0 bytes).", _AGAIN)
    if suffix in NIFTI_SUFFIXES and path.is_file():
        return _read_nifti(path, compressed=suffix == ".nii.gz")
    return _read_other(path)


def _missing(path: Path) -> str:
    """Says that a file is missing, and which file of the folder differs in upper and lower case only."""
    if path.is_symlink():
        return f"The file is a link to {path.readlink()}, which does not exist."
    if path.parent.is_dir():
        for other in path.parent.iterdir():
            if other.name.lower() == path.name.lower():
                return f'The file is missing; the folder has "{other.name}".'
    return "The file is missing."


def _read_nifti(path: Path, *, compressed: bool) -> RawImage:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableError(
            f"The file cannot be read: {error.strerror}.", "Change its permissions."
        ) from None
    if content.startswith(_LFS_START):
        raise UnreadableError("The file is a Git LFS pointer, not the image.", "Run `git lfs pull`.")
    if compressed:
        content = _unzip(content)
    kind = nib.Nifti2Image if _header_bytes(content) == _NIFTI2_HEADER_BYTES else nib.Nifti1Image
    try:
        image = kind.from_bytes(content)
    except Exception:  # nibabel documents no closed list
        raise UnreadableError("The file is not a NIfTI image, or its header is damaged.", _AGAIN) from None
    expected = int(np.prod(image.shape, dtype=np.int64)) * image.get_data_dtype().itemsize
    held = len(content) - int(image.dataobj.offset)
    if held < expected:
        message = (
            f"The file is truncated: its header promises {expected} bytes of voxels, it holds {max(held, 0)}."
        )
        raise UnreadableError(message, _AGAIN)
    array = _plain(np.asanyarray(image.dataobj))
    header = image.header
    codes = (int(header["sform_code"]), int(header["qform_code"]))
    facts = FileFacts(
        path=path,
        shape=array.shape,
        affine=np.asarray(image.affine, dtype=np.float64),
        stored=image.get_data_dtype(),
        texts=_nifti_texts(header),
        unit=_unit(header),
        codes=codes,
        form_offset_mm=_form_offset_mm(header, image.shape) if all(codes) else 0.0,
    )
    return RawImage(facts, array)


def _unzip(content: bytes) -> bytes:
    try:
        return gzip.decompress(content)
    except EOFError:
        raise UnreadableError("The file is truncated: its compressed data ends early.", _AGAIN) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        if content.startswith(b"\x1f\x8b"):
            raise UnreadableError("The file is damaged: its compressed data is broken.", _AGAIN) from error
        raise UnreadableError(
            "The file ends in .gz but is not compressed.", "Rename it, or compress it."
        ) from error


def _header_bytes(content: bytes) -> int:
    """The header's own length field, in either byte order."""
    little = int.from_bytes(content[:4], "little")
    return little if little < 1 << 16 else int.from_bytes(content[:4], "big")


def _nifti_texts(header: Any) -> dict[str, str]:
    texts = {name: header[name].item().decode("latin-1").strip("\x00 ") for name in _NIFTI_TEXTS}
    for number, extension in enumerate(header.extensions, start=1):
        content = extension.get_content()
        text = content.decode("latin-1") if isinstance(content, bytes) else str(content)
        label = "DICOM header" if extension.get_code() == 2 else "extension"
        texts[f"{label} {number}"] = text.strip("\x00 ")
    return {name: text for name, text in texts.items() if text}


def _unit(header: Any) -> str:
    try:
        unit = str(header.get_xyzt_units()[0])
    except KeyError:  # a code outside the standard
        return ""
    return "" if unit == "unknown" else unit


def _form_offset_mm(header: Any, shape: tuple[int, ...]) -> float:
    try:
        difference = header.get_sform() - header.get_qform()
    except Exception:  # a quaternion longer than 1; nibabel's own error type is not public
        return float("inf")
    return corner_offset_mm(difference, shape)


def corner_offset_mm(difference: np.ndarray, shape: tuple[int, ...]) -> float:
    """The largest distance, over a grid's corners, that the difference of two affines makes, in mm."""
    ends = [(0, max(side - 1, 1)) for side in (*shape, 1, 1)[:3]]
    corners = np.array([(x, y, z, 1) for x in ends[0] for y in ends[1] for z in ends[2]], dtype=np.float64)
    return float(np.linalg.norm(corners @ np.asarray(difference)[:3].T, axis=1).max())


def _read_other(path: Path) -> RawImage:
    """NRRD, MetaImage and DICOM series; the layers of a .seg.nrrd are a fourth axis."""
    from FedSegCore.data.itk import read_metadata

    try:
        if image_suffix(path) == ".seg.nrrd" and path.is_file():
            array, affine = read_layers(path)
        else:
            volume = read_volume(path)
            array, affine = volume.array, volume.affine
        texts = read_metadata(path)
    except DataError as error:
        raise unreadable(error, path, what="The image") from None
    kept = {key: text for key, text in texts.items() if text.strip()}
    return RawImage(FileFacts(path, array.shape, affine, array.dtype, kept), array)


def unreadable(error: DataError, path: Path, *, what: str) -> UnreadableError:
    """An error about a file, without the file's name where the sentence starts with it.

    Args:
        error: of the readers that training uses.
        path: the file.
        what: how the sentence calls it instead, such as "The image".
    """
    message = error.message.removeprefix(str(path)).removeprefix(":").strip()
    return UnreadableError(f"{what} {message}" if message[:1].islower() else message, error.fix)


def _plain(array: np.ndarray) -> np.ndarray:
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    return array.reshape(array.shape + (1,) * (3 - array.ndim))
