"""Volumes on one grid, on two, and side by side."""

from __future__ import annotations

import pytest
from FedSegLib.grids import Grid, overlap, sameGrid


def grid(
    spacing: float = 1.0,
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    size: int = 11,
    flip: float = 1.0,
) -> Grid:
    x, y, z = origin
    return Grid(
        ((flip * spacing, 0, 0, x), (0, spacing, 0, y), (0, 0, spacing, z), (0, 0, 0, 1)), (size, size, size)
    )


def test_a_grid_is_the_same_as_itself_within_a_hundredth_of_a_millimetre() -> None:
    assert sameGrid(grid(), grid(origin=(0.009, 0.0, 0.0)))
    assert not sameGrid(grid(), grid(origin=(0.011, 0.0, 0.0)))


@pytest.mark.parametrize(
    "other", [grid(size=12), grid(spacing=1.01), grid(flip=-1.0, origin=(10.0, 0.0, 0.0))]
)
def test_other_sizes_spacings_and_directions_are_other_grids(other: Grid) -> None:
    assert not sameGrid(grid(), other)


def test_the_overlap_is_the_share_of_the_first_volume() -> None:
    assert overlap(grid(), grid()) == 1.0
    assert overlap(grid(), grid(origin=(5.0, 0.0, 0.0))) == pytest.approx(0.5)
    assert overlap(grid(), grid(size=101)) == 1.0
    assert overlap(grid(size=101), grid()) == pytest.approx(0.001)
    assert overlap(grid(), grid(origin=(20.0, 0.0, 0.0))) == 0.0


def test_the_direction_of_an_axis_does_not_change_the_overlap() -> None:
    assert overlap(grid(), grid(flip=-1.0, origin=(10.0, 0.0, 0.0))) == 1.0


def test_a_single_slice_overlaps_where_it_lies_within() -> None:
    flat = Grid(grid(origin=(0.0, 0.0, 5.0)).matrix, (11, 11, 1))
    assert overlap(flat, grid()) == 1.0
    assert overlap(Grid(grid(origin=(0.0, 0.0, 50.0)).matrix, (11, 11, 1)), grid()) == 0.0
