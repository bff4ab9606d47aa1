"""Which of a dataset's structures the segments of a scene are: by terminology code, then by name, never by place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from FedSegLib.events import Message
from FedSegLib.translation import tr as _


@dataclass(frozen=True)
class Segment:
    """A segment of the scene.

    Args:
        segmentId: its id within its segmentation.
        code: see `terminology.structureCode`; "" where it has none.
    """

    segmentId: str
    name: str
    code: str


@dataclass(frozen=True)
class Matching:
    """What a drawing adds to a dataset.

    Args:
        structures: segment id -> the dataset's name of the structure.
        ignored: names of segments that are none of the dataset's structures.
        absent: the dataset's structures that nobody drew; training will take them as absent from the image.
        problems: why it cannot be added as it is.
    """

    structures: Mapping[str, str]
    ignored: tuple[str, ...]
    absent: tuple[str, ...]
    problems: tuple[Message, ...]


def match(segments: Sequence[Segment], structures: Mapping[str, str]) -> Matching:
    """Find each segment's structure.

    Args:
        structures: the dataset's names with their codes, "" where it knows none.
    """
    found: dict[str, str] = {}
    problems: list[Message] = []
    ignored: list[str] = []
    for segment in segments:
        byCode = _only(name for name, code in structures.items() if code and code == segment.code)
        byName = _only(name for name in structures if _plain(name) == _plain(segment.name))
        if byCode and byName and byCode != byName:
            text = _("The segment {segment} is named {name} and has the terminology of {code}.")
            problems.append(
                Message(
                    text.format(segment=segment.name, name=byName, code=byCode),
                    _("Correct its name or its terminology in the Segment Editor."),
                )
            )
        elif byCode or byName:
            found[segment.segmentId] = byCode or byName
        else:
            ignored.append(segment.name)
    names = {segment.segmentId: segment.name for segment in segments}
    for structure in dict.fromkeys(found.values()):
        several = [names[segmentId] for segmentId, name in found.items() if name == structure]
        if len(several) > 1:
            problems.append(
                Message(
                    _("{segments} are all {structure}.").format(
                        segments=", ".join(several), structure=structure
                    ),
                    _("Merge them, or give the others another name and terminology."),
                )
            )
    absent = tuple(name for name in structures if name not in found.values())
    if not found and not problems:
        problems.append(
            Message(
                _("None of the segments is one of the dataset's structures ({names}).").format(
                    names=", ".join(structures)
                ),
                _("Name the segments so, or give them the terminology of these structures."),
            )
        )
    return Matching(found, tuple(ignored), absent, tuple(problems))


def _only(names) -> str:
    """The one name, or "" where there are none or several: several structures of one code are told apart by name."""
    found = list(names)
    return found[0] if len(found) == 1 else ""


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").split()).casefold()
