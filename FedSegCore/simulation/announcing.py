"""What a machine that watches a run is told: who takes part, who trains, and every message that leaves a site."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import final

from FedSegCore.errors import SiteError
from FedSegCore.federation.ledger import parse_line
from FedSegCore.federation.method import ClientInfo, Round
from FedSegCore.federation.rounds import Emit
from FedSegCore.federation.transport import Outbox, Transport


@final
class LedgerNews:
    """Tells each line of a ledger once; those that stood there before are known.

    Args:
        path: the ledger; it may not exist yet, or never.
    """

    def __init__(self, path: Path, emit: Emit) -> None:
        self._path = path
        self._emit = emit
        known = path.read_bytes() if path.is_file() else b""
        self._told = known.rfind(b"\n") + 1
        self._lines = known.count(b"\n")

    def tell(self) -> None:
        """Tell the lines that are new.

        Raises:
            InputError: one of them is damaged.
        """
        if not self._path.is_file():
            return
        with self._path.open("rb") as file:
            file.seek(self._told)
            # Another process may be in the midst of writing the last line.
            lines = [line for line in file if line.endswith(b"\n")]
        for line in lines:
            self._told += len(line)
            self._lines += 1
            self._emit("ledger", **parse_line(line, self._path, self._lines))


@final
class Announced:
    """A transport, with `site_state` and `ledger` told as its messages pass."""

    def __init__(self, inner: Transport, news: LedgerNews, emit: Emit) -> None:
        self._inner = inner
        self._news = news
        self._emit = emit
        for client in inner.clients():
            emit("site_state", site=client.name, state="joined")
        news.tell()

    def clients(self) -> list[ClientInfo]:
        """Who takes part, sorted by name."""
        return self._inner.clients()

    def exchange(self, outbox: Outbox, round: Round) -> Iterator[tuple[ClientInfo, bytes | SiteError]]:
        """As the inner transport; a site trains from when its message is made until its reply is here."""

        def told(client: ClientInfo) -> bytes:
            self._emit("site_state", site=client.name, state="training")
            return outbox(client)

        for client, reply in self._inner.exchange(told, round):
            self._news.tell()
            yield client, reply

    def close(self) -> None:
        """Let go of what the inner transport holds."""
        self._inner.close()
