"""Whether a passport can be of images at all: a plan is made from all of them, and one can spoil it for all."""

from __future__ import annotations

import math
from typing import Final

from FedSegCore.data.histogram import EXTENT_STEP, SPACING_STEP
from FedSegCore.data.passport import Passport

_AXES: Final = {
    "spacing_mm": (SPACING_STEP, 1e-4, 1e3),
    "extent_mm": (EXTENT_STEP, 1e-3, 1e5),
    "sides": (EXTENT_STEP, 0.5, 1e5),
}
"""For each kind of length its histogram's step, and what no image is below or above; microscopes' are within."""
_WORDS: Final = {"spacing_mm": "voxel size", "extent_mm": "field of view", "sides": "number of voxels"}


def implausible(passport: Passport, *, cases: int) -> str:
    """What is wrong with a passport of so many training cases, in words; "" where nothing is."""
    told = passport.cases.get("training", 0)
    if told != cases or set(passport.cases.values()) - {told, 0}:
        return f"it tells of {cases} training cases and its passport of {told}"
    for name, (step, least, most) in _AXES.items():
        for axis in getattr(passport, name):
            if min(axis.values(), default=0) < 0 or sum(axis.values()) > cases:
                return f"its passport does not count its {cases} cases"
            if any(not math.log(least) / step <= position <= math.log(most) / step for position in axis):
                return f"its passport tells of a {_WORDS[name]} that no image has"
    if any(not 0 <= count <= cases for count in passport.label_cases.values()):
        return f"its passport finds structures in more than its {cases} cases"
    return ""
