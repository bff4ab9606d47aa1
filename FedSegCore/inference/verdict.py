"""Whether a routed segmentation should be kept back: a threshold on the models' disagreement, and its origin."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, final

from FedSegCore.errors import FedSegError, ModelFileError
from FedSegCore.inference.adapt import Adaptation
from FedSegCore.inference.bank import Bank
from FedSegCore.tables import table

FILE: Final = "routing.json"
"""Where a bank's calibration stands, beside its models."""
BINS: Final = 50
"""Of the disagreement's histogram: pooled counts are all that a site tells of its cases."""
POOR: Final = 0.5
"""A Dice below this is a failure that the verdict is to foresee."""
_SPARED: Final = 0.95
"""Where no calibrating case failed, the share of the good ones that is not kept back."""


@final
@dataclass(frozen=True)
class Counts:
    """How many cases showed how much disagreement; all that calibrating needs.

    Args:
        good, poor: of the cases with a Dice of at least / below `POOR`, counts by disagreement, `BINS` of equal
            width from 0 to 1.
    """

    good: tuple[int, ...] = (0,) * BINS
    poor: tuple[int, ...] = (0,) * BINS

    @classmethod
    def of(cls, scores: Iterable[tuple[float, float]]) -> Counts:
        """Count pairs of disagreement and Dice."""
        counts = {True: [0] * BINS, False: [0] * BINS}
        for score, dice in scores:
            counts[dice >= POOR][min(int(score * BINS), BINS - 1)] += 1
        return cls(tuple(counts[True]), tuple(counts[False]))

    def __add__(self, other: Counts) -> Counts:
        return Counts(_sums(self.good, other.good), _sums(self.poor, other.poor))

    def threshold(self) -> float:
        """The disagreement above which cases fail.

        Where calibrating cases failed, the bin's edge that best parts them from the others (the mean of both
        shares on the right side, Youden's index; of equal ones the middle). Where none did, the edge that spares
        95 % of the good ones.
        """
        good, poor = sum(self.good), sum(self.poor)
        edges = [number / BINS for number in range(1, BINS + 1)]
        below = [sum(self.good[:number]) for number in range(1, BINS + 1)]
        if not poor:
            return next(edge for edge, spared in zip(edges, below, strict=True) if spared >= _SPARED * good)
        above = [sum(self.poor[number:]) for number in range(1, BINS + 1)]
        index = [s / max(good, 1) + f / poor for s, f in zip(below, above, strict=True)]
        best = [edge for edge, value in zip(edges, index, strict=True) if value >= max(index) - 1e-9]
        return best[len(best) // 2]


@final
@dataclass(frozen=True)
class Calibration:
    """What a bank's folder says of routing over it.

    Args:
        threshold: a disagreement above it is reason to keep the segmentation back.
        good, poor: how many calibrating cases had a Dice of at least / below 0.5.
        routing: the settings that the calibration was made with and that routing uses.
        models: the sha256 of each model's file, by its name.
    """

    threshold: float
    good: int
    poor: int
    routing: Adaptation
    models: Mapping[str, str]

    def to_json(self) -> str:
        """Deterministic text."""
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"


def read_calibration(bank: Bank) -> Calibration | None:
    """The calibration beside a bank's models; None where there is none, or where the models are other ones.

    Raises:
        ModelFileError: it cannot be read.
    """
    path = bank.experts[0].path.parent / FILE
    if not path.is_file():
        return None
    try:
        found = table(Calibration, json.loads(path.read_text(encoding="utf-8")), str(path))
    except (ValueError, FedSegError) as error:
        raise ModelFileError(
            f"{path} cannot be read ({error}).", "Fetch the folder again, or delete the file."
        ) from None
    return found if found.models == digests(bank) else None


def digests(bank: Bank) -> dict[str, str]:
    """The sha256 of each model's file."""
    return {e.path.name: hashlib.sha256(e.path.read_bytes()).hexdigest() for e in bank.experts}


@final
@dataclass(frozen=True)
class Verdict:
    """Whether to keep a segmentation back, and why; `abstain` is None where nothing is known."""

    abstain: bool | None
    reason: str


def judge(score: float, calibration: Calibration | None) -> Verdict:
    """Compare a scan's disagreement with the bank's threshold."""
    if calibration is None:
        return Verdict(
            None,
            f"The models' disagreement on this scan is {score:.2f}; how much is too much is not known, for these "
            "models come without a calibration.",
        )
    found = f"{score:.2f}; at the models' own sites {calibration.threshold:.2f} parts good from poor segmentations"
    if score > calibration.threshold:
        return Verdict(
            True, f"The models disagree on this scan: {found}. Segment it by hand, or correct every slice."
        )
    return Verdict(False, f"The models agree on this scan: {found}.")


def _sums(first: Sequence[int], second: Sequence[int]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(first, second, strict=True))


def as_facts(verdict: Verdict, score: float, calibration: Calibration | None) -> dict[str, Any]:
    """The verdict for a JSON file."""
    return {
        "disagreement": round(score, 4),
        "threshold": calibration.threshold if calibration else None,
        "abstain": verdict.abstain,
        "reason": verdict.reason,
    }
