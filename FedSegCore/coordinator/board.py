"""What is known of a study that is being led: for the status page, `fedseg status` and the sites themselves."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, final

from FedSegCore.coordinator import words
from FedSegCore.coordinator.roster import Entry
from FedSegCore.errors import SiteError, StorageError
from FedSegCore.federation.ledger import read_lines
from FedSegCore.federation.method import ClientInfo, Round
from FedSegCore.federation.rounds import Emit
from FedSegCore.federation.transport import Outbox, Transport
from FedSegCore.files import write_atomic

FILE: Final = "status.json"
_KEPT: Final = 200
"""Rejected and lost updates that are told, newest last."""
_BEAT_S: Final = 2.0
"""How old the file may become while nothing but the sites' questions happens."""
_COUNTS: Final = ("messages", "bytes_up", "bytes_down")


@final
class Board:
    """Listens to what a study's rounds tell and keeps the present state, in memory and in a file.

    Args:
        path: `status.json`; what stood there before a restart is taken up.
        study: the study's name.
        total: its rounds, of each run.
        emit: where what is heard goes on to.
        members: the study's sites.
        min_sites: how many a round needs.
        entries: the roster as it is now; invitations come from another process.
    """

    def __init__(
        self,
        path: Path,
        *,
        study: str,
        runs: list[str],
        total: int,
        emit: Emit,
        members: Iterable[str] = (),
        min_sites: int = 1,
        entries: Callable[[], Iterable[Entry]] = tuple,
    ) -> None:
        self._path = path
        self._pass_on = emit
        self._entries = entries
        self._lock = threading.Lock()
        self._log = path.with_name("rounds.jsonl")
        self._saved = self._timed = time.monotonic()
        self._short = ""
        self._facts: dict[str, Any] = {
            "study": study, "state": "waiting", "runs": runs, "run": "", "round": 0, "total": total, "eta_s": None,
            "min_sites": min_sites, "folder": str(path.parent.resolve()), "sites": {}, "rounds": [], "lost": [],
        }  # fmt: skip
        if path.is_file():
            before = json.loads(path.read_text(encoding="utf-8"))
            kept = ("run", "round", "rounds", "lost", "sites")
            self._facts.update({key: before[key] for key in kept if key in before})
        known = {name: self._facts["sites"].get(name, {}) for name in members}
        self._facts["sites"] = {name: {**one, "state": "uninvited"} for name, one in sorted(known.items())}
        self._look()
        self._save()

    def emit(self, event: str, **fields: Any) -> None:
        """Hear one event and pass it on."""
        with self._lock:
            if event == "ledger":
                self._count(fields["site"], messages=1, bytes_up=fields["bytes"])
                self._beat()
            elif event in _HEARD:
                _HEARD[event](self, fields)
                self._save()
        self._pass_on(event, **fields)

    def put(self, **facts: Any) -> None:
        """Set facts of the study: `state`, `run`, `round`."""
        with self._lock:
            self._facts.update(facts)
            if facts.get("state") == "finished":
                for one in self._facts["sites"].values():
                    one["state"] = "sent" if one["state"] == "training" else one["state"]
            self._save()

    def seen(self, site: str, **facts: Any) -> None:
        """Set facts of one site; that it was heard of now, with them."""
        with self._lock:
            self._site(site).update({"seen": time.time(), **facts})
            if facts:
                self._save()
            else:
                self._beat()

    def sent(self, site: str, size: int, *, round_number: int) -> None:
        """A message of `size` bytes went out to a site."""
        with self._lock:
            self._site(site)["round"] = round_number
            self._count(site, bytes_down=size)

    def beat(self) -> None:
        """Keep the file fresh: who reads it sees by its time that the coordinator lives.

        That too few sites can still take part is told when it becomes so.
        """
        with self._lock:
            self._beat()
            facts = {**self._facts, "time": time.time()}
            short = words.shortage(facts) if facts["state"] != "finished" else ""
            told, self._short = self._short, short
        if short and short != told:
            self._pass_on("warning", message=short, fix=words.remedy(facts))

    def refuse(self, site: str, reason: str, fix: str) -> None:
        """What a site told when it joined was not taken; said once for each reason."""
        with self._lock:
            told = self._site(site).get("refused")
            self._site(site).update(seen=time.time(), refused=reason)
            self._save()
        if told != reason:
            self._pass_on("warning", message=f"{site} was refused: {reason}", fix=fix)

    def heard_of(self, within_s: float) -> set[str]:
        """The sites that asked for something not long ago."""
        since = time.time() - within_s
        with self._lock:
            return {name for name, one in self._facts["sites"].items() if one.get("seen", 0.0) > since}

    def follow(self, run: str, log: Path) -> None:
        """Tell of one run from now on; `log` is its rounds.jsonl."""
        with self._lock:
            lines = read_lines(log)
            self._facts["rounds"] = [{"run": run, **line} for line in lines]
            self._facts.update(run=run, round=lines[-1]["round"] if lines else 0)
            self._log = log
            self._save()

    def brief(self) -> dict[str, Any]:
        """What a site may know: the study's facts, and the state of each site that has come."""
        with self._lock:
            told = {name: self._facts[name] for name in ("study", "state", "run", "round", "total")}
            sites = {name: one["state"] for name, one in self._facts["sites"].items()}
            come = {name: state for name, state in sites.items() if state not in ("uninvited", "invited")}
            return {**told, "eta_s": self._eta(), "sites": come}

    def snapshot(self) -> dict[str, Any]:
        """All facts, JSON-able: what the file holds, as of now."""
        with self._lock:
            self._look()
            facts: dict[str, Any] = json.loads(self._text())
        return facts

    def _progress(self, fields: dict[str, Any]) -> None:
        if fields.get("stage") == "train":
            self._facts["eta_s"], self._timed = fields["eta_s"], time.monotonic()

    def _site_state(self, fields: dict[str, Any]) -> None:
        site = self._site(fields["site"])
        if site["state"] == "left" and fields["state"] == "lost":
            return  # the round in which it left goes on without it, and says so once more
        site["state"] = fields["state"]
        if fields["state"] == "joined":
            site.pop("refused", None)

    def _round(self, fields: dict[str, Any]) -> None:
        self._facts["round"] = fields["number"]
        line = read_lines(self._log)[-1]
        self._facts["rounds"].append({"run": self._facts["run"], **line})
        self._lose(line)

    def _warning(self, fields: dict[str, Any]) -> None:
        """A round that too few sites answered is only warned of; its line stands in the log until it is repeated."""
        lines = read_lines(self._log)
        if lines and lines[-1]["round"] > self._facts["round"]:
            self._lose(lines[-1])

    def _lose(self, line: dict[str, Any]) -> None:
        for name, reason in line["left_out"].items():
            lost = {"run": self._facts["run"], "round": line["round"], "site": name, "reason": reason}
            same = [one for one in self._facts["lost"] if {**one, "times": 0} == {**lost, "times": 0}]
            if same:
                same[0]["times"] += 1
            else:
                self._facts["lost"].append({**lost, "times": 1})
        del self._facts["lost"][:-_KEPT]

    def _look(self) -> None:
        """See who was invited meanwhile; what a site does itself it tells here first."""
        for entry in self._entries():
            one = self._site(entry.site)
            one["expires"] = entry.expires
            if one["state"] in ("uninvited", "invited") or entry.state == "left":
                one["state"] = entry.state

    def _count(self, site: str, **counts: int) -> None:
        one = self._site(site)
        for name, count in counts.items():
            one[name] += count

    def _site(self, name: str) -> dict[str, Any]:
        facts: dict[str, Any] = self._facts["sites"].setdefault(name, {"state": "uninvited"})
        for count in _COUNTS:
            facts.setdefault(count, 0)
        return facts

    def _eta(self) -> float | None:
        eta = self._facts["eta_s"]
        return None if eta is None else max(0.0, eta - (time.monotonic() - self._timed))

    def _beat(self) -> None:
        if time.monotonic() - self._saved > _BEAT_S:
            self._look()
            self._save()

    def _text(self) -> str:
        return json.dumps({**self._facts, "eta_s": self._eta(), "time": time.time()})

    def _save(self) -> None:
        self._saved = time.monotonic()
        # A study does not end because it cannot be watched; what it cannot do without says so itself.
        with contextlib.suppress(StorageError):
            write_atomic(self._path, self._text().encode())


_HEARD: Final[dict[str, Callable[[Board, dict[str, Any]], None]]] = {
    "progress": Board._progress,
    "site_state": Board._site_state,
    "round": Board._round,
    "warning": Board._warning,
}


@final
class Tallied:
    """A transport whose messages to the sites are counted on a board, those that went out twice included."""

    def __init__(self, inner: Transport, board: Board) -> None:
        self._inner = inner
        self._board = board

    def clients(self) -> list[ClientInfo]:
        """Who takes part, sorted by name."""
        return self._inner.clients()

    def exchange(self, outbox: Outbox, round: Round) -> Iterator[tuple[ClientInfo, bytes | SiteError]]:
        """As the inner transport."""

        def counted(client: ClientInfo) -> bytes:
            data = outbox(client)
            self._board.sent(client.name, len(data), round_number=round.number)
            return data

        yield from self._inner.exchange(counted, round)

    def close(self) -> None:
        """Let go of what the inner transport holds."""
        self._inner.close()
