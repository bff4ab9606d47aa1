"""Segmentations as 3D Slicer writes them, byte by byte: cropped, with its own numbers, overlaps on layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write_slicer(
    path: Path,
    layers: Sequence[np.ndarray],
    segments: Mapping[str, tuple[int, int]],
    *,
    affine: np.ndarray,
    crop: tuple[slice, slice, slice] = (slice(None), slice(None), slice(None)),
) -> None:
    """Writes layers (X, Y, Z) uint8 of an image's grid, cropped; name -> (value, layer)."""
    origin = _LPS_TO_RAS @ affine @ [*(part.start or 0 for part in crop), 1]
    axes = [f"({x},{y},{z})" for x, y, z in (_LPS_TO_RAS @ affine)[:3, :3].T]
    cropped = np.stack([layer[crop] for layer in layers])
    several = len(layers) > 1
    sizes = cropped.shape if several else cropped.shape[1:]
    lines = [
        "NRRD0004",
        "type: unsigned char",
        f"dimension: {len(sizes)}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, sizes))}",
        f"space directions: {'none ' if several else ''}{' '.join(axes)}",
        f"kinds: {'list ' if several else ''}domain domain domain",
        "encoding: raw",
        f"space origin: ({','.join(map(str, origin[:3]))})",
    ]
    for number, (name, (value, layer)) in enumerate(segments.items()):
        lines += [
            f"Segment{number}_ID:=Segment_{number + 1}",
            f"Segment{number}_Name:={name}",
            f"Segment{number}_LabelValue:={value}",
            f"Segment{number}_Layer:={layer}",
        ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("\n".join([*lines, "", ""]).encode() + cropped.tobytes(order="F"))
