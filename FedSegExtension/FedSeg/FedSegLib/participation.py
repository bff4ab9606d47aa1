"""Taking part in one study: joined, followed, paused, gone on with another day, and left."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Callable

from FedSegLib.command import CommandNotFound
from FedSegLib.events import Message, Model, Story
from FedSegLib.federation import LEFT, PAUSED, Membership, Pace, readMembership
from FedSegLib.federationtexts import endText
from FedSegLib.job import CANCELLED, DONE, Job
from FedSegLib.ledger import Sent, readLedger
from FedSegLib.translation import tr as _

ENDING_SECONDS = 2.0
"""How long the application waits, as it closes, for the study's process to end by itself."""

_TOLD_FLAWS = 3


class Participation:
    """The study that this computer takes part in, one at a time.

    Args:
        logic: starts the command.
        remember: keeps a text for another day; an empty one takes it away.
    """

    def __init__(self, logic: Any, remember: Callable[[str], None]) -> None:
        self._logic, self._remember = logic, remember
        self._asking: Job | None = None
        self._onAnswer: Callable[[Story], None] | None = None
        self._isNeeded = True
        self._remembersNothing()

    @property
    def isRunning(self) -> bool:
        """Whether the study's process works on this computer."""
        return self._joining is not None

    @property
    def rests(self) -> bool:
        """Whether the study can be gone on with."""
        return self.member is not None and not self.isRunning and not self.isOver

    @property
    def isAsking(self) -> bool:
        """Whether a command about the site's folder works, and another one has to wait."""
        return self._asking is not None

    @property
    def state(self) -> str:
        """What the study knows this site to be doing; empty where it has not joined."""
        return self.story.states.get(self.member.site, "")

    @property
    def sent(self) -> list[Sent]:
        """Every message that left since the study was joined."""
        return [*self._sentBefore, *self.story.sent]

    @property
    def models(self) -> list[Model]:
        """The models that have come; a card that was told belongs to the file that was there before."""
        return list({model.path: model for model in (*self._modelsBefore, *self.story.models)}.values())

    @property
    def secondsLeft(self) -> float | None:
        """How long the run that goes on now will take; None where nobody knows yet."""
        rounds = self.story.rounds
        return self._pace.secondsLeft(rounds[-1].total, time.monotonic()) if rounds else None

    def isOf(self, file: Path | None) -> bool:
        """Whether a file is the invitation to this study."""
        return self.member is not None and file in (self.member.file, self.member.invitation)

    def recall(self, text: str) -> None:
        """Offer the study that was remembered, if its files are still there."""
        member = readMembership(text)
        if member is None or not member.hasBegun:
            return
        self.member = member
        self._readBefore()

        def answered(story: Story) -> None:
            self.status = story.result["summary"]

        self._ask("status", answered, isNeeded=False)

    def join(self, member: Membership) -> None:
        """Join a study for the first time; what leaves was agreed to."""
        self.forget()
        self.member = member
        self._start(member.file, accepts=True)

    def goOn(self) -> None:
        """Take part again, as was agreed."""
        self._start(self.member.invitation, accepts=False)

    def stop(self) -> None:
        """Stop on this computer; the study is not left."""
        self._joining.cancel()

    def pauseOrResume(self) -> None:
        """Rest, or take part again, from the next round on."""
        pauses, self.told, self.failed = not self.isToPause, [], None

        def answered(story: Story) -> None:
            self.isToPause = pauses

        self._ask("pause" if pauses else "resume", answered)

    def leave(self) -> None:
        """Leave for good; a process that works ends after its round."""

        def answered(story: Story) -> None:
            self.isLeaving = True
            if not self.isRunning:
                self._finish(LEFT)

        self._ask("leave", answered)

    def forget(self) -> None:
        """Know of no study."""
        self._remember("")
        self._remembersNothing()

    def poll(self) -> bool:
        """Take in what has come; whether anything still runs."""
        if self._asking is not None and not self._asking.poll():
            job, self._asking = self._asking, None
            if job.state == DONE:
                self._onAnswer(job.story)
            elif self._isNeeded:
                self.told, self.failed = [job.story.error], job
        if self._joining is not None and not self._joining.poll():
            self._conclude()
        self._pace.take(self.story.rounds, time.monotonic())
        if self.member is not None and self.state != self._lastState:
            # It may be paused and resumed from elsewhere.
            self.isToPause = self.state == PAUSED or (self.isToPause and self._lastState != PAUSED)
            self._lastState = self.state
        return self._asking is not None or self._joining is not None

    def close(self) -> None:
        """The application closes: this computer stops taking part, and can go on another day."""
        if self._asking is not None:
            self._asking.kill()
        if self._joining is not None:
            self._joining.cancel()
            self._joining.wait(ENDING_SECONDS)
            self._joining.kill()
        self._asking = self._joining = None

    def _remembersNothing(self) -> None:
        self.member: Membership | None = None
        self.story = Story()
        self.status: dict[str, Any] = {}
        self.isOver = self.hasLeft = self.mustAgree = self.isToPause = self.isLeaving = False
        self._isGoingOn = False
        self._lastState, self._pace = "", Pace()
        self._joining: Job | None = None
        self._sentBefore: list[Sent] = []
        self._modelsBefore: list[Model] = []
        self.told: list[Message] = []
        self.failed: Job | None = None  # whose error is among what is told

    def _readBefore(self) -> None:
        """What was sent and has come on earlier days."""
        self._modelsBefore = self.member.models()
        try:
            self._sentBefore = readLedger(self.member.ledger)
        except (OSError, ValueError):
            self._sentBefore = []
            unreadable = _("{file} cannot be read, so that messages sent earlier are not shown.")
            fix = _("Keep the file, and restore it from a copy.")
            self.told = [Message(unreadable.format(file=self.member.ledger), fix)]

    def _start(self, file: Path, *, accepts: bool) -> None:
        member, self.told, self.story, self.failed = self.member, [], Story(), None
        self._readBefore()  # of the time before the process, whose own lines come as events
        self._isGoingOn, self.mustAgree, self.isToPause, self.isLeaving = not accepts, False, False, False
        self._lastState, self._pace = "", Pace()
        try:
            self._joining = self._logic.startJoining(
                file, member.data, member.folder, publishes=member.publishes, accepts=accepts
            )
        except CommandNotFound as error:
            if not member.hasBegun:
                self.forget()
            self.told = [error.message]
        else:
            self.story = self._joining.story
            self._remember(member.text())

    def _ask(self, verb: str, onAnswer: Callable[[Story], None], *, isNeeded: bool = True) -> None:
        """Call a verb about the site's folder, which ends at once.

        Args:
            isNeeded: the user is told where it fails.
        """
        try:
            self._asking = self._logic.startSiteVerb(verb, self.member.folder)
            self._onAnswer, self._isNeeded = onAnswer, isNeeded
        except CommandNotFound as error:
            self.told = [error.message] if isNeeded else self.told

    def _conclude(self) -> None:
        job, self._joining = self._joining, None
        # The coordinator may turn a site that has left away, which is no failure.
        if job.state == DONE or self.isLeaving:
            self._finish(LEFT if self.isLeaving else self.state)
            return
        failed = None
        if job.state == CANCELLED:
            stopped = _("Stopped on this computer. The study goes on without this hospital.")
            told = [Message(stopped, _("Go on when you want to take part again."))]
        else:
            flaws = [problem for problem in job.story.problems if problem.isError][:_TOLD_FLAWS]
            told = [Message(f"{flaw.file}: {flaw.message.text}", flaw.message.fix) for flaw in flaws]
            told.insert(0, job.story.error)
            failed = job
            self.mustAgree = self._isGoingOn  # what was agreed to on another day may no longer hold
        if not self.member.hasBegun:
            self.forget()
        self.told, self.failed = told, failed

    def _finish(self, state: str) -> None:
        self._remember("")
        self.isOver, self.isLeaving, self.hasLeft = True, False, state == LEFT
        self.failed = None
        self.told = [endText(hasLeft=self.hasLeft, hasModels=bool(self.models)), *self.story.warnings]
