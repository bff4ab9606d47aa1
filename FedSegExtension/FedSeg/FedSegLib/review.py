"""The queue of results that a person has to look at, kept as attributes of their nodes and so with the scene."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

STATUS, MODEL, MIXTURE, VERDICT = "FedSeg.status", "FedSeg.model", "FedSeg.mixture", "FedSeg.verdict"
DISAGREEMENT, REVIEWER, REVIEWED_AT, COMMENT = (
    "FedSeg.disagreement",
    "FedSeg.reviewer",
    "FedSeg.reviewedAt",
    "FedSeg.comment",
)
DRAWING = "FedSeg.drawing"
"""Attribute of a decided result: what was drawn as it was decided, see `scene.drawingFacts`."""
MAP = "FedSeg.disagreementMap"
"""Node reference of a result to the volume of where the models disagreed."""
MODALITIES = "FedSeg.modalities"
"""Attribute of a result: what was segmented, "T1|FLAIR"; each is a node reference, see `volumeRole`."""

UNREVIEWED, APPROVED, FLAGGED, REJECTED = "unreviewed", "approved", "flagged", "rejected"
"""The status of every new result, and the three that a person alone can set."""


def verdictWord(abstain: bool | None) -> str:
    """What a mixture's verdict is called where it is written down; None: nobody knows."""
    return {True: "abstain", False: "agree", None: "unknown"}[abstain]


def volumeRole(modality: str) -> str:
    """The node reference of a result to the volume that it was made from."""
    return f"FedSeg.volume.{modality}"


@dataclass(frozen=True)
class Result:
    """A segmentation that FedSeg made.

    Args:
        name: what the scene calls it.
        disagreement: of the models, in bits from 0 to 1; None where one model made it.
        verdict: what routing said of it; "" where one model made it.
        reviewedAt: when its status was set, ISO 8601 with the time zone; "" while nobody has.
    """

    nodeId: str
    name: str
    status: str
    model: str
    mixture: str
    verdict: str
    modalities: tuple[str, ...]
    disagreement: float | None
    reviewer: str
    reviewedAt: str
    comment: str
    drawing: str

    @property
    def abstains(self) -> bool:
        """Whether a mixture keeps it back."""
        return self.verdict.startswith(f"{verdictWord(True)}: ")

    @property
    def isDone(self) -> bool:
        """Whether a person has decided."""
        return self.status in (APPROVED, REJECTED)


def readResult(nodeId: str, name: str, attribute: Callable[[str], str | None]) -> Result | None:
    """A node's result; None where FedSeg did not make it.

    Args:
        attribute: the node's attribute of this name, None where it has none.
    """
    if not attribute(STATUS):
        return None
    keys = (STATUS, MODEL, MIXTURE, VERDICT, REVIEWER, REVIEWED_AT, COMMENT, DRAWING)
    told = {key: attribute(key) or "" for key in keys}
    status = told[STATUS] if told[STATUS] in (APPROVED, FLAGGED, REJECTED) else UNREVIEWED
    return Result(
        nodeId=nodeId,
        name=name,
        status=status,
        model=told[MODEL],
        mixture=told[MIXTURE],
        verdict=told[VERDICT],
        modalities=tuple(filter(None, (attribute(MODALITIES) or "").split("|"))),
        disagreement=_number(attribute(DISAGREEMENT)),
        reviewer=told[REVIEWER],
        reviewedAt=told[REVIEWED_AT],
        comment=told[COMMENT],
        drawing=told[DRAWING],
    )


def _number(text: str | None) -> float | None:
    try:
        return None if not text else float(text)
    except ValueError:
        return None


def decided(status: str, *, reviewer: str, at: str, comment: str) -> Mapping[str, str]:
    """The attributes of a decision.

    Args:
        at: the time, ISO 8601 with the time zone.

    Raises:
        ValueError: nobody decided, or nothing was.
    """
    if status not in (APPROVED, FLAGGED, REJECTED):
        raise ValueError(f"a person approves, flags or rejects, not {status!r}")
    if not reviewer.strip():
        raise ValueError("a decision has a name")
    return {STATUS: status, REVIEWER: reviewer.strip(), REVIEWED_AT: at, COMMENT: comment.strip()}


def reopened() -> Mapping[str, str]:
    """The attributes of a result that is to be looked at again: its drawing has changed since it was decided."""
    return {STATUS: UNREVIEWED, REVIEWER: "", REVIEWED_AT: ""}


def inOrder(results: Sequence[Result]) -> list[Result]:
    """The queue: what the models disagree on most comes first, results of one model last, by name."""
    return sorted(
        results,
        key=lambda result: (-(-1.0 if result.disagreement is None else result.disagreement), result.name),
    )


def nextOpen(queue: Sequence[Result], current: str) -> Result | None:
    """The next result after this one, round the end of the queue, that nobody has decided; None: all are.

    Args:
        current: a node id; the first of the queue is next to one that is not in it.
    """
    ids = [result.nodeId for result in queue]
    start = ids.index(current) + 1 if current in ids else 0
    following = [*queue[start:], *queue[:start]]
    return next((r for r in following if not r.isDone and r.nodeId != current), None)
