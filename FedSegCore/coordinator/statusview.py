"""The status page as HTML. Whatever came from a site or a study is escaped where it is placed; nothing is fetched."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from string import Template
from typing import Any, Final

from FedSegCore.coordinator import words
from FedSegCore.coordinator.statusrounds import rounds_section
from FedSegCore.coordinator.words import Facts, Words, number, size, span
from FedSegCore.report.markup import Content, Markup, element, paragraph, section
from FedSegCore.version import VERSION

_PAGE: Final = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/status/page.css">
$extra
</head>
<body>
$body
</body>
</html>
""")
_LIVE: Final = """<script src="/status/page.js" defer></script>
<noscript><meta http-equiv="refresh" content="15"></noscript>"""


def login_page(problem: str = "") -> str:
    """The form that asks for the login token."""
    field = element(
        "label", "Login token",
        Markup('<input type="password" name="token" autocomplete="current-password" required autofocus>'),
    )  # fmt: skip
    form = element(
        "form", field, element("button", "Log in", type="submit"), method="post", action="/status/login"
    )
    body = element(
        "main",
        element("h1", "FedSeg coordinator"),
        element("p", problem, class_="problem", role="alert") if problem else "",
        form,
        paragraph("The token stands in the file ", element("code", "coordinator/login"),
                  " of the folder that the study is served from.", class_="hint"),
        class_="login",
    )  # fmt: skip
    return _PAGE.substitute(title="FedSeg coordinator", extra="", body=body)


def status_page(facts: Facts) -> str:
    """The page of a study as it stands."""
    title = f"{words.state_of(facts).text} \N{MIDDLE DOT} {facts['study']}"
    head = element(
        "header",
        element("div", element("h1", facts["study"]), _as_of(facts), class_="title"),
        element("form", element("button", "Log out", type="submit"), method="post", action="/status/logout"),
    )
    main = element(
        "main",
        _shortage(facts),
        _overview(facts),
        _sites(facts),
        _missing(facts),
        rounds_section(facts),
        _lost(facts),
    )
    foot = element(
        "footer",
        paragraph("This page only shows; nothing can be changed here. It holds no images, case names or scores of "
                  "single cases: they stay at the sites."),
        paragraph(f"FedSeg {VERSION}. Research software, not a medical device."),
    )  # fmt: skip
    alarm = element("p", class_="alarm", id="alarm", role="status", hidden="hidden")
    body = f"{alarm}{element('div', head, main, foot, id='page')}"
    return _PAGE.substitute(title=element("span", title).text[6:-7], extra=_LIVE, body=body)


def _as_of(facts: Facts) -> Markup:
    moment = time.gmtime(facts["time"])
    stamp = element("time", time.strftime("%H:%M:%S UTC", moment), datetime=time.strftime("%FT%TZ", moment))
    return paragraph("Status of the coordinator as of ", stamp, class_="sub")


def _shortage(facts: Facts) -> Content:
    if facts["state"] == "finished" or not (short := words.shortage(facts)):
        return ""
    return element(
        "p", element("b", short), " ", words.remedy(facts), class_="problem", id="shortage", role="alert"
    )


def _overview(facts: Facts) -> Markup:
    state, sites = words.state_of(facts), facts["sites"]
    tones = [words.site_words(facts, name).tone for name in sites]
    done = facts["round"] / facts["total"] if facts["total"] else 0.0
    messages, received, sent = (
        sum(one.get(key, 0) for one in sites.values()) for key in ("messages", "bytes_up", "bytes_down")
    )
    eta = facts["eta_s"] if facts["state"] == "running" else None
    tiles = [
        _tile("Study", _state(state._replace(text=state.text.partition(":")[0])),
              state.text.partition(": ")[2] or words.run_of(facts)),
        _tile("Rounds done", f"{facts['round']} of {facts['total']}", Markup(
            f'<progress max="1" value="{done:.4f}" aria-label="rounds done"></progress>')),
        _tile("Time left", span(eta) if eta is not None else words.ABSENT,
              "by the pace so far" if eta is not None else ""),
        _tile("Sites", f"{tones.count('good')} of {len(sites)}",
              _SITES.get(facts["state"], "")),
        _tile("Left the sites", size(received), f"{messages:,} messages, each in the ledger"),
        _tile("Sent to the sites", size(sent), "models, round by round"),
    ]  # fmt: skip
    return element("section", *tiles, class_="tiles", id="overview", aria_label="Overview")


_SITES: Final = {"waiting": "have joined", "running": "are at work", "finished": "have the models"}


