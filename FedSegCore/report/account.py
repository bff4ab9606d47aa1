"""The sections that give account: what left each hospital, what went wrong, the models, the limits."""

from __future__ import annotations

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
    left,
    missing,
    paragraph,
    section,
    table,
)
from FedSegCore.report.runs import LeftOut, left_out, total, traffic
from FedSegCore.report.tables import byte_text, method_title, plural, size_text, words

LEDGER_LINES: Final = 10


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
            "A score is one structure of one case with one seed. HD95 is undefined where a structure "
            "was missed: its mean then speaks of the other cases only. Absent: the structure is in neither "
            "drawing.",
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
        details(name, definitions((str(key).replace("_", " "), words(value)) for key, value in card.items()))
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
        "Intervals are 95\N{NO-BREAK SPACE}% percentile bootstraps over patients. They speak of patients "
        "like these at these sites, not of other hospitals.",
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
        shown = f"{first[0]} {size_text(first[1])}" if first else "none"
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
                    "; ".join(f"{key} = {_short(words(value))}" for key, value in scalars.items()),
                    class_="text small",
                ),
                Cell(f"{line.get('bytes', 0):,}"),
                Cell(element("code", f"{str(line.get('sha256', ''))[:12]}\N{HORIZONTAL ELLIPSIS}")),
            ]
        )
    heads: list[Content] = ["Message", left("Tensors"), left("Single numbers"), "Bytes", "SHA-256"]
    return table(heads, rows)


def _short(text: str, most: int = 60) -> str:
    """The beginning of a long value; ledger.jsonl has it whole."""
    return text if len(text) <= most else f"{text[:most]}\N{HORIZONTAL ELLIPSIS}"


def _card_name(card: Mapping[str, Any]) -> str:
    return str(card.get("file") or card.get("path") or card.get("name") or "model")
