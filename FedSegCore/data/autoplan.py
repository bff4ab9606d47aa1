"""A plan and a network depth from passports alone: the same at every site, in any order of the sites."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from FedSegCore.data.histogram import (
    EXTENT_STEP,
    SPACING_STEP,
    intensity_quantile,
    length_quantile,
    pool,
    round_length,
)
from FedSegCore.data.passport import Passport
from FedSegCore.data.plan import Intensity, Plan
from FedSegCore.errors import DataError, StudyError, nearest

DEPTHS = (3, 4, 5)
VOXEL_BUDGET = {2: 256 * 256, 3: 96 * 96 * 96}
LONGEST_SIDE = {2: 512, 3: 160}
SMALLEST_BOTTLENECK = 4
"""Voxels a side that the deepest level should keep."""

_FIELDS = ("dims", "orientation", "spacing_mm", "patch", "intensity")
_MOST, _TYPICAL = 0.75, 0.5
_WINDOW_QUANTILES, _WINDOW_STEP, _HU_RANGE = (0.005, 0.995), 10.0, (-1024.0, 3071.0)


def auto_plan(
    passports: Sequence[Passport], *, dims: int | None = None, given: Mapping[str, Any] | None = None
) -> tuple[Plan, int]:
    """Chooses what a study left open.

    spacing: the pooled median an axis, every case counting once. patch: holds the whole field of view of
    three quarters of the cases, or where that exceeds the voxel budget the median one, shrunk to the
    budget; each side is rounded up to a multiple of what the network halves. depth: the deepest of 3 to 5
    levels whose bottleneck keeps 4 voxels a side. intensity: the plan's rule for each modality; a window
    is widened to hold the labelled voxels' 0.5 to 99.5 % (their pooled quantiles).

    Args:
        passports: of the sites that train; those without training cases do not count.
        dims: 2 or 3; None: 3, or 2 where the typical case is a single slice.
        given: fields of the plan that the study sets; they are kept as they are.

    Returns:
        The plan, and the network's number of levels.

    Raises:
        DataError: no passport describes a training case.
        StudyError: `given` has a key that no plan has, or a value of the wrong kind.
    """
    given = dict(given or {})
    for key in given:
        if key not in _FIELDS:
            raise StudyError(f'The plan has an unknown key "{key}".', nearest(key, _FIELDS))
    members = [one for one in passports if one.cases.get("training", 0) > 0 and any(one.spacing_mm)]
    if not members:
        raise DataError(
            "No site has a training case to plan from.", "Give a site training cases, or set [plan]."
        )
    dims = given.get("dims", dims if dims is not None else _dims(members))
    if dims not in VOXEL_BUDGET:
        raise StudyError(f"The plan's `dims` must be 2 or 3; it is {dims!r}.")
    orientation = given.get("orientation", "RAS")
    axes = _axes(orientation)[:dims]
    spacing_mm = given["spacing_mm"] if "spacing_mm" in given else _spacing(members, axes)
    chosen: dict[str, Any] = {"dims": dims, "orientation": orientation, "spacing_mm": spacing_mm}
    if "patch" in given:
        chosen["patch"] = given["patch"]
        depth = _depth_of(given["patch"])
    else:
        large, typical = (_sides(members, axes, spacing_mm, quantile=q) for q in (_MOST, _TYPICAL))
        chosen["patch"], depth = _patch(large, dims=dims) or _patch_within(typical, dims=dims)
    chosen["intensity"] = {**_intensity(members), **given.get("intensity", {})}
    return Plan.from_dict(chosen), depth


def _dims(members: Sequence[Passport]) -> int:
    return 2 if _pooled(members, "sides", 2, quantile=_TYPICAL) < 2.0 else 3


def _pooled(members: Sequence[Passport], field: str, axis: int, *, quantile: float) -> float:
    return length_quantile(pool(getattr(one, field)[axis] for one in members), quantile, step=EXTENT_STEP)


def _spacing(members: Sequence[Passport], axes: Sequence[int]) -> list[float]:
    return [
        round_length(pool(one.spacing_mm[axis] for one in members), _TYPICAL, step=SPACING_STEP)
        for axis in axes
    ]


def _sides(
    members: Sequence[Passport], axes: Sequence[int], spacing_mm: object, *, quantile: float
) -> list[float]:
    """Voxels a side, after resampling, that hold the given share of the cases."""
    if spacing_mm is None:
        return [_pooled(members, "sides", axis, quantile=quantile) for axis in axes]
    right = isinstance(spacing_mm, list | tuple) and len(spacing_mm) == len(axes)
    if not right or not all(isinstance(mm, int | float) and mm > 0 for mm in spacing_mm):  # type: ignore[attr-defined]
        raise StudyError(
            f"The plan's `spacing_mm` must list {len(axes)} positive numbers; it is {spacing_mm!r}."
        )
    extents = [_pooled(members, "extent_mm", axis, quantile=quantile) for axis in axes]
    return [mm / spacing for mm, spacing in zip(extents, spacing_mm, strict=True)]  # type: ignore[call-overload]


def _axes(orientation: object) -> list[int]:
    """Which of right, anterior, superior each axis of an orientation runs along; "PSR" gives 1, 2, 0."""
    named = {letter: axis for axis, pair in enumerate(("RL", "AP", "SI")) for letter in pair}
    axes = [named.get(letter, -1) for letter in orientation] if isinstance(orientation, str) else []
    if sorted(axes) != [0, 1, 2]:
        raise StudyError(f'The plan\'s `orientation` must be like "RAS"; it is {orientation!r}.')
    return axes


def _patch(sides: Sequence[float], *, dims: int) -> tuple[list[int], int] | None:
    """The patch that holds the given sides and the depth for it; None where it exceeds the budget."""
    for depth in reversed(DEPTHS):
        step = 2 ** (depth - 1)
        patch = [_multiple(side, step) for side in sides]
        if min(patch) // step >= SMALLEST_BOTTLENECK or depth == DEPTHS[0]:
            return (patch, depth) if _fits(patch, dims=dims) else None
    raise AssertionError("DEPTHS is not empty")


def _patch_within(sides: Sequence[float], *, dims: int) -> tuple[list[int], int]:
    """Shrinks the longest side, a little at a time, until the patch fits the budget."""
    sides = list(sides)
    while (found := _patch(sides, dims=dims)) is None:
        longest = sides.index(max(sides))
        sides[longest] *= 0.95
    return found


def _multiple(side: float, step: int) -> int:
    """The side rounded up to a multiple, less its bin's width: that could lift an exact multiple over it."""
    return max(1, math.ceil(side * (1.0 - EXTENT_STEP) / step)) * step


