"""What the `fedseg` command tells with `--json`: one JSON object a line on stdout."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from FedSegLib.ledger import Sent, readSent

_KEPT_LINES = 200


def readEvent(line: bytes) -> dict[str, Any] | None:
    """The event of a line; None where it is none, as what a library printed."""
    try:
        event = json.loads(line.decode("utf-8", errors="replace"))
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


@dataclass(frozen=True)
class Message:
    """A warning or an error: what is wrong, and what to do about it."""

    text: str
    fix: str


@dataclass(frozen=True)
class Progress:
    """How far a stage is.

    Args:
        value: 0 to 1.
        secondsLeft: None where nobody knows.
    """

    stage: str
    value: float
    secondsLeft: float | None


@dataclass(frozen=True)
class Problem:
    """A flaw of a dataset.

    Args:
        file: the file's name within the dataset.
        isError: training is impossible before it is mended; else it is a warning.
    """

    file: str
    isError: bool
    message: Message


@dataclass(frozen=True)
class Round:
    """A finished round of training.

    Args:
        number: from 1 to total.
        dice: label -> Dice of the validation cases; empty where the round was not validated.
    """

    number: int
    total: int
    loss: float | None
    dice: dict[str, float]


@dataclass(frozen=True)
class Consent:
    """What a site agreed to as it joined, one sentence each.

    Args:
        toKnow: what holds whatever the study.
    """

    leaves: tuple[str, ...]
    neverLeaves: tuple[str, ...]
    toKnow: tuple[str, ...]


@dataclass(frozen=True)
class Model:
    """A model that has come.

    Args:
        card: its facts, see `cards.readCard`; empty where nobody told them.
    """

    path: Path
    name: str
    card: dict[str, Any] = field(default_factory=dict)


@dataclass
class Story:
    """All that one run of the command has told so far.

    Args:
        steps: what `progress` said in the command's own words, its last lines.
        states: site -> what it is doing.
        news: the stage or the state that was told last.
        result: the fields of the result event; None before it, and for ever where the run failed.
        foreign: the last lines that are no events: what a library printed, a line that was cut off.
    """

    progress: Progress | None = None
    warnings: list[Message] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    steps: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT_LINES))
    consent: Consent | None = None
    states: dict[str, str] = field(default_factory=dict)
    news: str = ""
    sent: list[Sent] = field(default_factory=list)
    models: list[Model] = field(default_factory=list)
    result: dict[str, Any] | None = None
    error: Message | None = None
    foreign: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT_LINES))
    _rest: bytes = b""

    def take(self, data: bytes) -> None:
        """Take in the next piece of stdout, wherever it was cut."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._takeLine(line)

    def close(self) -> None:
        """Take in a last line that nothing ended."""
        self.take(b"\n")

    def _takeLine(self, line: bytes) -> None:
        text = line.decode("utf-8", errors="replace").strip()
        if not text:
            return
        try:
            event = readEvent(line)
            if event is None:
                raise ValueError
            _TAKERS.get(event["event"], _ignore)(self, event)
        except (ValueError, KeyError, TypeError, AttributeError):
            self.foreign.append(text)


def _takeProgress(story: Story, event: dict[str, Any]) -> None:
    left = event.get("eta_s")
    value = min(max(float(event["value"]), 0.0), 1.0)
    story.progress = Progress(str(event["stage"]), value, None if left is None else float(left))
    story.steps.append(str(event.get("message") or ""))
    story.news = story.progress.stage


def _takeWarning(story: Story, event: dict[str, Any]) -> None:
    story.warnings.append(_message(event))


def _takeProblem(story: Story, event: dict[str, Any]) -> None:
    story.problems.append(Problem(str(event["file"]), event["severity"] == "error", _message(event)))


def _takeRound(story: Story, event: dict[str, Any]) -> None:
    loss = event.get("loss")
    dice = {str(label): float(value) for label, value in event["dice"].items() if value is not None}
    story.rounds.append(
        Round(int(event["number"]), int(event["total"]), None if loss is None else float(loss), dice)
    )


def _takeConsent(story: Story, event: dict[str, Any]) -> None:
    told = (event["leaves"], event["never_leaves"], event.get("to_know", ()))
    story.consent = Consent(*(tuple(map(str, sentences)) for sentences in told))


def _takeState(story: Story, event: dict[str, Any]) -> None:
    story.states[str(event["site"])] = story.news = str(event["state"])


def _takeSent(story: Story, event: dict[str, Any]) -> None:
    story.sent.append(readSent(event))


def _takeModel(story: Story, event: dict[str, Any]) -> None:
    story.models.append(Model(Path(event["path"]), str(event["name"]), dict(event["card"])))


def _takeError(story: Story, event: dict[str, Any]) -> None:
    story.error = _message(event)


def _takeResult(story: Story, event: dict[str, Any]) -> None:
    if not isinstance(event["summary"], dict):
        raise TypeError("a result's summary is an object")
    story.result = {key: value for key, value in event.items() if key != "event"}


def _ignore(story: Story, event: dict[str, Any]) -> None:
    """Events of other verbs, and of commands younger than this module."""


def _message(event: dict[str, Any]) -> Message:
    return Message(str(event["message"]), str(event.get("fix") or ""))


_TAKERS = {
    "progress": _takeProgress,
    "warning": _takeWarning,
    "problem": _takeProblem,
    "round": _takeRound,
    "consent": _takeConsent,
    "site_state": _takeState,
    "ledger": _takeSent,
    "model": _takeModel,
    "error": _takeError,
    "result": _takeResult,
}
