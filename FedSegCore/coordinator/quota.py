"""How much a site may still push into the engine's memory."""

from __future__ import annotations

import threading
from typing import Final, final

TIMES: Final = 4
SPARE: Final = 256 * 2**20
"""A model that is offered once may be larger than what rounds carry; this is room for 64 million weights."""


@final
class Quota:
    """What each site has left: an answer and the repetitions of its pieces fit many times over, no more does.

    It is renewed with each question, for only answers may be pushed. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._largest = 0
        self._left: dict[str, int] = {}

    def asked(self, site: str, size: int) -> None:
        """A question of `size` bytes went out."""
        with self._lock:
            self._largest = max(self._largest, size)
            self._left[site] = TIMES * self._largest + SPARE

    def take(self, site: str, size: int) -> bool:
        """Count bytes that a site pushes; false where it has none left for them, or was never asked."""
        with self._lock:
            left = self._left.get(site, 0) - size
            if left >= 0:
                self._left[site] = left
            return left >= 0
