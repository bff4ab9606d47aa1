"""What became of a folder's cases, as a CSV file."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from FedSegLib.review import UNREVIEWED, verdictWord

_FIRST = ("case", "file", "state", "status")
_LAST = ("verdict", "reason", "message", "fix")
_VOLUME = "volumes_ml:"
"""What the column of each structure's volume begins with."""


@dataclass
class Row:
    """What became of one case.

    Args:
        file: its result within the folder; "" where it has none.
        state: done, failed or skipped.
        status: as in the review; a new result is unreviewed, and only a person changes that.
        volumes: structure -> ml.
        verdict: of a mixture on its result: abstain, agree or unknown; "" where one model made it.
    """

    case: str
    file: str = ""
    state: str = ""
    status: str = UNREVIEWED
    volumes: Mapping[str, Any] = field(default_factory=dict)
    verdict: str = ""
    reason: str = ""
    message: str = ""
    fix: str = ""


class Table:
    """A folder's results, case by case, as a CSV file that is whole at any time.

    Args:
        path: the file.
        goOn: begin with the cases that the file lists, of an earlier run into the same folder.
    """

    def __init__(self, path: Path, *, goOn: bool) -> None:
        self.path = path
        self.rows = _readRows(path) if goOn and path.is_file() else {}
        self._problem: Mapping[str, Any] = {}

    def take(self, event: Mapping[str, Any]) -> bool:
        """Take in what an event tells of a case; whether the table has changed."""
        if event["event"] == "problem":
            self._problem = event  # of the case whose end is told next
        if event["event"] != "case":
            return False
        name, state = str(event["name"]), str(event["state"])
        # Of a skipped case what the run that made its result knew of it.
        row = (self.rows.get(name) if state == "skipped" else None) or Row(name)
        row.state = state
        row.file = Path(event["path"]).name if event["path"] else ""
        row.volumes = event["volumes_ml"] or row.volumes
        if "routing" in event:
            row.verdict = verdictWord(event["routing"]["abstain"])
            row.reason = str(event["routing"]["reason"])
        problem = self._problem if state == "failed" else {}
        row.message, row.fix = str(problem.get("message", "")), str(problem.get("fix", ""))
        self.rows[name] = row
        return True

    def write(self) -> None:
        """Write the file beside its place, then rename it.

        Raises:
            OSError: it could not be written; the one before is whole.
        """
        labels = dict.fromkeys(label for row in self.rows.values() for label in row.volumes)
        columns = [*_FIRST, *(_VOLUME + label for label in labels), *_LAST]
        part = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("w", newline="", encoding="utf-8") as file:
                table = csv.DictWriter(file, columns)
                table.writeheader()
                table.writerows(_cells(row) for row in self.rows.values())
            part.replace(self.path)
        finally:
            if part.exists():
                part.unlink()


def _cells(row: Row) -> dict[str, Any]:
    plain = {name: getattr(row, name) for name in (*_FIRST, *_LAST)}
    return {**plain, **{_VOLUME + label: volume for label, volume in row.volumes.items()}}


def _readRows(path: Path) -> dict[str, Row]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        found = [cells for cells in csv.DictReader(file) if cells.get("case")]
    rows = {}
    for cells in found:
        known = {name: cells.get(name) or "" for name in (*_FIRST, *_LAST)}
        volumes = {
            key[len(_VOLUME) :]: cell
            for key, cell in cells.items()
            if key and key.startswith(_VOLUME) and cell
        }
        rows[known["case"]] = Row(**known, volumes=volumes)
    return rows
