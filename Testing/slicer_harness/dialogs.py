"""Dialogs that wait for the user: recorded, and answered by what a test prepared."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Asked:
    """What the user was shown."""

    kind: str
    text: str


class Dialogs:
    """What was asked, in order, and the answers to come."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answers: deque[Any] = deque()

    def clear(self) -> None:
        """For the next test."""
        self.asked.clear()
        self.answers.clear()

    def tell(self, kind: str, text: str) -> None:
        """The user is told something, and need not answer."""
        self.asked.append(Asked(kind, text))

    def ask(self, kind: str, text: str) -> Any:
        """The user is asked; a dialog that nobody answers would wait for ever, so it is an error."""
        self.tell(kind, text)
        if not self.answers:
            raise AssertionError(f"nobody answers the dialog {kind}: {text}")
        return self.answers.popleft()


DIALOGS = Dialogs()
"""Those of the application."""