def _fits(patch: Sequence[int], *, dims: int) -> bool:
    return math.prod(patch) <= VOXEL_BUDGET[dims] and max(patch) <= LONGEST_SIDE[dims]


def _depth_of(patch: object) -> int:
    """The deepest network that a given patch allows."""
    sides = [side for side in patch if isinstance(side, int)] if isinstance(patch, list | tuple) else []
    for depth in reversed(DEPTHS):
        step = 2 ** (depth - 1)
        if sides and all(side % step == 0 and side // step >= SMALLEST_BOTTLENECK for side in sides):
            return depth
    return DEPTHS[0]


def _intensity(members: Sequence[Passport]) -> dict[str, Intensity]:
    """A rule for each modality that some member has, by name."""
    defaults = Plan(3, patch=(8, 8, 8))
    modalities = sorted({name for one in members for name in one.channels})
    return {name: _rule(defaults.rule(name), members, name) for name in modalities}


def _rule(rule: Intensity, members: Sequence[Passport], modality: str) -> Intensity:
    """The default rule; a window grows to hold what is labelled, in steps of 10 HU."""
    if rule.rule != "window":
        return rule
    labelled = _labelled(members, modality)
    if not labelled:
        return rule
    low, high = (intensity_quantile(labelled, quantile) for quantile in _WINDOW_QUANTILES)
    lower = min(rule.lower, max(_HU_RANGE[0], low // _WINDOW_STEP * _WINDOW_STEP))
    upper = max(rule.upper, min(_HU_RANGE[1], -(-high // _WINDOW_STEP) * _WINDOW_STEP))
    return Intensity("window", lower, upper)


def _labelled(members: Sequence[Passport], modality: str) -> dict[int, int]:
    """Pooled distribution of labelled voxels, each site weighing by its cases."""
    shares = []
    for one in members:
        found = one.intensity.get(modality)
        weight = one.cases["training"] + one.cases.get("validation", 0)
        if found is not None and found.labelled:
            shares.append({position: share * weight for position, share in found.labelled.items()})
    return pool(shares)
