"""What a site's engine takes in: a coordinator that is broken, or means it no good, must not fill a site's memory.

The engine's process ends itself with `TOO_LARGE` where more comes; the one that started it says so in a sentence.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NoReturn, final

import httpx

TOO_LARGE: Final = 77
"""The exit code of an engine that was sent more than it takes."""


def too_large(what: str) -> NoReturn:
    """End this process, whatever its threads are at."""
    print(what, file=sys.stderr, flush=True)
    os._exit(TOO_LARGE)


@final
class Tally:
    """Adds up what came for one message.

    Args:
        largest: bytes that it may come to.
        refuse: is called where it comes to more.
    """

    def __init__(self, largest: int, refuse: Callable[[str], None] = too_large) -> None:
        self._largest = largest
        self._refuse = refuse
        self._lock = threading.Lock()
        self._sum = 0

    def add(self, size: int) -> None:
        """So many bytes came."""
        with self._lock:
            self._sum += size
            if self._sum > self._largest:
                self._refuse(f"A message of more than {self._largest} bytes was sent.")


@final
class BoundedTransport(httpx.BaseTransport):
    """HTTP whose answers are read no further than they may be.

    Args:
        largest: bytes of an answer by the last word of the path that is asked.
        other: of any other answer.
        refuse: is called where one is larger, or packed, which nobody asked for.
    """

    def __init__(
        self,
        inner: httpx.BaseTransport,
        largest: Mapping[str, int],
        other: int,
        refuse: Callable[[str], None] = too_large,
    ) -> None:
        self._inner = inner
        self._largest = largest
        self._other = other
        self._refuse = refuse

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """As the inner transport."""
        request.headers["accept-encoding"] = "identity"
        response = self._inner.handle_request(request)
        call = request.url.path.rpartition("/")[2]
        if response.headers.get("content-encoding", "identity") != "identity":
            self._refuse(f"A packed answer to {call} was sent.")
        assert isinstance(response.stream, httpx.SyncByteStream)
        most = self._largest.get(call, self._other)
        response.stream = _Bounded(response.stream, most, lambda: self._refuse(
            f"An answer of more than {most} bytes to {call} was sent."))  # fmt: skip
        return response

    def close(self) -> None:
        """Let go of connections."""
        self._inner.close()


@final
class _Bounded(httpx.SyncByteStream):
    def __init__(self, inner: httpx.SyncByteStream, most: int, refuse: Callable[[], None]) -> None:
        self._inner = inner
        self._most = most
        self._refuse = refuse

    def __iter__(self) -> Iterator[bytes]:
        came = 0
        for piece in self._inner:
            came += len(piece)
            if came > self._most:
                self._refuse()
            yield piece

    def close(self) -> None:
        self._inner.close()
