"""The process that stays at a hospital: it holds data and models and answers the coordinator's messages."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

from FedSegCore.errors import SiteError, plain
from FedSegCore.federation.client import Client
from FedSegCore.federation.failures import site_failure
from FedSegCore.federation.ledger import Ledger, append_line, read_lines
from FedSegCore.federation.rounds import Emit
from FedSegCore.files import write_atomic
from FedSegCore.hospital.home import Home

Answered = tuple[dict[str, str], bytes]


@final
class Resident:
    """Answers messages for one site, in every run of the study.

    An answer is kept until the next one: where the same question comes again, after a connection or the coordinator
    broke down, nothing is trained twice.

    Args:
        site: the site's name.
        home: the site's own folder.
        clients: makes the site's end of a run by the run's name; raises KeyError for a run that is not of the study.
        rounds: of each run.
        emit: is told what happens, for people and machines at the hospital.
    """

    def __init__(
        self, site: str, home: Home, clients: Callable[[str], Client], *, rounds: int, emit: Emit
    ) -> None:
        self._site = site
        self._rounds = rounds
        self._home = home
        self._make = clients
        self._made: dict[str, Client] = {}
        self._emit = emit
        self.asked = ""
        """The question that is, or was last, answered."""
        self.at_work = False

    def answer(self, head: Any, body: bytes) -> Answered:
        """The reply to one message, or why there is none: one of a few fixed sentences that name no case.

        Raises:
            StorageError: this machine's disk takes no more.
        """
        run, self.asked = str(head.get("run", "")), str(head.get("ask", ""))
        if self._home.paused:
            self._emit("site_state", site=self._site, state="paused")
            return {"failed": "it pauses.", "fix": "It takes part again once it resumes."}, b""
        try:
            client = self._client(run)
        except KeyError:
            return {
                "failed": "it was asked for a run that is not of the study.",
                "fix": "Use one study file.",
            }, b""
        except Exception as error:
            told = site_failure(
                error, site=self._site, round_number=0, task="start", folder=self._home.folder
            )
            return {"failed": told.reason, "fix": told.fix}, b""
        self.at_work = True
        try:
            return {"run": run}, self._replied(client, run, body)
        except SiteError as error:
            return {"failed": plain(error.reason), "fix": plain(error.fix)}, b""
        finally:
            self.at_work = False

    def _client(self, run: str) -> Client:
        if run not in self._made:
            self._made = {run: self._make(run)}  # runs come one after the other; the former's data may go
        return self._made[run]

    def _replied(self, client: Client, run: str, body: bytes) -> bytes:
        kept = self._home.folder / "runs" / run / "answer"
        question = hashlib.sha256(body).digest()
        if (data := _read(kept)) and data[:32] == question:
            self._again(client.ledger, data[32:])
            return data[32:]
        started = time.monotonic()
        self._emit("site_state", site=self._site, state="training")
        reply = client.handle(body)
        write_atomic(kept, question + reply)
        self._tell(run, client.ledger, body, time.monotonic() - started)
        return reply

    def _again(self, ledger: Ledger, reply: bytes) -> None:
        """What leaves twice stands in the ledger twice."""
        digest = hashlib.sha256(reply).hexdigest()
        for line in reversed(read_lines(ledger.path)):
            if line["sha256"] == digest:
                facts = {"site": line["site"], "round_number": line["round"], "kind": line["kind"]}
                self._emit("ledger", **ledger.record(reply, **facts))
                return

    def _tell(self, run: str, ledger: Ledger, body: bytes, seconds: float) -> None:
        line = ledger.last
        self._emit("ledger", **line)
        if line["kind"] == "update":
            told = line["scalars"]
            dice = {
                name.removeprefix("dice."): value for name, value in told.items() if name.startswith("dice.")
            }
            facts = {"loss": told["loss"], "dice": dice, "seconds": round(seconds, 3)}
            self._emit("round", number=line["round"], total=self._rounds, **facts)
            self._log(run, line, facts, len(body))
        self._emit("site_state", site=self._site, state="sent")

    def _log(self, run: str, line: Mapping[str, Any], facts: Mapping[str, Any], came: int) -> None:
        """The round's line as the coordinator has it, of this site alone, for the report at the hospital."""
        own = {**facts, "bytes": line["bytes"]}
        append_line(self._home.folder / "runs" / run / "rounds.jsonl", {
            "round": line["round"], "total": self._rounds, "sites": {self._site: own}, "left_out": {},
            "bytes_down": came, "took_part": [self._site], "bytes_up": line["bytes"], **facts,
        })  # fmt: skip


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""
