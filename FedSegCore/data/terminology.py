"""What a structure is in 3D Slicer's terminologies: its entry, as segments carry it, and its colour.

A name is looked up, never guessed: case, separators, British spelling and left or right do not matter, all else does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Final, final

from FedSegCore.data.structures import ROWS

TAG: Final = "TerminologyEntry"
"""The segment's tag that holds its entry (vtkSegment::GetTerminologyEntryTagName)."""

Colour = tuple[float, float, float]
"""Red, green and blue, 0..1 each."""

_LISTS: Final = {
    "general": "Segmentation category and type - 3D Slicer General Anatomy list",
    "dicom": "Segmentation category and type - DICOM master list",
}
_REGIONS: Final = "Anatomic codes - DICOM master list"
_CATEGORIES: Final = {
    "anatomy": "SCT^123037004^Anatomical Structure",
    "altered": "SCT^49755003^Morphologically Altered Structure",
    "tissue": "SCT^85756007^Tissue",
}
_NOTHING: Final = "^^"
_SIDES: Final = {
    "left": "SCT^7771000^Left",
    "right": "SCT^24028007^Right",
    "both": "SCT^51440002^Right and left",
}
_SIDE_OF: Final = {"left": "left", "l": "left", "right": "right", "r": "right"}
_AMERICAN: Final = {
    "tumour": "tumor",
    "tumours": "tumors",
    "oedema": "edema",
    "oesophagus": "esophagus",
    "grey": "gray",
    "haemorrhage": "hemorrhage",
}


@final
@dataclass(frozen=True)
class Term:
    """What a segment is.

    Args:
        entry: context, category, type, its modifier, and the region's context, region and modifier, parted by ~; each
            code as scheme^value^meaning (vtkSlicerTerminologiesModuleLogic::SerializeTerminologyEntry).
        colour: the recommended one; None where there is none.
    """

    entry: str
    colour: Colour | None


@final
@dataclass(frozen=True)
class _Structure:
    meaning: str
    code: str
    category: str
    listed: str
    colour: Colour | None
    paired: bool

    def term(self, side: str) -> Term:
        # Only the DICOM list has the two sides of a structure together.
        listed = "dicom" if side == "both" else self.listed
        kind = f"SCT^{self.code}^{self.meaning}"
        return Term(
            _entry(_LISTS[listed], _CATEGORIES[self.category], kind, _SIDES.get(side, _NOTHING)), self.colour
        )


def _entry(context: str, category: str, kind: str, modifier: str) -> str:
    return "~".join((context, category, kind, modifier, _REGIONS, _NOTHING, _NOTHING))


UNKNOWN: Final = Term(_entry(_LISTS["general"], _CATEGORIES["tissue"], _CATEGORIES["tissue"], _NOTHING), None)
"""What Slicer says of a new segment: some tissue."""


def term_of(name: str) -> Term:
    """What a structure of this name is; `UNKNOWN` where the name is none of those known."""
    known, words = _structures(), _words(name)
    whole = " ".join(words)
    if whole in known:
        return known[whole].term("")
    sides = {_SIDE_OF[word] for word in words if word in _SIDE_OF}
    rest = " ".join(word for word in words if word not in _SIDE_OF)
    if not sides and rest.endswith("s"):
        sides, rest = {"both"}, rest[:-1]
    structure = known.get(rest)
    return structure.term(sides.pop()) if structure and structure.paired and len(sides) == 1 else UNKNOWN


def _words(name: str) -> list[str]:
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return [_AMERICAN.get(word, word) for word in re.findall(r"[^\W_]+", parted.casefold())]


@cache
def _structures() -> Mapping[str, _Structure]:
    """The structures by each of their names."""
    found: dict[str, _Structure] = {}
    for line in ROWS.strip().splitlines():
        if line.startswith("#"):
            continue
        columns = [column.strip() for column in line.split("|")]
        meaning, code, category, listed, colour, sides, others = (*columns, *[""] * (7 - len(columns)))
        structure = _Structure(meaning, code, category, listed, _colour(colour), bool(sides))
        for name in (meaning, *others.split(",")):
            if words := _words(name):
                found[" ".join(words)] = structure
    return MappingProxyType(found)


def _colour(text: str) -> Colour | None:
    if not text:
        return None
    red, green, blue = (int(part) / 255 for part in text.split())
    return red, green, blue
