"""Where the seconds of a round go, from what `Testing.benchmarks.traced` wrote down."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

STEPS: Final = (
    "server: pack, hand to the engine",
    "engine: the site's node asks for it and gets it",
    "site: asks its node for it",
    "site: unpack, train, keep, pack",
    "site: hands the reply to its node",
    "engine: the node sees the reply and sends it",
    "server: sees the reply and gets it",
    "server: ledger, check, keep for the average",
    "server: average",
    "server: checkpoint",
    "server: the rest",
)
"""One after the other; a round is their sum."""
_OWN: Final = ("unpack", "train", "own state", "pack, ledger", "keep the answer")


@dataclass(frozen=True)
class Span:
    """One step: what, about whom or which round, from when until when in seconds since 1970."""

    what: str
    about: str
    start: float
    end: float


def read(path: Path) -> list[Span]:
    """The lines of one trace, by their start."""
    return sorted((Span(*json.loads(line)) for line in path.read_text().splitlines()), key=lambda s: s.start)


def steps_of(folder: Path) -> list[dict[str, float]]:
    """The seconds of each step, for each round, along the way of the site whose reply came last."""
    server, sites = read(folder / "serve.spans"), read(folder / "join.spans")
    found = []
    for whole in (span for span in server if span.what == "round"):
        inside = [span for span in server if whole.start <= span.start < whole.end]
        last = max((span for span in inside if span.what == "push-object"), key=lambda span: span.end).about
        found.append(
            _way(whole, inside, [s for s in sites if s.start < whole.end and s.end > whole.start], last)
        )
    return found


def inner(folder: Path) -> dict[str, float]:
    """Of a site's own steps the median seconds a round."""
    seconds = defaultdict(list)
    for span in read(folder / "join.spans"):
        seconds[span.what].append(span.end - span.start)
    return {what: statistics.median(seconds[what]) for what in _OWN}


def _way(whole: Span, server: list[Span], sites: list[Span], site: str) -> dict[str, float]:
    """One round's steps."""
    calls = [span for span in server if span.about == site]
    at_site = [span for span in sites if span.about == site]
    marks = [
        _end(calls, "post"), _end(calls, "pull-object"), _end(at_site, "got"), _end(at_site, "answer"),
        _end(at_site, "hand over"), _end(calls, "push-object"), _end(server, "pull"),
        _start(server, "aggregate"), _end(server, "aggregate"), _end(server, "save"), whole.end,
    ]  # fmt: skip
    return {
        step: mark - before for step, before, mark in zip(STEPS, [whole.start, *marks], marks, strict=False)
    }


def _end(spans: Iterable[Span], what: str) -> float:
    return max(span.end for span in spans if span.what == what)


def _start(spans: Iterable[Span], what: str) -> float:
    return min(span.start for span in spans if span.what == what)
