"""How far this computer's clock is from the coordinator's."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from FedSegCore.hospital.hubclient import HubClient

_NOISE_S: Final = 2.0
"""Less than this is the network's delay as well; the engine bears it."""


def clock_ahead_s(hub: HubClient, now: Callable[[], float] = time.time) -> float:
    """Seconds by which this computer's clock is ahead of the hub's, as its own answer tells; negative: behind.

    The answer came over the connection that the invitation's authority vouches for, so nobody else moves the clock.
    """
    before = now()
    theirs = hub.descriptor().time
    ahead = (before + now()) / 2 - theirs
    return ahead if abs(ahead) > _NOISE_S else 0.0
