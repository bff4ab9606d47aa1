"""The sections that say what was done: the study, its rounds, what left each hospital, failures, limits."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from FedSegCore.report.cases import undefined_scores
from FedSegCore.report.inputs import Evidence, Line, ReportInputs
from FedSegCore.report.markup import (
    Cell,
    Content,
    Markup,
    bullets,
    definitions,
    details,
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
from FedSegCore.report.runs import LeftOut, absences, dice_curves, left_out, loss_curves, total, traffic
from FedSegCore.report.tables import byte_text, duration_text, method_title, plural

LEDGER_LINES: Final = 10
FACTS: Final[Mapping[str, str]] = {
    "rounds": "Rounds",
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
    facts += [(str(key).replace("_", " ").capitalize(), _plain(value)) for key, value in study.items()]
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
        f"{ylabel[0].upper()}{ylabel[1:]} after each round, the mean over structures; the band reaches from the "
        "lowest to the highest seed. A cross marks a round that the site was left out of.",
        class_="hint",
    )
    return section("learning", title, hint, keys, element("div", *panels, class_="grid"))


def left_hospitals(report: ReportInputs) -> Markup:
    """What left each hospital: bytes by site and lines of the ledger."""
    title = "What left each hospital"
    if not report.ledger:
        sent = total(report.rounds, "bytes_up")
        tail = f" The rounds sent {byte_text(sent)} in all." if sent else ""
        return section(
            "sent", title, missing("No ledger was given: no message left a site, or none was kept." + tail)
        )
    sites = traffic(report.ledger)
    most = max(own.bytes for own in sites)
    rows = [
        [
            Cell(
                own.site, ", ".join(f"{kind} ({count:,})" for kind, count in own.kinds.items()), class_="text"
            ),
            Cell(byte_text(own.bytes), bar=own.bytes / max(most, 1)),
            Cell(f"{own.messages:,}"),
            Cell(f"{own.tensors:,}", f"{own.values:,} numbers"),
            Cell(", ".join(own.scalars) or "none", class_="text small"),
        ]
        for own in sites
    ]
    heads: list[Content] = [
        "Site",
        "Sent",
        "Messages",
        "Tensors in a message, at most",
        left("Single numbers sent beside them"),
    ]
    received = total(report.rounds, "bytes_down")
    intro = paragraph(
        "Each message that left a site stands in ledger.jsonl with its tensors, their shapes, its size and "
        "its checksum. Images, drawings and case names are no part of any message. Model weights are, and "
        "weights can reveal something of the data they were trained on.",
        f" The sites received {byte_text(received)}." if received else "",
        class_="hint",
    )
    count = min(LEDGER_LINES, len(report.ledger))
    excerpt = _ledger_table(_excerpt(report.ledger))
    heading = element("h3", f"{plural(count, 'line')} of {len(report.ledger):,} in the ledger")
    return section("sent", title, intro, table(heads, rows), heading, excerpt)


def failures(report: ReportInputs, evidence: Evidence) -> Markup:
    """What went wrong: undefined scores and lost sites."""
    parts: list[Content] = []
    counts = [own for own in undefined_scores(report.scores) if own.absent or own.missed or own.no_surface]
    lost = left_out(report.rounds)
    if not report.scores:
        parts.append(missing("No scores: nothing could be counted."))
    elif not counts:
        parts.append(paragraph("Every score is defined and no structure was missed."))
    else:
        heads = ["Model and site", "Scores", "Missed (Dice 0)", "No HD95", "Absent, not scored"]
        rows = [
            [
                Cell(evidence.titles[own.arm], own.site, class_="text"),
                *(Cell(f"{number:,}") for number in (own.rows, own.missed, own.no_surface, own.absent)),
            ]
            for own in counts
        ]
        hint = paragraph(
            "A score is one structure of one case with one seed. HD95 is undefined where a structure was missed: "
            "its mean then speaks of the other cases only. Absent: the structure is in neither drawing.",
            class_="hint",
        )
        parts += [hint, table(heads, rows)]
    if not report.rounds:
        parts.append(missing("No rounds were recorded: whether sites were lost is not known."))
    elif not lost:
        parts.append(paragraph("Every site took part in every round."))
    else:
        parts += [element("h3", "Sites left out of a round"), _lost_table(lost)]
    return section("failures", "What went wrong", *parts)


def cards(report: ReportInputs) -> Markup:
    """The models that the run left, with their cards."""
    given = report.cards
    listed = (
        list(given.items()) if isinstance(given, Mapping) else [(_card_name(card), card) for card in given]
    )
    if not listed:
        return section("models", "Models", missing("No model was published."))
    folded = [
        details(name, definitions((str(key).replace("_", " "), _plain(value)) for key, value in card.items()))
        for name, card in listed
    ]
    return section("models", "Models", paragraph("Research use only.", class_="hint"), *folded)


def limits(report: ReportInputs, evidence: Evidence) -> Markup:
    """How to read the page, and what it cannot say."""
    absent = [
        name
        for name, present in (
            ("facts of the study", report.study),
            ("scores", report.scores),
            ("rounds", report.rounds),
            ("ledger", report.ledger),
            ("overlays", report.overlays),
            ("model cards", report.cards),
        )
        if not present
    ]
    few = [site for site in evidence.sites if 0 < _patients(evidence, site) < 10]
    items = [
        "Seeds are averaged within a case before any mean, interval or test: n is patients, not runs.",
        "Intervals are 95\N{NO-BREAK SPACE}% percentile bootstraps over patients. They speak of patients like "
        "these at these sites, not of other hospitals.",
        "Dice depends on size: small structures score lower for the same error in mm.",
        "The drawings of the experts are taken as the truth; they differ between experts too.",
    ]
    if few:
        items.append(f"Fewer than ten test patients, so wide intervals and weak tests: {', '.join(few)}.")
    if len({seed for seeds in evidence.means.seeds.values() for seed in seeds}) == 1:
        items.append("One seed: how much a second training run would differ is not known.")
    if absent:
        items.append(f"Not given to this report: {', '.join(absent)}.")
    return section("limits", "Limits", bullets(items))


def _patients(evidence: Evidence, site: str) -> int:
    means = evidence.means
    return max((len(means.by_case("dice", arm, site=site)) for arm in means.arms), default=0)


def _site_table(sites: Sequence[Mapping[str, Any]]) -> Markup:
    rows = [
        [
            Cell(str(site.get("name", "")), _role(site), class_="text"),
            Cell(_plain(site.get("modalities", "")), class_="text"),
            Cell(_plain(site.get("labels", "")), class_="text"),
            *(Cell(_plain(site.get(kind, "\N{EN DASH}"))) for kind in ("training", "validation", "test")),
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


def _lost_table(lost: Sequence[LeftOut]) -> Markup:
    counted = Counter((own.site, own.method, own.reason) for own in lost)
    rows = [
        [
            Cell(site, method_title(method), class_="text"),
            Cell(
                _round_list(sorted({own.round for own in lost if (own.site, own.method, own.reason) == key}))
            ),
            Cell(f"{count:,}"),
            Cell(reason, class_="text"),
        ]
        for key, count in counted.items()
        for site, method, reason in [key]
    ]
    return table(["Site", "Rounds", "Times", left("Reason")], rows)


def _round_list(numbers: Sequence[int], most: int = 8) -> str:
    text = ", ".join(map(str, numbers[:most]))
    return text if len(numbers) <= most else f"{text}, … {numbers[-1]}"


def _excerpt(ledger: Sequence[Line]) -> list[Line]:
    """The first message of each kind and site, then further ones in order, up to the number shown."""
    first: dict[tuple[str, str], int] = {}
    for index, line in enumerate(ledger):
        first.setdefault((str(line.get("kind")), str(line.get("site"))), index)
    chosen = [
        *sorted(first.values()),
        *(index for index in range(len(ledger)) if index not in first.values()),
    ]
    return [ledger[index] for index in sorted(chosen[:LEDGER_LINES])]


def _ledger_table(lines: Sequence[Line]) -> Markup:
    """Ledger lines, each list of tensors cut to the first and each checksum to its beginning."""
    rows = []
    for line in lines:
        tensors, scalars = (line.get(key) or {} for key in ("tensors", "scalars"))
        first = next(iter(tensors.items()), None)
        shown = f"{first[0]} {_setting('patch', first[1])}" if first else "none"
        more = f"and {len(tensors) - 1:,} more" if len(tensors) > 1 else ""
        rows.append(
            [
                Cell(
                    f"{line.get('site', '')}",
                    f"round {line.get('round', '')}, {line.get('kind', '')}",
                    class_="text",
                ),
                Cell(shown, more, class_="text small"),
                Cell(
                    "; ".join(f"{key} = {_plain(value)}" for key, value in scalars.items()),
                    class_="text small",
                ),
                Cell(f"{line.get('bytes', 0):,}"),
                Cell(element("code", f"{str(line.get('sha256', ''))[:12]}\N{HORIZONTAL ELLIPSIS}")),
            ]
        )
    heads: list[Content] = ["Message", left("Tensors"), left("Single numbers"), "Bytes", "SHA-256"]
    return table(heads, rows)


def _fact(key: str, value: object) -> str:
    if key == "seconds" and isinstance(value, int | float):
        return duration_text(float(value))
    return _plain(value)


def _plan(value: object) -> Content:
    if not isinstance(value, Mapping):
        return _plain(value)
    lines = [
        f"{PLAN_KEYS.get(str(key), str(key).replace('_', ' '))}: {_setting(str(key), own)}"
        for key, own in value.items()
        if own is not None and own != {}
    ]
    return join(element("div", line) for line in lines)


def _setting(key: str, value: object) -> str:
    if key in ("spacing_mm", "patch") and isinstance(value, list | tuple):
        return " \N{MULTIPLICATION SIGN} ".join(_plain(own) for own in value)
    return _intensity(value) if key == "intensity" else _plain(value)


def _intensity(rules: object) -> str:
    if not isinstance(rules, Mapping):
        return _plain(rules)
    told = []
    for modality, rule in rules.items():
        facts = rule if isinstance(rule, Mapping) else {"rule": rule}
        kind, low, high = (facts.get(key, "") for key in ("rule", "lower", "upper"))
        words = {
            "window": f"window {_plain(low)} to {_plain(high)}",
            "zscore": f"z-score, clipped at the {_plain(low)} and {_plain(high)} percentiles",
            "percentile": f"scaled from the {_plain(low)} to the {_plain(high)} percentile",
        }
        told.append(f"{modality} {words.get(str(kind), _plain(rule))}")
    return "; ".join(told)


def _plain(value: object) -> str:
    """A value in words: lists with commas, mappings with colons, numbers without a needless fraction."""
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_plain(own)}" for key, own in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_plain(own) for own in value)
    if isinstance(value, float):
        return f"{value:g}".replace("-", "\N{MINUS SIGN}")
    return "" if value is None else str(value)


def _card_name(card: Mapping[str, Any]) -> str:
    return str(card.get("file") or card.get("path") or card.get("name") or "model")
