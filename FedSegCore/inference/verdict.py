"""Whether a routed segmentation should be kept back: a threshold on the models' disagreement, and its origin."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, final

from FedSegCore.errors import FedSegError, ModelFileError
from FedSegCore.inference.adapt import Adaptation
from FedSegCore.inference.bank import Bank
from FedSegCore.inference.disagreement import Disagreement
from FedSegCore.tables import table

FILE: Final = "routing.json"
"""Where a bank's calibration stands, beside its models."""
BINS: Final = 20
"""Of the disagreement's histogram: pooled counts are all that a site tells of its cases."""
POOR: Final = 0.5
"""A Dice below this is a failure that the verdict is to foresee."""
_FEWEST: Final = 3
"""Fewer looks than this are no group to part from another."""
_PARTED: Final = 0.5
"""Youden's index below which disagreement does not tell good from poor."""
_SPARED: Final = 0.95
"""Where hardly any calibrating look failed, the share of the good ones that is not kept back."""

Rule = Literal["parts", "spares"]


@final
@dataclass(frozen=True)
class Counts:
    """How many looks at cases showed how much disagreement; all that calibrating needs.

    Args:
        good, poor: of the looks with a Dice of at least / below `POOR`, counts by disagreement, `BINS` of equal
            width from 0 to 1.
    """

    good: tuple[int, ...] = (0,) * BINS
    poor: tuple[int, ...] = (0,) * BINS

    @classmethod
    def of(cls, scores: Iterable[tuple[float, float]]) -> Counts:
        """Count pairs of disagreement and Dice; those of which one is undefined tell nothing."""
        counts = {True: [0] * BINS, False: [0] * BINS}
        for score, dice in scores:
            if math.isnan(score) or math.isnan(dice):
                continue
            counts[dice >= POOR][min(int(score * BINS), BINS - 1)] += 1
        return cls(tuple(counts[True]), tuple(counts[False]))

    def __add__(self, other: Counts) -> Counts:
        return Counts(_sums(self.good, other.good), _sums(self.poor, other.poor))

    def threshold(self) -> tuple[float, Rule] | None:
        """The disagreement above which segmentations are kept back, and by which rule; None where there is none.

        `parts`: the bin's edge that best parts the poor from the good (Youden's index, at least 0.5; of equal edges
        the middle). `spares`: where fewer than three failed, the edge that spares 95 % of the good ones.
        """
        good, poor = sum(self.good), sum(self.poor)
        if good < _FEWEST:
            return None
        edges = [number / BINS for number in range(1, BINS + 1)]
        below = [sum(self.good[:number]) / good for number in range(1, BINS + 1)]
        if poor < _FEWEST:
            return next(
                edge for edge, spared in zip(edges, below, strict=True) if spared >= _SPARED
            ), "spares"
        above = [sum(self.poor[number:]) / poor for number in range(1, BINS + 1)]
        index = [spared + foreseen - 1.0 for spared, foreseen in zip(below, above, strict=True)]
        if max(index) < _PARTED:
            return None
        best = [edge for edge, value in zip(edges, index, strict=True) if value >= max(index) - 1e-9]
        return best[len(best) // 2], "parts"


@final
@dataclass(frozen=True)
class Calibration:
    """What a bank's folder says of routing over it.

    A look is a validation case of a site as it is, or altered by a random intensity network (`learning.gin`), since
    inside cases alone hardly ever fail; it is segmented without the site's own model. The global model has seen the
    site's training cases, so that a hospital outside may meet more disagreement.

    Args:
        threshold: a disagreement above it is reason to keep the segmentation back.
        rule: how it was found, see `Counts.threshold`.
        good, poor: how many looks had a Dice of at least / below 0.5.
        routing: the settings that the calibration was made with and that routing uses.
        models: the sha256 of each model's file, by its name.

    Raises:
        ModelFileError: a threshold that is no disagreement.
    """

    threshold: float
    rule: Rule
    good: int
    poor: int
    routing: Adaptation
    models: Mapping[str, str]

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ModelFileError(f"A calibration's threshold is {self.threshold}, expected above 0 to 1.")

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
    return found if set(found.models.values()) == set(digests(bank).values()) else None


def digests(bank: Bank) -> dict[str, str]:
    """The sha256 of each model's file."""
    return {e.path.name: hashlib.sha256(e.path.read_bytes()).hexdigest() for e in bank.experts}


@final
@dataclass(frozen=True)
class Verdict:
    """Whether to keep a segmentation back, and why; `abstain` is None where nothing is known."""

    abstain: bool | None
    reason: str


def judge(found: Disagreement, calibration: Calibration | None) -> Verdict:
    """Compare a scan's disagreement with the bank's threshold; where nothing was found, keep that back."""
    if found.empty:
        return Verdict(
            True, "No structure was found on this scan; models agree on nothing where they know nothing."
        )
    if math.isnan(found.score):
        return Verdict(None, "No structure is known to two of the models, so that nothing can disagree.")
    if calibration is None:
        return Verdict(
            None,
            f"The models' disagreement on this scan is {found.score:.2f}; how much is too much is not known: beside "
            "these models lies no calibration of theirs.",
        )
    threshold = f"{calibration.threshold:.2f}"
    meaning = {
        "parts": f"at their own sites {threshold} parts good from poor segmentations",
        "spares": f"at their own sites 19 of 20 good segmentations show at most {threshold}",
    }[calibration.rule]
    if found.score > calibration.threshold:
        reason = f"The models disagree on this scan: {found.score:.2f}; {meaning}."
        return Verdict(True, f"{reason} Segment it by hand, or correct every slice.")
    return Verdict(False, f"The models agree on this scan: {found.score:.2f}; {meaning}.")


def _sums(first: Sequence[int], second: Sequence[int]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(first, second, strict=True))


def as_facts(verdict: Verdict, score: float, calibration: Calibration | None) -> dict[str, Any]:
    """The verdict for a JSON file."""
    return {
        "disagreement": None if math.isnan(score) else round(score, 4),
        "threshold": calibration.threshold if calibration else None,
        "abstain": verdict.abstain,
        "reason": verdict.reason,
    }
