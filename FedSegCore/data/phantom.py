"""Phantom datasets on disk: a small abdomen of smooth random shapes in any scanner's contrast.

For tests and for `fedseg demo`. The anatomy is drawn first and rendered afterwards, so the same patient
can be imaged with several modalities, and sites can differ in contrast alone. Needs neither torch nor images.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, final

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Array = NDArray[np.float32]

_BODY: Final = 254
_SPINE: Final = 255
"""Soft tissue and spine in a drawn anatomy; in the label map on disk both are background."""

_ORGANS: Final = (
    ((0.34, 0.08, 0.28), (0.40, 0.36, 0.34)),
    ((-0.42, -0.12, -0.30), (0.22, 0.20, 0.34)),
    ((-0.40, 0.20, 0.42), (0.22, 0.24, 0.22)),
    ((0.34, -0.08, -0.44), (0.20, 0.18, 0.26)),
    ((0.00, 0.40, -0.20), (0.24, 0.16, 0.18)),
    ((0.00, 0.24, -0.68), (0.24, 0.22, 0.18)),
)
"""Centre and half axes of each organ, as shares of the half field of view; axes R, A, S."""


@final
@dataclass(frozen=True)
class PhantomStyle:
    """How one scanner shows the anatomy; intensities in HU for "CT", else in arbitrary units.

    Attributes:
        modality: the channel's name in dataset.json.
        air, body, spine: intensity outside the patient, of soft tissue and of the spine.
        organs: intensity of the first, second, ... structure; begins anew when there are more structures.
        noise: standard deviation of white noise.
        bias: strength of a smooth multiplicative field; 0.3 changes intensities by up to about 30 %.
        blur_mm: standard deviation of the point spread.
        spacing_mm: voxel size along R, A, S.
        orientation: axis codes of the stored voxel array, for example "RAS" or "LPS".
    """

    modality: str = "CT"
    air: float = -1000.0
    body: float = 10.0
    spine: float = 350.0
    organs: tuple[float, ...] = (105.0, 170.0, 60.0)
    noise: float = 15.0
    bias: float = 0.0
    blur_mm: float = 1.0
    spacing_mm: tuple[float, float, float] = (2.0, 2.0, 2.0)
    orientation: str = "RAS"


_MR: Final = PhantomStyle("MR", 0.0, 300.0, 90.0, (480.0, 650.0, 400.0), noise=25.0, bias=0.3)

STYLES: Final[Mapping[str, PhantomStyle]] = MappingProxyType(
    {
        "ct": PhantomStyle(),
        "mr": _MR,
        "mr_inverted": dataclasses.replace(_MR, body=520.0, spine=700.0, organs=(340.0, 170.0, 430.0)),
        "t1": dataclasses.replace(_MR, modality="T1", organs=(480.0, 310.0, 420.0), bias=0.1),
        "t1ce": dataclasses.replace(_MR, modality="T1CE", organs=(480.0, 700.0, 320.0), bias=0.1),
        "t2": dataclasses.replace(_MR, modality="T2", organs=(310.0, 600.0, 150.0), bias=0.1),
        "flair": dataclasses.replace(_MR, modality="FLAIR", organs=(180.0, 310.0, 560.0), bias=0.1),
    }
)


def write_phantom_dataset(
    folder: Path,
    *,
    cases: int,
    test_cases: int = 0,
    seed: int,
    style: PhantomStyle | Sequence[PhantomStyle] = STYLES["ct"],
    labels: Sequence[str] = ("Liver", "Kidney"),
    shape: tuple[int, int, int] = (40, 48, 40),
    prefix: str = "phantom",
) -> Path:
    """Write an MSD-style dataset: dataset.json, imagesTr, labelsTr and, with test cases, imagesTs, labelsTs.

    Args:
        folder: created where missing.
        cases, test_cases: how many patients of each kind.
        seed: equal arguments give equal voxels; a patient depends on the seed and its number alone.
        style: the scanner, or one a channel; all channels of a case share a grid, the first style's.
        labels: names of the structures, at most six; their label-map values are 1, 2, ...
        shape: voxels along R, A, S before the array is stored in the style's orientation.
        prefix: how case names begin.

    Returns:
        The folder.

    Raises:
        ValueError: no label, or more labels than the phantom has organs.
    """
    styles = (style,) if isinstance(style, PhantomStyle) else tuple(style)
    if not 1 <= len(labels) <= len(_ORGANS):
        raise ValueError(f"a phantom has 1 to {len(_ORGANS)} structures, got {len(labels)}: {tuple(labels)}")
    entries: dict[str, list[dict[str, Any]]] = {"training": [], "test": []}
    for number in range(cases + test_cases):
        part, ending = ("training", "Tr") if number < cases else ("test", "Ts")
        rng = np.random.default_rng([seed, number])
        label_map = draw_anatomy(rng, organs=len(labels), shape=shape)
        images = [render(rng, label_map, one) for one in styles]
        name = f"{prefix}_{number:03d}"
        entries[part].append(_write_case(folder, name, images, label_map, styles[0], ending))
    (folder / "dataset.json").write_text(json.dumps(_description(styles, labels, entries), indent=1) + "\n")
    return folder


def draw_anatomy(rng: np.random.Generator, *, organs: int, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """One patient: 0 air, 1..organs the structures, 254 soft tissue, 255 the spine; array axes R, A, S."""
    grid = _warped_grid(rng, shape)
    anatomy = np.zeros(shape, np.uint8)
    size = rng.uniform(0.9, 1.05)
    anatomy[_ellipsoid(grid, (0.0, 0.0, 0.0), (0.88 * size, 0.78 * size, 1.3))] = _BODY
    anatomy[_ellipsoid(grid, (0.0, -0.50 * size, 0.0), (0.13, 0.13, 3.0))] = _SPINE
    for value, (centre, half_axes) in enumerate(_ORGANS[:organs], start=1):
        moved = [at * size + rng.normal(0, 0.03) for at in centre]
        grown = [length * size * rng.uniform(0.85, 1.15) for length in half_axes]
        anatomy[_ellipsoid(grid, moved, grown) & (anatomy == _BODY)] = value
    return anatomy


def render(rng: np.random.Generator, anatomy: NDArray[np.uint8], style: PhantomStyle) -> Array:
    """The patient as the style's scanner shows it, float32, on the anatomy's grid."""
    intensity = np.full(256, style.body, np.float32)
    intensity[0], intensity[_SPINE] = style.air, style.spine
    for value in range(1, len(_ORGANS) + 1):
        organ = style.organs[(value - 1) % len(style.organs)]
        intensity[value] = style.body + (organ - style.body) * rng.uniform(0.85, 1.15)
    image = gaussian_filter(intensity[anatomy], [style.blur_mm / mm for mm in style.spacing_mm])
    field = gaussian_filter(rng.standard_normal(anatomy.shape), [side / 4 for side in anatomy.shape])
    image = image * np.exp(style.bias * field / (np.abs(field).max() + 1e-12))
    noisy: Array = (image + rng.normal(0, style.noise, anatomy.shape)).astype(np.float32)
    return noisy


def _warped_grid(rng: np.random.Generator, shape: tuple[int, int, int]) -> list[NDArray[np.float64]]:
    """Coordinates from -1 to 1 along each axis, bent by a few slow waves so that no organ is an ellipsoid."""
    grid = np.meshgrid(*(np.linspace(-1, 1, side) for side in shape), indexing="ij")
    bent = []
    for axis, coordinate in enumerate(grid):
        for other in (axis - 1, axis - 2):
            phase = rng.uniform(0.7, 1.8) * grid[other] + rng.uniform(-1, 1)
            coordinate = coordinate + rng.normal(0, 0.03) * np.sin(np.pi * phase)
        bent.append(coordinate)
    return bent


def _ellipsoid(
    grid: Sequence[NDArray[np.float64]], centre: Sequence[float], half_axes: Sequence[float]
) -> NDArray[np.bool_]:
    """Where the grid lies inside an ellipsoid along its axes."""
    distances = [((x - at) / length) ** 2 for x, at, length in zip(grid, centre, half_axes, strict=True)]
    inside: NDArray[np.bool_] = np.add.reduce(distances) < 1.0
    return inside


def _write_case(
    folder: Path,
    name: str,
    images: Sequence[Array],
    anatomy: NDArray[np.uint8],
    style: PhantomStyle,
    ending: str,
) -> dict[str, Any]:
    """Write one case's files; returns its entry in dataset.json, paths relative to the folder."""
    label_map = np.where(anatomy < _BODY, anatomy, 0).astype(np.uint8)
    names = [f"{name}.nii.gz"] if len(images) == 1 else [f"{name}_{c:04d}.nii.gz" for c in range(len(images))]
    paths = [f"images{ending}/{file}" for file in names]
    label_path = f"labels{ending}/{name}.nii.gz"
    arrays: list[NDArray[Any]] = [*images, label_map]
    for path, array in zip([*paths, label_path], arrays, strict=True):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        _nifti(array, style).to_filename(folder / path)
    return {"image": paths[0] if len(paths) == 1 else paths, "label": label_path}


