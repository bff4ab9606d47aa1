"""Taking part in a federation: the invitation, the folder that a site keeps, and the study that goes on next time."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from FedSegLib.cards import modelName, ownModel
from FedSegLib.events import Model, Progress, Round, Story
from FedSegLib.places import placeFor

LEFT, PAUSED = "left", "paused"
"""States of a site that the panel acts upon."""
GLOBAL = "global"

_SITE_FILE = "site.json"
"""What `fedseg join` writes first into a site's folder."""
_CREDENTIAL = "credential"
"""What a site has once it has enrolled; it is never read here."""
_INVITATION_COPY = "invitation.fedseg"
_LONGEST_NAME = 40


@dataclass(frozen=True)
class Invitation:
    """What an invitation says of itself and of the study.

    Args:
        site: the name that the study knows this hospital by.
        expires: seconds since 1970; None where it never does.
        leaves, neverLeaves, toKnow: what leaves this computer, what never does, and what holds whatever the study, a
            sentence each.
        leavesIfPublished: what leaves where this site lets its own model be published.
        asksPersonal: the coordinator would like to publish this site's own model.
    """

    site: str
    study: str
    coordinator: str
    address: str
    methods: tuple[str, ...]
    labels: tuple[str, ...]
    modalities: tuple[str, ...]
    rounds: int
    expires: float | None
    leaves: tuple[str, ...]
    leavesIfPublished: tuple[str, ...]
    neverLeaves: tuple[str, ...]
    toKnow: tuple[str, ...]
    asksPersonal: bool


def readInvitation(facts: Mapping[str, Any]) -> Invitation:
    """An invitation, from what `fedseg info` tells of its file.

    Raises:
        ValueError: the file is something else, or does not say what leaves.
    """
    try:
        if facts["kind"] != "invitation" or not facts["leaves"]:
            raise ValueError("no invitation that says what leaves")
        expires = facts.get("expires")
        return Invitation(
            site=_line(facts["site"]),
            study=_line(facts["study"]),
            coordinator=_line(facts["coordinator"]),
            address=_line(facts["address"]),
            methods=_lines(facts["methods"]),
            labels=_lines(facts["labels"]),
            modalities=_lines(facts["modalities"]),
            rounds=int(facts["rounds"]),
            expires=None if expires is None else float(expires),
            leaves=_lines(facts["leaves"]),
            leavesIfPublished=_lines(facts["leaves_if_published"]),
            neverLeaves=_lines(facts["never_leaves"]),
            toKnow=_lines(facts.get("to_know", ())),
            asksPersonal=bool(facts.get("publish_personal_asked", False)),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"no invitation: {error!r}") from None


def _line(text: Any) -> str:
    """A name from a file of others stays in its line, and cannot pose as a line of the panel's."""
    return " ".join(str(text).split())


def _lines(texts: Sequence[Any]) -> tuple[str, ...]:
    if isinstance(texts, str):
        raise TypeError("a list of texts was expected")
    return tuple(map(_line, texts))


@dataclass(frozen=True)
class Membership:
    """A study that this computer takes part in, as the application's settings remember it. It holds no secret: those
    stay in the site's folder.

    Args:
        file: the invitation that it joined by.
        folder: what the site keeps.
        data: its dataset.
        publishes: its own model may be published.
    """

    study: str
    site: str
    file: Path
    folder: Path
    data: Path
    publishes: bool

    @property
    def invitation(self) -> Path:
        """The site's own copy of it, where there is one."""
        copy = self.folder / _INVITATION_COPY
        return copy if copy.is_file() else self.file

    @property
    def ledger(self) -> Path:
        """Everything that was sent."""
        return self.folder / "ledger.jsonl"

    @property
    def hasBegun(self) -> bool:
        """Whether the site has enrolled, so that the study can be gone on with."""
        return (self.folder / _CREDENTIAL).is_file()

    def models(self) -> list[Model]:
        """The models of earlier days, of each run: what was published, and this hospital's own."""
        files: list[Path] = []
        for run in sorted((self.folder / "runs").glob("*")):
            own = ownModel(run, self.site)
            files += [*sorted((run / "models").glob("*.safetensors")), *([] if own is None else [own])]
        return [Model(file, modelName(file)) for file in files]

    def text(self) -> str:
        """For the settings."""
        return json.dumps(
            {name: value if name == "publishes" else str(value) for name, value in asdict(self).items()}
        )


def readMembership(text: str) -> Membership | None:
    """What `Membership.text` made; None of anything else."""
    try:
        told = json.loads(text)
        return Membership(
            study=str(told["study"]),
            site=str(told["site"]),
            file=Path(told["file"]),
            folder=Path(told["folder"]),
            data=Path(told["data"]),
            publishes=told["publishes"] is True,
        )
    except (ValueError, KeyError, TypeError):
        return None


def siteFolder(file: Path, invitation: Invitation, data: Path) -> Path:
    """Where a site keeps its files of a study: see `placeFor`; or where the invitation's copy already lies."""
    if file.name == _INVITATION_COPY and (file.parent / _SITE_FILE).is_file():
        return file.parent
    names = (
        re.sub(r"[^\w-]+", "-", name)[:_LONGEST_NAME].strip("-_")
        for name in (invitation.study, invitation.site)
    )
    return placeFor(data, "federation") / "-".join(filter(None, ("fedseg", *names)))


def presentRounds(rounds: Sequence[Round]) -> list[Round]:
    """The rounds of the run that goes on now: a study of several methods counts anew for each, and one that was
    interrupted may repeat its last."""
    kept: list[Round] = []
    for told in rounds:
        kept = [*(before for before in kept if before.number < told.number), told]
    return kept


def progressOf(story: Story) -> Progress | None:
    """How far the work is: as the command says, else by the rounds that have ended."""
    told = story.progress
    if (told is None or told.value == 0) and story.rounds:
        last = story.rounds[-1]
        return Progress(story.news, last.number / last.total, None)
    return told


class Pace:
    """How long a round takes, with the waiting for others, as far as it was seen."""

    def __init__(self) -> None:
        self._first = self._last = (0, 0.0)

    def take(self, rounds: Sequence[Round], now: float) -> None:
        """The rounds so far; `now` in seconds."""
        number = rounds[-1].number if rounds else 0
        if number < self._last[0] or not self._first[0]:
            self._first = self._last = (number, now)  # another run has another pace
        elif number > self._last[0]:
            self._last = (number, now)

    def secondsLeft(self, total: int, now: float) -> float | None:
        """Until the last round of this run has ended; None before two were seen."""
        (first, began), (last, ended) = self._first, self._last
        if last <= first:
            return None
        return max((ended - began) / (last - first) * (total - last) - (now - ended), 0.0)


def chosenModel(models: Sequence[Model]) -> Model | None:
    """The model to begin with: the last global one, else the last."""
    shared = [model for model in models if model.name == GLOBAL]
    return next(reversed(shared or list(models)), None)