def _tile(label: str, value: Content, note: Content) -> Markup:
    inner = [element("div", label, class_="label"), element("div", value, class_="value")]
    return element("div", *inner, element("div", note, class_="note"), class_="tile")


def _state(state: Words) -> Markup:
    """A state in words, with a dot."""
    return element("span", state.text, class_=f"state {state.tone}")


def _sites(facts: Facts) -> Markup:
    rows = [_site(facts, name) for name in facts["sites"]]
    heads = ("Site", "State", "Last heard of", "Round", "Cases", "Validation Dice", "Up", "Down")
    return section("sites", "Sites", _table(heads, rows, text=(0, 1, 5), class_="cards"))


def _site(facts: Facts, name: str) -> list[Content]:
    one, dice = facts["sites"][name], words.last_dice(facts, name)
    why = words.why(facts, name)
    state = [_state(words.site_words(facts, name)), *([element("span", why, class_="sub")] if why else [])]
    parts = [element("span", f"{label} ", element("b", number(dice[label], 2))) for label in sorted(dice)]
    scores: list[Content] = [element("b", number(words.mean(dice), 3))]
    if len(parts) > 1:
        scores.append(element("span", *parts, class_="sub parts many" if len(parts) > 3 else "sub parts"))
    return [
        name, element("div", *state), words.heard(facts, name), str(one.get("round", words.ABSENT)),
        str(one.get("cases", words.ABSENT)), element("div", *scores) if dice else words.ABSENT,
        _amount(one, "bytes_up"), _amount(one, "bytes_down"),
    ]  # fmt: skip


def _amount(one: Mapping[str, Any], key: str) -> str:
    return size(one[key]) if one.get(key) else words.ABSENT


def _missing(facts: Facts) -> Content:
    names = words.to_invite(facts)
    if not names or facts["state"] == "finished":
        return ""
    folder = shlex.quote(facts["folder"])
    commands = [
        f"fedseg invite {shlex.quote(name)} --from {folder} -o {shlex.quote(f'{name}.fedseg')}"
        for name in names
    ]
    rows = [
        element("li", element("b", name), _standing(facts, name), element("code", command))
        for name, command in zip(names, commands, strict=True)
    ]
    hint = (
        "An invitation is one file. Give it to its site alone, by a way that you trust: who has it first can join as "
        "this site. A new one replaces an earlier one that was not used."
    )
    return section(
        "missing", "Not joined yet", element("ul", *rows, class_="invite"), paragraph(hint, class_="hint")
    )


def _standing(facts: Facts, name: str) -> Markup:
    one = facts["sites"][name]
    left = one.get("expires", 0.0) - facts["time"]
    if one["state"] == "invited" and left > 0:
        return element("span", f"invited; can be used for {span(left)} more", class_="sub")
    return element("span", words.site_words(facts, name).text, class_="sub")


def _lost(facts: Facts) -> Content:
    title = "Updates that were dropped or rejected"
    if not facts["lost"]:
        return (
            ""
            if facts["state"] == "waiting"
            else section("lost", title, paragraph("None so far.", class_="hint"))
        )
    several = len(facts["runs"]) > 1
    rows = [
        [str(one["round"]), one["site"], *([one["run"]] if several else []),
         f"{one['reason']} ({one['times']} times)" if one["times"] > 1 else one["reason"]]
        for one in reversed(facts["lost"])
    ]  # fmt: skip
    heads = ("Round", "Site", *(["Run"] if several else []), "Reason")
    return section("lost", title, _table(heads, rows, text=range(len(heads)), class_="reasons"))


def _table(
    heads: Sequence[str], rows: Iterable[Sequence[Content]], *, text: Iterable[int], class_: str = ""
) -> Markup:
    """A table; on a narrow screen each row of one of class `cards` becomes a card, its heads beside its cells.

    Args:
        text: the columns that hold text, not numbers.
    """
    left = ["text" if i in set(text) else "" for i in range(len(heads))]
    header = [element("th", head, scope="col", class_=side) for head, side in zip(heads, left, strict=True)]
    body = [
        element(
            "tr", *(_cell(*cell, first=cell[0] == heads[0]) for cell in zip(heads, row, left, strict=True))
        )
        for row in rows
    ]
    parts = [element("thead", element("tr", *header)), element("tbody", *body)]
    return element("div", element("table", *parts, class_=class_), class_="scroll")


def _cell(head: str, content: Content, side: str, *, first: bool) -> Markup:
    """A cell that knows its head; one with nothing in it can be left out of a card."""
    classes = f"{side} none".strip() if content == words.ABSENT else side
    if first:
        return element("th", content, scope="row", class_=classes, data_head=head)
    return element("td", content, class_=classes, data_head=head)
