"""A site's end of the federation: bytes in, bytes out, everything private on its own disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, final

from FedSegCore.errors import ModelFileError, SiteError, StorageError, plain
from FedSegCore.federation import calibration, wire
from FedSegCore.federation.calibration import SharedBank, Survey
from FedSegCore.federation.failures import site_failure
from FedSegCore.federation.ledger import Ledger
from FedSegCore.federation.method import ClientInfo, FederatedMethod, Round, Site
from FedSegCore.federation.seeds import generator
from FedSegCore.federation.store import ClientStore
from FedSegCore.learning.epochs import Epochs
from FedSegCore.tensors import weights as algebra

_TASKS: Final = {"round": "training", "publish": "personal model", calibration.KIND: "calibration"}
"""What a message's kind lets a site do, in words."""


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
        survey: how it answers when the published models are to be calibrated; none: it does not.
        rounds: the study's; a message of another study's length is refused. None: any.
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
        survey: Survey | None = None,
        rounds: int | None = None,
    ) -> None:
        self.method = method
        self.site = site
        self.seed = seed
        self.store = store
        self.ledger = ledger
        self.header = header
        self.survey = survey
        self.rounds = rounds
        self._first_weights = algebra.of(site.model)

    @property
    def info(self) -> ClientInfo:
        """What the site told when it joined."""
        return self.site.info

    def handle(self, data: bytes) -> bytes:
        """Answer one message of the server.

        Raises:
            SiteError: the message is not one of this method's, local training came to NaN or Inf, or anything
                else went wrong here; says nothing of the site's cases.
            StorageError: this machine's disk takes no more.
        """
        message, round, kind = self._read(data)
        try:
            return self._answers[kind](message, round, self.store.epochs(data))
        except (SiteError, StorageError):
            raise
        except Exception as error:
            # A hospital's machine may fail in any way; the study goes on without it.
            raise site_failure(
                error,
                site=self.info.name,
                round_number=round.number,
                task=_TASKS[kind],
                folder=self.store.folder,
            ) from None

    @property
    def _answers(self) -> dict[str, Callable[[Any, Round, Epochs], bytes]]:
        known: dict[str, Callable[[Any, Round, Epochs], bytes]] = {
            "round": self._train,
            "publish": self._publish,
        }
        if self.survey is not None:
            known[calibration.KIND] = self._calibrate
        return known

    def _read(self, data: bytes) -> tuple[Any, Round, str]:
        """The message, its round and what it asks for."""
        name = self.info.name
        asked = wire.type_of(data) == SharedBank.__name__
        kind: type[Any] = SharedBank if asked else self.method.broadcast_type
        try:
            message, header = wire.decode_with_header(kind, data, f"message to {name}")
        except ModelFileError as error:
            raise SiteError(plain(error.message), error.fix, site=name, round_number=0) from error
        wanted, round = header.get("kind"), self._round(header)
        fits = isinstance(wanted, str) and wanted in self._answers and (wanted == calibration.KIND) == asked
        if not fits or round is None:
            fix = "Use the same FedSeg version at both ends."
            raise SiteError("The message asks for nothing that a site does.", fix, site=name, round_number=0)
        return message, round, str(wanted)

    def _round(self, header: Mapping[str, Any]) -> Round | None:
        """The round that a message says it is of; none where there is no such round."""
        number, total = header.get("round"), header.get("total")
        if type(number) is not int or type(total) is not int or not 1 <= number <= total:
            return None
        return Round(number, total) if self.rounds in (None, total) else None

    def _train(self, message: Any, round: Round, epochs: Epochs) -> bytes:
        site = self._site(round, "train", epochs)
        state = self.store.load(self.method.client_state, round.number - 1)
        state, update = self.method.local_update(message, state, site, round)
        self._refuse_broken(update, round)
        self._refuse_broken(state, round)
        self.store.save(state, round.number)
        return self._leave(update, round, "update")

    def _publish(self, message: Any, round: Round, epochs: Epochs) -> bytes:
        """Offer once: what is offered after other rounds than the last would be more than was agreed to."""
        self._once(f"publish-{round.total}", message, round, "for what it gives after the last round")
        site = self._site(round, "publish", epochs)
        state = self.store.load(self.method.client_state, round.total)
        personal = self.method.personalize(message, state, site)
        if personal:
            self.store.save_personal(personal, self.header)
        return self._leave(self.method.offer(personal, state, site), round, "publish")

    def _calibrate(self, message: SharedBank, round: Round, epochs: Epochs) -> bytes:
        """Answer once: whoever asks again, with other models, learns about single cases."""
        assert self.survey is not None
        self._once(calibration.KIND, message, round, "how its cases fare with published models")
        site = self._site(round, calibration.KIND, epochs)
        return self._leave(self.survey(message, site), round, calibration.KIND)

    def _once(self, kind: str, message: object, round: Round, asked: str) -> None:
        if round.number != round.total or not self.store.answers_once(kind, wire.encode(message)):
            raise SiteError(
                f"it was asked again, or too early, {asked}.",
                "A site answers that once, after the last round.",
                site=self.info.name,
                round_number=round.number,
            )

    def _refuse_broken(self, message: object, round: Round) -> None:
        """What is broken neither leaves nor is kept: kept moments of NaN would spoil every later round."""
        for name, tensor in wire.split(message)[0].items():
            if not algebra.finite(tensor):
                raise SiteError(
                    f'local training came to NaN or Inf in "{name}".',
                    "Lower the learning rate, or look for broken images at this site.",
                    site=self.info.name,
                    round_number=round.number,
                )

    def _site(self, round: Round, purpose: str, epochs: Epochs) -> Site:
        """The site as it was at the start: what an earlier, perhaps failed, message left in the model is gone."""
        algebra.load(self.site.model, self._first_weights)
        number = round.number if purpose == "train" else round.total + 1
        chance = generator(self.seed, purpose, self.info.name, number)
        return replace(self.site, generator=chance, epochs=epochs)

    def _leave(self, message: object, round: Round, kind: str) -> bytes:
        data = wire.encode(message)
        self.ledger.record(data, site=self.info.name, round_number=round.number, kind=kind)
        return data
