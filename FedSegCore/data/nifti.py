"""NIfTI files through nibabel."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from FedSegCore.data.io import LEGEND_KEY
from FedSegCore.data.volume import Volume

# nibabel tells of repaired header fields on stderr; `check` reports what matters, with the file's name
logging.getLogger("nibabel.global").addHandler(logging.NullHandler())

_GRID_FIELDS = (
    "pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d",
    "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z",
)  # fmt: skip

_NIFTI1_HEADER_BYTES = 348
_COMMENT = 6
"""NIfTI's code of a header extension that holds plain text."""


def read(path: Path) -> tuple[np.ndarray, np.ndarray, nib.Nifti1Header]:
    """Voxels with slope and intercept applied, affine (RAS), header."""
    image = nib.load(path, mmap=False)
    array = np.asanyarray(image.dataobj)
    return array, image.affine, image.header


def read_header(path: Path) -> tuple[tuple[int, ...], np.ndarray, np.dtype]:
    """Shape as in the file, affine (RAS) and number type on disk."""
    image = nib.load(path, mmap=False)
    return tuple(int(n) for n in image.shape), image.affine, image.get_data_dtype()


def read_comments(path: Path) -> list[str]:
    """The comments among the header's extensions."""
    extensions = getattr(nib.load(path, mmap=False).header, "extensions", ())
    comments = (extension.get_content() for extension in extensions if extension.get_code() == _COMMENT)
    return [bytes(comment).rstrip(b"\0").decode("utf-8", "replace") for comment in comments]


def write(path: Path, layers: Sequence[Volume], metadata: Mapping[str, str]) -> None:
    """Writes the only layer; sform and qform are its own header's, bit by bit, where it has one.

    Of the metadata NIfTI has a place for the legend alone, as a comment.
    """
    (volume,) = layers
    header = _grid_header(volume)
    header.set_data_dtype(volume.array.dtype)
    if LEGEND_KEY in metadata:
        header.extensions.append(nib.nifti1.Nifti1Extension(_COMMENT, metadata[LEGEND_KEY].encode()))
    nib.Nifti1Image(volume.array, header.get_best_affine(), header).to_filename(path)


def _grid_header(volume: Volume) -> Any:
    header = nib.Nifti1Header()
    header.set_data_shape(volume.shape)
    same_kind = volume.header is not None and int(volume.header["sizeof_hdr"]) == _NIFTI1_HEADER_BYTES
    if same_kind and np.array_equal(volume.header.get_best_affine(), volume.affine):
        for name in _GRID_FIELDS:
            header[name] = volume.header[name]
        return header
    header.set_xyzt_units("mm")
    header.set_sform(volume.affine, code=1)
    if np.allclose(_cosines(volume.affine), np.eye(3), atol=1e-5):
        header.set_qform(volume.affine, code=1)  # some readers look at nothing else; it cannot hold a shear
    else:
        header["pixdim"][1:4] = volume.spacing_mm
    return header


def _cosines(affine: np.ndarray) -> np.ndarray:
    """Cosines of the angles between the axes; the identity for a grid without shear."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    cosines: np.ndarray = axes.T @ axes
    return cosines
