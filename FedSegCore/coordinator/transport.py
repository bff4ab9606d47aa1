"""The transport of a federation across hospitals: rounds that outlive connections, processes and slow sites."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from FedSegCore.coordinator.engine import Engine
from FedSegCore.errors import RunError, SiteError, StorageError, plain
from FedSegCore.federation import calibration, wire
from FedSegCore.federation.calibration import BankCounts
from FedSegCore.federation.ledger import Ledger, read_lines
from FedSegCore.federation.method import ClientInfo, Offer, Round
from FedSegCore.federation.rounds import Emit
from FedSegCore.federation.transport import Outbox

ABSENCE_S: Final = 60.0
"""How long a round waits for a site that is not connected, where enough others are."""
_GLANCE_S: Final = 0.1
_SELDOM_S: Final = 60.0
_KINDS: Final = {Offer.__name__: "publish", BankCounts.__name__: calibration.KIND}


@dataclass
class Asked:
    """One site's part in a round.

    Args:
        ask: names the question to the site.
        connection: which connection of the site the message went through; "" while it has not.
        losses: how often Flower has lost it.
        again: when it may go out again.
    """

    info: ClientInfo
    ask: str = ""
    connection: str = ""
    message_id: str = ""
    answer: SiteError | Path | None = None
    losses: int = 0
    again: float = 0.0

    def lose(self) -> None:
        """Send it again, and more and more seldom: a site can claim for ever that it lost it."""
        self.losses += 1
        self.again = time.monotonic() + min(_GLANCE_S * 2**self.losses, _SELDOM_S)
        self.connection = self.message_id = ""


@final
class AcrossHospitals:
    """Messages to hospitals, for one run of a study.

    A message is sent again when its site has connected anew: what a site has answered already it answers from its
    disk. A site that is not connected is waited for a minute, or as long as the round needs it; one that is
    connected until `timeout`.

    Args:
        run: names the run at the sites.
        members: who takes part now; a site that joined late is among them from the next round on.
        min_sites: how many a round needs.
        timeout: seconds that a connected site may take.
        ledger: this end's, of every message that came.
        folder: for replies that wait for their turn.
    """

    def __init__(
        self,
        engine: Engine,
        run: str,
        *,
        members: Callable[[], list[ClientInfo]],
        min_sites: int,
        timeout: float,
        ledger: Ledger,
        folder: Path,
        emit: Emit,
    ) -> None:
        self._engine = engine
        self._run = run
        self._members = members
        self._min_sites = min_sites
        self._timeout = timeout
        self._ledger = ledger
        self._folder = folder
        self._emit = emit
        self._seen: dict[str, float] = {}
        # No two local trainings come to the same bytes, so an update that came before was copied.
        self._sent = {
            line["sha256"]: (line["site"], line["round"])
            for line in reversed(read_lines(ledger.path))
            if line["kind"] == "update"
        }
        self.outstanding: dict[str, str] = {}

    def clients(self) -> list[ClientInfo]:
        """Who takes part, sorted by name."""
        return self._members()

    def exchange(self, outbox: Outbox, round: Round) -> Iterator[tuple[ClientInfo, bytes | SiteError]]:
        """Send each site its message and yield the replies in the order of the names."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        asked = {info.name: Asked(info) for info in self.clients()}
        started = time.monotonic()
        self._seen = {name: self._seen.get(name, started) for name in asked}
        try:
            for name in sorted(asked):
                while asked[name].answer is None:
                    self._advance(asked, outbox, round, started)
                yield asked[name].info, self._taken(asked[name], round)
        finally:
            self.outstanding.clear()
            shutil.rmtree(self._folder, ignore_errors=True)

    def close(self) -> None:
        """The engine goes on; other runs use it."""

    def _advance(self, asked: dict[str, Asked], outbox: Outbox, round: Round, started: float) -> None:
        """Send what can be sent, take what has come, give up on who is lost."""
        try:
            self._engine.heal()
            online = self._engine.online()
            self._send(asked, online, outbox, round)
            self._take(asked, round)
        except RunError as error:
            self._emit("progress", stage="engine", value=0.0, message=error.message, eta_s=None)
        self._give_up(asked, round, started)
        self.outstanding = {n: one.ask for n, one in asked.items() if one.message_id and one.answer is None}
        time.sleep(_GLANCE_S)

    def _send(self, asked: dict[str, Asked], online: set[str], outbox: Outbox, round: Round) -> None:
        now = time.monotonic()
        here = {info.name for info in self.clients()}
        for name, one in asked.items():
            if one.answer is not None:
                continue
            if name not in here:
                one.answer = self._lost(name, round, "it has left the study.", "")
                continue
            if name in online:
                self._seen[name] = now
                connection = self._engine.node(name)
                if one.connection != connection and now >= one.again:
                    one.ask = secrets.token_hex(8)
                    head = {"run": self._run, "ask": one.ask}
                    one.message_id = self._engine.post(name, head, outbox(one.info))
                    one.connection = connection

    def _take(self, asked: dict[str, Asked], round: Round) -> None:
        open_ = {
            one.message_id: (n, one) for n, one in asked.items() if one.message_id and one.answer is None
        }
        for reply in self._engine.collect(list(open_)):
            name, one = open_[reply.message_id]
            if "failed" not in reply.head:
                path = self._folder / one.ask
                try:
                    path.write_bytes(reply.body)
                except OSError as error:
                    raise StorageError(path, error) from error
                one.answer = path
            elif reply.lost:
                one.lose()
            else:
                one.answer = self._lost(
                    name, round, *(plain(reply.head.get(key, "")) for key in ("failed", "fix"))
                )

    def _give_up(self, asked: dict[str, Asked], round: Round, started: float) -> None:
        now = time.monotonic()
        waiting = {n: one for n, one in asked.items() if one.answer is None}
        absent = {n for n in waiting if now - self._seen[n] > ABSENCE_S}
        given = sum(isinstance(one.answer, Path) for one in asked.values())
        enough = given + len(waiting) - len(absent) >= self._min_sites
        for name, one in waiting.items():
            if name in absent and enough:
                one.answer = self._lost(
                    name, round, "it is not connected.", "It takes part again once it is back."
                )
            elif name not in absent and one.message_id and now - started > self._timeout:
                reason = f"no answer within round_timeout = {self._timeout:g} s."
                one.answer = self._lost(name, round, reason, "Raise round_timeout in the study.")

    def _taken(self, one: Asked, round: Round) -> bytes | SiteError:
        assert one.answer is not None
        if isinstance(one.answer, SiteError):
            return one.answer
        data = one.answer.read_bytes()
        with contextlib.suppress(OSError):
            one.answer.unlink()
        name, kind = one.info.name, _KINDS.get(wire.type_of(data), "update")
        try:
            line = self._ledger.record(data, site=name, round_number=round.number, kind=kind)
        except (ValueError, KeyError, TypeError, AttributeError):
            return self._lost(name, round, "it sent what is no message of FedSeg's.", "Update FedSeg there.")
        place = name, round.number
        if kind == "update" and (before := self._sent.setdefault(line["sha256"], place)) != place:
            reason = "it sent what it" if before[0] == name else f"it sent what {before[0]}"
            return self._lost(
                name, round, f"{reason} sent in round {before[1]}.", "Look at who trains there."
            )
        return data

    def _lost(self, name: str, round: Round, reason: str, fix: str) -> SiteError:
        return SiteError(reason, fix, site=name, round_number=round.number)
