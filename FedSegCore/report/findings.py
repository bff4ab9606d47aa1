"""The sections that say how well the models did, the worst first."""

from __future__ import annotations

import math
from collections.abc import Sequence

from FedSegCore.report.cases import Arm, undefined_scores
from FedSegCore.report.inputs import SEED, Evidence, ReportInputs
from FedSegCore.report.markup import (
    Cell,
    Content,
    Markup,
    details,
    element,
    join,
    left,
    missing,
    paragraph,
    section,
    swatch,
    table,
    tile,
)
from FedSegCore.report.plots import interval_mark
from FedSegCore.report.runs import left_out, total, traffic
from FedSegCore.report.scores import METRICS
from FedSegCore.report.statistics import Comparison, Interval, gains
from FedSegCore.report.tables import (
    ABSENT,
    METRIC_TITLES,
    byte_text,
    ends,
    number,
    p_text,
    plural,
    signed,
    summarize,
)


def summary(report: ReportInputs, evidence: Evidence) -> Markup:
    """The page's first numbers: the worst site and structure, who gains, what failed, what was sent."""
    tiles = [*_worst_tiles(evidence), *_gain_tiles(evidence), *_run_tiles(report, evidence)]
    lead = missing(evidence.unscored)
    if evidence.focus:
        lead = paragraph(
            "The numbers below are those of ",
            element("strong", evidence.titles[evidence.focus]),
            ", measured on test cases that no model was trained on or chosen by. The weakest come first.",
        )
    return section("weakest", "The weakest first", lead, element("div", *tiles, class_="tiles"))


def by_place(evidence: Evidence) -> Markup:
    """Dice of every model by site and by structure, the worst first."""
    if not evidence.focus:
        return section("dice", "Dice by site and structure", missing(evidence.unscored))
    note = paragraph(
        "Dice is the overlap with the expert's drawing: 0 none, 1 complete. Below each mean stands its "
        "95\N{NO-BREAK SPACE}% interval.",
        class_="hint",
    )
    sites = _dice_table(evidence, places=evidence.sites, kind="site")
    labels = _dice_table(evidence, places=evidence.labels, kind="label")
    return section("dice", "Dice by site and structure", note, sites, labels)


def versus(evidence: Evidence) -> Markup:
    """What taking part changes at each site: paired differences as a forest plot."""
    title = "Who gains, who loses"
    if not evidence.baseline:
        return section(
            "gains",
            title,
            missing(
                "There is nothing to compare with: the study has one model only. With "
                'methods = ["local", ...] each site is compared with what it reaches alone.'
            ),
        )
    if not evidence.comparisons:
        return section("gains", title, missing("No case was scored by both the baseline and another model."))
    base = evidence.titles[evidence.baseline]
    intro = paragraph(
        "Difference in Dice to ",
        element("strong", base),
        ", paired by patient. Right of the line is better, left is worse. The bar is the "
        "95\N{NO-BREAK SPACE}% bootstrap interval over patients. p is Wilcoxon's signed-rank test, corrected "
        "by Holm's method: once over the lines "
        "\N{LEFT DOUBLE QUOTATION MARK}All sites\N{RIGHT DOUBLE QUOTATION MARK}, once over all single sites.",
        class_="hint",
    )
    arms = [arm for arm in evidence.means.arms if any(c.arm == arm for c in evidence.comparisons)]
    ordered = sorted(arms, key=lambda arm: arm != evidence.focus)
    reach = _reach(evidence.comparisons)
    forests = [_forest(evidence, arm, reach) for arm in ordered]
    return section("gains", title, intro, element("div", *forests, class_="grid wide"))


def all_scores(evidence: Evidence) -> Markup:
    """Every metric by site and structure, one table a model."""
    title = "All scores"
    if not evidence.focus:
        return section("scores", title, missing(evidence.unscored))
    hint = paragraph(
        "HD95 is the distance in mm within which 95\N{NO-BREAK SPACE}% of the two surfaces lie (smaller is "
        "better). Surface Dice is the share of the surfaces that agree within 1 mm. n is patients with a "
        "defined score.",
        class_="hint",
    )
    arms = sorted(evidence.means.arms, key=lambda arm: arm != evidence.focus)
    tables = [_metric_table(evidence, arm) for arm in arms]
    folded = [details(evidence.titles[arm], own) for arm, own in zip(arms[1:], tables[1:], strict=True)]
    return section("scores", title, hint, element("h3", evidence.titles[arms[0]]), tables[0], *folded)


def _worst_tiles(evidence: Evidence) -> list[Markup]:
    focus, tiles = evidence.focus, []
    if not focus:
        return []
    for name, places, kind in (
        ("Weakest site", evidence.sites, "site"),
        ("Weakest structure", evidence.labels, "label"),
    ):
        place = places[0]
        interval = evidence.interval(focus, **{kind: place})
        value = element("span", number(interval.mean), element("small", " Dice"))
        tiles.append(tile(f"{name}: {place}", value, _interval_note(interval)))
    overall = evidence.interval(focus)
    value = element("span", number(overall.mean), element("small", " Dice"))
    tiles.append(tile("Mean over sites", value, _interval_note(overall)))
    return tiles


def _gain_tiles(evidence: Evidence) -> list[Markup]:
    tiles = []
    for comparisons in (evidence.local, evidence.comparisons):
        if not comparisons or not evidence.focus:
            continue
        found = gains(comparisons, evidence.focus)
        if not found.sites:
            continue
        base = evidence.titles[comparisons[0].baseline]
        loses = found.worst < 0
        what = "largest loss" if loses else "no site loses; smallest gain"
        note = f"{what}: {found.worst_site}, {signed(found.worst)}"
        value = element("span", f"{found.gained} of {found.sites}", element("small", f" ({found.share:.0%})"))
        tiles.append(tile(f"Sites that gain over {base}", value, note, tone="warn" if loses else "good"))
    return tiles


