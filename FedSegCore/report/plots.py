"""Plots as inline SVG that takes its colours and font from the page: light, dark and on paper.

Matplotlib draws with stand-in colours; `_inline` puts the page's CSS variables in their place, makes the
identifiers unique and drops what only a file of its own needs.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from FedSegCore.report.markup import Markup
from FedSegCore.report.runs import Curve
from FedSegCore.report.statistics import Interval

WIDTH: Final = 3.7
"""Width of a panel in inches; it stretches to its place on the page."""
STYLE: Final[Mapping[str, object]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "font.size": 8.0,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "path.simplify": True,
}
CSS: Final[Mapping[str, str]] = {
    "#0a0b01": "var(--ink)",
    "#0a0b02": "var(--muted)",
    "#0a0b03": "var(--rule)",
    "#0a0b04": "var(--warn)",
    "#0a0b05": "var(--c-base)",
    **{f"#0a0b1{index}": f"var(--c{index})" for index in range(7)},
}
"""Stand-in colour -> what the page paints in its place."""
_STAND_IN: Final = {css: colour for colour, css in CSS.items()}
INK, MUTED, RULE, WARN = (_STAND_IN[f"var(--{name})"] for name in ("ink", "muted", "rule", "warn"))
DASHES: Final[Sequence[tuple[float, ...]]] = ((), (4.5, 1.5), (1.4, 1.0), (4.5, 1.3, 1.3, 1.3), (8, 2))
"""Lengths of a curve's dashes and gaps in line widths: methods differ in more than colour."""


def learning_panel(
    curves: Mapping[str, Curve],
    *,
    colours: Mapping[str, str],
    identifier: str,
    limits: tuple[float, float],
    missed: Sequence[int] = (),
    ylabel: str = "validation Dice",
) -> Markup:
    """One site's curves: a line a method (mean of its seeds) with a band from the lowest to the highest.

    Args:
        curves: method -> curve.
        colours: method -> CSS colour, the same on the whole page; its order sets the dashes.
        identifier: unique on the page.
        limits: of the vertical axis, the same for all panels.
        missed: rounds in which the site was left out, marked at the foot.
        ylabel: what is drawn.
    """
    figure, axes = _panel(height=2.0, left=0.46, bottom=0.36)
    for method, curve in curves.items():
        colour = _STAND_IN[colours[method]]
        dash = DASHES[list(colours).index(method) % len(DASHES)]
        marker = "o" if curve.rounds.size == 1 else ""
        axes.fill_between(curve.rounds, curve.low, curve.high, color=colour, alpha=0.16, linewidth=0)
        (line,) = axes.plot(curve.rounds, curve.mean, color=colour, linewidth=1.7, marker=marker, ms=4)
        if dash:
            line.set_dashes(dash)
    if missed:
        foot = [limits[0] + 0.04 * (limits[1] - limits[0])] * len(missed)
        axes.plot(missed, foot, "x", color=WARN, ms=4.5, mew=1.3, clip_on=False)
    axes.set_ylim(*limits)
    axes.set_xlabel("round", color=MUTED, labelpad=2)
    axes.set_ylabel(ylabel, color=MUTED, labelpad=4)
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(mpl.ticker.MaxNLocator(5))
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    return _inline(figure, identifier, f"Learning curve: {ylabel} by round")


def box_panel(
    groups: Mapping[str, Sequence[float]],
    *,
    colours: Mapping[str, str],
    identifier: str,
    limits: tuple[float, float],
) -> Markup:
    """One site's patients: for each model a box (quartiles, median, whiskers to 1.5 lengths) and dots.

    Args:
        groups: model's title -> its patients' Dice.
        colours: model's title -> CSS colour.
        identifier: unique on the page.
        limits: of the horizontal axis, the same for all panels.
    """
    rows = list(groups)
    left = min(0.5 * WIDTH, 0.25 + 0.057 * max((len(row) for row in rows), default=0))
    figure, axes = _panel(height=0.46 + 0.32 * max(1, len(rows)), left=left, bottom=0.36)
    for place, title in enumerate(rows):
        values = np.sort(np.asarray(groups[title], np.float64))
        colour = _STAND_IN[colours[title]]
        if not values.size:
            axes.text(limits[0], place, "  no score", color=MUTED, va="center")
            continue
        if values.size > 2:
            _box(axes, values, place, colour)
        axes.plot(values, place + _spread(values.size), "o", color=colour, ms=3, mew=0, alpha=0.7)
    axes.set_xlim(*limits)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), rows, color=INK)
    axes.set_xlabel("Dice", color=MUTED, labelpad=2)
    axes.grid(axis="x", color=RULE, linewidth=0.6)
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5))
    return _inline(figure, identifier, "Dice of each patient by model")


