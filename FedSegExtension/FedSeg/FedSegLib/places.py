"""Where FedSeg keeps what it makes of a dataset: beside it, or with the user where nothing can be written there."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from FedSegLib.events import Message
from FedSegLib.translation import tr as _

_MARK = 8
"""Hexadecimal digits that tell datasets of one name apart."""


def placeFor(dataset: Path, kind: str) -> Path:
    """A folder beside a dataset, such as `liver-training`; one in the user's folder where the dataset's place is
    read-only, as a share of images often is, its name with a mark of the dataset's path: datasets of several shares
    may be called the same.

    Args:
        kind: what it holds.
    """
    beside = dataset.parent / f"{dataset.name}-{kind}"
    if _isWritable(beside):
        return beside
    mark = hashlib.sha256(os.fsencode(dataset.resolve())).hexdigest()[:_MARK]
    return Path.home() / "FedSeg" / f"{beside.name}-{mark}"


def placeMessages(dataset: Path, place: Path) -> list[Message]:
    """What the user is told where a place is not beside the dataset; else nothing."""
    if dataset.parent in place.parents:
        return []
    told = _("Nothing can be written beside the dataset; what FedSeg keeps lies in {folder}.")
    return [Message(told.format(folder=place), "")]


def _isWritable(folder: Path) -> bool:
    """By trying: rights alone do not tell of a disk that is read-only."""
    try:
        with tempfile.TemporaryFile(dir=folder if folder.is_dir() else folder.parent):
            return True
    except OSError:
        return False
