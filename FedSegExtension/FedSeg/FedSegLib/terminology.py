"""The codes that Slicer's segments carry, as far as they say which structure a segment is."""

from __future__ import annotations

TAG = "TerminologyEntry"
"""The tag of a segment that holds its entry (vtkSegment::GetTerminologyEntryTagName)."""

_GENERIC = {"", "SCT^85756007"}
"""Types that say nothing of the structure: none, and "Tissue", which Slicer gives every new segment."""


def structureCode(entry: str) -> str:
    """Type, side and region of a terminology entry as one word; "" where they do not tell structures apart.

    Args:
        entry: context~category~type~type modifier~region context~region~region modifier, each of the last but the
            contexts scheme^value^meaning.
    """
    parts = [*entry.split("~"), *[""] * 7]
    kind, side, region, regionSide = (_code(parts[place]) for place in (2, 3, 5, 6))
    if kind in _GENERIC and not region:
        return ""
    return "|".join(code for code in (kind, side, region, regionSide) if code)


def _code(triple: str) -> str:
    scheme, value = [*triple.split("^"), "", ""][:2]
    return f"{scheme}^{value}" if value else ""
