"""The transport of a federation on one machine: the same bytes as between hospitals, handed over in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import final

from FedSegCore.errors import SiteError
from FedSegCore.federation.client import Client
from FedSegCore.federation.method import ClientInfo, Round
from FedSegCore.federation.transport import Outbox


@final
class InProcess:
    """Sites that are trained one after the other in this process.

    Args:
        clients: each site's end, by name.
    """

    def __init__(self, clients: Mapping[str, Client]) -> None:
        self._clients = {name: clients[name] for name in sorted(clients)}

    def clients(self) -> list[ClientInfo]:
        """Who takes part, sorted by name."""
        return [client.info for client in self._clients.values()]

    def exchange(self, outbox: Outbox, round: Round) -> Iterator[tuple[ClientInfo, bytes | SiteError]]:
        """Let each site answer in turn; one that fails is yielded as its error and the others go on."""
        for client in self._clients.values():
            yield client.info, _answer(client, outbox(client.info))

    def close(self) -> None:
        """Nothing is held."""


def _answer(client: Client, message: bytes) -> bytes | SiteError:
    """A full disk is no site's error: all share this machine's, and going on would only lose the next."""
    try:
        return client.handle(message)
    except SiteError as error:
        return error
