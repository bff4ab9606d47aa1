"""The engine behind the gateway: a SuperLink that is started anew whenever it ends, and who is behind its numbers."""

from __future__ import annotations

import contextlib
import secrets
import ssl
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, final

from FedSegCore.coordinator.pulls import Pulls
from FedSegCore.coordinator.quota import Quota
from FedSegCore.errors import RunError
from FedSegCore.federation.flower import Head, Reply, SuperLink
from FedSegCore.federation.keys import TlsFiles

_STARTS: Final = 3
"""How often a SuperLink is tried to be started before that is an error."""


@final
class Engine:
    """Messages to sites by name. Safe to use from several threads.

    What it loses when the SuperLink ends is what was under way; whoever sent it sends it again.

    Args:
        folder: the engine's own files and log.
        tls: of its loopback connection.
    """

    def __init__(self, folder: Path, tls: TlsFiles) -> None:
        self._folder = folder
        self._tls = tls
        self._context = ssl.create_default_context(cadata=tls.ca)
        self._lock = threading.RLock()
        self._nodes: dict[str, int] = {}
        self.quota = Quota()
        self._link = self._start()

    @property
    def where(self) -> tuple[str, ssl.SSLContext]:
        """Where it listens on the loopback, and how its certificate is checked."""
        return f"127.0.0.1:{self._link.port}", self._context

    def attach(self, site: str, engine_key: str) -> None:
        """Expect a new connection of a site; the one it had is forgotten, and what was under way on it."""
        with self._lock:
            self.detach(site)
            self._nodes[site] = self._link.admit(engine_key)

    def detach(self, site: str) -> None:
        """Forget a site's connection."""
        with self._lock, contextlib.suppress(RunError):
            if (node := self._nodes.pop(site, None)) is not None:
                self._link.dismiss(node)

    def node(self, site: str) -> str:
        """Names a site's present connection; another one after it connected anew; "" while it has none."""
        with self._lock:
            node = self._nodes.get(site)
            return "" if node is None else f"{self.epoch}/{node}"

    def online(self) -> set[str]:
        """The sites that are connected."""
        with self._lock:
            there = self._link.online()
            return {site for site, node in self._nodes.items() if node in there}

    def post(self, site: str, head: Head, body: bytes) -> str:
        """Send a message to a site that is online; returns the message's id.

        Raises:
            RunError: it is not.
        """
        with self._lock:
            node = self._nodes.get(site)
        if node is None:
            raise RunError(f"{site} is not connected.")
        self.quota.asked(site, len(body))
        return self._link.post(node, head, body)

    def collect(self, message_ids: Iterable[str]) -> Iterator[Reply]:
        """What has come back, each once."""
        return self._pulls.collect(message_ids)

    def heal(self) -> bool:
        """Start the SuperLink anew where it has ended; returns whether it did. Every site has to attach again.

        Raises:
            RunError: it does not start.
        """
        with self._lock:
            if self._link.alive:
                return False
            self._close()
            self._nodes.clear()
            self._link = self._start()
            return True

    def stop(self) -> None:
        """End it."""
        with self._lock:
            self._close()

    def _start(self) -> SuperLink:
        self.epoch = secrets.token_hex(8)
        for tries_left in reversed(range(_STARTS)):
            try:
                link = SuperLink(self._folder, self._tls)
                break
            except RunError:  # it may have been ended while it started
                if not tries_left:
                    raise
        self._pulls = Pulls(link.pull)
        return link

    def _close(self) -> None:
        self._pulls.stop()
        self._link.stop()