def _nifti(array: NDArray[Any], style: PhantomStyle) -> nib.Nifti1Image:
    """A NIfTI image, the world's origin at the array's centre, stored in the style's orientation."""
    affine = np.diag([*style.spacing_mm, 1.0])
    affine[:3, 3] = -0.5 * np.asarray(style.spacing_mm) * (np.asarray(array.shape) - 1)
    image = nib.Nifti1Image(array, affine)
    stored, drawn = (nib.orientations.axcodes2ornt(tuple(codes)) for codes in (style.orientation, "RAS"))
    turn = nib.orientations.ornt_transform(drawn, stored)
    return image.as_reoriented(turn)


def _description(
    styles: Sequence[PhantomStyle], labels: Sequence[str], entries: Mapping[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    """The contents of dataset.json."""
    return {
        "name": "Phantom",
        "description": "Computer-generated shapes in the contrast of a scanner; not images of patients.",
        "licence": "CC0 1.0",
        "channel_names": {str(channel): style.modality for channel, style in enumerate(styles)},
        "labels": {"background": 0, **{name: value for value, name in enumerate(labels, start=1)}},
        "numTraining": len(entries["training"]),
        "numTest": len(entries["test"]),
        "file_ending": ".nii.gz",
        **{part: cases for part, cases in entries.items() if cases},
    }
