"""The ledger of a site: every message that left this computer, by the names, shapes and numbers it held."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Sent:
    """One message that left.

    Args:
        kind: what it was for: joining, a round's update, ...
        tensors: name -> shape.
        scalars: name -> number or text; all that it held besides tensors.
    """

    round: int
    kind: str
    tensors: Mapping[str, tuple[int, ...]]
    scalars: Mapping[str, Any]
    bytes: int
    sha256: str


def readSent(line: Mapping[str, Any]) -> Sent:
    """A line of the ledger, from its file or from an event.

    Raises:
        ValueError: it is none.
    """
    try:
        return Sent(
            round=int(line["round"]),
            kind=str(line["kind"]),
            tensors={str(name): tuple(map(int, shape)) for name, shape in line["tensors"].items()},
            scalars=dict(line["scalars"]),
            bytes=int(line["bytes"]),
            sha256=str(line["sha256"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no line of a ledger: {error!r}") from None


def readLedger(path: Path) -> list[Sent]:
    """The lines of a ledger; one that a crash cut off is left out, and a file that is not there has none.

    Raises:
        ValueError: a whole line is damaged, so that what is shown would not be everything.
    """
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    return [readSent(json.loads(line)) for line in lines if line.strip()]
