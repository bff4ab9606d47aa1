"""What is known of a study that is being led: for the status page, `fedseg status` and the sites themselves."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any, Final, final

from FedSegCore.federation.ledger import read_lines
from FedSegCore.federation.rounds import Emit
from FedSegCore.files import write_atomic

FILE: Final = "status.json"
_KEPT: Final = 200
"""Rejected and lost updates that are told, newest last."""


@final
class Board:
    """Listens to what a study's rounds tell and keeps the present state, in memory and in a file.

    Args:
        path: `status.json`; what stood there before a restart is taken up.
        study: the study's name.
        total: its rounds, of each run.
        emit: where what is heard goes on to.
    """

    def __init__(self, path: Path, *, study: str, runs: list[str], total: int, emit: Emit) -> None:
        self._path = path
        self._pass_on = emit
        self._lock = threading.Lock()
        self._log = path.with_name("rounds.jsonl")
        self._facts: dict[str, Any] = {
            "study": study, "state": "waiting", "runs": runs, "run": "", "round": 0, "total": total, "eta_s": None,
            "sites": {}, "rounds": [], "lost": [],
        }  # fmt: skip
        if path.is_file():
            before = json.loads(path.read_text(encoding="utf-8"))
            self._facts.update({key: before[key] for key in ("rounds", "lost") if key in before})
        self._save()

    def emit(self, event: str, **fields: Any) -> None:
        """Hear one event and pass it on."""
        with self._lock:
            if event == "site_state":
                self._site(fields["site"])["state"] = fields["state"]
            elif event == "round":
                self._facts["round"] = fields["number"]
                self._add_round()
            elif event == "progress" and fields.get("stage") == "train":
                self._facts["eta_s"] = fields["eta_s"]
            self._save()
        self._pass_on(event, **fields)

    def put(self, **facts: Any) -> None:
        """Set facts of the study: `state`, `run`, `round`."""
        with self._lock:
            self._facts.update(facts)
            self._save()

    def seen(self, site: str, **facts: Any) -> None:
        """Set facts of one site; that it was heard of now, with them."""
        with self._lock:
            self._site(site).update({"seen": time.time(), **facts})

    def heard_of(self, within_s: float) -> set[str]:
        """The sites that asked for something not long ago."""
        since = time.time() - within_s
        with self._lock:
            return {name for name, one in self._facts["sites"].items() if one.get("seen", 0.0) > since}

    def follow(self, run: str, log: Path) -> None:
        """Tell of one run from now on; `log` is its rounds.jsonl."""
        with self._lock:
            lines = read_lines(log)
            kept = [line for line in self._facts["rounds"] if line["run"] != run]
            self._facts["rounds"] = kept + [{"run": run, **line} for line in lines]
            self._facts.update(run=run, round=lines[-1]["round"] if lines else 0)
            self._log = log
            self._save()

    def snapshot(self) -> dict[str, Any]:
        """All facts, JSON-able."""
        with self._lock:
            facts: dict[str, Any] = json.loads(json.dumps(self._facts))
        return facts

    def _add_round(self) -> None:
        line, run = read_lines(self._log)[-1], self._facts["run"]
        self._facts["rounds"].append({"run": run, **line})
        for name, reason in line["left_out"].items():
            self._facts["lost"].append({"run": run, "round": line["round"], "site": name, "reason": reason})
        del self._facts["lost"][:-_KEPT]

    def _site(self, name: str) -> dict[str, Any]:
        facts: dict[str, Any] = self._facts["sites"].setdefault(name, {"state": "invited"})
        return facts

    def _save(self) -> None:
        write_atomic(self._path, json.dumps(self._facts).encode())
