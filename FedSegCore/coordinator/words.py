"""The facts of a study that is being led, in words: the status page and `fedseg status` say the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

SILENT_S: Final = 30.0
"""Sites ask every few seconds; one that has not for so long is off, or cut off."""
ABSENT: Final = "\N{EN DASH}"
_GONE: Final = ("uninvited", "invited", "left")

Facts = Mapping[str, Any]


class Words(NamedTuple):
    """A state: how it looks (`good`, `waits`, `warn`, `bad`, `quiet`) and what it is called."""

    tone: str
    text: str


def span(seconds: float) -> str:
    """A length of time.

    >>> span(12), span(150), span(7000), span(200000)
    ('12 s', '2 min', '1.9 h', '2.3 days')
    """
    if seconds < 90:
        return f"{max(seconds, 0):.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172800 else f"{seconds / 86400:.1f} days"


def ago(seconds: float) -> str:
    """How long ago something was.

    >>> ago(0.4), ago(61)
    ('just now', '61 s ago')
    """
    return "just now" if seconds < 3 else f"{span(seconds)} ago"


def size(count: float) -> str:
    """A number of bytes, in powers of ten.

    >>> size(0), size(351920), size(2_140_000)
    ('0 B', '352 kB', '2.1 MB')
    """
    units = ("B", "kB", "MB", "GB", "TB")
    power = 0
    while count >= 999.5 and power < len(units) - 1:
        count, power = count / 1000, power + 1
    return f"{count:.{1 if power > 1 and count < 99.95 else 0}f} {units[power]}"


def state_of(facts: Facts) -> Words:
    """How the study goes."""
    if facts["state"] != "finished" and shortage(facts):
        return Words("bad", "Too few sites: more must be invited")
    if facts["state"] == "waiting":
        come = sum(one["state"] == "joined" for one in facts["sites"].values())
        return Words("waits", f"Waiting: {come} of the {facts['min_sites']} sites needed have joined")
    if facts["state"] == "finished":
        return Words("good", "Finished")
    return Words("good", "Running")


def run_of(facts: Facts) -> str:
    """Which of the study's runs it is at."""
    runs = facts["runs"]
    if facts["run"] not in runs:
        return f"no run yet; {len(runs)} to do" if facts["state"] != "finished" else ABSENT
    return f"run {runs.index(facts['run']) + 1} of {len(runs)}, {facts['run']}"


def site_words(facts: Facts, site: str) -> Words:
    """What a site does, as the coordinator sees it."""
    one = facts["sites"][site]
    state = one["state"]
    if state == "invited" and facts["time"] > one["expires"]:
        return Words("bad", "its invitation has expired")
    if state in _GONE:
        return _STANDING[state]
    if state == "enrolled" and one.get("refused"):
        return Words("bad", "was refused")
    if facts["state"] == "finished":
        return (
            Words("good", "has the models") if one.get("models") else _FINISHED.get(state, _STANDING["sent"])
        )
    if (silent := facts["time"] - one.get("seen", 0.0)) > SILENT_S:
        return Words("warn", f"no news for {span(silent)}" if "seen" in one else "not back since the restart")
    words = _STANDING.get(state, Words("quiet", str(state)))
    where = f" {one['round']}" if state in _AT_ROUND and "round" in one else ""
    return Words(words.tone, f"{words.text}{where}")


_AT_ROUND: Final = ("training", "sent", "late")
_STANDING: Final[Mapping[str, Words]] = {
    "uninvited": Words("quiet", "not invited yet"),
    "invited": Words("waits", "invited"),
    "enrolled": Words("waits", "reads its data"),
    "joined": Words("good", "joined"),
    "training": Words("good", "trains round"),
    "sent": Words("good", "done with round"),
    "late": Words("warn", "late in round"),
    "lost": Words("bad", "left out"),
    "paused": Words("warn", "pauses"),
    "left": Words("quiet", "has left"),
}
_FINISHED: Final[Mapping[str, Words]] = {
    "lost": Words("bad", "left out of the last round"),
    "enrolled": Words("quiet", "never joined"),
    "joined": Words("waits", "fetches the models"),
    "sent": Words("waits", "fetches the models"),
}


