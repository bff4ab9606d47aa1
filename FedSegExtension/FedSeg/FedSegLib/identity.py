"""Which model a file holds, by its own header: a scene finds the same one again, or knows that it has changed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from FedSegLib.cards import Choice

_KEY = "fedseg"
"""The entry of a model file's metadata that holds its header."""
_LONGEST = 10_000_000
"""Bytes of a header that is still read."""


def identityOf(choice: Choice) -> str:
    """A choice's study and the hash of its content, "study|sha256"; empty where a file does not tell them.

    That of a mixture is made of those of all its models.
    """
    files = sorted(choice.path.glob("*.safetensors")) if choice.path.is_dir() else [choice.path]
    told = [_told(file) for file in files]
    if not told or not all(told):
        return ""
    hashes = [sha256 for _study, sha256 in told]
    content = hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(sorted(hashes)).encode()).hexdigest()
    return f"{told[0][0]}|{content}"


def studyOf(identity: str) -> str:
    """The study of an identity."""
    return identity.rpartition("|")[0]


def _told(file: Path) -> tuple[str, str] | None:
    """Study and hash, as the first bytes of a file say; whether they are true the command finds out."""
    try:
        with file.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            if size > _LONGEST:
                return None
            header = json.loads(json.loads(stream.read(size))["__metadata__"][_KEY])
        return str(header["study"]), str(header["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
