"""How long and how often something that failed is tried again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final, final

from FedSegCore.hospital.answers import HubUnreachable

_FIRST_S: Final = 0.5
_LONGEST_S: Final = 30.0


@final
class Patience:
    """Waits between tries: half a second, then twice as long each time, half a minute at most.

    Each wait is shortened at random by up to a half: the sites of a study that all lost a hub must not all come
    back in the same moment.

    Args:
        seconds: after which no further try begins; 0: the first failure is final.
        wait: how to sleep; may raise to stop it all.
        tell: is told every failure that is not final.
        clock: seconds that only go forwards.
    """

    def __init__(
        self,
        seconds: float,
        *,
        wait: Callable[[float], object] = time.sleep,
        tell: Callable[[str], object] = lambda message: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self._wait = wait
        self._tell = tell
        self._clock = clock
        self.renew()

    def renew(self) -> None:
        """Begin anew, for something has been gained."""
        self._until = self._clock() + self._seconds
        self._pause = _FIRST_S

    def endure(self, error: HubUnreachable) -> None:
        """Sleep after a failure.

        Raises:
            HubUnreachable: the failure itself, where time is over.
        """
        pause = self._pause * random.uniform(0.5, 1.0)
        if self._clock() + pause > self._until:
            raise error
        self._tell(error.message)
        self._wait(pause)
        self._pause = min(2 * self._pause, _LONGEST_S)
