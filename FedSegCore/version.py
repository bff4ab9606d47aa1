"""FedSeg's version; pyproject.toml reads it from here, and 3D Slicer, which installs no package, as well."""

from typing import Final

VERSION: Final = "0.1.0"


def minor(version: str) -> str:
    """What two ends of a federation must have in common: `0.1` of `0.1.3`."""
    return ".".join(version.split(".")[:2])


def numbers(version: str) -> tuple[int, ...]:
    """The two numbers of `minor`, to be compared; what is no number, from a text of somebody else's, is left out."""
    return tuple(int(part) for part in minor(version).split(".") if part.isdecimal() and len(part) < 10)
