"""What a volume is, guessed from its name and header, for a person to confirm."""

from __future__ import annotations

import re
from collections.abc import Iterable

_KINDS = {
    "CT": ("ct",),
    "PET": ("pet", "pt"),
    "FLAIR": ("flair", "t2flair"),
    "T1CE": ("t1ce", "t1c", "t1gd", "t1km"),
    "T1": ("t1", "t1w"),
    "T2": ("t2", "t2w"),
    "DWI": ("dwi",),
    "ADC": ("adc",),
    "MR": ("mr", "mri"),
}
"""Kinds by the words that mean them, the narrower before the wider: a FLAIR is an MR too."""

COMMON = ("CT", "MR", "T1", "T1CE", "T2", "FLAIR", "PET")
"""What is offered where nothing is known."""


def guessModality(texts: Iterable[str], known: Iterable[str] = ()) -> str:
    """The modality that a volume's name, series description and DICOM modality speak for; "" where they do not.

    Args:
        texts: what is told of the volume.
        known: the names to choose from; none given: the common ones.
    """
    names = {_kind(name): name for name in known or COMMON}
    words = [word for text in texts for word in _words(text)]
    for kind, spoken in _KINDS.items():
        if kind in names and any(word in spoken for word in words):
            return names[kind]
    spoken = [name for name in names.values() if name.casefold() in words]
    return spoken[0] if len(spoken) == 1 else ""


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[^0-9a-z]+", text.casefold()) if word]


def _kind(name: str) -> str:
    """The kind that a name of a dataset means, or the name itself."""
    return next(
        (kind for kind, spoken in _KINDS.items() if name.casefold() in (*spoken, kind.casefold())), name
    )
