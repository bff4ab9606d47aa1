from __future__ import annotations

import base64
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from FedSegCore.report.overlays import Overlay, cross_section, draw_overlay, grey_png


def marked(orientation: str = "RAS", spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Overlay:
    """A bright right-anterior corner block in a scan; the structure fills most of slice 3."""
    image = np.zeros((10, 12, 8))
    image[7:, 9:] = 1.0
    reference = np.zeros((1, 10, 12, 8), bool)
    reference[0, 1:9, 1:11, 3] = True
    reference[0, 4:6, 4:6, 5] = True
    return Overlay("Case", "north", "c", 0.5, image, reference, reference, ("A",), spacing, orientation)


def test_the_slice_is_the_one_with_the_largest_cross_section() -> None:
    section = cross_section(marked())
    assert section.plane == "axial"
    assert section.reference[0].sum() == 8 * 10


def test_right_is_on_the_left_and_anterior_on_top() -> None:
    section = cross_section(marked())
    assert section.sides == ("R", "L", "A", "P")
    assert section.image[0, 0] == 1.0 and section.image[-1, -1] == 0.0


@pytest.mark.parametrize(
    ("orientation", "order", "flips"),
    [("LPS", (0, 1, 2), (0, 1)), ("PSR", (1, 2, 0), (0,)), ("SAL", (2, 1, 0), (2,))],
)
def test_every_orientation_gives_the_same_picture(
    orientation: str, order: tuple[int, ...], flips: tuple[int, ...]
) -> None:
    own = marked()
    image = np.flip(own.image.transpose(order), flips)
    labels = np.flip(own.reference.transpose(0, *(axis + 1 for axis in order)), [axis + 1 for axis in flips])
    turned = replace(own, image=image, reference=labels, prediction=labels, orientation=orientation)
    expected, found = cross_section(own), cross_section(turned)
    assert orientation != "SAL" or found.sides == expected.sides
    np.testing.assert_array_equal(found.image, expected.image)
    np.testing.assert_array_equal(found.reference, expected.reference)


def test_coarse_voxels_are_looked_at_across_their_coarse_axis() -> None:
    section = cross_section(marked(spacing=(4.0, 1.0, 1.0)))
    assert (section.plane, section.sides) == ("sagittal", ("A", "P", "S", "I"))


def test_an_unknown_orientation_is_not_lettered() -> None:
    section = cross_section(marked(orientation=""))
    assert section.sides == ("", "", "", "") and section.plane == "slice"
    assert "<text" not in str(draw_overlay(marked(orientation=""), identifier="x"))


def test_a_large_scan_is_cropped_around_the_structure(overlay_of: Callable[..., Overlay]) -> None:
    own = overlay_of("Case", 0.9, shift=0)
    section = cross_section(own)
    assert section.image.shape[0] < own.image.shape[1]
    assert (
        section.reference.any() and not section.reference[:, 0].any() and not section.reference[:, :, 0].any()
    )


@pytest.mark.parametrize("what", ["nothing drawn", "nothing found", "neither", "constant", "not a number"])
def test_awkward_cases_are_drawn_without_a_word(what: str) -> None:
    own = marked()
    empty = np.zeros_like(own.reference)
    changes = {
        "nothing drawn": {"reference": empty},
        "nothing found": {"prediction": empty},
        "neither": {"reference": empty, "prediction": empty},
        "constant": {"image": np.ones((10, 12, 8))},
        "not a number": {"image": np.full((10, 12, 8), np.nan)},
    }[what]
    text = str(draw_overlay(replace(own, **changes), identifier="x"))
    assert "nan" not in text and text.count("<path") == {
        "nothing drawn": 2,
        "nothing found": 1,
        "neither": 0,
    }.get(what, 3)


def test_outlines_lie_on_the_voxels_edges_in_mm() -> None:
    own = marked(spacing=(2.0, 2.0, 2.0))
    text = str(draw_overlay(own, identifier="x"))
    points = np.array(re.findall(r"([\d.]+) ([\d.]+)", re.search(r'<path d="M([^"]+)Z"', text)[1]), float)  # type: ignore[index]
    rows, columns = np.nonzero(cross_section(own).reference[0])
    np.testing.assert_allclose(points.min(axis=0), (2 * columns.min(), 2 * rows.min()))
    np.testing.assert_allclose(points.max(axis=0), (2 * (columns.max() + 1), 2 * (rows.max() + 1)))


def test_the_png_holds_the_pixels() -> None:
    image = np.array([[0.0, 0.5, 1.0], [1.0, 0.0, 2.0]])
    data = grey_png(image)
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", data[16:24]) == (3, 2)
    start = data.index(b"IDAT") + 4
    rows = zlib.decompress(data[start : start + struct.unpack(">I", data[start - 8 : start - 4])[0]])
    assert rows == bytes([0, 0, 128, 255, 0, 255, 0, 255])


def test_the_picture_carries_its_pixels_with_it() -> None:
    uri = re.search(r'href="data:image/png;base64,([^"]+)"', str(draw_overlay(marked(), identifier="x")))
    assert uri and base64.b64decode(uri[1]).startswith(b"\x89PNG")
