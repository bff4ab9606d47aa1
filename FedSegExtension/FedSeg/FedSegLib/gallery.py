"""The models of a folder with their cards; a model that no index tells of is asked by the command."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

from FedSegLib.cards import Card, Choice, modelsIn, readCard
from FedSegLib.command import CommandNotFound
from FedSegLib.events import Message
from FedSegLib.job import DONE, Job
from FedSegLib.translation import tr as _


class Gallery:
    """What can be chosen, and what is known of it.

    Args:
        startInfo: begins to ask the command what a file is.
    """

    def __init__(self, startInfo: Callable[[Path], Job]) -> None:
        self.choices: list[Choice] = []
        self._startInfo = startInfo
        self._asked: dict[Path, Card | None] = {}
        self._asking: tuple[Path, Job] | None = None

    @property
    def isAsking(self) -> bool:
        """Whether the command was asked and has not answered yet."""
        return self._asking is not None

    def open(self, folder: str) -> None:
        """List a folder's models; empty: none."""
        self.choices = modelsIn(Path(folder)) if folder else []

    def choice(self, key: str) -> Choice | None:
        """The choice of this key, if it is there."""
        return next((choice for choice in self.choices if choice.key == key), None)

    def card(self, choice: Choice | None) -> Card | None:
        """Its card, if it is known."""
        return None if choice is None else choice.card or self._asked.get(choice.example)

    def isUnreadable(self, choice: Choice) -> bool:
        """Whether the command was asked in vain."""
        return self.card(choice) is None and choice.example in self._asked

    def ask(self, choice: Choice) -> Message | None:
        """Begin to ask for a card that is not known, one at a time; the message if that is impossible."""
        if self.isAsking or self.card(choice) is not None or choice.example in self._asked:
            return None
        try:
            self._asking = (choice.example, self._startInfo(choice.example))
        except CommandNotFound as error:
            self._asked[choice.example] = None
            return error.message
        return None

    def poll(self) -> Message | None:
        """Take in an answer; the message if it is none."""
        if self._asking is None or self._asking[1].poll():
            return None
        (file, job), self._asking = self._asking, None
        self._asked[file] = None
        if job.state != DONE:
            return job.story.error
        try:
            self._asked[file] = readCard(job.story.result["summary"])
        except ValueError:
            return Message(
                _("{file} is not a published model.").format(file=file.name), _("Choose another one.")
            )
        return None

    def forget(self) -> None:
        """Ask again: another command may answer."""
        self._asked.clear()

    def close(self) -> None:
        """End what runs."""
        if self._asking is not None:
            self._asking[1].kill()
            self._asking = None
