"""Monotone rational-quadratic splines: a bijection of the line with a closed-form inverse.

Durkan et al., "Neural Spline Flows", NeurIPS 2019, equations 4 to 8. K bins on [-tail, tail]; outside it the
identity. With ξ = (x - x_k) / w, the bin's mean slope s = h / w and the slopes d_k, d_k+1 at its two knots:

    y = y_k + h (s ξ² + d_k ξ(1-ξ)) / D,    D = s + (d_k+1 + d_k - 2s) ξ(1-ξ)
    dy/dx = s² (d_k+1 ξ² + 2s ξ(1-ξ) + d_k (1-ξ)²) / D²

A departure: bins and slopes have floors well above rounding, so that eight splines in a row stay strictly
increasing and can be inverted in float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

_LEAST_BIN: Final = 0.02
"""Smallest width and height of a bin, as a share of the interval."""

_LEAST_SLOPE: Final = 0.1
_UNIT: Final = math.log(math.expm1(1.0 - _LEAST_SLOPE))
"""What softplus turns into 1 - _LEAST_SLOPE, so that raw zeros mean slope 1."""


@final
@dataclass(frozen=True, eq=False)
class Spline:
    """One spline for each point; K + 1 knots (x, y) and the slopes there."""

    x: Float[Tensor, "*n k"]
    y: Float[Tensor, "*n k"]
    slope: Float[Tensor, "*n k"]


def spline(raw: Float[Tensor, "*n p"], *, tail: float) -> Spline:
    """Splines from 3K - 1 unbounded numbers each: K widths, K heights, K - 1 inner slopes; zeros: the identity."""
    bins = (raw.shape[-1] + 1) // 3
    widths, heights, slopes = raw.split([bins, bins, bins - 1], dim=-1)
    inner = _LEAST_SLOPE + F.softplus(slopes + _UNIT)
    # The slope is 1 at both ends, where the identity goes on.
    return Spline(_knots(widths, tail), _knots(heights, tail), F.pad(inner, (1, 1), value=1.0))


def forward(spline: Spline, point: Float[Tensor, " *n"]) -> tuple[Tensor, Tensor]:
    """y and log dy/dx, of the shape of `point`."""
    inside = (point > spline.x[..., 0]) & (point < spline.x[..., -1])
    x, y, width, height, low, high = _bin(spline, spline.x, point)
    xi = ((point - x) / width).clamp(0.0, 1.0)
    slope, mixed = height / width, xi * (1.0 - xi)
    below = slope + (high + low - 2.0 * slope) * mixed
    image = y + height * (slope * xi.square() + low * mixed) / below
    log_slope = _log_slope(xi, slope, low, high)
    return torch.where(inside, image, point), torch.where(inside, log_slope, 0.0)


def inverse(spline: Spline, image: Float[Tensor, " *n"]) -> Float[Tensor, " *n"]:
    """The x with y(x) = image: the root of a quadratic, in the form without cancellation."""
    inside = (image > spline.y[..., 0]) & (image < spline.y[..., -1])
    x, y, width, height, low, high = _bin(spline, spline.y, image)
    slope = height / width
    rise = (image - y).clamp(min=0.0).minimum(height)
    bend = rise * (high + low - 2.0 * slope)
    a, b, c = height * (slope - low) + bend, height * low - bend, -slope * rise
    root = (b.square() - 4.0 * a * c).clamp(min=0.0).sqrt()
    point = x + width * (2.0 * c / (-b - root))
    return torch.where(inside, point, image)


def _knots(raw: Tensor, tail: float) -> Tensor:
    """K + 1 increasing positions from -tail to tail."""
    bins = raw.shape[-1]
    share = _LEAST_BIN + (1.0 - _LEAST_BIN * bins) * torch.softmax(raw, dim=-1)
    inner = 2.0 * tail * share.cumsum(-1)[..., :-1] - tail
    return F.pad(F.pad(inner, (1, 0), value=-tail), (0, 1), value=tail)


def _bin(spline: Spline, edges: Tensor, point: Tensor) -> tuple[Tensor, ...]:
    """Of the bin between `edges` that each point is in: its left x and y, width, height and two slopes."""
    index = (point[..., None] >= edges[..., 1:-1]).sum(-1, keepdim=True)

    def at(knots: Tensor, step: int) -> Tensor:
        return knots.gather(-1, index + step).squeeze(-1)

    x, y = at(spline.x, 0), at(spline.y, 0)
    return x, y, at(spline.x, 1) - x, at(spline.y, 1) - y, at(spline.slope, 0), at(spline.slope, 1)


def _log_slope(xi: Tensor, slope: Tensor, low: Tensor, high: Tensor) -> Tensor:
    mixed = xi * (1.0 - xi)
    below = slope + (high + low - 2.0 * slope) * mixed
    above = high * xi.square() + 2.0 * slope * mixed + low * (1.0 - xi).square()
    return 2.0 * slope.log() + above.log() - 2.0 * below.log()
