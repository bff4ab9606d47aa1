"""The sections that say what was trained and how it learned."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from FedSegCore.report.inputs import Evidence, ReportInputs
from FedSegCore.report.markup import (
    Cell,
    Content,
    Markup,
    definitions,
    element,
    figure,
    join,
    left,
    legend,
    missing,
    paragraph,
    section,
    table,
)
from FedSegCore.report.plots import axis_limits, learning_panel, line_key
from FedSegCore.report.runs import absences, dice_curves, loss_curves
from FedSegCore.report.tables import duration_text, method_title, plural, size_text, words

FACTS: Final[Mapping[str, str]] = {
    "rounds": "Rounds",
    "effort": "Epochs of training",
    "seeds": "Seeds",
    "labels": "Structures",
    "modalities": "Modalities",
    "device": "Device",
    "seconds": "Duration",
    "licence": "Licence of the data",
    "command": "Command",
}
PLAN_KEYS: Final[Mapping[str, str]] = {
    "dims": "dimensions",
    "orientation": "orientation",
    "spacing_mm": "voxel size (mm)",
    "patch": "patch (voxels)",
}


def trained(report: ReportInputs) -> Markup:
    """What was trained: study, methods, sites, cases, labels, modalities, rounds, plan."""
    title = "What was trained"
    study = dict(report.study)
    if not study:
        return section("study", title, missing("The study's facts were not given."))
    sites = study.pop("sites", ())
    methods = study.pop("methods", None) or [study.pop("method", "")]
    study.pop("method", None)
    study.pop("name", None)
    stand_in = study.pop("stand_in", "")
    facts: list[tuple[str, Content]] = [
        ("Methods", ", ".join(method_title(str(own)) for own in methods if own))
    ]
    facts += [
        (FACTS[key], _fact(key, study.pop(key))) for key in FACTS if study.get(key) not in (None, "", [], ())
    ]
    facts += [
        (key.capitalize(), _plan(study.pop(key))) for key in ("plan", "network", "train") if study.get(key)
    ]
    facts += [(str(key).replace("_", " ").capitalize(), words(value)) for key, value in study.items()]
    warning = (
        [paragraph(element("strong", "Stand-in data. "), str(stand_in), class_="notice")] if stand_in else []
    )
    listed = [_site_table(sites)] if sites else [missing("The study's sites were not listed.")]
    return section("study", title, *warning, *listed, definitions(pair for pair in facts if str(pair[1])))


def learning(report: ReportInputs, evidence: Evidence) -> Markup:
    """Learning curves, one panel a site."""
    title = "How it learned"
    curves, ylabel = dice_curves(report.rounds), "validation Dice"
    if not curves:
        curves, ylabel = loss_curves(report.rounds), "training loss"
    if not curves:
        return section("learning", title, missing("No rounds were recorded."))
    values = [
        value for methods in curves.values() for own in methods.values() for value in (*own.low, *own.high)
    ]
    limits = axis_limits(values) if ylabel == "validation Dice" else (0.0, 1.05 * max([*values, 1e-6]))
    order = sorted(
        curves, key=lambda site: evidence.sites.index(site) if site in evidence.sites else math.inf
    )
    panels = []
    for index, site in enumerate(order):
        missed = absences(report.rounds, site=site)
        note = f"left out of {plural(len(missed), 'round')}" if missed else ""
        picture = learning_panel(
            curves[site],
            colours=evidence.colours,
            identifier=f"curve{index}",
            limits=limits,
            missed=missed,
            ylabel=ylabel,
        )
        panels.append(figure(picture, element("strong", site), element("span", note, class_="sub")))
    seen = {method for own in curves.values() for method in own}
    keys = legend(
        {
            method_title(own) or ylabel: line_key(colour, index)
            for index, (own, colour) in enumerate(evidence.colours.items())
            if own in seen
        }
    )
    hint = paragraph(
        _DRAWN[ylabel],
        " The band reaches from the lowest to the highest seed. A cross marks a round that the site was left out of.",
        class_="hint",
    )
    return section("learning", title, hint, keys, element("div", *panels, class_="grid"))


_DRAWN: Final[Mapping[str, str]] = {
    "validation Dice": "Validation Dice after so many rounds, the mean over structures. A model that all sites share "
    "is validated as they receive it: its curve begins at round 0, with the first weights, and ends one round before "
    "the last. A site's own model is validated after the round's training.",
    "training loss": "Training loss in each round.",
}


def _site_table(sites: Sequence[Mapping[str, Any]]) -> Markup:
    rows = [
        [
            Cell(str(site.get("name", "")), _role(site), class_="text"),
            Cell(words(site.get("modalities", "")), class_="text"),
            Cell(words(site.get("labels", "")), class_="text"),
            *(Cell(words(site.get(kind, "\N{EN DASH}"))) for kind in ("training", "validation", "test")),
        ]
        for site in sites
    ]
    heads: list[Content] = [
        "Site",
        left("Modalities"),
        left("Structures drawn"),
        "Training",
        "Validation",
        "Test",
    ]
    return table(heads, rows)


def _role(site: Mapping[str, Any]) -> str:
    role = str(site.get("role") or "member")
    return {"member": "", "outside": "outside: never trains"}.get(role, role)


def _fact(key: str, value: object) -> Content:
    if key == "seconds" and isinstance(value, int | float):
        return duration_text(float(value))
    return element("code", words(value)) if key == "command" else words(value)


def _plan(value: object) -> Content:
    if not isinstance(value, Mapping):
        return words(value)
    lines = [
        f"{PLAN_KEYS.get(str(key), str(key).replace('_', ' '))}: {_setting(str(key), own)}"
        for key, own in value.items()
        if own is not None and own != {}
    ]
    return join(element("div", line) for line in lines)


def _setting(key: str, value: object) -> str:
    if key in ("spacing_mm", "patch") and isinstance(value, list | tuple):
        return size_text(value)
    return _intensity(value) if key == "intensity" else words(value)


def _intensity(rules: object) -> str:
    if not isinstance(rules, Mapping):
        return words(rules)
    told = []
    for modality, rule in rules.items():
        facts = rule if isinstance(rule, Mapping) else {"rule": rule}
        kind, low, high = (facts.get(key, "") for key in ("rule", "lower", "upper"))
        rules_told = {
            "window": f"window {words(low)} to {words(high)}",
            "zscore": f"z-score, clipped at the {words(low)} and {words(high)} percentiles",
            "percentile": f"scaled from the {words(low)} to the {words(high)} percentile",
        }
        told.append(f"{modality} {rules_told.get(str(kind), words(rule))}")
    return "; ".join(told)
