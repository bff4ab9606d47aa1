"""A case as a picture: its largest cross-section, what the expert drew and what the model found."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, final

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from FedSegCore.report.markup import Markup, element, figure, legend, swatch
from FedSegCore.report.tables import number

LABEL_COLOURS: Final = (
    "#ffb000",
    "#4cc3ff",
    "#2fd6a3",
    "#ff7f50",
    "#f59fd0",
    "#f2ea3f",
    "#b79cff",
    "#9be564",
)
"""Bright enough on a grey scan, and told apart by colour-blind readers (after Okabe and Ito)."""
MARGIN_MM: Final = 8.0
MAX_PIXELS: Final = 384


@final
@dataclass(frozen=True, eq=False)
class Overlay:
    """One case to show.

    Args:
        title: what it stands for, e.g. "Worst case".
        site: where the case lies.
        case: its name.
        dice: its mean Dice.
        image: (X, Y, Z) intensities, one channel.
        reference: bool (L, X, Y, Z): what the expert drew.
        prediction: bool (L, X, Y, Z): what the model found.
        labels: L names.
        spacing_mm: size of a voxel along X, Y, Z.
        orientation: where X, Y, Z point to, e.g. "RAS"; "" where unknown: no sides are lettered then.
        model: the model's name.
    """

    title: str
    site: str
    case: str
    dice: float
    image: NDArray[np.generic]
    reference: NDArray[np.bool_]
    prediction: NDArray[np.bool_]
    labels: Sequence[str]
    spacing_mm: Sequence[float]
    orientation: str = "RAS"
    model: str = field(default="")


@final
@dataclass(frozen=True, eq=False)
class CrossSection:
    """A slice as it is looked at: rows downwards, columns to the right.

    Args:
        image: (rows, columns), 0 to 1.
        reference: bool (L, rows, columns).
        prediction: bool (L, rows, columns).
        pixel_mm: height and width of a pixel.
        sides: letters at left, right, top, bottom; empty where unknown.
        plane: "axial", "coronal", "sagittal" or "slice".
    """

    image: NDArray[np.float64]
    reference: NDArray[np.bool_]
    prediction: NDArray[np.bool_]
    pixel_mm: tuple[float, float]
    sides: tuple[str, str, str, str]
    plane: str


def cross_section(overlay: Overlay) -> CrossSection:
    """The slice through the largest foreground cross-section, cropped around it.

    The plane is axial, or, where voxels are half as long again along another axis, across that axis. Seen as
    radiologists do: the patient's right on the left, anterior or superior on top.
    """
    order, flips, known = _to_ras(overlay.orientation)
    volumes = np.concatenate([np.asarray(overlay.reference, bool), np.asarray(overlay.prediction, bool)])
    volumes = np.flip(volumes.transpose(0, *(axis + 1 for axis in order)), tuple(axis + 1 for axis in flips))
    image = np.flip(np.asarray(overlay.image, np.float64).transpose(order), tuple(flips))
    spacing = [float(overlay.spacing_mm[axis]) for axis in order]
    axis = _across(spacing)
    count = len(overlay.labels)
    foreground = volumes[:count] if volumes[:count].any() else volumes
    index = _largest(np.asarray(foreground.any(axis=0)), axis)
    planes = np.take(volumes, index, axis=axis + 1).transpose(0, 2, 1)[:, ::-1, ::-1]
    shown = np.take(image, index, axis=axis).T[::-1, ::-1]
    horizontal, vertical = (other for other in range(3) if other != axis)
    pixel_mm = (spacing[vertical], spacing[horizontal])
    rows, columns = _crop(planes.any(axis=0), pixel_mm)
    planes, shown = planes[:, rows, columns], shown[rows, columns]
    step = -(-max(shown.shape) // MAX_PIXELS)
    letters = ("RAS"[horizontal], "LPI"[horizontal], "RAS"[vertical], "LPI"[vertical]) if known else ("",) * 4
    return CrossSection(
        image=_window(shown[::step, ::step]),
        reference=planes[:count, ::step, ::step],
        prediction=planes[count:, ::step, ::step],
        pixel_mm=(pixel_mm[0] * step, pixel_mm[1] * step),
        sides=(letters[0], letters[1], letters[2], letters[3]),
        plane=("sagittal", "coronal", "axial")[axis] if known else "slice",
    )


def draw_overlay(overlay: Overlay, *, identifier: str) -> Markup:
    """The case as a figure: the scan, and the scan with the reference filled and the prediction outlined.

    Args:
        overlay: the case.
        identifier: unique on the page.
    """
    section = cross_section(overlay)
    height, width = (size * mm for size, mm in zip(section.image.shape, section.pixel_mm, strict=True))
    uri = "data:image/png;base64," + base64.b64encode(grey_png(section.image)).decode("ascii")
    scan = (
        f'<image id="{identifier}" href="{uri}" width="{width:.2f}" height="{height:.2f}" '
        'preserveAspectRatio="none"/>'
    )
    size = max(height, width)
    views = [
        _view(scan + _letters(section, width, height), width, height, "scan"),
        _view(
            f'<use href="#{identifier}"/>' + _outlines(section, size) + _letters(section, width, height),
            width,
            height,
            f"{section.plane} slice with reference and prediction",
        ),
    ]
    caption = [
        element("strong", overlay.title),
        element("span", f"Dice {number(overlay.dice)}", class_="score"),
        element("span", " · ".join(filter(None, (overlay.site, overlay.case, overlay.model))), class_="sub"),
    ]
    return figure(element("div", *views, class_="pair"), *caption, class_="overlay")


def overlay_legend(labels: Sequence[str]) -> Markup:
    """Which colour is which structure, and what is filled and what is outlined."""
    structures = {label: swatch(LABEL_COLOURS[i % len(LABEL_COLOURS)]) for i, label in enumerate(labels)}
    drawn = {
        "filled: drawn by the expert": element("span", class_="key filled"),
        "outlined: found by the model": element("span", class_="key outlined"),
    }
    return legend({**structures, **drawn})


def grey_png(image: NDArray[np.float64]) -> bytes:
    """A grey 8-bit PNG of an image (rows, columns) with values 0 to 1."""
    pixels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 0, 0, 0, 0)
    chunks = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows, 9)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _to_ras(orientation: str) -> tuple[list[int], list[int], bool]:
    """The order of axes that makes an array R-A-S, which of them to flip then, and whether that is known."""
    pairs = ("RL", "AP", "SI")
    letters = orientation.upper()
    order = [next((i for i, letter in enumerate(letters) if letter in pair), -1) for pair in pairs]
    if sorted(order) != [0, 1, 2]:
        return [0, 1, 2], [], False
    return order, [axis for axis, own in enumerate(order) if letters[own] in "LPI"], True


def _across(spacing: Sequence[float]) -> int:
    longest = int(np.argmax(spacing))
    others = [mm for axis, mm in enumerate(spacing) if axis != longest]
    return longest if spacing[longest] > 1.5 * max(others) else 2


def _largest(foreground: NDArray[np.bool_], axis: int) -> int:
    area = foreground.sum(axis=tuple(other for other in range(3) if other != axis))
    return int(np.argmax(area)) if np.any(area) else foreground.shape[axis] // 2


def _crop(foreground: NDArray[np.bool_], pixel_mm: tuple[float, float]) -> tuple[slice, slice]:
    """A field around the foreground, about square in mm and half as large again; without any, all."""
    if not foreground.any():
        return slice(None), slice(None)
    ends = [np.flatnonzero(foreground.any(axis=1 - axis))[[0, -1]] for axis in range(2)]
    extent = max((end[1] - end[0] + 1) * mm for end, mm in zip(ends, pixel_mm, strict=True))
    half = max(0.75 * extent, extent / 2 + MARGIN_MM)
    cut = []
    for end, mm, size in zip(ends, pixel_mm, foreground.shape, strict=True):
        centre, reach = (end[0] + end[1] + 1) / 2, half / mm
        cut.append(slice(max(0, int(centre - reach)), min(size, int(np.ceil(centre + reach)))))
    return cut[0], cut[1]


def _window(image: NDArray[np.float64]) -> NDArray[np.float64]:
    finite = np.where(np.isfinite(image), image, np.nan)
    if np.isnan(finite).all():
        return np.zeros(image.shape)
    low, high = np.nanpercentile(finite, [0.5, 99.5])
    scaled = np.clip((np.nan_to_num(finite, nan=low) - low) / max(high - low, 1e-12), 0, 1)
    return np.asarray(scaled, np.float64)


def _view(content: str, width: float, height: float, title: str) -> Markup:
    return Markup(
        f'<svg viewBox="0 0 {width:.2f} {height:.2f}" role="img" aria-label="{title}">'
        f'<rect width="{width:.2f}" height="{height:.2f}" fill="#000"/>{content}</svg>'
    )


def _outlines(section: CrossSection, size: float) -> str:
    drawn = []
    line = size / 90
    for index, (reference, prediction) in enumerate(zip(section.reference, section.prediction, strict=True)):
        colour = LABEL_COLOURS[index % len(LABEL_COLOURS)]
        expert, found = (_path(mask, section.pixel_mm) for mask in (reference, prediction))
        if expert:
            drawn.append(f'<path d="{expert}" fill="{colour}" fill-opacity=".38" fill-rule="evenodd"/>')
        if found:
            outline = f'<path d="{found}" fill="none" stroke-linejoin="round" stroke='
            drawn.append(f'{outline}"#000" stroke-opacity=".5" stroke-width="{1.9 * line:.2f}"/>')
            drawn.append(f'{outline}"{colour}" stroke-width="{line:.2f}"/>')
    return "".join(drawn)


def _path(mask: NDArray[np.bool_], pixel_mm: tuple[float, float]) -> str:
    """A mask's outline as the data of an SVG path, in mm."""
    if not mask.any():
        return ""
    padded = np.pad(mask.astype(np.float64), 1)
    outlines = Figure().add_subplot().contour(padded, [0.5]).get_paths()[0].to_polygons(closed_only=False)
    parts = []
    for outline in outlines:
        points = (np.asarray(outline) - 0.5) * (pixel_mm[1], pixel_mm[0])
        parts.append("M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in points) + "Z")
    return "".join(parts)


def _letters(section: CrossSection, width: float, height: float) -> str:
    size = max(width, height) / 18
    places = (
        (size * 0.7, height / 2),
        (width - size * 0.7, height / 2),
        (width / 2, size * 0.8),
        (width / 2, height - size * 0.8),
    )
    return "".join(
        f'<text x="{x:.2f}" y="{y:.2f}" font-size="{size:.2f}" class="side">{letter}</text>'
        for letter, (x, y) in zip(section.sides, places, strict=True)
        if letter
    )
