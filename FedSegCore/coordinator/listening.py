"""The public port's connections: who sends a request a letter at a time is not listened to for long."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final, final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

PATIENCE_S: Final = 20.0
"""For a request's head from its first letter, and for the rest of a request that was answered before its end."""
PARTING_S: Final = 1.0
"""For the last answer to arrive."""


@final
class ImpatientConnection(H11Protocol):
    """As uvicorn's, which itself waits for ever for the end of a request; what is no HTTP gets a sentence too."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._alarm: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As uvicorn's; the clock starts."""
        super().connection_made(transport)
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """As uvicorn's; the clock stops."""
        self._still()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """As uvicorn's; then see whether the client owes the rest of something. After the end nothing counts."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """As uvicorn's; a request whose end nobody waits for any more is not taken for ever."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._part()
        elif self.conn.their_state is h11.SEND_BODY:
            self._look()

    def send_400_response(self, msg: str) -> None:
        """A sentence in JSON, as every other answer."""
        body = json.dumps({"message": "This is no request.", "fix": "Speak HTTP/1.1."}).encode()
        length = str(len(body)).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", length),
            (b"connection", b"close"),
        ]
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            for event in (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self._part()

    def _look(self) -> None:
        theirs, ours = self.conn.their_state, self.conn.our_state
        owed = theirs is h11.IDLE or (theirs is h11.SEND_BODY and ours is h11.DONE)
        if not owed:
            self._still()
        elif self._alarm is None:
            self._alarm = self.loop.call_later(PATIENCE_S, self._late)

    def _still(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _late(self) -> None:
        self._alarm = None
        self._part()

    def _part(self) -> None:
        """Hang up; TLS would else take what comes for half a minute more, until the client hangs up as well."""
        self.transport.close()
        self.loop.call_later(PARTING_S, self.transport.abort)
