"""A site's end of the federation: bytes in, bytes out, everything private on its own disk."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, final

from FedSegCore.errors import ModelFileError, SiteError
from FedSegCore.federation import wire
from FedSegCore.federation.ledger import Ledger
from FedSegCore.federation.method import ClientInfo, FederatedMethod, Round, Site
from FedSegCore.federation.seeds import generator
from FedSegCore.federation.store import ClientStore


@final
class Client:
    """Answers the server's messages for one site; the same object serves every transport.

    Args:
        method: the study's method.
        site: the site's data and model.
        seed: the study's seed; each round draws from a generator of its own, so a round can be repeated.
        store: the site's private folder.
        ledger: where everything that leaves is written down first.
        header: what the personal model's file says of itself.
    """

    def __init__(
        self,
        method: FederatedMethod[Any, Any, Any, Any],
        site: Site,
        *,
        seed: int,
        store: ClientStore,
        ledger: Ledger,
        header: dict[str, Any],
    ) -> None:
        self.method = method
        self.site = site
        self.seed = seed
        self.store = store
        self.ledger = ledger
        self.header = header

    @property
    def info(self) -> ClientInfo:
        """What the site told when it joined."""
        return self.site.info

    def handle(self, data: bytes) -> bytes:
        """Answer one message of the server.

        Raises:
            SiteError: the message is not one of this method's.
        """
        name = self.info.name
        try:
            message, header = wire.decode_with_header(self.method.broadcast_type, data, f"message to {name}")
        except ModelFileError as error:
            raise SiteError(error.message, error.fix, site=name, round_number=0) from error
        round = Round(header["round"], header["total"])
        if header["kind"] == "round":
            return self._train(message, round)
        return self._publish(message, round)

    def _train(self, message: Any, round: Round) -> bytes:
        site = self._site(round, "train")
        state = self.store.load(self.method.client_state, round.number - 1)
        state, update = self.method.local_update(message, state, site, round)
        self.store.save(state, round.number)
        return self._leave(update, round, "update")

    def _publish(self, message: Any, round: Round) -> bytes:
        site = self._site(round, "publish")
        state = self.store.load(self.method.client_state, round.total)
        personal = self.method.personalize(message, state, site)
        if personal:
            self.store.save_personal(personal, self.header)
        return self._leave(self.method.offer(personal, state, site), round, "publish")

    def _site(self, round: Round, purpose: str) -> Site:
        number = round.number if purpose == "train" else round.total + 1
        return replace(self.site, generator=generator(self.seed, purpose, self.info.name, number))

    def _leave(self, message: object, round: Round, kind: str) -> bytes:
        data = wire.encode(message)
        self.ledger.record(data, site=self.info.name, round_number=round.number, kind=kind)
        return data
