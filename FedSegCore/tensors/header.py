"""The header of a FedSeg file, read without torch and without the tensors.

A FedSeg file is a safetensors file (https://huggingface.co/docs/safetensors) whose metadata holds one
JSON document under the key `fedseg`. safetensors stores no code, so reading one cannot run anything.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from FedSegCore.errors import ModelFileError, plain

FORMAT = 1
"""The format's version; another number is refused with a sentence."""

KEY = "fedseg"
_LONGEST = 4 * 2**20
"""No honest index of tensors is longer than this: 25 thousand have room. Read, it may take 40 times as much."""


def read_header(path: Path) -> dict[str, Any]:
    """The JSON header of a FedSeg file; whether the tensors match it is told by `tensorfile.load`.

    Raises:
        ModelFileError: the file is missing, truncated, foreign or from another version of FedSeg.
    """
    index = _read_index(path)
    return check_header(index.get("__metadata__"), str(path))


def index_of(data: bytes) -> dict[str, Any]:
    """The index of a FedSeg file that is at hand, unchecked: each tensor's entry, and `__metadata__`.

    Raises:
        ValueError: there is none, or one that no file of FedSeg's has.
    """
    length = int.from_bytes(data[:8], "little")
    if not 0 < length <= _LONGEST:
        raise ValueError(f"an index of {length} bytes")
    try:
        index = json.loads(data[8 : 8 + length])
    except RecursionError:
        raise ValueError("an index nested without end") from None
    if not isinstance(index, dict):
        raise ValueError("an index that is no table")
    return index


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor in a FedSeg file, read without the tensors."""
    index = _read_index(path)
    return {name: tuple(entry["shape"]) for name, entry in index.items() if name != "__metadata__"}


def check_header(metadata: Mapping[str, str] | None, source: str) -> dict[str, Any]:
    """Parse the metadata of a safetensors file as a FedSeg header.

    Raises:
        ModelFileError: it is none, or of another version.
    """
    if not isinstance(metadata, Mapping) or set(metadata) != {KEY}:
        raise ModelFileError(f"{source} is not a FedSeg file.", "Give a file that FedSeg wrote.")
    try:
        header = json.loads(metadata[KEY])
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelFileError(f"{source} has a damaged header ({error}).", "Fetch the file again.") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        found = header.get("format") if isinstance(header, dict) else "none"
        raise ModelFileError(
            f"{source} has format version {plain(str(found))[:20]}, but this FedSeg reads version {FORMAT}.",
            "Use the FedSeg version that wrote it, or ask for the file in this version.",
        )
    return header


def _read_index(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            text = file.read(length) if 0 < length <= _LONGEST else b""
            values = file.seek(0, os.SEEK_END) - 8 - length
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from None
    if not text or len(text) < length:
        raise ModelFileError(f"{path} is truncated or not a FedSeg file.", "Fetch the file again.")
    try:
        index = json.loads(text)
        ends = [entry["data_offsets"][1] for name, entry in index.items() if name != "__metadata__"]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        raise ModelFileError(f"{path} is not a FedSeg file.", "Give a file that FedSeg wrote.") from None
    if values != max(ends, default=0):
        raise ModelFileError(
            f"{path} is truncated: it holds {values} bytes of weights, its header tells of {max(ends, default=0)}.",
            "Fetch the file again.",
        )
    checked: dict[str, Any] = index
    return checked
