"""A site's connection that mends itself: the SuperNode is started anew, and the coordinator told, where needed."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, final

from FedSegCore.errors import FedSegError
from FedSegCore.federation.flower import SuperNode
from FedSegCore.hospital.answers import NotAHub
from FedSegCore.hospital.clock import clock_ahead_s
from FedSegCore.hospital.hubclient import HubClient
from FedSegCore.hospital.resident import Resident

_WATCH_S: Final = 2.0
_MISSED_S: Final = 20.0
"""A question that has been under way for so long while the site had nothing to do was lost."""


@final
class Connected:
    """Answers the coordinator's messages until the study has ended.

    Args:
        client: makes a client of the hub with the site's credential; each thread has its own.
        folder: for the engine's log and files.
        ca: PEM file of the certificate authority; none: the system's.
        largest: bytes that a message of the study may come to.
        tell: is told how the study goes, as the hub says it.
        gone: whether the site has left the study.
    """

    def __init__(
        self,
        client: Callable[[], HubClient],
        resident: Resident,
        *,
        folder: Path,
        ca: Path | None,
        key: Path,
        largest: int,
        tell: Callable[[dict[str, Any]], None],
        gone: Callable[[], bool],
    ) -> None:
        self._client = client
        self._resident = resident
        self._folder = folder
        self._ca = ca
        self._key = key
        self._largest = largest
        self._tell = tell
        self._gone = gone
        self._ended = threading.Event()
        self._node: SuperNode | None = None
        self._failure: FedSegError | None = None

    def work(self) -> None:
        """Return once the hub says that the study has finished, or `end` was called.

        Raises:
            FedSegError: the hub does not want this site any more.
        """
        watch = threading.Thread(target=self._watch, name="watch", daemon=True)
        watch.start()
        try:
            with self._client() as hub:
                while not self._ended.is_set():
                    self._connect(hub)
        except FedSegError:
            if not self._gone():  # else the hub refuses a site that it was told has left
                raise
        finally:
            self._ended.set()
        if self._failure is not None:
            raise self._failure

    def end(self) -> None:
        """Stop after the message that is being answered."""
        self._ended.set()

    def _connect(self, hub: HubClient) -> None:
        """One connection, for as long as it lasts.

        Raises:
            NotAHub: more was sent than a message of the study can be.
        """
        hub.attach()
        self._node = node = SuperNode(
            self._folder, address=hub.address, ca=self._ca, key=self._key, largest=self._largest,
            ahead_s=clock_ahead_s(hub),
        )  # fmt: skip
        try:
            node.work(self._resident.answer, self._ended.is_set)
        finally:
            self._node = None
            node.stop()
        if node.flooded:
            raise NotAHub(
                f"{hub.address} sent more than a message of this study can be ({self._largest:,} bytes); "
                "nothing of it was kept.",
                "Do not go on; tell the coordinator.",
            )

    def _watch(self) -> None:
        """See how the study goes; cut the connection where the other end has lost it, or a message on it."""
        engine, missed = "", ("", time.monotonic())
        with self._client() as hub:
            while not self._ended.wait(_WATCH_S):
                if self._gone():
                    self._ended.set()
                    return
                try:
                    state = hub.state()
                except FedSegError as error:
                    self._failure = None if self._gone() else error
                    self._ended.set()
                    self._cut()
                    return
                self._tell(state)
                asked = str(state.get("asked", ""))
                if asked == self._resident.asked or self._resident.at_work or asked != missed[0]:
                    missed = asked, time.monotonic()
                lost = bool(asked) and time.monotonic() - missed[1] > _MISSED_S
                moved = bool(engine) and state.get("engine") != engine
                engine = str(state.get("engine", ""))
                if state.get("state") == "finished":
                    self._ended.set()
                elif lost or moved:
                    missed = "", time.monotonic()
                    self._cut()

    def _cut(self) -> None:
        node = self._node
        if node is not None:
            with contextlib.suppress(OSError):
                node.stop()
