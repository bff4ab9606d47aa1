"""Histograms on fixed grids, so that those of several sites can be added up.

Lengths (spacing, extent, sides in voxels) fall into bins of equal ratio, intensities into bins that are equal
in asinh: about 4 % wide at every magnitude, fine around zero, the same for HU and for arbitrary MR units.
A grid that every site shares makes pooled quantiles those of the pooled data; a mean of quantiles is not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

SPACING_STEP = 0.01  # a spacing's bin is 1 % wide
EXTENT_STEP = 0.03  # an extent's or a side's bin is 3 % wide
INTENSITY_STEP = 0.04  # in asinh(intensity / INTENSITY_UNIT)
INTENSITY_UNIT = 0.01
_CHUNK = 1 << 22
_SMALL_RANGE = 1 << 17
_STEPS = (1.0, 0.5, 0.25, 0.1, 0.05, 0.025, 0.01, 0.005, 0.0025, 0.001)

Counts = Mapping[int, int]


def length_bin(length: float, *, step: float) -> int:
    """The bin of a positive length: bin k holds exp((k - 1/2) step) to exp((k + 1/2) step)."""
    return round(math.log(length) / step)


def pool(histograms: Iterable[Counts]) -> dict[int, int]:
    """The sum of histograms on one grid, by ascending bin."""
    total: dict[int, int] = {}
    for counts in histograms:
        for position, count in counts.items():
            total[position] = total.get(position, 0) + count
    return dict(sorted(total.items()))


def count_at(counts: Counts, quantile: float) -> tuple[int, float]:
    """The bin that holds a quantile (0..1) and where in it (0..1), its content taken as evenly spread.

    Raises:
        ValueError: for an empty histogram.
    """
    total = sum(counts.values())
    if total <= 0:
        raise ValueError("an empty histogram has no quantiles")
    target, below = quantile * total, 0
    for position, count in sorted(counts.items()):
        if count and below + count >= target:
            return position, max(0.0, (target - below) / count)
        below += count
    raise ValueError(f"a quantile lies in 0..1, not at {quantile}")


def length_quantile(counts: Counts, quantile: float, *, step: float) -> float:
    """A quantile of pooled lengths, in the lengths' unit, read between the bins' edges."""
    position, within = count_at(counts, quantile)
    return math.exp((position - 0.5 + within) * step)


def round_length(counts: Counts, quantile: float, *, step: float) -> float:
    """The roundest number in the bin that holds a quantile: 1.0, 0.75 or 1.25 instead of 1.2461."""
    position, _ = count_at(counts, quantile)
    low, centre, high = (math.exp((position + side) * step) for side in (-0.5, 0.0, 0.5))
    for unit in _STEPS:
        candidate = round(round(centre / unit) * unit, 6)
        if low <= candidate < high:
            return candidate
    return round(centre, 4)


def intensity_counts(values: np.ndarray) -> dict[int, int]:
    """Histogram of finite voxel values of any shape: bin k holds asinh(value / unit) in k -+ 1/2 steps."""
    return pool(_bins_of(part) for part in _chunks(values))


def _bins_of(values: np.ndarray) -> dict[int, int]:
    distinct, counts = _distinct(values)
    with np.errstate(over="ignore"):
        bins = np.rint(np.arcsinh(distinct / INTENSITY_UNIT) / INTENSITY_STEP).astype(np.int64)
    low = int(bins.min())
    totals = np.bincount(bins - low, weights=counts).astype(np.int64)
    return {low + int(place): int(totals[place]) for place in np.flatnonzero(totals)}


def whole_counts(values: np.ndarray) -> dict[int, int]:
    """How often each whole number occurs in an array of whole numbers (any dtype), ascending."""
    return pool(_wholes_of(part) for part in _chunks(values))


def _wholes_of(values: np.ndarray) -> dict[int, int]:
    distinct, counts = _distinct(values)
    if counts.size == values.size:
        distinct, counts = np.unique(distinct, return_counts=True)
    return {int(value): int(count) for value, count in zip(distinct, counts, strict=True)}


def _chunks(values: np.ndarray) -> Iterator[np.ndarray]:
    """The values in parts that need little memory."""
    flat = values.ravel()
    return (flat[start : start + _CHUNK] for start in range(0, flat.size, _CHUNK))


def _distinct(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values (float64) and how often each occurs; integers of a small range are counted without sorting."""
    if np.issubdtype(values.dtype, np.integer):
        low, high = int(values.min()), int(values.max())
        if high - low < _SMALL_RANGE:
            counts = np.bincount(values.astype(np.int64) - low)
            places = np.flatnonzero(counts)
            return (places + low).astype(np.float64), counts[places]
    return values.astype(np.float64), np.ones(values.size, dtype=np.int64)


def intensity_quantile(counts: Counts, quantile: float) -> float:
    """A quantile of pooled intensities, in the image's unit, read between the bins' edges."""
    position, within = count_at(counts, quantile)
    if position == 0:  # within 0.0002 of it: background
        return 0.0
    return INTENSITY_UNIT * math.sinh((position - 0.5 + within) * INTENSITY_STEP)


def per_million(counts: Counts) -> dict[int, int]:
    """Counts as parts per million: what a single voxel adds vanishes, and the numbers stay short."""
    total = sum(counts.values())
    shares = {position: round(count * 1_000_000 / total) for position, count in sorted(counts.items())}
    return {position: share for position, share in shares.items() if share}


def packed(histogram: Mapping[int, int]) -> list[list[int]]:
    """Runs of neighbouring bins: [[first bin, count, count, ...], ...]."""
    runs: list[list[int]] = []
    for position, count in sorted(histogram.items()):
        if runs and runs[-1][0] + len(runs[-1]) - 1 == position:
            runs[-1].append(count)
        else:
            runs.append([position, count])
    return runs


def unpacked(runs: Sequence[Sequence[int]]) -> dict[int, int]:
    """The histogram that `packed` wrote."""
    return {int(run[0]) + n: int(count) for run in runs for n, count in enumerate(run[1:])}
