"""What the coordinator answers its sites."""

from __future__ import annotations

import hashlib
import json
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, final

from FedSegCore.coordinator.board import Board
from FedSegCore.coordinator.engine import Engine
from FedSegCore.coordinator.roster import Refused, Roster
from FedSegCore.errors import FedSegError, InputError, plain
from FedSegCore.federation.flower import CALLS, ENGINE, PUSHES, caller, key_of, weight_of
from FedSegCore.federation.joining import Joining
from FedSegCore.version import VERSION, minor, numbers

_LONGEST_KEY: Final = 1000


@final
class StudyHub:
    """One study's hub: gatekeeper of its engine, its roster and its models.

    Args:
        identity: the coordinator's public key.
        welcome: is asked whether what a site tells fits the study, with what others told; raises where it does not.
    """

    def __init__(
        self,
        study: str,
        *,
        identity: str,
        roster: Roster,
        engine: Engine,
        board: Board,
        welcome: Callable[[Joining], None],
    ) -> None:
        self._study = study
        self._identity = identity
        self._roster = roster
        self._engine = engine
        self._board = board
        self._welcome = welcome
        self._lock = threading.Lock()
        self._agreed: dict[str, Any] | None = None
        self._away: dict[str, Refused] = {}
        self._models: dict[tuple[str, str], tuple[Path, dict[str, Any]]] = {}
        self.outstanding: Callable[[], dict[str, str]] = dict
        self.served: set[str] = set()

    def descriptor(self) -> dict[str, Any]:
        """What anybody may know."""
        return {
            "format": 1,
            "study": self._study,
            "fedseg": VERSION,
            "engine": ENGINE,
            "identity": self._identity,
            "time": time.time(),
            "state": self._board.brief()["state"],
        }

    def enrol(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Let a site in."""
        words = [asked.get(name) for name in ("site", "token", "engine_key")]
        if not all(isinstance(word, str) and 0 < len(word) <= _LONGEST_KEY for word in words):
            raise Refused("The request lacks site, token or engine_key.", "Use the same FedSeg version.", 400)
        site, token, key = (str(word) for word in words)
        try:
            site.encode(), token.encode(), key_of(key.strip())
        except (UnicodeEncodeError, InputError):
            raise Refused(
                "The site, token or engine_key cannot be read.", "Use the same FedSeg version.", 400
            ) from None
        theirs = plain(str(asked.get("fedseg", VERSION)))
        if minor(theirs) != minor(VERSION):
            raise Refused(
                f"The site has FedSeg {theirs}, the coordinator {VERSION}; both ends need the same minor version.",
                f"The older one must be updated, to {max(theirs, VERSION, key=numbers)}.",
                409,
            )
        credential = self._roster.enrol(site, token, key.strip())
        self._board.seen(site)
        self._board.emit("site_state", site=site, state="enrolled")
        return {"credential": credential}

    def site_of(self, credential: str) -> str:
        """Whose credential it is."""
        entry = self._roster.by_credential(credential)
        if entry.state == "left":
            raise Refused(f"{entry.site} has left this study.", "Ask the coordinator for a new invitation.")
        self._board.seen(entry.site)
        return entry.site

    def join(self, site: str, data: bytes) -> dict[str, Any]:
        """Take what a site tells of itself."""
        try:
            joining = self._roster.decode(site, data)
            try:
                self._welcome(joining)
            except FedSegError as error:
                raise Refused(error.message, error.fix, 409) from error
            self._roster.join(site, data)
        except Refused as refused:
            self._board.refuse(site, plain(refused.message), plain(refused.fix))
            raise
        self._away.pop(site, None)
        self._board.seen(site, cases=joining.num_cases)
        self._board.emit("site_state", site=site, state="joined")
        return {}

    def turn_away(self, site: str, reason: str, fix: str) -> None:
        """Take back that a site has joined: what it told does not go together with what the others did."""
        self._away[site] = Refused(reason, fix, 409)
        self._roster.turn_away(site)
        self._board.emit("site_state", site=site, state="enrolled")
        self._board.refuse(site, plain(reason), plain(fix))

    def agree(self, agreed: dict[str, Any]) -> None:
        """Let the sites know what all agreed on."""
        self._agreed = json.loads(json.dumps(agreed))

    def study(self, site: str) -> dict[str, Any] | None:
        """What all agreed on; none until enough sites have joined.

        Raises:
            Refused: it was turned away, or has not joined.
        """
        if site in self._away:
            raise self._away[site]
        entry = self._roster.entry(site)
        if entry is None or entry.state != "joined":
            raise Refused(f"{site} has not joined.", "Start `fedseg join` again.", 409)
        return self._agreed

    def attach(self, site: str) -> dict[str, Any]:
        """Let the engine know the site's new connection."""
        entry = self._roster.entry(site)
        assert entry is not None
        self._engine.attach(site, entry.engine_key)
        return {}

    def state(self, site: str) -> dict[str, Any]:
        """How the study goes; `engine` changes when connections are lost, `asked` names what a site is to answer."""
        return {
            **self._board.brief(),
            "engine": self._engine.epoch,
            "asked": self.outstanding().get(site, ""),
        }

    def leave(self, site: str) -> dict[str, Any]:
        """Let a site go."""
        self._roster.leave(site)
        self._engine.detach(site)
        self._board.emit("site_state", site=site, state="left")
        return {}

    def received(self, site: str) -> dict[str, Any]:
        """A site has all models."""
        self.served.add(site)
        self._board.seen(site, models=True)
        return {}

    def publish(self, run: str, models: dict[str, tuple[Path, dict[str, Any]]]) -> None:
        """Offer a run's models to the sites: file name -> path and card."""
        with self._lock:
            for file, (path, card) in models.items():
                facts = {"bytes": path.stat().st_size, "sha256": _sha256(path), "card": card}
                self._models[run, file] = path, {"run": run, "file": file, **facts}

    def models(self) -> dict[str, Any]:
        """The published models."""
        with self._lock:
            return {"models": [facts for _, (_, facts) in sorted(self._models.items())]}

    def model(self, run: str, file: str) -> Path:
        """One of them. Only names that were published are known, so none can point elsewhere."""
        with self._lock:
            if (run, file) not in self._models or not self._models[run, file][0].is_file():
                raise Refused("There is no such model.", "List them with /hub/models.", 404)
            return self._models[run, file][0]

    def largest_call(self, call: str) -> int | None:
        """How large a call of a SuperNode may be; none where there is no such call."""
        return CALLS.get(call)

    def calling(self, headers: Mapping[str, str]) -> str:
        """Whose SuperNode calls."""
        key = caller(headers)
        for entry in self._roster.entries() if key else ():
            if entry.engine_key and entry.state != "left" and key_of(entry.engine_key) == key:
                return entry.site
        raise Refused("This needs a site's key.", "Join with an invitation.")

    def weigh(self, site: str, call: str, body: bytes) -> None:
        """See that a site pushes no more than an answer of its own."""
        if call not in PUSHES:
            return
        weight = weight_of(call, body)
        if weight is None:
            raise Refused("A site may only answer in its own name.", "Use the same FedSeg version.", 403)
        if not self._engine.quota.take(site, weight):
            raise Refused("The site pushes more than an answer can be.", "Tell the coordinator.", 413)

    def engine(self) -> tuple[str, ssl.SSLContext]:
        """Where Flower's SuperLink listens."""
        return self._engine.where


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
