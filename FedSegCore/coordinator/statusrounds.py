"""The status page's curves: how each site fares, round by round, in the present run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from FedSegCore.coordinator import words
from FedSegCore.coordinator.curves import LARGE, SMALL, Curve, by_site, plot, sample
from FedSegCore.coordinator.words import Facts
from FedSegCore.report.markup import Content, Markup, element, paragraph, section

_MOST_STRUCTURES: Final = 12
"""Structures with a plot of their own."""
_DICE: Final = (0.0, 1.0)

Points = Mapping[str, Sequence[tuple[int, float]]]
"""Of each site: (round, value)."""


def rounds_section(facts: Facts) -> Content:
    """Dice and loss of each site by round; nothing before the first."""
    rounds = facts["rounds"]
    if not rounds:
        return ""
    told = {name: _dices(rounds, name) for name in facts["sites"]}
    labels = sorted({label for dices in told.values() for _, dice in dices for label in dice})
    drawn = partial(_plot, facts, by_site(list(facts["sites"])))
    losses = {name: _losses(rounds, name) for name in told}
    large = [drawn("Training loss", losses, size=LARGE, limits=None)]
    if labels:
        means = {name: [(r, words.mean(dice) or 0.0) for r, dice in dices] for name, dices in told.items()}
        what = labels[0] if len(labels) == 1 else f"mean of {len(labels)} structures"
        large.insert(0, drawn(f"Validation Dice, {what}", means, size=LARGE, limits=_DICE))
    small = [
        drawn(f"Validation Dice, {label}", _of(label, told), size=SMALL, limits=_DICE)
        for label in labels[:_MOST_STRUCTURES]
        if len(labels) > 1
    ]
    rows = [element("div", *large, class_="plots large")]
    rows += [element("div", *small, class_="plots")] if small else []
    return section("curves", "Rounds", *_legend(facts), *rows)


def _legend(facts: Facts) -> list[Markup]:
    looks = by_site(list(facts["sites"]))
    there = {name for line in facts["rounds"] for name in (*line["sites"], *line["left_out"])}
    entries = [element("li", sample(looks[name]), name) for name in looks if name in there]
    crosses = any(line["left_out"] for line in facts["rounds"])
    hint = "A cross marks a round that a site was left out of." if crosses else ""
    return [
        paragraph(f"By round, of {facts['run']}. {hint}", class_="hint"),
        element("ul", *entries, class_="legend"),
    ]


def _plot(
    facts: Facts,
    looks: Mapping[str, str],
    title: str,
    points: Points,
    *,
    size: tuple[float, float],
    limits: tuple[float, float] | None,
) -> Markup:
    curves = [Curve(name, look, points[name], _missed(facts, name)) for name, look in looks.items()]
    last = min(facts["total"], max(10, 2 * facts["round"]))
    return plot(title, curves, last=last, size=size, limits=limits)


def _missed(facts: Facts, name: str) -> list[tuple[int, str]]:
    """The rounds that a site was left out of, and why."""
    lines = facts["rounds"]
    return [(line["round"], line["left_out"][name]) for line in lines if name in line["left_out"]]


def _losses(rounds: Sequence[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    """A site's losses; the lines of rounds that it did not take part in tell none."""
    told = ((line["round"], line["sites"].get(name, {}).get("loss")) for line in rounds)
    return [(number, loss) for number, loss in told if loss is not None]


def _dices(rounds: Sequence[Mapping[str, Any]], name: str) -> list[tuple[int, Mapping[str, float]]]:
    """A site's Dice by structure, of the rounds in which it told any."""
    told = ((line["round"], line["sites"].get(name, {}).get("dice")) for line in rounds)
    return [(number, dice) for number, dice in told if dice]


def _of(label: str, told: Mapping[str, Sequence[tuple[int, Mapping[str, float]]]]) -> Points:
    return {
        name: [(number, dice[label]) for number, dice in dices if label in dice]
        for name, dices in told.items()
    }
