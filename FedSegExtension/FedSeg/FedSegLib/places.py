"""Where FedSeg keeps what it makes of a dataset: beside it, or with the user where nothing can be written there."""

from __future__ import annotations

import tempfile
from pathlib import Path

from FedSegLib.events import Message
from FedSegLib.translation import tr as _


def placeFor(dataset: Path, kind: str) -> Path:
    """A folder beside a dataset, such as `liver-training`; one of that name in the user's folder where the dataset's
    place is read-only, as a share of images often is.

    Args:
        kind: what it holds.
    """
    beside = dataset.parent / f"{dataset.name}-{kind}"
    return beside if _isWritable(beside) else Path.home() / "FedSeg" / beside.name


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
