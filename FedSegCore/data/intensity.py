"""Grey values as the network sees them; the rule hangs on how a channel was acquired."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np

from FedSegCore.errors import StudyError, nearest

if TYPE_CHECKING:
    from jaxtyping import Float32

RULES = ("zscore", "window", "percentile")
_CENTRE, _SCALE = 0.5, 0.25
"""[0, 1] is shifted and scaled to [-2, 2], about the range of a z-scored image."""


def finite_number(value: object, what: str) -> float:
    """A number from a study or plan, as float.

    Raises:
        StudyError: it is no finite number.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not np.isfinite(value):
        raise StudyError(f"{what} must be a number; it is {value!r}.")
    return float(value)


@final
@dataclass(frozen=True)
class Intensity:
    """How grey values of one modality become the network's.

    zscore: clip at the percentiles `lower` and `upper`, then subtract the mean and divide by the standard
    deviation. percentile: clip likewise, map to [0, 1], then (x - 0.5) / 0.25. window: clip at the values
    `lower` and `upper` (HU for CT), then the same. Percentiles, mean and deviation are over all voxels of the
    image, its background included. A constant image becomes 0.

    Args:
        rule: "zscore", "window" or "percentile".
        lower, upper: percentiles 0..100, or values.

    Raises:
        StudyError: an unknown rule, or bounds that are no interval.
    """

    rule: str
    lower: float
    upper: float

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise StudyError(f'The intensity rule "{self.rule}" is unknown.', nearest(str(self.rule), RULES))
        for name in ("lower", "upper"):
            object.__setattr__(
                self, name, finite_number(getattr(self, name), f"The intensity rule's `{name}`")
            )
        percentiles = self.rule != "window"
        if not self.lower < self.upper or (percentiles and not 0.0 <= self.lower < self.upper <= 100.0):
            kind = "percentiles from 0 to 100" if percentiles else "values"
            raise StudyError(
                f"The {self.rule} rule needs {kind}, lower < upper; got {self.lower}, {self.upper}."
            )

    def apply(self, image: np.ndarray) -> Float32[np.ndarray, "x y z"]:
        """The image as the network sees it, same shape, float32."""
        image = image.astype(np.float32)  # the one copy, in which all the rest happens
        if self.rule == "window":
            return _spread(image, self.lower, self.upper)
        lower, upper = (float(value) for value in np.percentile(image, [self.lower, self.upper]))
        if lower == upper:  # nearly all voxels are alike, as in a map of few lesions
            lower, upper = float(image.min()), float(image.max())
        if self.rule == "percentile":
            return _spread(image, lower, upper)
        np.clip(image, np.float32(lower), np.float32(upper), out=image)
        mean, deviation = float(image.mean(dtype=np.float64)), float(image.std(dtype=np.float64))
        if deviation <= 1e-7 * max(abs(mean), 1e-30):
            return np.zeros_like(image)
        image -= np.float32(mean)
        image /= np.float32(deviation)
        return image


CT_WINDOW = Intensity("window", -160.0, 240.0)
"""Soft tissue, in HU."""
DEFAULT_INTENSITY = Intensity("zscore", 0.5, 99.5)


def _spread(image: np.ndarray, lower: float, upper: float) -> np.ndarray:
    """[lower, upper] -> [0, 1] -> (x - 0.5) / 0.25, in place."""
    if not lower < upper:
        return np.zeros_like(image)
    np.clip(image, np.float32(lower), np.float32(upper), out=image)
    image -= np.float32(lower)
    image /= np.float32(upper - lower)
    image -= np.float32(_CENTRE)
    image /= np.float32(_SCALE)
    return image
