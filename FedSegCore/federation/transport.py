"""The seam between the round loop and whatever carries its messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from FedSegCore.errors import SiteError
from FedSegCore.federation.method import ClientInfo, Round

Outbox = Callable[[ClientInfo], bytes]
"""Makes the message for one client when it is that client's turn."""


class Transport(Protocol):
    """The only thing an engine implements."""

    def clients(self) -> list[ClientInfo]:
        """Who takes part, sorted by name."""

    def exchange(self, outbox: Outbox, round: Round) -> Iterator[tuple[ClientInfo, bytes | SiteError]]:
        """Send each client its message and yield the replies, sorted by name; an error for a lost client."""

    def close(self) -> None:
        """Let go of processes and connections."""