def heard(facts: Facts, site: str) -> str:
    """When a site was last heard of."""
    seen = facts["sites"][site].get("seen")
    return ABSENT if seen is None else ago(facts["time"] - seen)


def last_dice(facts: Facts, site: str) -> Mapping[str, float]:
    """The latest validation Dice that a site told, by structure; a site without validation cases tells none."""
    told = (line["sites"].get(site, {}).get("dice") for line in reversed(facts["rounds"]))
    return next((dice for dice in told if dice), {})


def last_lost(facts: Facts, site: str) -> str:
    """When and why a site was left out last, if it has not taken part in a round since."""
    lost = [one for one in facts["lost"] if one["site"] == site and one["run"] == facts["run"]]
    if not lost or lost[-1]["round"] <= _last_part(facts, site):
        return ""
    return f"left out of round {lost[-1]['round']}: {lost[-1]['reason']}"


def why(facts: Facts, site: str) -> str:
    """What stands in the way of a site: why it was refused when it joined, or left out last; "" for nothing."""
    one = facts["sites"][site]
    return str(one["refused"]) if _is_refused(one) else last_lost(facts, site)


def shortage(facts: Facts) -> str:
    """Why the study cannot go on with the sites that have come or may yet come; "" where it can.

    Where nobody was lost, and the coordinator has only not invited enough sites yet, it can.
    """
    lost = {name: _loss(facts, name) for name in facts["sites"]}
    reasons = [f"{name} {reason}" for name, reason in lost.items() if reason]
    there = [name for name, one in facts["sites"].items() if not lost[name] and one["state"] != "uninvited"]
    if not reasons or len(there) >= facts["min_sites"]:
        return ""
    number = f"only {len(there)}" if there else "none"
    return f"The study needs {facts['min_sites']} sites, and {number} can take part: {'; '.join(reasons)}."


def remedy(facts: Facts) -> str:
    """What helps against a shortage."""
    new = to_invite(facts)
    ways = [
        f"invite {' or '.join(new)} (fedseg invite SITE --from {facts['folder']} -o SITE.fedseg)"
        if new
        else "",
        "let a site that was refused correct its dataset and join again"
        if any(_is_refused(one) for one in facts["sites"].values())
        else "",
        "take a site that has left off the roster and invite it again, as the walk-through tells"
        if any(one["state"] == "left" for one in facts["sites"].values())
        else "",
        "stop, lower min_sites in the study and serve it again",
    ]
    told = "; or ".join(way for way in ways if way)
    return f"The port stays open, and nothing is lost: {told}."


def _loss(facts: Facts, site: str) -> str:
    """Why a site that was invited will not come by itself; "" where it may."""
    one = facts["sites"][site]
    if one["state"] == "left":
        return "has left"
    if one["state"] == "invited" and facts["time"] > one["expires"]:
        return "did not use its invitation before it expired"
    return f"was refused ({str(one['refused']).rstrip('.')})" if _is_refused(one) else ""


def _is_refused(one: Mapping[str, Any]) -> bool:
    return one["state"] == "enrolled" and bool(one.get("refused"))


def to_invite(facts: Facts) -> list[str]:
    """The sites that have not come yet."""
    return [name for name, one in facts["sites"].items() if one["state"] in ("uninvited", "invited")]


def mean(values: Mapping[str, float]) -> float | None:
    """The mean over structures; none of none."""
    return sum(values.values()) / len(values) if values else None


def number(value: float | None, digits: int = 3) -> str:
    """A number; a dash where there is none."""
    return ABSENT if value is None else f"{value:.{digits}f}"


def _last_part(facts: Facts, site: str) -> int:
    rounds = [line["round"] for line in facts["rounds"] if site in line["sites"]]
    return rounds[-1] if rounds else 0
