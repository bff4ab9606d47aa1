"""Flaws of where voxels lie: axes, spacing, direction, and files of one case on different grids."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from FedSegCore.data.problem import Problem, Severity, shown
from FedSegCore.data.rawimage import FileFacts, corner_offset_mm
from FedSegCore.data.scan import CaseScan
from FedSegCore.data.volume import GRID_TOLERANCE_VOXELS, orientation_of

SPACING_RANGE_MM = (0.05, 20.0)
EXACT_GRID_VOXELS = 1e-3
"""Grids that differ by less are equal: headers hold float32."""

_SHEAR_COSINE = 1e-3
_FEW_VOXELS = 8
_UNITS = {"meter": "m", "micron": "µm"}
_HEADER_FIX = "Repair the image's header, or convert it again from the original."


def geometry_problems(scan: CaseScan, folder: Path) -> Iterator[Problem]:
    """The flaws of each image's own grid, and of the case's files against its first image."""
    readable = [image.facts for image in scan.images if image is not None]
    if scan.label is not None:
        readable.append(scan.label.facts)
    spatial = []
    for facts in readable:
        if len(facts.shape) > 3:
            yield _four_axes(facts, folder)
        elif 0 in facts.shape:
            yield Problem(
                shown(facts.path, folder), "error", f"The image has no voxels: {facts.shape}.", _HEADER_FIX
            )
        else:
            spatial.append(facts)
    reference = spatial[0] if spatial else None
    for facts in spatial:
        same = facts is reference or (reference is not None and np.allclose(facts.affine, reference.affine))
        if facts is reference or not same:
            yield from _own_grid(facts, folder)
        yield from _orientation_known(facts, folder)
        if reference is not None and facts is not reference:
            yield from _against(
                facts, reference, folder, label=scan.label is not None and facts is scan.label.facts
            )


def _four_axes(facts: FileFacts, folder: Path) -> Problem:
    sides = " x ".join(map(str, facts.shape))
    return Problem(
        shown(facts.path, folder),
        "error",
        f"The image has {len(facts.shape)} axes ({sides}); a 3-D image is expected.",
        "Save each channel or time point as its own 3-D file, one a channel in dataset.json's `image` list.",
    )


def _own_grid(facts: FileFacts, folder: Path) -> Iterator[Problem]:
    """Singular affine, absurd spacing, shear, hardly any voxels."""
    name = shown(facts.path, folder)
    if not facts.usable:
        yield Problem(
            name,
            "error",
            "The header's affine is not finite, or it gives a spacing of 0 or parallel axes.",
            _HEADER_FIX,
        )
        return
    low, high = SPACING_RANGE_MM
    axes = [(side, length) for side, length in zip(facts.shape, facts.spacing_mm, strict=False) if side > 1]
    if any(not low <= length <= high for _, length in axes):
        spacing = " x ".join(f"{length:.4g}" for length in facts.spacing_mm)
        unit = _UNITS.get(facts.unit)
        says = f" (the header's unit is {unit})" if unit else ""
        yield Problem(
            name,
            "error",
            f"The spacing is {spacing} mm{says}; {low:g} to {high:g} mm is plausible.",
            "Write the spacing in mm into the header; check whether it is in metres, micrometres or missing.",
        )
    axes_mm = facts.affine[:3, :3] / facts.spacing_mm
    cosine = float(np.abs(axes_mm.T @ axes_mm - np.eye(3)).max())
    if cosine > _SHEAR_COSINE:
        angle = float(np.degrees(np.arccos(min(cosine, 1.0))))
        yield Problem(
            name,
            "error",
            f"The axes are not orthogonal: two of them meet at {angle:.2f} degrees instead of 90.",
            "Resample image and label map without shear (a tilted gantry or an affine fit made it).",
        )
    if sorted(facts.shape)[-2] < _FEW_VOXELS:
        sides = " x ".join(map(str, facts.shape))
        yield Problem(
            name,
            "warning",
            f"The image has only {sides} voxels.",
            "Check that it is not a thumbnail or a wrong crop.",
        )


def _orientation_known(facts: FileFacts, folder: Path) -> Iterator[Problem]:
    """NIfTI: neither form given, or the two forms disagree."""
    if facts.codes == (0, 0):
        yield Problem(
            shown(facts.path, folder),
            "warning",
            "The header gives no orientation (sform and qform codes are 0): left and right are a guess.",
            "Convert the image again from the original, or set its sform after checking the sides.",
        )
    if facts.usable and facts.form_offset_mm > GRID_TOLERANCE_VOXELS * min(facts.spacing_mm):
        yield Problem(
            shown(facts.path, folder),
            "warning",
            f"The header's sform and qform disagree by {facts.form_offset_mm:.3g} mm: programs will differ.",
            "Set both to the right one; FedSeg uses the sform.",
        )


def _against(facts: FileFacts, reference: FileFacts, folder: Path, *, label: bool) -> Iterator[Problem]:
    """A label map or a channel against the case's first image."""
    what = "label map" if label else "channel"
    name, other = shown(facts.path, folder), shown(reference.path, folder)
    how = "nearest neighbour" if label else "linearly"
    if facts.shape != reference.shape:
        sides, expected = (" x ".join(map(str, one.shape)) for one in (facts, reference))
        swapped = sorted(facts.shape) == sorted(reference.shape)
        hint = "; its axes look swapped" if swapped else ""
        yield Problem(
            name,
            "error",
            f"The {what} has {sides} voxels, {other} has {expected}{hint}.",
            f"Resample it to that image's grid ({how}), or pair the right files.",
        )
        return
    if not (facts.usable and reference.usable):
        return
    offset_mm = corner_offset_mm(facts.affine - reference.affine, facts.shape)
    voxels = offset_mm / min(reference.spacing_mm)
    if voxels <= EXACT_GRID_VOXELS:
        return
    severity: Severity = "error" if voxels > GRID_TOLERANCE_VOXELS else "warning"
    yield Problem(
        name,
        severity,
        f"The {what} lies up to {offset_mm:.3g} mm off {other}: {_difference(facts, reference)}.",
        f"Resample it to that image's grid ({how}); if the voxels do match, copy that image's affine.",
    )


def _difference(facts: FileFacts, reference: FileFacts) -> str:
    """In words what differs between two affines."""
    if not np.allclose(facts.spacing_mm, reference.spacing_mm, rtol=1e-3):
        ours, theirs = (" x ".join(f"{mm:.4g}" for mm in one.spacing_mm) for one in (facts, reference))
        return f"its spacing is {ours} mm, that of the image {theirs} mm"
    ours, theirs = orientation_of(facts.affine), orientation_of(reference.affine)
    if ours != theirs:
        return f"its axes point {ours}, those of the image {theirs}"
    if np.allclose(facts.affine[:3, :3], reference.affine[:3, :3], atol=1e-4 * min(reference.spacing_mm)):
        shift = facts.affine[:3, 3] - reference.affine[:3, 3]
        return f"its origin is moved by ({', '.join(f'{mm:.3g}' for mm in shift)}) mm (R, A, S)"
    return "its axes are rotated"