def interval_mark(interval: Interval, *, reach: float, colour: str) -> Markup:
    """A row of a forest plot: the interval as a bar, the mean as a dot; the table draws the line at zero.

    Args:
        interval: the difference.
        reach: the axis goes from -reach to +reach.
        colour: a CSS colour.
    """

    def x(value: float) -> str:
        return f"{50 + 48 * max(-1.0, min(1.0, value / reach)):.2f}%"

    bar = ""
    if math.isfinite(interval.low):
        bar = (
            f'<line x1="{x(interval.low)}" x2="{x(interval.high)}" y1="50%" y2="50%" stroke="{colour}" '
            'stroke-width="3" stroke-linecap="round" stroke-opacity=".6"/>'
        )
    return Markup(
        '<svg class="mark" role="img" aria-label="difference and interval">'
        f'{bar}<circle cx="{x(interval.mean)}" cy="50%" r="4.5" fill="{colour}"/></svg>'
    )


def line_key(colour: str, index: int) -> Markup:
    """The sign of a learning curve in a legend: its colour and dashes."""
    dashes = " ".join(f"{1.6 * length:g}" for length in DASHES[index % len(DASHES)])
    return Markup(
        '<svg class="line" aria-hidden="true"><line x1="0" x2="100%" y1="50%" y2="50%" '
        f'stroke="{colour}" stroke-width="2.5" stroke-dasharray="{dashes or "none"}"/></svg>'
    )


def axis_limits(values: Iterable[float]) -> tuple[float, float]:
    """Limits in tenths, within 0 to 1, that hold all finite values."""
    finite = [value for value in values if math.isfinite(value)]
    low = math.floor(10 * min(finite, default=0.0) - 0.15) / 10
    high = math.ceil(10 * max(finite, default=1.0) + 0.15) / 10
    return max(0.0, low), min(1.0, high)


def _panel(*, height: float, left: float, bottom: float) -> tuple[Figure, Axes]:
    with mpl.rc_context(dict(STYLE)):
        figure = Figure(figsize=(WIDTH, height))
        axes = figure.add_axes(
            (left / WIDTH, bottom / height, 1 - (left + 0.12) / WIDTH, 1 - (bottom + 0.08) / height)
        )
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
    axes.tick_params(colors=MUTED, labelcolor=MUTED)
    return figure, axes


def _box(axes: Axes, values: np.ndarray, place: int, colour: str) -> None:
    line = {"color": colour, "linewidth": 1.1}
    axes.boxplot(
        [values],
        positions=[place],
        orientation="horizontal",
        widths=0.56,
        showfliers=False,
        patch_artist=True,
        manage_ticks=False,
        boxprops={"facecolor": (*mpl.colors.to_rgb(colour), 0.16), "edgecolor": colour, "linewidth": 1},
        medianprops={"color": colour, "linewidth": 2.2},
        whiskerprops=line,
        capprops={"linewidth": 0},
    )


def _spread(count: int) -> np.ndarray:
    """Offsets that keep neighbouring dots apart, the same each time: steps of the golden ratio."""
    golden = 0.6180339887498949
    return (np.arange(count) * golden % 1 - 0.5) * 0.36


def _inline(figure: Figure, identifier: str, title: str) -> Markup:
    buffer = io.StringIO()
    with mpl.rc_context(dict(STYLE)):
        figure.savefig(
            buffer,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<defs>\s*<style.*?</defs>", "", svg, count=1, flags=re.DOTALL)
    box = re.search(r'viewBox="[^"]*"', svg)
    head = f'<svg {box[0] if box else ""} role="img" aria-label="{title}" class="plot">'
    svg = re.sub(r"^<svg[^>]*>", head, svg)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: inherit", svg)
    svg = re.sub(r'\bid="', f'id="{identifier}-', svg)
    svg = svg.replace('xlink:href="#', f'href="#{identifier}-').replace("url(#", f"url(#{identifier}-")
    svg = re.sub(r"#0a0b[0-9a-f]{2}", lambda match: CSS[match[0]], svg)
    svg = re.sub(r"(\d\.\d\d)\d+", r"\1", svg)
    return Markup(re.sub(r"\s*\n\s*", " ", svg).strip())
