"""The sections that show patients: some as pictures, all as dots."""

from __future__ import annotations

import math

from FedSegCore.report.inputs import Evidence, ReportInputs
from FedSegCore.report.markup import (
    Markup,
    element,
    figure,
    join,
    missing,
    paragraph,
    section,
)
from FedSegCore.report.overlays import draw_overlay, overlay_legend
from FedSegCore.report.plots import axis_limits, box_panel
from FedSegCore.report.tables import plural


def spread(evidence: Evidence) -> Markup:
    """Box plots of Dice, one panel a site."""
    title = "Every patient"
    values = [value for arm in evidence.means.arms for value in evidence.means.by_case("dice", arm).values()]
    if not values:
        return section("patients", title, missing("No Dice to draw."))
    limits = axis_limits(values)
    panels = []
    for index, site in enumerate(evidence.sites):
        groups = {
            evidence.titles[arm]: list(evidence.means.by_case("dice", arm, site=site).values())
            for arm in evidence.means.arms
        }
        present = {name: found for name, found in groups.items() if found}
        if present:
            colours = {evidence.titles[arm]: evidence.colours[arm.method] for arm in evidence.means.arms}
            picture = box_panel(present, colours=colours, identifier=f"box{index}", limits=limits)
            count = max(len(found) for found in present.values())
            note = element("span", plural(count, "patient"), class_="sub")
            panels.append(figure(picture, element("strong", site), note))
    hint = paragraph(
        "A dot is a patient: the mean over structures and seeds. The box holds the middle half, its thick "
        "line is the median.",
        class_="hint",
    )
    return section("patients", title, hint, element("div", *panels, class_="grid"))


def cases(report: ReportInputs) -> Markup:
    """Overlays: the worst case first."""
    title = "How it looks"
    if not report.overlays:
        return section("cases", title, missing("No case was kept for showing."))
    ordered = sorted(report.overlays, key=lambda own: own.dice if math.isfinite(own.dice) else -1.0)
    pictures = [draw_overlay(own, identifier=f"scan{index}") for index, own in enumerate(ordered)]
    labels = list(dict.fromkeys(label for own in ordered for label in own.labels))
    same = all(list(own.labels) == list(ordered[0].labels) for own in ordered)
    keys = overlay_legend(labels) if same else join([overlay_legend(own.labels) for own in ordered])
    hint = paragraph(
        "Each case in the slice that shows most of it: the scan, and the scan with the expert's drawing and "
        "the model's. R: the patient's right.",
        class_="hint",
    )
    return section("cases", title, hint, keys, element("div", *pictures, class_="grid"))
