"""Curves over a run's rounds as inline SVG; their colours and dashes are the page's style sheet's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

from FedSegCore.coordinator.words import number
from FedSegCore.report.markup import Markup, element

_LEFT, _RIGHT, _TOP, _BOTTOM = 36.0, 10.0, 8.0, 24.0
_MOST_POINTS: Final = 240
"""Of one curve: more than a screen shows."""
_MOST_DOTS: Final = 40
COLOURS: Final = 7
"""Curves that differ in colour; those beyond differ in dashes too."""


@final
@dataclass(frozen=True)
class Curve:
    """One line of a plot.

    Args:
        points: (round, value), in order.
        missed: rounds that it was left out of, each with why.
    """

    name: str
    look: str
    points: Sequence[tuple[int, float]]
    missed: Sequence[tuple[int, str]] = ()


def look(index: int) -> str:
    """The CSS classes of the curve with this number."""
    return f"c{index % COLOURS} d{index // COLOURS % 3}"


LARGE: Final = (440.0, 200.0)
SMALL: Final = (300.0, 165.0)
"""Width and height of a plot; it stretches to its place, and letters with it."""


def plot(
    title: str,
    curves: Sequence[Curve],
    *,
    last: int,
    size: tuple[float, float],
    limits: tuple[float, float] | None = None,
) -> Markup:
    """A figure of some curves.

    Args:
        last: the round at the right edge.
        size: `LARGE` or `SMALL`.
        limits: of the vertical axis; none: what the values need.
    """
    values = [value for curve in curves for _, value in curve.points if math.isfinite(value)]
    low, high, ticks = _axis(values, limits)
    frame = _Frame(*size, max(last, 2), low, high)
    said = "; ".join(f"{curve.name} {number(curve.points[-1][1])}" for curve in curves if curve.points)
    parts = [*_grid(frame, ticks), *(part for curve in curves for part in _drawn(frame, curve))]
    picture = element(
        "svg", *parts, viewBox=f"0 0 {size[0]:g} {size[1]:g}", class_="plot", role="img",
        aria_label=f"{title} by round. Latest: {said or 'none yet'}",
    )  # fmt: skip
    return element("figure", element("figcaption", title), picture)


def sample(look_: str) -> Markup:
    """A piece of a curve, for the legend."""
    line = element("line", class_=f"curve {look_}", x1="1", x2="25", y1="6", y2="6")
    return element("svg", line, class_="sample", viewBox="0 0 26 12", aria_hidden="true")


@final
@dataclass(frozen=True)
class _Frame:
    """Where a round and a value lie on the picture."""

    width: float
    height: float
    last: int
    low: float
    high: float

    @property
    def foot(self) -> float:
        return self.height - _BOTTOM

    def x(self, round_number: float) -> float:
        return _LEFT + (round_number - 1) / (self.last - 1) * (self.width - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        inside = min(max(value, self.low), self.high)
        share = (inside - self.low) / (self.high - self.low)
        return self.foot - share * (self.foot - _TOP)


def _axis(values: Sequence[float], limits: tuple[float, float] | None) -> tuple[float, float, list[float]]:
    """Lowest, highest and marked values: round numbers around what is to be shown."""
    low, high = limits or (min(values, default=0.0), max(values, default=1.0))
    wide = high - low or abs(high) or 1.0
    step = _rounded(wide / 4)
    first, final_ = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [index * step for index in range(first, max(final_, first + 1) + 1)]
    return ticks[0], ticks[-1], ticks


def _rounded(step: float) -> float:
    """The next step of 1, 2, 2.5 or 5 times a power of ten."""
    power: float = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= step * 0.999)


def _grid(frame: _Frame, ticks: Sequence[float]) -> list[Markup]:
    digits = max(0, *(len(f"{tick:.4g}".partition(".")[2]) for tick in ticks))
    parts = []
    for tick in ticks:
        y = f"{frame.y(tick):.1f}"
        parts.append(
            element("line", class_="grid", x1=f"{_LEFT:g}", x2=f"{frame.width - _RIGHT:g}", y1=y, y2=y)
        )
        parts.append(_text(f"{tick:.{digits}f}", _LEFT - 6, float(y) + 3.5, "end"))
    step = max(1, round(_rounded(frame.last / 6)))
    marked = [1, *(r for r in range(step, frame.last + 1, step) if r - 1 > step / 2)]
    for round_number in marked:
        parts.append(_text(str(round_number), frame.x(round_number), frame.height - 8, "middle"))
    return parts


def _text(text: str, x: float, y: float, anchor: str) -> Markup:
    return element("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor)


def _drawn(frame: _Frame, curve: Curve) -> list[Markup]:
    told = [(r, v) for r, v in curve.points if math.isfinite(v) and r <= frame.last]
    kept = told[:: math.ceil(len(told) / _MOST_POINTS) or 1]
    if told and kept[-1] != told[-1]:
        kept.append(told[-1])
    parts = []
    if len(kept) > 1:
        points = " ".join(f"{frame.x(r):.1f},{frame.y(v):.1f}" for r, v in kept)
        parts.append(element("polyline", class_=f"curve {curve.look}", points=points))
    dots = kept if len(kept) <= _MOST_DOTS else kept[-1:]
    for round_number, value in dots:
        title = element("title", f"{curve.name}, round {round_number}: {number(value)}")
        parts.append(
            element("circle", title, class_=f"dot {curve.look}", r="2.6", cx=f"{frame.x(round_number):.1f}",
                    cy=f"{frame.y(value):.1f}")
        )  # fmt: skip
    parts += [_cross(frame, curve, missed, why) for missed, why in curve.missed if missed <= frame.last]
    return parts


def _cross(frame: _Frame, curve: Curve, missed: int, why: str) -> Markup:
    """A round that a site was left out of, at the foot of the plot."""
    x, y = frame.x(missed), frame.foot - 5
    strokes = f"M{x - 3:.1f} {y - 3:.1f}l6 6m0 -6l-6 6"
    title = element("title", f"{curve.name} was left out of round {missed}: {why}")
    return element("path", title, class_=f"cross {curve.look}", d=strokes)


def by_site(sites: Sequence[str]) -> Mapping[str, str]:
    """The look of each site, the same in all plots."""
    return {name: look(index) for index, name in enumerate(sites)}