def _run_tiles(report: ReportInputs, evidence: Evidence) -> list[Markup]:
    tiles = []
    if report.scores:
        counts = undefined_scores(report.scores)
        missed = sum(count.missed for count in counts)
        rows = sum(count.rows for count in counts)
        note = f"of {rows:,} scores of all models (Dice\N{NO-BREAK SPACE}0)"
        tiles.append(tile("Structures missed", f"{missed:,}", note, tone="warn" if missed else ""))
    if report.rounds:
        lost = left_out(report.rounds)
        sites = ", ".join(dict.fromkeys(own.site for own in lost))
        note = sites or "every site took part in every round"
        tiles.append(tile("Rounds without a site", f"{len(lost):,}", note, tone="warn" if lost else ""))
    sent = sum(own.bytes for own in traffic(report.ledger)) or total(report.rounds, "bytes_up")
    if sent:
        note = (
            f"in {plural(len(report.ledger), 'message')}, listed below"
            if report.ledger
            else "over all rounds"
        )
        tiles.append(tile("Left the hospitals", byte_text(sent), note))
    return tiles


def _interval_note(interval: Interval) -> str:
    patients = plural(interval.n, "patient")
    if not math.isfinite(interval.low):
        return f"{patients}: too few for an interval" if interval.n else "no defined score"
    return f"95\N{NO-BREAK SPACE}% interval {ends(interval)}, {patients}".replace(
        " patient", "\N{NO-BREAK SPACE}patient"
    )


def _dice_table(evidence: Evidence, *, places: Sequence[str], kind: str) -> Markup:
    arms = evidence.means.arms
    rows: list[list[Cell]] = []
    for place in [*places, *([""] if len(places) > 1 and kind == "site" else [])]:
        intervals = [evidence.interval(arm, **({kind: place} if place else {})) for arm in arms]
        count = max(interval.n for interval in intervals)
        heading = Cell(
            place or "Mean over sites", plural(count, "patient"), class_="text" if place else "text total"
        )
        rows.append([heading, *(_score_cell(interval) for interval in intervals)])
    heads = ["Site" if kind == "site" else "Structure", *(_arm_head(evidence, arm) for arm in arms)]
    return table(heads, rows, class_="even")


def _arm_head(evidence: Evidence, arm: Arm) -> Markup:
    colour = evidence.colours[arm.method]
    tag = "baseline" if arm == evidence.baseline else "in the summary" if arm == evidence.focus else ""
    note = [element("span", tag, class_="sub")] if tag else []
    return join([swatch(colour), evidence.titles[arm], *note])


def _score_cell(interval: Interval) -> Cell:
    if not interval.n:
        return Cell(ABSENT)
    return Cell(number(interval.mean), ends(interval), bar=interval.mean)


def _forest(evidence: Evidence, arm: Arm, reach: float) -> Markup:
    own = {comparison.site: comparison for comparison in evidence.comparisons if comparison.arm == arm}
    sites = sorted((site for site in own if site), key=lambda site: own[site].difference.mean)
    places = [*sites, *([""] if len(sites) > 1 and "" in own else [])]
    rows = [_forest_row(evidence, own[site], reach) for site in places]
    marks = (element("span", text) for text in (signed(-reach, 2), "0", signed(reach, 2)))
    scale = element("span", *marks, class_="scale")
    found = gains(evidence.comparisons, arm)
    caption = join(
        [
            element("strong", evidence.titles[arm]),
            element("span", f"{found.gained} of {plural(found.sites, 'site')} gain", class_="sub"),
        ]
    )
    return table(["Site", scale, "Difference", "p (Holm)"], rows, caption=caption, class_="forest")


def _forest_row(evidence: Evidence, comparison: Comparison, reach: float) -> list[Cell]:
    interval = comparison.difference
    colour = evidence.colours[comparison.arm.method]
    return [
        Cell(
            comparison.site or "All sites",
            plural(interval.n, "patient"),
            class_="text" if comparison.site else "text total",
        ),
        Cell(interval_mark(interval, reach=reach, colour=colour), class_="plotcell"),
        Cell(signed(interval.mean), ends(interval, 3, sign=True)),
        Cell(p_text(comparison.p_holm)),
    ]


def _reach(comparisons: Sequence[Comparison]) -> float:
    found = [c.difference for c in comparisons]
    sizes = [abs(x) for i in found for x in (i.mean, i.low, i.high) if math.isfinite(x)]
    return max(0.05, math.ceil(20 * max(sizes, default=0.05)) / 20)


def _metric_table(evidence: Evidence, arm: Arm) -> Markup:
    rows, last = [], ""
    for own in summarize(evidence.means, arm, sites=evidence.sites, labels=evidence.labels, generator=SEED):
        n = max(interval.n for interval in own.metrics.values())
        heading = Cell(own.site, class_="text repeated" if own.site == last else "text")
        cells = [_metric_cell(interval, n) for interval in own.metrics.values()]
        rows.append([heading, Cell(own.label, class_="text"), *cells, Cell(str(n))])
        last = own.site
    heads: list[Content] = ["Site", left("Structure"), *(METRIC_TITLES[metric] for metric in METRICS), "n"]
    return table(heads, rows, class_="dense")


def _metric_cell(interval: Interval, n: int) -> Cell:
    """A mean with its interval; with its own n where that is not the row's."""
    if not interval.n:
        return Cell(ABSENT)
    own = "" if interval.n == n else f" (n = {interval.n})"
    return Cell(number(interval.mean), f"{ends(interval)}{own}")
