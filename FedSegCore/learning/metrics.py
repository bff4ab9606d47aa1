"""How good one segmentation is: Dice, HD95 in mm and normalised surface Dice at 1 mm, structure by structure.

Undefined cases, the same in every table of a report:

    structure in neither prediction nor reference    all three undefined (nan)
    in one of them only                              Dice 0, NSD 0, HD95 undefined (nan): there is no distance

A nan is left out of means and counted; a missed structure therefore lowers Dice and NSD, and HD95 says
nothing about it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
import torch
from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice
from numpy.typing import NDArray
from torch import Tensor

NSD_TOLERANCE_MM: Final = 1.0


@final
@dataclass(frozen=True)
class CaseScore:
    """One structure of one case; nan where undefined.

    Attributes:
        label: the structure.
        dice: volume overlap, 0..1.
        hd95_mm: the larger of both directions' 95th percentile of surface distances, in mm.
        nsd_1mm: share of both surfaces within 1 mm of the other, 0..1.
    """

    label: str
    dice: float
    hd95_mm: float
    nsd_1mm: float


def score_case(
    prediction: NDArray[np.bool_] | Tensor,
    reference: NDArray[np.bool_] | Tensor,
    *,
    labels: Sequence[str],
    spacing_mm: Sequence[float],
    slices: int | None = None,
) -> tuple[CaseScore, ...]:
    """Score a case, one structure after the other.

    Args:
        prediction, reference: where each structure is, bool (L, X, Y, Z) on one grid.
        labels: the structures' names, L of them.
        spacing_mm: the grid's voxel size along X, Y, Z.
        slices: the spatial axis that is a list of slices and no distance, in a 2-D study. Surfaces are then
            measured in each slice's plane and averaged over the slices where they are defined; Dice is still
            that of the whole case.

    Raises:
        ValueError: shapes or counts that do not fit.
    """
    found, truth = (torch.as_tensor(mask).to("cpu", torch.bool) for mask in (prediction, reference))
    if found.shape != truth.shape or len(labels) != len(found) or len(spacing_mm) != found.ndim - 1:
        raise ValueError(
            f"prediction {tuple(found.shape)}, reference {tuple(truth.shape)}, {len(labels)} labels and "
            f"{len(spacing_mm)} spacings do not fit"
        )
    return tuple(
        _score(label, found[index], truth[index], [float(mm) for mm in spacing_mm], slices)
        for index, label in enumerate(labels)
    )


def _score(
    label: str, found: Tensor, truth: Tensor, spacing_mm: list[float], slices: int | None
) -> CaseScore:
    """Score one structure, (X, Y, Z) each."""
    present = (bool(found.any()), bool(truth.any()))
    if not any(present):
        return CaseScore(label, math.nan, math.nan, math.nan)
    if not all(present):
        return CaseScore(label, 0.0, math.nan, 0.0)
    window = _window(found | truth)
    pair = (found[window][None, None], truth[window][None, None])
    dice = float(compute_dice(*pair))
    if slices is not None:
        distance, surface = _in_planes(pair, spacing_mm, slices)
        return CaseScore(label, dice, distance, surface)
    distances, shares = _surfaces(pair, spacing_mm)
    return CaseScore(label, dice, float(distances), float(shares))


def _in_planes(pair: tuple[Tensor, Tensor], spacing_mm: list[float], slices: int) -> tuple[float, float]:
    """HD95 in mm and surface Dice (1, 1, X, Y, Z each), averaged over the slices along one spatial axis.

    A slice where only one of the two has the structure has no distance and shares no surface.
    """
    found, truth = (mask[0, 0].movedim(slices, 0)[:, None] for mask in pair)
    present = torch.stack([found.flatten(1).any(1), truth.flatten(1).any(1)])
    both, either = present.all(0), present.any(0)
    if not bool(both.any()):
        return math.nan, 0.0
    in_plane = [mm for axis, mm in enumerate(spacing_mm) if axis != slices]
    distances, shares = _surfaces((found[both], truth[both]), in_plane)
    return float(distances.mean()), float(shares.sum() / either.sum())


def _surfaces(pair: tuple[Tensor, Tensor], spacing_mm: list[float]) -> tuple[Tensor, Tensor]:
    """HD95 in mm and surface Dice of each item of a batch, (B, 1, *S) each."""
    with warnings.catch_warnings():
        # MONAI 1.6 calls its own deprecated argument.
        warnings.filterwarnings("ignore", ".*always_return_as_numpy", FutureWarning)
        distance = compute_hausdorff_distance(
            *pair, include_background=True, percentile=95, spacing=spacing_mm
        )
        surface = compute_surface_dice(
            *pair, class_thresholds=[NSD_TOLERANCE_MM], include_background=True, spacing=spacing_mm
        )
    return distance.flatten(), surface.flatten()


def _window(mask: Tensor) -> tuple[slice, ...]:
    """The bounding box and one voxel around it, which is all that surfaces and distances depend on."""
    bounds = []
    for axis in range(mask.ndim):
        others = [other for other in range(mask.ndim) if other != axis]
        filled = mask.amax(dim=others).nonzero().flatten()
        bounds.append(slice(max(int(filled[0]) - 1, 0), int(filled[-1]) + 2))
    return tuple(bounds)
