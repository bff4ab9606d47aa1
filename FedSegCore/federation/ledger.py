"""The ledger: one line for each message that leaves a site, written before it leaves."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from FedSegCore.errors import StorageError
from FedSegCore.tensors.header import KEY


@final
class Ledger:
    """An append-only file of JSON lines.

    A site that was interrupted may send a round's message again; the ledger then has both lines, for both left.

    Args:
        path: the file; an unfinished last line, left by a crash, is dropped when the ledger is opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        drop_unfinished_line(path)

    def record(self, data: bytes, *, site: str, round_number: int, kind: str) -> dict[str, Any]:
        """Write the line of one message; returns it."""
        line = ledger_line(data, site=site, round_number=round_number, kind=kind)
        append_line(self.path, line)
        return line


def ledger_line(data: bytes, *, site: str, round_number: int, kind: str) -> dict[str, Any]:
    """What a message holds, in names, shapes and numbers: read from its bytes, not from what was meant."""
    length = int.from_bytes(data[:8], "little")
    index = json.loads(data[8 : 8 + length])
    header = json.loads(index.pop("__metadata__")[KEY])
    return {
        "round": round_number,
        "site": site,
        "kind": kind,
        "tensors": {name: entry["shape"] for name, entry in sorted(index.items())},
        "scalars": dict(_scalars(header.get("fields", {}))),
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Append one JSON line and see it onto the disk.

    Raises:
        StorageError: the disk is full.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(path, error) from error


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON lines of a file; none where it does not exist."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def drop_unfinished_line(path: Path) -> None:
    """Cut off what stands after the last line's end."""
    if path.is_file() and (data := path.read_bytes()) and not data.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(data.rfind(b"\n") + 1)


def _scalars(value: Any, name: str = "") -> list[tuple[str, Any]]:
    """Nested mappings as `outer.inner` pairs; empty ones are nothing that is sent."""
    if isinstance(value, Mapping):
        return [
            pair
            for key in sorted(value)
            for pair in _scalars(value[key], f"{name}.{key}" if name else str(key))
        ]
    return [(name, value)]
