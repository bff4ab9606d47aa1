"""The transport of a federation on one machine: the same bytes as between hospitals, handed over in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import final

from FedSegCore.errors import FedSegError, SiteError, StorageError
from FedSegCore.federation.client import Client
from FedSegCore.federation.method import ClientInfo, Round
from FedSegCore.federation.transport import Outbox

_LONGEST_REASON = 300


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
            yield client.info, _answer(client, outbox, round)

    def close(self) -> None:
        """Nothing is held."""


def _answer(client: Client, outbox: Outbox, round: Round) -> bytes | SiteError:
    try:
        return client.handle(outbox(client.info))
    except SiteError as error:
        return error
    except StorageError:
        # All sites share this machine's disk: going on without one would only lose the next.
        raise
    except FedSegError as error:
        return SiteError(error.message, error.fix, site=client.info.name, round_number=round.number)
    except Exception as error:
        # A hospital's machine may fail in any way; the study goes on without it and says why, in one line.
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_REASON]
        return SiteError(reason, site=client.info.name, round_number=round.number)
